"""Four forms of one network, built by one walk over its graph.

trained    quantised values, real weights: what fine-tuning works on
quantised  codes and weights on the exact grid: the QANN
spiking    the same, where the codes are sums of events: the SNN
events     the quantised form's numbers, where codes are events of one time step: what is compiled for chips

In all of them a layer's output, and every value after it, has the name that it has in the graph they come from; codes
of the signal ``x`` are called ``x.code``.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from compiler.analysis.types import infer_signals
from compiler.converting.places import Places
from compiler.converting.quantisers import Quantiser, Quantisers, rounded, rounded_operand
from compiler.errors import CaptureError
from compiler.graph import Graph, GraphBuilder, Node, operation
from compiler.graph.operation import STEADY


class _Form(ABC):
    """A walk over a graph that emits values as they are and leaves codes and their readers to its subclass.

    ``steady``: whether values must come out the same to the last bit wherever they are computed.
    """

    steady = True

    def __init__(self, places: Places, quantisers: Quantisers, dtype: torch.dtype, name: str):
        self.places, self.quantisers, self.dtype = places, quantisers, dtype
        self.source = places.graph
        self.builder = GraphBuilder(f"{self.source.name} {name}", 1, static_input=True)
        self._values: dict[str, str] = {}
        self._codes: dict[str, str] = {}

    def build(self) -> Graph:
        """Return the form, typed."""
        for signal in self.source.inputs:
            self._values[signal] = self.builder.input(signal, self.source.shape(signal), self.source.type(signal))
        for node in self.source:
            role = self.places.role(node)
            if role == "value":
                self._copy(node)
            elif role == "weights":
                self._values[node.output] = self.weights(node, self.codes(node.inputs[0]), self.quantiser(node, 0))
            elif role == "stored":
                self._values[node.output] = self._stored(node)
            else:
                codes = [self.codes(name) for name in node.inputs]
                quantisers = [self.quantiser(node, index) for index in (0, 1)]
                self._values[node.output] = self.product(node, codes, quantisers)
        return infer_signals(self.builder.finish(self._values[name] for name in self.source.outputs))

    def _copy(self, node: Node) -> None:
        inputs = tuple(self._values[name] for name in node.inputs)
        role = STEADY if self.steady and not _keeps_bits(node) else node.role
        written = self.builder.append(replace(_cast(node, self.dtype), inputs=inputs, role=role))
        self._values.update(zip(node.outputs, written, strict=True))
        for name in node.outputs:
            if self.places.is_held(name):
                self._values[name] = self.decoded(self.codes(name), self.quantisers[name])

    def _stored(self, node: Node) -> str:
        (moving,) = (name for name in node.inputs if name in self.places.moving)
        (stored,) = (name for name in node.inputs if name != moving)
        quantiser = self.quantisers[self.places.origin(moving)]
        value = rounded_operand(self.source, node, stored, quantiser, self.dtype)
        operand = self.builder.constant(value, f"{node.name}.weights", node.scope)
        codes = self.codes(moving)
        return self.stored(node, [codes if name == moving else operand for name in node.inputs], quantiser)

    def quantiser(self, node: Node, index: int) -> Quantiser:
        """Return the quantiser of an input of a node."""
        return self.quantisers[self.places.origin(node.inputs[index])]

    def codes(self, signal: str) -> str:
        """Return the codes of a signal: quantised here, or before the moves that lead here."""
        if signal not in self._codes:
            route = self.places.route(signal)
            if route is None:
                self._codes[signal] = self.code(self.quantisers[signal], self._values[signal])
            else:
                moved = Node(
                    self.builder.unique(f"{route.name}.code"),
                    route.op,
                    (self.codes(route.inputs[0]),),
                    (self.builder.unique(f"{route.output}.code"),),
                    route.attributes,
                    route.parameters,
                    route.scope,
                )
                self._codes[signal] = self.builder.append(moved)[0]
        return self._codes[signal]

    @abstractmethod
    def code(self, quantiser: Quantiser, value: str) -> str:
        """Add a quantiser and return its codes."""

    @abstractmethod
    def decoded(self, codes: str, quantiser: Quantiser) -> str:
        """Add what turns codes back into a value and return that."""

    @abstractmethod
    def weights(self, node: Node, codes: str, quantiser: Quantiser) -> str:
        """Add a layer that reads codes and return its output, a value called as the layer."""

    @abstractmethod
    def stored(self, node: Node, operands: Sequence[str], quantiser: Quantiser) -> str:
        """Add a product of codes with stored numbers, which hold the scale, and return its output."""

    @abstractmethod
    def product(self, node: Node, codes: Sequence[str], quantisers: Sequence[Quantiser]) -> str:
        """Add a product of two signals' codes and return its output, a value called as the product."""

    def scaled(self, signal: str, weight: Tensor, name: str = "") -> str:
        """Multiply a signal by a number, or by one a channel."""
        return self.builder.add("scale", (signal,), None, {"weight": weight.to(self.dtype)}, name=name)

    def emit(self, node: Node, inputs: Sequence[str], name: str = "") -> str:
        """Add a node under another name, its own by default, reading other signals."""
        name = name or node.output
        written = replace(node, name=self.builder.unique(name), inputs=tuple(inputs), outputs=(name,))
        return self.builder.append(written)[0]


