"""Lesson 05, vectors, in pictures: the life of one while it is trained, and the whole model to scale."""
from .life import Life
from .scale import hairlines, to_scale, weigh

__all__ = ["Life", "hairlines", "to_scale", "weigh"]
