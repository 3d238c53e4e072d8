"""The rules of a course notebook that can be read off its file. Each takes parsed JSON, yields complaints."""

import ast
import re
import symtable
from pathlib import Path

from tools.execute_notebooks import MAX_BYTES, METADATA, WIDGET
from tools.setup_cell import ANY_COLAB_LINK, FURTHER, badge, colab_prefix, setup_cell

CODE_LINES = 16
COLUMNS, CORE_LINES = 88, 260  # of lessons of the second edition
PROSE_WORDS = 120  # between two code cells: tables, formulas, headings and folded parts not counted
ALL_WORDS = 200  # in a row, everything counted, also before the first code cell and after the last
PICTURES, PICTURE_TYPES = 5, {"image/png", "image/jpeg"}
MODEL_LINE = 'MODEL = "postcard"  # @param ["postcard", "sd15", "sd14"]'
BANNED = re.compile(
    r"\b(simply|just|obviously|clearly|magic(?:al|ally)?|hacks?|powerful|amazing(?:ly)?"
    r"|understands|wants|imagines)\b",
    re.IGNORECASE,
)
DOWNLOADS = re.compile(r"\b(urlopen|urlretrieve|requests|wget|curl|hf_hub_download|snapshot_download)\b")
BAD_WIDGETS = {"Output", "interact", "interactive", "Tab", "Play", "jslink", "jsdlink", "clear_output"}
MACHINE_PATH = re.compile(r"(?<![\w.])/(home|root|tmp|content|Users|var|opt)/\w")


def source(cell) -> str:
    return "".join(cell["source"])


def code_cells(nb) -> list:
    return [c for c in nb["cells"] if c["cell_type"] == "code" and source(c).strip()]


def markdown_cells(nb) -> list:
    return [c for c in nb["cells"] if c["cell_type"] == "markdown"]


def outputs(nb) -> list:
    return [o for c in code_cells(nb) for o in c["outputs"]]


def texts(output) -> list[str]:
    """All text of an output: streams, text/plain, text/html."""
    data = output.get("data", {})
    parts = output.get("text"), data.get("text/plain"), data.get("text/html")
    return ["".join(part) for part in parts if part]


def without_code(text: str) -> str:
    """Markdown without code blocks and inline code."""
    return re.sub(r"`[^`]*`", " ", re.sub(r"(?ms)^(```|~~~).*?^\1", " ", text))


def prose_words(text: str) -> int:
    """Words of running prose. Inline code and inline formulas are one word each."""
    text = re.sub(r"(?s)<details.*?</details>", " ", text)
    text = re.sub(r"(?ms)^(```|~~~).*?^\1", " ", text)
    text = re.sub(r"(?s)\$\$.*?\$\$", " ", text)
    text = re.sub(r"`[^`]*`|\$[^$\n]+\$", "x", text)
    text = re.sub(r"!\[[^\]]*\]\([^)]*\)|<[^>]+>", " ", text)
    text = re.sub(r"\]\([^)]*\)", "]", text)
    lines = [line for line in text.splitlines() if not re.match(r"\s*(#|\|)", line)]
    return sum(bool(re.search(r"\w", word)) for line in lines for word in line.split())


def is_executed(nb):
    counts = [c["execution_count"] for c in code_cells(nb)]
    if None in counts:
        yield f"code cell {counts.index(None) + 1} was not executed"
    elif counts != list(range(1, len(counts) + 1)):
        yield f"was not executed top to bottom in one go: {counts}"


def has_pictures(nb):
    n = sum(mime in o.get("data", {}) for o in outputs(nb) for mime in PICTURE_TYPES)
    if n < PICTURES:
        yield f"shows {n} pictures, wants at least {PICTURES}"


def has_clean_outputs(nb):
    for number, cell in enumerate(code_cells(nb), 1):
        may_raise = "raises-exception" in cell["metadata"].get("tags", [])
        for output in cell["outputs"]:
            where = f"output of code cell {number}"
            if output["output_type"] == "error" and not may_raise:
                yield f"{where} is an error: {output['ename']}"
            if output.get("name") == "stderr":
                yield f"{where} holds stderr: {''.join(output['text'])[:60]!r}"
            if WIDGET in output.get("data", {}):
                yield f"{where} holds a widget's random id; `make notebooks` leaves it out"
            for text in texts(output):
                if re.search(r"\bat 0x[0-9a-fA-F]{5,}", text):
                    yield f"{where} holds a memory address"
                if MACHINE_PATH.search(text):
                    yield f"{where} holds a path of the machine it ran on: {MACHINE_PATH.search(text)[0]}..."


