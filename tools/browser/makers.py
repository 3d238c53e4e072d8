"""What in helpers/panels makes a panel, and which of that the notebooks show."""

import ast
import importlib
import inspect
import json
import pkgutil

from helpers import panels
from helpers.panels.base import Still
from tools.browser.needed import shows_panel


def makers():
    """{name: function or class}: public functions that return a panel, and classes of panels, but none that another of them
    returns or extends."""
    names = [found.name for found in pkgutil.iter_modules(panels.__path__)]
    modules = [importlib.import_module(f"helpers.panels.{name}") for name in names]
    own = [
        (module, name, thing)
        for module in modules
        for name, thing in vars(module).items()
        if getattr(thing, "__module__", "") == module.__name__ and not name.startswith("_")
    ]
    made = {thing for _, _, thing in own if inspect.isclass(thing) and issubclass(thing, Still)}
    inner, before = {base for one in made for base in one.__mro__[1:]}, None
    while before != len(made):  # a function may return what another one returns
        before = len(made)
        for module, _, thing in own:
            if inspect.isfunction(thing):
                returned = {vars(module).get(called) for called in returned_calls(thing)} & made
                made |= {thing} if returned else set()
                inner |= returned - {thing}
    return {f"{one.__module__}.{one.__name__}": one for one in made - inner}


def returned_calls(function):
    """Names of what a function calls to make its result: {"Panel"} for `return Panel(...)`."""
    body = ast.parse(inspect.getsource(function)).body[0]
    return {
        node.value.func.id
        for node in ast.walk(body)
        if isinstance(node, ast.Return) and isinstance(node.value, ast.Call) and isinstance(node.value.func, ast.Name)
    }


def made_in(file):
    """Whatever of helpers.panels is called in the cells of a notebook that show a panel: a list of objects."""
    cells = [cell for cell in json.loads(file.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    known, found = {}, []
    for cell in cells:
        tree = ast.parse("".join(cell["source"]))
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("helpers.panels"):
                known |= {one.asname or one.name: imported(node.module, one.name) for one in node.names}
        if shows_panel(cell):
            calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
            found += [thing for function in calls for thing in called(function, known)]
    return found


def imported(module, name):
    """What `from module import name` gives: an attribute, or a module in it."""
    thing = getattr(importlib.import_module(module), name, None)
    return thing if thing is not None else importlib.import_module(f"{module}.{name}")


def called(function, known):
    """The object that a call's function stands for, if it came from helpers.panels: one or none."""
    if isinstance(function, ast.Name):
        return [known[function.id]] if function.id in known else []
    if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name) and function.value.id in known:
        return [getattr(known[function.value.id], function.attr)]
    return []
