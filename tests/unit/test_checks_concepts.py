"""Every check of lesson 05 accepts right answers, however written; each mistake gets its own hint."""

import peft
import pytest
import torch
import torch.nn.functional as F

from helpers.checks import concepts as checks

# inversion_step(words, new_ids, optimizer, loss_of)


def put_back(words, ids, optimizer, loss_of):
    before = words.weight.detach().clone()
    optimizer.zero_grad()
    loss = loss_of()
    loss.backward()
    optimizer.step()
    old = [i for i in range(len(before)) if i not in ids]
    with torch.no_grad():
        words.weight[old] = before[old]
    return loss.item()


def rows_kept(words, ids, optimizer, loss_of):
    words.weight.grad = None
    loss = loss_of()
    loss.backward()
    start = words.weight.data.clone()
    optimizer.step()
    start[ids] = words.weight.data[ids]
    words.weight.data.copy_(start)
    return loss


def chosen_by_where(words, ids, optimizer, loss_of):
    learns = torch.isin(torch.arange(words.num_embeddings), torch.tensor(ids))[:, None]
    start = words.weight.detach().clone()
    optimizer.zero_grad()
    loss = loss_of()
    loss.backward()
    words.weight.grad *= learns
    optimizer.step()
    words.weight.data = torch.where(learns, words.weight.data, start)
    return loss.detach()


def step(
    clear=True,
    ask=1,
    backward=True,
    move=True,
    back=True,
    mask=False,
    up=False,
    turned=False,
    only=None,
    loss=None,
    sgd=False,
):
    """A step with mistakes in it."""

    def answer(words, ids, optimizer, loss_of):
        before = words.weight.detach().clone()
        if clear:
            optimizer.zero_grad()
        value = torch.tensor(0.0)
        for _ in range(ask):
            value = loss_of()
        if backward and ask:
            (-value if up else value).backward()
        keep = (
            [i for i in range(len(before)) if (i in ids) == turned]
            if only is None
            else [i for i in range(len(before)) if i != only]
        )
        if mask:
            words.weight.grad[keep] = 0
        if sgd:
            words.weight.data -= 0.1 * words.weight.grad
        elif move:
            optimizer.step()
        if back:
            words.weight.data[keep] = before[keep]
        return value.item() if loss is None else loss

    return answer


def new_parameter(words, ids, optimizer, loss_of):
    loss = put_back(words, ids, optimizer, loss_of)
    words.weight = torch.nn.Parameter(words.weight.detach().clone())
    return loss


# only_one(some, others)


def in_pairs(some, others):
    pairs = [(bool(one), bool(other)) for one, other in zip(some, others)]
    return pairs.count((True, False)), pairs.count((False, True))


def one_by_one(some, others):
    first = second = 0
    for one, other in zip(some, others):
        first, second = first + (one and not other), second + (other and not one)
    return [int(first), int(second)]


# LoraLinear(linear, rank, alpha)


class AsPublished(torch.nn.Module):
    def __init__(self, linear, rank, alpha):
        super().__init__()
        self.linear, self.scale, where = linear, alpha / rank, linear.weight.device
        self.A = torch.nn.Parameter(torch.randn(rank, linear.in_features, device=where) / rank)
        self.B = torch.nn.Parameter(torch.zeros(linear.out_features, rank, device=where))

    def forward(self, x):
        return self.linear(x) + (self.scale * (x.float() @ self.A.T) @ self.B.T).to(x.dtype)


class Merging(torch.nn.Module):
    def __init__(self, linear, rank, alpha):
        super().__init__()
        out, width = linear.weight.shape
        self.frozen, self.rank, self.alpha = linear, rank, alpha
        self.A, self.B = torch.nn.Parameter(torch.empty(rank, width)), torch.nn.Parameter(torch.empty(out, rank))
        torch.nn.init.kaiming_uniform_(self.A), torch.nn.init.zeros_(self.B)
        self.to(linear.weight.device)

    def forward(self, x):
        weight = self.frozen.weight.float() + self.alpha / self.rank * self.B @ self.A
        return F.linear(x.float(), weight, self.frozen.bias.float()).to(x.dtype)


