"""Every check of lesson 05 accepts right answers, however written; each mistake gets its own hint."""

import peft
import pytest
import torch
import torch.nn.functional as F
from helpers.checks import concepts as checks


def adamw_step(table, grad, lr=0.05):
    """One step of the library's AdamW, weight decay on, as the lesson gives it."""
    weights = torch.nn.Parameter(table.clone())
    weights.grad = grad.clone()
    torch.optim.AdamW([weights], lr=lr, weight_decay=0.01).step()
    return weights.detach()


def put_back(table, grad, ids):
    new = adamw_step(table, grad)
    old = [i for i in range(len(table)) if i not in ids]
    new[old] = table[old]
    return new


def rows_only(table, grad, ids):
    new = table.clone()
    new[ids] = adamw_step(table[ids], grad[ids])
    return new


def chosen_by_where(table, grad, ids):
    learns = torch.isin(torch.arange(len(table)), torch.tensor(ids))[:, None]
    return torch.where(learns, adamw_step(table, grad, lr=0.02), table)


def masked_gradient(table, grad, ids):
    mask = torch.zeros(len(table), 1)
    mask[ids] = 1
    return adamw_step(table, grad * mask)


def inverted(table, grad, ids):
    new = adamw_step(table, grad)
    new[ids] = table[ids]
    return new


def put(table, ids, rows):
    return table.index_copy(0, torch.tensor(ids), rows)


RIGHT = {
    "train_only": [put_back, rows_only, chosen_by_where],
    "lora_linear": [
        lambda x, W, A, B, a: x @ W.T + a / len(A) * (x @ A.T) @ B.T,
        lambda x, W, A, B, a: x @ (W + a / A.shape[0] * B @ A).T,
        lambda x, W, A, B, a: F.linear(x, W) + F.linear(F.linear(x, A), B) * (a / B.shape[1]),
        lambda x, W, A, B, a: torch.einsum("...i,oi->...o", x, W + B @ (A * a / len(A))),
    ],
    "merge": [
        lambda W, A, B, a: W + a / len(A) * B @ A,
        lambda W, A, B, a: W + torch.einsum("or,ri->oi", B, A) * (a / A.shape[0]),
        lambda W, A, B, a: torch.addmm(W, B, A, alpha=a / B.shape[1]),
    ],
}


def merge_in_place(W, A, B, a):
    W += a / len(A) * B @ A
    return W


WRONG = {
    "train_only": [
        (lambda t, g, i: adamw_step(t, g), "only the rows of new_ids may learn"),
        (inverted, "wrong way round"),
        (masked_gradient, "weight decay moves them all the same"),
        (lambda t, g, i: t, "did not move"),
        (lambda t, g, i: rows_only(t, g, i[-1:]), "one of the two new words"),
        (lambda t, g, i: rows_only(t, -g, i), "goes uphill"),
        (lambda t, g, i: put(t, i, t[i] - 0.1 * g[i]), "not by AdamW"),
        (lambda t, g, i: put(t, i, t[i] / 0), "NaN"),
        (lambda t, g, i: adamw_step(t[i], g[i]), "has shape (2, 6)"),
    ],
    "lora_linear": [
        (lambda x, W, A, B, a: x @ W.T + x @ A.T @ B.T, "alpha is not used"),
        (lambda x, W, A, B, a: x @ W.T + a * x @ A.T @ B.T, "not divided by the rank"),
        (lambda x, W, A, B, a: x @ W.T + a / x.shape[-1] * x @ A.T @ B.T, "width of the input"),
        (lambda x, W, A, B, a: x @ W.T + a * len(A) * x @ A.T @ B.T, "multiplied by the rank"),
        (lambda x, W, A, B, a: x @ W.T - a / len(A) * x @ A.T @ B.T, "subtracted"),
        (lambda x, W, A, B, a: x @ W.T + 0.3 * x @ A.T @ B.T, "the size is off"),
        (lambda x, W, A, B, a: a / len(A) * x @ A.T @ B.T, "with B = 0 you return zeros"),
        (lambda x, W, A, B, a: x @ W.T + x @ A.T @ (B.T + 1), "with B = 0 nothing may change"),
        (lambda x, W, A, B, a: x @ W.T, "change nothing"),
        (lambda x, W, A, B, a: x @ W.T + torch.tanh(a / len(A) * x @ A.T @ B.T), "higher rank"),
        (lambda x, W, A, B, a: x @ W.T + a / len(A) * x @ A.flip(1).T @ B.T, "no multiple of B @ A"),
        (lambda x, W, A, B, a: x @ W.T + a / len(A) * x @ A.T @ (B * (1 + W.mean())).T, "both together"),
        (lambda x, W, A, B, a: (x @ W.T + a / len(A) * x @ A.T @ B.T)[:1], "(1, 5)"),
    ],
    "merge": [
        (lambda W, A, B, a: W + a / len(A) * (B @ A).T, "transposed"),
        (merge_in_place, "the base weights changed"),
        (lambda W, A, B, a: W + a * B @ A, "not divided by the rank"),
        (lambda W, A, B, a: W + B @ A, "alpha is not used"),
        (lambda W, A, B, a: a / len(A) * B @ A, "the change alone"),
        (lambda W, A, B, a: W - a / len(A) * B @ A, "subtracted"),
        (lambda W, A, B, a: W, "add the change"),
        (lambda W, A, B, a: W + len(A) / a * B @ A, "upside down"),
        (lambda W, A, B, a: W + 12 / W.shape[1] * B @ A, "more columns than rows"),
        (lambda W, A, B, a: B @ A @ W.flip(0), "no multiple"),
        (lambda W, A, B, a: A, "has shape (2, 6)"),
    ],
}


def forgets_return(W, A, B, alpha):
    merged = W + alpha / len(A) * B @ A
    merged.clone()


@pytest.mark.parametrize("name, answer, kind", [
    ("train_only", lambda t, g, i: t[20], "IndexError"),
    ("lora_linear", lambda x, W, A, B, a: x @ W, "RuntimeError"),
    ("merge", lambda W, A, B, a: W + A @ B, "RuntimeError"),
])
def test_an_exception_is_one_line(name, answer, kind):
    verdict = getattr(checks, name).hint(answer)
    assert verdict.startswith(f"not yet: your function stopped with {kind}") and "\n" not in verdict


def test_a_forgotten_return_is_named():
    assert "is a return missing?" in checks.merge.hint(forgets_return)


def test_what_is_checked_is_what_peft_does():
    """lora_linear and merge, with PEFT's own A and B: its layer, before and after its own merge."""
    torch.manual_seed(0)
    layer = torch.nn.Sequential(torch.nn.Linear(8, 5, bias=False))
    config = peft.LoraConfig(r=2, lora_alpha=4, target_modules=["0"], init_lora_weights=False)
    wrapped = peft.get_peft_model(layer, config).base_model.model[0]
    down, up = wrapped.lora_A["default"].weight.data, wrapped.lora_B["default"].weight.data
    x, weight = torch.randn(3, 8), wrapped.base_layer.weight.data.clone()
    library = wrapped(x)
    wrapped.merge()
    for lora_linear in RIGHT["lora_linear"]:
        assert torch.allclose(lora_linear(x, weight, down, up, 4), library, atol=1e-5)
    for merge in RIGHT["merge"]:
        assert torch.allclose(merge(weight, down, up, 4), wrapped.base_layer.weight, atol=1e-6)