class _Trained(_Form):
    """Real weights read quantised values."""

    steady = False

    def code(self, quantiser: Quantiser, value: str) -> str:
        bounds = {"low": quantiser.low, "high": quantiser.high}
        scale = {"scale": quantiser.scale.to(self.dtype)}
        return self.builder.add("fake_quantise", (value,), bounds, scale, name=f"{quantiser.signal}.code")

    def decoded(self, codes: str, quantiser: Quantiser) -> str:
        return codes

    def weights(self, node: Node, codes: str, quantiser: Quantiser) -> str:
        return self.emit(_cast(node, self.dtype), (codes,))

    def _stored(self, node: Node) -> str:
        operands = [self.codes(n) if n in self.places.moving else self._values[n] for n in node.inputs]
        return self.emit(node, operands)

    def stored(self, node: Node, operands: Sequence[str], quantiser: Quantiser) -> str:
        return self.emit(node, operands)

    def product(self, node: Node, codes: Sequence[str], quantisers: Sequence[Quantiser]) -> str:
        return self.emit(node, codes)


class _Quantised(_Form):
    """Rounded weights read codes, once."""

    def code(self, quantiser: Quantiser, value: str) -> str:
        bounds = {"low": quantiser.low, "high": quantiser.high}
        scale = {"scale": quantiser.scale.to(self.dtype)}
        return self.builder.add("quantise", (value,), bounds, scale, name=f"{quantiser.signal}.code")

    def decoded(self, codes: str, quantiser: Quantiser) -> str:
        return self.scaled(codes, quantiser.scale, f"{quantiser.signal}.held")

    def weights(self, node: Node, codes: str, quantiser: Quantiser) -> str:
        return self.emit(rounded(node, quantiser, self.dtype), (codes,))

    def stored(self, node: Node, operands: Sequence[str], quantiser: Quantiser) -> str:
        return self.emit(node, operands)

    def product(self, node: Node, codes: Sequence[str], quantisers: Sequence[Quantiser]) -> str:
        levels = self.emit(node, codes, f"{node.output}.levels")
        scale = product_scale(quantisers, self.dtype)
        return self.builder.add("scale", (levels,), None, {"weight": scale}, name=node.output, scope=node.scope)


class _Events(_Quantised):
    """The same numbers, where neurons send codes as events of one step: what a chip of graded events is to compute."""

    def code(self, quantiser: Quantiser, value: str) -> str:
        if quantiser.low:
            reason = (
                f"{quantiser.signal} has codes from {quantiser.low} to {quantiser.high}, and events on a chip are "
                "numbers from 0 on: what layers read must come from a ReLU"
            )
            raise CaptureError(f"{self.source.name} has no form for chips: {reason}.", (reason,))
        producer, most = self.source.producer(quantiser.signal), quantiser.high
        if producer is not None and (producer.op == "relu" or _bounded_by_one_code(producer, quantiser)):
            # A neuron sends nothing below 0, and nothing above its levels: the activation is the neuron.
            value = self._values[producer.inputs[0]]
            highest = float(producer.attributes.get("high", math.inf)) / float(quantiser.scale.max())
            most = most if highest >= most else int(highest + 0.5)
        levels = {"levels": most, "divisor": 1.0, "half_up": True}
        driven = self.scaled(value, 1 / quantiser.scale.double())
        return self.builder.add("multi_spike", (driven,), levels, name=f"{quantiser.signal}.code")


