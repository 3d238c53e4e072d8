"""Lesson 01 in pictures: noise over a postcard, the denoiser that remembers, arrows, ways down."""
from .line import Steps, loss_floor, one_step_many, steps_race
from .memory import MemoryTable, copies
from .noise import Tide, brightness_plot, exam_paper, noising_table, rising_tide
from .plane import ScoreFields, Walk, clouds, flow, paths_compared, two_ways

__all__ = ["MemoryTable", "ScoreFields", "Steps", "Tide", "Walk", "brightness_plot", "clouds", "copies", "exam_paper", "flow",
           "loss_floor", "noising_table", "one_step_many", "paths_compared", "rising_tide", "steps_race", "two_ways"]
