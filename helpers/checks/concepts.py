"""Exercises 1 to 4, lesson 05. A check tries properties from the most telling to the least, and stops at
the first that fails."""

import torch

from helpers.checks.base import Refused, Sheet, Uncopied, close, random
from helpers.figures import intervals

sheet = Sheet("05")
progress, yours, yours_else = sheet.progress, sheet.yours, sheet.yours_else
RATE, DECAY = 0.1, 0.05


class Words(Uncopied, torch.nn.Embedding):
    """A table of word vectors."""

    def __init__(self, rows):
        super().__init__(*rows.shape, _weight=rows.clone())


class Steady(Uncopied, torch.optim.AdamW):
    """The library's AdamW."""


class Distance(Uncopied):
    """A loss: how far the rows of a table are from some others. It counts how often it is asked."""

    def __init__(self, words, targets):
        self.words, self.targets, self.asked = words, targets, 0

    def __call__(self):
        self.asked += 1
        return self.of(self.words.weight)

    def of(self, table):
        """The same of any table."""
        return (table - self.targets[min(self.asked, len(self.targets)) - 1]).square().mean()


class Followed:
    """What AdamW makes of a table, step by step, with every other row put back. forgets: its gradients are never cleared."""

    def __init__(self, start, new, forgets=False):
        self.rows, self.start, self.new, self.forgets = torch.nn.Parameter(start.clone()), start, new, forgets
        self.optimizer, self.grad = torch.optim.AdamW([self.rows], lr=RATE, weight_decay=DECAY), 0

    def step(self, grad):
        """The rows of the new words after one more step."""
        self.grad = self.grad + grad if self.forgets else grad
        self.rows.grad = self.grad.clone()
        self.optimizer.step()
        with torch.no_grad():
            kept = self.rows[self.new].clone()
            self.rows.copy_(self.start)
            self.rows[self.new] = kept
        return kept


@sheet.exercise(1, float, "the loss")
def inversion_step(answer):
    """inversion_step(words, new_ids, optimizer, loss_of) -> loss: one step on an nn.Embedding, of which only the rows new_ids
    move."""
    start, new, old = random(20, 6), [7, 19], [i for i in range(20) if i not in (7, 19)]
    words = Words(start)
    weight, loss_of = words.weight, Distance(words, random(3, 20, 6, seed=1))
    optimizer = Steady(words.parameters(), lr=RATE, weight_decay=DECAY)
    right, forgets = Followed(start, new), Followed(start, new, forgets=True)
    for step in range(3):
        before, asked = words.weight.detach().clone(), loss_of.asked
        loss = answer(words, new, optimizer, loss_of)
        if loss_of.asked != asked + 1:
            return (
                f"the loss is asked for {loss_of.asked - asked} times in one step: loss = loss_of(), once"
                if loss_of.asked > asked
                else "the loss is never asked for: loss = loss_of()"
            )
        table = before.clone().requires_grad_()
        loss_of.of(table).backward()
        if words.weight is not weight:
            return (
                "words.weight is another tensor now, and the optimizer goes on with the old one: write into it, under "
                "torch.no_grad()"
            )
        hint = _rows_hint(words.weight.detach() - before, before, table.grad, new, old)
        if hint:
            return hint
        after, wanted, forgotten = words.weight.detach()[new], right.step(table.grad), forgets.step(table.grad)
        if not close(after, wanted, 1e-4):
            if close(after, forgotten, 1e-4):
                return "the gradient of the step before is still there: optimizer.zero_grad() before loss.backward()"
            return (
                "the new rows move, but not by one step of the optimizer: loss.backward(), then optimizer.step(), once"
            )
        expected = loss_of.of(before).item()
        if not close(loss, expected, 1e-4 * (1 + expected)):
            return f"you return {loss:.3f}, and the loss of this step is {expected:.3f}: return loss.item()"


