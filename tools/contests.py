"""What lesson 05 shows of contests that are too long to be run in it: `python -m tools.contests`, about half an hour on one core.

    python -m tools.contests                        all of them
    python -m tools.contests "no ordinary cards"    only these; the others stay as they are

Everything is trained on the lesson's 32 windmills and tried on its prompts. The figures go into concepts/contests.json.
"""
import argparse
import json
from random import Random

from helpers import generate, load_components
from helpers.concepts import Concept, loaded, train_concept
from helpers.files import write_atomic
from helpers.lora import ATTENTION, EVERYWHERE, add_lora, train_lora
from helpers.postcards import full_caption, sample_scene
from helpers.postcards.judge import load_judge
from helpers.postcards.lessons import concept_cards, trial_prompts
from helpers.postcards.measures import load_measures
from tools.make_concepts import LIBRARY

FILE = LIBRARY / "contests.json"
TURNS, RANK, CARDS, KEPT, BATCH = 150, 8, 32, 96, 6  # as the lesson
ORDINARY = 24
QUICK = {"steps": 12, "scheduler": "dpm++_2m"}
ROWS = {1: "lighthouse", 4: "white flag lighthouse tree"}  # of a vector: where they begin
VECTORS = [(1, TURNS), (4, TURNS)]  # rows, and as many steps as a LoRA
LORAS = {  # name: what is changed, and how many ordinary cards are among the questions
    "no LoRA": None, "as in the lesson": (EVERYWHERE, KEPT), "attention alone": (ATTENTION, KEPT),
    "no ordinary cards": (EVERYWHERE, 0)}


class Contest:
    """The model, the cards and the prompts that all take part with."""

    def __init__(self):
        self.c, self.measures, self.judge = load_components("postcard", device="cpu"), load_measures(), load_judge()
        self.cards, self.kept = concept_cards("windmill", CARDS), concept_cards(None, KEPT)
        self.prompts, rng = trial_prompts("windmill"), Random(5)
        self.ordinary = [full_caption(sample_scene(rng)) for _ in range(ORDINARY)]

    def windmills(self, model, word):
        """{what was counted of the prompts with this word}."""
        drawn = generate(model, [one.format(word) for one in self.prompts], seed=50, **QUICK)
        found = self.measures.found(drawn, [one.format("windmill") for one in self.prompts], "windmill")
        return {"windmill": found["windmill"][0], "its colour": found["its colour"][0], "of": len(drawn)}

    def vector(self, rows, steps):
        named = [one.replace("windmill", "<mill>") for one in self.cards.prompts]
        for now in train_concept(self.c, self.cards.images, "<mill>", ROWS[rows], named, steps=steps, batch=BATCH):
            pass
        with loaded(self.c, Concept("<mill>", now.best)) as model:
            return {"rows": rows, "steps": steps, **self.windmills(model, "<mill>")}

    def lora(self, name):
        how = LORAS[name]
        if how is None:
            return {"name": name, "numbers": 0, **self.windmills(self.c, "windmill"), **self.usual()}
        targets, kept = how
        with add_lora(self.c.unet, RANK, targets=targets) as lora:
            keep = (self.kept.images, self.kept.prompts) if kept else None
            for _ in train_lora(self.c, lora, self.cards.images, self.cards.prompts, keep, self.cards.masks, steps=TURNS,
                                batch=BATCH, timesteps=(200, 1000)):
                pass
            numbers = sum(part.numel() for part in lora.parameters())
            return {"name": name, "numbers": numbers, **self.windmills(self.c, "windmill"), **self.usual()}

    def usual(self):
        """{how many answers about the pictures of ordinary prompts are right, and of how many}."""
        score = self.judge.agreement(generate(self.c, self.ordinary, seed=200, **QUICK), self.ordinary)["mean"]
        return {"right": round(score.right * score.n), "asked": score.n}


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
    order = [*LORAS] if part == "loras" else VECTORS
    rest = [one for one in kept.get(part, []) if name_of(one) != name_of(found) and name_of(one) in order]
    kept = {"command": "python -m tools.contests", "turns": TURNS, "rank": RANK, "cards": CARDS, "seed": 0} | {
        "vectors": kept.get("vectors", []), "loras": kept.get("loras", []),
        part: sorted([*rest, found], key=lambda one: order.index(name_of(one)))}
    text = json.dumps(kept, indent=1) + "\n"
    write_atomic(file, lambda path: path.write_text(text, encoding="utf-8", newline="\n"))


if __name__ == "__main__":
    main()