def layer(
    forward=None, scale=None, A=None, B=None, bias=True, names=("A", "B"), free=True, where=True, dtype=torch.float32
):
    """A layer with a mistake in it. forward(self, x, y, change): what it answers. A, B(rank, in or out): how they begin."""

    class Mistaken(AsPublished):
        def __init__(self, linear, rank, alpha):
            torch.nn.Module.__init__(self)
            device = linear.weight.device if where else "cpu"
            self.linear, self.rank, self.alpha = linear, rank, alpha
            self.scale = alpha / rank if scale is None else scale(alpha, rank, linear.in_features)
            start = (A or torch.randn)(rank, linear.in_features), (B or torch.zeros)(linear.out_features, rank)
            for name, one in zip(names, start):
                one = one.to(device, dtype)
                setattr(self, name, torch.nn.Parameter(one) if free else one)
            self.down, self.up = (getattr(self, name) for name in names)

        def forward(self, x):
            y = F.linear(x, self.linear.weight, self.linear.bias if bias else None)
            change = (self.scale * (x.to(self.down.dtype) @ self.down.T) @ self.up.T).to(x.dtype)
            return forward(self, x, y, change) if forward else y + change

    return lambda linear, rank, alpha: Mistaken(linear, rank, alpha)


class OfLayers(torch.nn.Module):
    def __init__(self, linear, rank, alpha):
        super().__init__()
        self.linear, self.scale = linear, alpha / rank
        self.A = torch.nn.Linear(linear.in_features, rank, bias=False)
        self.B = torch.nn.Linear(rank, linear.out_features, bias=False)
        torch.nn.init.zeros_(self.B.weight)

    def forward(self, x):
        return self.linear(x) + self.scale * self.B(self.A(x))


def change_of(A, B, alpha, strength):
    return strength * alpha / len(A) * B @ A


def merged(W, loras):
    for A, B, alpha, strength in loras:
        W = W + change_of(A, B, alpha, strength)
    return W.clone()


RIGHT = {
    "inversion_step": [put_back, rows_kept, chosen_by_where],
    "only_one": [
        in_pairs,
        one_by_one,
        lambda some, others: (sum(a > b for a, b in zip(some, others)), sum(b > a for a, b in zip(some, others))),
    ],
    "lora_layer": [
        lambda linear, rank, alpha: AsPublished(linear, rank, alpha),
        lambda linear, rank, alpha: Merging(linear, rank, alpha),
        layer(A=torch.zeros, B=torch.randn),
    ],
    "merge": [
        merged,
        lambda W, loras: sum((change_of(*one) for one in loras), W.clone()),
        lambda W, loras: (
            W
            + torch.stack(
                [torch.zeros_like(W)] + [torch.einsum("or,ri->oi", B, A) * (s * a / B.shape[1]) for A, B, a, s in loras]
            ).sum(0)
        ),
    ],
}


def of_each(change):
    """A merge that adds change(A, B, alpha, strength) of every LoRA."""
    return lambda W, loras: W + sum((change(*one) for one in loras), torch.zeros_like(W))


def merge_in_place(W, loras):
    for one in loras:
        W += change_of(*one)
    return W


