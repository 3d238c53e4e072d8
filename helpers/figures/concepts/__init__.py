"""Lesson 05, vectors, in pictures: the life of one while it is trained."""

from helpers.figures.concepts.life import Life, life_of

__all__ = ["Life", "life_of"]
