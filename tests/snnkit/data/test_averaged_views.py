"""Several views of a test sample: which clips and crops they are, how they lie in a batch, what is averaged.

Would break it: views of different samples averaged together, logits averaged instead of probabilities, crops of the
shorter side, a setting that a data set ignores.
"""

import pytest
import torch
from support.data import photographs, videos
from torch import nn

from snnkit.data import DataConfig, clips, load_images
from snnkit.data.image_folder import MEAN, STD
from snnkit.data.transforms import for_testing
from snnkit.engine import evaluate
from snnkit.errors import InvalidArgumentError
from snnkit.tasks.classification import ClassificationMetrics


def config(folder, **changes):
    given = {"dataset": "video_folder", "source": str(folder), "frames": 4, "frame_stride": 2, "batch_size": 4}
    return DataConfig(**{**given, "img_size": 32, "shift_pixels": 0, "flip": False, **changes})


def grey(views):
    """Mean grey level of each frame of clips (N, 3, F, H, W), on the scale 0…255."""
    return (views[:, 0].mean((-2, -1)) * STD[0] + MEAN[0]) * 255


def test_clips_run_from_the_beginning_to_the_end(tmp_path):
    videos(tmp_path)  # 20 frames; frame n is 8·n (fast) or 2·n (slow); the clips span 8 frames
    images, labels = next(iter(load_images(config(tmp_path, test_clips=3), seed=0).test))
    assert images.shape == (3, 3, 4, 32, 32)  # four clips a batch are room for one sample's three
    assert labels.tolist() == [0]
    frames = torch.tensor([[0.0, 2, 4, 7], [6, 8, 10, 13], [12, 14, 16, 19]])
    torch.testing.assert_close(grey(images), 8 * frames, atol=3.0, rtol=0)


def test_segments_give_several_clips_too():
    assert [clips.segments(20, 4, False, n, 3) for n in range(3)] == [[0, 5, 10, 15], [2, 7, 12, 17], [3, 8, 13, 18]]
    assert clips.segments(20, 4, False, 0, 1) == clips.segments(20, 4, False)


def test_crops_lie_along_the_longer_side():
    wide = torch.arange(60, dtype=torch.uint8).expand(3, 20, 60)
    crops = for_testing(DataConfig(img_size=20, test_crops=3), (0, 0), MEAN, STD)(wide)
    assert crops.shape == (3, 3, 20, 20)
    starts = (crops[:, 0, 0, 0] * STD[0] + MEAN[0]) * 255
    assert starts.round().tolist() == [0, 20, 40]
    tall = for_testing(DataConfig(img_size=20, test_crops=3), (0, 0), MEAN, STD)(wide.transpose(1, 2))
    assert torch.equal(tall, crops.transpose(-1, -2))
    several = torch.stack([wide, wide + 60])[:, None].expand(2, 5, 3, 20, 60)  # two clips of five frames
    out = for_testing(DataConfig(img_size=20, test_crops=3), (0, 0), MEAN, STD)(several)
    assert out.shape == (6, 5, 3, 20, 20)
    starts = (out[:, 0, 0, 0, 0] * STD[0] + MEAN[0]) * 255
    assert starts.round().tolist() == [0, 60, 20, 80, 40, 100]


def test_sequences_have_their_views_among_the_samples(tmp_path):
    videos(tmp_path)
    settings = {"test_clips": 2, "test_crops": 3, "batch_size": 12}
    as_clips = load_images(config(tmp_path, **settings), seed=0)
    as_sequences = load_images(config(tmp_path, time_first=True, **settings), seed=0)
    assert as_clips.image_shape == as_sequences.image_shape == (3, 32, 32)
    assert as_clips.batch_shape(2) == (2, 3, 4, 32, 32)
    assert as_sequences.batch_shape(2) == (4, 2, 3, 32, 32)
    for (a, one), (b, two) in zip(as_clips.test, as_sequences.test, strict=True):
        assert a.shape == (12, 3, 4, 32, 32)
        assert torch.equal(a.permute(2, 0, 1, 3, 4), b)
        assert one.tolist() == two.tolist()
        assert len(one) == 2


class Table(nn.Module):
    """Logits that are the images themselves."""

    def forward(self, x):
        return x.flatten(1)


def test_probabilities_are_averaged_over_the_views_of_a_sample():
    # Views of the first sample: 0.9/0.1, 0.6/0.4; of the second: 0.2/0.8, 0.7/0.3. Mean logits would favour otherwise.
    probabilities = torch.tensor([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.7, 0.3]])
    metrics = ClassificationMetrics(nn.Identity(), 2)
    metrics.test(Table(), probabilities.log() + 3, torch.tensor([0, 0]))
    result = metrics.compute()
    assert result["accuracy"] == 0.5
    assert result["loss"] == pytest.approx(-0.5 * (torch.tensor(0.75).log() + torch.tensor(0.45).log()).item())


def test_the_loss_of_views_is_finite_where_a_probability_is_none_in_float32():
    metrics = ClassificationMetrics(nn.Identity(), 2)
    metrics.test(Table(), torch.tensor([[200.0, 0.0], [300.0, 0.0]]), torch.tensor([1]))
    expected = 200.0 + torch.tensor(2.0).log().item()  # -log of (e^-200 + e^-300) / 2
    assert metrics.compute()["loss"] == pytest.approx(expected, rel=1e-6)


def test_a_network_is_tested_on_every_sample_once(tmp_path):
    videos(tmp_path)
    data = load_images(config(tmp_path, test_clips=2, test_crops=3), seed=0)

    class Bright(nn.Module):
        """Says "fast" (class 0) where a frame is brighter than any of a slow video."""

        def forward(self, x):
            level = (x[:, 0].amax((1, 2, 3)) * STD[0] + MEAN[0]) * 255
            return torch.stack([level - 45, 45 - level], 1)

    result = evaluate(Bright(), data)
    assert result["accuracy"] == 1.0


def test_images_take_crops_and_nothing_takes_what_it_would_ignore(tmp_path):
    photographs(tmp_path)
    given = {"dataset": "image_folder", "source": str(tmp_path), "img_size": 16, "shift_pixels": 0}
    data = load_images(DataConfig(**given, test_crops=3), seed=0)
    images, labels = next(iter(data.test))
    assert len(images) == 3 * len(labels)
    with pytest.raises(InvalidArgumentError, match=r"test_clips=4.*image_folder has 1 view of a test sample"):
        load_images(DataConfig(**given, test_clips=4), seed=0)
    with pytest.raises(InvalidArgumentError, match=r"test_crops=3: fashion_mnist has 1 view"):
        load_images(DataConfig(source="vendored", test_crops=3), seed=0)
    for key, value in (("frames", 4), ("time_first", True)):
        with pytest.raises(InvalidArgumentError, match=f"data.{key}={value}: fashion_mnist has still images"):
            load_images(DataConfig(source="vendored", **{key: value}), seed=0)
    for key, value in (("test_crops", 2), ("test_clips", 0)):
        with pytest.raises(InvalidArgumentError, match=f"data.{key}={value}"):
            DataConfig(**{key: value}).check()
