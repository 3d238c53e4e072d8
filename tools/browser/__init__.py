"""The course in a browser: Chromium, where it is on this machine and how it gets here; the other files drive it.

    python -m tools.browser     finds it, installs it (on Debian, as root), or says in one sentence what to do

`make test-browser` calls this file. `lab` starts a JupyterLab, `lesson` opens a notebook in it, `panel` moves what is shown,
`makers` and `needed` read off the source which panels there are and which cells they need.
"""

import os
import platform
import shutil
import subprocess
from pathlib import Path

NAMES = ("chromium", "google-chrome", "google-chrome-stable", "chromium-browser")
ON_A_MAC = Path("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome")


def found_browser() -> str | None:
    """Path of Chromium or Chrome, or None."""
    paths = [shutil.which(name) for name in NAMES] + [str(ON_A_MAC) if ON_A_MAC.exists() else None]
    return next((path for path in paths if path), None)


def is_debian() -> bool:
    """Whether Chromium is a package of this system: Ubuntu's is only a pointer to a snap."""
    try:
        return platform.freedesktop_os_release().get("ID") == "debian" and shutil.which("apt-get") is not None
    except OSError:
        return False


def install() -> None:
    """Debian's package. Raises subprocess.CalledProcessError if apt-get cannot."""
    quiet = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update"], ["install", "-y", "--no-install-recommends", "chromium", "fonts-dejavu-core"]):
        subprocess.run(["apt-get", "-qq", *command], env=quiet, check=True, stdout=subprocess.DEVNULL)


def main() -> None:
    if found_browser() is None and is_debian() and os.geteuid() == 0:
        print("Installing Chromium for the browser tests: a minute or two, once.")
        try:
            install()
        except subprocess.CalledProcessError as problem:
            print(f"apt-get could not install Chromium: it ended with {problem.returncode}.")
    if found_browser() is None:
        print(
            "There is no Chromium or Chrome here, so the browser tests cannot run: install one of them "
            "(on Debian: apt-get install chromium, on Ubuntu and elsewhere: Google Chrome)."
        )
