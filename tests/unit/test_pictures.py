"""A picture is one thing to every entry: as a viewer shows it. And a picture file is data from strangers."""

import io
import itertools
import os
import socket
import struct
import tempfile
import threading
import zlib

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from helpers import generate, load_components
from helpers.concepts import Concept, save_concept, train_concept
from helpers.conditioning import load_towers
from helpers.figures import style
from helpers.figures.attention.maps import blend, explorer_frame
from helpers.latents import encode_image, jpeg, to_pixels
from helpers.lora import add_lora, train_lora
from helpers.panels.sampling import png
from helpers.pictures import FORMATS, ORIENTATION, prepare_picture, upright
from helpers.postcards.judge import pixels_of
from helpers.sampling import extend

TURNS = [2, 3, 4, 5, 6, 7, 8]  # all values of the EXIF tag that change something


def four_colours(side=32):
    """Four quarters of four colours: every turn and every mirror image differs."""
    quarters = np.zeros((2, 2, 3), np.uint8)
    quarters[0, 0], quarters[0, 1], quarters[1, 0] = (230, 20, 20), (20, 200, 20), (20, 20, 230)
    return Image.fromarray(quarters).resize((side, side), Image.Resampling.NEAREST)


def photographed(image, turn, format="PNG"):
    """A picture as a camera stores it that was held another way: opened from its bytes, not yet read."""
    exif, buffer = Image.Exif(), io.BytesIO()
    exif[ORIENTATION] = turn
    image.save(buffer, format, exif=exif)
    return Image.open(buffer)


