"""What runs in a lesson's kernel when the rivals of a claim are tried there; claims.py says what that is.

The kernel may be of another environment than the tests': nothing of theirs is imported here.
"""

import random


def tried(statement, rivals, names):
    """What is wrong with the rivals of one claim: those that pass, and those that stop for another reason.

    Runs in the lesson's kernel. Whatever a rival draws, the lesson's random numbers go on as if it had not.
    """
    complaints, restore = [], remember(names)
    for rival, code in rivals.items():
        world, part = dict(names), "its own code"
        try:
            exec(code, world)
            part = "the claim"
            exec(statement, world)
        except AssertionError as problem:
            if part == "the claim":
                continue
            complaints.append(f"{rival}: its own code stopped with AssertionError: {problem}")
        except Exception as problem:
            complaints.append(f"{rival}: {part} stopped with {type(problem).__name__}: {problem}")
        else:
            complaints.append(f"{rival}: passes, so the claim says nothing")
        finally:
            restore()
    return complaints


def remember(names):
    """A function that puts all random states back: torch's, NumPy's, Python's, and those of the lesson's generators."""
    import numpy as np
    import torch

    set_states = [
        (torch.set_rng_state, torch.get_rng_state()),
        (np.random.set_state, np.random.get_state()),
        (random.setstate, random.getstate()),
    ]
    for thing in names.values():
        if isinstance(thing, torch.Generator):
            set_states.append((thing.set_state, thing.get_state()))
        elif isinstance(thing, random.Random):
            set_states.append((thing.setstate, thing.getstate()))

    def restore():
        for put_back, state in set_states:
            put_back(state)

    return restore
