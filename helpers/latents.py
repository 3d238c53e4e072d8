"""Pictures to latents and back, through the autoencoder of the loaded model; a cheap preview; what is lost.

Latents come in two scales. Raw: as the VAE writes them. Scaled: times vae.config.scaling_factor, so that
their spread is about 1, like noise; this is what the U-Net and every function here takes, unless it says
otherwise. Sources: Kingma and Welling 2014 (posterior), Rombach et al. 2022 (latents, scaling factor).
Written out line by line in notebooks/02_vae_latents.ipynb.
"""

import io
import math
import random
import weakref
from typing import TYPE_CHECKING, NamedTuple

import helpers.runtime  # noqa: F401  before the libraries: it tells them to speak of errors only

import numpy as np
import torch
from PIL import Image

from helpers import inputs
from helpers.files import save_picture
from helpers.pictures import images_of_pixels, pixels_of, prepare_picture, upright  # noqa: F401  lessons ask for prepare_picture here

if TYPE_CHECKING:
    from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution

    from helpers.components import Components

PREVIEW_POSTCARDS = 16  # pictures that `preview_of` looks at: h x w equations each, for 3 C + 3 unknowns
PREVIEW_SIZE = 128  # their sides at most: all together as much work as one picture of 512 x 512


# There and back


@torch.inference_mode()
def encode_image(c: "Components", image: Image.Image) -> torch.Tensor:
    """The latents (1, C, h, w) of a PIL picture of any size that the VAE can halve (`check_sides`): the
    mean, scaled like noise. Like every picture here it is turned `upright` first, and its size is otherwise
    left alone. c.image_size square is what the U-Net knows best; see `prepare_picture`.
    """
    return encode_pixels(c, to_pixels([upright(image)])).mode() * c.vae.config.scaling_factor


def to_pixels(images: list[Image.Image]) -> torch.Tensor:
    """PIL pictures of one size, a list of B, turned `upright`, as a tensor (B, 3, H, W), float32, -1..1."""
    images = inputs.pictures(images, "images", least=1)
    images = [upright(image) for image in images]
    if len({image.size for image in images}) > 1:
        sizes = " and ".join(f"{width} x {height}" for width, height in sorted({one.size for one in images})[:2])
        raise ValueError(f"images must be of one size, not {sizes}: see prepare_picture.")
    return pixels_of(np.stack([np.asarray(image) for image in images]))  # of (B, H, W, 3), 0..255


@torch.inference_mode()
def encode_pixels(c: "Components", pixels: torch.Tensor) -> "DiagonalGaussianDistribution":
    """The posterior of pixels (B, 3, H, W) in -1..1: raw .mean and .logvar (B, C, h, w), .sample(), .kl().

    ValueError for sides that the VAE can not halve, and for numbers far beyond -1..1, such as 0..255;
    FloatingPointError for NaN or infinity.
    """
    inputs.components(c), inputs.tensor(pixels, "pixels", "B", 3, "H", "W")
    check_sides(c, *pixels.shape[-2:])
    if 10 < (largest := pixels.abs().max()) < math.inf:
        raise ValueError(f"pixels must lie in -1..1, and one is {largest:.4g}: divide 0..255 by 127.5 and subtract 1.")
    posterior = c.vae.encode(pixels.to(c.device, c.dtype)).latent_dist
    require_finite(posterior.mean, "The latents hold")
    return posterior


def check_sides(c, height, width):
    """ValueError, with the reason, for a picture whose sides are no multiples of c.vae_scale_factor."""
    step = inputs.components(c).vae_scale_factor
    for side, name in ((height, "height"), (width, "width")):
        inputs.whole_number(side, name, 1, 2**31)
    if height % step or width % step:
        fits = f"{max(width // step, 1) * step} x {max(height // step, 1) * step}"
        raise ValueError(
            f"The picture is {width} x {height} pixels, and the encoder halves each side "
            f"{step.bit_length() - 1} times: use multiples of {step}, such as {fits}."
        )


@torch.inference_mode()
def decode_latents(c: "Components", latents: torch.Tensor) -> list[Image.Image]:
    """The pictures of scaled latents (B, C, h, w), of any floating format: B PIL images. FloatingPointError for NaN or
    infinity. One is decoded after the other, so that many need no more memory than one."""
    channels = inputs.components(c).vae.config.latent_channels
    latents = inputs.tensor(latents, "latents", "B", channels, "h", "w").to(c.device, c.dtype)
    pictures = []
    for one in latents:
        pixels = c.vae.decode(one[None] / c.vae.config.scaling_factor).sample[0]  # (1, C, h, w) -> (3, H, W)
        require_finite(pixels, "The decoded pixels hold")
        pixels = (pixels / 2 + 0.5).clamp(0, 1).permute(1, 2, 0)  # -1..1 -> 0..1, (H, W, 3)
        pictures.append(Image.fromarray((pixels.float().cpu().numpy() * 255).round().astype("uint8")))
    return pictures