def see_through(side):
    """Red, where one can see it; what lies under the transparent half is black."""
    pixels = np.zeros((side, side, 4), np.uint8)
    pixels[: side // 2] = (255, 0, 0, 255)
    return Image.fromarray(pixels)


# Every entry


def of_generate(c, image):
    return np.asarray(generate(c, "a red boat", image=image, strength=0.5, steps=2, seed=1))


def of_extend(c, image):
    return np.asarray(extend(image, left=8)[0])


def of_training(c, image):
    return next(iter(train_concept(c, [image], "<mine>", "boat", steps=1, batch=1))).loss


def of_lora(c, image):
    lora = add_lora(c.unet, rank=1)
    try:
        return next(iter(train_lora(c, lora, [image], ["a boat"], steps=1, batch=1))).loss
    finally:
        lora.remove()


def of_keeping(c, image):
    lora = add_lora(c.unet, rank=1)
    try:
        lesson = train_lora(c, lora, [four_colours(c.image_size)], ["a boat"], ([image], ["a house"]), steps=3, batch=3)
        return [step.loss for step in lesson][-1]
    finally:
        lora.remove()


def of_saving(c, image):
    with tempfile.TemporaryDirectory() as folder:
        save_concept(Concept("<mine>", torch.ones(4)), folder, images=[image])
        with Image.open(os.path.join(folder, "concept_images", "0.png")) as saved:
            return np.asarray(saved.convert("RGB"))


ENTRIES = {
    "generate": of_generate,
    "encode_image": lambda c, image: encode_image(c, image).numpy(),
    "extend": of_extend,
    "to_pixels": lambda c, image: to_pixels([image]).numpy(),
    "train_concept": of_training,
    "train_lora": of_lora,
    "what a LoRA keeps": of_keeping,
    "save_concept": of_saving,
    "prepare_picture": lambda c, image: np.asarray(prepare_picture(image, 16)),
    "jpeg": lambda c, image: np.asarray(jpeg(image, 90).image),
    "the judge": lambda c, image: pixels_of(image).numpy(),
    "CLIP": lambda c, image: load_towers(load_components("postcard")).prepare([image])["pixel_values"].numpy(),
    "a figure": lambda c, image: style.to_rgb(image),
    "a map": lambda c, image: np.asarray(blend(image, np.eye(16))),
    "an explorer": lambda c, image: np.frombuffer(explorer_frame(image, np.eye(16)), np.uint8),
}


@pytest.mark.parametrize("entry", ENTRIES)
def test_every_entry_sees_a_picture_as_a_viewer_shows_it(tiny_postcard, entry):
    side, see = tiny_postcard.image_size, ENTRIES[entry]
    plain = four_colours(side)
    turned = ImageOps.exif_transpose(photographed(plain, 6))
    assert not np.array_equal(see(tiny_postcard, plain), see(tiny_postcard, turned)), "this entry would not notice"
    assert np.array_equal(see(tiny_postcard, photographed(plain, 6)), see(tiny_postcard, turned))
    on_white = Image.new("RGB", (side, side), "white")
    on_white.paste("red", (0, 0, side, side // 2))
    assert np.array_equal(see(tiny_postcard, see_through(side)), see(tiny_postcard, on_white))
    grey = ImageOps.grayscale(plain)
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)  # 16 bits
    for mode in (deep, grey.convert("LA")):
        assert np.array_equal(see(tiny_postcard, mode), see(tiny_postcard, grey.convert("RGB")))


@pytest.mark.parametrize("format", ["PNG", "JPEG", "TIFF", "WEBP"])
@pytest.mark.parametrize("turn", TURNS)
def test_all_turns_of_all_formats(turn, format):
    stored = four_colours().resize((48, 32))
    image = photographed(stored, turn, format)
    wanted = ImageOps.exif_transpose(photographed(stored, turn, format)).convert("RGB")
    assert upright(image).size == ((48, 32) if turn < 5 else (32, 48))  # its own size, turned and no other
    assert np.array_equal(upright(image), wanted) and np.array_equal(upright(upright(image)), wanted)
    if format != "TIFF":  # which Pillow itself turns when it reads it
        assert image.size == (48, 32) and image.getexif()[ORIENTATION] == turn, "the one given is not changed"


def test_a_canvas_grows_where_one_sees_it_grow():
    canvas, mask = extend(photographed(four_colours(32).resize((48, 32)), 6), top=16)
    assert canvas.size == (32, 64) and mask.shape == (64, 32) and mask[:16].all() and not mask[16:].any()


def test_a_mask_is_turned_too_and_never_guessed_at(tiny_postcard):
    side = tiny_postcard.image_size
    mask = np.zeros((side, side), bool)
    mask[:, : side // 2] = True
    settings = {"steps": 2, "seed": 1}
    plain = generate(tiny_postcard, "a boat", image=four_colours(side), mask=mask, **settings)
    stored = Image.fromarray(mask.astype(np.uint8) * 255).transpose(Image.Transpose.ROTATE_90)  # 6 turns it back
    again = generate(tiny_postcard, "a boat", image=four_colours(side), mask=photographed(stored, 6), **settings)
    assert np.array_equal(plain, again)
    for draw in (
        lambda image: generate(tiny_postcard, "a boat", image=image, mask=mask, **settings),
        lambda image: train_with_mask(tiny_postcard, image, mask),
    ):
        with pytest.raises(ValueError, match="unclear which way up its mask is: .* prepare_picture"):
            draw(photographed(four_colours(side), 6))
        draw(photographed(four_colours(side), 1))


def train_with_mask(c, image, mask):
    lora = add_lora(c.unet, rank=1)
    try:
        next(iter(train_lora(c, lora, [image], ["a boat"], masks=[mask], steps=1, batch=1)))
    finally:
        lora.remove()


# From strangers


def png_with(*chunks):
    """The bytes of a small PNG with more chunks, (kind, data), behind its header."""
    buffer = io.BytesIO()
    four_colours().save(buffer, "PNG")
    data = buffer.getvalue()
    more = b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )
    return data[:33] + more + data[33:]


def header(width, height):
    body = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + struct.pack(">I", 13)
        + b"IHDR"
        + body
        + struct.pack(">I", zlib.crc32(b"IHDR" + body))
        + struct.pack(">I", 0)
        + b"IDAT"
        + struct.pack(">I", zlib.crc32(b"IDAT"))
    )


BOMB = zlib.compress(bytes(5_000_000), 9)  # 5 kB, and Pillow reads texts of 1 MB
POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n%%EndComments\n{} loop\n%%EOF\n"


def saved_as(format):
    buffer = io.BytesIO()
    four_colours(64).save(buffer, format)
    return buffer.getvalue()


FILES = {
    "a looping EPS": POSTSCRIPT,
    "a harmless EPS": POSTSCRIPT.replace(b"{} loop", b"showpage"),
    "an EPS with a DOS header": b"\xc5\xd0\xd3\xc6" + struct.pack("<I", 30) + bytes(22) + POSTSCRIPT,
    "a PDF": b"%PDF-1.4\n",
    "text": b"no picture",
    "nothing": b"",
    "zeros": bytes(4096),
    "a zTXt bomb": png_with((b"zTXt", b"x\0\0" + BOMB)),
    "an iCCP bomb": png_with((b"iCCP", b"x\0\0" + BOMB)),
    "an iTXt bomb": png_with((b"iTXt", b"x\0\1\0\0\0" + BOMB)),
    "many texts": png_with(*[(b"zTXt", b"x\0\0" + zlib.compress(bytes(900_000)))] * 80),
    "60000 pixels a side": header(60_000, 60_000),
    "2^31 - 1 pixels a side": header(2**31 - 1, 2**31 - 1),
    "10000 pixels a side": header(10_000, 10_000),
    "a PNG without pixels": header(64, 64),
    **{f"a cut {format}": saved_as(format)[:-60] for format in ("PNG", "JPEG", "GIF", "BMP", "PPM", "WEBP", "TIFF")},
    **{
        f"a {format} cut early": saved_as(format)[:20]
        for format in ("PNG", "JPEG", "GIF", "BMP", "PPM", "WEBP", "TIFF")
    },
}


@pytest.mark.parametrize("name", FILES)
def test_a_hostile_or_damaged_picture_gets_one_sentence_with_its_name(tmp_path, monkeypatch, name):
    monkeypatch.setattr("subprocess.Popen.__init__", lambda *_, **__: pytest.fail("a program was started"))
    monkeypatch.setattr("subprocess.check_call", lambda *_, **__: pytest.fail("a program was started"))
    path = tmp_path / "photo.png"
    path.write_bytes(FILES[name])
    with pytest.raises(ValueError, match="photo.png") as caught:
        prepare_picture(path, 64)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


@pytest.mark.parametrize(
    "content, words",
    [
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0a\nsize 1\n",
            "is not the file itself but a pointer of Git LFS",
        ),
        (b"<!DOCTYPE html>", "is a web page"),
    ],
)
def test_what_came_instead_of_a_picture_is_called_what_it_is(tmp_path, content, words):
    (tmp_path / "photo.png").write_bytes(content)
    with pytest.raises(ValueError, match=f"photo.png {words}"):
        prepare_picture(tmp_path / "photo.png", 64)


