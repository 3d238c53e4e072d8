"""The panels of lesson 01: every frame is drawn ahead, a slider only looks it up."""
from .. import diffusion, inputs
from ..figures import diffusion as figures
from .base import Panel, buttons, menu, sentence, slider

EVERY_T = sorted({*range(0, 1000, 27), 354})        # both ends, and where SD's schedule is half and half


def noise_panel(picture, noise):
    """Noise over one picture (3, H, H), a slider over t and a menu of schedules; noise: like picture."""
    inputs.tensor(picture, "picture", 3, "H", "H"), inputs.tensor(noise, "noise", *picture.shape)
    tide = figures.Tide(picture, noise)
    schedules = {name: diffusion.make_alphas_cumprod(name) for name in diffusion.SCHEDULES}

    def readout(t, schedule):
        abar = schedules[schedule][t]
        return (f"x<sub>{t:d}</sub> = {abar.sqrt():.2f} &middot; picture + {(1 - abar).sqrt():.2f} &middot; "
                f"noise, signal-to-noise {diffusion.snr_db(abar):z.1f} dB")

    controls = {"t": slider("t", EVERY_T, 354),
                "schedule": menu("schedule", diffusion.SCHEDULES, "scaled_linear")}
    return Panel(controls, tide.frame, readout)


def exam_panel(pictures, noises, timesteps, alphas_cumprod):
    """Pages of four exam questions: pictures and noises (4 * pages, 3, H, H), as many timesteps."""
    inputs.tensor(pictures, "pictures", "4 * pages", 3, "H", "H"), inputs.tensor(noises, "noises", *pictures.shape)
    pages = len(pictures) // 4
    if len(pictures) % 4 or len(timesteps) != len(pictures):
        raise ValueError(f"{len(pictures)} pictures and {len(timesteps)} timesteps make no pages of four questions: give "
                         "as many of both, 4, 8, 12 or so.")

    def frame(page):
        rows = slice(4 * page - 4, 4 * page)
        return figures.exam_paper(pictures[rows], noises[rows], timesteps[rows], alphas_cumprod, page).png

    return Panel({"page": buttons("page", range(1, pages + 1), 1)}, frame,
                 lambda page: sentence(f"Page {page} of {pages}. New noise or a new t makes a new question of a "
                                       "picture."))


def field_panel(fields):
    """Score fields (a figures.diffusion.ScoreFields) with a slider over t."""
    def readout(t):
        abar = fields.alphas_cumprod[t]
        return (f"score = -noise / sqrt(1 - abar) = -noise / {(1 - abar).sqrt():.2f} &nbsp; "
                f"(signal-to-noise {diffusion.snr_db(abar):z.1f} dB)")

    return Panel({"t": slider("t", range(0, 1000, 37), 555)}, fields.frame, readout)


def steps_panel(world, truth, walks, alphas_cumprod, gaps):
    """F05 with a slider over the number of steps; arguments as figures.diffusion.one_step_many."""
    inputs.table(walks, "walks", "{number of steps: walk}")

    def frame(steps):
        return figures.steps_frame(world, truth, steps, walks[steps], alphas_cumprod, gaps[steps])

    return Panel({"steps": slider("steps", list(walks), 1)}, frame,
                 lambda steps: sentence(f"steps: {steps}, ends in the gap: {gaps[steps]:.1%}"))


def memory_panel(table):
    """The ideal denoiser (a figures.diffusion.MemoryTable) with a slider over t."""
    return Panel({"t": slider("t", EVERY_T[14:], 810)}, table.frame,
                 lambda t: sentence(f"{table.answer(t)[3]:.1f} of {len(table.data)} training pictures are at work"))


def floor_panel(levels, floor, losses):
    """F06 with buttons for the moment of training; arguments as figures.diffusion.loss_floor."""
    inputs.table(losses, "losses", "{moment: losses}")

    def readout(moment):
        above = sum(losses[moment]) / sum(floor) - 1
        return sentence(f"{moment}: the loss is {above:.0%} above the best possible")

    return Panel({"moment": buttons("", list(losses), list(losses)[-1])},
                 lambda moment: figures.loss_floor(levels, floor, losses, shown=moment).png, readout)
