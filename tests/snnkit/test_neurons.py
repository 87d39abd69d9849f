"""IF and LIF against the published package's numbers, each kernel against the reference, and the checks on constants.

Would break it: another order of operations in the charge, > for ≥, a reset to anything but v_reset, a gradient that
keeps (or loses) the reset, a surrogate with another steepness, state that survives a call.
"""

import copy
import itertools
import json
import pickle
from dataclasses import astuple

import numpy as np
import pytest
import torch

from snnkit.errors import InvalidArgumentError, UnknownNameError
from snnkit.kernels import fused_c
from snnkit.kernels.call import Call
from snnkit.neurons import IF, LIF
from snnkit.surrogates import SURROGATES, ATan, Sigmoid


def parse(name: str) -> tuple[type, dict]:
    kind, *settings = str(name).split("|")
    values = {}
    for setting in settings:
        key, value = setting.split("=")
        values[key] = {"True": True, "False": False, "None": None}.get(value, value)
        if isinstance(values[key], str):
            values[key] = float(value)
    return {"lif": LIF, "if": IF}[kind], values


@pytest.fixture(scope="module")
def units(golden):
    return np.load(golden / "lif_units.npz", allow_pickle=False)


def golden_cases():
    from pathlib import Path

    names = np.load(Path(__file__).parents[1] / "golden" / "lif_units.npz", allow_pickle=False)["names"]
    return [pytest.param(i, str(name), id=str(name)) for i, name in enumerate(names)]


@pytest.mark.parametrize("kernel", ["reference", "numba", "c"])
@pytest.mark.parametrize(("index", "name"), golden_cases())
def test_golden(units, index, name, kernel):
    cls, settings = parse(name)
    neuron = cls(**settings, surrogate=Sigmoid(4.0), kernel=kernel)
    x = torch.from_numpy(units["x"]).requires_grad_()
    spikes = neuron(x)
    np.testing.assert_array_equal(spikes.detach().numpy(), units[f"s{index}"])
    np.testing.assert_allclose(neuron.membranes(x.detach()).numpy(), units[f"v{index}"], rtol=0, atol=1e-12)
    (spikes * torch.from_numpy(units["w"])).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), units[f"g{index}"], rtol=0, atol=1e-12)


def test_golden_has_48_settings(units):
    assert len(units["names"]) == 48
    assert json.loads(str(units["config"]))["surrogate"] == "Sigmoid(alpha=4.0)"


@pytest.mark.parametrize("kernel", ["reference", "numba", "c"])
def test_golden_ties(units, kernel):
    """Inputs that land on the threshold exactly: H(0) = 1."""
    x = torch.from_numpy(units["tie_x"])
    np.testing.assert_array_equal(LIF(kernel=kernel)(x).numpy(), units["tie_s"])
    assert LIF(kernel=kernel)(torch.full((1, 1), 2.0)).item() == 1.0


