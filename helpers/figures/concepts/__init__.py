"""Lesson 05, vectors, in pictures: the life of one while it is trained, and the whole model to scale."""
from .life import Life, life_of
from .scale import hairlines, to_scale, weigh

__all__ = ["Life", "hairlines", "life_of", "to_scale", "weigh"]