def _rows_hint(moved, before, grad, new, old):
    """A hint where the wrong rows have moved in one step of AdamW, or None."""
    far, drift = moved[new].abs().amax(1), moved[old].abs().max().item()
    if far.max() == 0:
        return (
            "the new word did not learn and the old ones did: it is the wrong way round"
            if drift > 0
            else "no row has moved: loss.backward(), and then optimizer.step()"
        )
    if far.min() == 0:
        return "one of the two new words did not learn: new_ids can hold several rows"
    if drift > 0 and close(moved[old], -RATE * DECAY * before[old], 1e-6):
        return (
            f"old words drift by {drift:.1g}: a gradient of zero is not enough, weight decay moves them all the same; put the "
            "rows back"
        )
    if drift > 0:
        return (
            f"old words moved by {drift:.1g}: only the rows of new_ids may learn, so put the others back after the step"
        )
    if ((moved * grad)[new].sum(1) > 0).all():
        return "the new word goes uphill: a step goes against the gradient"


# Pairs in which one side alone is a yes


@sheet.exercise(2, list, "how many pairs")
def only_one(answer):
    """only_one(some, others) -> two counts: of pairs of yes or no, in how many only the first is a yes, in how many only the second."""
    some = [True, True, False, True, True, False, True]
    others = [True, False, True, False, True, False, False]
    said = answer(some, others)
    if len(said) != 2:
        return f"return two counts: only the first is true, and only the second; yours are {len(said)}"
    if said == [1, 3]:
        return "the other way round: first the pairs in which only the first is true"
    if said == [5, 3]:
        return "5 and 3 are the totals: where both of a pair are true, it counts on neither side"
    if said in ([2, 0], [0, 2]):
        return "that is the difference of the totals, 5 and 3: in one pair only the second is true, and in three only the first"
    if said == [4, 4]:
        return "4 pairs differ: count those in which only the first is true, and apart from them those in which only the second is"
    if said == [2, 1]:
        return "in two pairs both are true, and in one neither: count the pairs that differ"
    if said != [3, 1]:
        return f"of {yes_or_no(some)} and {yes_or_no(others)} three have only the first true and one only the second; you return {said}"
    for some, others in (
        ([False, False, True], [True, True, True]),
        ([True, True], [False, False]),
        ([False, True, False], [False, True, False]),
        ([False] * 9 + [True], [True] * 9 + [False]),
    ):
        wanted, said = [*intervals.only_one(some, others)], answer(some, others)
        if said != wanted:
            return f"of {yes_or_no(some)} and {yes_or_no(others)} the counts are {wanted[0]} and {wanted[1]}; you return {said}"


def yes_or_no(some):
    """Readings as they are spoken of: "yes no no"."""
    return " ".join("yes" if one else "no" for one in some)


# A layer with a change of low rank beside it


def _layer_of(make):
    """What a layer made by `make(linear, rank, alpha)` answers, as a function of tensors.

    A, B: None, as the layer begins, or what is written into its own. how: "half" beside a layer in float16; "elsewhere" on
    a device that holds no numbers.
    """

    def layer(x, W, b, rank, alpha, A=None, B=None, how=""):
        kind = {"half": {"dtype": torch.float16}, "elsewhere": {"device": "meta"}}.get(how, {})
        linear = torch.nn.Linear(W.shape[1], W.shape[0], **kind).requires_grad_(False)
        if how != "elsewhere":
            linear.weight.copy_(W), linear.bias.copy_(b)
        made = make(linear, rank, alpha)
        if not isinstance(made, torch.nn.Module):
            return made
        if hasattr(made, "A") and hasattr(made, "B"):
            _look_inside(made, rank, W.shape, how)
        y = made(x.to(linear.weight)) if how != "elsewhere" else x.new_zeros(*x.shape[:-1], len(W))
        if y is None:
            if hasattr(made, "A") and hasattr(made, "B"):
                raise Refused("A and B are there, but forward returns None: is a return missing?")
            return None
        _look_inside(made, rank, W.shape, how)
        if how == "half" and isinstance(y, torch.Tensor):
            if y.dtype != torch.float16:
                raise Refused("beside a layer in float16 the answer has to be float16 again: change.to(x.dtype)")
            y = y.float()
        if A is None:
            return y
        with torch.no_grad():
            made.A.copy_(A), made.B.copy_(B)
        with torch.enable_grad():  # whatever the answer has set
            y = made(x)
            learns = (
                isinstance(y, torch.Tensor)
                and y.requires_grad
                and all(
                    one is not None and one.any()
                    for one in torch.autograd.grad(y.square().sum(), (made.A, made.B), allow_unused=True)
                )
            )
        if not learns:
            raise Refused(
                "no gradient reaches both matrices: compute with self.A and self.B themselves, neither detached nor copied"
            )
        return y

    return layer