def require_finite(tensor, what):
    """FloatingPointError where a tensor holds NaN or infinity. what: the beginning of the sentence."""
    if not tensor.isfinite().all():
        raise FloatingPointError(
            f"{what} NaN or infinite numbers, so there is no picture: lower the "
            f"guidance, load the model anew, or load it with dtype=torch.float32."
        )


# A preview that costs almost nothing


class Preview(NamedTuple):
    """Latents to colours: rgb = latents @ weight + bias in every cell. weight: (C, 3). bias: (3,). Of any precision."""

    weight: torch.Tensor
    bias: torch.Tensor

    def rgb(self, latents):
        """Scaled latents (B, C, h, w) as colours (B, 3, h, w), about -1..1."""
        inputs.tensor(latents, "latents", "B", len(self.weight), "h", "w")
        weight, bias = (one.to(latents.device, torch.float32) for one in self)
        return torch.einsum("bchw,ck->bkhw", latents.float(), weight) + bias[:, None, None]

    def __call__(self, latents, factor=8):
        """One scaled latent (1, C, h, w) as a PIL picture, `factor` times as wide (1 to 64), smoothly enlarged."""
        inputs.tensor(latents, "latents", 1, len(self.weight), "h", "w")
        inputs.whole_number(factor, "factor", 1, 64)
        image = Image.fromarray(images_of_pixels(self.rgb(latents)[0]))  # (h, w, 3)
        return image.resize((image.width * factor, image.height * factor), Image.Resampling.BICUBIC)

    def explains(self, latents, rgb):
        """R^2 on latents (B, C, h, w) and rgb (B, 3, h, w): the share of the colours' variance, at most 1."""
        _same_places(latents, rgb)
        spread = rgb - rgb.mean((0, 2, 3), keepdim=True)
        return 1 - ((rgb - self.rgb(latents)).square().sum() / spread.square().sum()).item()


def fit_preview(latents, rgb):
    """The Preview with the least squared error. latents: (B, C, h, w), scaled. rgb: (B, 3, h, w)."""
    _same_places(latents, rgb)
    cells = latents.float().movedim(1, -1).flatten(0, 2)  # (B, C, h, w) -> (B * h * w, C)
    cells = torch.cat([cells, cells.new_ones(len(cells), 1)], 1)  # a column of ones: the bias
    solution = torch.linalg.lstsq(cells, rgb.float().movedim(1, -1).flatten(0, 2)).solution  # (C + 1, 3)
    return Preview(solution[:-1], solution[-1])


def _same_places(latents, rgb):
    """ValueError unless latents (B, C, h, w) and rgb (B, 3, h, w) agree in B, h and w."""
    inputs.tensor(latents, "latents", "B", "C", "h", "w"), inputs.tensor(rgb, "rgb", "B", 3, "h", "w")
    if latents[:, 0].shape != rgb[:, 0].shape:
        raise ValueError(
            f"latents {tuple(latents.shape)} and rgb {tuple(rgb.shape)} must agree in B, h and w: see shrink."
        )


_previews = weakref.WeakKeyDictionary()  # vae -> Preview, forgotten with it


def preview_of(c):
    """The Preview of a model, fitted on some postcards the first time it is asked for, then remembered.

    A cell stands for the same few pixels in a picture of any size, so small pictures will do, and many small ones show
    more colours than a few large ones. Measured on the bundled model, as R^2 on 100 fresh postcards of 128 x 128:
    0.92 from 16 postcards of 128 x 128, of 64 x 64 and of 256 x 256 alike, 0.83 from 2 of 256 x 256.
    """
    if inputs.components(c).vae not in _previews:
        from helpers.postcards import render, sample_scene  # the world is only needed here

        rng = random.Random(0)
        size = min(c.image_size, PREVIEW_SIZE)
        cards = [render(sample_scene(rng), size=size).image for _ in range(PREVIEW_POSTCARDS)]
        latents = torch.cat([encode_image(c, card) for card in cards]).cpu()  # (B, C, h, w)
        _previews[c.vae] = fit_preview(latents, shrink(to_pixels(cards), c.vae_scale_factor))
    return _previews[c.vae]


