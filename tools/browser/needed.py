"""Which cells of a notebook its panels need. nbval has run all cells, so the browser runs these only.

The rule, read off the source: a cell is needed if it shows a panel, if it is the first one, or if it binds or
changes a name that a needed cell below it reads. Changed is what is assigned to in part (`a[0] = 1`, `a.b = 1`) and,
in a call whose value nobody takes or sees (the last line shows its), what it is made on (`a.append(1)`,
`optimizer.step()`) or else what it is given (`train(net)`, `save(a, folder / "name")`). A module is never changed,
and nothing by what only prints or displays.
"""

import ast
import symtable
from dataclasses import dataclass

from helpers.panels.base import STILL

LOOK_ONLY = ("print", "display")


@dataclass(frozen=True)
class Names:
    """What one cell reads from above it, binds anew (imports among it), and changes without: sets of names."""

    reads: set
    binds: set
    imports: set
    changes: set


def shows_panel(cell):
    """Whether a committed, executed code cell has a panel among its outputs."""
    return any("".join(output.get("data", {}).get("text/plain", "")).startswith(STILL) for output in cell["outputs"])


def is_panel(cell):
    """Whether an executed cell's value is a panel, and so one that is moved: what a training displays is its bar."""
    return shows_panel({"outputs": [one for one in cell["outputs"] if one["output_type"] == "execute_result"]})


def shows_value(cell):
    """Whether the last line of an executed code cell has a value."""
    return any(output["output_type"] == "execute_result" for output in cell["outputs"])


def needed_cells(cells):
    """Indices of the needed ones among a notebook's code cells (as nbformat has them), in order."""
    names = [names_of("".join(cell["source"]), shows_value(cell)) for cell in cells]
    modules = set().union(*(one.imports for one in names))
    needed = set()

    def need(i):
        if i in needed:
            return
        needed.add(i)
        for name in names[i].reads | names[i].changes:
            for above in range(i - 1, -1, -1):
                if name in names[above].binds | (names[above].changes - modules):
                    need(above)
                if name in names[above].binds:
                    break

    for i, cell in enumerate(cells):
        if i == 0 or shows_panel(cell):
            need(i)
    return sorted(needed)


def names_of(source, shown=False):
    """The Names of a cell's source. shown: the value of its last line is."""
    names = Names(set(), set(), set(), set())
    body = ast.parse(source).body
    for i, statement in enumerate(body):
        note(statement, names, shown and i == len(body) - 1)
    return names


def note(statement, names, shown=False):
    """Add what one statement reads, binds and changes. shown: its value is what the cell shows."""
    if isinstance(statement, ast.For | ast.While | ast.If | ast.With):
        head, bound = parts_of_head(statement)
        for part in head:
            note(ast.Expr(part), names, shown=True)
        names.binds.update(bound)
        for inner in [*statement.body, *getattr(statement, "orelse", [])]:
            note(inner, names)
        return
    table = symtable.symtable(ast.unparse(statement), "cell", "exec")
    names.reads.update(set(read_from(table)) - names.binds)
    names.imports.update(symbol.get_name() for symbol in table.get_symbols() if symbol.is_imported())
    names.binds.update(symbol.get_name() for symbol in table.get_symbols() if symbol.is_assigned())
    names.binds.update(names.imports)
    for node in ast.walk(statement):
        if isinstance(node, ast.Subscript | ast.Attribute) and not isinstance(node.ctx, ast.Load):
            names.changes.update(owner(node))
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call) and not shown:
        names.changes.update(changed_by(statement.value))


def changed_by(call):
    """What a call changes whose value nobody takes: `a.append(1)` changes a, `save(a, b / "file")` a and b."""
    if isinstance(call.func, ast.Attribute):
        return owner(call.func)
    if ast.unparse(call.func) in LOOK_ONLY:
        return set()
    given = [*call.args, *(keyword.value for keyword in call.keywords)]
    return set().union(*(owner(one.left if isinstance(one, ast.BinOp) else one) for one in given))


def parts_of_head(statement):
    """What a compound statement reads before its body, and the names it binds for it."""
    if isinstance(statement, ast.With):
        head, targets = [item.context_expr for item in statement.items], [i.optional_vars for i in statement.items]
    elif isinstance(statement, ast.For):
        head, targets = [statement.iter], [statement.target]
    else:
        head, targets = [statement.test], []
    return head, {node.id for target in targets if target for node in ast.walk(target) if isinstance(node, ast.Name)}


def read_from(table, top=True):
    """Names that a piece of code takes from the notebook, in its functions and comprehensions too."""
    for symbol in table.get_symbols():
        if symbol.is_referenced() and (top or symbol.is_global()):
            yield symbol.get_name()
    for inner in table.get_children():
        yield from read_from(inner, top=False)


def owner(node):
    """The name at the root of `a.b[0].c`: {"a"}; of anything else nothing."""
    while isinstance(node, ast.Subscript | ast.Attribute):
        node = node.value
    return {node.id} if isinstance(node, ast.Name) else set()


def rebound_later(cells):
    """Complaints: what a panel reads when it is moved is a name that a cell below it binds to another thing."""
    names = [names_of("".join(cell["source"]), shows_value(cell)) for cell in cells]
    functions = [functions_of("".join(cell["source"])) for cell in cells]
    for i in filter(lambda i: is_panel(cells[i]), range(len(cells))):
        waiting, seen = [("lambda", i), *((name, i) for name in names[i].reads)], set()
        while waiting:
            name, place = waiting.pop()
            above = [k for k in range(i if name == "lambda" else 0, place + 1) if name in functions[k]][-1:]
            for place in {*above} - {k for called, k in seen if called == name}:
                seen.add((name, place))
                waiting += [(read, place) for read in functions[place][name]]
                for read in functions[place][name]:
                    yield from (
                        f"code cell {k + 1} rebinds {read}, which the panel of code cell {i + 1} reads"
                        for k in range(i + 1, len(cells))
                        if read in names[k].binds
                    )


def functions_of(source):
    """{name: what it reads from the notebook} of the functions of a cell; all its lambdas are "lambda"."""
    found = {}
    for table in symtable.symtable(source, "cell", "exec").get_children():
        if table.get_type() == "function":
            found.setdefault(table.get_name(), set()).update(read_from(table, top=False))
    return found
