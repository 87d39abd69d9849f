"""Nothing that does not fit reaches a pointer: states, gradients, saved bytes and constants of every operator.

Would break it: a shape, dtype or device that is compared on one way in and not on another (the neuron, the operator
called by hand, its backward, a graph), and whatever a kernel would then read beyond the end of a tensor.
"""

from dataclasses import fields

import pytest
import torch
from support.neurons import point_examples

import snnkit
from snnkit.errors import InvalidArgumentError, SnnkitError
from snnkit.kernels import fused_c, native
from snnkit.layers.normed_neuron import NormedNeuron
from snnkit.neurons import IF, LIF, NO_RESET, OPERATORS, CuBaLIF, MultiSpike, ParametricLIF
from snnkit.surrogates import ATan, Rect

needs_c = pytest.mark.skipif(bool(native.why_not(fused_c.SOURCE)), reason="no C compiler")
T, B, N = 4, 2, 6
STATEFUL = {name: operator for name, operator in OPERATORS.items() if operator.state_names}
EXAMPLES = {make().operator.name: make for make in reversed(point_examples().values())}  # the first of each
EXAMPLES["multi_spike"] = MultiSpike


def fitting(operator, x):
    return [torch.zeros(x.shape[1:], dtype=x.dtype) for _ in operator.state_names]


def described(neuron, dtype=torch.float32):
    """The operator's arguments after the states."""
    p = neuron.constants()
    values = {f.name: getattr(p, f.name) for f in fields(p)}
    names = [name for name, value in values.items() if isinstance(value, torch.Tensor)]
    tensors = [values[name].detach().to(dtype) for name in names]
    constants = [0.0 if name in names else value for name, value in values.items()]
    return [*constants, tensors, ",".join(names), "sigmoid", [4.0], "exact", False, "auto"]


WRONG_STATES = {
    "a shorter one": (lambda v: v[:, :-1], "shape"),
    "one that would broadcast": (lambda v: v[:1], "shape"),
    "a number": (lambda v: v[0, 0], "shape"),
    "one more axis": (lambda v: v[None], "shape"),
    "an empty one": (lambda v: v[:0], "shape"),
    "half the bytes": (lambda v: v.to(torch.float16), "float16"),
    "twice the bytes": (lambda v: v.to(torch.float64), "float64"),
    "whole numbers": (lambda v: v.to(torch.int32), "int32"),
    "eight bits": (lambda v: v.to(torch.float8_e4m3fn), "float8"),
    "complex numbers": (lambda v: v.to(torch.complex64), "complex64"),
    "a sparse one": (lambda v: v.to_sparse(), "sparse"),
    "one without memory": (lambda v: v.to("meta"), "meta"),
}


@pytest.mark.parametrize("wrong", WRONG_STATES)
@pytest.mark.parametrize("name", STATEFUL)
def test_a_state_that_does_not_fit_is_named(name, wrong):
    operator, x, (change, word) = STATEFUL[name], torch.ones(T, B, N), WRONG_STATES[wrong]
    neuron = EXAMPLES[name]()
    p = operator.parameters(*(v if not isinstance(v, torch.Tensor) else 0.5 for v in vars(neuron.constants()).values()))
    registered = getattr(torch.ops.snnkit, name)
    arguments = described(neuron)
    arguments[len(operator.parameter_names) :][:2] = [[], ""]
    for place, called in enumerate(operator.state_names):
        state = fitting(operator, x)
        state[place] = change(state[place])
        words = rf"{name}: the state {called} is .*{word}.* this input takes torch.float32 of shape \(2, 6\) on cpu"
        with pytest.raises(InvalidArgumentError, match=words) as caught:
            operator(x, tuple(state), p, neuron.surrogate)
        assert "\n" not in str(caught.value)
        with pytest.raises(InvalidArgumentError, match=words):
            registered(x, *state, *arguments)


WRONG_INPUTS = {
    "no steps": torch.zeros(0, B, N),
    "no axes": torch.tensor(1.0),
    "eight bits": torch.zeros(T, B, N).to(torch.float8_e5m2),
    "whole numbers": torch.zeros(T, B, N, dtype=torch.int64),
    "truth": torch.zeros(T, B, N, dtype=torch.bool),
    "complex numbers": torch.zeros(T, B, N, dtype=torch.complex64),
    "a sparse one": torch.zeros(T, B, N).to_sparse(),
}


@pytest.mark.parametrize("wrong", WRONG_INPUTS)
@pytest.mark.parametrize("name", OPERATORS)
def test_an_input_that_is_no_sequence_is_named(name, wrong):
    operator, neuron, x = OPERATORS[name], EXAMPLES[name](), WRONG_INPUTS[wrong]
    rest = [None] * len(operator.state_names)
    with pytest.raises(InvalidArgumentError, match="takes") as caught:
        neuron(x)
    assert "\n" not in str(caught.value)
    for run in (
        lambda: operator(x, None, neuron.constants(), neuron.surrogate),
        lambda: getattr(torch.ops.snnkit, name)(x, *rest, *described(neuron)),
    ):
        with pytest.raises(InvalidArgumentError, match=rf"{name} takes a dense sequence") as caught:
            run()
        assert "\n" not in str(caught.value)


