"""One picture and what comes before it: import, loading, drawing, and drawing against the library's own
pipeline.

    python benchmarks/picture.py [--model postcard] [--steps 25] [--repeats 5]

Prints a table of medians. Both ways of drawing take turns in one run, so that their ratio outlives a busy
machine.
"""

import argparse
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
PROMPT = "a red boat on a lake below snowy mountains at sunset"


def seconds(action):
    """How long `action()` takes. On a GPU too: a picture that has arrived in main memory is finished."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def import_seconds(statement):
    """How long `statement` takes in a new Python."""
    code = f"import time; start = time.perf_counter(); {statement}; print(time.perf_counter() - start)"
    command = [sys.executable, "-c", code]
    return float(subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout)


def processor():
    """The name of the processor, as well as this system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="postcard", help="what load_components takes")
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()

    rows = {"import helpers": [import_seconds("import helpers") for _ in range(options.repeats)],
            "import with the libraries": [import_seconds("from helpers import load_components, generate")
                                          for _ in range(2)]}

    from helpers import generate, load_components, runtime  # first: it silences the libraries

    import diffusers
    import torch
    import transformers

    c = load_components(options.model)
    rows["load the model"] = [seconds(lambda: load_components(options.model)) for _ in range(options.repeats)]

    pipe = c.pipeline()
    pipe.scheduler = diffusers.DDIMScheduler.from_config(pipe.scheduler.config)

    def ours():
        generate(c, PROMPT, steps=options.steps, seed=0)

    def library():
        pipe(PROMPT, num_inference_steps=options.steps, guidance_scale=c.guidance,
             generator=torch.Generator("cpu").manual_seed(0))

    ours(), library()  # the first of each is not counted
    drawing = f"one picture, {options.steps} steps, guidance {c.guidance:g}"
    rows[drawing] = times = []
    rows["the same, StableDiffusionPipeline"] = library_times = []
    for _ in range(options.repeats):
        times.append(seconds(ours))
        library_times.append(seconds(library))
    ratio = statistics.median(times) / statistics.median(library_times)

    card = f", {torch.cuda.get_device_name()}" if c.device.type == "cuda" else ""
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    print(f"{c}\n{processor()}, {os.cpu_count()} cores, {runtime.threads()} threads{load}{card}\n"
          f"Python {platform.python_version()}, torch {torch.__version__}, "
          f"diffusers {diffusers.__version__}, transformers {transformers.__version__}\n")
    width = max(map(len, rows))
    print(f"{'':{width}}   median      min      max   runs")
    for name, runs in rows.items():
        figures = (statistics.median(runs), min(runs), max(runs))
        print(f"{name:{width}} {' '.join(f'{one:7.3f}s' for one in figures)} {len(runs):6}")
    print(f"{'ratio of generate to the pipeline':{width}} {ratio:7.3f}")


if __name__ == "__main__":
    main()
