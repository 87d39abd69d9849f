"""Every operation in small: what it reads and with which attributes. Tests of rules run over all of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor

from compiler.capturing import capture
from compiler.graph import BINARY, REAL, SIGNED, GraphBuilder, Node, SignalType
from compiler.graph.operation import operation
from compiler.graph.signals import integer
from snnkit.neurons import ILIF, NEURONS, MultiSpike, PointNeuron, TernaryLIF, Tracer

Shape = tuple[int, ...]
ANY = None


@dataclass(frozen=True)
class Case:
    """One node: operation, shapes of one sample, attributes, parameters.

    ``types`` fixes what an input must be (positions, for instance); ``ANY`` leaves it open. ``rest``: a neuron's states
    before the first step.
    """

    op: str
    shapes: tuple[Shape, ...]
    attributes: dict[str, Any] = field(default_factory=dict)
    parameters: dict[str, Tensor] = field(default_factory=dict)
    types: tuple[SignalType | None, ...] = ()
    label: str = ""
    rest: tuple[float, ...] = ()

    def __str__(self) -> str:
        return f"{self.op} {self.label}".strip()

    def fixed(self, index: int) -> SignalType | None:
        """The type that an input must have, None where any will do."""
        return self.types[index] if index < len(self.types) else ANY

    @property
    def free(self) -> int:
        """How many inputs may be of any type."""
        return sum(self.fixed(index) is ANY for index in range(len(self.shapes)))

    def typed(self, kinds: list[SignalType]) -> tuple[SignalType, ...]:
        """Types for all inputs: those that must be, else those given."""
        return tuple(self.fixed(i) or kinds[i % len(kinds)] for i in range(len(self.shapes)))

    def node(self, kinds: tuple[SignalType, ...], dtype: torch.dtype = torch.float64) -> tuple[Node, GraphBuilder]:
        """The node with inputs of these types, in a builder that has typed its output."""
        builder = GraphBuilder()
        names = [builder.input(f"x{i}", shape, kinds[i]) for i, shape in enumerate(self.shapes)]
        parameters = {k: v.to(dtype) if v.is_floating_point() else v for k, v in self.parameters.items()}
        outputs = tuple(f"y{i}" for i in range(1 + len(self.rest)))
        builder.append(Node("node", self.op, tuple(names), outputs, self.attributes, parameters))
        return builder.nodes[-1], builder


def draw(kind: SignalType, shape: Shape, generator: torch.Generator, dtype: torch.dtype = torch.float64) -> Tensor:
    """Random values of a type."""
    if not kind.is_event:
        return torch.randn(shape, generator=generator).to(dtype)
    levels = torch.arange(kind.low, kind.high + 1)
    if kind.kind == "pow2":
        levels = torch.tensor([n for n in levels.tolist() if abs(n).bit_count() <= 1])
    chosen = levels[torch.randint(len(levels), shape, generator=generator)]
    return (chosen.double() * kind.scale.numerator / kind.scale.denominator).to(dtype)


def runs(
    case: Case, node: Node, kinds: tuple[SignalType, ...], batch: int, seed: int, dtype: torch.dtype = torch.float64
) -> list[tuple[list[Tensor], tuple[Tensor, ...]]]:
    """Inputs and results of a node on random values of its types; a neuron takes several steps from rest."""
    generator = torch.Generator().manual_seed(seed)
    shapes = case.shapes[len(case.shapes) - len(case.rest) :]
    state = [torch.full((batch, *s), r, dtype=dtype) for s, r in zip(shapes, case.rest, strict=True)]
    found = []
    for _ in range(5 if state else 1):
        values = [draw(k, (batch, *s), generator, dtype) for k, s in zip(kinds, case.shapes, strict=True)]
        values = [*values[: len(values) - len(state)], *state]
        results = operation(case.op).run(node, *values)
        state = list(results[1:])
        found.append((values, results))
    return found


def lies_in(value: Tensor, kind: SignalType, tolerance: float = 1e-9) -> bool:
    """Whether every value is a level of the type, but for the rounding of floats."""
    if not kind.is_event:
        return True
    levels = value.double() / float(kind.scale)
    whole = levels.round()
    near = (levels - whole).abs() <= tolerance * whole.abs().clamp(min=1)
    inside = (kind.low <= whole) & (whole <= kind.high)
    powers = kind.kind != "pow2" or all(abs(int(n)).bit_count() <= 1 for n in whole.unique().tolist())
    return bool(near.all() and inside.all() and powers)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


TYPES = {
    str(kind): kind
    for kind in (
        REAL,
        BINARY,
        SIGNED,
        BINARY.scaled(Fraction(1, 3)),
        SIGNED.scaled(Fraction(3, 2)),
        integer(0, 4, Fraction(1, 4)),
        integer(-3, 2),
        integer(2, 5, Fraction(1, 9)),
        integer(-4, -1, Fraction(1, 3)),
        integer(0, 0),
        integer(1, 1, Fraction(1, 10)),
        SignalType("pow2", -4, 4),
        SignalType("pow2", 0, 8, Fraction(1, 8)),
    )
}


def _conv(label: str, sample: Shape, weight: Shape, stride: Any = 1, padding: Any = 0, **more: Any) -> Case:
    rank = len(weight) - 2

    def each(value: Any) -> tuple[int, ...]:
        return value if isinstance(value, tuple) else (value,) * rank

    attributes = {
        "stride": each(stride),
        "padding": each(padding),
        "dilation": each(more.get("dilation", 1)),
        "groups": more.get("groups", 1),
    }
    op, channels = "conv", weight[0]
    if "output_padding" in more:
        op, channels = "conv_transpose", weight[1] * attributes["groups"]
        attributes["output_padding"] = each(more["output_padding"])
    bias = {"bias": random(channels, seed=1)} if more.get("bias", True) else {}
    return Case(op, (sample,), attributes, {"weight": random(*weight), **bias}, label=label)


def _pool(label: str, sample: Shape, kernel: Shape, stride: Shape, padding: Shape | None = None, **more: Any) -> Case:
    none = (0,) * len(kernel)
    attributes = {
        "kernel_size": kernel,
        "stride": stride,
        "padding": padding or none,
        "ceil_mode": more.get("ceil_mode", False),
        "count_include_pad": more.get("count_include_pad", True),
        "divisor": more.get("divisor", 0),
    }
    return Case("avg_pool", (sample,), attributes, label=label)


def _max_pool(label: str, sample: Shape, kernel: Shape, stride: Shape, padding: Shape, dilation: Shape) -> Case:
    settings = {"kernel_size": kernel, "stride": stride, "padding": padding, "dilation": dilation}
    return Case("max_pool", (sample,), {**settings, "ceil_mode": len(kernel) == 1}, label=label)


def _neurons() -> list[Case]:
    """Every dynamics, and some again with other levels; the current is real."""
    modules = [cls() for cls in NEURONS if issubclass(cls, PointNeuron) and cls is not Tracer]
    modules += [ILIF(levels=3), MultiSpike(), MultiSpike(levels=6, divisor=3.0), TernaryLIF(v_threshold=0.3)]
    modules += [Tracer(0.5, low=-1.0, high=2.0)]
    cases, seen = [], set()
    for module in modules:
        graph = capture(module, torch.zeros(2, 1, 5))
        node = next(n for n in graph if operation(n.op).kind == "neuron")
        rest = tuple(float(state.initial) for state in graph.states)
        label = repr(module) if node.op in seen else ""
        seen.add(node.op)
        shapes = ((5,),) * len(node.inputs)
        types = (ANY, *[REAL] * (len(shapes) - 1))
        cases.append(Case(node.op, shapes, dict(node.attributes), dict(node.parameters), types, label, rest))
    return cases


def _resize(mode: str, sample: Shape, size: Shape) -> Case:
    attributes = {"mode": mode, "size": size, "scales": (0.0,) * len(size), "align_corners": False}
    return Case("resize", (sample,), attributes, label=mode)


_VECTOR, _IMAGE, _TOKENS = (6,), (4, 5, 6), (3, 4)
_ACTIVATIONS: dict[str, dict[str, Any]] = {
    "relu": {},
    "leaky_relu": {"negative_slope": 0.01},
    "gelu": {"approximate": "none"},
    "silu": {},
    "mish": {},
    "sigmoid": {},
    "tanh": {},
    "elu": {"alpha": 1.0},
    "selu": {},
    "softplus": {"beta": 1, "threshold": 20},
    "hardsigmoid": {},
    "hardswish": {},
    "erf": {},
}
_FUNCTIONS = ("neg", "abs", "sign", "exp", "log", "sqrt", "rsqrt", "reciprocal", "sin", "cos", "floor", "ceil", "round")
_POSITION = integer(0, 2)
_UNFOLD = {"kernel_size": (2, 3), "dilation": (1, 1), "padding": (0, 1), "stride": (1, 2)}
_STATISTICS = {"mean": random(4, seed=2), "variance": random(4, seed=3).abs() + 0.5}
_AFFINE = {"weight": random(4, seed=4), "bias": random(4, seed=5)}
_ROWS = {
    "weight": random(3, 6).mul(4).round(),
    "threshold": torch.tensor([3.0, 5.0, 7.0]),
    "source": torch.tensor([4.0, 0.0, 1.0, 1.0, 5.0, -1.0]),
}

CASES: tuple[Case, ...] = (
    # Layers with weights.
    _conv("1-D", (4, 9), (6, 4, 3), 2, 1),
    _conv("plain", _IMAGE, (6, 4, 3, 3), bias=False),
    _conv("padded and strided", _IMAGE, (6, 4, 3, 3), 2, 1),
    _conv("groups", _IMAGE, (6, 2, 3, 2), (1, 2), (2, 0), groups=2),
    _conv("depthwise, dilated", (4, 7, 7), (4, 1, 3, 3), 2, 2, dilation=2, groups=4),
    _conv("stride beyond the kernel", (4, 7, 7), (3, 4, 2, 2), 3),
    _conv("several images a sample", (2, *_IMAGE), (3, 4, 3, 3), 1, 1),
    _conv("3-D", (2, 4, 5, 4), (3, 2, 2, 3, 2), (2, 1, 1), (1, 0, 1)),
    _conv("1-D", (4, 5), (4, 3, 3), 2, 1, output_padding=1),
    _conv("2-D", (4, 3, 4), (4, 3, 3, 2), (2, 1), (1, 0), output_padding=(1, 0)),
    _conv("grouped, dilated", (4, 3, 4), (4, 3, 2, 2), 2, 1, output_padding=0, dilation=2, groups=2),
    Case("linear", (_VECTOR,), {}, {"weight": random(5, 6), "bias": random(5)}),
    Case("linear", ((2, 3, 6),), {}, {"weight": random(5, 6)}, label="on tokens"),
    Case("scale", (_IMAGE,), {}, {"weight": torch.tensor(0.25)}, label="by a number"),
    Case("scale", (_IMAGE,), {}, {"weight": random(4, 1, 1)}, label="a channel each"),
    Case("scale", ((1, 5),), {}, {"weight": random(3, 4, 1)}, label="that spreads its input"),
    Case("scale", (_TOKENS,), {}, {"weight": torch.tensor([0.0, 1.0, 0.0, 1.0])}, label="by a mask"),
    Case("scale", (_TOKENS,), {}, {"weight": torch.tensor([[-0.5], [0.5], [0.0]])}, label="by signs"),
    Case("scale", (_TOKENS,), {}, {"weight": torch.tensor([-2.0, 3.0, 0.0, 1.0])}, label="by whole numbers"),
    Case("batch_norm", (_IMAGE,), {"eps": 1e-5, "axis": -3}, {**_STATISTICS, **_AFFINE}),
    Case("batch_norm", (_TOKENS,), {"eps": 1e-5, "axis": -1}, _STATISTICS, label="of tokens"),
    # Products of signals.
    Case("matmul", ((3, 4), (4, 5))),
    Case("matmul", ((2, 3, 4), (2, 4, 5)), label="heads"),
    Case("matmul", ((2, 3, 4), (4, 5)), label="broadcast"),
    Case("matmul", ((1, 3, 4), (2, 4, 5)), label="broadcast heads"),
    Case("matmul", ((3, 1), (1, 5)), label="outer"),
    Case("einsum", ((3, 4), (4, 5)), {"equation": "ij,jk->ik"}),
    Case("einsum", ((2, 3, 4), (2, 5, 4)), {"equation": "hid,hjd->hij"}, label="heads"),
    Case("einsum", ((3, 4), (4,), (3,)), {"equation": "ij,j,i->j"}, label="of three"),
    Case("einsum", ((3, 4), (5,)), {"equation": "ij,k->k"}, label="own letters"),
    Case("einsum", ((3, 4),), {"equation": "ij->j"}, label="sum"),
    Case("einsum", ((3, 4),), {"equation": "ij->ji"}, label="transposition"),
    Case("attention", ((2, 3, 4), (2, 5, 4), (2, 5, 6)), {"scale": 0.5, "causal": False}),
    Case("attention", ((3, 4), (3, 4), (3, 4), (3, 3)), {"scale": 1.0, "causal": False}, label="mask"),
    Case("attention", ((2, 3, 4), (1, 5, 4), (1, 5, 6)), {"scale": 0.5, "causal": False}, label="shared keys"),
    Case("mul", (_TOKENS, _TOKENS)),
    Case("mul", (_TOKENS, (4,)), label="broadcast"),
    Case("mul", ((3, 1), (1, 4)), label="outer"),
    Case("div", (_TOKENS, _TOKENS)),
    Case("div", (_TOKENS, ()), types=(ANY, integer(9, 9)), label="by a number"),
    # Sums and choices.
    Case("add", (_TOKENS, _TOKENS)),
    Case("add", (_TOKENS, (4,)), label="broadcast"),
    Case("sub", (_TOKENS, (3, 1))),
    Case("maximum", (_TOKENS, _TOKENS)),
    Case("minimum", (_TOKENS, (4,))),
    Case("where", (_TOKENS, _TOKENS, ()), types=(BINARY, ANY, ANY)),
    *(Case(name, (_TOKENS, _TOKENS)) for name in ("ge", "gt", "le", "lt", "eq", "ne")),
    *(Case(name, (_TOKENS, _TOKENS), types=(BINARY, BINARY)) for name in ("logical_and", "logical_or")),
    Case("logical_not", (_TOKENS,), types=(BINARY,)),
    Case("cast", (_TOKENS,), {"to": "bool"}, label="to bool"),
    Case("cast", (_TOKENS,), {"to": "int"}, label="to int"),
    Case("cast", (_TOKENS,), {"to": "float"}, {"like": torch.zeros((), dtype=torch.float64)}, label="to float"),
    # Functions of one value.
    *(Case(name, (_TOKENS,), attributes) for name, attributes in _ACTIVATIONS.items()),
    Case("clamp", (_TOKENS,), {"low": 0.0, "high": float("inf")}, label="from 0"),
    Case("clamp", (_TOKENS,), {"low": -0.5, "high": 0.75}, label="between"),
    Case("clamp", (_TOKENS,), {"low": 7.0, "high": 9}, label="beyond"),
    Case("clamp", (_TOKENS,), {"low": 0.3, "high": -0.2}, label="crossed"),
    *(Case(name, (_TOKENS,)) for name in (*_FUNCTIONS, "trunc", "isnan")),
    *(Case("pow", (_TOKENS,), {"exponent": e}, label=str(e)) for e in (0, 1, 2, 3, 4, -1, 0.5, -0.5, 1.5)),
    Case("power_of", (_TOKENS,), {"base": 2}),
    # Pools and reductions.
    _pool("plain", (3, 4, 6), (2, 3), (2, 3)),
    _pool("overlapping, padded", (3, 5, 5), (3, 3), (2, 2), (1, 1)),
    _pool("padding not counted", (3, 5, 5), (3, 3), (2, 2), (1, 1), count_include_pad=False),
    _pool("ceil", (3, 5, 6), (2, 4), (2, 3), ceil_mode=True),
    _pool("ceil, padded", (3, 6, 5), (3, 3), (2, 2), (1, 1), ceil_mode=True),
    _pool("sum", (3, 4, 4), (2, 2), (2, 2), divisor=1),
    _pool("sum, padded", (3, 4, 4), (3, 2), (2, 2), (1, 0), divisor=4),
    _pool("1-D", (3, 7), (3,), (2,), (1,)),
    _pool("3-D", (2, 4, 4, 4), (2, 2, 2), (2, 2, 2)),
    _max_pool("plain", (3, 4, 6), (2, 2), (2, 2), (0, 0), (1, 1)),
    _max_pool("padded, dilated", (3, 6, 6), (3, 2), (2, 1), (1, 0), (1, 2)),
    _max_pool("1-D, ceil", (3, 6), (3,), (2,), (1,), (1,)),
    Case("adaptive_avg_pool", ((3, 5, 7),), {"output_size": (2, 3)}),
    Case("adaptive_avg_pool", ((3, 8),), {"output_size": (2,)}, label="1-D"),
    Case("adaptive_max_pool", ((3, 5, 7),), {"output_size": (2, 3)}),
    *(Case(name, (_IMAGE,), {"axes": (-2, -1), "keepdim": True}) for name in ("sum", "mean", "max", "min")),
    *(Case(name, (_IMAGE,), {"axes": (-3,), "keepdim": False}, label="channels") for name in ("sum", "mean", "max")),
    Case("var", (_TOKENS,), {"axes": (-1,), "keepdim": True, "correction": 1}),
    *(Case("norm", (_TOKENS,), {"order": o, "axes": (-1,), "keepdim": True}, label=str(o)) for o in (1, 2, 3, 0)),
    Case("norm", (_TOKENS,), {"order": float("inf"), "axes": (-2, -1), "keepdim": False}, label="largest"),
    Case("cumsum", (_TOKENS,), {"axis": -1}),
    Case("argmax", (_TOKENS,), {"axis": -1}),
    Case("argsort", (_TOKENS,), {"axis": -1, "descending": False, "stable": True}),
    _resize("nearest", (2, 3, 4), (6, 8)),
    _resize("bilinear", (2, 3, 4), (6, 8)),
    _resize("linear", (2, 3), (6,)),
    Case("unfold", (_IMAGE,), _UNFOLD),
    Case("fold", ((24, 12),), {**_UNFOLD, "output_size": (5, 6)}),
    Case("windows", (_TOKENS,), {"axis": -1, "size": 2, "step": 1}),
    # Norms.
    Case("layer_norm", (_TOKENS,), {"axes": 1, "eps": 1e-5}, _AFFINE),
    Case("layer_norm", (_TOKENS,), {"axes": 2, "eps": 1e-5}, label="bare"),
    Case("rms_norm", (_TOKENS,), {"axes": 1, "eps": 1e-5}, {"weight": random(4)}),
    Case("group_norm", (_IMAGE,), {"groups": 2, "eps": 1e-5, "rank": 2}, _AFFINE),
    Case("softmax", (_TOKENS,), {"axis": -1}),
    Case("softmax", (_TOKENS,), {"axis": -2}, label="of columns"),
    Case("log_softmax", (_TOKENS,), {"axis": -1}),
    Case("logsumexp", (_TOKENS,), {"axes": (-1,), "keepdim": True}),
    # Moves.
    Case("identity", (_TOKENS,)),
    Case("reshape", (_TOKENS,), {"shape": (12,)}),
    Case("permute", (_TOKENS,), {"axes": (-1, -2)}),
    Case("expand", ((1, 4),), {"shape": (3, 4)}),
    Case("slice", (_TOKENS,), {"axis": -1, "start": 1, "stop": 4, "step": 2}),
    Case("concat", (_TOKENS, (2, 4)), {"axis": -2}),
    Case("roll", (_TOKENS,), {"shifts": (1,), "axes": (-1,)}),
    Case("take", (_TOKENS,), {"axis": -1}, {"index": torch.tensor([3, 0])}),
    Case("pad", (_TOKENS,), {"amounts": (1, 0), "mode": "constant", "value": 0.0}, label="zeros"),
    Case("pad", (_TOKENS,), {"amounts": (1, 1), "mode": "constant", "value": 0.5}, label="halves"),
    Case("pad", (_TOKENS,), {"amounts": (-1, 0), "mode": "constant", "value": 9.0}, label="crop"),
    Case("pad", (_TOKENS,), {"amounts": (1, 2), "mode": "reflect", "value": 0.0}, label="reflect"),
    Case("rearrange", (_TOKENS,), {"shape": (3,), "zeros": 1}, {"index": torch.tensor([5, -1, 0])}),
    Case("rearrange", (_TOKENS,), {"shape": (2,)}, {"index": torch.tensor([5, 11])}, label="without zeros"),
    Case("gather", (_TOKENS, (3, 2)), {"axis": -1}, types=(ANY, _POSITION)),
    Case("scatter", (_TOKENS, (3, 2), (3, 2)), {"axis": -1}, types=(ANY, _POSITION, ANY)),
    Case("lookup", ((5,),), {}, {"weight": torch.tensor([[1.0, 2.0], [0.0, 4.0], [3.0, 3.0]])}, (_POSITION,)),
    Case("lookup", ((5,),), {}, {"weight": random(3, 2)}, (_POSITION,), "of reals"),
    Case("constant", (), {}, {"value": random(3, 4)}, label="real"),
    Case("constant", (), {}, {"value": torch.tensor([0.0, 0.25, 0.25])}, label="spikes"),
    Case("constant", (), {}, {"value": torch.tensor([True, False])}, label="mask"),
    Case("constant", (), {}, {"value": torch.tensor([3.0, -2.0])}, label="whole"),
    Case("constant", (), {}, {"value": torch.tensor(-0.1)}, label="number"),
    *_neurons(),
    # Converted networks.
    Case("quantise", (_IMAGE,), {"low": -2, "high": 5}, {"scale": torch.tensor(0.3)}),
    Case("quantise", (_IMAGE,), {"low": 0, "high": 1}, {"scale": torch.tensor(0.3)}, label="binary"),
    Case("fake_quantise", (_IMAGE,), {"low": 0, "high": 3}, {"scale": random(4, 1, 1).abs() + 0.1}),
    *(
        Case(
            "trace",
            (_IMAGE,) * 2,
            {"low": -3, "high": 4, "max_exponent": largest},
            {"scale": torch.tensor(0.25)},
            types=(ANY, REAL),
            label=f"K = {largest}",
            rest=(0.0,),
        )
        for largest in (0, 2, None)
    ),
    Case("integrate", (_IMAGE,) * 2, {}, {"bias": random(4, 1, 1)}, types=(ANY, REAL), rest=(0.0,)),
    *(
        Case(
            "traced_product",
            (*shapes, *shapes),
            {"of": of, "equation": equation},
            {"scale": torch.tensor(0.5)},
            types=(ANY, ANY, REAL, REAL),
            label=of,
            rest=(0.0, 0.0),
        )
        for of, equation, shapes in (
            ("matmul", "", ((2, 3, 4), (2, 4, 5))),
            ("mul", "", ((4, 2, 3), (4, 1, 1))),
            ("einsum", "hij,hkj->hik", ((2, 3, 4), (2, 5, 4))),
        )
    ),
    # Integer graphs.
    Case(
        "lif_fixed",
        (_VECTOR,) * 3,
        {"du": 2048, "dv": 128, "vth": 2, "scale": 1.0, "drive": "current"},
        types=(integer(-200, 400), REAL, REAL),
        rest=(0.0, 0.0),
    ),
    Case(
        "lif_graded",
        (_VECTOR,) * 2,
        {"dv": 128, "vth": 2, "levels": 3, "mode": "half_even", "reset": "soft", "limit": 2**23 - 1, "decay_bits": 12}
        | {"scale": 1.0, "drive": "current"},
        types=(integer(-200, 400), REAL),
        rest=(0.0,),
    ),
    Case(
        "lif_n1",
        (_VECTOR,) * 3,
        {"threshold": 60, "rest": 0, "leak": 0, "du": 4095, "dv": 2048, "bias": 0, "vmin": -300, "vmax": 300}
        | {"scale": 1.0, "drive": "current"},
        types=(integer(-200, 400), REAL, REAL),
        rest=(0.0, 0.0),
    ),
    Case(
        "if_sequential",
        ((4,), (2,), (3,)),
        {"low": -8, "high": 7, "scale": 1.0},
        _ROWS,
        types=(integer(0, 2), BINARY, REAL),
        rest=(0.0,),
    ),
    Case(
        "readout_sequential",
        ((4,), (2,), (4,), (4,)),
        {"low": 0, "high": 15, "scale": 1.0, "shape": (2,)},
        {**_ROWS, "weight": random(4, 6).mul(4).round(), "threshold": torch.full((4,), 15.0)},
        types=(integer(0, 2), BINARY, REAL, REAL),
        rest=(0.0, 0.0),
    ),
    Case("bias_current", (_VECTOR,), {"scale": 10.0, "exponent": 1, "mantissa_limit": 12}),
)
