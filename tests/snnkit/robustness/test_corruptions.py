"""Corruptions: what comes out is an image of the same form, always the same one, and worse with each severity.

Would break it: draws from a global generator, a severity that is not used, lengths that do not follow the image's size
(small images washed out, or untouched), a kernel that makes images darker, grey images treated unlike colour.
"""

import itertools

import numpy as np
import pytest
import torch

from snnkit.errors import InvalidArgumentError, UnknownNameError
from snnkit.robustness import CORRUPTIONS, SEVERITIES, corrupt
from snnkit.robustness.corruptions import blur, weather
from snnkit.robustness.corruptions.digital import _smooth
from snnkit.robustness.corruptions.scale import length

# Published severities 1 and 2 of elastic move corners ten times as far as 3 to 5, which bend finely.
TWO_KINDS = "elastic"


def textured(height, width=None, channels=3):
    """Waves in many directions, the same picture at any size, neither black nor white."""
    width = width or height
    y, x = np.mgrid[:height, :width] / max(height, width)
    draw = np.random.default_rng(0)
    grey = np.full(x.shape, 0.5)
    for strength in (0.1, 0.08, 0.06, 0.05, 0.05, 0.05, 0.04, 0.04):
        across, down = draw.uniform(-4, 4, 2) / strength
        grey += strength * np.sin(across * x + down * y + draw.uniform(0, 6))
    planes = np.stack([grey * (0.7 + 0.1 * n) for n in range(channels)])
    return torch.from_numpy((255 * planes.clip(0, 1)).astype(np.uint8))


def change(image, name, severity, draws=3):
    """Mean absolute change of a pixel."""
    return np.mean([float((corrupt(image, name, severity, 0, n).float() - image).abs().mean()) for n in range(draws)])


@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 33, 40), (3, 64, 64), (1, 50, 29), (3, 1, 1), (3, 240, 230)])
def test_the_form_of_an_image_is_kept_and_the_image_itself(name, shape):
    image = textured(*shape[1:], shape[0])
    kept = image.clone()
    for severity in (1, 5):
        made = corrupt(image, name, severity)
        assert (made.shape, made.dtype) == (image.shape, torch.uint8)
    assert torch.equal(image, kept)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_the_same_seed_and_index_give_the_same_image(name):
    image = textured(32)
    first = corrupt(image, name, 3, seed=7, index=5)
    torch.rand(3), np.random.rand(3)
    torch.manual_seed(99), np.random.seed(99)
    before = torch.get_rng_state()
    assert torch.equal(corrupt(image, name, 3, seed=7, index=5), first)
    assert torch.equal(torch.get_rng_state(), before)
    fixed = {"gaussian_blur", "defocus_blur", "zoom_blur", "brightness", "contrast", "pixelate", "jpeg"}
    others = (corrupt(image, name, 3, seed=7, index=6), corrupt(image, name, 3, seed=8, index=5))
    assert all(torch.equal(other, first) == (name in fixed) for other in others)


@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize(("side", "channels"), [(28, 1), (28, 3), (96, 3), (224, 1)])
def test_images_change_more_with_each_severity(name, side, channels):
    image = textured(side, channels=channels)
    found = [change(image, name, severity, 3 if side < 200 else 1) for severity in SEVERITIES]
    assert found[0] > 0.5, f"severity 1 is not to be seen: {found}"
    if name == TWO_KINDS:
        assert found[0] < found[1]
        assert found[2] < found[4] < found[0]
        return
    assert found[-1] > found[0] * 1.2, found
    assert sum(b > a for a, b in itertools.pairwise(found)) >= 3, found


@pytest.mark.parametrize("name", [n for n in CORRUPTIONS if "noise" not in n])
def test_grey_images_are_corrupted_like_colour_images_without_colour(name):
    grey = textured(40, channels=1)
    colour = grey.expand(3, -1, -1).contiguous()
    one, three = corrupt(grey, name, 3), corrupt(colour, name, 3)
    assert float((three.float() - one.float()).abs().mean()) < (3 if name == "jpeg" else 0.6)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("gaussian_noise", [20.4, 30.6, 45.9, 66.3, 96.9]),
        ("speckle_noise", [0.15 * 128, 0.2 * 128, 0.35 * 128]),
        ("shot_noise", [255 * (128 / 255 / n) ** 0.5 for n in (60, 25, 12, 5)]),
    ],
)
def test_noise_has_the_published_strength(name, expected):
    """Of middle grey, deviations that clipping does not reach."""
    image = torch.full((1, 128, 128), 128, dtype=torch.uint8)
    for severity, deviation in enumerate(expected, 1):
        if deviation < 50:
            found = float(corrupt(image, name, severity).float().std())
            assert abs(found / deviation - 1) < 0.03, (severity, found, deviation)