def _look_inside(made, rank, shape, how):
    """Raise Refused where a layer's A and B cannot be trained."""
    A, B = getattr(made, "A", None), getattr(made, "B", None)
    if A is None or B is None:
        raise Refused("the layer has no self.A and self.B: give the two matrices these names")
    if isinstance(A, torch.nn.Module) or isinstance(B, torch.nn.Module):
        raise Refused("self.A and self.B are layers of their own: make each one matrix, a torch.nn.Parameter")
    if not isinstance(A, torch.nn.Parameter) or not isinstance(B, torch.nn.Parameter):
        raise Refused("an optimizer would not find them: make self.A and self.B a torch.nn.Parameter each")
    if (A.shape, B.shape) != ((rank, shape[1]), (shape[0], rank)):
        raise Refused(
            f"A has shape {tuple(A.shape)} and B {tuple(B.shape)}, expected (rank, in) = {(rank, shape[1])} and "
            f"(out, rank) = {(shape[0], rank)}"
        )
    if A.dtype != torch.float32 or B.dtype != torch.float32:
        raise Refused("A and B learn in small steps: make them float32, whatever the layer is")
    if how == "elsewhere":
        if A.device.type != "meta" or B.device.type != "meta":
            raise Refused("A and B have to be where the layer is: device=linear.weight.device")
    elif not (A.any() or B.any()):
        raise Refused(
            "A and B both begin with zeros: then neither ever gets a gradient; let A begin with small random numbers"
        )


@sheet.exercise(3, lambda x, W, *others: (*x.shape[:-1], len(W)))
def lora_layer(answer):
    """lora_layer(LoraLinear): LoraLinear(linear, rank, alpha) is a module with A and B, and takes x (..., in) to (..., out)."""
    answer.function = _layer_of(answer.function)
    x, weight, bias = random(3, 10), random(5, 10, seed=1), random(5, seed=2)
    down, up, frozen = random(2, 10, seed=3), random(5, 2, seed=4), x @ weight.T + bias
    untouched = answer(x, weight, bias, 2, 4.0)
    if close(untouched, 0, 1e-6):
        return "at the start you return zeros: the answer of the frozen layer stays, the change is added to it"
    if close(untouched, frozen - bias, 1e-5):
        return "the bias of the frozen layer is lost: call self.linear(x)"
    if not close(untouched, frozen, 1e-5):
        return "at the start nothing may change: let one of the two, say B, begin with zeros, and add the change to self.linear(x)"
    nothing = torch.zeros(5)
    for rank, alpha, down_then, up_then in ((2, 6.0, down, up), (4, 3.0, random(4, 10, seed=5), random(5, 4, seed=6))):
        columns = answer(
            torch.eye(10), torch.zeros(5, 10), nothing, rank, alpha, down_then, up_then
        )  # (10, 5), transposed
        if close(columns, 0, 1e-6):
            return "A and B change nothing: add what they make of x"
        if torch.linalg.matrix_rank(columns, rtol=1e-4) > rank:
            return "the change has a higher rank than A has rows: it is a product of two matrices, no more"
        if hint := _size_hint(columns.T, up_then @ down_then, alpha, rank):
            return hint
    if not close(answer(x, weight, bias, 2, 4.0, down, up), frozen + 2 * x @ down.T @ up.T, 1e-4):
        return "right without the frozen layer or without the change, but not for both together"
    rows = random(2, 3, 10, seed=7)
    if not close(answer(rows, weight, bias, 2, 4.0, down, up), rows @ weight.T + bias + 2 * rows @ down.T @ up.T, 1e-4):
        return "right for x of shape (n, in), but in the U-Net x is (B, n, in)"
    if not close(answer(rows, weight, bias, 2, 4.0, None, None, "half"), rows @ weight.T + bias, 2e-2):
        return "wrong beside a layer in float16, as it is on a graphics card: (x.float() @ self.A.T) is computed in float32"
    answer(x, weight, bias, 2, 4.0, None, None, "elsewhere")


