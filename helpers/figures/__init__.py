"""Static pictures, one file a lesson, named like the module it draws. `style` holds what all of them share."""
from .style import Picture, picture_grid

__all__ = ["Picture", "picture_grid"]
