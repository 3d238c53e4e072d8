"""What is left out with a model whose pictures the course cannot check, and how that is said."""

import pytest

from helpers import load_components
from helpers.postcards import on_postcards, postcards_only


def test_with_the_bundled_model_nothing_is_left_out(capsys):
    c = load_components("postcard", device="cpu")
    assert postcards_only(c, "the count of tents") and on_postcards(c, 2 > 1) and not on_postcards(c, 1 > 2)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("which", ["stranger_folder", "model_folders"])
def test_with_another_one_a_sentence_says_so(which, request, capsys):
    folder = request.getfixturevalue(which)
    c = load_components(folder if which == "stranger_folder" else folder["postcard"], device="cpu")
    assert not postcards_only(c, "the count of tents, since the judge reads postcards alone") and on_postcards(c, 1 > 2)
    assert capsys.readouterr().out == (
        "Left out with this model: the count of tents, since the judge reads postcards alone.\n"
    )
