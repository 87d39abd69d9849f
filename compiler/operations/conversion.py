"""What conversion makes: quantisers, and the neurons that reach the same integers by sending events.

quantise        n = clip(⌊y/s + ½⌋, low, high): a code, one whole number a value
fake_quantise   n·s: the same as a real number, while a quantised network is trained; straight-through gradients, the
                scale's as in learned step size quantisation
trace           the same code as a running sum S of events: c = n(y) − S, o = sign(c)·2^min(⌊log₂|c|⌋, K), 0
                where c = 0, c itself for K = None; S ← S + o. Its input is the value as known so far, not a change of
                it, so that nothing is summed up twice and what it holds are whole numbers. At rest S = n
integrate       y = b + Σ x: what events have brought so far; the neuron behind synapses, without leak or threshold
traced_product  s·a·b of what two trains of events have brought so far. In a machine every event of the one meets the
                sum of the other: S_A·bᵀ + a·S_Bᵀ − a·bᵀ is added, which for whole numbers is S_A·S_Bᵀ exactly

Source: the tracer of ``snnkit.neurons``, in the form that keeps ties where they are; gradient of the step size: arXiv
1902.08153.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import NoneType

import torch
from torch import Tensor

from compiler.graph.facts import Amount, Facts
from compiler.graph.graph import Node
from compiler.graph.operation import NOT_CAPTURED, Operation, Shapes, operation
from compiler.graph.signals import BINARY, SIGNED, SignalType, integer
from compiler.operations.neurons import count_neuron
from compiler.operations.products import product_size, units_spread
from compiler.operations.rules import INT, TEXT, each, real
from snnkit.kernels.straight_through import clip, straight_through
from snnkit.kernels.tracer.reference import GRADED, event

_EXPONENT: tuple[type, ...] = (int, NoneType)


def code(y: Tensor, scale: Tensor, low: int, high: int) -> Tensor:
    """Return clip(⌊y/s + ½⌋, low, high), whole numbers in the type of ``y``."""
    return torch.floor(y / scale.to(y.dtype) + 0.5).clamp_(low, high)


def _code_of(node: Node, y: Tensor) -> Tensor:
    return code(y, node.parameters["scale"], node.attributes["low"], node.attributes["high"])


def _quantise(node: Node, y: Tensor) -> tuple[Tensor, ...]:
    return (_code_of(node, y),)


def _fake(node: Node, y: Tensor) -> tuple[Tensor, ...]:
    scale = node.parameters["scale"].to(y.dtype)
    level = y / scale
    near = straight_through(level, torch.floor(level + 0.5))
    return (clip(near, node.attributes["low"], node.attributes["high"]) * scale,)


def _code_type(node: Node, types: Sequence[SignalType], shapes: Shapes) -> SignalType:
    low, high = node.attributes["low"], node.attributes["high"]
    return BINARY if (low, high) == (0, 1) else integer(low, high)


def _trace(node: Node, y: Tensor, total: Tensor) -> tuple[Tensor, ...]:
    largest = node.attributes["max_exponent"]
    sent = event(_code_of(node, y).to(total.dtype) - total, GRADED if largest is None else largest)
    return sent, total + sent


def _trace_sequence(node: Node, y: Tensor, total: Tensor) -> tuple[Tensor, ...]:
    largest = node.attributes["max_exponent"]
    wanted, sent = _code_of(node, y).to(total.dtype), []
    for now in wanted:
        sent.append(event(now - total, GRADED if largest is None else largest))
        total = total + sent[-1]
    return torch.stack(sent), total


def _trace_type(node: Node, types: Sequence[SignalType], shapes: Shapes) -> SignalType:
    largest, width = node.attributes["max_exponent"], node.attributes["high"] - node.attributes["low"]
    if largest is None:
        return integer(-width, width)
    return SIGNED if largest == 0 else SignalType("pow2", -(2**largest), 2**largest)


def _with_bias(node: Node, total: Tensor) -> Tensor:
    return total + node.parameters["bias"].to(total.dtype) if "bias" in node.parameters else total


def _integrate(node: Node, x: Tensor, total: Tensor) -> tuple[Tensor, ...]:
    total = total + x
    return _with_bias(node, total), total


def _running(x: Tensor, total: Tensor) -> Tensor:
    """Return ``total`` and the steps of ``x`` (T, B, …) added up; cumsum is slow along the first axis."""
    sums = x.to(total.dtype, copy=True)
    sums[0] += total
    for t in range(1, len(sums)):
        sums[t] += sums[t - 1]
    return sums


def _integrate_sequence(node: Node, x: Tensor, total: Tensor) -> tuple[Tensor, ...]:
    sums = _running(x, total)
    return _with_bias(node, sums), sums[-1]


def _count_sums(node: Node, facts: Facts) -> Mapping[str, Amount]:
    """Its additions are the accumulates of the synapses before it, and the bias is where the sum starts."""
    return {}


def plain_product(node: Node) -> Node:
    """Return the product of two signals that a traced product is one of, reading its first two inputs."""
    attributes = {"equation": node.attributes["equation"]} if node.attributes["equation"] else {}
    return Node(node.name, node.attributes["of"], node.inputs[:2], node.outputs[:1], attributes, {}, node.scope)


def _scaled_product(node: Node, a: Tensor, b: Tensor) -> Tensor:
    (y,) = operation(node.attributes["of"]).run(plain_product(node), a, b)
    return y * node.parameters["scale"].to(y.dtype)


def _product(node: Node, a: Tensor, b: Tensor, sum_a: Tensor, sum_b: Tensor) -> tuple[Tensor, ...]:
    sum_a, sum_b = sum_a + a, sum_b + b
    return _scaled_product(node, sum_a, sum_b), sum_a, sum_b


def _product_sequence(node: Node, a: Tensor, b: Tensor, sum_a: Tensor, sum_b: Tensor) -> tuple[Tensor, ...]:
    sums_a, sums_b = _running(a, sum_a), _running(b, sum_b)
    y = _scaled_product(node, sums_a.flatten(0, 1), sums_b.flatten(0, 1))
    return y.reshape(len(a), -1, *y.shape[1:]), sums_a[-1], sums_b[-1]


def _count_product(node: Node, facts: Facts) -> Mapping[str, Amount]:
    """Every unit of the one adds, or takes away, the sum of the other wherever they meet; real numbers multiply it."""
    dense = product_size(plain_product(node), facts)
    events = [index for index in (0, 1) if facts.is_event(index)]
    met = sum(units_spread(facts, index, dense) for index in events)
    done = {"ac": met, "synaptic_events": met, "mac": dense * (2 - len(events))}
    return {"dense_macs": dense, **done} if node.attributes["of"] != "mul" else done


OPERATIONS = (
    Operation(
        "quantise",
        "activation",
        _quantise,
        _code_type,
        each(multiplies=1, adds=1, activations=2),
        NOT_CAPTURED,
        {"low": INT, "high": INT},
        parameters=("scale",),
    ),
    Operation(
        "fake_quantise",
        "activation",
        _fake,
        real,
        each(multiplies=2, adds=1, activations=2),
        NOT_CAPTURED,
        {"low": INT, "high": INT},
        parameters=("scale",),
    ),
    Operation(
        "trace",
        "neuron",
        _trace,
        _trace_type,
        count_neuron,
        NOT_CAPTURED,
        {"low": INT, "high": INT, "max_exponent": _EXPONENT},
        parameters=("scale",),
        inputs=(2, 2),
        sequence=_trace_sequence,
    ),
    Operation(
        "integrate",
        "elementwise",
        _integrate,
        real,
        _count_sums,
        NOT_CAPTURED,
        optional_parameters=("bias",),
        inputs=(2, 2),
        sequence=_integrate_sequence,
    ),
    Operation(
        "traced_product",
        "product",
        _product,
        real,
        _count_product,
        NOT_CAPTURED,
        {"of": TEXT, "equation": TEXT},
        parameters=("scale",),
        inputs=(4, 4),
        sequence=_product_sequence,
    ),
)