def test_the_wrong_number_of_states_is_named():
    neuron, x = CuBaLIF(), torch.ones(T, B, N)
    with pytest.raises(InvalidArgumentError, match=r"cuba_lif takes 2 states \(v, i\), got 1"):
        neuron.operator(x, (torch.zeros(B, N),), neuron.constants(), neuron.surrogate)


@pytest.mark.parametrize("kernel", [pytest.param("c", marks=needs_c), "numba", "reference"])
def test_every_kernel_is_behind_the_same_check(kernel):
    for make in (IF, LIF, ParametricLIF):
        neuron = make(kernel=kernel)
        p = neuron.operator.prepare(neuron.constants(), neuron.surrogate, kernel)
        with pytest.raises(InvalidArgumentError, match="the state v is"):
            neuron.operator.run(torch.ones(T, B, N), (torch.zeros(B, 3),), p)
        with pytest.raises(InvalidArgumentError, match="T ≥ 1"):
            neuron.operator.run(torch.ones(0, B, N), None, p)


@pytest.mark.parametrize(
    "value", [torch.ones(3), torch.ones(3, 1), torch.ones(1, 1, 1), torch.ones(6).to(torch.complex64)]
)
def test_a_constant_that_does_not_fit_is_named(value):
    neuron, x = ParametricLIF(), torch.ones(T, B, N)
    p = type(neuron.constants())(**{**vars(neuron.constants()), "v_threshold": value})
    arguments = described(neuron)
    names = [f.name for f in fields(p)]
    arguments[len(names)], arguments[len(names) + 1] = [value], "v_threshold"
    words = "the constant v_threshold is .* broadcast to a step"
    with pytest.raises(InvalidArgumentError, match=words):
        neuron.operator(x, None, p, neuron.surrogate)
    with pytest.raises(InvalidArgumentError, match=words):
        torch.ops.snnkit.parametric_lif(x, None, *arguments)


@pytest.mark.parametrize("names", ["v_threshold", "wheight", "tau,v_threshold"])
def test_names_of_constants_and_their_tensors_belong_together(names):
    arguments = described(LIF())
    arguments[6] = names
    with pytest.raises(InvalidArgumentError, match="must name one constant for each of the 0 tensors"):
        torch.ops.snnkit.lif(torch.ones(T, B, N), None, *arguments)


def backward(save="exact", **changes):
    """The backward of LIF as an operator, with one argument changed."""
    surrogate = Rect() if save == "rect" else ATan()
    neuron, x = LIF(surrogate=surrogate), torch.ones(T, B, N)
    rows = {"exact": 0, "code8": T, "rect": 1}[save]
    given = {
        "x": x if save == "exact" else None,
        "saved": torch.zeros(rows, B, N, dtype=torch.uint8) if rows else None,
        "grad_out": torch.ones(T, B, N),
        "grad_v": torch.zeros(B, N),
        "v": torch.zeros(B, N),
    }
    arguments = described(neuron)
    arguments[-5:-1] = [surrogate.name, [surrogate.alpha], save, True]
    return torch.ops.snnkit.lif_backward(*{**given, **changes}.values(), *arguments)


WRONG_BACKWARD = {
    "another input": ("exact", {"x": torch.ones(T, B, 3)}, "backward of lif got an input"),
    "more steps": ("exact", {"x": torch.ones(T + 1, B, N)}, "backward of lif got an input"),
    "an input of other bytes": ("exact", {"x": torch.ones(T, B, N).bfloat16()}, "backward of lif got an input"),
    "no input": ("exact", {"x": None}, "backward of lif got no input"),
    "a short gradient of the state": ("exact", {"grad_v": torch.zeros(B, 3)}, "the state v"),
    "a gradient of other bytes": ("exact", {"grad_v": torch.zeros(B, N).half()}, "the state v"),
    "a short state": ("exact", {"v": torch.zeros(1, N)}, "the state v"),
    "a gradient of no steps": ("exact", {"grad_out": torch.ones(0, B, N)}, "takes a dense sequence"),
    "no bytes": ("code8", {"saved": None}, "got nothing"),
    "too few bytes": ("code8", {"saved": torch.zeros(T - 1, B, N, dtype=torch.uint8)}, "that its forward kept"),
    "bytes of floats": ("code8", {"saved": torch.zeros(T, B, N)}, "that its forward kept"),
    "bytes of one step": (
        "code8",
        {"saved": torch.zeros(1, B, N, dtype=torch.uint8).expand(T, B, N)},
        "that its forward kept",
    ),
    "bytes of one neuron": (
        "code8",
        {"saved": torch.zeros(T, B, 1, dtype=torch.uint8).expand(T, B, N)},
        "that its forward kept",
    ),
    "every second byte": (
        "code8",
        {"saved": torch.zeros(T, B, 2 * N, dtype=torch.uint8)[..., ::2]},
        "that its forward kept",
    ),
    "too many bits": ("rect", {"saved": torch.zeros(T, B, N, dtype=torch.uint8)}, "that its forward kept"),
}


