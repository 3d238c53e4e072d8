"""Guidance where it can be computed exactly: two classes on a line, four arrows, and where the samples end."""

import torch

from helpers.figures import style
from helpers.figures.style import FAINT, GUIDED, INK, NOISE, NOTE, PROMPT, SIGNAL, TITLE, place, tidy, write

LOW, HIGH = -2.1, 2.6  # the line is drawn between these
HEIGHTS = {"empty": 0.80, "prompt": 0.62, "difference": 0.44, "guided": 0.26}  # of the arrows, 0..1
COLOURS = {"empty": NOISE, "prompt": PROMPT, "difference": INK, "guided": GUIDED}
ENDS, BINS = (-1.6, 2.2), 110  # of the end histograms


def arrows_at(everything, wanted, x_t, abar, scale):
    """Where each answer points: {name: (from, to)}, places on the line of x_t, after one whole denoising.

    everything, wanted: Mixtures without and with the prompt. x_t: float. abar: 0 to 1. scale: of guidance.
    """
    x = torch.tensor([[float(x_t)]])
    uncond, cond = (world.noise_pred(x, abar).item() for world in (everything, wanted))
    empty, prompt, guided = (x_t - (1 - abar) ** 0.5 * eps for eps in (uncond, cond, uncond + scale * (cond - uncond)))
    return {"empty": (x_t, empty), "prompt": (x_t, prompt), "difference": (empty, prompt), "guided": (x_t, guided)}


def draw_arrows(ax, everything, wanted, x_t, abar, scale, names, places=()):
    """The densities at this noise level, the point x_t, and the arrows that are named; hollow: other places that x_t can take."""
    x = torch.linspace(LOW, HIGH, 300)[:, None]
    for world, colour, alpha in ((everything, SIGNAL, 0.18), (wanted, PROMPT, 0.18)):
        density = world.log_density(x, abar).exp() / len(everything.means) * len(world.means)
        ax.fill_between(
            x[:, 0], 0, 0.9 * density / density.max() * len(world.means) ** -0.5, color=colour, alpha=alpha, lw=0
        )
    ax.plot([x_t, x_t], [0.0, 0.92], color=INK, lw=0.8, ls=":")
    ax.plot(places, [0.92] * len(places), "o", mec=NOISE, mfc="white", ms=6)
    ax.plot([x_t], [0.92], "o", color=INK, ms=6)
    ax.text(x_t, 0.99, "$x_t$", ha="center", fontsize=12, **style.MATH)
    for name, (start, end) in arrows_at(everything, wanted, x_t, abar, scale).items():
        if name not in names:
            continue
        y, dashed = HEIGHTS[name], name == "difference"
        if end > HIGH:
            ax.text(HIGH, y - 0.1, f"to {end:.1f}", color=COLOURS[name], fontsize=10, ha="right")
            end = HIGH
        ax.annotate(
            "",
            (end, y),
            (start, y),
            arrowprops=dict(
                arrowstyle="-|>",
                color=COLOURS[name],
                lw=2.0 if not dashed else 1.2,
                ls="--" if dashed else "-",
                shrinkA=0,
                shrinkB=0,
                mutation_scale=11,
            ),
        )
        ax.plot([start], [y], "|", color=COLOURS[name], ms=6)
    tidy(ax, "place on the line", None, (-1, 0, 1, 2), ())
    ax.xaxis.label.set_size(9.5)
    ax.set(xlim=(LOW, HIGH), ylim=(0, 1.1))
    ax.spines["left"].set_visible(False)


WORDS = {
    "empty": "without the prompt",
    "prompt": "with the prompt",
    "difference": "what the prompt changes",
    "guided": "guided",
}


def arrows_frame(everything, wanted, x_t, abar, scale, places=()):
    """PNG bytes: the four arrows at this place and scale, each with its name. Arguments as in `arrows_at`.

    places: those that x_t can take, marked by hollow circles.
    """
    fig, top, high = style.new_figure(TITLE + 2.65 + NOTE, dpi=style.PANEL_DPI), TITLE + 0.05, 2.15
    ax = place(fig, 2.1, top, 6.8, high)
    draw_arrows(ax, everything, wanted, x_t, abar, scale, HEIGHTS, places)
    ax.tick_params(labelsize=10)
    for name, y in HEIGHTS.items():
        write(fig, 2.0, top + high * (1 - y / 1.1), WORDS[name], ha="right", color=COLOURS[name], fontsize=10.5)
    style.claim(fig, f"Guidance scales the change that the prompt makes, here {scale:g} times")
    height = fig.get_size_inches()[1]
    write(
        fig,
        0.08,
        height - 0.14,
        f"Exact, no network. Blue: all data at this noise level. Green: the class asked for; its +1 lies at {abar**0.5:.2f} "
        "here. Hollow: other places of the slider.",
        fontsize=9,
        color=FAINT,
    )
    return style.finish(fig, "").png


