"""What a cell of a lesson asks a reader to guess: read off its code, which is not run. For the slides and for what a class hands in."""

import ast


def answers(source: str) -> list[tuple[str, ...]]:
    """The answers that each `predict` of a cell offers: texts that stand in the call, or in a name that is set in the same cell."""
    code, found = ast.parse(source), []
    named = {
        one.targets[0].id: _texts(one.value.elts)
        for one in ast.walk(code)
        if isinstance(one, ast.Assign)
        and isinstance(one.targets[0], ast.Name)
        and isinstance(one.value, ast.Tuple | ast.List)
    }
    for call in ast.walk(code):
        if isinstance(call, ast.Call) and "predict" in (getattr(call.func, "id", ""), getattr(call.func, "attr", "")):
            starred = [one.value for one in call.args if isinstance(one, ast.Starred)]
            held = (
                named.get(getattr(starred[0], "id", "")) if len(starred) == len(call.args) == 1 else _texts(call.args)
            )
            found += [held] if held else []
    return found


def _texts(nodes) -> tuple[str, ...] | None:
    texts = tuple(one.value for one in nodes if isinstance(one, ast.Constant) and isinstance(one.value, str))
    return texts if len(texts) == len(nodes) else None
