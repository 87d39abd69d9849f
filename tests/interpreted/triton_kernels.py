"""The Triton kernels under Triton's interpreter against the reference; run by ``test_triton_kernels`` with
``TRITON_INTERPRET=1``, in a process of its own because that variable counts when triton is imported.
"""

import pytest
import torch
from support.kernels import TOLERANCE, gradients_of, laid_out, spoiled
from torch import nn

from snnkit.errors import InvalidArgumentError
from snnkit.kernels.charge_fire_reset import code8_tables, reset
from snnkit.neurons import IF, ILIF, LIF, NO_RESET, CuBaLIF, ParametricLIF, Tracer
from snnkit.neurons.base import _broadcast
from snnkit.surrogates import SURROGATES, ATan

FUSED = ["sigmoid", "atan", "piecewise_quadratic", "piecewise_exp", "soft_sign", "super_spike", "erf", "rect"]


def results(neuron, kernel, x, start, save="exact"):
    """Output and last states; gradients to input, starting states and parameters."""
    p = _broadcast(neuron.constants(), x.ndim - 1)
    given = [x.detach().requires_grad_(), *(v.detach().requires_grad_() for v in _states(start))]
    state = None if start is None else tuple(given[1:])
    tensors = list(neuron.parameters())
    out, last = neuron.operator(given[0], state, p, neuron.surrogate, kernel=kernel, save=save)
    generator = torch.Generator().manual_seed(3)
    weights = [torch.randn(v.shape, generator=generator, dtype=v.dtype) for v in (out, *last)]
    loss = sum((v * w).sum() for v, w in zip((out, *last), weights, strict=True))
    return [out.detach(), *(v.detach() for v in last)], torch.autograd.grad(loss, [*given, *tensors])


def _states(start):
    return () if start is None else start if isinstance(start, tuple) else (start,)


def agree(neuron, x, start=None, tolerance=None):
    values, gradients = results(neuron, "reference", x, start)
    got, grads = results(neuron, "triton", x, start)
    assert 0.02 < (values[0] != 0).float().mean() < 0.98
    assert all(map(torch.equal, got, values))
    for a, b in zip(grads, gradients, strict=True):
        assert b.abs().max() > 0
        torch.testing.assert_close(a, b, rtol=1e-5, atol=TOLERANCE[x.dtype] if tolerance is None else tolerance)


def drive(*shape, dtype=torch.float32):
    return (torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 1.2 + 0.4).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("detach", [True, False])
@pytest.mark.parametrize("v_reset", [0.0, -0.2, None, NO_RESET])
@pytest.mark.parametrize("kind", ["if", "lif", "plain lif"])
def test_settings(kind, v_reset, detach, dtype):
    make = {"if": IF, "lif": lambda **k: LIF(1.7, **k), "plain lif": lambda **k: LIF(1.7, decay_input=False, **k)}[kind]
    neuron = make(v_reset=v_reset, detach_reset=detach, v_threshold=0.8)
    agree(neuron, drive(5, 3, 230, dtype=dtype), drive(3, 230, dtype=dtype) * 0.3)


@pytest.mark.parametrize("surrogate", FUSED)
def test_surrogates(surrogate):
    agree(LIF(v_threshold=0.7, surrogate=SURROGATES[surrogate](), detach_reset=False), drive(4, 2, 300))


@pytest.mark.parametrize("steps", [1, 4, 20])
@pytest.mark.parametrize("layout", ["contiguous", "channels_last", "transposed", "expanded", "every_second"])
def test_layouts_and_lengths(layout, steps):
    agree(LIF(v_threshold=0.7, surrogate=ATan()), laid_out(drive(steps, 2, 3, 8, 5), layout))