def shrink(pixels: torch.Tensor, factor: int) -> torch.Tensor:
    """Pixels (B, C, H, W) averaged over squares of `factor` pixels: (B, C, H / factor, W / factor).

    ValueError for a factor that does not divide the sides.
    """
    *_, height, width = inputs.tensor(pixels, "pixels", "B", "C", "H", "W").shape
    inputs.whole_number(factor, "factor", 1, min(height, width))
    if height % factor or width % factor:
        raise ValueError(f"factor {factor} does not divide {width} x {height} pixels: use one that divides both sides.")
    return torch.nn.functional.avg_pool2d(pixels, factor)


# What is lost


def psnr(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Peak signal-to-noise ratio in decibels, one number a picture (B,). a, b: (B, 3, H, W) in -1..1."""
    for pixels, name in ((a, "a"), (b, "b")):
        inputs.tensor(pixels, name, "B", 3, "H", "W")
    if a.shape != b.shape:
        raise ValueError(f"a and b must be of the same shape, not {tuple(a.shape)} and {tuple(b.shape)}.")
    a, b = (pixels.float() if pixels.dtype in (torch.float16, torch.bfloat16) else pixels for pixels in (a, b))
    return -10 * ((a - b) / 2).square().flatten(1).mean(1).log10()


class Jpeg(NamedTuple):
    """A picture after JPEG. image: PIL, RGB. size: bytes of the file. header: how many of them are tables."""

    image: Image.Image
    size: int
    header: int


def jpeg(image: Image.Image, quality: int) -> Jpeg:
    """A PIL picture, turned `upright`, through JPEG at a quality of 1 to 95, with tables made for this picture."""
    inputs.picture(image, "image"), inputs.whole_number(quality, "quality", 1, 95)
    buffer = io.BytesIO()
    save_picture(upright(image), buffer, "JPEG", quality=quality, optimize=True)
    data = buffer.getvalue()
    scan = data.index(b"\xff\xda")  # "start of scan": pixels follow
    header = scan + 2 + int.from_bytes(data[scan + 2 : scan + 4], "big")
    return Jpeg(Image.open(io.BytesIO(data)).convert("RGB"), len(data), header)


def jpeg_within(image: Image.Image, limit: int, free_header: bool = False) -> Jpeg:
    """The best JPEG of at most `limit` bytes; the worst there is (quality 1) where none is so small.

    free_header: leave the tables out of the count, as if sender and receiver had agreed on them.
    """
    inputs.whole_number(limit, "limit", 1, 2**40), inputs.flag(free_header, "free_header")
    low, high = 1, 95
    while low < high:  # size grows with quality
        middle = (low + high + 1) // 2
        one = jpeg(image, middle)
        low, high = (middle, high) if one.size - free_header * one.header <= limit else (low, middle - 1)
    return jpeg(image, low)


# A small world for a small autoencoder

DAY, DUSK = (
    ((70, 150, 225), (205, 230, 245), (255, 250, 215), (30, 100, 160)),
    ((60, 60, 130), (250, 130, 90), (255, 220, 120), (40, 45, 100)),
)  # zenith, horizon, sun, sea
AT_ONCE = 500  # pictures of the small world that are painted at once
FACTORS = (
    "where the sun is, left to right",
    "how high it stands",
    "how large it is",
    "how low the horizon is",
    "the hour: dusk to day",
)


def small_world(factors, size=32):
    """Pictures of a sun over the sea, (n, 3, size, size) in -1..1, each made of five numbers of 0 to 1: FACTORS.

    factors: (n, 5), float. size: 8 to 512 pixels a side. The same numbers give the same picture, and nothing else is in it.
    """
    inputs.tensor(factors, "factors", "n", 5), inputs.whole_number(size, "size", 8, 512)
    if not 0 <= factors.min() <= factors.max() <= 1:
        raise ValueError("factors must lie in 0..1: torch.rand(n, 5) draws some.")
    pictures = torch.empty(len(factors), 3, size, size, dtype=torch.promote_types(factors.dtype, torch.float32))
    for some, few in zip(pictures.split(AT_ONCE), factors.split(AT_ONCE)):
        some.copy_(_painted(few, size))
    return pictures


def _painted(factors, size):
    """`small_world` of a few: on the way to its colours a picture takes several times its own memory."""
    x, y, radius, sea, hour = factors.T[:, :, None, None]  # (n, 1, 1) each
    x, radius, sea = 0.2 + 0.6 * x, 0.12 + 0.1 * radius, 0.55 + 0.25 * sea
    y = 0.2 + (sea - 0.25) * y
    places = torch.linspace(0, 1, size)
    across, down, soft = places[None, None, :], places[None, :, None], 1.2 / size  # soft: the width of an edge
    sun = ((radius - ((across - x) ** 2 + (down - y) ** 2).sqrt()) / soft + 0.5).clamp(0, 1)  # (n, size, size)
    water = ((down - sea) / soft + 0.5).clamp(0, 1)  # (n, size, 1)
    glitter = 0.7 * (1 - ((across - x) / (0.9 * radius)) ** 2).clamp(0) * (1 - (down - sea) / (1.02 - sea)).clamp(0, 1)

    def mixed(a, b, share):  # share 0: a, 1: b
        return a + (b - a) * share[:, None]

    zenith, horizon, light, deep = (
        mixed(*(torch.tensor(one).view(1, 3, 1, 1) / 127.5 - 1 for one in pair), hour) for pair in zip(DUSK, DAY)
    )  # (n, 3, 1, 1) each
    sky = mixed(mixed(zenith, horizon, (down / sea).clamp(0, 1)), light, sun)
    return mixed(sky, mixed(deep, horizon, glitter), water)


# What a network costs

SD15 = {
    "block_out_channels": (320, 640, 1280, 1280),
    "cross_attention_dim": 768,
    "attention_head_dim": 8,
}  # its U-Net; all else: defaults


def unet_work(config, channels, size):
    """Operations of one call of a U-Net, one picture, no guidance: {"attention": FLOPs, "other": FLOPs}.

    config: of a UNet2DConditionModel, or SD15. channels, size: of what it is built for, (1, channels, size, size). Counted by
    PyTorch on tensors that have shapes and no numbers, so a network of any size will do.
    """
    inputs.whole_number(channels, "channels", 1, 1024), inputs.whole_number(size, "size", 8, 4096)
    from diffusers import UNet2DConditionModel
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device("meta"):
        net = UNet2DConditionModel.from_config(dict(config), in_channels=channels, out_channels=channels)
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        net(torch.empty(1, channels, size, size), 0, torch.empty(1, 77, net.config.cross_attention_dim))
    flops = {str(kind): count for kind, count in counter.get_flop_counts()["Global"].items()}
    attention = sum(count for kind, count in flops.items() if "bmm" in kind or "attention" in kind)
    return {"attention": attention, "other": sum(flops.values()) - attention}


class TinyVAE(torch.nn.Module):
    """An autoencoder for pictures of 32 x 32 that trains in seconds: encoder (n, 3, 32, 32) -> (n, 2 d), means and then
    logvars; decoder (n, d) -> (n, 3, 32, 32). d: numbers of a latent."""

    def __init__(self, d=16):
        inputs.whole_number(d, "d", 1, 1024)
        super().__init__()
        nn = torch.nn
        self.encoder = nn.Sequential(
            nn.Conv2d(3, 16, 4, 4),
            nn.SiLU(),
            nn.Conv2d(16, 32, 2, 2),
            nn.SiLU(),
            nn.Flatten(),  # (n, 512)
            nn.Linear(512, 256),
            nn.SiLU(),
            nn.Linear(256, 2 * d),
        )
        self.decoder = nn.Sequential(
            nn.Linear(d, 256),
            nn.SiLU(),
            nn.Linear(256, 256),
            nn.SiLU(),
            nn.Linear(256, 1536),
            nn.SiLU(),
            nn.Unflatten(1, (24, 8, 8)),
            nn.Conv2d(24, 48, 1),
            nn.PixelShuffle(4),
        )  # 24 numbers: a patch of 4 x 4 pixels


@torch.no_grad()
def arrives(net, factor, make=small_world, count=5, pictures=200):
    """What turning one factor of a world from 0.25 to 0.75 changes: (its effect, the share of it that the copies show).

    The effect is the mean of |change|^2 over pictures that differ in this factor alone; the share is the component of the copies'
    change along it, 1 where they change as the pictures do and 0 where they do not. It measures encoder and decoder together.
    net: a TinyVAE. make: factors (n, count) in 0..1 -> pictures (n, 3, 32, 32). factor: 0 to count - 1.
    """
    inputs.function(make, "make", "a function that makes pictures from factors (n, count)")
    inputs.whole_number(count, "count", 1, 1024), inputs.whole_number(pictures, "pictures", 1, 100000)
    inputs.whole_number(factor, "factor", 0, count - 1)
    factors = torch.rand(pictures, count, generator=torch.Generator().manual_seed(1))
    ends = [make(factors.index_fill(1, torch.tensor([factor]), value)) for value in (0.25, 0.75)]  # (n, 3, 32, 32) each
    copies = [net.decoder(net.encoder(one).chunk(2, 1)[0]).clamp(-1, 1) for one in ends]
    change, copied = ends[1] - ends[0], copies[1] - copies[0]
    effect = change.square().sum().item()
    return effect / pictures, (copied * change).sum().item() / effect if effect else 0.0
