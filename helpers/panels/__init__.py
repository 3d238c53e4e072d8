"""Widget panels, one file a lesson, named like the module it shows. `base` holds what all of them share.

Only parts that behave the same in ipywidgets 7.7.1 (Colab) and 8 (JupyterLab) are used.
"""

from helpers.panels.base import Panel, Progress, match, predict

__all__ = ["Panel", "Progress", "match", "predict"]
