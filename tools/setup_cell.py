"""The first code cell of every notebook, the Colab badges, and the one address both are written from.

    python -m tools.setup_cell                      brings every notebook, README and page of docs into step
    python -m tools.setup_cell owner/name [tag]     changes the address first (tag: a git tag or branch)

The address lives in pyproject.toml, section [tool.course]. `make links` calls this file.
"""

import json
import re
import sys
import tomllib
from pathlib import Path

from helpers.files import write_atomic

ROOT = Path(__file__).resolve().parent.parent
COLAB = "https://colab.research.google.com/github"
ANY_COLAB_LINK = re.compile(re.escape(COLAB) + r"/[^/\s)]+/[^/\s)]+/blob/[^/\s)]+/")

FURTHER = "## Further: "  # how the heading of a part of a lesson begins that can be skipped

# What pyproject.toml holds until `make links` writes an address. Somebody else may own it: nothing is fetched from it.
PLACEHOLDER = "owner/stable-diffusion-from-the-inside"

# Silent, short, at most 88 columns, nothing but the standard library: it runs before anything is known to be there.
# It stops with one sentence without the course; helpers/ready.py does so where the kernel lacks what it needs.
# A kernel would write under that sentence how to leave an IPython shell: the filter, set only then, keeps it quiet.
TEXT = """\
# @title Setup: find the course (on Colab: fetch it)
import pathlib, subprocess, sys, warnings
COURSE, TAG, here = "https://github.com/{repo}", "{tag}", pathlib.Path.cwd()
places = here, *here.parents, here / "course"
found = [p for p in places if (p / "helpers" / "components.py").is_file()]
why = f"No course in {{here}} or above: open a notebook inside it, or git clone {{COURSE}}."
if not found and "google.colab" in sys.modules:
    clone = f"git clone -q --depth=1 -b {{TAG}} {{COURSE}} course"
    failed, said = subprocess.getstatusoutput(clone)
    found = [] if failed else [here / "course"]
    why = (f"No course came ({{said.split(chr(10))[0]}}): "
           "check network and folder, then run this cell again.")
found or warnings.filterwarnings("ignore", "To exit: use") or sys.exit(why)
sys.path.insert(0, str(found[0]))
from helpers import ready; ready.check_kernel()"""

# The same while the address is the placeholder: there is nothing to fetch, and no stranger's code is.
UNPUBLISHED = """\
# @title Setup: find the course (on Colab: fetch it)
import pathlib, sys, warnings
here = pathlib.Path.cwd()
places = here, *here.parents, here / "course"
found = [p for p in places if (p / "helpers" / "components.py").is_file()]
why = f"No course in {{here}} or above: open a notebook inside it."
if not found and "google.colab" in sys.modules:
    why = ("This copy of the course has no address to be fetched from "
           "({repo} is a placeholder): "
           "whoever publishes it runs `make links REPO=owner/name` first.")
found or warnings.filterwarnings("ignore", "To exit: use") or sys.exit(why)
sys.path.insert(0, str(found[0]))
from helpers import ready; ready.check_kernel()"""

# The README's sentence on Colab, before and after `make links`.
BADGES = (
    "On Google Colab, click a badge below: nothing needs to be installed.",
    "The badges below open the lessons on Google Colab once the course is published: until `make links REPO=owner/name` "
    "writes its address into them, they lead nowhere.",
)
# The README's sentence on the page that draws, likewise; GitHub serves a repository's pages at such an address.
DRAW = (
    "**[Draw a postcard in your browser](https://{owner}.github.io/{name}/draw/)**: nothing is installed, and what you write "
    "stays with you. [The lessons as a site to read](https://{owner}.github.io/{name}/).",
    "`make web` builds a page that draws entirely in the browser, and serves it on your machine (it needs Node.js 20 or newer); once "
    "the course is published, a link to it stands here.",
)
ANY_DRAW = re.compile("[^)]*".join(map(re.escape, DRAW[0].split("{owner}.github.io/{name}"))))


