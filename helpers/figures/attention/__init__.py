"""Lesson 03, second half: what a cell reads, maps of words, their report card."""

from helpers.figures.attention.maps import blend, explorer_frame, pooled_ways, side_by_side, word_sheet
from helpers.figures.attention.places import attention_plan, dot_grid, read_at, rings, three_stages
from helpers.figures.attention.report import report_card, short_name

__all__ = [
    "attention_plan",
    "blend",
    "dot_grid",
    "explorer_frame",
    "pooled_ways",
    "read_at",
    "report_card",
    "rings",
    "short_name",
    "side_by_side",
    "three_stages",
    "word_sheet",
]
