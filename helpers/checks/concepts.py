"""Exercises 1 to 3, lesson 05. A check tries properties from the most telling to the least, and stops at
the first that fails."""
import torch

from .base import Sheet, close, random

sheet = Sheet("05")
progress, yours, yours_else = sheet.progress, sheet.yours, sheet.yours_else


@sheet.exercise(1, lambda table, grad, new_ids: table.shape)
def train_only(answer):
    """train_only(table, grad, new_ids) -> table after one AdamW step: table, grad (V, d), new_ids a list."""
    start, new, old = random(20, 6), [7, 19], [i for i in range(20) if i not in (7, 19)]
    grads, table = [random(20, 6, seed=seed) for seed in (1, 2, 3)], start
    for grad in grads:
        before, table = table, answer(table, grad, new)
    moved = (table - start).abs().amax(1)                                   # (V, d) -> (V,)
    far, drift = moved[new].max().item(), moved[old].max().item()
    if far == 0:
        if drift > 0:
            return "the new word did not learn and the old ones did: the mask is the wrong way round"
        return "the new word did not move: take the optimiser's step, and keep its rows"
    if close(table[new], before[new], 0):
        return "the new word moves in the first step only: every call is a step from the table it is given"
    if moved[new].min() == 0:
        return "one of the two new words did not learn: new_ids can hold several rows"
    if drift > far / 4:
        return f"old words moved by {drift:.1g}: only the rows of new_ids may learn"
    if drift > 0:
        return (f"old words drift by {drift:.1g} in three steps: a gradient of zero is not enough, weight "
                "decay moves them all the same; put the rows back")
    step = answer(start, grads[0], new)[new] - start[new]
    if ((step * grads[0][new]) > 0).all():
        return "the new word goes uphill: a step goes against the gradient"
    if not close(step.abs(), step.abs().mean(), 0.1 * step.abs().mean()):
        return ("the rows of new_ids learn, but not by AdamW, whose first step has the same size for every "
                "number: use adamw_step")


@sheet.exercise(2, lambda x, W, A, B, alpha: (*x.shape[:-1], len(W)))
def lora_linear(answer):
    """lora_linear(x, W, A, B, alpha) -> (n, out): x (n, in), W (out, in), A (r, in), B (out, r), alpha one
    number."""
    x, weight = random(3, 10), random(5, 10, seed=1)
    down, up = random(2, 10, seed=2), random(5, 2, seed=3)
    frozen, zero = x @ weight.T, torch.zeros(5, 2)
    untouched = answer(x, weight, down, zero, 4.0)
    if close(untouched, 0, 1e-6):
        return "with B = 0 you return zeros: the frozen layer x W^T stays, the update is added to it"
    if not close(untouched, frozen, 1e-5):
        return "with B = 0 nothing may change: the answer must be x W^T"
    columns = answer(torch.eye(10), torch.zeros(5, 10), down, up, 4.0)      # (10, 5): the change, transposed
    if close(columns, 0, 1e-6):
        return "A and B change nothing: add what they make of x"
    if torch.linalg.matrix_rank(columns, rtol=1e-4) > 2:
        return "the change has a higher rank than 2 rows of A allow: the update is a product of two matrices, no more"
    if hint := _size_hint(columns.T, up @ down):
        return hint
    if not close(answer(x, weight, down, up, 4.0), frozen + 2 * x @ down.T @ up.T, 1e-4):
        return "right without W or without B, but not for both together: x W^T plus the update"
    rows = random(2, 3, 10, seed=4)
    if not close(answer(rows, weight, down, up, 4.0), rows @ weight.T + 2 * rows @ down.T @ up.T, 1e-4):
        return "right for x of shape (n, in), but in the U-Net x is (B, n, in)"


def _size_hint(change, product):
    """A hint where a change (out, in), made with alpha = 4 and r = 2, is not 2 B A, else None."""
    size = ((change * product).sum() / product.square().sum()).item()
    if not close(change, size * product, 1e-4):
        return "the change is no multiple of B @ A"
    known = {1: "A and B are right, but alpha is not used", 4: "alpha is not divided by the rank",
             8: "alpha is multiplied by the rank, not divided by it", -2: "it is subtracted, not added",
             4 / change.shape[1]: "alpha is divided by the width of the input; r is how many rows A has",
             0.5: "that is r / alpha: the fraction is upside down"}
    why = next((why for factor, why in known.items() if abs(size - factor) < 1e-4), "the size is off")
    if not close(size, 2, 1e-4):
        return f"the change is {size:.3g} times B A, expected alpha / r = 2: {why}"


@sheet.exercise(3, lambda W, A, B, alpha: W.shape)
def merge(answer):
    """merge(W, A, B, alpha) -> (out, in): W (out, in), A (r, in), B (out, r), alpha a number."""
    weight, down, up = random(6, 6), random(2, 6, seed=1), random(6, 2, seed=2)
    merged = answer(weight, down, up, 4.0)
    if 0 in answer.changed:
        return "the base weights changed: return a new matrix, and leave W as it is"
    change = merged - weight
    if close(change, 0, 1e-6):
        return "you return W as it is: add the change"
    if close(merged, 2 * up @ down, 1e-4):
        return "that is the change alone: add it to W"
    if close(change, 2 * (up @ down).T, 1e-4):
        return "the change is transposed: the weight is (out, in), so it is B @ A"
    if hint := _size_hint(change, up @ down):
        return hint
    wide, tall, up = random(5, 8, seed=3), random(2, 8, seed=4), random(5, 2, seed=5)
    if not close(answer(wide, tall, up, 4.0), wide + 2 * up @ tall, 1e-5):
        return "right for a square W, but not where it has more columns than rows"
