"""Lesson 02 in pictures: through the autoencoder and back, its cloud, its price in bytes and in work."""

from helpers.figures.latents.beta import DEAD, another_beta, beta_dial, clouds_priced
from helpers.figures.latents.cloud import Cloud
from helpers.figures.latents.codec import WRONG, Cell, beside, coarse, lost, round_trip, unsigned
from helpers.figures.latents.noise import noises, previews
from helpers.figures.latents.price import Rates, bill, bytes_against_decibels

__all__ = [
    "DEAD",
    "WRONG",
    "Cell",
    "Cloud",
    "Rates",
    "another_beta",
    "beside",
    "beta_dial",
    "bill",
    "bytes_against_decibels",
    "clouds_priced",
    "coarse",
    "lost",
    "noises",
    "previews",
    "round_trip",
    "unsigned",
]