def address() -> tuple[str, str]:
    """(repo, tag) of the course as pyproject.toml has them, e.g. ("owner/name", "main")."""
    course = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["course"]
    return course["repo"], course["tag"]


def setup_cell() -> str:
    """Source of the setup cell for the current address."""
    repo, tag = address()
    return (UNPUBLISHED if repo == PLACEHOLDER else TEXT).format(repo=repo, tag=tag)


def colab_prefix() -> str:
    """What every link into Colab starts with for the current address; the path in the repository follows."""
    repo, tag = address()
    return f"{COLAB}/{repo}/blob/{tag}/"


def badge(notebook: str) -> str:
    """Markdown of the Colab badge of one notebook, e.g. badge("04_unet_sampling.ipynb")."""
    return (
        f"[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]"
        f"({colab_prefix()}notebooks/{notebook})"
    )


def set_address(repo: str, tag: str) -> None:
    """Write another address into pyproject.toml. Raises ValueError if it is not owner/name and a git tag."""
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repo):
        raise ValueError(f"REPO must look like owner/name, not {repo!r}.")
    if not re.fullmatch(r"[\w.-]+", tag):
        raise ValueError(f"TAG must be a git tag or branch without slashes, not {tag!r}.")
    file = ROOT / "pyproject.toml"
    text = re.sub(r'(?m)^repo = ".*"$', f'repo = "{repo}"', file.read_text())
    save_text(file, re.sub(r'(?m)^tag = ".*"$', f'tag = "{tag}"', text))


def in_step(notebook: dict) -> dict:
    """The notebook (parsed JSON, changed in place) with setup cell and badges of the current address.

    The setup cell is the code cell whose first line is the setup cell's title. Raises ValueError without one.
    """
    title = TEXT.splitlines()[0]
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    setup = [cell for cell in code if "".join(cell["source"]).startswith(title)]
    if len(setup) != 1:
        raise ValueError(f"holds {len(setup)} setup cells, not one; its first line must be: {title}")
    setup[0]["source"] = setup_cell().splitlines(keepends=True)
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            text = ANY_COLAB_LINK.sub(colab_prefix(), "".join(cell["source"]))
            cell["source"] = text.splitlines(keepends=True)
    return notebook


def told(text: str) -> str:
    """The text with the README's two sentences as they are true for the current address."""
    repo = address()[0]
    here, other = BADGES[::-1] if repo == PLACEHOLDER else BADGES
    owner, _, name = repo.partition("/")
    page = DRAW[repo == PLACEHOLDER].format(owner=owner.lower(), name=name)
    return ANY_DRAW.sub(page, text.replace(other, here).replace(DRAW[1], page))


def save_text(file: Path, text: str) -> None:
    """Write a file whole or not at all."""
    write_atomic(file, lambda draft: draft.write_text(text, encoding="utf-8"))


def keep_in_step(page: Path, change) -> int:
    """Write a page anew as change(its text); 0, or 1 where that raises ValueError, whose sentence goes to stderr."""
    try:
        save_text(page, change(page.read_text(encoding="utf-8")))
    except ValueError as problem:
        print(problem, file=sys.stderr)
        return 1
    return 0


def save_notebook(file: Path, notebook: dict) -> None:
    """Write notebook JSON the way nbformat and JupyterLab do, so that diffs stay small."""
    save_text(file, json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True) + "\n")


def main(arguments: list[str]) -> int:
    if arguments:
        set_address(arguments[0], *(arguments[1:] or ["main"]))
    wrong = 0
    for file in sorted(ROOT.glob("notebooks/*.ipynb")):
        try:
            save_notebook(file, in_step(json.loads(file.read_text(encoding="utf-8"))))
        except ValueError as problem:
            print(f"{file.name}: {problem}", file=sys.stderr)
            wrong = 1
    for file in [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))]:
        text = ANY_COLAB_LINK.sub(colab_prefix(), file.read_text(encoding="utf-8"))
        save_text(file, told(text))
    print("Notebooks, README and docs point at {} ({}).".format(*address()))
    return wrong


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except ValueError as problem:
        sys.exit(str(problem))
