"""Lesson 02 in pictures: through the autoencoder and back, its cloud, its price in bytes and in work."""
from .beta import DEAD, another_beta, beta_dial, clouds_priced
from .cloud import Cloud
from .codec import WRONG, Cell, beside, coarse, lost, round_trip, unsigned
from .noise import noises, previews
from .price import Rates, bill, bytes_against_decibels

__all__ = ["DEAD", "WRONG", "Cell", "Cloud", "Rates", "another_beta", "beside", "beta_dial", "bill", "bytes_against_decibels", "clouds_priced", "coarse",
           "lost", "noises", "previews", "round_trip", "unsigned"]