def test_impulses_are_black_and_white_and_as_many_as_published():
    image = torch.full((3, 128, 128), 128, dtype=torch.uint8)
    for severity, share in enumerate((0.03, 0.06, 0.09, 0.17, 0.27), 1):
        made = corrupt(image, "impulse_noise", severity)
        assert set(made.unique().tolist()) == {0, 128, 255}
        assert abs(float((made != 128).float().mean()) - share) < 0.01
        assert abs(float((made == 255).float().mean()) - share / 2) < 0.01


@pytest.mark.parametrize("name", ["gaussian_blur", "defocus_blur", "motion_blur", "zoom_blur", "elastic", "pixelate"])
def test_an_even_image_stays_as_it_is(name):
    for value in (0, 77, 255):
        image = torch.full((3, 30, 50), value, dtype=torch.uint8)
        assert int((corrupt(image, name, 5).int() - value).abs().max()) <= 1


def test_brightness_and_contrast_by_hand():
    image = torch.tensor([[[100]], [[50]], [[0]]], dtype=torch.uint8)
    # Value 100 becomes 100 + 0.2 · 255 = 151; hue and saturation stay.
    assert corrupt(image, "brightness", 2).flatten().tolist() == [151, round(50 * 1.51), 0]
    assert corrupt(torch.zeros(1, 4, 4, dtype=torch.uint8), "brightness", 1).unique().tolist() == [round(25.5)]
    pair = torch.tensor([[[0, 200]]], dtype=torch.uint8)
    assert corrupt(pair, "contrast", 1).flatten().tolist() == [60, 140]
    assert corrupt(pair, "contrast", 5).flatten().tolist() == [95, 105]


def test_lengths_are_published_ones_at_224_and_follow_the_side():
    def image(side):
        return np.zeros((1, side, side), np.float32)

    assert length(image(224), 6) == 6
    assert length(image(448), 6) == 12
    assert length(image(28), 6) == pytest.approx(0.75 + 0.35)
    found = [length(image(28), sigma) for sigma in (1, 2, 3, 4, 6)]
    assert [round(value, 1) for value in found] == [0.5, 0.6, 0.7, 0.9, 1.1]


def test_kernels():
    disk = blur.disk(3.0)
    assert disk.shape == (7, 7)
    assert disk.sum() == pytest.approx(1)
    assert disk[3, 3] == pytest.approx(1 / (np.pi * 9), rel=0.02)
    assert disk[0, 0] == 0
    assert np.array_equal(disk, disk.T)
    assert np.array_equal(disk, disk[::-1])
    assert blur.disk(0.3).tolist() == [[1.0]]
    level = blur.trail(4, 2, 0.0)
    middle = len(level) // 2
    assert level.sum() == pytest.approx(1)
    assert level[middle].sum() == pytest.approx(1)
    assert level[middle, :middle].sum() == 0
    assert level[middle, middle + 1] > level[middle, middle + 4] > 0


@pytest.mark.parametrize("kernel", [blur.trail(6, 3, 30.0), blur.disk(2.2)], ids=["few", "many"])
def test_filtering_is_convolution(kernel):
    image = np.random.default_rng(0).random((2, 30, 34)).astype(np.float32)
    half = len(kernel) // 2
    padded = np.pad(image, ((0, 0), (half, half), (half, half)), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, kernel.shape, (1, 2))
    expected = np.einsum("chwij,ij->chw", windows, kernel[::-1, ::-1])
    assert np.allclose(blur.filtered(image, kernel, "replicate"), expected, atol=1e-5)


def test_a_cloud_fills_its_range_and_joins_at_its_edges():
    for decay in (2, 1.4):
        cloud = weather.plasma(7, decay, np.random.default_rng(0))
        assert cloud.shape == (128, 128)
        assert cloud.min() == 0
        assert cloud.max() == 1
        inside, seam = np.abs(np.diff(cloud, axis=0)).mean(), np.abs(cloud[0] - cloud[-1]).mean()
        assert seam < 3 * inside
    rough, smooth = (weather.plasma(7, decay, np.random.default_rng(0)) for decay in (1.4, 2))
    assert np.abs(np.diff(rough)).mean() > 2 * np.abs(np.diff(smooth)).mean()


def test_smoothing_by_cosines_is_the_filter_it_stands_for():
    from scipy import ndimage

    field = np.random.default_rng(0).uniform(-1, 1, (40, 60))
    assert np.allclose(_smooth(field, 3.0), ndimage.gaussian_filter(field, 3.0, mode="reflect", truncate=8), atol=1e-3)


def test_mistakes_are_one_line():
    image = textured(28)
    with pytest.raises(UnknownNameError, match="gaussian_blur"):
        corrupt(image, "gausian_blur", 1)
    for severity in (0, 6):
        with pytest.raises(InvalidArgumentError, match=f"severity {severity}"):
            corrupt(image, "fog", severity)
    for wrong in (image.float(), image[None], image[:2], image[0]):
        with pytest.raises(InvalidArgumentError, match="cannot be corrupted"):
            corrupt(wrong, "fog", 1)
