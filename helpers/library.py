"""Concepts and LoRAs that lie in folders: which of them fit a model, what calls them in a prompt, and a model with them in it."""

import re
from functools import partial
from pathlib import Path

from helpers import inputs, my_course
from helpers.concepts import Concept, read_concept
from helpers.concepts.loading import with_concepts
from helpers.conditioning import too_long
from helpers.formats import SUFFIXES, TOKEN, candidates, what_is
from helpers.lora import load_lora

LIBRARY = Path(__file__).parents[1] / "concepts"  # the course's own


def find_concepts(c, folder=LIBRARY):
    """{name: folder or file} of the concepts in a folder that fit a model: vectors and LoRAs, sorted by name.

    They lie in folders of their own, or as files. A file that cannot be read counts as fitting: when it is used, it is said
    what is wrong with it.
    """
    folder, found = inputs.path(inputs.components(c) and folder, "folder"), {}
    for one in sorted(folder.iterdir()) if folder.is_dir() else []:
        paths = candidates(one) if one.is_dir() or one.suffix in SUFFIXES else []
        for path in filter(partial(fits, c), paths):
            name = one.stem if path == one and one.stem not in found else one.name
            found |= {name: one} if len(paths) == 1 else {f"{name}/{path.name}": path}
    return found


def all_concepts(c):
    """{name: folder or file}: the course's own concepts, and after them the reader's (`my_course`), as far as they fit."""
    own = find_concepts(c)
    mine = find_concepts(c, my_course.folder() / "concepts")
    return own | {f"{name} (yours)" if name in own else name: place for name, place in mine.items()}


def fits(c, place):
    """Whether what lies in a place is for prompts as wide as the model's, as far as it tells."""
    try:
        return what_is(place).width in (None, c.text_encoder.config.hidden_size)
    except OSError:
        return True


def is_lora(source):
    """Whether a place holds a LoRA, and not vectors."""
    return not isinstance(source, Concept) and len(candidates(source)) == 1 and what_is(source).kind == "LoRA"


def call_of(source):
    """The word that calls a concept: its placeholder, or what token_identifier.txt says of a LoRA."""
    if isinstance(source, Concept):
        return source.token
    if token := len(candidates(source)) == 1 and what_is(source).token:
        return str(token)
    said = Path(source) / TOKEN
    if not said.is_file():
        return ""
    with open(said, encoding="utf-8", errors="replace") as file:
        return " ".join(file.read(200).split())  # a word, and a stranger's file may be of any length


def brought_in(c, sources):
    """(Components to draw with, Concepts): a model of its own with vectors and LoRAs in it; c stays as it is.

    sources: (where a concept is, the strength it is to have if it is a LoRA) each.
    """
    concepts = [
        source if isinstance(source, Concept) else read_concept(source) for source, _ in sources if not is_lora(source)
    ]
    model = with_concepts(c.snapshot(), *concepts)
    for source, strength in sources:
        if is_lora(source):
            load_lora(model, source).strength = strength
    return model, concepts


def without(prompt, concepts):
    """The prompt without the placeholders of concepts, of which there may be several numbered ones."""
    for concept in concepts:
        prompt = re.sub(rf"{re.escape(concept.token)}(_\d+)?", " ", prompt, flags=re.IGNORECASE)
    return re.sub(r"\s+([,.;:!?])", r"\1", " ".join(prompt.split()))


def remarks(c, prompts, calls):
    """Sentences on what prompts will not do: words cut, concepts not called, placeholders of no concept.

    prompts: {"prompt": str, "negative_prompt": str}. calls: the words that call the concepts.
    """
    both = " ".join(prompts.values())
    named = {re.sub(r"_\d+>?$", "", word) for word in re.findall(r"<[^<>\s]+>(?:_\d+)?", both)}

    def read(text):  # as the tokenizer does: capitals as small letters, white space as one space
        return " ".join(text.lower().split())

    unused = [
        f"{call} is not in the prompt: write it where you want it." for call in calls if read(call) not in read(both)
    ]
    known = {call.lower() for call in calls}
    unknown = [
        f"{word} is the placeholder of no concept chosen here, and is read letter by letter."
        for word in sorted(named)
        if word.lower() not in known
    ]
    return [*(too_long(c, prompt) for prompt in prompts.values()), *unused, *unknown]
