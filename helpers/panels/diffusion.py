"""The panels of lesson 01: every frame is drawn ahead, a slider only looks it up."""

from helpers import diffusion, inputs
from helpers.figures import diffusion as figures
from helpers.panels.base import Panel, menu, sentence, slider

STEPS = 1, 2, 3, 5, 7, 10, 20, 50, 100, 200
EVERY_T = sorted({*range(0, 1000, 27), 354})  # both ends, and where SD's schedule is half and half


def noise_panel(picture, noise):
    """Noise over one picture (3, H, H), a slider over t and a menu of schedules; noise: like picture."""
    inputs.tensor(picture, "picture", 3, "H", "H"), inputs.tensor(noise, "noise", *picture.shape)
    tide = figures.Tide(picture, noise)
    schedules = {name: diffusion.make_alphas_cumprod(name) for name in diffusion.SCHEDULES}

    def readout(t, schedule):
        abar = schedules[schedule][t]
        return (
            f"x<sub>{t:d}</sub> = {abar.sqrt():.2f} &middot; picture + {(1 - abar).sqrt():.2f} &middot; "
            f"noise. Signal-to-noise ratio: {diffusion.snr_db(abar):z.1f} dB."
        )

    controls = {"t": slider("t", EVERY_T, 354), "schedule": menu("schedule", diffusion.SCHEDULES, "scaled_linear")}
    return Panel(controls, tide.frame, readout)


def follow_panel(walk):
    """A sampler in the plane (a figures.diffusion.Walk) with a slider over its stops and a menu of points to follow."""
    stops, points = walk.timesteps, range(1, len(walk.chosen) + 1)

    def readout(t, point):
        estimates, shape = walk.spread(t)
        return sentence(
            f"The estimates lie {estimates:.2f} from their middle (root mean square), the points of the shape "
            f"{shape:.2f}."
        )

    panel = Panel({"t": slider("t", stops, stops[-3]), "point": menu("point", points, 1)}, walk.frame, readout)
    panel.speaks = True  # on paper, too, a number for what the question is about
    return panel


def steps_panel(steps):
    """One step against many (a figures.diffusion.Steps) with a slider over their number."""

    def readout(n):
        gap, spread = steps.ends(n)
        width = f"The bunch above it has standard deviation {spread:.3f}, the peak {steps.world.std:.3f}."
        return sentence(f"{gap:.1%} of the ends lie in the gap.", width if gap < 0.05 else "")

    panel = Panel({"n": slider("steps", STEPS, 20)}, steps.frame, readout)
    panel.speaks = True
    return panel


def memory_panel(table):
    """The ideal denoiser (a figures.diffusion.MemoryTable) with a slider over t."""
    return Panel(
        {"t": slider("t", EVERY_T[14:], 810)},
        table.frame,
        lambda t: sentence(f"{table.answer(t)[3]:.1f} of {len(table.data)} training pictures are at work."),
    )