WRONG = {
    "inversion_step": [
        (step(back=False), "only the rows of new_ids may learn"),
        (step(turned=True), "wrong way round"),
        (step(mask=True, back=False), "weight decay moves them all the same"),
        (step(move=False), "no row has moved"),
        (step(backward=False), "no row has moved"),
        (step(only=7), "one of the two new words"),
        (step(up=True), "goes uphill"),
        (step(sgd=True), "not by one step of the optimizer"),
        (step(clear=False), "the gradient of the step before is still there"),
        (step(ask=0, loss=1.0, backward=False), "never asked for"),
        (step(ask=2), "asked for 2 times"),
        (step(loss=0.0), "return loss.item()"),
        (new_parameter, "another tensor now"),
    ],
    "only_one": [
        (lambda some, others: in_pairs(others, some), "the other way round"),
        (lambda some, others: (sum(some), sum(others)), "are the totals"),
        (
            lambda some, others: (max(sum(some) - sum(others), 0), max(sum(others) - sum(some), 0)),
            "difference of the totals",
        ),
        (lambda some, others: [sum(in_pairs(some, others))] * 2, "4 pairs differ"),
        (
            lambda some, others: (
                sum(a and b for a, b in zip(some, others)),
                sum(not (a or b) for a, b in zip(some, others)),
            ),
            "both are true",
        ),
        (lambda some, others: [sum(in_pairs(some, others))], "return two counts"),
        (lambda some, others: (3, 2), "three have only the first true"),
        (lambda some, others: (3, 1), "the counts are 0 and 2"),
        (lambda some, others: (in_pairs(some, others)[0], min(1, in_pairs(some, others)[1])), "the counts are 0 and 2"),
    ],
    "lora_layer": [
        (layer(lambda self, x, y, change: change), "at the start you return zeros"),
        (layer(bias=False), "bias of the frozen layer is lost"),
        (layer(B=torch.ones), "at the start nothing may change"),
        (layer(A=torch.zeros), "neither ever gets a gradient"),
        (layer(names=("down", "up")), "no self.A and self.B"),
        (layer(free=False), "an optimizer would not find them"),
        (lambda linear, rank, alpha: OfLayers(linear, rank, alpha), "self.A and self.B are layers of their own"),
        (layer(lambda self, x, y, change: None), "A and B are there, but forward returns None"),
        (
            layer(
                A=lambda r, n: torch.randn(n, r), forward=lambda self, x, y, change: y, B=lambda o, r: torch.zeros(r, o)
            ),
            "expected (rank, in)",
        ),
        (layer(lambda self, x, y, change: y), "no gradient reaches both matrices"),
        (layer(lambda self, x, y, change: y + change.detach()), "no gradient reaches both matrices"),
        (layer(scale=lambda a, r, n: 1), "alpha is not used"),
        (layer(scale=lambda a, r, n: 1 / r), "divided by the rank, but alpha is not used"),
        (layer(scale=lambda a, r, n: a / r**0.5), "the root of the rank"),
        (layer(scale=lambda a, r, n: r / a), "upside down"),
        (layer(scale=lambda a, r, n: a), "not divided by the rank"),
        (layer(scale=lambda a, r, n: a * r), "multiplied by the rank"),
        (layer(scale=lambda a, r, n: a / n), "width of the input"),
        (layer(scale=lambda a, r, n: -a / r), "subtracted"),
        (layer(scale=lambda a, r, n: 0.3), "the size is off"),
        (layer(lambda self, x, y, change: y + torch.tanh(change)), "higher rank"),
        (layer(lambda self, x, y, change: y + change.flip(-1)), "no multiple of B @ A"),
        (layer(lambda self, x, y, change: y + change * (1 + self.linear.weight.mean())), "both together"),
        (layer(dtype=torch.float64), "make them float32"),
        (layer(lambda self, x, y, change: y.float() + change.float()), "float16 again"),
        (layer(where=False), "device=linear.weight.device"),
        (layer(lambda self, x, y, change: (y + change)[:1]), "(1, 5)"),
    ],
    "merge": [
        (of_each(lambda A, B, a, s: (s * a / len(A) * B @ A).T), "transposed"),
        (merge_in_place, "your function changes W itself"),
        (of_each(lambda A, B, a, s: s * a * B @ A), "not divided by the rank"),
        (of_each(lambda A, B, a, s: s * B @ A), "A and B are right, but alpha is not used"),
        (of_each(lambda A, B, a, s: s / len(A) * B @ A), "divided by the rank, but alpha is not used"),
        (of_each(lambda A, B, a, s: a / len(A) * B @ A), "the strength is not used"),
        (of_each(lambda A, B, a, s: abs(s) * a / len(A) * B @ A), "not at strength -0.5"),
        (lambda W, loras: change_of(*loras[0]) if loras else W, "the change alone"),
        (of_each(lambda A, B, a, s: -s * a / len(A) * B @ A), "subtracted"),
        (lambda W, loras: W, "add the changes"),
        (lambda W, loras: 0 * W, "come out as it is"),
        (of_each(lambda A, B, a, s: s * len(A) / a * B @ A), "upside down"),
        (of_each(lambda A, B, a, s: s * a / 2 * B @ A), "of different ranks"),
        (lambda W, loras: W + change_of(*loras[0]) if loras else W, "only one is in the answer"),
        (of_each(lambda A, B, a, s: B.flip(0) @ A), "no multiple"),
        (lambda W, loras: loras[0][0] if loras else W, "has shape (2, 7)"),
    ],
}


