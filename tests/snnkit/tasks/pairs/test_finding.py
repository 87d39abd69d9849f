"""Recall and zero-shot accuracy are what a plain count says.

Would break it: equal texts that count as strangers, features that are all the same and find everything, ranks of the
nearest instead of the own, prompts that are not averaged as unit vectors.
"""

import pytest
import torch
import torch.nn.functional as F

import snnkit
from snnkit.errors import NonFiniteError
from snnkit.tasks.pairs.finding import Finding, class_weights, fingerprints, ranks


def plainly(images, texts, pairs):
    """Ranks by loops."""
    near = images @ texts.t()
    found = []
    for scores, own in ((near, pairs), (near.t(), {(u, v) for v, u in pairs})):
        ranked = []
        for row, values in enumerate(scores):
            right = {other for one, other in own if one == row}
            best = max(values[other] for other in right)
            ranked.append(sum(bool(values[other] >= best) for other in range(len(values)) if other not in right))
        found.append(ranked)
    return tuple(found)


@pytest.mark.parametrize("captions", [1, 3])
def test_ranks(captions):
    """Of images with a text each, and with three, some of them shared."""
    torch.manual_seed(0)
    images, texts = (F.normalize(torch.randn(count, 4)) for count in (600, 30))
    image = torch.arange(600).repeat(captions)
    own = torch.cat([torch.arange(30), torch.randint(30, (600 * captions - 30,))])
    found, pairs = ranks(images, texts, image, own), set(zip(image.tolist(), own.tolist(), strict=True))
    assert tuple(one.tolist() for one in found) == plainly(images, texts, pairs)


def test_an_image_of_five_texts_is_one():
    """Twenty images, each five times with another text: near their own, all is found, as the usual protocol says."""
    torch.manual_seed(0)
    things = F.normalize(torch.randn(20, 32))
    pictures = torch.randn(20, 1, 4, 4)
    texts = F.normalize(things.repeat_interleave(5, 0) + 0.05 * torch.randn(100, 32))
    finding = Finding()
    for part in torch.arange(100).split(30):  # one image's texts lie in several batches
        finding.add(things[part // 5], texts[part], pictures[part // 5], part[:, None], None)
    found = finding.compute(None)
    assert {found[f"{way}_recall_1"] for way in ("image", "text")} == {1.0}
    assert int(finding.last.image.max()) == 19


def test_features_that_are_not_finite_find_nothing():
    finding, broken = Finding(), torch.full((50, 4), float("nan"))
    finding.add(broken, broken, torch.randn(50, 1, 2, 2), torch.arange(50)[:, None], None)
    with pytest.raises(NonFiniteError, match="not finite for 50 of 50"):
        finding.compute(None)


def test_images_are_told_apart_by_what_they_show():
    images = torch.randn(3, 3, 4, 4)
    found = fingerprints(torch.cat([images, images.to(memory_format=torch.channels_last), images.add(1e-6)]))
    assert found[:3].equal(found[3:6])
    assert len(found.unique()) == 6
    assert len(fingerprints(images.bfloat16()).unique()) == 3


def test_features_that_are_all_the_same_find_nothing():
    finding = Finding()
    same = F.normalize(torch.ones(20, 4))
    finding.add(same, same, torch.randn(20, 1, 2, 2), torch.arange(20)[:, None], None)
    found = finding.compute(None)
    assert {found[f"{way}_recall_{k}"] for way in ("image", "text") for k in (1, 5, 10)} == {0.0}
    assert "accuracy" not in found


def test_equal_texts_are_one():
    """Two images of one text: each finds it, whichever row it came with; the text finds either."""
    finding = Finding()
    images = torch.eye(3)
    texts = torch.tensor([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    finding.add(
        images, texts, torch.randn(3, 1, 2, 2), torch.tensor([[7, 0], [7, 0], [8, 9]]), torch.tensor([0, 0, -1])
    )
    found = finding.compute(torch.eye(3)[[0, 2]])
    assert found["text_recall_1"] == 1.0
    assert found["image_recall_1"] == pytest.approx(2 / 3)  # the second image is as near to both texts: not at all
    assert found["accuracy"] == 1.0
    assert finding.last.first.tolist() == [0, 2]
    assert finding.rows == []


def test_prompts_are_averaged_as_unit_vectors():
    torch.manual_seed(0)
    sizes = {"text_width": 16, "text_depth": 1, "text_heads": 2, "dim": 8, "vocabulary": 20, "context": 6}
    model = snnkit.create_model("basic:timm:resnet10t", in_chans=1, **sizes).eval()
    prompts = torch.randint(1, 20, (3, 4, 6))
    found = class_weights(model, prompts)
    with torch.no_grad():
        for k in range(3):
            each = torch.stack([F.normalize(model.encode_texts(prompts[k, m : m + 1]))[0] for m in range(4)])
            torch.testing.assert_close(found[k], F.normalize(each.mean(0), dim=0))


def test_the_first_images_are_kept_of_each_test():
    finding = Finding(3)
    for test in range(2):
        for part in torch.arange(6).split(2):
            images = (part + 10 * test)[:, None, None, None].expand(-1, 1, 2, 2).float()
            finding.add(F.normalize(torch.randn(2, 4)), F.normalize(torch.randn(2, 4)), images, part[:, None])
        finding.compute(None)
        assert [int(one[0, 0, 0]) for one in finding.last.pictures] == [10 * test + n for n in range(3)]


def test_recall_among_fewer_is_not_said():
    """Among three texts everything is within the first five."""
    finding, same = Finding(), torch.eye(4)
    finding.add(same, same, torch.randn(4, 1, 2, 2), torch.tensor([[0], [1], [2], [2]]))
    found = finding.compute(None)
    assert found == {"image_recall_1": 0.75, "text_recall_1": 1.0}