def has_short_cells(nb):
    for number, cell in enumerate(code_cells(nb), 1):
        lines = [line for line in source(cell).splitlines() if line.strip()]
        if len(lines) > CODE_LINES:
            yield f"code cell {number} has {len(lines)} lines, at most {CODE_LINES}: {lines[0]!r}"


def has_short_prose(nb):
    prose = total = code = 0
    runs = []  # (prose words, all words, code cells before the run)
    for cell in nb["cells"]:
        if cell["cell_type"] == "code":
            runs.append((prose, total, code))
            prose, total, code = 0, 0, code + 1
        else:
            prose, total = prose + prose_words(source(cell)), total + len(source(cell).split())
    runs.append((prose, total, code))
    for prose, total, before in runs:
        if 0 < before < code and prose > PROSE_WORDS:
            yield f"{prose} words of prose after code cell {before}, at most {PROSE_WORDS}"
        if total > ALL_WORDS:
            yield f"{total} words of all kinds in a row after code cell {before}, at most {ALL_WORDS}"


def has_course_metadata(nb):
    for key in sorted(METADATA.keys() | nb["metadata"].keys()):
        if nb["metadata"].get(key) != METADATA.get(key):
            yield f"metadata.{key} is {nb['metadata'].get(key)!r}, the course's is {METADATA.get(key)!r}"
    ids = [c.get("id") for c in nb["cells"]]
    if None in ids or len(set(ids)) < len(ids):
        yield "a cell has no id, or two have the same"


def has_alt_text(nb):
    html = [text for o in outputs(nb) for text in texts(o) if "<img" in text]
    for text in [source(c) for c in markdown_cells(nb)] + html:
        if re.search(r"!\[\s*\]\(", text):
            yield "a markdown picture has no alt text"
        for tag in re.findall(r"(?s)<img\b.*?>", text):
            if not re.search(r"""alt=["'][^"']+["']""", tag):
                yield f"an <img> has no alt text: {tag[:60]}"
    for number, cell in enumerate(code_cells(nb), 1):
        for output in cell["outputs"]:
            for mime in output.get("data", {}).keys() & PICTURE_TYPES:
                if not output["metadata"].get(mime, {}).get("alt"):
                    yield f"a picture of code cell {number} has no alt text; the course's Picture has one"


def has_plain_code(nb):
    for number, cell in enumerate(code_cells(nb), 1):
        text, where = source(cell), f"code cell {number}"
        if re.search(r"(?m)^\s*[!%]|get_ipython", text):
            yield f"{where} has a shell or magic line"
            continue
        if re.search(r"(?m);\s*$", text):
            yield f"{where} has a line that ends with ;"
        if text != setup_cell() and DOWNLOADS.search(text):
            yield f"{where} downloads: {DOWNLOADS.search(text)[0]}"
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ImportFrom) and node.names[0].name == "*":
                yield f"{where} imports * from {node.module}"
            name = getattr(node, "attr", "") or getattr(node, "id", "")
            if isinstance(node, ast.Attribute) and re.match(r"_[^_]", name):
                yield f"{where} uses a private name: .{name}"
            if name in BAD_WIDGETS:
                yield f"{where} uses {name}, which fails on Colab or under nbval"


def has_setup(nb):
    cells = code_cells(nb)
    if not cells or source(cells[0]) != setup_cell():
        yield "first code cell is not the course's setup cell; `make links` writes it"
    elif cells[0]["outputs"]:
        yield "the setup cell is not silent"
    lines = [(number, line) for number, c in enumerate(cells, 1) for line in source(c).splitlines()]
    if [number for number, line in lines if line == MODEL_LINE] != [2]:
        yield f"the second code cell, and no other, holds the line: {MODEL_LINE}"


def has_progress(nb):
    """The last code cell begins with the exercises: "0 of 4 exercises are right." as committed."""
    exercises = sum(source(c).startswith("# @title Worked solution of exercise ") for c in code_cells(nb))
    last = code_cells(nb)[-1]
    printed = "".join(text for o in last["outputs"][:1] for text in texts(o))
    if source(last).splitlines()[0] != "check.progress()":
        yield f"the last code cell begins with {source(last).splitlines()[0]!r}, not with check.progress()"
    elif not printed.startswith(f"0 of {exercises} exercises are right."):
        yield f"holds {exercises} worked solutions, and the progress line says {printed.splitlines()[:1]}"


def has_live_links(nb, file: Path):
    text = "\n".join(source(c) for c in markdown_cells(nb))
    if badge(file.name) not in text:
        yield f"has no Colab badge of its own; it is: {badge(file.name)}"
    for link in ANY_COLAB_LINK.findall(text):
        if link != colab_prefix():
            yield f"a link is out of step, `make links` mends it: {link}"
    for target in re.findall(r"\]\(([^)\s]+)\)|(?:src|href)=[\"']([^\"']+)", without_code(text)):
        target = "".join(target).split("#")[0]
        if target and not re.match(r"[a-z]+:", target) and not (file.parent / target).exists():
            yield f"links to {target}, which does not exist"


