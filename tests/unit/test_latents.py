"""Pictures of any kind come in, latents of the right scale go out, the preview is the least-squares one."""

import io
from types import SimpleNamespace

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image, PngImagePlugin

from helpers import latents as codec

SIZE = 64


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def two_halves(mode="RGB", size=(96, 64)):
    """Red on the left, blue on the right, in any mode."""
    image = Image.new("RGB", size, "red")
    image.paste("blue", (size[0] // 2, 0, *size))
    return image.convert(mode)


# Any picture


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "CMYK", "L", "LA", "1", "YCbCr", "HSV", "I", "F"])
@pytest.mark.parametrize("size", [(64, 64), (100, 31), (9, 400), (700, 650)])
def test_any_mode_and_size(mode, size):
    image = Image.new("F", size, 0.5) if mode == "F" else two_halves("L" if mode == "I" else mode, size).convert(mode)
    done = codec.prepare_picture(image, SIZE)
    assert done.mode == "RGB" and done.size == (SIZE, SIZE)


def test_colours_survive():
    for mode in ("RGB", "RGBA", "P", "CMYK"):
        array = np.asarray(codec.prepare_picture(two_halves(mode), SIZE)).astype(int)
        assert array[32, 4, 0] > 200 > 60 > array[32, 4, 2] and array[32, 60, 2] > 200, mode


def test_the_middle_square_is_kept():
    wide = Image.new("RGB", (300, 100), "white")
    wide.paste("black", (100, 0, 200, 100))
    assert np.asarray(codec.prepare_picture(wide, SIZE)).max() < 40  # but for a rim of the resizing


def test_transparency_is_laid_on_white():
    image = Image.new("RGBA", (64, 64), (255, 0, 0, 0))
    assert np.asarray(codec.prepare_picture(image, SIZE)).min() == 255
    palette = Image.new("P", (64, 64), 0)
    palette.info["transparency"] = 0
    assert np.asarray(codec.prepare_picture(palette, SIZE)).min() == 255


def test_sixteen_bits(tmp_path):
    array = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)
    Image.fromarray(array).save(tmp_path / "deep.png")
    for source in (array, tmp_path / "deep.png", Image.fromarray(array)):
        done = np.asarray(codec.prepare_picture(source, SIZE))
        assert done.min() == 0 and done.max() == 255 and 120 < np.median(done) < 135


def test_a_turned_photograph_is_put_upright(tmp_path):
    image = two_halves(size=(64, 64))
    exif = Image.Exif()
    exif[0x0112] = 6  # "turn by 90 degrees to the right to see it upright"
    image.save(tmp_path / "turned.jpg", exif=exif, quality=95)
    upright = np.asarray(codec.prepare_picture(tmp_path / "turned.jpg", SIZE)).astype(int)
    assert upright[4, 32, 0] > 200 and upright[60, 32, 2] > 200  # red is on top now
    buffer = io.BytesIO()
    image.save(buffer, "PNG", exif=exif)
    again = np.asarray(codec.prepare_picture(Image.open(buffer), SIZE)).astype(int)
    assert again[4, 32, 0] > 200


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((70, 80), np.uint8),
        np.zeros((70, 80, 1), np.uint8),
        np.zeros((70, 80, 3), np.uint8),
        np.zeros((70, 80, 4), np.uint8),
        np.full((70, 80, 3), 0.5),
        np.zeros((70, 80), bool),
        np.zeros((70, 80, 3), np.uint16),
    ],
)
def test_arrays(array):
    assert codec.prepare_picture(array, SIZE).size == (SIZE, SIZE)


def test_the_photograph_of_the_lesson_is_offline():
    photo = codec.prepare_picture(skimage.data.chelsea(), 128)  # conftest forbids the network
    assert photo.size == (128, 128) and np.asarray(photo).std() > 20


def broken_file(folder):
    buffer = io.BytesIO()
    two_halves().save(buffer, "PNG")
    (folder / "half.png").write_bytes(buffer.getvalue()[:60])
    return folder / "half.png"


def text_file(folder):
    (folder / "text.png").write_text("no picture")
    return folder / "text.png"


