"""AdaFactorW: timm's numbers where both agree, the bytes it keeps, and what rounding at random is for.

Would break it: the wrong axis factored, a decay that the gradient's scale reaches, moments that come back from a file
in another type.
"""

import pytest
import torch
from timm.optim import AdafactorBigVision
from torch import nn

from snnkit.errors import InvalidArgumentError
from snnkit.optim import AdaFactorW, build_optimizer, optimizer_bytes
from snnkit.optim.adafactorw import factored_axes

SHAPES = ((40, 24), (24, 40), (32, 16, 3, 3), (16, 32, 5), (8, 12), (50,), (), (20, 20))


def both(steps=12, **options):
    """The largest difference from timm's parameters after some steps, relative to how far they went."""
    torch.manual_seed(0)
    ours = [nn.Parameter(torch.randn(shape)) for shape in SHAPES]
    theirs = [nn.Parameter(p.detach().clone()) for p in ours]
    before = [p.detach().clone() for p in ours]
    dtype = options.pop("momentum_dtype", "float32")
    common = {"lr": 0.01, "weight_decay": 0.1, **options}
    one = AdaFactorW(ours, momentum_dtype=dtype, **common)
    other = AdafactorBigVision(theirs, momentum_dtype=dtype, **common)
    for _ in range(steps):
        for p, q in zip(ours, theirs, strict=True):
            p.grad = torch.randn_like(p) * 10 ** torch.randn(())
            q.grad = p.grad.clone()
        one.step()
        other.step()
    return max(
        float((p - q).detach().abs().max() / (p - b).detach().abs().max())
        for p, q, b in zip(ours, theirs, before, strict=True)
    )


@pytest.mark.parametrize("options", [{}, {"clipping_threshold": 1.0}, {"decay_rate": 0.5, "beta2_cap": 0.9}])
def test_timm_s_numbers(options):
    """With a first moment in float32 both are equal but for roundings."""
    assert both(**options) < 1e-5


def test_bfloat16_differs_by_its_rounding_alone():
    assert 1e-5 < both(momentum_dtype="bfloat16") < 2e-2


def test_axes():
    assert factored_axes((40, 24), 16) == (1, 0)
    assert factored_axes((32, 16, 3, 3), 16) == (1, 0)
    assert factored_axes((20, 20), 16) == (0, 1)
    assert factored_axes((20, 15), 16) is None
    assert factored_axes((100,), 16) is None


def test_bytes_that_are_kept():
    """Two a number and a little of a matrix, where AdamW keeps eight."""
    weight = nn.Parameter(torch.randn(512, 256))
    weight.grad = torch.randn_like(weight)
    optimizer = AdaFactorW([weight])
    optimizer.step()
    assert optimizer_bytes(optimizer)[0] == 2 * weight.numel() + 4 * (512 + 256) + 4


def test_small_changes_count_on_average():
    """A moment that is rounded at random reaches its updates; to the nearest it stops on its way."""

    def moment(stochastic):
        torch.manual_seed(0)
        weight = nn.Parameter(torch.zeros(64, 64))
        optimizer = AdaFactorW([weight], stochastic=stochastic, momentum=0.99)
        weight.grad = torch.ones_like(weight)
        for _ in range(700):
            optimizer.step()
        return float(optimizer.state[weight]["exp_avg"].float().mean())

    assert moment(True) == pytest.approx(1 - 0.99**700, abs=0.01)
    assert moment(False) < 0.9


@pytest.mark.parametrize("moment", ["bfloat16", "float32"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_states_come_back_as_they_were(dtype, moment):
    torch.manual_seed(0)
    weight = nn.Parameter(torch.randn(32, 32).to(dtype))
    groups = [{"params": [weight], "weight_decay": 0.1}]
    optimizer = build_optimizer("adafactorw", groups, 0.01, {"momentum_dtype": moment})
    weight.grad = torch.randn_like(weight)
    optimizer.step()
    other_weight = nn.Parameter(weight.detach().clone())
    other = AdaFactorW([other_weight])
    other.load_state_dict(optimizer.state_dict())
    for key, value in optimizer.state[weight].items():
        assert other.state[other_weight][key].dtype == value.dtype, key
        assert torch.equal(other.state[other_weight][key], value), key
    assert other.state[other_weight]["exp_avg"].dtype == getattr(torch, moment)
    other_weight.grad = weight.grad.clone()
    optimizer.step()
    other.step()
    assert torch.equal(weight, other_weight)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"momentum": 1.0}, "momentum=1.0: must be at least 0 and below 1"),
        ({"lr": -1.0}, "lr=-1.0"),
        ({"momentum_dtype": "int8"}, "bfloat16 or float32"),
        ({"factored_from": 0}, "factored_from=0"),
        ({"clipping_threshold": 0.0}, "must be above 0, or None"),
    ],
)
def test_bad_numbers(options, words):
    with pytest.raises(InvalidArgumentError, match=words):
        AdaFactorW([nn.Parameter(torch.zeros(1))], **options)


def test_a_group_s_own_numbers_are_looked_at():
    optimizer = AdaFactorW([nn.Parameter(torch.zeros(1))])
    with pytest.raises(InvalidArgumentError, match=r"lr=-1\.0"):
        optimizer.add_param_group({"params": [nn.Parameter(torch.zeros(1))], "lr": -1.0})
    assert len(optimizer.param_groups) == 1


@pytest.mark.parametrize("kind", ["complex", "sparse"])
def test_gradients_that_it_would_misread_are_refused(kind):
    weight = nn.Parameter(torch.zeros(4, 4, dtype=torch.complex64 if kind == "complex" else torch.float32))
    weight.grad = torch.ones_like(weight) if kind == "complex" else torch.eye(4).to_sparse()
    with pytest.raises(InvalidArgumentError, match="AdaFactorW takes dense real gradients"):
        AdaFactorW([weight]).step()
    assert (weight == 0).all()
