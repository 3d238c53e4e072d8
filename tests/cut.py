"""What a lesson asserts of trainings that `make test-gpu ARGS=--cut` breaks off after a few steps, and how it is left out."""

NOT_ASSERTED = {  # lesson: what it asserts, line for line, after trainings that --cut breaks off
    "05": [
        'assert cosine < 0.9 or c.world != "postcards"',
        "    assert hits > 0.5 and hits - max(others) >= 0.2",
        '    assert mill["your LoRA"]["windmill"][0] > mill["the vector"]["windmill"][0]',
    ]
}


def leave_out(lesson, asserted):
    """Turn assertions into nothing. ValueError for one that the lesson does not make, exactly once."""
    for line in asserted:
        cells = [cell for cell in lesson.cells if cell.cell_type == "code" and line in cell.source.splitlines()]
        if len(cells) != 1 or not line.lstrip().startswith("assert "):
            raise ValueError(f"{len(cells)} cells hold the line {line!r}, not one: NOT_ASSERTED is out of date.")
        indent = line[: len(line) - len(line.lstrip())]
        cells[0].source = "\n".join(f"{indent}pass" if one == line else one for one in cells[0].source.splitlines())