def test_a_phones_jpeg_with_a_second_picture_is_read(tmp_path):
    first, second = (Image.new("RGB", (64, 48), colour) for colour in ("teal", "red"))
    first.save(tmp_path / "phone.jpg", "MPO", save_all=True, append_images=[second])
    assert (
        Image.open(tmp_path / "phone.jpg").format == "MPO" and (tmp_path / "phone.jpg").read_bytes()[:2] == b"\xff\xd8"
    )
    for image in (prepare_picture(tmp_path / "phone.jpg", 32), upright(Image.open(tmp_path / "phone.jpg"))):
        assert np.abs(np.asarray(image).astype(int) - [0, 128, 128]).max() < 9


@pytest.mark.parametrize("name", ["a looping EPS", "a harmless EPS"])
def test_a_lazily_opened_eps_is_not_started_either(tmp_path, monkeypatch, name):
    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", lambda *_, **__: pytest.fail("Ghostscript was started"))
    (tmp_path / "photo.png").write_bytes(FILES[name])
    with pytest.raises(ValueError, match="photo.png is of the format EPS, which is not read here"):
        upright(Image.open(tmp_path / "photo.png"))


def test_the_formats_are_what_pillow_calls_them_and_no_postscript():
    Image.init()
    assert not {"EPS", "WMF", "PDF"} & set(FORMATS) and set(FORMATS) - {"AVIF"} <= set(Image.OPEN)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows knows no pipes in folders")
def test_what_never_ends_is_not_read(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    (tmp_path / "loop.png").symlink_to("loop.png")
    with open(tmp_path / "endless.png", "wb") as file:
        file.truncate(10**12)  # without a byte on the disk
    listening = socket.socket(socket.AF_UNIX)
    here = os.getcwd()
    os.chdir(tmp_path)  # a socket's name may have 107 letters
    try:
        listening.bind("socket.png")
    finally:
        os.chdir(here)
    said = {}
    for name in ("pipe", "zero", "loop", "endless", "socket"):

        def attempt(name=name):
            with pytest.raises(ValueError, match=f"{name}.png ") as caught:
                prepare_picture(tmp_path / f"{name}.png", 64)
            said[name] = str(caught.value)

        thread = threading.Thread(target=attempt, daemon=True)
        thread.start()
        thread.join(20)
        assert not thread.is_alive(), f"{name} is read for ever"
    listening.close()
    assert "is a pipe, which may never end" in said["pipe"] and "is a device" in said["zero"]
    assert "1,000,000 MB" in said["endless"] and "cannot be opened" in said["socket"] and "cannot be" in said["loop"]


def test_damaged_exif_data_are_a_sentence_or_no_turn():
    for junk in (
        b"Exif\0\0MM\0*\0\0\0\xff",
        b"Exif\0\0" + bytes(30),
        b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + b"\x12\x01" * 60,
    ):
        image = Image.open(io.BytesIO(saved_as("JPEG")))
        image.info["exif"] = junk
        try:
            assert upright(image).size == (64, 64)
        except ValueError as problem:
            assert "cannot be opened" in str(problem) and "\n" not in str(problem)  # noqa: PT017  it may be read, too


# Two threads


def test_pictures_that_two_threads_save_keep_their_settings():
    picture, stop, others = four_colours(), threading.Event(), itertools.count()

    def show():
        while not stop.is_set():
            png(picture)
            jpeg(picture, next(others) % 90 + 1)

    thread = threading.Thread(target=show)
    thread.start()
    try:
        saved = [png(picture, {"prompt": "a boat", "seed": 1}) for _ in range(581)]
    finally:
        stop.set()
        thread.join()
    texts = [Image.open(io.BytesIO(one)).text for one in saved]
    assert texts == [{"parameters": "a boat\nSeed: 1, Size: 32x32"}] * 581 and next(others) > 20
