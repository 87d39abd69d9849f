"""ILIF and MultiSpike: by hand, against SpikingJelly's ILIFNode, kernels against the step.

Would break it: halves rounded up, a clip or a gradient's window with other ends, the input divided by tau, a gradient
without 1/v_threshold, a reset that takes spikes instead of spikes × threshold, a kernel that misreads a layout.
"""

from dataclasses import astuple

import pytest
import torch
from spikingjelly.activation_based import neuron as peer
from spikingjelly.activation_based import surrogate as peer_surrogate
from support.kernels import LAYOUTS, assert_kernels_agree, laid_out

import snnkit
from snnkit.errors import InvalidArgumentError
from snnkit.neurons import ILIF, MultiSpike

KERNELS = ["reference", "numba"]


def drive(*shape, dtype=torch.float64, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype) * 2 + 0.8


def column(*values):
    return torch.tensor(values, dtype=torch.float64)[:, None]


@pytest.mark.parametrize("kernel", KERNELS)
def test_by_hand(kernel):
    """tau = 2: h = 2.5, .5 (halves to even: 2, 0), 1.5 → 2, −1.25 → 0, 8.375 → 4 of at most 4."""
    neuron, x = ILIF(tau=2, kernel=kernel), column(2.5, 0.25, 1.25, -1.0, 9.0)
    assert neuron(x).flatten().tolist() == [2, 0, 2, 0, 4]
    assert neuron.membranes(x).flatten().tolist() == [0.5, 0.5, -0.5, -1.25, 4.375]
    assert ILIF(tau=2, v_threshold=0.5, levels=9, kernel=kernel)(x).flatten().tolist() == [5, 0, 3, 0, 9]


@pytest.mark.parametrize("kernel", KERNELS)
def test_gradient_window_by_hand(kernel):
    """T = 1: 1/θ where 0 ≤ h/θ ≤ D, both ends included."""
    x = column(-0.1, 0.0, 1.3, 8.0, 8.1).T.clone().requires_grad_()
    ILIF(v_threshold=2.0, kernel=kernel)(x).sum().backward()
    assert x.grad.flatten().tolist() == [0, 0.5, 0.5, 0.5, 0]


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("detach", [True, False])
@pytest.mark.parametrize(("tau", "threshold", "levels"), [(4 / 3, 1.0, 4), (2.0, 0.7, 2), (1.5, 0.6, 8)])
def test_equals_spikingjelly(tau, threshold, levels, detach, dtype, kernel):
    theirs = peer.ILIFNode(
        tau, threshold, peer_surrogate.MultiLevelSpikeCount(levels), detach_reset=detach, step_mode="m"
    )
    ours = ILIF(tau, threshold, levels, detach_reset=detach, kernel=kernel)
    weight, results = drive(8, 3, 40, dtype=dtype, seed=1), []
    for neuron in (theirs, ours):
        x = drive(8, 3, 40, dtype=dtype).requires_grad_()
        out = neuron(x)
        (out * weight).sum().backward()
        results.append((out.detach(), x.grad))
    assert torch.equal(results[0][0], results[1][0])
    assert results[0][0].unique().numel() == levels + 1  # every level occurs
    torch.testing.assert_close(results[1][1], results[0][1], rtol=0, atol=2e-6 if dtype == torch.float32 else 1e-12)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("detach", [True, False])
def test_kernels_equal_the_step(detach, dtype, layout):
    x = laid_out(drive(4, 2, 5, 6, 36, dtype=dtype), layout)
    assert_kernels_agree(ILIF(1.7, 0.8, 3, detach_reset=detach), x, (drive(2, 5, 6, 36, dtype=dtype, seed=2),))


@pytest.mark.parametrize("kernel", KERNELS)
def test_stream_equals_sequence(kernel):
    neuron, x = ILIF(kernel=kernel), drive(6, 2, 5)
    stream = snnkit.Stream(neuron)
    assert torch.equal(torch.stack([stream.step(x_t) for x_t in x]), neuron(x))
    assert torch.equal(stream.state["v"], neuron.membranes(x)[-1])


def test_half_storage():
    x = drive(6, 2, 5, dtype=torch.float32).bfloat16()
    assert torch.equal(ILIF()(x), ILIF()(x.float()).bfloat16())
    with pytest.raises(InvalidArgumentError, match="float32 and float64"):
        ILIF(kernel="numba")(x)


def test_constants_per_channel():
    theta = torch.nn.Parameter(torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64))
    neuron, x = ILIF(v_threshold=theta), drive(5, 2, 3, 4, 4)
    out = neuron(x)
    for c, value in enumerate(theta.tolist()):
        assert torch.equal(out[:, :, c], ILIF(v_threshold=value)(x)[:, :, c])
    out.sum().backward()
    assert theta.grad.abs().min() > 0


def test_what_it_sends():
    neuron = ILIF(levels=6)
    assert neuron.operator.events(neuron.constants()) == ("integer", 0, 6)


