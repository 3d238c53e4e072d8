"""What holds for the postcard world alone, and what stands there where another model is loaded."""


def postcards_only(c, left_out):
    """Whether a model draws postcards; where it does not, one sentence says what is left out.

        if postcards_only(c, "the count of tents, since the judge reads nothing but postcards"):
            ...

    c: Components. left_out: what, and why; and, after a semicolon, what to look at instead.
    """
    if c.world != "postcards":
        print(f"Left out with this model: {left_out}.")
    return c.world == "postcards"


def on_postcards(c, claim):
    """Whether a claim about postcards holds; True where another model is loaded, of which nothing is claimed.

        assert on_postcards(c, r2 > 0.5)

    c: Components. claim: a condition, of Python or of a tensor with one number.
    """
    return c.world != "postcards" or bool(claim)