@pytest.mark.parametrize(
    "make, kind, words",
    [
        (lambda folder: folder / "none.png", FileNotFoundError, "There is no picture file .*none.png: check the path"),
        (
            text_file,
            ValueError,
            "text.png cannot be opened: it is no picture in one of the formats PNG, .* Save it as PNG or JPEG",
        ),
        (broken_file, ValueError, "half.png cannot be opened: .* Save it as PNG or JPEG"),
        (lambda folder: folder, FileNotFoundError, "There is no picture file"),
        (lambda folder: 7, TypeError, "A picture is a PIL image, a path or an array, not int"),
        (lambda folder: None, TypeError, "not NoneType"),
        (lambda folder: np.zeros((2, 3, 4, 5)), ValueError, r"shape \(2, 3, 4, 5\) is no picture"),
        (lambda folder: np.zeros((64, 64, 2), np.uint8), ValueError, r"shape \(64, 64, 2\) is no picture"),
        (lambda folder: np.full((64, 64), 200.0), ValueError, "numbers outside 0 to 1, or NaN"),
        (lambda folder: np.full((64, 64), np.nan), ValueError, "numbers outside 0 to 1, or NaN"),
        (
            lambda folder: np.zeros((64, 64), np.int32),
            ValueError,
            "array of int32 cannot be read as a picture: use uint8",
        ),
        (lambda folder: Image.new("F", (64, 64), 7.0), ValueError, "numbers outside 0 to 1"),
        (lambda folder: Image.new("RGB", (300, 4)), ValueError, "is 300 x 4 pixels: it needs at least 8 on each side"),
        (lambda folder: np.zeros((0, 5), np.uint8), ValueError, "is 5 x 0 pixels"),
    ],
)
def test_what_is_no_picture_gets_one_sentence(tmp_path, make, kind, words):
    with pytest.raises(kind, match=words) as caught:
        codec.prepare_picture(make(tmp_path), SIZE)
    assert "\n" not in str(caught.value) and caught.value.__suppress_context__ or caught.value.__context__ is None


def test_a_bomb_is_refused(tmp_path):
    Image.new("1", (30000, 30000)).save(tmp_path / "bomb.png")
    with pytest.raises(ValueError, match="bomb.png cannot be opened: it has 900000000 pixels, more than 90 million"):
        codec.prepare_picture(tmp_path / "bomb.png", SIZE)


def test_metadata_does_not_hurt(tmp_path):
    info = PngImagePlugin.PngInfo()
    info.add_text("prompt", "a red boat")
    two_halves().save(tmp_path / "said.png", pnginfo=info)
    assert codec.prepare_picture(str(tmp_path / "said.png"), SIZE).size == (SIZE, SIZE)


# There and back


def test_encode_pixels_is_encode_image_before_scaling(tiny):
    image = codec.prepare_picture(two_halves(), tiny.image_size)
    pixels = codec.to_pixels([image])
    assert pixels.shape == (1, 3, tiny.image_size, tiny.image_size) and -1 <= pixels.min() < pixels.max() <= 1
    posterior = codec.encode_pixels(tiny, pixels)
    assert posterior.mean.shape == posterior.logvar.shape == (1, *tiny.latent_shape)
    torch.testing.assert_close(posterior.mean * tiny.vae.config.scaling_factor, codec.encode_image(tiny, image))


def test_other_sizes_that_can_be_halved(tiny_postcard):
    assert codec.encode_pixels(tiny_postcard, torch.zeros(2, 3, 40, 72)).mean.shape == (2, 4, 5, 9)


@pytest.mark.parametrize(
    "height, width, words",
    [
        (
            128,
            124,
            "The picture is 124 x 128 pixels, and the encoder halves each side 3 times: use multiples of 8, such as "
            "120 x 128",
        ),
        (5, 8, "such as 8 x 8"),
        (15, 31, "such as 24 x 8"),
    ],
)
def test_sides_that_can_not_be_halved(tiny_postcard, height, width, words):
    with pytest.raises(ValueError, match=words):
        codec.encode_pixels(tiny_postcard, torch.zeros(1, 3, height, width))


def test_nan_is_named(tiny_postcard):
    with pytest.raises(FloatingPointError, match="The latents hold NaN or infinite numbers"):
        codec.encode_pixels(tiny_postcard, torch.full((1, 3, 16, 16), float("nan")))
    with pytest.raises(FloatingPointError, match="The decoded pixels hold NaN or infinite numbers"):
        codec.decode_latents(tiny_postcard, torch.full((1, *tiny_postcard.latent_shape), float("inf")))


# The preview


def test_preview_finds_the_matrix():
    latents, weight, bias = draw(6, 4, 5, 7), 0.2 * draw(4, 3, seed=1), torch.tensor([0.1, 0.0, -0.2])
    rgb = torch.einsum("bchw,ck->bkhw", latents, weight) + bias[:, None, None]
    preview = codec.fit_preview(latents, rgb)
    torch.testing.assert_close(preview.weight, weight, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(preview.bias, bias, rtol=1e-3, atol=1e-4)
    assert preview.explains(latents, rgb) == pytest.approx(1, abs=1e-5)
    assert preview.explains(latents, draw(6, 3, 5, 7, seed=2)) < 0.1


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16], ids=str)
def test_a_preview_fitted_in_another_precision_draws_too(dtype):
    """As a reader's own fit may have been: NumPy fits in float64."""
    latents, weight, bias = draw(2, 4, 5, 7), draw(4, 3, seed=1).to(dtype), draw(3, seed=2).to(dtype)
    rgb = codec.Preview(weight, bias).rgb(latents)
    assert rgb.dtype == torch.float32 and torch.equal(rgb, codec.Preview(weight.float(), bias.float()).rgb(latents))


def test_preview_draws_a_small_picture(tiny):
    preview = codec.preview_of(tiny)
    assert preview.weight.shape == (tiny.latent_shape[0], 3) and preview.weight.isfinite().all()
    picture = preview(torch.zeros(1, *tiny.latent_shape))
    assert picture.mode == "RGB" and picture.size == (8 * tiny.latent_shape[2], 8 * tiny.latent_shape[1])
    expected = ((preview.bias.clamp(-1, 1) + 1) * 127.5).round()
    assert np.abs(np.asarray(picture)[3, 5] - expected.numpy()).max() <= 1
    assert codec.preview_of(tiny) is preview  # fitted once, remembered


