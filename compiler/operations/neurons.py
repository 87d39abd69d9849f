"""Neurons: every operator of ``snnkit.neurons``, one node each. A new neuron needs no line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from types import NoneType
from typing import Any

from torch import Tensor

from compiler.graph.facts import Amount, Facts, total_events, total_units
from compiler.graph.graph import Node
from compiler.graph.operation import Operation, Shapes
from compiler.graph.signals import SignalType
from compiler.operations.call import Call
from snnkit.kernels import Operator
from snnkit.kernels.operator import type_name
from snnkit.neurons import OPERATORS
from snnkit.signals import sent
from snnkit.surrogates import Sigmoid

_SURROGATE: Any = Sigmoid()  # graphs have no backward

_KINDS: Mapping[str, tuple[type, ...]] = {
    "float": (float, int),
    "float | None": (float, int, NoneType),
    "bool": (bool,),
    "int": (int,),
}


def events_of(op: str, constants: Mapping[str, Any]) -> SignalType:
    """Return what a neuron with these constants says it sends."""
    operator = OPERATORS[op]
    p = operator.parameters(**{name: constants[name] for name in operator.parameter_names})
    kind, low, high, *scale = operator.events(p)
    return sent(kind, low, high, scale[0] if scale else 1.0)


def _constants(operator: Operator, node: Node) -> Any:
    given = {**node.attributes, **node.parameters}
    return operator.parameters(**{key: given[key] for key in operator.parameter_names})


def _runs(operator: Operator) -> tuple[Callable[..., Any], Callable[..., Any]]:
    def sequence(node: Node, x: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        out, after = operator(x, state, _constants(operator, node), _SURROGATE)
        return (out, *(after or ()))

    def step(node: Node, x: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        out, *after = sequence(node, x.unsqueeze(0), *state)
        return (out[0], *after)

    return step, sequence


def _type_of(operator: Operator) -> Callable[[Node, Sequence[SignalType], Shapes], SignalType]:
    def rule(node: Node, types: Sequence[SignalType], shapes: Shapes) -> SignalType:
        return events_of(operator.name, {**node.attributes, **node.parameters})

    return rule


def count_neuron(node: Node, facts: Facts) -> Mapping[str, Amount]:
    """Updates of every neuron, and what it sent: ``spikes`` adds up |level|, a spike of level −3 counts three times."""
    done: dict[str, Amount] = {"neuron_updates": float(facts.outputs_size)}
    if facts.outputs[0].type.is_event:
        # A power of two is one event to those that read it, and yet as many spikes as its level says.
        sent = replace(facts.outputs[0], type=replace(facts.outputs[0].type, kind="integer"))
        done["spikes"] = total_units(facts.results[0], sent, facts.evaluations)
        one_level = sent.type.low == 0 and sent.type.high == 1
        done["resets"] = done["spikes"] if one_level else total_events(facts.results[0], sent, facts.evaluations)
    return done


def _capture(operator: Operator) -> Callable[[Call], None]:
    def capture(call: Call) -> None:
        call.neuron(operator)

    return capture


def neuron_operation(operator: Operator) -> Operation:
    """Return the operation of a dynamics that was registered with ``snnkit.kernels.Operator``."""
    step, sequence = _runs(operator)
    return Operation(
        operator.name,
        "neuron",
        step,
        _type_of(operator),
        count_neuron,
        {f"snnkit.{operator.name}.default": _capture(operator)},
        {f.name: _KINDS[type_name(f.type)] for f in fields(operator.parameters)},
        inputs=(1 + len(operator.state_names), 1 + len(operator.state_names)),
        sequence=sequence,
    )


OPERATIONS = tuple(neuron_operation(operator) for operator in OPERATORS.values())
