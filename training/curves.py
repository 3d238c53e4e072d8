"""The loss curves of all stages as one picture: `python -m training.curves` writes training/curves.png."""
import json
from pathlib import Path

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt

from .common import runs, write_atomic

SHOWN = {"vae": ("loss", "psnr"), "judge": ("loss", "colour"), "clip": ("contrast", "swapped"),
         "unet": ("loss", "mean")}


def draw(out):
    """One panel a stage: its loss (left, logarithmic) and what was measured on unseen pictures (right)."""
    figure, panels = plt.subplots(1, len(SHOWN), figsize=(14, 3), layout="constrained")
    for panel, (stage, (loss, measured)) in zip(panels, SHOWN.items()):
        path = runs(stage) / "metrics.jsonl"
        rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        trained, watched = [r for r in rows if "rate" in r], [r for r in rows if "rate" not in r and measured in r]
        panel.plot([r["step"] for r in trained], [r[loss] for r in trained], color="tab:blue")
        panel.set(title=stage, xlabel="step", yscale="log")
        panel.set_ylabel(loss, color="tab:blue")
        other = panel.twinx()
        other.plot([r["step"] for r in watched], [r[measured] for r in watched], "o-", color="tab:orange", ms=3)
        other.set_ylabel(f"{measured} (unseen)", color="tab:orange")
    write_atomic(out, lambda file: figure.savefig(file, format="png", dpi=90))


if __name__ == "__main__":
    draw(Path(__file__).with_name("curves.png"))
