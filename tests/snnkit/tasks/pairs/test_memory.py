"""Memory of a step: what is predicted is what is taken, and a batch that is larger takes what its features take.

Would break it: a matrix that is held whole, activations of more than one part, features that outlive the loss.
"""

import pytest
import torch

import snnkit
from snnkit.bench.pairs_sharded import peaks
from snnkit.files import read_json
from snnkit.tasks.pairs import records
from snnkit.tasks.pairs.predicted import measured, over_batches, predict

CHUNK = 1 << 16


def towers():
    torch.manual_seed(0)
    sizes = {"dims": (16, 32, 64, 96), "depths": (1, 1, 1, 1), "output_stride": 16}
    text = {"text_width": 32, "text_depth": 1, "text_heads": 2, "dim": 64, "context": 24}
    return snnkit.create_model("basic:timm:convnext_atto", in_chans=1, **sizes, **text).train()


def taken(model, batch, part):
    """The most bytes of a step whose parts are made when they are asked for."""
    return measured(model, (part, 1, 28, 28), 24, batch // part, CHUNK)


def heavy():
    """Towers whose weights take more than the activations of a part."""
    torch.manual_seed(0)
    sizes = {"patch_size": 7, "img_size": 28, "embed_dim": 192, "depth": 2, "num_heads": 3}
    text = {"text_width": 192, "text_depth": 2, "text_heads": 3, "dim": 64, "context": 24}
    return snnkit.create_model("basic:timm:vit_tiny_patch16_224", in_chans=1, **sizes, **text).train()


@pytest.mark.parametrize("parts", [1, 2, 4])
def test_parts_make_their_gradients_beside_those_before_them(parts):
    """A step in parts takes its weights' bytes once more than one pass of a part does."""
    model, shape = heavy(), (4, 1, 28, 28)
    found = predict(model, shape, 24, parts, kept=False).peak
    assert measured(model, shape, 24, parts) == pytest.approx(found, rel=0.03)
    if parts > 1:
        gradients = sum(p.numel() * p.element_size() for p in model.parameters())
        one = predict(model, shape, 24, 1).peak
        assert found > one + 0.5 * gradients


@pytest.mark.slow
def test_prediction_for_two_processes():
    """FSDP2 takes no more than is predicted of whole weights, and holds half of them.

    Messages that are through and still held (``pairs_sharded``) add a copy of the weights at most.
    """
    whole, sharded = peaks(False), peaks(True)
    for one in whole + sharded:
        assert 0.85 * one["predicted"] < one["peak"] < 1.03 * one["predicted"]
    assert all(one["highest"] < 1.03 * one["predicted"] for one in whole)
    assert all(one["highest"] < one["predicted"] + whole[0]["weights"] for one in sharded)
    assert sum(one["weights"] for one in sharded) < 1.01 * whole[0]["weights"]


@pytest.mark.parametrize("batch", [256, 2048])
def test_prediction(batch):
    model, part = towers(), 64
    found = predict(model, (part, 1, 28, 28), 24, batch // part, chunk=CHUNK, kept=False)
    assert taken(model, batch, part) == pytest.approx(found.peak, rel=0.15)


def test_a_larger_batch_takes_its_features_and_no_more():
    """Sixteen times the pairs: the peak grows by what their features and gradients take at most."""
    model = towers()
    small, large = taken(model, 256, 64), taken(model, 4096, 64)
    assert large - small < 1.1 * 4 * (4096 - 256) * 64 * 4
    assert large < 4096**2 * 4 / 2, "less than the matrix would"


def test_one_pass_holds_the_batch():
    model = towers()
    one = predict(model, (512, 1, 28, 28), 24, 1)
    parts = predict(model, (64, 1, 28, 28), 24, 8, kept=False)
    assert parts.peak < 0.4 * one.peak
    assert "for a part" in str(parts)


def test_what_a_run_keeps_of_it(tmp_path):
    """Prediction by prediction, doubling up to four times the batch; measured where it was measured."""
    model = towers()
    found = over_batches(model, (64, 1, 28, 28), 24, parts=32, kept=False)
    assert list(found) == [128 << n for n in range(7)]
    assert found[1024] == predict(model, (64, 1, 28, 28), 24, 16, kept=False).peak
    records.keep_memory(tmp_path, found, {1024: 5})
    kept = read_json(tmp_path / "memory.json")
    assert kept["predicted_bytes"] == list(found.values())
    assert [(b, p) for b, p in zip(kept["batch"], kept["peak_bytes"], strict=True) if p] == [(1024, 5)]
