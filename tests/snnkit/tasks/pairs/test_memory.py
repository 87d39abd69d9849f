"""Memory of a step: what is predicted is what is taken, and a batch that is larger takes what its features take.

Would break it: a matrix that is held whole, activations of more than one part, features that outlive the loss.
"""

import pytest
import torch

import snnkit
from snnkit.memory.allocations import allocations, highest
from snnkit.tasks.classification import channels_last
from snnkit.tasks.pairs.predicted import predict
from snnkit.tasks.pairs.two_pass import TwoPass

CHUNK = 1 << 16


def towers():
    torch.manual_seed(0)
    sizes = {"dims": (16, 32, 64, 96), "depths": (1, 1, 1, 1), "output_stride": 16}
    text = {"text_width": 32, "text_depth": 1, "text_heads": 2, "dim": 64, "context": 24}
    return snnkit.create_model("basic:timm:convnext_atto", in_chans=1, **sizes, **text).train()


def taken(model, batch, part):
    """The most bytes of a step whose parts are made when they are asked for."""

    def pairs():
        generator = torch.Generator().manual_seed(0)
        for _ in range(batch // part):
            images = torch.rand(part, 1, 28, 28, generator=generator)
            yield channels_last(images), torch.randint(1, 257, (part, 24), generator=generator)

    def step():
        one = TwoPass(model, chunk=CHUNK)
        for pair in pairs():
            one.look(*pair)
        one.compare()
        for pair in pairs():
            one.pull_back(*pair).backward()
        assert one.exact

    model.zero_grad(set_to_none=True)
    found = highest(allocations(step))
    model.zero_grad(set_to_none=True)
    return found


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
