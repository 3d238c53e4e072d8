"""The glossary: where each word of the field is seen, read off the notebooks. Writes docs/glossary.md's last column.

    python -m tools.glossary

A word is seen where a lesson has it in bold; the first such place counts. The meanings are written by hand, in the page.
"""

import json
import re
import sys
from pathlib import Path

from tools.setup_cell import ROOT, keep_in_step

PAGE = ROOT / "docs" / "glossary.md"
ROW = re.compile(r"(?m)^\| \*\*(.+?)\*\* \| (.+?) \|(?: (.*?))? ?\|$")


def places(notebooks: list[Path]) -> dict[str, tuple[str, str]]:
    """{what stands in bold, in lower case: (name of the notebook, heading of the section)}, the first place of each."""
    found = {}
    for file in notebooks:
        heading = ""
        for cell in json.loads(file.read_text(encoding="utf-8"))["cells"]:
            if cell["cell_type"] != "markdown":
                continue
            for line in "".join(cell["source"]).splitlines():
                if title := re.match(r"##+ (.*)", line):
                    heading = title[1].strip()
                for bold in re.findall(r"\*\*([^*]+)\*\*", line):
                    found.setdefault(bold.strip(" .,:").lower(), (file.name, heading))
    return found


def with_places(text: str, found: dict[str, tuple[str, str]]) -> str:
    """The page's text with the last column brought into step. ValueError for words that no lesson has in bold."""
    unseen = [row[1] for row in ROW.finditer(text) if _key(row[1]) not in found]
    if unseen:
        raise ValueError(f"No lesson has these in bold: {', '.join(unseen)}.")

    def row(match):
        name, heading = found[_key(match[1])]
        where = f"[{name[:2]}](../notebooks/{name}), {heading}" if heading else f"[{name[:2]}](../notebooks/{name})"
        return f"| **{match[1]}** | {match[2]} | {where} |"

    return ROW.sub(row, text)


def _key(term: str) -> str:
    """What stands in bold for a term: "key (attention)" is seen as "key"."""
    return re.sub(r" \(.*\)$", "", term).lower()


def main() -> int:
    found = places(sorted(ROOT.glob("notebooks/*.ipynb")))
    return keep_in_step(PAGE, lambda text: with_places(text, found))


if __name__ == "__main__":
    sys.exit(main())
