"""Pictures from anywhere: opened with care, turned upright, made RGB.

A file is data from strangers: only plain files are opened, Pillow is told which formats it may try, and what
it says of a damaged one comes with the file's name. Whatever takes a PIL picture takes it through `upright`,
so that a picture is the same thing to all of the course: as a viewer shows it.
"""

import os
import re
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from helpers import inputs
from helpers.files import open_file, what_came_instead

# None of these starts a program. Left to itself, Pillow goes by a file's first bytes, whatever it is called, and gives
# PostScript to Ghostscript.
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF")
LARGEST_FILE = 500e6  # bytes
MOST_PIXELS = 90e6  # 9487 x 9487: as RGB 270 MB, and twice that while it is worked on
SMALLEST = 8  # a picture of fewer pixels a side holds nothing to look at
ORIENTATION = 0x0112  # the EXIF tag by which a camera says how it was held


def prepare_picture(source: Image.Image | str | Path | np.ndarray, size: int) -> Image.Image:
    """Any picture as an RGB PIL image, size x size: turned upright, cut to its middle square, resized.

    source: a PIL image of any mode (L, LA, RGB, RGBA, P, CMYK, 1, 16 bit, float 0..1), a path, or an array
    (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) of uint8, uint16 or floats 0..1. Transparency is laid on white.
    size: 8 to 8192. TypeError for anything else; ValueError for a file that is no picture, of a format that is
    not in FORMATS, or of more than MOST_PIXELS, for numbers out of range, or a picture below 8 pixels a side;
    FileNotFoundError for no file.
    """
    inputs.whole_number(size, "size", SMALLEST, 8192)
    if isinstance(source, (str, os.PathLike)):
        inputs.path(source, "source", "the path of a picture")
    image = upright(_opened(source))
    if min(image.size) < SMALLEST:
        raise ValueError(
            f"The picture is {image.width} x {image.height} pixels: it needs at least {SMALLEST} on each side."
        )
    return ImageOps.fit(image, (size, size), Image.Resampling.LANCZOS)


def upright(image):
    """A PIL picture as a viewer shows it, a new one in RGB: turned as its EXIF data say, transparency on white.

    Its size changes only by the turn: 400 x 300 may become 300 x 400. TypeError for what is no PIL picture;
    ValueError for one whose file is damaged, of a format that is not in FORMATS, or of too many pixels.
    """
    return _rgb(turned(image))


def turned(image):
    """A copy of a PIL picture, or of a mask, turned as its EXIF data say; its mode stays. Raises as `upright`."""
    image = _loaded(image)
    try:
        return ImageOps.exif_transpose(image)
    except Exception as problem:  # damaged EXIF data: Pillow raises whatever its reader stumbled over
        raise _damaged(_name(image), problem) from None


def is_turned(image):
    """Whether a PIL picture's EXIF data say that it is shown turned or mirrored."""
    try:
        return _loaded(image).getexif().get(ORIENTATION, 1) not in (0, 1)  # Pillow turns some as it reads them
    except Exception:  # a damaged file: `upright` says so
        return False


def check_mask_fits(image, mask):
    """ValueError where it is unclear which way up a mask is: the picture's EXIF data turn it."""
    if mask is not None and isinstance(image, Image.Image) and is_turned(image):
        raise ValueError(
            "The picture's EXIF data say that it is shown turned, so it is unclear which way up its mask is: "
            "turn the picture first, with prepare_picture or PIL.ImageOps.exif_transpose, and make the "
            "mask for the result."
        )


def pixels_of(images):
    """Colours as a network takes them: a uint8 array (..., H, W, 3) as a float32 tensor (..., 3, H, W) in -1..1."""
    import torch  # the postcard world does without

    return torch.from_numpy(np.ascontiguousarray(images)).movedim(-1, -3).float().div(127.5).sub(1)


def images_of_pixels(pixels):
    """The way back, rounded: a tensor (..., 3, H, W) in -1..1, what lies beyond cut off, as a uint8 array (..., H, W, 3)."""
    return pixels.detach().float().clamp(-1, 1).add(1).mul(127.5).round().byte().movedim(-3, -1).cpu().numpy()


