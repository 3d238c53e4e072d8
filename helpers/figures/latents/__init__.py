"""Lesson 02 in pictures: through the autoencoder and back, its cloud, its price in bytes and in work."""
from .beta import beta_dial
from .cloud import Cloud
from .codec import WRONG, Cell, lost, mixed, round_trip, unsigned
from .price import bill, bytes_against_decibels, rate_frame
from .walks import noises, previews, walks

__all__ = ["WRONG", "Cell", "Cloud", "beta_dial", "bill", "bytes_against_decibels", "lost", "mixed", "noises",
           "previews", "rate_frame", "round_trip", "unsigned", "walks"]
