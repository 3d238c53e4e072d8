"""The order of the house and a picture of its imports, in docs/architecture.md.

    python -m tools.imports         brings the picture in the page into step with the code

`ORDER` is the rule: a room imports only from rooms that stand before it. tests/notebooks/test_house.py holds both to it.
"""

import ast
import sys
from pathlib import Path

from tools.setup_cell import ROOT, save_text

PAGE = ROOT / "docs" / "architecture.md"
BEGIN, END = "<!-- python -m tools.imports writes from here -->\n", "<!-- to here -->"
# The rooms of helpers/, the ground first: what stands on one line imports nothing of the same line.
ORDER = (
    ("kernel", "inputs"),
    ("ready", "interrupts", "files", "hub", "runtime", "diffusion"),
    ("pictures", "formats", "my_course", "components"),
    ("postcards",),
    ("latents",),
    ("conditioning",),
    ("attention", "sampling"),
    ("concepts",),
    ("lora",),
    ("library",),
    ("figures",),
    ("checks",),
    ("panels",),
)
ARROWS_FROM = 3  # the picture leaves out the first lines: nearly everything imports from them


def imports(folder: Path = ROOT / "helpers") -> dict[str, set[str]]:
    """{room: the other rooms it imports from}, read from the code, imports inside functions included."""
    rooms = {path.stem: path for path in folder.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    rooms.pop("__init__")
    found = {room: set() for room in sorted(rooms)}
    for room, path in rooms.items():
        for file in [path] if path.is_file() else path.rglob("*.py"):
            package = (folder.name, *file.relative_to(folder).parts[:-1])
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                found[room] |= {name for name in _named(node, package) if name in rooms and name != room}
    return found


def _named(node: ast.AST, package: tuple[str, ...]) -> set[str]:
    """The rooms that one statement imports from. package: where it stands, such as ("helpers", "figures")."""
    if isinstance(node, ast.Import):
        names = [tuple(alias.name.split(".")) for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
        base = package[: len(package) - node.level + 1] if node.level else ()
        base += tuple(node.module.split(".")) if node.module else ()
        names = [(*base, alias.name) for alias in node.names]
    else:
        return set()
    return {name[1] for name in names if name[0] == "helpers" and len(name) > 1}


def against_the_order(found: dict[str, set[str]]) -> list[str]:
    """A sentence for each room without a place, and each import from a room that does not stand before."""
    line = {room: i for i, rooms in enumerate(ORDER) for room in rooms}
    wrong = [f"{room} has no place in ORDER." for room in found if room not in line]
    wrong += [f"{room} is in ORDER, and there is no such room." for room in line if room not in found]
    return wrong + [
        f"{room} imports from {other}, which does not stand before it."
        for room, others in found.items()
        for other in sorted(others)
        if room in line and other in line and line[other] >= line[room]
    ]


def picture(found: dict[str, set[str]]) -> str:
    """Mermaid: rooms in their order, an arrow for each import from the rooms that the picture shows."""
    shown = [room for rooms in ORDER[ARROWS_FROM:] for room in rooms]
    lines = ["```mermaid", "flowchart BT"]
    lines += [f"  {room}" for room in shown]
    lines += [f"  {room} --> {other}" for room in shown for other in shown if other in found[room]]
    return "\n".join([*lines, "```", ""])


def with_picture(text: str, found: dict[str, set[str]]) -> str:
    """The page's text with the picture in its place. ValueError where there is no such place."""
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise ValueError(f"{PAGE.name} must hold the lines {BEGIN.strip()} and {END} once each.")
    before, rest = text.split(BEGIN)
    return before + BEGIN + picture(found) + END + rest.split(END)[1]


def main() -> int:
    found = imports()
    for sentence in (wrong := against_the_order(found)):
        print(sentence, file=sys.stderr)
    save_text(PAGE, with_picture(PAGE.read_text(encoding="utf-8"), found))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