def forgets_return(W, loras):
    both = merged(W, loras)
    both.clone()


@pytest.mark.parametrize(
    "name, answer, kind",
    [
        ("inversion_step", lambda words, ids, optimizer, loss_of: words.weight[20], "IndexError"),
        ("only_one", lambda some, others: some[0] / 0, "ZeroDivisionError"),
        ("lora_layer", lambda linear, rank, alpha: linear.weight[20], "IndexError"),
        ("merge", lambda W, loras: W + (loras or [(W[:2], 0)])[0][0], "RuntimeError"),
    ],
)
def test_an_exception_is_one_line(name, answer, kind):
    verdict = getattr(checks, name).hint(answer)
    assert verdict.startswith(f"not yet: your function stopped with {kind}") and "\n" not in verdict


def test_a_forgotten_return_is_named():
    assert "is a return missing?" in checks.merge.hint(forgets_return)


def test_a_class_is_checked_as_well_as_a_function_and_its_stub_is_not_answered_yet():
    class Stub(torch.nn.Module):
        def __init__(self, linear, rank, alpha):
            super().__init__()
            self.linear = linear

        def forward(self, x): ...

    assert checks.lora_layer.hint(AsPublished) == "right" and checks.lora_layer.hint(Stub) == "not answered yet"


class NoReturn(torch.nn.Module):
    def __init__(self, linear, rank, alpha):
        super().__init__()
        self.linear, self.down = linear, torch.nn.Parameter(torch.randn(rank, linear.in_features))

    def forward(self, x):
        self.linear(x)


@pytest.mark.parametrize(
    "answer, words", [(NoReturn, "your function returns None"), (OfLayers, "are layers of their own")]
)
def test_a_class_gets_the_hint_that_a_function_gets(answer, words):
    """The check's own refusals are no exceptions of the answer's, and a forward without return is no stub."""
    verdict = checks.lora_layer.hint(answer)
    assert words in verdict and "stopped with" not in verdict


def test_no_refusal_of_the_check_is_taken_for_an_exception_of_the_answer():
    assert not any("stopped with" in checks.lora_layer.hint(answer) for answer, words in WRONG["lora_layer"])


def test_what_is_checked_is_what_peft_does():
    """The layer and merge, with PEFT's own A and B: its layer, before and after its own merge."""
    torch.manual_seed(0)
    stack = torch.nn.Sequential(torch.nn.Linear(8, 5))
    config = peft.LoraConfig(r=2, lora_alpha=4, target_modules=["0"], init_lora_weights=False)
    wrapped = peft.get_peft_model(stack, config).base_model.model[0]
    down, up = wrapped.lora_A["default"].weight.data, wrapped.lora_B["default"].weight.data
    x, base = torch.randn(3, 8), wrapped.base_layer
    weight, library = base.weight.data.clone(), wrapped(x)
    for make in RIGHT["lora_layer"]:
        ours = make(base, 2, 4)
        ours.A.data, ours.B.data = down.clone(), up.clone()
        assert torch.allclose(ours(x), library, atol=1e-5)
    wrapped.merge()
    for merge in RIGHT["merge"]:
        assert torch.allclose(merge(weight, [(down, up, 4, 1.0)]), base.weight, atol=1e-6)
