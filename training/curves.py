"""What was run, as a table and a picture: `python -m training.curves` writes training/README.md's last table and curves.png.

Only the stages with a run in runs/ are shown: what earlier runs left in the README stays as it is.
"""

import re
from pathlib import Path

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
import torch

from helpers.files import write_atomic
from training.common import clock, read_checkpoint, read_metrics, runs
from training.evaluate import device_name

SHOWN = {
    "vae": ("loss", "psnr"),
    "decoder": ("loss", "psnr"),
    "judge": ("loss", "colour"),
    "clip": ("contrast", "retrieved"),
    "unet": ("loss", "mean"),
}
START, END = "<!-- runs -->", "<!-- end of runs -->"


def stages():
    """The stages that have been run here."""
    return {stage: shown for stage, shown in SHOWN.items() if (runs(stage) / "metrics.jsonl").exists()}


def rows_of(stage):
    """The metrics of a stage: (what was logged while training, what was measured on unseen pictures)."""
    rows = read_metrics(runs(stage) / "metrics.jsonl")
    return [r for r in rows if "rate" in r], [r for r in rows if "rate" not in r]


def draw(out):
    """One panel a stage: its loss (left, logarithmic) and what was measured on unseen pictures (right)."""
    shown = stages()
    figure, panels = plt.subplots(1, len(shown), figsize=(3.5 * len(shown), 3), layout="constrained", squeeze=False)
    for panel, (stage, (loss, measured)) in zip(panels[0], shown.items()):
        trained, watched = rows_of(stage)
        panel.plot([r["step"] for r in trained], [r[loss] for r in trained], color="tab:blue")
        panel.set(title=stage, xlabel="step", yscale="log")
        panel.set_ylabel(loss, color="tab:blue")
        other = panel.twinx()
        watched = [r for r in watched if measured in r]
        other.plot([r["step"] for r in watched], [r[measured] for r in watched], "o-", color="tab:orange", ms=3)
        other.set_ylabel(f"{measured} (unseen)", color="tab:orange")
    write_atomic(out, lambda file: figure.savefig(file, format="png", dpi=90))


def table():
    """The runs as Markdown: what each stage took, on what, and where it ended."""
    lines = [
        "| stage | steps | batch | time | pictures seen | at the end, on unseen pictures |",
        "|---|---|---|---|---|---|",
    ]
    for stage, (_, measured) in stages().items():
        trained, watched = rows_of(stage)
        state = read_checkpoint(runs(stage) / "last.pt")
        seen = (
            sum((b["step"] - a["step"]) for a, b in zip([{"step": 0}, *trained], trained)) * state["settings"]["batch"]
        )
        ended = f"{measured} {watched[-1][measured]:.4g}" if watched and measured in watched[-1] else ""
        lines.append(
            f"| {stage} | {state['step']} | {state['settings']['batch']} | {clock(state['seconds'])} | {seen:,} | {ended} |"
        )
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return f"On {device_name(device)}, {torch.get_num_threads()} threads.\n\n" + "\n".join(lines)


def write_table(readme):
    text = readme.read_text(encoding="utf-8")
    filled = re.sub(f"{START}.*?{END}", lambda _: f"{START}\n{table()}\n{END}", text, flags=re.DOTALL)
    write_atomic(readme, lambda file: file.write_text(filled, encoding="utf-8"))


if __name__ == "__main__":
    here = Path(__file__).parent
    draw(here / "curves.png")
    write_table(here / "README.md")
