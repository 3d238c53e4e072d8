"""Worked solutions out of sight: in a handout (`make handout`) the cells that hold them hold this instead.

It is no secret, only out of sight: the cells below need the solution where a reader's own is not right yet.
"""

import base64
import textwrap
import zlib

TITLE = "# @title Worked solution of exercise {}, out of sight"


def sealed(number, source):
    """The cell that stands in a handout for the worked solution of an exercise. source: its code, a str."""
    packed = base64.b64encode(zlib.compress(source.encode(), 9)).decode()
    lines = "\n".join(f'    "{line}"' for line in textwrap.wrap(packed, 76))
    return f"{TITLE.format(number)}\nfrom helpers.checks.handout import run_sealed\n\nrun_sealed(globals(),\n{lines})"


def unsealed(packed):
    """The code that `sealed` took out of sight."""
    return zlib.decompress(base64.b64decode(packed)).decode()


def run_sealed(names, packed):
    """Run a sealed solution among the names of a notebook, as its cell would have run there."""
    exec(compile(unsealed(packed), "<worked solution>", "exec"), names)
