"""Stable Diffusion from the Inside: what the notebooks import.

Importing this package is instant: torch, transformers and diffusers are imported when one of the names below
is first used.
"""

from importlib import import_module

from helpers.ready import without

_MODULES = {
    "load_components": "components",
    "record_attention": "attention",
    "generate": "sampling",
    "denoise": "sampling",
}

__all__ = list(_MODULES)


def __getattr__(name):
    if name not in _MODULES:
        raise AttributeError(f"module 'helpers' has no attribute {name!r}; it offers {', '.join(__all__)}")
    try:
        return getattr(import_module(f"helpers.{_MODULES[name]}"), name)
    except ModuleNotFoundError as missing:
        if missing.name.split(".")[0] == "helpers":
            raise
        raise ModuleNotFoundError(without([missing.name]), name=missing.name) from None


def __dir__():
    return sorted([*globals(), *__all__])
