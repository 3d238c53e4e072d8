"""Turning single words up or down inside cross-attention: what a picture loses tells what a word did.

Source: Hertz et al. 2022, "Prompt-to-prompt" (re-weighting). There a word's attention is multiplied and the
rest kept; here every place still spends 1, so what one word loses the others gain.
"""

from collections.abc import Iterable, Iterator

from helpers.runtime import whole_number

import torch
from diffusers import UNet2DConditionModel

from helpers import inputs
from helpers.attention.processor import latents_of, watch_attention
from helpers.interrupts import block


@block
def reweight_attention(
    unet: UNet2DConditionModel,
    weights: dict[int, float] | list[dict[int, float]] | None = None,
    swap: Iterable[tuple[int, int]] = (),
    guidance: bool | None = None,
) -> Iterator[None]:
    """Change how much is read of single tokens, in every cross-attention, inside a `with` block.

    unet: as for `record_attention`; its processors are put back when the block ends, by an error too. Both
        can be used together: what is recorded is then the changed attention.
    weights: {position of a token: weight}, the start token being 0. 0 mutes, 1 changes nothing, 2 doubles;
        after that the attention of a place is divided by its sum, so that it adds up to 1 again. A list of
        such, one for each picture of a batch. None: no weights.
    swap: pairs of positions that exchange their attention: places that would read one read the other.
    guidance: whether a batch is (unconditional, conditional), of which only the second half is changed; None:
        found out from the latents, which are the same in both halves of such a batch. Say False for several
        prompts on the same latents.
    Raises TypeError and ValueError for positions and weights that can not be, some of them when the model is
    called; RuntimeError where the U-Net is being reweighted already.
    """
    weights = {} if weights is None else weights
    several = isinstance(weights, (list, tuple))
    weights = list(weights) if several else [weights]
    if not weights or not all(isinstance(one, dict) for one in weights):
        raise TypeError(
            "weights must be {position: weight}, or a list of such, not "
            f"{inputs.shown(weights if several else weights[0])}."
        )
    if guidance is not None:
        inputs.flag(guidance, "guidance")
    for one in weights:
        for position, weight in one.items():
            whole_number(position, "a position in weights", 0, 10**6)
            inputs.number(
                weight, f"The weight of position {position}", "a number of 0 (mute) or more", lambda weight: weight >= 0
            )
    if not isinstance(swap, (tuple, list)):
        raise TypeError(f"swap takes pairs of positions, such as (2, 6), not {inputs.shown(swap)}.")
    pairs = [swap] if len(swap) == 2 and not isinstance(swap[0], (tuple, list)) else list(swap)
    for pair in pairs:
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise ValueError(f"swap takes pairs of positions, such as (2, 6), not {inputs.shown(pair)}.")
        for position in pair:
            whole_number(position, "a position in swap", 0, 10**6)
    with watch_attention(unet, Reweighter(weights, pairs, guidance), first=True):
        yield


class Reweighter:
    """Weighs and exchanges the words that a U-Net reads; see `processor` for how it is called."""

    doing = "being reweighted"

    def __init__(self, weights, pairs, guidance):
        self._weights, self._pairs, self._guidance = weights, pairs, guidance
        self._first = 0  # row of the first picture that is changed

    def begin_step(self, unet, args, kwargs):
        """Called before each call of the U-Net."""
        latents = latents_of(args, kwargs)
        guided = self._guidance
        if guided is None:
            guided = len(latents) % 2 == 0 and torch.equal(*latents.chunk(2))
        self._first = len(latents) // 2 if guided else 0
        pictures = len(latents) - self._first
        if len(self._weights) not in (1, pictures):
            raise ValueError(
                f"{len(self._weights)} sets of weights for {pictures} pictures: give one for each, or one for all."
            )

    def look(self, name, query, key, scale, mask):
        """Called by each layer: key (B, heads, T, d) with words exchanged, mask with log weights added."""
        rows, tokens = slice(self._first, None), key.shape[2]
        factors = torch.ones(len(key) - self._first, tokens)
        for row, weights in zip(factors, self._weights * len(factors)):
            for position, weight in weights.items():
                row[whole_number(position, "a position in weights", 0, tokens - 1)] = weight
        if not factors.any(1).all():
            raise ValueError("All tokens are muted: leave at least one weight above 0.")

        order = list(range(tokens))
        for one, other in self._pairs:
            one, other = (whole_number(i, "a position in swap", 0, tokens - 1) for i in (one, other))
            order[one], order[other] = order[other], order[one]
        key = torch.cat([key[: self._first], key[rows][:, :, order]])
        added = torch.zeros(len(key), 1, 1, tokens)
        added[rows, 0, 0] = factors.log()  # softmax(score + log w) = w exp(score) / sum
        added = added.to(query)
        return key, added if mask is None else mask + added
