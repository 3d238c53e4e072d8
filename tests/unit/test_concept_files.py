"""A concept file is data from strangers: what is read of it, what is refused, and that nothing in it runs."""

import io
import os
import pickle
import warnings
import zipfile
from pathlib import Path

import huggingface_hub
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from helpers.concepts import Concept, loaded, read_concept, save_concept

VECTOR = torch.linspace(-1, 1, 32)


# What is read


@pytest.mark.parametrize("shape", [(32,), (1, 32), (3, 32)])
@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
def test_both_formats_are_read(tmp_path, shape, suffix):
    path, vectors = tmp_path / f"learned_embeds.{suffix}", torch.randn(shape)
    save_file({"<cat>": vectors}, path) if suffix == "safetensors" else torch.save({"<cat>": vectors}, path)
    for where in (path, str(path), tmp_path):
        concept = read_concept(where)
        assert concept.token == "<cat>" and torch.equal(concept.vectors, vectors.reshape(-1, 32))
    assert read_concept(path, token="<my-cat>").token == "<my-cat>"


def test_an_old_file_with_a_trained_parameter_in_half_precision_is_read(tmp_path):
    old_torch(tmp_path / "learned_embeds.bin", {"<cat>": torch.nn.Parameter(VECTOR.half())})
    assert torch.equal(read_concept(tmp_path).vectors[0], VECTOR.half().float())


def test_safetensors_come_before_a_pickle(tmp_path):
    (tmp_path / "learned_embeds.bin").write_bytes(b"never looked at")
    save_file({"<cat>": VECTOR}, tmp_path / "learned_embeds.safetensors")
    assert read_concept(tmp_path).token == "<cat>"


def test_a_view_of_a_whole_table_is_cut_out_and_named(tmp_path):
    table = torch.zeros(49408, 768)
    table[-1] = torch.linspace(-1, 1, 768)
    path = tmp_path / "learned_embeds.bin"
    torch.save({"<cat>": table[-1]}, path)
    assert path.stat().st_size > 150e6
    with pytest.warns(UserWarning, match="drags a table of 152 MB along for 768 numbers") as caught:
        concept = read_concept(path)
    assert caught[0].filename == __file__
    assert concept.vectors.untyped_storage().nbytes() == 768 * 4
    assert torch.equal(concept.vectors[0], table[-1])
    save_concept(concept, tmp_path / "small")
    assert (tmp_path / "small" / "learned_embeds.safetensors").stat().st_size < 5000


# What is refused


