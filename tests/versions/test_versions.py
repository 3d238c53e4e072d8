"""The environment that `make test-colab` or `make test-newest` runs the notebooks in is what it says it is."""
import os

import pytest
from environment import OTHERWISE, installed, listed
from jupyter_client.kernelspec import KernelSpecManager

WHICH = os.environ.get("COURSE_VERSIONS")


@pytest.mark.skipif(not WHICH, reason="for make test-colab and make test-newest, which make these environments")
def test_the_kernel_holds_the_versions_it_should():
    packages, known = installed(KernelSpecManager().get_kernel_spec("course").argv[0]), listed()
    if WHICH == "newest":
        assert not [name for name in ("diffusers", "transformers", "ipywidgets") if packages[name] == known[name]]
        return
    other = {name: (version, known[name]) for name, version in packages.items()
             if name in known and name not in OTHERWISE and known[name] != version}
    assert not other
    assert packages["ipywidgets"] == "7.7.1" and packages["diffusers"] == "0.39.0"
    # A few that Colab's own packages ask for are not in its list; nothing else may come with the course.
    assert len(set(packages) - set(known) - OTHERWISE) <= 3