def test_shrink_takes_the_mean_of_a_patch():
    pixels = torch.zeros(1, 3, 16, 16)
    pixels[..., :8, 8:] = 1
    assert codec.shrink(pixels, 8)[0, 0].tolist() == [[0, 1], [0, 0]]


# What is lost


def test_psnr_is_scikit_images():
    from skimage.metrics import peak_signal_noise_ratio

    a, b = draw(2, 3, 8, 8).clamp(-1, 1), draw(2, 3, 8, 8, seed=1).clamp(-1, 1)
    for one, x, y in zip(codec.psnr(a, b), a.numpy(), b.numpy()):
        assert one.item() == pytest.approx(peak_signal_noise_ratio(x, y, data_range=2), abs=1e-4)


def test_jpeg_counts_its_bytes():
    image = codec.prepare_picture(skimage.data.chelsea(), 128)
    rough, fine = codec.jpeg(image, 5), codec.jpeg(image, 90)
    assert 100 < rough.header < rough.size < fine.size and rough.image.size == image.size
    assert codec.psnr(*map(codec.to_pixels, ([image], [rough.image]))) < codec.psnr(
        *map(codec.to_pixels, ([image], [fine.image]))
    )


def test_jpeg_within_is_the_best_that_fits():
    image = codec.prepare_picture(skimage.data.chelsea(), 128)
    best = codec.jpeg_within(image, 2000)
    sizes = [codec.jpeg(image, quality).size for quality in range(1, 96)]
    assert best.size == max(size for size in sizes if size <= 2000)
    assert codec.jpeg_within(image, 10).size == codec.jpeg(image, 1).size  # none is so small: the smallest
    assert codec.jpeg_within(image, 1000, free_header=True).size > codec.jpeg_within(image, 1000).size


# the small world, its autoencoder, and what a U-Net costs


def test_five_numbers_make_a_picture_and_each_of_them_shows():
    factors = torch.full((6, 5), 0.5)
    for k in range(5):
        factors[k + 1, k] = 0.9
    drawn = codec.small_world(factors)
    assert drawn.shape == (6, 3, 32, 32) and -1 <= drawn.min() < drawn.max() <= 1
    assert torch.equal(drawn, codec.small_world(factors))  # and nothing else is in it
    changed = (drawn[1:] - drawn[0]).abs().amax((1, 2, 3))
    assert (changed > 0.2).all() and len(codec.FACTORS) == 5
    assert codec.small_world(factors, 64).shape == (6, 3, 64, 64)


def test_the_sun_is_where_the_factors_say():
    factors = torch.tensor([[0.0, 0.5, 0.5, 0.5, 0.0], [1.0, 0.5, 0.5, 0.5, 0.0]])
    left, right = (codec.small_world(factors)[:, 1] > 0.5).float().mean(1)  # (2, 32): the columns of the sun
    assert left.argmax() < 12 and right.argmax() > 20


def test_the_small_vae_gives_means_and_logvars():
    net = codec.TinyVAE(d=7)
    numbers = net.encoder(torch.zeros(2, 3, 32, 32))
    assert numbers.shape == (2, 14) and net.decoder(numbers[:, :7]).shape == (2, 3, 32, 32)


def test_attention_grows_faster_than_the_rest():
    small, large = (codec.unet_work(codec.SD15, 4, size) for size in (32, 64))
    assert 3.8 < large["other"] / small["other"] < 4.2  # four times as many places
    assert large["attention"] / small["attention"] > 6


def test_stable_diffusions_unet_takes_what_is_published():
    assert sum(codec.unet_work(codec.SD15, 4, 64).values()) == pytest.approx(0.80e12, rel=0.01)


def test_arrives_is_the_share_of_a_change_that_the_copies_show():
    whole = SimpleNamespace(
        encoder=lambda pixels: torch.cat([pixels.flatten(1)] * 2, 1), decoder=lambda z: z.reshape(-1, 3, 32, 32)
    )
    blind = SimpleNamespace(encoder=whole.encoder, decoder=lambda z: torch.zeros(len(z), 3, 32, 32))
    (size, copied), (hour, _) = (codec.arrives(whole, factor, pictures=20) for factor in (2, 4))
    assert (
        copied == pytest.approx(1)
        and 0 < size < hour
        and codec.arrives(blind, 2, pictures=20) == (pytest.approx(size), 0)
    )
    one = codec.arrives(
        whole, 0, lambda factors: (factors[:, 1] - factors[:, 0]).view(-1, 1, 1, 1).expand(-1, 3, 32, 32), 2, 5
    )
    assert one == (pytest.approx(0.25 * 3072), pytest.approx(1))
    assert codec.arrives(whole, 1, lambda factors: factors[:, :1, None, None].expand(-1, 3, 32, 32), 2, 5) == (0, 0)
