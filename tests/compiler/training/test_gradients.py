"""Integer neurons and roundings that train: their values are the chip's, their gradients those of the float network.

Right values are the integer text's, worked out by hand, or autograd's on the float network where nothing is rounded.
Would break it: a step in float64 that differs from the integers where a state wraps or clips, a surrogate in the wrong
unit, a gradient that a reset, a rounding, an exponent or a merged layer swallows, a gate without one.
"""

import numpy as np
import pytest
import torch
from torch import nn

from compiler.graph.graph import Node
from compiler.operations.conv import shifted
from compiler.targets.loihi import arithmetic
from compiler.targets.loihi.differentiable import Constants, integrate_and_fire, rounded, surrogate_gradient
from compiler.training import ChipNetwork
from compiler.training.tuning import SpikingGraph
from snnkit.layers import over_time
from snnkit.neurons import IF, LIF, MultiSpike
from snnkit.surrogates import Rect, Sigmoid

EDGES = [0, 1, -1, 63, 64, 2**23 - 1, 2**23, -(2**23), -(2**23) + 1, -(2**23) - 1, 2**24]


def numbers(count=3000):
    rng = np.random.default_rng(0)
    u, v = (np.concatenate([EDGES, rng.integers(-(2**23), 2**23, count - len(EDGES))]) for _ in range(2))
    current = np.concatenate([rng.integers(-(2**12), 2**12, count // 2), rng.integers(-(2**16), 2**16, count)])[:count]
    return [torch.from_numpy(rng.permutation(x)).double() for x in (u, np.clip(v, -(2**23) + 1, 2**23 - 1), current)]


CONSTANTS = [(4095, 0, 5), (4095, 2048, 90000), (4095, 1365, 1000), (0, 4095, 131071), (1024, 1, 0), (3000, 4000, 77)]


@pytest.mark.parametrize(("du", "dv", "vth"), CONSTANTS)
@pytest.mark.parametrize("reach", [1, 2**8, 2**14], ids=["stays", "clips", "wraps"])
@pytest.mark.parametrize("as_bias", [False, True])
def test_a_step_is_the_integer_texts(du, dv, vth, reach, as_bias):
    u, v, current = numbers()
    drive = current if as_bias else current * reach
    u = torch.zeros_like(u) if as_bias else u
    none = torch.zeros_like(drive).long()
    given = (none, drive.long()) if as_bias else (drive.long(), none)
    wanted = arithmetic.step(u.long(), v.long(), *given, du, dv, vth)
    for records in (False, True):
        found = integrate_and_fire(drive.clone().requires_grad_(records), u, v, Constants(du, dv, vth, 1.0), as_bias)
        for mine, right in zip(found, (wanted[2], wanted[0], wanted[1]), strict=True):
            assert torch.equal(mine.detach(), right.double())


def test_gradients_of_a_step_by_hand():
    """vth 9, scale 10: one float unit is 640 membrane units, the threshold 640. dv 2048 keeps half, du 4095 nothing."""
    drive, u, v = (torch.tensor([x], dtype=torch.float64, requires_grad=True) for x in ([7.0, 12.0], [0, 0], [128, 0]))
    with surrogate_gradient(Rect(alpha=1.0)):  # 1 within half a unit of the threshold
        s, current, after = integrate_and_fire(drive, u, v, Constants(4095, 2048, 9, 10.0), False)
    assert s.tolist() == [[0.0, 1.0]]
    assert current.tolist() == [[448.0, 768.0]]
    assert after.tolist() == [[512.0, 0.0]]  # 448 + 64, and reset
    (3 * s + 5 * after + 7 * current).sum().backward()
    # ds/dh = 1/640 in both; dv/dh = 1 where it did not fire; each unit of drive is 64 of the membrane.
    dh = [3 / 640 + 5, 3 / 640]
    torch.testing.assert_close(drive.grad, torch.tensor([[64 * (x + 7) for x in dh]], dtype=torch.float64))
    torch.testing.assert_close(v.grad, torch.tensor([[x / 2 for x in dh]], dtype=torch.float64))
    assert u.grad.tolist() == [[0.0, 0.0]]


def test_the_surrogate_of_the_forward_pass_counts():
    def slope(surrogate):
        drive = torch.tensor([[5.0]], dtype=torch.float64, requires_grad=True)
        zero = torch.zeros_like(drive)
        with surrogate_gradient(surrogate):
            s, _, _ = integrate_and_fire(drive, zero, zero, Constants(4095, 0, 9, 10.0), False)
        s.sum().backward()
        return drive.grad.item()

    # x = (5 − 10) / 10; a unit of drive is a tenth of a unit of the membrane.
    for surrogate in (Sigmoid(4.0), Sigmoid(1.0)):
        right = surrogate.derivative(torch.tensor(-0.5, dtype=torch.float64)).item() / 10
        assert slope(surrogate) == pytest.approx(right, rel=1e-12)


def test_roundings_pass_gradients_on():
    x = torch.tensor([0.4, 0.5, 1.5, -2.7], dtype=torch.float64, requires_grad=True)
    y = rounded(x)
    assert y.tolist() == [0.0, 0.0, 2.0, -3.0]
    y.sum().backward()
    assert x.grad.tolist() == [1.0] * 4


@pytest.mark.parametrize(("exponent", "right"), [(3, [56.0, -40.0]), (0, [7.0, -5.0]), (-1, [3.0, -3.0])])
def test_shifts_pass_gradients_on(exponent, right):
    y = torch.tensor([7.0, -5.0], dtype=torch.float64, requires_grad=True)
    node = Node("n", "linear", (), ("n",), {"weight_exponent": exponent})
    found = shifted(y, node)
    assert found.tolist() == right
    found.sum().backward()
    assert y.grad.tolist() == [2.0**exponent] * 2


def sixteenths(*shape):
    return torch.randint(-16, 17, shape) / 16


class Whole(nn.Module):
    """Integrate-and-fire neurons and weights in sixteenths: a chip rounds nothing. Maps (T, B, 2, 8, 8) of spikes."""

    def __init__(self, kind, neuron=lambda: IF(surrogate=Sigmoid())):
        super().__init__()
        self.kind = kind
        self.first, self.second = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.third, self.head = nn.Conv2d(2, 4, 3, padding=1), nn.Linear(16, 3)
        self.neurons = nn.ModuleList(neuron() for _ in range(4))
        for parameter in self.parameters():
            parameter.data.copy_(sixteenths(*parameter.shape) / (2 if parameter.ndim == 4 else 1))

    def forward(self, x):
        """Outputs of every step."""
        one = self.neurons[0](over_time(self.first, x))
        if self.kind == "and":
            one = one * self.neurons[1](over_time(self.third, x))
        if self.kind == "or":
            one = over_time(lambda z: nn.functional.max_pool2d(z, 2), one)
        if self.kind == "shortcut":
            one = self.neurons[1](over_time(self.second, one) + one)
        two = self.neurons[2](over_time(self.second, one))
        side = two.shape[-1] // 2
        return over_time(lambda z: self.head(nn.functional.avg_pool2d(z, side).flatten(1)), two)


NEURONS = {
    "soft": lambda: IF(v_reset=None, surrogate=Sigmoid()),
    "levels": lambda: MultiSpike(levels=4, divisor=1),
    "levels, halves up": lambda: MultiSpike(levels=4, divisor=1, half_up=True),
}


@pytest.mark.parametrize("kind", ["chain", "shortcut", "and", "or", "soft", "levels", "levels, halves up"])
def test_where_nothing_is_rounded_gradients_are_the_float_networks(kind):
    model = (Whole("shortcut", NEURONS[kind]) if kind in NEURONS else Whole(kind)).double().eval()
    x = (torch.rand(4, 6, 2, 8, 8, dtype=torch.float64) < 0.4).double()
    chip = ChipNetwork(model, x, "loihi2" if kind in NEURONS else "loihi1", input_type="binary").train()
    float_network = SpikingGraph(chip.graph()).double().train()
    weights = torch.randn(6, 3, dtype=torch.float64)
    outputs = []
    for network in (chip, float_network):
        out = network(x)
        (out * weights).sum().backward()
        outputs.append(out.detach())
    torch.testing.assert_close(outputs[0], outputs[1], rtol=0, atol=1e-12)
    pairs = list(zip(chip.named_parameters(), float_network.parameters(), strict=True))
    assert len(pairs) == (8 if kind == "and" else 6)
    for (name, mine), right in pairs:
        assert right.grad.abs().max() > 1e-3, name
        torch.testing.assert_close(mine.grad, right.grad, rtol=1e-9, atol=1e-12, msg=name)


def test_leaks_and_real_images_have_nearly_the_float_networks_gradients():
    """Decays are rounded down there and biases of the first layer once: near, not equal."""
    from support.nets import Residual, lively

    model = lively(Residual(neuron=LIF))
    x = torch.rand(16, 1, 12, 12, dtype=torch.float64)
    chip = ChipNetwork(model, x).train()
    float_network = SpikingGraph(chip.graph()).double().train()
    for network in (chip, float_network):
        (network(x) * torch.linspace(-1, 1, 5, dtype=torch.float64)).sum().backward()
    for (name, mine), right in zip(chip.named_parameters(), float_network.parameters(), strict=True):
        assert torch.cosine_similarity(mine.grad.flatten(), right.grad.flatten(), 0) > 0.97, name
        assert 0.9 < float(mine.grad.norm() / right.grad.norm()) < 1.1, name