@pytest.mark.parametrize("v_reset", [0.0, -0.1, None])
@pytest.mark.parametrize("decay_input", [True, False])
def test_trained_constants(decay_input, v_reset):
    theta = nn.Parameter(torch.linspace(0.4, 0.9, 5, dtype=torch.float64))
    neuron = ParametricLIF(
        v_threshold=theta, v_reset=v_reset, decay_input=decay_input, channels=5, detach_reset=False
    ).double()
    nn.init.uniform_(neuron.w, -0.5, 0.5)
    agree(neuron, drive(6, 3, 5, 40, dtype=torch.float64), drive(3, 5, 40, dtype=torch.float64) * 0.2)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_formats_are_storage_only(dtype):
    neuron, x = LIF(v_threshold=0.7), drive(4, 3, 100, dtype=dtype)
    out, _ = neuron.operator(x, None, neuron.constants(), neuron.surrogate, kernel="triton")
    assert out.dtype == dtype
    assert torch.equal(out, neuron(x.float()).to(dtype))


def test_it_is_the_first_choice_where_it_can_run():
    neuron = LIF()
    reasons = neuron.operator.explain(call := _call(neuron))
    assert next(iter(reasons)) == "triton"
    assert neuron.operator.choose("auto", call) is neuron.operator.kernels["triton"]


def _call(neuron):
    from snnkit.kernels.call import Call

    return Call(torch.zeros(2, 1, 3), (None,), (0.0,), neuron.constants(), (), neuron.surrogate)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("detach", [True, False])
@pytest.mark.parametrize("levels", [1, 4, 255])
def test_integer_lif(levels, detach, dtype):
    neuron = ILIF(1.7, 0.8, levels, detach_reset=detach)
    x = drive(5, 3, 230, dtype=dtype) * (1.0 if levels < 9 else 40.0)
    agree(neuron, x, drive(3, 230, dtype=dtype) * 0.3, 1e-4 if levels > 9 and dtype == torch.float32 else None)


def test_integer_lif_rounds_halves_to_even_and_opens_at_both_ends():
    x = torch.tensor([-1.0, 0.0, 0.5, 1.5, 2.5, 3.5, 4.0, 4.25, 9.0], dtype=torch.float64)[None, None]
    for dtype in (torch.float32, torch.float64):
        agree(ILIF(kernel="triton"), x.to(dtype))
        assert ILIF(kernel="triton")(x.to(dtype)).flatten().tolist() == [0, 0, 0, 2, 2, 4, 4, 4, 4]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("detach", [True, False])
@pytest.mark.parametrize("v_reset", [0.0, -0.2, None, NO_RESET])
def test_current_based_lif(v_reset, detach, dtype):
    neuron = CuBaLIF(0.3, 0.15, 0.8, v_reset, detach_reset=detach, surrogate=ATan())
    agree(neuron, drive(5, 3, 230, dtype=dtype), (drive(3, 230, dtype=dtype) * 0.3, drive(3, 230, dtype=dtype) * 0.1))


@pytest.mark.parametrize("surrogate", FUSED)
def test_surrogates_of_the_current_based_lif(surrogate):
    agree(CuBaLIF(v_threshold=0.7, surrogate=SURROGATES[surrogate](), detach_reset=False), drive(4, 2, 300))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("exponent", [0, 2, 30, None])
@pytest.mark.parametrize(("low", "high"), [(0, 15), (-4, 3)])
def test_tracer(low, high, exponent, dtype):
    neuron, x = Tracer(0.3, low, high, exponent), drive(6, 3, 230, dtype=dtype)
    total = torch.randint(low, high + 1, (3, 230), generator=torch.Generator().manual_seed(1)).to(dtype)
    agree(neuron, x, (drive(3, 230, dtype=dtype), total))


def test_tracer_just_below_and_at_a_power_of_two():
    for dtype in (torch.float32, torch.float64):
        for k in range(1, 24):
            x = torch.tensor([[2.0**k - 1, 2.0**k, 1 - 2.0**k]], dtype=dtype)
            sent = Tracer(1.0, -(2**24), 2**24, 30, kernel="triton")(x).flatten().tolist()
            assert sent == [2.0 ** (k - 1), 2.0**k, -(2.0 ** (k - 1))], k


# The tracer's scale is a power of two because the interpreter cuts to bfloat16 where a GPU rounds.
MORE = {"ILIF": lambda: ILIF(1.7, 0.7), "CuBaLIF": lambda: CuBaLIF(), "Tracer": lambda: Tracer(0.25, -4, 3, 1)}


