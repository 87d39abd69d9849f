"""Random graphs in float64, and what a pass must leave as it was."""

from __future__ import annotations

import torch
from hypothesis import Phase, settings
from hypothesis import strategies as st
from torch import Tensor

from compiler.graph import BINARY, REAL, Graph, GraphBuilder, SignalType, verify
from compiler.interpreting import interpret


class Random(GraphBuilder):
    """A builder with random weights from one generator; its methods return signals.

    Shapes are (C, H, W), (N, D) or (D,).
    """

    def __init__(self, shape=(2, 4, 4), seed: int = 0, input_type: SignalType = REAL, timesteps: int = 3):
        super().__init__("random", timesteps)
        self.random = torch.Generator().manual_seed(seed)
        self.input("x", shape, input_type)

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.random, dtype=torch.float64)

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        return torch.rand(shape, generator=self.random, dtype=torch.float64) * (high - low) + low

    def shape(self, signal: str) -> tuple[int, ...]:
        return self.signals[signal].shape

    def conv(self, x, out, kernel=3, stride=1, padding=1, dilation=1, groups=1, bias=False, name=""):
        weight = self.normal(out, self.shape(x)[0] // groups, kernel, kernel) * 0.5
        pairs = {"stride": (stride,) * 2, "padding": (padding,) * 2, "dilation": (dilation,) * 2, "groups": groups}
        more = {"bias": self.normal(out) * 0.1} if bias else {}
        return self.add("conv", (x,), pairs, {"weight": weight, **more}, name=name)

    def linear(self, x, out, bias=False, name=""):
        more = {"bias": self.normal(out) * 0.1} if bias else {}
        weight = self.normal(out, self.shape(x)[-1]) * 0.4
        return self.add("linear", (x,), {}, {"weight": weight, **more}, name=name)

    def norm(self, x, affine=True, axis=None, name=""):
        axis = -len(self.shape(x)) if axis is None else axis
        n = self.shape(x)[axis]
        stored = {"mean": self.normal(n) * 0.1, "variance": self.uniform(0.5, 1.5, n)}
        if affine:
            stored |= {"weight": self.uniform(0.5, 1.5, n), "bias": self.uniform(0.0, 0.6, n)}
        return self.add("batch_norm", (x,), {"eps": 1e-3, "axis": axis}, stored, name=name)

    def scale(self, x, shape=()):
        return self.add("scale", (x,), {}, {"weight": self.uniform(0.5, 1.5, *shape)})

    def plus(self, x, shape=()):
        return self.add("add", (x, self.constant(self.normal(*shape) * 0.3)))

    def pool(self, x, kernel=2, stride=None, padding=0, divisor=0, counts=True):
        attributes = {
            "kernel_size": (kernel,) * 2,
            "stride": (stride or kernel,) * 2,
            "padding": (padding,) * 2,
            "ceil_mode": False,
            "count_include_pad": counts,
            "divisor": divisor,
        }
        return self.add("avg_pool", (x,), attributes)

    def mean(self, x, *axes, keepdim=True):
        return self.add("mean", (x,), {"axes": axes, "keepdim": keepdim})

    def permute(self, x, *axes):
        return self.add("permute", (x,), {"axes": axes})

    def slice(self, x, axis, start, stop, step=1):
        return self.add("slice", (x,), {"axis": axis, "start": start, "stop": stop, "step": step})

    def roll(self, x, shift, axis):
        return self.add("roll", (x,), {"shifts": (shift,), "axes": (axis,)})

    def pad(self, x, *amounts, value=0.0):
        return self.add("pad", (x,), {"amounts": amounts, "mode": "constant", "value": value})

    def flatten(self, x):
        return self.reshape(x, (self.signals[x].size,))

    def lif(self, x):
        constants = {"tau": 1.6, "decay_input": False, "v_threshold": 0.6, "v_reset": 0.0, "detach_reset": True}
        return self.neuron("lif", x, constants, states=[("v", 0.0)], name=self.unique("lif"))

    def integrate(self, x, v_reset=None):
        constants = {"v_threshold": 0.6, "v_reset": v_reset, "detach_reset": True}
        states = [("v", v_reset or 0.0)]
        return self.neuron("integrate_fire", x, constants, states=states, name=self.unique("integrate_fire"))


def _on_maps(b: Random, x: str, number: int) -> str:
    """Add an operation that fits a signal (C, H, W)."""
    (c, h, w), more = b.shape(x), number // 16
    choice = number % 16
    if choice < 4:
        kernel = 1 if min(h, w) < 3 else 1 + 2 * (more & 1)
        groups = c if more & 16 else 1
        stride, padding = 1 + (more >> 1 & 1), (more >> 2 & 1) * (kernel > 1)
        return b.conv(x, c if groups > 1 else 2 + (more >> 3 & 1), kernel, stride, padding, 1, groups, bool(more & 8))
    if choice == 4 and min(h, w) >= 2:
        return b.pool(x, *[(2,), (2, 1), (2, 2, 1), (2, 2, 0, 1)][more & 3])
    if choice == 5:
        return b.plus(x, [(), (c, 1, 1), (c, h, w), (h, w)][more & 3])
    if choice == 6:
        return b.permute(x, *[(-3, -1, -2), (-1, -2, -3), (-2, -1, -3)][more % 3])
    if choice == 7:
        return b.roll(x, 1, -1 - more % 3) if more & 4 else b.pad(x, 1, 1, 0, more & 1)
    if choice == 8 and w > 1:
        return b.slice(x, -1, more & 1, w)
    if choice == 9:
        return b.reshape(x, (c, h * w) if more & 1 else (h, c * w, 1))
    if choice == 10:
        return b.mean(x, -2, -1, keepdim=bool(more & 1))
    if choice == 11:
        return b.scale(x, [(), (c, 1, 1), (c, h, w)][more % 3])
    if choice == 12:
        return b.flatten(x) if more & 1 else _stored(b, x, more)
    return b.norm(x, bool(more & 2))


def _on_rows(b: Random, x: str, number: int) -> str:
    """Add an operation that fits a signal (N, D) or (D,)."""
    shape, more, choice = b.shape(x), number // 16, number % 16
    if choice < 6:
        return b.linear(x, 2 + more % 3, bool(more & 4))
    if choice == 6 and len(shape) == 2:
        return b.permute(x, -1, -2)
    if choice == 7 and len(shape) == 2:
        return b.reshape(x, (shape[1], shape[0]))
    if choice == 8:
        return b.plus(x, [(), shape[-1:], shape][more % 3])
    if choice == 9:
        return b.scale(x, [(), shape[-1:], shape][more % 3])
    if choice == 10 and shape[-1] > 1:
        return b.slice(x, -1, 0, shape[-1], 1 + (more & 1))
    if choice == 11 and len(shape) == 2:
        return b.mean(x, -1 - (more & 1), keepdim=bool(more & 2))
    if choice == 12 and len(shape) == 2 and shape[0] * shape[1] % 2 == 0:
        return b.reshape(x, (2, shape[0] * shape[1] // 2, 1))
    if choice == 13:
        return _stored(b, x, more)
    return b.norm(x, bool(more & 2), -1 - (more & 1) * (len(shape) - 1))


def _stored(b: Random, x: str, more: int) -> str:
    """Combine a signal with stored numbers, some of them computed or none at all."""
    stored = b.constant(b.uniform(0.5, 1.5, *[b.shape(x), b.shape(x)[-1:]][more >> 3 & 1]))
    if more & 4:
        stored = b.add("neg", (stored,))
    if more & 2:
        return b.add("sub", (stored, x) if more & 16 else (x, stored))
    return b.add("mul", (stored, x)) if more & 16 else b.add("div", (x, stored))


def random_graph(seed: int, steps: list[int]) -> Graph:
    """Draw a graph from a list of whole numbers: each picks the next operation that fits."""
    builder = Random((2, 7, 6), seed, BINARY if seed % 3 == 0 else REAL)
    x, seen = "x", []
    for number in steps:
        seen.append(x)
        if number % 5 == 0:
            kind = number // 5 % 6
            alike = [name for name in seen if builder.shape(name) == builder.shape(x)]
            other = alike[number // 30 % len(alike)]
            if kind == 0:
                x = builder.lif(x)
            elif kind == 1:
                x = builder.integrate(x, None if number & 1 else -0.2)
            elif kind == 2:
                x = builder.add("relu", (x,))
            elif kind == 3:
                x = builder.add("neg", (x,))
            else:
                x = builder.add("sub" if kind == 4 else "add", (other, x) if number & 2 else (x, other))
        else:
            x = (_on_maps if len(builder.shape(x)) == 3 else _on_rows)(builder, x, number)
    return builder.finish([builder.linear(x if len(builder.shape(x)) == 1 else builder.flatten(x), 3)])


GRAPHS = st.builds(random_graph, st.integers(0, 5), st.lists(st.integers(0, 511), min_size=1, max_size=14))

QUICK = settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
    database=None,
)


def data_for(graph: Graph, seed: int = 0, batch: int = 2) -> Tensor:
    """Random inputs (T, B, …)."""
    generator = torch.Generator().manual_seed(seed)
    (name,) = graph.inputs
    x = torch.randn(graph.timesteps, batch, *graph.shape(name), generator=generator, dtype=torch.float64) * 1.5
    return (x > 0.5).double() if graph.type(name).is_event else x


def assert_same_meaning(graph: Graph, passed: Graph, x: Tensor, tolerance: float = 1e-10) -> None:
    """Assert that what a pass made holds together and gives the same outputs, relative to the largest."""
    verify(passed)
    assert (passed.inputs, passed.timesteps) == (graph.inputs, graph.timesteps)
    assert len(passed.outputs) == len(graph.outputs)
    expected, given = (interpret(g, x)[0] for g in (graph, passed))
    for one, other in zip(_each(expected), _each(given), strict=True):
        assert other.shape == one.shape
        error = float((one - other).abs().max()) / max(float(one.abs().max()), 1e-300)
        assert error <= tolerance, f"relative error {error:.3g}"


def _each(outputs: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return outputs if isinstance(outputs, tuple) else (outputs,)


def ops(graph: Graph) -> list[str]:
    """The operations of a graph in order."""
    return [node.op for node in graph]