def has_plain_words(nb):
    for cell in markdown_cells(nb):
        for word in BANNED.findall(without_code(source(cell))):
            yield f"says {word!r}: {source(cell)[:50]!r}"


def has_small_file(nb, file: Path):
    if file.stat().st_size > MAX_BYTES:
        yield f"is {file.stat().st_size / 1e6:.2f} MB, at most {MAX_BYTES / 1e6}"


# Lessons of the second edition


def is_further(nb):
    """For each cell the part to be skipped that it lies in, from a heading "## Further: ..." to the next "## "; or ""."""
    further = ""
    for cell in nb["cells"]:
        for line in source(cell).splitlines() if cell["cell_type"] == "markdown" else ():
            if line.startswith("## "):
                further = line.removeprefix(FURTHER) if line.startswith(FURTHER) else ""
        yield further


def core_and_further(nb):
    """The code cells in order: (number, source, the part to be skipped or "")."""
    both = [
        (source(c), f) for c, f in zip(nb["cells"], is_further(nb)) if c["cell_type"] == "code" and source(c).strip()
    ]
    return [(number, text, further) for number, (text, further) in enumerate(both, 1)]


def _names(node, kind):
    """Names that a piece of code reads (ast.Load) or binds (ast.Store) outside of its functions' own scopes."""
    table = symtable.symtable(ast.unparse(node), "cell", "exec")
    inner, found = [table], set()
    while inner:
        scope = inner.pop()
        inner += scope.get_children()
        for symbol in scope.get_symbols():
            if kind is ast.Load and symbol.is_referenced() and (scope is table or symbol.is_global()):
                found.add(symbol.get_name())
            if kind is ast.Store and scope is table and (symbol.is_assigned() or symbol.is_imported()):
                found.add(symbol.get_name())
    return found


def read_and_bound(text):
    """The names that a code cell takes from the cells above it, and those that it binds."""
    read, bound = set(), set()
    for statement in ast.parse(text).body:
        binds, early = _names(statement, ast.Store), None
        if isinstance(statement, (ast.Assign, ast.AnnAssign, ast.AugAssign)):  # its right side comes first
            early = statement.value
        elif isinstance(statement, ast.For):
            early = statement.iter
        needs = _names(statement, ast.Load) - binds
        if early is not None:
            needs |= _names(ast.Expr(early), ast.Load)
        if isinstance(statement, ast.AugAssign):
            needs |= binds
        read |= needs - bound
        bound |= binds
    return read, bound


def can_skip_further(nb):
    """No cell reads a name whose last value comes out of a part marked Further that it is no part of; the first cell
    lists these parts."""
    last = {}
    for number, text, further in core_and_further(nb):
        read, bound = read_and_bound(text)
        for name in sorted(read & last.keys()):
            if last[name][1] not in ("", further):
                yield (
                    f"code cell {number}, {further or 'core'}, reads {name!r}, which code cell {last[name][0]} of the part "
                    f"{last[name][1]!r} binds"
                )
        last.update(dict.fromkeys(bound, (number, further)))
    first = " ".join(source(nb["cells"][0]).split())
    for cell in markdown_cells(nb):
        for title in re.findall(rf"(?m)^{FURTHER}(.*)$", source(cell)):
            if title.strip() not in first:
                yield f"the first cell does not list the part {title.strip()!r}"


def has_short_core(nb):
    lines = [
        line
        for number, text, further in core_and_further(nb)
        if number > 2 and not further
        for line in text.splitlines()
        if line.strip()
    ]
    if len(lines) > CORE_LINES:
        yield f"the core path holds {len(lines)} lines of code, at most {CORE_LINES}"


def has_narrow_code(nb):
    for number, text, _ in core_and_further(nb):
        for line in text.splitlines():
            if len(line) > COLUMNS:
                yield f"code cell {number} has a line of {len(line)} columns, at most {COLUMNS}: {line.strip()[:40]!r}"


SECOND_EDITION = [can_skip_further, has_short_core, has_narrow_code]
RULES = [
    is_executed,
    has_pictures,
    has_clean_outputs,
    has_short_cells,
    has_short_prose,
    has_course_metadata,
    has_alt_text,
    has_plain_code,
    has_setup,
    has_progress,
    has_plain_words,
]
FILE_RULES = [has_live_links, has_small_file]  # these also look at where the notebook lies