def draw_ends(ax, wanted, ends, label=None):
    """Where samples ended (n,) as a histogram over the true density of the class."""
    x = torch.linspace(*ENDS, 300)
    density = wanted.log_density(x[:, None], 1.0).exp()
    ax.fill_between(x, 0, density, color=SIGNAL, alpha=0.25, lw=0)
    ax.hist(ends.numpy(), bins=BINS, range=ENDS, density=True, histtype="step", color=GUIDED, lw=1.3)
    tidy(ax, None, None, (-1, 0, 1, 2), ())
    ax.set(xlim=ENDS)
    ax.spines["left"].set_visible(False)
    if label:
        ax.text(0.03, 0.9, label, transform=ax.transAxes, fontsize=8, va="top", linespacing=1.5)


def end_histograms(wanted, ends):
    """One histogram for each guidance scale. ends: {scale: (n,)}. Returns a Picture."""
    fig, width, top, columns = style.new_figure(TITLE + 2 * 1.72 + NOTE), 2.8, TITLE + 0.05, 3
    bin_width = (ENDS[1] - ENDS[0]) / BINS
    highest = max(torch.histc(values, BINS, *ENDS).max().item() / len(values) / bin_width for values in ends.values())
    for i, (scale, values) in enumerate(ends.items()):
        ax = place(fig, 0.15 + i % columns * (width + 0.15), top + i // columns * 1.72, width, 1.42)
        draw_ends(
            ax,
            wanted,
            values,
            f"guidance {scale:g}\n{(values > 0).float().mean():.0%} in the class\n"
            f"mean {values.mean():.2f}, spread {values.std():.2f}",
        )
        ax.set_ylim(0, 1.05 * highest)  # one scale of height for all
    n, centre, spread = len(next(iter(ends.values()))), wanted.means.mean(), wanted.std
    return style.claimed(
        fig,
        "Guidance does not find the class better: it overshoots and narrows",
        f"Vermilion: {n} samples; blue: the true class, mean {centre:.2f}, spread {spread:.2f}. All six share one scale of height.",
        "Histograms of end points for guidance "
        + ", ".join(f"{scale:g}" for scale in ends)
        + ": the larger the scale, the narrower they are and the farther beyond the true class's mean.",
    )


def implicit_classifier(everything, wanted, abar):
    """The class's probability that the two answers imply, and its slope, on the line of x_t at one noise level.

    Above: log p(class | x_t), from Bayes. Below: its slope by finite differences (blue), and the difference of the two
    answers, divided by -sqrt(1 - abar) (vermilion). Arguments as in `arrows_at`. Returns a Picture.
    """
    x = torch.linspace(LOW, HIGH, 400, dtype=torch.float64)[:, None]
    worlds = [type(world)(world.means.double(), world.std) for world in (everything, wanted)]
    p_all, p_class = (world.log_density(x, abar) for world in worlds)
    share = len(wanted.means) / len(everything.means)
    log_p = p_class + torch.log(torch.tensor(share)) - p_all
    slope = torch.gradient(log_p, spacing=(x[:, 0],))[0]
    eps_all, eps_class = (world.noise_pred(x, abar)[:, 0] for world in worlds)
    answers = -(eps_class - eps_all) / (1 - abar) ** 0.5
    fig, top = style.new_figure(TITLE + 2.0 + NOTE + 0.3), TITLE + 0.2
    left = tidy(place(fig, 0.6, top, 3.6, 1.75), "$x_t$", "", (-2, -1, 0, 1, 2), (0, 0.5, 1), math=True)
    left.plot(x[:, 0], log_p.exp(), color=PROMPT, lw=1.8)
    left.set_title("probability of the class", fontsize=8.5, color=PROMPT)
    right = tidy(place(fig, 5.0, top, 3.6, 1.75), "$x_t$", "", (-2, -1, 0, 1, 2), math=True)
    right.plot(x[:, 0], slope, color=SIGNAL, lw=5, alpha=0.35)
    right.plot(x[:, 0], answers, color=GUIDED, lw=1.3)
    right.set_title("slope of its logarithm (blue), from two answers (vermilion)", fontsize=8.5, color=FAINT)
    return style.claimed(
        fig,
        "The two answers differ by the slope of log p(class), up to a factor",
        f"Exact, no network. Noise level: abar = {abar:.2f}.",
        "Left, the probability of the class over x_t, rising from 0 to 1. Right, the slope of its logarithm and the "
        "scaled difference of the two answers: one curve lies on the other.",
    )