def _size_hint(change, product, alpha, rank):
    """A hint where a change (out, in) is not alpha / rank times B A, else None."""
    size, right = ((change * product).sum() / product.square().sum()).item(), alpha / rank
    if not close(change, size * product, 1e-4):
        return "the change is no multiple of B @ A"
    known = {
        1: "A and B are right, but alpha is not used",
        1 / rank: "it is divided by the rank, but alpha is not used",
        alpha / rank**0.5: "alpha is divided by the root of the rank: divide by the rank itself",
        alpha: "alpha is not divided by the rank",
        alpha * rank: "alpha is multiplied by the rank, not divided by it",
        -right: "it is subtracted, not added",
        alpha / change.shape[1]: "alpha is divided by the width of the input; the rank is how many rows A has",
        1 / right: "that is rank / alpha: the fraction is upside down",
    }
    why = next((why for factor, why in known.items() if abs(size - factor) < 1e-4), "the size is off")
    if not close(size, right, 1e-4):
        return f"the change is {size:.3g} times B A, expected alpha / rank = {right:g}: {why}"


@sheet.exercise(4, lambda W, loras: W.shape)
def merge(answer):
    """merge(W, loras) -> (out, in): W (out, in); loras, a list of (A, B, alpha, strength), A (r, in), B (out, r)."""
    weight, down, up = random(7, 7), random(2, 7, seed=1), random(7, 2, seed=2)
    if not close(answer(weight, []), weight, 1e-6):
        return "without a LoRA the weight has to come out as it is"
    merged = answer(weight, [(down, up, 6.0, 1.0)])  # 6 / 2 is no other mistake's number
    change = merged - weight
    if close(change, 0, 1e-6):
        return "you return W as it is: add the changes"
    if close(merged, 3 * up @ down, 1e-4):
        return "that is the change alone: add it to W"
    if close(change, 3 * (up @ down).T, 1e-4):
        return "the change is transposed: the weight is (out, in), so it is B @ A"
    if hint := _size_hint(change, up @ down, 6.0, 2):
        return hint
    half = answer(weight, [(down, up, 6.0, -0.5)]) - weight
    if not close(half, -1.5 * up @ down, 1e-4):
        return (
            "the strength is not used: each change counts strength * alpha / rank"
            if close(half, 3 * up @ down, 1e-4)
            else "right at strength 1, but not at strength -0.5: each change counts strength * alpha / rank"
        )
    wide, one = random(5, 8, seed=3), (random(2, 8, seed=4), random(5, 2, seed=5), 4.0, 1.0)
    other = random(3, 8, seed=6), random(5, 3, seed=7), 1.5, 0.5
    both, first, second = answer(wide, [one, other]) - wide, 2 * one[1] @ one[0], 0.25 * other[1] @ other[0]
    if close(both, first, 1e-4) or close(both, second, 1e-4):
        return "of two LoRAs only one is in the answer: add the changes of all"
    if not close(both, first + second, 1e-4):
        return "right for one LoRA and a square W, but not for two of different ranks beside a W with more columns than rows"