class _Spiking(_Form):
    """Rounded weights read events, and what they bring is summed up."""

    def __init__(self, places: Places, quantisers: Quantisers, dtype: torch.dtype, name: str, largest: int | None):
        super().__init__(places, quantisers, dtype, name)
        self.largest = largest

    def code(self, quantiser: Quantiser, value: str) -> str:
        attributes = {"low": quantiser.low, "high": quantiser.high, "max_exponent": self.largest}
        scale = {"scale": quantiser.scale.to(self.dtype)}
        name = f"{quantiser.signal}.code"
        return self.builder.neuron("trace", value, attributes, scale, states=[("total", 0.0)], name=name)

    def decoded(self, codes: str, quantiser: Quantiser) -> str:
        # Whole numbers are added up, so that what is at rest is the quantised network's to the last bit.
        levels = self.builder.neuron(
            "integrate", codes, {}, {}, states=[("sum", 0.0)], name=f"{quantiser.signal}.held_levels"
        )
        return self.scaled(levels, quantiser.scale, f"{quantiser.signal}.held")

    def weights(self, node: Node, codes: str, quantiser: Quantiser) -> str:
        layer = rounded(node, quantiser, self.dtype)
        bias = layer.parameters.get("bias")
        bare = replace(layer, parameters={"weight": layer.parameters["weight"]})
        brought = self.emit(bare, (codes,), f"{node.output}.events")
        parameters = {}
        if bias is not None:
            rank = bare.parameters["weight"].ndim - 2
            parameters["bias"] = bias.reshape(-1, *[1] * rank) if rank > 0 else bias
        return self._sum(node, brought, parameters)

    def stored(self, node: Node, operands: Sequence[str], quantiser: Quantiser) -> str:
        return self._sum(node, self.emit(node, operands, f"{node.output}.events"), {})

    def _sum(self, node: Node, brought: str, parameters: dict[str, Tensor]) -> str:
        states = [("sum", 0.0)]
        return self.builder.neuron(
            "integrate", brought, {}, parameters, states=states, name=node.output, scope=node.scope
        )

    def product(self, node: Node, codes: Sequence[str], quantisers: Sequence[Quantiser]) -> str:
        attributes = {"of": node.op, "equation": node.attributes.get("equation", "")}
        scale = {"scale": product_scale(quantisers, self.dtype)}
        states = [("left", 0.0), ("right", 0.0)]
        return self.builder.neuron(
            "traced_product", codes, attributes, scale, states=states, name=node.output, scope=node.scope
        )


def product_scale(quantisers: Sequence[Quantiser], dtype: torch.dtype) -> Tensor:
    """Return s_a·s_b, ()."""
    left, right = (quantiser.scale.double().reshape(()) for quantiser in quantisers)
    return (left * right).to(dtype)


def _bounded_by_one_code(node: Node, quantiser: Quantiser) -> bool:
    """Whether a node cuts values off at 0 and at a bound that is the same number of levels in every channel."""
    return node.op == "clamp" and node.attributes["low"] == 0 and quantiser.scale.numel() == 1


# One rounding a value at most, whatever order and layout.
_ROUNDED_ONCE = (
    *("add", "sub", "mul", "div", "neg", "abs", "sign", "maximum", "minimum", "where", "scale", "relu", "clamp"),
    *("max_pool", "adaptive_max_pool", "max", "min", "sqrt", "floor", "ceil", "round", "trunc", "argsort", "argmax"),
)


def _keeps_bits(node: Node) -> bool:
    kind = operation(node.op).kind
    return kind in ("move", "constant") or node.op in _ROUNDED_ONCE


def _cast(node: Node, dtype: torch.dtype) -> Node:
    return replace(
        node, parameters={k: p.to(dtype) if p.is_floating_point() else p for k, p in node.parameters.items()}
    )


def trained_form(places: Places, quantisers: Quantisers, dtype: torch.dtype) -> Graph:
    """Return the network with quantised values and real weights."""
    return _Trained(places, quantisers, dtype, "trained quantised").build()


def quantised_form(places: Places, quantisers: Quantisers, dtype: torch.dtype) -> Graph:
    """Return the quantised network: codes, weights on the exact grid, one evaluation."""
    return _Quantised(places, quantisers, dtype, "quantised").build()


def events_form(places: Places, quantisers: Quantisers, dtype: torch.dtype) -> Graph:
    """Return the quantised network as one of one time step, whose neurons send their codes as numbers.

    Raises:
        CaptureError: codes may be negative.
    """
    return _Events(places, quantisers, dtype, "in events").build()


def spiking_form(places: Places, quantisers: Quantisers, dtype: torch.dtype, max_exponent: int | None) -> Graph:
    """Return the spiking network whose sums of events become the codes of the quantised one."""
    return _Spiking(places, quantisers, dtype, "spiking", max_exponent).build()