@pytest.mark.parametrize("steps", [1, 4, 9])
@pytest.mark.parametrize("layout", ["contiguous", "channels_last", "transposed", "expanded", "every_second"])
@pytest.mark.parametrize("name", MORE)
def test_layouts_and_lengths_of_the_others(name, layout, steps):
    x = laid_out(drive(steps, 2, 3, 8, 5), layout)
    agree(MORE[name](), x)
    out, _ = MORE[name]().operator(x, None, MORE[name]().constants(), MORE[name]().surrogate, kernel="triton")
    if layout in ("contiguous", "channels_last", "transposed"):
        assert out.stride() == x.stride(), "the result lies in memory as the input does"


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", MORE)
def test_half_formats_of_the_others(name, dtype):
    neuron, x = MORE[name](), drive(4, 3, 100, dtype=dtype).requires_grad_()
    out, last = neuron.operator(x, None, neuron.constants(), neuron.surrogate, kernel="triton")
    assert last[0].dtype == torch.float32
    assert torch.equal(out, neuron(x.float()).to(dtype))
    grad = torch.autograd.grad(out.sum(), x)[0]
    full = x.detach().float().requires_grad_()
    expected = torch.autograd.grad(neuron(full).sum(), full)[0]
    torch.testing.assert_close(grad.float(), expected, rtol=torch.finfo(dtype).eps, atol=torch.finfo(dtype).eps)


@pytest.mark.parametrize("name", MORE)
def test_the_others_are_the_first_choice_too_and_streams_agree(name):
    import snnkit

    neuron, x = MORE[name](), drive(5, 2, 40)
    assert neuron.operator._fastest_first[0] == "triton"
    expected = MORE[name]()
    expected.kernel = "reference"
    stream = snnkit.Stream(neuron)
    assert torch.equal(torch.stack([stream.step(x_t) for x_t in x]), expected(x))


def by_codes(neuron, x, start, weight, weight_last):
    """Gradients to x and the start as ``code8_tables`` defines them: everything is read from the code of h − θ."""
    slopes, levels, width = code8_tables(neuron.surrogate)
    theta, v, kept, rest = neuron.v_threshold, start, [], neuron.operator.rest(neuron.constants())[0]
    plain = getattr(neuron, "decay_input", None)
    decay = 0.0 if plain is None else 1.0 / neuron.tau
    for x_t in x:
        h = (
            v + x_t
            if plain is None
            else v + (x_t - (v - rest)) / neuron.tau
            if plain
            else v - (v - rest) / neuron.tau + x_t
        )
        cell = ((h - theta).abs() / ((h - theta).abs() + width) * 128).floor().clamp(max=127).long()
        kept.append(torch.where(h >= theta, 128 + cell, 127 - cell))
        v = reset(h, (h >= theta).to(h.dtype), theta, neuron.v_reset)
    gv, grads = weight_last, []
    for code, gs in zip(reversed(kept), weight.flip(0), strict=True):
        slope, h, fired = slopes[code].to(x.dtype), theta + levels[code].to(x.dtype), code >= 128
        hard = neuron.v_reset is not None and neuron.v_reset != NO_RESET
        through = 1.0 - fired.to(x.dtype) if hard else torch.ones_like(h)
        if not neuron.detach_reset and neuron.v_reset != NO_RESET:
            through = through + ((neuron.v_reset - h) if hard else -theta) * slope
        gh = gs * slope + gv * through
        grads.append(gh * decay if plain else gh)
        gv = gh * (1.0 - decay)
    return torch.stack(grads[::-1]), gv


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("detach", [True, False])
@pytest.mark.parametrize("v_reset", [0.0, -0.2, None, NO_RESET])
def test_a_byte_a_step_is_read_as_it_is_defined(v_reset, detach, dtype):
    for make in (IF, LIF, lambda **k: LIF(1.7, decay_input=False, **k)):
        neuron = make(v_reset=v_reset, v_threshold=0.8, detach_reset=detach, surrogate=ATan(), save="code8")
        x, start = drive(6, 3, 230, dtype=dtype), drive(3, 230, dtype=dtype) * 0.3
        values, exact = results(neuron, "reference", x, start)
        got, grads = results(neuron, "triton", x, start, "code8")
        assert all(map(torch.equal, got, values))
        generator = torch.Generator().manual_seed(3)
        weights = [torch.randn(v.shape, generator=generator, dtype=dtype) for v in got]
        for a, b in zip(grads, by_codes(neuron, x, start, *weights), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5 if dtype == torch.float32 else 1e-7)
        assert 0 < (grads[0] - exact[0]).norm() < 0.05 * exact[0].norm()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_byte_a_step_for_half_formats(dtype):
    neuron, x = LIF(v_threshold=0.8, surrogate=ATan()), drive(6, 3, 230, dtype=dtype)
    (out, _), grads = results(neuron, "triton", x, None, "code8")
    (expected, _), exact = results(neuron, "triton", x, None)
    assert torch.equal(out, expected)
    assert grads[0].dtype == dtype
    assert 0 < (grads[0].float() - exact[0].float()).norm() < 0.05 * exact[0].float().norm()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("v_reset", [0.0, -0.2, None, NO_RESET])
