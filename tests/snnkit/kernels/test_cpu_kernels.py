"""The C and numba kernels against the reference: spikes bit for bit, gradients, memory layouts, dtypes, tiers.

Would break it: a fused multiply-add, > for ≥, a reset to anything else, a block or a tail that is skipped, a gradient
that keeps the reset, a result written in another order of memory, a code that decodes to another spike.
"""

import itertools

import pytest
import torch

from snnkit.errors import InvalidArgumentError
from snnkit.kernels import fused_c, native
from snnkit.kernels.call import Call
from snnkit.kernels.charge_fire_reset import code8_tables
from snnkit.neurons import IF, LIF, NO_RESET, ParametricLIF
from snnkit.surrogates import SURROGATES, ATan, Sigmoid

needs_c = pytest.mark.skipif(bool(native.why_not(fused_c.SOURCE)), reason="no C compiler")
KERNELS = [pytest.param("c", marks=needs_c), "numba"]
RESETS = (0.0, -0.3, None, NO_RESET)
MAKERS = {
    "IF": lambda **s: IF(**s),
    "LIF": lambda **s: LIF(tau=2.0, **s),
    "LIF odd tau": lambda **s: LIF(tau=1.7, **s),
    "LIF plain": lambda **s: LIF(tau=1.7, decay_input=False, **s),
    "PLIF": lambda **s: ParametricLIF(1.7, **s),
    "PLIF plain": lambda **s: ParametricLIF(2.5, decay_input=False, **s),
    "PLIF channels": lambda **s: ParametricLIF(2.5, channels=3, **s),
}
LAYOUTS = {
    "contiguous": lambda x: x,
    "channels_last": lambda x: x.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3),
    "expanded": lambda x: x[0].expand(x.shape),
    "batch behind": lambda x: x.transpose(1, 4).contiguous().transpose(1, 4),
    "sliced": lambda x: torch.cat([x, x], 2)[:, :, ::2],
}


