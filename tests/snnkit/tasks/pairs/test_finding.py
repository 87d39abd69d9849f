"""Recall and zero-shot accuracy are what a plain count says.

Would break it: equal texts that count as strangers, features that are all the same and find everything, ranks of the
nearest instead of the own, prompts that are not averaged as unit vectors.
"""

import pytest
import torch
import torch.nn.functional as F

import snnkit
from snnkit.tasks.pairs.finding import Finding, class_weights, ranks


def plainly(images, texts, own):
    """Ranks by loops."""
    near = images @ texts.t()
    image_rank = [sum(bool(s >= near[n, u]) for v, s in enumerate(near[n]) if v != u) for n, u in enumerate(own)]
    text_rank = []
    for u in range(len(texts)):
        mine = [n for n, other in enumerate(own) if other == u]
        best = max(near[n, u] for n in mine)
        text_rank.append(sum(bool(near[n, u] >= best) for n in range(len(own)) if n not in mine))
    return image_rank, text_rank


def test_ranks():
    torch.manual_seed(0)
    images, texts = (F.normalize(torch.randn(count, 4)) for count in (700, 30))
    own = torch.cat([torch.arange(30), torch.randint(30, (670,))])
    found = ranks(images, texts, own)
    assert tuple(one.tolist() for one in found) == plainly(images, texts, own.tolist())


def test_features_that_are_all_the_same_find_nothing():
    finding = Finding()
    same = F.normalize(torch.ones(20, 4))
    finding.add(same, same, torch.arange(20)[:, None], None)
    found = finding.compute(None)
    assert {found[f"{way}_recall_{k}"] for way in ("image", "text") for k in (1, 5, 10)} == {0.0}
    assert "accuracy" not in found


def test_equal_texts_are_one():
    """Two images of one text: each finds it, whichever row it came with; the text finds either."""
    finding = Finding()
    images = torch.eye(3)
    texts = torch.tensor([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    finding.add(images, texts, torch.tensor([[7, 0], [7, 0], [8, 9]]), torch.tensor([0, 0, -1]))
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
