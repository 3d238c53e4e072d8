"""Lesson 03, second half: what a place reads, maps of words, their report card, the dial of causes."""
from .dial import cause_dial, dial_frame
from .maps import blend, explorer_frame, pooled_ways, word_sheet
from .places import dot_grid, read_at, rings, six_lines
from .report import report_card

__all__ = ["blend", "cause_dial", "dial_frame", "dot_grid", "explorer_frame", "pooled_ways", "read_at",
           "report_card", "rings", "six_lines", "word_sheet"]
