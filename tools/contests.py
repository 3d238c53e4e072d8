"""What lesson 05 shows of contests that are too long to be run in it: `python -m tools.contests`, some seven minutes on one core.

    python -m tools.contests                        all of them
    python -m tools.contests "no ordinary cards"    only these; the others stay as they are

Everything is trained on the lesson's 32 windmills in 150 steps, and tried on the lesson's prompts. Of six pictures a step, a LoRA with
ordinary cards takes four of windmills; the one without sees these four alone, so that both see as many windmills. The library's
windmill, trained by `tools.make_concepts`, is measured as they are. The figures go into concepts/contests.json; what the vector of
four rows draws, and what is forgotten without ordinary cards, into concepts/vector.png and concepts/forgotten.png.
"""

import argparse
import json
import re
from random import Random

from helpers import generate, load_components
from helpers.concepts import Concept, loaded, train_concept
from helpers.files import write_atomic
from helpers.lora import EVERYWHERE, add_lora, load_lora, train_lora
from helpers.postcards import full_caption, sample_scene
from helpers.postcards.judge import load_judge
from helpers.postcards.lessons import concept_cards, trial_prompts
from helpers.postcards.measures import SEEN, load_measures
from tools.draw_pictures import sheet
from tools.make_concepts import LIBRARY

FILE, VECTOR, FORGOTTEN = LIBRARY / "contests.json", LIBRARY / "vector.png", LIBRARY / "forgotten.png"
RANK, CARDS, KEPT = 8, 32, 96  # as the lesson
TURNS, BATCH = 150, 6
ORDINARY, ROW = 48, 6  # ordinary prompts; pictures in a row of FORGOTTEN
QUICK = {"steps": 12, "scheduler": "dpm++_2m"}
ROWS = {4: "white flag lighthouse tree"}  # of a vector: where they begin
VECTORS = [(4, TURNS)]  # rows, and as many steps as a LoRA
LORAS = {  # name: steps, pictures in a batch, how many ordinary cards there are to take some of them from; or where it is in LIBRARY
    "no LoRA": None,
    "as in the lesson": (TURNS, BATCH, KEPT),
    "no ordinary cards": (TURNS, 4, 0),
    "the library's": "windmill",
}


class Contest:
    """The model, the cards and the prompts that all take part with."""

    def __init__(self):
        self.c, self.measures, self.judge = load_components("postcard", device="cpu"), load_measures(), load_judge()
        self.cards, self.kept = concept_cards("windmill", CARDS), concept_cards(None, KEPT)
        self.prompts, rng = trial_prompts("windmill"), Random(5)
        self.ordinary = [full_caption(sample_scene(rng)) for _ in range(ORDINARY)]
        self.before = self.draw()

    def windmills(self, model, word, file=None):
        """{what was counted of the prompts with this word}. file: where the pictures are kept."""
        drawn = generate(model, [one.format(word) for one in self.prompts], seed=50, **QUICK)
        if file:
            keep_sheet(file, [drawn[i : i + 6] for i in range(0, len(drawn), 6)])
        found = self.measures.found(drawn, [one.format("windmill") for one in self.prompts], "windmill")
        return {"windmill": found["windmill"][0], "its colour": found["its colour"][0], "of": len(drawn)}

    def vector(self, rows, steps):
        named = [one.replace("windmill", "<mill>") for one in self.cards.prompts]
        for now in train_concept(self.c, self.cards.images, "<mill>", ROWS[rows], named, steps=steps, batch=BATCH):
            pass
        with loaded(self.c, Concept("<mill>", now.best)) as model:
            return {"rows": rows, "steps": steps, **self.windmills(model, "<mill>", VECTOR)}

    def lora(self, name):
        if LORAS[name] is None:
            return {"name": name, **self.windmills(self.c, "windmill"), **self.usual(self.before)}
        if isinstance(LORAS[name], str):
            with load_lora(self.c, LIBRARY / LORAS[name]):
                return {"name": name, **self.windmills(self.c, "windmill"), **self.usual(self.draw())}
        steps, batch, kept = LORAS[name]
        with add_lora(self.c.unet, RANK, targets=EVERYWHERE) as lora:
            keep_to = (self.kept.images, self.kept.prompts) if kept else None
            for _ in train_lora(
                self.c,
                lora,
                self.cards.images,
                self.cards.prompts,
                keep_to,
                self.cards.masks,
                steps=steps,
                batch=batch,
                timesteps=(200, 1000),
            ):
                pass
            drawn = self.draw()
            if not kept:
                self.show_forgotten(drawn)
            return {"name": name, **self.windmills(self.c, "windmill"), **self.usual(drawn)}

    def draw(self):
        return generate(self.c, self.ordinary, seed=200, **QUICK)

    def usual(self, drawn):
        """Of each picture of the ordinary prompts, 1 or 0: whole, all that its prompt names is there; mills, a windmill is seen,
        though no prompt names one."""
        return {
            "whole": [int(one) for one in self.judge.shares(drawn, self.ordinary) == 1],
            "mills": (self.measures.windmill(drawn) > SEEN).astype(int).tolist(),
        }

    def show_forgotten(self, drawn):
        """FORGOTTEN: the first ROW ordinary prompts, above without a LoRA, below with it; keeps all prompts."""
        keep_sheet(FORGOTTEN, [self.before[:ROW], drawn[:ROW]])
        keep("forgotten", {"prompts": self.ordinary, "seed": 200})


def keep_sheet(file, rows):
    """Rows of pictures of one size as one PNG file, edge to edge; `helpers.figures.lora.pictures_in` cuts it again."""
    write_atomic(file, lambda path: sheet(sum(rows, []), len(rows[0]), gap=0).save(path, "PNG", optimize=True))


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    all_of_them = {f"{rows} x {steps}": (rows, steps) for rows, steps in VECTORS} | {name: name for name in LORAS}
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(all_of_them)}; without one, all")
    names = parser.parse_args(arguments).names or [*all_of_them]
    unknown = [name for name in names if name not in all_of_them]
    if unknown:
        parser.error(f"there is no contest {unknown[0]}: choose among {', '.join(all_of_them)}")
    contest = Contest()
    for name in names:
        one = all_of_them[name]
        part, found = ("vectors", contest.vector(*one)) if isinstance(one, tuple) else ("loras", contest.lora(one))
        print(part, found, flush=True)
        keep(part, found)


def keep(part, found, file=FILE):
    """Put one result into the file, in the place of an older one of the same name."""
    kept = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}

    def name_of(one):
        return one["name"] if part == "loras" else (one["rows"], one["steps"])

    if part != "forgotten":
        order = [*LORAS] if part == "loras" else VECTORS
        rest = [one for one in kept.get(part, []) if name_of(one) != name_of(found) and name_of(one) in order]
        found = sorted([*rest, found], key=lambda one: order.index(name_of(one)))
    kept = {"command": "python -m tools.contests", "turns": TURNS, "rank": RANK, "cards": CARDS, "seed": 0} | {
        "vectors": kept.get("vectors", []),
        "loras": kept.get("loras", []),
        "forgotten": kept.get("forgotten", {}),
        part: found,
    }
    text = re.sub(r"(?<=[\[\d,])\n *(?=[\d\]])", "", json.dumps(kept, indent=1)) + "\n"  # numbers on one line
    write_atomic(file, lambda path: path.write_text(text, encoding="utf-8", newline="\n"))


if __name__ == "__main__":
    main()