@pytest.mark.parametrize("save", ["exact", pytest.param("code8", marks=needs_c), pytest.param("rect", marks=needs_c)])
def test_a_backward_that_fits_runs(save):
    grad_x, grad_v = backward(save)
    assert grad_x.shape == (T, B, N)
    assert grad_v.shape == (B, N)


@pytest.mark.parametrize("wrong", WRONG_BACKWARD)
def test_a_backward_that_does_not_fit_is_named(wrong):
    save, changes, words = WRONG_BACKWARD[wrong]
    with pytest.raises(InvalidArgumentError, match=words) as caught:
        backward(save, **changes)
    assert "\n" not in str(caught.value)


@needs_c
@pytest.mark.parametrize(
    ("save", "unpack"),
    [
        ("exact", lambda kept: kept.bfloat16()),
        ("exact", lambda kept: kept[:, :, :3]),
        ("code8", lambda kept: kept[:1].expand_as(kept) if kept.dtype == torch.uint8 else kept),
    ],
)
def test_hooks_on_saved_tensors_cannot_shorten_them(save, unpack):
    x = torch.ones(T, B, N, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda kept: kept, unpack):
        out = LIF(surrogate=ATan(), save=save)(x)
    with pytest.raises(InvalidArgumentError, match="the backward of LIF"):
        out.sum().backward()


@needs_c
def test_a_hook_may_move_what_was_saved():
    """To the CPU and back, as ``save_on_cpu`` does: contiguous, whatever it was."""
    x = torch.randn(T, B, 3, 4, 5).to(memory_format=torch.preserve_format)
    x = x.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)
    neuron, gradients = LIF(surrogate=ATan(), save="code8"), []
    for unpack in (lambda kept: kept, lambda kept: kept.contiguous()):
        leaf = x.clone().requires_grad_()
        with torch.autograd.graph.saved_tensors_hooks(lambda kept: kept, unpack):
            out = neuron(leaf)
        out.sum().backward()
        gradients.append(leaf.grad)
    assert torch.equal(*gradients)


def test_the_state_of_a_stream_of_half_floats_is_float32():
    stream = snnkit.Stream(LIF())
    stream.step(torch.ones(B, N, dtype=torch.float16))
    assert stream.state["v"].dtype == torch.float32


@pytest.mark.parametrize("shape", [(T, 0, N), (T, B, 0), (T, 0)])
@pytest.mark.parametrize("name", OPERATORS)
def test_no_samples_are_no_error(name, shape):
    neuron = EXAMPLES[name]()
    if any(isinstance(value, torch.Tensor) and value.ndim for value in vars(neuron.constants()).values()):
        pytest.skip("has channels")
    x = torch.zeros(shape, requires_grad=True)
    out = neuron(x)
    assert out.shape == shape
    out.sum().backward()
    assert x.grad.shape == shape


@pytest.mark.parametrize("kernel", [pytest.param("c", marks=needs_c), "numba", "reference"])
def test_a_view_that_is_negated_when_read_is_read_negated(kernel):
    x = torch.randn(T, B, N)
    turned = torch._neg_view(x)
    assert turned.is_neg()
    assert torch.equal(LIF(kernel=kernel)(turned), LIF(kernel=kernel)(-x))
    neuron, v = LIF(v_reset=NO_RESET, kernel=kernel), torch.rand(B, N)
    p = neuron.operator.prepare(neuron.constants(), neuron.surrogate, kernel)
    got, expected = (neuron.operator.run(x, (start,), p)[1][0] for start in (torch._neg_view(v), -v))
    assert torch.equal(got, expected)


@needs_c
def test_a_norm_before_the_neuron_is_behind_the_same_check():
    neuron = LIF()
    given = neuron.operator.prepare(neuron.constants(), neuron.surrogate)
    norm = (torch.ones(N), torch.zeros(N))
    with torch.no_grad():
        for x, state in ((torch.ones(0, B, N), None), (torch.ones(T, B, N), (torch.zeros(B, 3),))):
            with pytest.raises(InvalidArgumentError):
                neuron.operator.run_normed(x, state, given, norm)
        normed = NormedNeuron(torch.nn.BatchNorm1d(3).eval(), neuron)
        with pytest.raises(InvalidArgumentError, match="the scale of the norm"):
            normed(torch.ones(T, B, N))


@needs_c
def test_more_steps_than_memory_is_an_error(monkeypatch):
    """2⁴⁰ steps: nothing is touched, since there is no room for their membranes."""
    real = fused_c._SETTING.pack
    library, x = fused_c._library(), torch.ones(T, B, N, requires_grad=True)
    neuron = LIF(kernel="c")
    out = neuron(x)
    packed = real(1 << 40, B * N, 0, 0, 0, 1, 0, 0, 0, 2.0, 1.0, 0.0, 4.0, 0.0)
    assert library.snnkit_cfr_backward(packed, bytes(fused_c._ARRAYS.size), 0, B * N) == 1
    monkeypatch.setattr(fused_c, "_setting", lambda *arguments: packed)
    with pytest.raises(SnnkitError, match="no memory for the membranes"):
        out.sum().backward()
