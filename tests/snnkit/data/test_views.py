"""Views of images: how many, how large, augmented as published, the same ones again wherever that is asked for.

Would break it: a test that sees other views after every epoch, small views that show what large ones do, an
augmentation of one method in another's place, colours asked of grey images, views that depend on loading processes.
"""

import numpy as np
import pytest
import torch
from torchvision.transforms import v2

from snnkit.data import DataConfig, load_images
from snnkit.data.config import VIEWS
from snnkit.data.transforms import for_testing, for_training
from snnkit.data.views import GaussianBlur

every = pytest.mark.parametrize("views", VIEWS)
MEAN, STD = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)


def config(views, **changes):
    small = 0 if views == "moco_v2" else 3
    given = {"img_size": 24, "shift_pixels": 0, "crop_scale": 0.4, "local_crops": small, "local_size": 12, **changes}
    return DataConfig(source="vendored", views=views, batch_size=4, train_limit=16, test_limit=8, **given)


@every
@pytest.mark.parametrize("channels", [1, 3])
def test_two_large_views_and_the_small_ones(views, channels):
    torch.manual_seed(0)
    image = torch.randint(256, (channels, 40, 30), dtype=torch.uint8)
    found = for_training(config(views), (0, 0), MEAN[:channels], STD[:channels])(image)
    sides = [24, 24] + ([] if views == "moco_v2" else [12] * 3)
    assert [tuple(view.shape) for view in found] == [(channels, side, side) for side in sides]
    assert all(view.dtype == torch.float32 and 0 <= view.min() <= view.max() <= 1 for view in found)
    assert not torch.equal(found[0], found[1])


def names(views, number):
    """The steps that make a view, by name."""
    made = for_training(config(views), (0, 0), MEAN, STD).transforms[0].views[number].transforms
    found = []
    for step in made:
        inner = step.transforms[0] if isinstance(step, v2.RandomApply) else step
        found.append((type(inner).__name__, getattr(step, "p", None)))
    return found


PUBLISHED = {
    ("moco_v2", 0): [
        ("RandomResizedCrop", None),
        ("ColorJitter", 0.8),
        ("RandomGrayscale", 0.2),
        ("GaussianBlur", 0.5),
        ("RandomHorizontalFlip", 0.5),
    ],
    ("swav", 2): [
        ("RandomResizedCrop", None),
        ("RandomHorizontalFlip", 0.5),
        ("ColorJitter", 0.8),
        ("RandomGrayscale", 0.2),
        ("GaussianBlur", 0.5),
    ],
    ("dino", 0): [
        ("RandomResizedCrop", None),
        ("RandomHorizontalFlip", 0.5),
        ("ColorJitter", 0.8),
        ("RandomGrayscale", 0.2),
        ("GaussianBlur", 1.0),
    ],
}
PUBLISHED["moco_v2", 1], PUBLISHED["swav", 0] = PUBLISHED["moco_v2", 0], PUBLISHED["swav", 2]
PUBLISHED["dino", 1] = [*PUBLISHED["dino", 0][:4], ("GaussianBlur", 0.1), ("RandomSolarize", 0.2)]
PUBLISHED["dino", 2] = [*PUBLISHED["dino", 0][:4], ("GaussianBlur", 0.5)]


@pytest.mark.parametrize(("views", "number"), PUBLISHED)
def test_steps_are_the_published_ones(views, number):
    assert names(views, number)[:-1] == PUBLISHED[views, number]


@pytest.mark.parametrize("views", ["swav", "dino"])
def test_small_views_show_less_than_large_ones(views):
    made = for_training(config(views), (0, 0), MEAN, STD).transforms[0].views
    crops = [view.transforms[0] for view in made]
    assert [tuple(crop.scale) for crop in crops] == [(0.4, 1.0)] * 2 + [(0.05, 0.4)] * 3


@pytest.mark.parametrize(("channels", "kernel"), [(3, 17), (1, 17), (3, 5)])
def test_the_blur_is_torchvision_s(channels, kernel):
    """Down and across instead of at once: sums in another order, so that a half may round to the other side."""
    image = torch.randint(0, 256, (channels, 40, 33), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    for seed in range(8):
        torch.manual_seed(seed)
        found = GaussianBlur(kernel, (0.1, 2.0))(image)
        torch.manual_seed(seed)
        wanted = v2.GaussianBlur(kernel, (0.1, 2.0))(image)
        apart = (found.int() - wanted.int()).abs()
        assert found.dtype == torch.uint8
        assert apart.max() <= 1
        assert (apart > 0).float().mean() < 0.01
        assert torch.rand(1) == torch.rand(1, generator=_after(seed))


def _after(seed):
    """Torch's generator as torchvision's blur leaves it."""
    made = torch.Generator().manual_seed(seed)
    torch.empty(1).uniform_(0.1, 2.0, generator=made)
    return made


def test_jitter_is_the_method_s_own():
    strengths = {}
    for views in VIEWS:
        made = for_training(config(views), (0, 0), MEAN, STD).transforms[0].views[0].transforms
        jitter = next(step.transforms[0] for step in made if "ColorJitter" in str(step))
        strengths[views] = [round(getattr(jitter, part)[1] - (part != "hue"), 3) for part in PARTS]
    assert strengths == {"moco_v2": [0.4, 0.4, 0.4, 0.1], "swav": [0.8, 0.8, 0.8, 0.2], "dino": [0.4, 0.4, 0.2, 0.1]}


PARTS = ("brightness", "contrast", "saturation", "hue")


@every
def test_a_test_image_has_the_same_views_every_time_and_draws_nothing(views):
    image = torch.from_numpy(np.random.default_rng(0).integers(256, size=(3, 30, 30), dtype=np.uint8))
    transform = for_testing(config(views), (0, 0), MEAN, STD)
    torch.manual_seed(1)
    first, number = transform(image), torch.rand(())
    torch.manual_seed(2)
    again = transform(image)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    torch.manual_seed(1)
    assert number == torch.rand(())
    other = transform(image.flip(2))
    assert not torch.equal(first[0], other[0])


@every
def test_batches_are_taken_up_anywhere_whatever_loads_them(views):
    plain, loaded = (load_images(config(views, workers=workers), 3) for workers in (0, 1))
    whole = list(plain.train.epoch(2))
    for batch, rest in zip(loaded.train.epoch(2, 2), whole[2:], strict=True):
        assert all(torch.equal(a, b) for a, b in zip(batch[0], rest[0], strict=True))
    assert plain.image_shape == (1, 24, 24)
    assert [tuple(view.shape) for view in whole[0][0]][:2] == [(4, 1, 24, 24)] * 2
