"""Lesson 01 in pictures: noise over a postcard, the denoiser that remembers, arrows, ways down."""

from helpers.figures.diffusion.line import Steps, loss_floor, one_step_many, steps_race
from helpers.figures.diffusion.memory import MemoryTable, blur_and_mean, copies, one_step_or_walk
from helpers.figures.diffusion.noise import Tide, brightness_plot, exam_paper, noising_table, rising_tide
from helpers.figures.diffusion.plane import (
    ScoreFields,
    Walk,
    clouds,
    copies_in_plane,
    flow,
    in_noise,
    paths_compared,
    two_ways,
)

__all__ = [
    "MemoryTable",
    "ScoreFields",
    "Steps",
    "Tide",
    "Walk",
    "blur_and_mean",
    "brightness_plot",
    "clouds",
    "copies",
    "copies_in_plane",
    "exam_paper",
    "flow",
    "in_noise",
    "loss_floor",
    "noising_table",
    "one_step_many",
    "one_step_or_walk",
    "paths_compared",
    "rising_tide",
    "steps_race",
    "two_ways",
]
