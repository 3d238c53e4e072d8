"""A concept put into a tokenizer and a text encoder, without changing the model it is put into."""

import copy
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from tempfile import TemporaryDirectory

import torch
from transformers import AddedToken

from helpers import inputs
from helpers.components import Components, SharedTokenizer
from helpers.concepts.concept import Concept
from helpers.formats import made_for


@contextmanager
def loaded(c: Components, *concepts: Concept) -> Iterator[Components]:
    """`with loaded(c, concept, ...) as model:` a model that knows the concepts too: Components.

    concepts: `Concept`s. A concept of several vectors is written as one word, its token, in prompts.
    Only the tokenizer and the table of word vectors are new; all else is shared with c, which is not changed:
    what draws with c draws as before, inside the block too, and after it there is nothing to undo, error or
    none. The pictures are those of a pipeline with `load_textual_inversion`.
    Raises TypeError or ValueError, before anything is made, for a concept of another width, or a taken token.
    """
    yield with_concepts(c, *concepts)


def with_concepts(c, *concepts):
    """What `loaded` yields."""
    for concept in concepts:
        if not isinstance(concept, Concept):
            raise TypeError(f"loaded takes concepts, as read_concept returns them, not {inputs.shown(concept)}.")
    inputs.components(c)
    names = [name for concept in concepts for name in concept.tokens]
    table = c.text_encoder.get_input_embeddings().weight.detach()  # (V, d)
    for concept in concepts:
        if concept.vectors.shape[1] != table.shape[1]:
            raise ValueError(
                f"The concept {concept.token} has vectors of {made_for(concept.vectors.shape[1])}, and the "
                f"text encoder of {c.name} reads {table.shape[1]}: it was made for another model, so use one for this."
            )
    _check_names(c.tokenizer, names)
    # The ids of new tokens follow those of the old ones, and so do their rows.
    rows = [table[: len(c.tokenizer)], *(concept.vectors.to(table) for concept in concepts)]
    return replace(
        c, tokenizer=_taught(c.tokenizer, concepts, names), text_encoder=_with_table(c.text_encoder, torch.cat(rows))
    )


def _with_table(text_encoder, table):
    """A text encoder with another table of word vectors, (V, d). New are the table and the modules that it lies in: all other
    layers are those of the given one, so what is done to them (a LoRA put in, its strength, a merge) is done to both."""
    old = text_encoder.get_input_embeddings()
    around = [module for module in text_encoder.modules() if module is not old and old in module.modules()]
    shared = {id(module): module for module in text_encoder.modules() if module not in around}
    other = copy.deepcopy(text_encoder, shared)  # what is in `shared` is taken as it is, not copied
    other.set_input_embeddings(torch.nn.Embedding.from_pretrained(table))
    other.config.vocab_size = len(table)
    return other


def _check_names(tokenizer, names):
    known = tokenizer.get_vocab()
    taught = {name.lower() for name in getattr(tokenizer, "own", ())}
    for i, name in enumerate(names):
        if name in known or f"{name.lower()}</w>" in known or name.lower() in taught:
            raise ValueError(
                f"The token {name} is in the vocabulary already: give the concept another one, "
                f'such as read_concept(..., token="<my-{name.strip("<>")}>").'
            )
        if name.lower() in map(str.lower, names[:i]):
            raise ValueError(
                f"Two of the concepts have the token {name}: read one of them with another, "
                f'such as read_concept(..., token="<other-{name.strip("<>")}>").'
            )


def _taught(tokenizer, concepts, names):
    """A copy of the tokenizer that knows the names, each as one token, and writes out what has several."""
    with TemporaryDirectory() as folder:  # a deepcopy would decode words without the spaces between them
        tokenizer.save_pretrained(folder)
        taught = ConceptTokenizer.from_pretrained(folder, local_files_only=True)
    # Not normalized: the library's releases differ in how such a token is then spelt. Capitals: see `written_out`.
    taught.add_tokens([AddedToken(name, normalized=False) for name in names])
    taught.own = (*getattr(tokenizer, "own", ()), *names)
    taught.several = getattr(tokenizer, "several", {}) | {
        concept.token: " ".join(concept.tokens) for concept in concepts if len(concept.tokens) > 1
    }
    return taught


class ConceptTokenizer(SharedTokenizer):
    """A tokenizer that reads the token of a concept of several vectors as all of them, one after another, and any token
    whether its letters are capitals or not, as all words of a prompt are read.

    own: the tokens. several: {"<house>": "<house> <house>_1", ...}.
    """

    own, several = (), {}

    def __call__(self, text=None, *arguments, **options):
        return super().__call__(self.written_out(text), *arguments, **options)

    def written_out(self, text):
        """A prompt, or a list of them, with every token spelt as it was taught, and followed by the others of its concept, unless
        they are there already."""
        if isinstance(text, (list, tuple)):
            return [self.written_out(one) for one in text]
        for token in self.own if isinstance(text, str) else ():
            text = re.sub(re.escape(token), lambda found, token=token: token, text, flags=re.IGNORECASE)
        for token, all_of_it in self.several.items() if isinstance(text, str) else ():
            text = re.sub(
                rf"{re.escape(token)}(?!_\d| {re.escape(token)}_1)", lambda found, whole=all_of_it: whole, text
            )
        return text


# As with SharedTokenizer: a pipeline that is saved with it is to be read where this course is not.
ConceptTokenizer.__name__, ConceptTokenizer.__module__ = SharedTokenizer.__name__, SharedTokenizer.__module__