class Runs:
    """Pickled, it makes a directory when it is opened."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


def old_pickle(path, content):
    path.write_bytes(pickle.dumps(content, protocol=2))


def new_pickle(path, content):
    path.write_bytes(pickle.dumps(content))


def torch_zip(path, content):
    torch.save(content, path)


def old_torch(path, content):
    torch.save(content, path, _use_new_zipfile_serialization=False)


@pytest.mark.parametrize("write", [old_pickle, new_pickle, torch_zip, old_torch])
@pytest.mark.parametrize("wrap", [lambda evil: evil, lambda evil: {"<cat>": evil}, lambda evil: {"x": [1, evil]}])
def test_a_pickle_that_would_run_code_is_refused_and_nothing_runs(tmp_path, write, wrap):
    mark, path = tmp_path / "it-ran", tmp_path / "learned_embeds.bin"
    write(path, wrap(Runs(mark)))
    refused = r"is a pickle that (asks for (posix|nt)\.mkdir|holds more than numbers), which could run"
    with pytest.raises(ValueError, match=refused) as caught:
        read_concept(path)
    assert not mark.exists() and "\n" not in str(caught.value) and caught.value.__context__ is None
    # The file is a real one: whoever opens it as a pickle has the directory.
    if "torch" in write.__name__:
        torch.load(path, weights_only=False)
    else:
        pickle.loads(path.read_bytes())
    assert mark.exists()


def test_a_pickle_named_safetensors_is_not_opened_as_one(tmp_path):
    mark, path = tmp_path / "it-ran", tmp_path / "learned_embeds.safetensors"
    old_pickle(path, {"<cat>": Runs(mark)})
    with pytest.raises(ValueError, match="is damaged, or no file of weights"):
        read_concept(path)
    assert not mark.exists()


def broken_zip(path):
    whole = io.BytesIO()
    torch.save({"<cat>": torch.randn(3, 64)}, whole)
    path.write_bytes(whole.getvalue()[:-300])


def strange_zip(path):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("readme.txt", "no pickle in here")


def half_safetensors(path):
    save_file({"<cat>": VECTOR}, path)
    path.write_bytes(path.read_bytes()[:-40])


def huge(path):
    with open(path, "wb") as file:
        file.truncate(500_000_000)  # takes no room on the disk


BIN, SAFE = "learned_embeds.bin", "learned_embeds.safetensors"


@pytest.mark.parametrize(
    "name, write, words",
    [
        (BIN, lambda path: path.write_bytes(b""), "is empty: fetch it again"),
        (SAFE, lambda path: path.write_bytes(b""), "is empty: fetch it again"),
        (BIN, lambda path: path.write_bytes(b"<html>not found</html>"), "is a web page"),
        (SAFE, lambda path: path.write_bytes(b"<html>not found</html>"), "is a web page"),
        (BIN, broken_zip, "is damaged"),
        (BIN, strange_zip, "is damaged"),
        (SAFE, half_safetensors, "is damaged"),
        (BIN, huge, "has 500 MB, and a concept file may have at most 400 MB"),
        (SAFE, huge, "has 500 MB"),
        (BIN, lambda path: torch.save(VECTOR, path), "holds a Tensor, and a concept is"),
        (BIN, lambda path: torch.save([VECTOR], path), "holds a list, and a concept is"),
        (BIN, lambda path: torch.save({}, path), "holds 0 entries"),
        (BIN, lambda path: torch.save({"a": VECTOR, "b": VECTOR}, path), r"holds 2 entries \(a, b\)"),
        (SAFE, lambda path: save_file({"a": VECTOR, "b": -VECTOR}, path), r"holds 2 entries \(a, b\)"),
        (BIN, lambda path: torch.save({3: VECTOR}, path), "is no concept .* token of a concept is a string"),
        (BIN, lambda path: torch.save({"<cat>": "a cat"}, path), "tensor of fractional numbers, not str"),
        (BIN, lambda path: torch.save({"<cat>": {"deep": VECTOR}}, path), "fractional numbers, not dict"),
        (BIN, lambda path: torch.save({"<cat>": VECTOR.to_sparse()}, path), "tensor of fractional numbers"),
        (SAFE, lambda path: save_file({"<cat>": VECTOR.long()}, path), "not torch.int64"),
        (SAFE, lambda path: save_file({"<cat>": torch.ones(2, 2, 32)}, path), r"has the shape \(2, 2, 32\)"),
        (SAFE, lambda path: save_file({"<cat>": VECTOR / 0}, path), "NaN or infinite"),
        (SAFE, lambda path: save_file({"my cat": VECTOR}, path), "one word without spaces"),
    ],
)
def test_what_is_no_concept_is_refused_in_one_sentence(tmp_path, name, write, words):
    path = tmp_path / name
    write(path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError, match=words) as caught:
            read_concept(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value) and len(str(caught.value)) < 450


def test_where_there_is_no_concept_it_says_so(tmp_path):
    with pytest.raises(FileNotFoundError, match="There is no concept .*nowhere.bin"):
        read_concept(tmp_path / "nowhere.bin")
    with pytest.raises(FileNotFoundError, match="holds neither learned_embeds.safetensors nor"):
        read_concept(tmp_path)
    save_file(
        {f"unet.mid_block.to_q.lora_{half}.weight": torch.ones(2, 2) for half in "AB"},
        tmp_path / "pytorch_lora_weights.safetensors",
    )
    with pytest.raises(ValueError, match="holds a LoRA, .* open it with load_lora"):
        read_concept(tmp_path)


def test_a_file_of_another_width_loads_nowhere(tiny, tmp_path):
    save_file({"<cat>": torch.ones(1024)}, tmp_path / SAFE)  # as Stable Diffusion 2 has it
    concept = read_concept(tmp_path)
    with pytest.raises(
        ValueError, match=r"vectors of 1024 numbers \(Stable Diffusion 2\), .* it was made for another model"
    ):
        loaded(tiny, concept).__enter__()
    assert "<cat>" not in tiny.tokenizer.get_vocab()


# The Hub


def test_an_id_is_fetched_once_and_only_what_is_needed(hub_cache, monkeypatch, tmp_path):
    from standin_hub import StandInHub

    save_concept(Concept("<cat>", VECTOR), tmp_path, images=[Image.new("RGB", (8, 8))], card="# A cat")
    (tmp_path / BIN).write_bytes(b"never fetched")
    with StandInHub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        hub.add("sd-concepts-library/tiny-cat", tmp_path)
        assert read_concept("sd-concepts-library/tiny-cat").token == "<cat>"
        fetched = {request.path.split("/")[-1] for request in hub.asked if "resolve" in request.path}
        assert SAFE in fetched and not fetched & {BIN, "0.png", "README.md"}
        hub.asked.clear()
        assert torch.equal(read_concept("sd-concepts-library/tiny-cat").vectors[0], VECTOR) and not hub.asked
        (file,) = Path(huggingface_hub.constants.HF_HUB_CACHE).rglob(f"snapshots/*/{SAFE}")
        for damaged in (bytes(file.stat().st_size), file.read_bytes()[:100]):
            file.write_bytes(damaged)  # what a power cut leaves
            assert torch.equal(read_concept("sd-concepts-library/tiny-cat").vectors[0], VECTOR)
        with pytest.raises(FileNotFoundError, match="no-cat is gone .* need no network"):
            read_concept("sd-concepts-library/no-cat")
        hub.add("sd-concepts-library/just-text", {"README.md": b"hello"})
        with pytest.raises(FileNotFoundError, match="just-text holds nothing of the kind"):
            read_concept("sd-concepts-library/just-text")


# Saving


def test_a_saved_folder_has_the_layout_of_the_library(tmp_path):
    concept = Concept("<teal>", VECTOR)
    images = [Image.new("RGB", (8, 8), colour) for colour in ("teal", "navy", "red")]
    card = "# Teal: \u00bd\n"
    folder = save_concept(concept, tmp_path / "deep" / "teal", kind="style", images=images, card=card)
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert names == {
        SAFE,
        "token_identifier.txt",
        "type_of_concept.txt",
        "README.md",
        *(os.path.join("concept_images", f"{i}.png") for i in range(3)),
    }
    assert (folder / "token_identifier.txt").read_text() == "<teal>"
    assert (folder / "type_of_concept.txt").read_text() == "style"
    assert (folder / "README.md").read_text(encoding="utf-8") == card
    assert load_file(folder / SAFE)["<teal>"].shape == (32,)
    assert Image.open(folder / "concept_images" / "2.png").getpixel((0, 0)) == (255, 0, 0)
    save_concept(Concept("<teal>", VECTOR.expand(2, 32)), folder, images=images[:1])
    assert [path.name for path in (folder / "concept_images").iterdir()] == ["0.png"]
    assert read_concept(folder).vectors.shape == (2, 32) and (folder / "README.md").exists()


def test_an_interrupted_save_leaves_the_old_concept_or_none(tmp_path, monkeypatch):
    folder = save_concept(Concept("<old>", VECTOR), tmp_path / "teal")

    def half(tensors, path):
        path.write_bytes(b"half of it")
        raise KeyboardInterrupt

    monkeypatch.setattr("helpers.concepts.files.save_file", half)
    for where in (folder, tmp_path / "new" / "deep"):
        with pytest.raises(KeyboardInterrupt):
            save_concept(Concept("<new>", -VECTOR), where)
        assert not [path for path in tmp_path.rglob("*") if path.suffix == ".tmp" or "new" in path.name]
    assert torch.equal(read_concept(folder).vectors[0], VECTOR)


def test_what_can_not_be_saved_writes_nothing(tmp_path):
    with pytest.raises(ValueError, match='"object" or "style", not \'mood\''):
        save_concept(Concept("<teal>", VECTOR), tmp_path / "teal", kind="mood")
    with pytest.raises(TypeError, match="takes a Concept, not Tensor"):
        save_concept(VECTOR, tmp_path / "teal")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "images, words",
    [
        (Image.new("RGB", (8, 8)), "takes a list of PIL pictures"),
        (7, "takes a list of PIL pictures"),
        ([Image.new("RGB", (8, 8)), "a path"], "must be a PIL picture, not str"),
    ],
)
def test_wrong_pictures_make_no_folder(tmp_path, images, words):
    with pytest.raises(TypeError, match=words):
        save_concept(Concept("<teal>", VECTOR), tmp_path / "deep" / "teal", images=images)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "token, card, kind, words",
    [
        ("<teal>", 7, TypeError, "README.md holds a string, not int"),
        ("<teal>", "half a letter: \ud800", ValueError, "lone surrogate"),
        ("<\ud800>", "", ValueError, "lone surrogate"),
    ],
)
def test_words_that_no_file_can_hold_make_no_folder(tmp_path, token, card, kind, words):
    with pytest.raises(kind, match=words) as caught:
        save_concept(Concept(token, VECTOR), tmp_path / "teal", card=card)
    assert not list(tmp_path.iterdir()) and "\n" not in str(caught.value)


# Sizes: what is small on the disk and large in memory


def bytearrays(path):
    """A pickle in a zip of torch: a bytearray of a bytearray, 300 MB each."""
    length = (300_000_000).to_bytes(4, "little")
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a/data.pkl", b"\x80\x02cbuiltins\nbytearray\ncbuiltins\nbytearray\nJ" + length + b"\x85R\x85R.")
        file.writestr("a/version", "3\n")


def deflated(path, length=200_000_000):
    """A file of torch.save, packed again: its vector takes a thousandth of its room."""
    torch.save({"<cat>": VECTOR}, path)
    with zipfile.ZipFile(path) as whole:
        parts = {part.filename: whole.read(part) for part in whole.infolist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        for name, content in parts.items():
            with file.open(name, "w") as part:
                for _ in range(length // 1_000_000 if name.endswith("data/0") else 0):
                    part.write(bytes(1_000_000))
                part.write(content)


def hidden_directory(path):
    """A zip behind a zip: a reader that goes by the last directory alone sees the second."""
    deflated(path, 20_000_000)
    small = io.BytesIO()
    torch.save({"<cat>": VECTOR}, small)
    path.write_bytes(path.read_bytes() + small.getvalue())


def overlapping(path):
    """A directory that names one and the same 1 MB a thousand times."""
    torch.save({"<cat>": torch.zeros(250_000)}, path)
    with zipfile.ZipFile(path, "a") as file:
        part = next(part for part in file.infolist() if part.filename.endswith("data/0"))
        file.filelist.extend([part] * 1000)
        file._didModify = True  # else the directory is not written anew


GREEDY = {
    "one number, seen 400 million times": (
        lambda path: torch.save({"<cat>": torch.ones(1).expand(4 * 10**8)}, path),
        "has vectors of 400000000 numbers",
    ),
    "75 rows of 100 million": (
        lambda path: torch.save({"<cat>": torch.ones(1).expand(75, 10**8)}, path),
        "vectors of 100000000 numbers",
    ),
    "the same in the old format": (
        lambda path: old_torch(path, {"<cat>": torch.ones(1).expand(4 * 10**8)}),
        "vectors of 400000000 numbers",
    ),
    "more rows than there are": (
        lambda path: torch.save({"<cat>": torch.ones(1).expand(10**8, 4)}, path),
        "up to 75 as",
    ),
    "another dtype": (
        lambda path: torch.save({"<cat>": torch.ones(1).double().expand(10**9)}, path),
        "vectors of 1000000000 numbers",
    ),
    "bytearrays": (bytearrays, "asks for builtins.bytearray, which .* fill the memory"),
    "a packed zip": (deflated, "would unpack to 200 MB, which torch never writes"),
    "a hidden directory": (hidden_directory, "begins with something else than its first part"),
    "overlapping parts": (overlapping, "would unpack to 1,00. MB"),
}


@pytest.mark.parametrize("name", GREEDY)
def test_a_small_file_that_would_fill_the_memory_is_refused_before_it_does(tmp_path, name):
    write, words = GREEDY[name]
    path = tmp_path / BIN
    write(path)
    assert path.stat().st_size < 3e6
    before = peak()
    with pytest.raises(ValueError, match=words) as caught:
        read_concept(path)
    assert peak() - before < 100e6 and "\n" not in str(caught.value) and str(path) in str(caught.value)


def peak():
    """The most memory this process has held so far, bytes."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) * 1024


