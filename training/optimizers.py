"""Muon for weight matrices and convolution kernels, AdamW for the rest."""

import math

import torch

QUINTIC = (3.4445, -4.7750, 2.0315)  # steepest at zero; singular values end between about 0.7 and 1.2


def orthogonalize(matrices, steps=5, coefficients=QUINTIC):
    """The nearest (semi-)orthogonal matrices, roughly: Newton-Schulz iteration, (n, rows, columns) -> the same.

    Source: Jordan et al., "Muon: an optimizer for hidden layers" (2024), as in torch.optim.Muon, which takes single
    matrices in bfloat16; this one takes many at once, in their own dtype, since bfloat16 is slow on many CPUs.
    """
    a, b, c = coefficients
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.mT if tall else matrices  # (n, short, long)
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-7)
    for _ in range(steps):
        gram = x @ x.mT  # (n, short, short)
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    """Momentum whose update is made orthogonal, for matrices and kernels (read as (out, in*h*w) matrices).

    lr: as one would give AdamW; the update is scaled by 0.2 sqrt(longer side) to AdamW's usual size (Liu et al. 2025,
    `adjust_lr_fn="match_rms_adamw"` of torch.optim.Muon). Matrices of one shape are orthogonalized together, in `dtype`.
    """

    def __init__(self, params, lr=1e-3, momentum=0.95, weight_decay=0.0, dtype=torch.float32):
        super().__init__(params, dict(lr=lr, momentum=momentum, weight_decay=weight_decay))
        self.dtype = dtype

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            shapes = {}
            for p in (p for p in group["params"] if p.grad is not None):
                state = self.state[p]
                if not state:
                    state["momentum"] = torch.zeros_like(p)
                state["momentum"].lerp_(p.grad, 1 - group["momentum"])
                update = p.grad.lerp(state["momentum"], group["momentum"]).reshape(len(p), -1)
                shapes.setdefault(update.shape, []).append((p, update))
            for shape, pairs in shapes.items():
                updates = orthogonalize(torch.stack([update for _, update in pairs]).to(self.dtype)).to(
                    pairs[0][0].dtype
                )
                scale = 0.2 * math.sqrt(max(shape))
                for (p, _), update in zip(pairs, updates):
                    p.mul_(1 - group["lr"] * group["weight_decay"])
                    p.add_(update.view(p.shape), alpha=-group["lr"] * scale)


def make_optimizers(module, settings, plain=(), dtype=torch.float32):
    """The optimisers of a module's trained parameters: [Muon, AdamW], or [AdamW].

    plain: parts of names (embeddings, first and last layers) that AdamW takes although they are matrices.
    dtype: of Muon's orthogonalization. Biases and norms are never decayed. Each group keeps its full rate as "base_lr". ValueError for an unknown optimiser.
    """
    if settings.optimizer not in ("muon", "adamw"):
        raise ValueError(f'optimizer="{settings.optimizer}" is unknown: choose "muon" or "adamw"')
    muon, matrices, vectors = [], [], []
    for name, p in module.named_parameters():
        if p.requires_grad:
            by_muon = settings.optimizer == "muon" and p.ndim >= 2 and not any(part in name for part in plain)
            (muon if by_muon else matrices if p.ndim >= 2 else vectors).append(p)
    groups = [dict(params=matrices, weight_decay=settings.weight_decay), dict(params=vectors, weight_decay=0.0)]
    optimizers = [Muon(muon, lr=settings.lr, weight_decay=settings.weight_decay, dtype=dtype)] if muon else []
    optimizers.append(torch.optim.AdamW([g for g in groups if g["params"]], lr=settings.lr, betas=(0.9, 0.99)))
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["base_lr"] = settings.lr
    return optimizers
