"""What the course changes for a whole kernel, but for Ctrl-C (helpers/interrupts.py). Standard library only.

The setup cell calls `prepare_kernel` before any library is imported. Importing what
needs the libraries changes nothing but how much transformers and diffusers say (helpers/runtime.py). COURSE_PLAIN=1 in the environment turns all of it off; a setup cell that stops
(helpers/ready.py) sets a warning filter all the same. docs/kernel.md says what each is worth, as measured.
"""

import contextlib
import gc
import importlib
import os
import sys

VERBOSITY = {"TRANSFORMERS_VERBOSITY": "error", "DIFFUSERS_VERBOSITY": "error"}  # both libraries read them on import
ENVIRONMENT = {  # set by `prepare_kernel` where the reader has not set them
    # torch's threads (GNU OpenMP, which reads this once, when torch is imported) wait for work by spinning, for
    # milliseconds. Where two kernels share the cores, each then takes them from the other.
    "GOMP_SPINCOUNT": "3000",
    "TOKENIZERS_PARALLELISM": "false",  # one prompt at a time needs no pool, which would warn of every fork
    "JUPYTER_WIDGETS_ECHO": "0",  # a move need not be sent back to the page it comes from
}
prepared = False  # whether `prepare_kernel` has been called in this process


def plain():
    """Whether COURSE_PLAIN asks the course to leave the kernel as it is."""
    return os.environ.get("COURSE_PLAIN", "") not in ("", "0")


def prepare_kernel(fresh=None):
    """Make this kernel quiet and quick for the course; a second call, or one where COURSE_PLAIN is set, does nothing.

    fresh: whether nothing of the reader's exists yet; None: where this is the first cell of a notebook. Then the
        libraries are imported here, and their objects, almost half a million which stay for good, are set aside:
        otherwise Python's garbage collector walks through all of them now and then, and what a reader has just moved
        waits. Objects that are set aside are never looked at again, so the reader's own must not be among them.
    """
    global prepared
    if plain() or prepared:
        return
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    prepared = True
    if fresh or fresh is None and in_first_cell():
        importlib.import_module("helpers.components")
        gc.collect()
        gc.freeze()
    settle()


def settle():
    """Apply the settings that need the libraries to be imported. `components` calls this once it has imported them."""
    if plain():
        return
    for name in ("transformers", "diffusers"):
        if name not in sys.modules:
            continue
        logging = importlib.import_module(f"{name}.utils.logging")
        chosen = os.environ.get(f"{name.upper()}_VERBOSITY") == "error"
        if chosen and logging.get_verbosity() == logging.WARNING:  # it came first, before the variable was set
            logging.set_verbosity_error()
        if prepared:
            # A progress bar on stderr would make a notebook's output differ from run to run.
            logging.disable_progress_bar()
    if prepared and "ipywidgets" in sys.modules:
        widget = importlib.import_module("ipywidgets.widgets.widget")
        if os.environ["JUPYTER_WIDGETS_ECHO"] == "0" and hasattr(widget, "JUPYTER_WIDGETS_ECHO"):  # since ipywidgets 8
            widget.JUPYTER_WIDGETS_ECHO = False


@contextlib.contextmanager
def without_bars():
    """No progress bar of transformers or diffusers while this lasts; afterwards as before."""
    loggings = [importlib.import_module(f"{name}.utils.logging") for name in ("transformers", "diffusers")]
    shown = [logging for logging in loggings if logging.is_progress_bar_enabled()]
    for logging in shown:
        logging.disable_progress_bar()
    try:
        yield
    finally:
        for logging in shown:
            logging.enable_progress_bar()


def in_first_cell():
    """Whether this runs in the first cell that the kernel has been given."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return shell is not None and len(shell.user_ns.get("In", range(9))) <= 2  # "" and this cell