def test_an_expanded_tensor_is_no_concept_either():
    before = peak()
    with pytest.raises(ValueError, match="no text encoder reads more than 16384"):
        Concept("<cat>", torch.ones(1).expand(4 * 10**8))
    assert peak() - before < 100e6


@pytest.mark.parametrize("name", [BIN, SAFE])
@pytest.mark.parametrize(
    "content, words",
    [
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0a\nsize 3819\n",
            "is not the file itself but a pointer of Git LFS, .* run `git lfs pull`",
        ),
        (
            b'\xef\xbb\xbf\n<!DOCTYPE html>\n<html lang="en">',
            r"is a web page \(HTML\), not the file itself: use the download link",
        ),
        (b"<HTML><body>404</body>", "is a web page"),
    ],
)
def test_what_came_instead_of_the_file_is_called_what_it_is(tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=words):
        read_concept(tmp_path)


def test_a_safetensors_file_under_a_pickles_name_is_read_as_what_it_is(tmp_path):
    save_file({"<cat>": VECTOR}, tmp_path / BIN)
    assert torch.equal(read_concept(tmp_path).vectors[0], VECTOR)


def test_text_is_not_called_a_pickle(tmp_path):
    (tmp_path / BIN).write_bytes(b"Not found")
    with pytest.raises(ValueError, match="is damaged, or no file of weights"):
        read_concept(tmp_path)