def _opened(source):
    """A PIL image of an image, a path or an array, its pixels read."""
    if isinstance(source, Image.Image):
        return source
    if isinstance(source, (str, os.PathLike)):
        with open_file(source, LARGEST_FILE, "picture") as file:
            try:
                Image.init()
                image = Image.open(file, formats=[one for one in FORMATS if one in Image.OPEN])
            except UnidentifiedImageError:
                raise ValueError(
                    what_came_instead(source)
                    or (
                        f"{source} cannot be opened: it is no picture in one of the formats {', '.join(FORMATS)}, or it is "
                        "damaged. Save it as PNG or JPEG."
                    )
                ) from None
            except Exception as problem:  # Pillow lets through whatever its readers stumble over
                raise _damaged(source, problem) from None
            image.filename = os.fspath(source)
            return _loaded(image)
    if isinstance(source, np.ndarray):
        return Image.fromarray(_bytes_of(source))
    raise TypeError(f"A picture is a PIL image, a path or an array, not {type(source).__name__}.")


def _loaded(image):
    """A PIL picture whose pixels have been read from its file."""
    if not isinstance(image, Image.Image):
        raise TypeError(f"image must be a PIL picture, not {type(image).__name__}.")
    if image.width * image.height > MOST_PIXELS:
        raise ValueError(
            f"{_name(image)} has {image.width} x {image.height} pixels, more than {MOST_PIXELS / 1e6:.0f} "
            "million: make it smaller first."
        )
    # MPO: what Pillow calls a JPEG that holds more pictures after the first, as many phones write
    if getattr(image, "tile", None) and image.format not in (*FORMATS, "MPO"):  # opened elsewhere, and not read so far
        raise ValueError(
            f"{_name(image)} is of the format {image.format}, which is not read here: save it as PNG or JPEG."
        )
    try:
        image.load()
    except Exception as problem:  # likewise
        raise _damaged(_name(image), problem) from None
    return image


def _name(image):
    return os.fspath(getattr(image, "filename", "") or "The picture")


def _damaged(name, problem):
    """The error for a picture that Pillow cannot read to its end."""
    if isinstance(problem, Image.DecompressionBombError):
        size = re.search(r"\d+ pixels", str(problem))
        return ValueError(
            f"{name} cannot be opened: it has {size[0] if size else 'too many pixels'}, more than "
            f"{MOST_PIXELS / 1e6:.0f} million. Make it smaller first."
        )
    return ValueError(f"{name} cannot be opened: {inputs.first_line(problem)}. Save it as PNG or JPEG.")


def _bytes_of(array):
    """An array of a picture as uint8, (H, W), (H, W, 3) or (H, W, 4)."""
    array = array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array
    if array.ndim != 2 and not (array.ndim == 3 and array.shape[2] in (3, 4)):
        raise ValueError(f"An array of shape {array.shape} is no picture: use (H, W), (H, W, 3) or (H, W, 4).")
    if array.dtype == np.uint8:
        return array
    if array.dtype == np.uint16:
        return (array / 257).round().astype(np.uint8)
    if array.dtype == bool:
        return array.astype(np.uint8) * 255
    if array.dtype.kind == "f":
        return _scaled_bytes(array, 1.0)
    raise ValueError(f"An array of {array.dtype} cannot be read as a picture: use uint8, 0 to 255.")


def _scaled_bytes(array, top):
    """Numbers from 0 to `top` as uint8. ValueError for numbers outside, NaN among them."""
    if not ((array >= 0) & (array <= top)).all():
        raise ValueError(f"The picture holds numbers outside 0 to {top:g}, or NaN: bring them into that range.")
    return (array * (255 / top)).round().astype(np.uint8)


def _rgb(image):
    """A PIL image of any mode as RGB."""
    if image.mode == "F":
        image = Image.fromarray(_scaled_bytes(np.asarray(image), 1.0))
    elif image.mode.startswith("I"):  # 16 or 32 bit, by how Pillow opened the file
        image = Image.fromarray(_scaled_bytes(np.asarray(image).astype(np.float64), 65535.0))
    if image.mode in ("LA", "PA", "RGBA", "RGBa", "La") or "transparency" in image.info:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")