@pytest.mark.parametrize("steps", [1, 4, 5, 9])
def test_two_bits_a_step_are_exact_for_the_rectangle(steps, v_reset, dtype):
    neuron = LIF(v_threshold=0.8, v_reset=v_reset, surrogate=SURROGATES["rect"](1.0))
    x, start = drive(steps, 3, 230, dtype=dtype), drive(3, 230, dtype=dtype) * 0.3
    values, gradients = results(neuron, "reference", x, start)
    got, grads = results(neuron, "triton", x, start, "rect")
    assert all(map(torch.equal, got, values))
    for a, b in zip(grads, gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=TOLERANCE[dtype])


@pytest.mark.parametrize("layout", ["channels_last", "transposed", "expanded", "every_second"])
@pytest.mark.parametrize("save", ["code8", "rect"])
def test_saved_bytes_in_any_layout(save, layout):
    rect = SURROGATES["rect"](1.0)
    neuron, x = LIF(v_threshold=0.7, surrogate=rect), drive(5, 2, 3, 8, 5)
    values, gradients = results(neuron, "reference", laid_out(x, layout), None)
    got, grads = results(neuron, "triton", laid_out(x, layout), None, save)
    assert all(map(torch.equal, got, values))
    if save == "rect":
        torch.testing.assert_close(grads[0], gradients[0], rtol=1e-5, atol=2e-6)
    else:
        assert (grads[0] - gradients[0]).norm() < 0.1 * gradients[0].norm()


def test_what_is_kept_for_the_backward():
    x = drive(9, 3, 230)
    kept = []
    for save, steps in (("code8", 9), ("rect", 3)):
        kept.clear()
        leaf = x.clone().requires_grad_()
        with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
            LIF(surrogate=SURROGATES["rect"](1.0), save=save, kernel="triton")(leaf)
        assert [(t.shape[0], t.dtype) for t in kept] == [(steps, torch.uint8)]
    with pytest.raises(InvalidArgumentError, match="detach_reset"):
        LIF(save="rect", kernel="triton", surrogate=SURROGATES["rect"](), detach_reset=False)(x.requires_grad_())


SPOILED = {
    **MORE,
    "IF": lambda: IF(v_threshold=0.8, v_reset=-0.3, detach_reset=False),
    "LIF": lambda: LIF(v_threshold=0.8),
    "soft": lambda: LIF(1.7, v_threshold=0.8, v_reset=None, detach_reset=False),
    "graded": lambda: Tracer(0.25, -4, 4, None),
    "ParametricLIF": lambda: ParametricLIF(1.7, v_threshold=0.8),
    **{name: lambda name=name: LIF(v_threshold=0.8, surrogate=SURROGATES[name]()) for name in FUSED},
}


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # the interpreter is numpy
@pytest.mark.parametrize("name", SPOILED)
def test_infinite_inputs_and_nan(name):
    neuron, x = SPOILED[name](), spoiled(drive(5, 2, 40))
    start = tuple(drive(2, 40) * 0.25 for _ in neuron.operator.state_names)
    expected = gradients_of(neuron, "reference", x, start)
    for got, wanted in zip(gradients_of(neuron, "triton", x, start), expected, strict=True):
        torch.testing.assert_close(got, wanted, rtol=2e-5, atol=2e-5, equal_nan=True)