def operands(dtype, layout="contiguous", steps=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shape = (steps, 2, 3, 19, 11)
    x, w = (torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(2))
    v, u = (torch.randn(shape[1:], generator=generator, dtype=torch.float64) * 0.3 for _ in range(2))
    return LAYOUTS[layout]((x * 1.4 + 0.2).to(dtype)), w.to(dtype), v.to(dtype), u.to(dtype)


def outcome(neuron, kernel, x, w, v, u, save="exact"):
    """(spikes, last membrane), (gradients to input, start, parameters)."""
    from snnkit.neurons.base import _broadcast

    neuron.zero_grad()
    x, v = x.detach().requires_grad_(), v.detach().requires_grad_()
    p = _broadcast(neuron.constants(), 4)
    out, (last,) = neuron.operator(x, (v,), p, neuron.surrogate, kernel=kernel, save=save)
    ((out * w).sum() + (last * u).sum()).backward()
    return (out.detach(), last.detach()), (x.grad, v.grad, *(p.grad.clone() for p in neuron.parameters()))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("v_reset", RESETS)
@pytest.mark.parametrize("maker", MAKERS)
@pytest.mark.parametrize("kernel", KERNELS)
def test_equal_to_the_reference(kernel, maker, v_reset, dtype):
    for detach, surrogate in itertools.product((True, False), (Sigmoid(4.0), ATan(2.0))):
        neuron = MAKERS[maker](v_threshold=0.8, v_reset=v_reset, detach_reset=detach, surrogate=surrogate).to(dtype)
        given = operands(dtype)
        expected, expected_grads = outcome(neuron, "reference", *given)
        got, grads = outcome(neuron, kernel, *given)
        assert 0.05 < got[0].mean() < 0.95
        for a, b in zip(got, expected, strict=True):
            assert torch.equal(a, b)
        tolerance = {"rtol": 1e-12, "atol": 1e-12} if dtype == torch.float64 else {"rtol": 2e-5, "atol": 3e-6}
        for a, b in zip(grads, expected_grads, strict=True):
            torch.testing.assert_close(a, b, **tolerance)


@pytest.mark.parametrize("name", fused_c.SURROGATES)
@pytest.mark.parametrize("kernel", KERNELS)
def test_every_fused_surrogate(kernel, name):
    surrogate = next(cls for cls in SURROGATES.values() if cls.__name__ == name)()
    neuron = LIF(v_threshold=0.8, surrogate=surrogate)
    given = operands(torch.float64)
    got, expected = outcome(neuron, kernel, *given), outcome(neuron, "reference", *given)
    assert torch.equal(got[0][0], expected[0][0])
    for a, b in zip(got[1], expected[1], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("maker", ["LIF", "PLIF channels"])
@pytest.mark.parametrize("kernel", KERNELS)
def test_every_memory_layout(kernel, maker, layout):
    neuron = MAKERS[maker](v_threshold=0.8).double()
    x, w, v, u = operands(torch.float64, layout)
    (out, _), grads = outcome(neuron, kernel, x, w, v, u)
    (expected, _), expected_grads = outcome(neuron, "reference", x, w, v, u)
    assert torch.equal(out, expected)
    for a, b in zip(grads, expected_grads, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
    if layout in ("contiguous", "channels_last", "batch behind"):
        assert out.stride() == x.stride(), "the result lies in memory as the input does"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@needs_c
def test_half_formats(dtype):
    neuron = LIF(v_threshold=0.8, surrogate=ATan())
    x, w, v, u = operands(dtype)
    given = (x, w, v.float(), u.float())
    (out, last), grads = outcome(neuron, "c", *given)
    (expected, expected_last), expected_grads = outcome(neuron, "reference", *given)
    assert out.dtype == dtype
    assert last.dtype == torch.float32
    assert torch.equal(out, expected)
    assert torch.equal(last, expected_last)
    eps = torch.finfo(dtype).eps
    torch.testing.assert_close(grads[0].float(), expected_grads[0].float(), rtol=eps, atol=eps)
    torch.testing.assert_close(grads[1], expected_grads[1], rtol=1e-5, atol=3e-6)


@pytest.mark.parametrize("steps", [1, 2, 5, 23])
@needs_c
def test_any_number_of_steps_and_neurons(steps):
    for neurons in (1, 7, 64, 1024, 1025, 3000):
        x = torch.randn(steps, 1, neurons, dtype=torch.float64) + 0.5
        given = (x, torch.randn_like(x), torch.zeros(1, neurons, dtype=x.dtype), torch.randn(1, neurons, dtype=x.dtype))
        neuron = LIF(v_threshold=0.6)
        got, grads = outcome(neuron, "c", *given)
        expected, expected_grads = outcome(neuron, "reference", *given)
        assert torch.equal(got[0], expected[0])
        torch.testing.assert_close(grads[0], expected_grads[0], rtol=1e-12, atol=1e-12)


@needs_c
def test_threads_share_the_neurons():
    before = torch.get_num_threads()
    x = torch.randn(4, 2, 40_000) * 2
    alone = LIF()(x)
    try:
        torch.set_num_threads(3)
        assert torch.equal(LIF()(x), alone)
    finally:
        torch.set_num_threads(before)


@needs_c
@pytest.mark.parametrize("detach", [True, False])
@pytest.mark.parametrize("v_reset", [0.0, None])
def test_one_byte_per_step_is_close_and_keeps_one_byte(v_reset, detach):
    neuron = LIF(v_threshold=0.8, v_reset=v_reset, detach_reset=detach, surrogate=ATan())
    given = operands(torch.float32)
    (out, _), exact = outcome(neuron, "c", *given)
    (again, _), coded = outcome(neuron, "c", *given, save="code8")
    assert torch.equal(out, again)
    error = (coded[0] - exact[0]).norm() / exact[0].norm()
    assert 0 < error < 0.03
    assert kept_bytes(LIF(surrogate=ATan(), save="code8"), given[0]) == given[0].numel()


def kept_bytes(neuron, x):
    kept = []
    leaf = x.detach().clone().requires_grad_()

    def pack(tensor):
        if tensor.data_ptr() != leaf.data_ptr():
            kept.append(tensor.untyped_storage().nbytes())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        neuron(leaf)
    return sum(kept)


@needs_c
@pytest.mark.skipif("rect" not in SURROGATES, reason="no Rect")
@pytest.mark.parametrize("v_reset", RESETS)
def test_two_bits_per_step_are_exact_for_the_rectangle(v_reset):
    neuron = LIF(v_threshold=0.8, v_reset=v_reset, surrogate=SURROGATES["rect"](1.0))
    for steps in (1, 4, 5, 9):
        given = operands(torch.float64, steps=steps)
        got, grads = outcome(neuron, "c", *given, save="rect")
        expected, exact = outcome(neuron, "reference", *given)
        assert torch.equal(got[0], expected[0])
        for a, b in zip(grads, exact, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
    rows = -(-9 // 4)
    assert kept_bytes(LIF(surrogate=SURROGATES["rect"](), save="rect"), operands(torch.float32, steps=9)[0]) == (
        rows * 2 * 3 * 19 * 11
    )
    with pytest.raises(InvalidArgumentError, match="detach_reset"):
        LIF(save="rect", surrogate=SURROGATES["rect"](), detach_reset=False)(given[0].requires_grad_())
    with pytest.raises(InvalidArgumentError, match="surrogate Rect"):
        LIF(save="rect", surrogate=ATan())(given[0].requires_grad_())


def test_codes_keep_the_spike():
    slopes, levels, width = code8_tables(ATan(2.0))
    assert (levels[128:] > 0).all()
    assert (levels[:128] < 0).all()
    assert width == pytest.approx(0.5)
    torch.testing.assert_close(slopes, ATan(2.0).derivative(levels.double()).float())


def call_of(neuron, x):
    p = neuron.constants()
    return Call(x, (None,), neuron.operator.rest(p), p, (), neuron.surrogate, neuron.save, True, True)


def test_without_a_compiler_numba_runs_and_the_reason_is_told(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    native.load.cache_clear()
    native.why_not.cache_clear()
    monkeypatch.setattr(native, "cache_folder", lambda: tmp_path / "cache")
    try:
        neuron, x = LIF(), torch.randn(4, 2, 3)
        reasons = neuron.operator.explain(call_of(neuron, x))
        assert "no C compiler" in reasons["c"]
        assert reasons["numba"] == ""
        assert neuron.operator.choose("auto", call_of(neuron, x)) is neuron.operator.kernels["numba"]
        with pytest.raises(InvalidArgumentError, match="no C compiler"):
            LIF(kernel="c")(x)
    finally:
        native.load.cache_clear()
        native.why_not.cache_clear()
