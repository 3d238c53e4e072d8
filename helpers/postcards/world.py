"""What holds for the postcard world alone, and the sentence that stands there where another model is loaded."""


def postcards_only(c, left_out):
    """Whether a model draws postcards; where it does not, one sentence says what is left out.

        if postcards_only(c, "the count of tents, since the judge reads nothing but postcards"):
            ...

    c: Components. left_out: what, and why; and, after a semicolon, what to look at instead.
    """
    if c.world != "postcards":
        print(f"Left out with this model: {left_out}.")
    return c.world == "postcards"