def test_operator_check():
    x, v = drive(3, 2, 4).requires_grad_(), torch.zeros(2, 4, dtype=torch.float64, requires_grad=True)
    arguments = (x, v, *astuple(ILIF().constants()), [], "", "sigmoid", [4.0], "exact", True, "auto")
    torch.library.opcheck(torch.ops.snnkit.multilevel_lif.default, arguments)


def test_multi_spike_by_hand():
    """Base models: halves to even, shut outside of [0, 4]. Large model: halves up, shut at the ends too."""
    x = column(-1.0, 0.0, 0.5, 1.5, 2.5, 3.2, 4.0, 7.0)
    for settings, expected, slopes in (
        ({}, [0, 0, 0, 0.5, 0.5, 0.75, 1, 1], [0, 1, 1, 1, 1, 1, 1, 0]),
        ({"half_up": True}, [0, 0, 0.25, 0.5, 0.75, 0.75, 1, 1], [0, 0, 1, 1, 1, 1, 0, 0]),
    ):
        given = x.clone().requires_grad_()
        out = MultiSpike(**settings)(given)
        assert out.flatten().tolist() == expected
        out.sum().backward()
        assert given.grad.flatten().tolist() == [slope / 4 for slope in slopes]
    assert MultiSpike(divisor=1)(x).flatten().tolist() == [0, 0, 0, 2, 2, 3, 4, 4]
    assert MultiSpike(levels=2)(x).flatten().tolist() == [0, 0, 0, 1, 1, 1, 1, 1]


def test_multi_spike_is_ilif_from_rest_and_forgets():
    x = drive(6, 2, 9)
    out = MultiSpike(divisor=1)(x)
    assert torch.equal(out, torch.cat([ILIF()(x_t[None]) for x_t in x]))
    stream = snnkit.Stream(MultiSpike(divisor=1))
    assert torch.equal(torch.stack([stream.step(x_t) for x_t in x]), out)


@pytest.mark.parametrize("half_up", [False, True])
@pytest.mark.parametrize("divisor", [None, 1, 3.0])
def test_multi_spike_at_once_equals_its_step(half_up, divisor):
    """Values and gradients, halves and ends among the inputs; in bfloat16 as in float32."""
    x = torch.cat([drive(3, 2, 40) * 3, torch.arange(-1, 6, 0.5, dtype=torch.float64).expand(3, 2, -1)], -1)
    results = []
    for kernel in ("reference", "elementwise"):
        given = x.clone().requires_grad_()
        out = MultiSpike(4, divisor, half_up, kernel)(given)
        (out * torch.arange(out.numel()).view_as(out)).sum().backward()
        results += [(out.detach(), given.grad)]
        half = MultiSpike(4, divisor, half_up, kernel)(x.bfloat16())
        assert torch.equal(half, MultiSpike(4, divisor, half_up, kernel)(x.bfloat16().float()).bfloat16())
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])


def test_multi_spike_constant_per_channel():
    divisor = torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64)
    out = MultiSpike(divisor=divisor)(drive(2, 2, 3, 5))
    for c, value in enumerate(divisor.tolist()):
        assert torch.equal(out[:, :, c], MultiSpike(divisor=value)(drive(2, 2, 3, 5))[:, :, c])


def test_multi_spike_is_one_operator_that_says_what_it_sends():
    x = drive(2, 2, 3)
    neuron = MultiSpike(half_up=True)
    assert neuron.operator.events(neuron.constants()) == ("integer", 0, 4, 0.25)
    program = torch.export.export(neuron, (x,))
    assert [str(n.target) for n in program.graph.nodes if "snnkit" in str(n.target)] == ["snnkit.multi_spike.default"]
    assert torch.equal(program.module()(x), neuron(x))
    arguments = (x.requires_grad_(), *astuple(neuron.constants()), [], "", "sigmoid", [4.0], "exact", True, "auto")
    torch.library.opcheck(torch.ops.snnkit.multi_spike.default, arguments)
    with pytest.raises(InvalidArgumentError, match="no state"):
        neuron.membranes(x)


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda: ILIF(tau=1), "tau"),
        (lambda: ILIF(v_threshold=0), "v_threshold"),
        (lambda: ILIF(levels=0), "levels=0.*whole number ≥ 1"),
        (lambda: ILIF(levels=2.5), "levels=2.5"),
        (lambda: ILIF(levels=True), "levels"),
        (lambda: ILIF(levels=float("inf")), "levels"),
        (lambda: ILIF(levels="4"), "levels"),
        (lambda: MultiSpike(levels=-1), "MultiSpike.levels"),
        (lambda: MultiSpike(divisor=0), "divisor"),
        (lambda: MultiSpike()(torch.zeros(3)), "sequence"),
        (lambda: MultiSpike()(torch.zeros(2, 3, dtype=torch.long)), "floating"),
    ],
)
def test_bad_constants_are_named(make, word):
    with pytest.raises(InvalidArgumentError, match=word):
        make()