FUSED = [cls() for cls in SURROGATES.values() if cls.__name__ in fused_c.SURROGATES]
SETTINGS = [
    (cls, dict(zip(("v_reset", "detach_reset", *more), values, strict=True)))
    for cls, more, choices in ((IF, (), ()), (LIF, ("tau", "decay_input"), ((1.7,), (True, False))))
    for values in itertools.product((0.0, -0.2, None), (True, False), *choices)
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("surrogate", FUSED, ids=str)
@pytest.mark.parametrize(("cls", "settings"), SETTINGS, ids=str)
def test_kernels_equal_autograd_of_the_step(cls, settings, surrogate, dtype):
    """Every kernel's outputs and gradients are those of plain autograd through the written step, from any state."""
    torch.manual_seed(0)
    neuron = cls(v_threshold=0.8, surrogate=surrogate, **settings)
    x0, v0 = torch.randn(5, 3, 700, dtype=dtype), torch.rand(3, 700, dtype=dtype) - 0.5
    weight_s, weight_v = torch.randn_like(x0), torch.randn_like(v0)

    def gradients(run):
        x, v = x0.clone().requires_grad_(), v0.clone().requires_grad_()
        spikes, (v_last,) = run(x, (v,))
        ((spikes * weight_s).sum() + (v_last * weight_v).sum()).backward()
        return spikes.detach(), v_last.detach(), x.grad, v.grad

    def by_steps(x, state):
        spikes = []
        for x_t in x:
            s, state = neuron.step(x_t, state)
            spikes.append(s)
        return torch.stack(spikes), state

    expected = gradients(by_steps)
    assert 0.05 < expected[0].mean() < 0.95
    tolerance = 1e-12 if dtype == torch.float64 else 2e-6
    call = Call(x0, (v0,), (0.0,), neuron.constants(), (), surrogate, training=True)
    runnable = [kernel for kernel, reason in neuron.operator.explain(call).items() if not reason]
    assert "reference" in runnable
    for kernel in runnable:
        got = gradients(lambda x, state, k=kernel: neuron.operator(x, state, neuron.constants(), surrogate, kernel=k))
        assert torch.equal(got[0], expected[0]), kernel
        for a, b in zip(got[1:], expected[1:], strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=tolerance, msg=lambda m, k=kernel: f"{k}: {m}")


def test_surrogate_formulas_by_hand():
    x = torch.tensor([0.0, 0.5], dtype=torch.float64)
    sigma = 1 / (1 + np.exp(-2.0))
    np.testing.assert_allclose(Sigmoid(4.0).derivative(x), [1.0, 4 * sigma * (1 - sigma)], rtol=1e-15)
    np.testing.assert_allclose(ATan(2.0).derivative(x), [1.0, 1 / (1 + (np.pi / 2) ** 2)], rtol=1e-15)


def test_lif_by_hand():
    """tau = 2, input 1.5 then 1.5 then 0: h = .75, 1.125 (fires), 0."""
    x = torch.tensor([[1.5], [1.5], [0.0]], dtype=torch.float64)
    neuron = LIF(tau=2)
    assert neuron(x).flatten().tolist() == [0, 1, 0]
    assert neuron.membranes(x).flatten().tolist() == [0.75, 0.0, 0.0]
    assert LIF(tau=2, v_reset=None).membranes(x).flatten().tolist() == [0.75, 0.125, 0.0625]


@pytest.mark.parametrize("cls", [IF, LIF])
def test_operator_check(cls):
    """torch's own checks: schema, fake implementation, autograd registration."""
    neuron = cls()
    x, v = torch.randn(3, 2, 4, requires_grad=True), torch.zeros(2, 4, requires_grad=True)
    arguments = (x, v, *astuple(neuron.constants()), [], "", "sigmoid", [4.0], "exact", True, "auto")
    torch.library.opcheck(getattr(torch.ops.snnkit, neuron.operator.name).default, arguments)


@pytest.mark.parametrize("cls", [IF, LIF])
def test_nothing_is_kept_between_calls(cls):
    neuron = cls()
    x = torch.randn(4, 2, 8, requires_grad=True)
    first = neuron(x)
    first.sum().backward()
    assert torch.equal(neuron(x), first)
    neuron(x).sum().backward()  # a second backward through a fresh graph
    assert neuron.state_dict() == {}
    twin = pickle.loads(pickle.dumps(copy.deepcopy(neuron)))
    assert torch.equal(twin(x), first)
    assert neuron(torch.randn(4, 5, 8)).shape == (4, 5, 8)


def test_ints_are_accepted():
    assert LIF(tau=2, v_threshold=1, v_reset=0).constants() == LIF(2.0, 1.0, 0.0).constants()


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda: LIF(tau=1), "tau"),
        (lambda: LIF(tau=0.5), "tau"),
        (lambda: LIF(tau=float("nan")), "tau"),
        (lambda: LIF(v_threshold=0), "v_threshold"),
        (lambda: IF(v_threshold=-1), "v_threshold"),
        (lambda: IF(v_reset=1.0), "v_reset"),
        (lambda: Sigmoid(0), "alpha"),
        (lambda: ATan(-1), "alpha"),
        (lambda: LIF(surrogate="atan"), "surrogate"),
        (lambda: LIF()(torch.zeros(0, 2, 3)), "T ≥ 1"),
        (lambda: LIF()(torch.zeros(3)), "sequence"),
        (lambda: LIF()(torch.zeros(2, 3, dtype=torch.long)), "floating"),
    ],
)
def test_bad_constants_are_named(make, word):
    with pytest.raises(InvalidArgumentError, match=word):
        make()


def test_unknown_kernel_names_the_nearest():
    with pytest.raises(UnknownNameError, match="'numba'"):
        LIF(kernel="numbaa")


def test_named_kernel_that_cannot_run_says_why():
    with pytest.raises(InvalidArgumentError, match="float32 and float64"):
        LIF(kernel="numba")(torch.zeros(2, 3, dtype=torch.bfloat16))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_auto_falls_back(dtype):
    x = torch.randn(4, 2, 8).to(dtype)
    assert torch.equal(LIF()(x), LIF(kernel="reference")(x))
