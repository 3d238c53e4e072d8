"""Static pictures, one file or folder a lesson, named like the module it draws. `style`: what all share."""

from helpers.figures.style import Picture, picture_grid

__all__ = ["Picture", "picture_grid"]
