"""Pictures for lesson 04: what the loop holds at every step, and what comes out of it."""
import textwrap

import torch

from helpers.sampling import decode_latents

from .style import (FAINT, NOISE, NOTE, SIGNAL, TITLE, claim, finish, new_figure, picture_grid, place, show_picture, tidy,
                    write)


def prompt_grid(pictures, prompts, title, columns=3, note=None):
    """Pictures (PIL) with their prompts below, `columns` a row."""
    size, gap, words = 2.85 if columns == 3 else (9 - 0.16) / columns - 0.14, 0.14, 0.42
    rows = -(-len(pictures) // columns)
    fig = new_figure(TITLE + rows * (size + words) + (NOTE if note else 0))
    for i, (picture, prompt) in enumerate(zip(pictures, prompts)):
        x, y = 0.08 + i % columns * (size + gap), TITLE + i // columns * (size + words)
        show_picture(fig, picture, x, y, size)
        write(fig, x + size / 2, y + size + 0.17, textwrap.fill(prompt, int(size * 16)), fontsize=7.5, ha="center", color=FAINT)
    claim(fig, title, note)
    return finish(fig, f"{title}: " + "; ".join(prompts))


def shown(count, of):
    """`count` indices spread evenly over range(of), the first and the last among them."""
    return [round(k * (of - 1) / (count - 1)) for k in range(count)] if of > count else list(range(of))


def film_strip(c, history, timesteps, title, count=8):
    """What the loop holds, decoded: the noisy latents above, the clean latents they imply below.

    history: a list of (latents, x0), each (1, C, h, w), one pair a step. timesteps: their noise levels.
    """
    picks = shown(count, len(history))
    both = [decode_latents(c, torch.cat([history[i][row] for i in picks])) for row in (0, 1)]
    labels = [f"t = {float(timesteps[i]):.0f}" for i in picks]
    return picture_grid(both, title, f"{title} Two rows of {len(picks)} pictures from {labels[0]} to {labels[-1]}.", column_labels=labels,
                        row_labels=("$x_t$", "estimate of $x_0$"), note="sampling goes this way \N{RIGHTWARDS ARROW}   each latent decoded by the VAE")


def latent_channels(latents, title, note=None):
    """The channels of one latent (1, C, h, w) as grey pictures on one scale."""
    values = latents[0].float().cpu()
    low, high = values.min(), values.max()
    pictures = [((channel - low) / (high - low) * 2 - 1).expand(3, -1, -1) for channel in values]  # (h, w) -> (3, h, w), -1..1
    labels = [f"channel {k}" for k in range(len(pictures))]
    return picture_grid([pictures], title, f"{title} {len(pictures)} grey pictures.", column_labels=labels, note=note, size=1.6)


def shares(timesteps, alphas_cumprod, title):
    """How much picture and how much noise the loop believes in at each step: the two weights of x_t, drawn as sampling goes."""
    fig = new_figure(2.5)
    ax = tidy(place(fig, 0.6, TITLE + 0.1, 7.3, 1.45), "step of the loop", "weight in $x_t$")
    abar = [float(alphas_cumprod[int(t)]) for t in timesteps]
    for values, colour, name in (([a**0.5 for a in abar], SIGNAL, "picture"), ([(1 - a) ** 0.5 for a in abar], NOISE, "noise")):
        ax.plot(range(len(values)), values, "o-", color=colour, markersize=3, linewidth=1.5)
        ax.annotate(name, (len(values) - 1, values[-1]), (8, 0), textcoords="offset points", color=colour, va="center")
    claim(fig, title, f"{len(abar)} steps, from t = {float(timesteps[0]):.0f} on the left to t = {float(timesteps[-1]):.0f} on the right")
    return finish(fig, title)


def sweep(pictures, labels, title, note=None):
    """One row of pictures, each with what was changed above it."""
    size = min(1.6, (9 - 0.16) / len(pictures) - 0.06)
    return picture_grid([pictures], title, f"{title} Pictures for {', '.join(labels)}.", column_labels=labels, note=note, size=size)
