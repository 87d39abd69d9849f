"""Verify: does a graph hold together?

Checked are names, order, arity, attributes and parameters, shapes (by running every operation on tensors without data)
and types (by every operation's rule). What passes can be interpreted; what a file claims is never trusted before.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from compiler.errors import GraphError
from compiler.graph.graph import Graph, Node, State
from compiler.graph.operation import Operation, operation
from compiler.graph.signals import KINDS, REAL, Signal, SignalType
from snnkit.errors import nearest

_BATCH, _OTHER_BATCH = 1009, 1013
"""Samples of the runs without data: what works along the batch changes this number. What has as many rows itself would
hide that, and is run with another number.
"""


def verify(graph: Graph) -> Graph:
    """Return ``graph`` if it holds together.

    Raises:
        GraphError: it does not (names the node and what is wrong).
    """
    _check_frame(graph)
    written = set(graph.inputs) | {state.read for state in graph.states}
    names: set[str] = set()
    for node in graph:
        if node.name in names:
            raise GraphError(f"two nodes are called {node.name!r}.")
        names.add(node.name)
        for signal in node.inputs:
            if signal not in written:
                late = " before it is written" if signal in graph.signals else ", which does not exist"
                raise GraphError(f"{node.name} ({node.op}) reads {signal!r}{late}{_circle(graph, node, signal)}.")
        for signal in node.outputs:
            if signal in written:
                raise GraphError(f"{node.name} ({node.op}) writes {signal!r}, which has a writer already.")
            if signal not in graph.signals:
                raise GraphError(f"{node.name} ({node.op}) writes {signal!r}, which is no signal of the graph.")
        check_node(node)
        _check_results(graph, node)
        written.update(node.outputs)
    for signal in (*graph.outputs, *(state.written for state in graph.states)):
        if signal not in written:
            raise GraphError(f"the output or state {signal!r} is written by nothing.")
    return graph


def _circle(graph: Graph, node: Node, signal: str) -> str:
    """Say which circle within one step ``node`` closes by reading ``signal``; "" where it closes none."""
    way: dict[str, str] = {}
    waiting = [signal]
    while waiting:
        name = waiting.pop()
        writer = graph.producer(name)
        if writer is None:
            continue
        if writer.name == node.name:
            names = [node.name]
            while name != signal:
                name = way[name]
                after = graph.producer(name)
                names += [after.name] if after is not None else []
            return f": a circle without delay ({' → '.join((*names, node.name))}); loops go through a state"
        for before in writer.inputs:
            if before not in way and before != signal:
                way[before] = name
                waiting.append(before)
    return ""


def check_node(node: Node) -> Operation:
    """Return the operation of a node that has the inputs, attributes and parameters it must have.

    Raises:
        GraphError: it has not (names node and attribute).
    """
    op, where = operation(node.op), f"{node.name} ({node.op})"
    fewest, most = op.inputs
    if len(node.inputs) < fewest or (most is not None and len(node.inputs) > most):
        wanted = f"{fewest}" if most == fewest else f"{fewest} to {most}" if most is not None else f"{fewest} or more"
        raise GraphError(f"{where} has {len(node.inputs)} inputs, wanted {wanted}.")
    for name, kinds in op.attributes.items():
        if name not in node.attributes and name not in node.parameters:
            raise GraphError(f"{where} has no attribute {name!r}.")
        if name in node.attributes:
            _check_kind(where, name, node.attributes[name], kinds)
    for name, value in node.attributes.items():
        if name not in op.attributes and name not in op.optional:
            raise GraphError(f"{where} has an attribute {name!r} that the operation does not know.")
        if name in op.optional:
            _check_kind(where, name, value, op.optional[name])
    for name in op.parameters:
        if name not in node.parameters:
            raise GraphError(f"{where} has no parameter {name!r}.")
    known = (*op.parameters, *op.optional_parameters, *op.attributes)
    for name in node.parameters:
        if name not in known:
            raise GraphError(f"{where} has a parameter {name!r} that the operation does not know.")
    if op.kind in ("synapse", "norm") and any(not p.is_floating_point() for p in node.parameters.values()):
        raise GraphError(f"{where} has weights that are no floating-point numbers.")
    _check_axes(where, node)
    return op


def _check_axes(where: str, node: Node) -> None:
    """Axes are counted from the end of a sample, so that none is the batch."""
    for name in ("axis", "axes"):
        value = node.attributes.get(name)
        counted = isinstance(value, int) and node.op in ("layer_norm", "rms_norm")  # so many last axes
        axes = () if value is None or counted else value if isinstance(value, tuple) else (value,)
        if any(axis >= 0 for axis in axes) or len(set(axes)) < len(axes):
            raise GraphError(f"{where}: {name} = {value!r}, wanted different negative numbers, counted from the end.")


def _check_kind(where: str, name: str, value: Any, kinds: tuple[type, ...]) -> None:
    if isinstance(value, bool) and bool not in kinds:
        right = False
    elif isinstance(value, tuple):
        right = tuple in kinds and all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in value)
    else:
        right = isinstance(value, kinds) or (isinstance(value, int) and float in kinds)
    if not right or (isinstance(value, float) and math.isnan(value)):
        wanted = " or ".join("None" if kind is type(None) else kind.__name__ for kind in kinds)
        raise GraphError(f"{where}: attribute {name} = {value!r}, wanted {wanted}.")


def infer(node: Node, signals: list[Signal], dtype: torch.dtype = torch.float32) -> list[Signal]:
    """Return the output signals of a node from its operation: shapes by a run without data, types by its rule.

    Raises:
        GraphError: the inputs do not fit the operation.
    """
    op = operation(node.op)
    if signals:
        _check_reach(node, len(signals[0].shape))
    bare = Node(node.name, node.op, node.inputs, node.outputs, node.attributes, _on_meta(node), node.scope, node.role)
    batch = _OTHER_BATCH if _has_as_many_rows(node) else _BATCH
    try:
        inputs = [torch.empty((batch, *signal.shape), device="meta", dtype=_dtype(node, dtype)) for signal in signals]
        results = op.run(bare, *inputs)
    except GraphError:
        raise
    except (RuntimeError, ValueError, IndexError, TypeError, KeyError, OverflowError, NotImplementedError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        shapes = ", ".join(str(signal.shape) for signal in signals)
        raise GraphError(f"{node.name} ({node.op}) cannot take inputs of shapes {shapes}: {reason}") from None
    if len(results) != len(node.outputs):
        raise GraphError(
            f"{node.name} ({node.op}) has {len(node.outputs)} outputs, the operation gives {len(results)}."
        )
    if any(result.shape[:1] != (batch if signals else 1,) for result in results):
        raise GraphError(f"{node.name} ({node.op}) works along the batch: axes are negative numbers of one sample.")
    kind = op.type_rule(node, [s.type for s in signals], [s.shape for s in signals])
    types = [kind if index == 0 or op.same_types else REAL for index in range(len(results))]
    return [
        Signal(name, tuple(result.shape[1:]), type_)
        for name, result, type_ in zip(node.outputs, results, types, strict=True)
    ]


def _check_reach(node: Node, rank: int) -> None:
    """No axis may lie in front of a sample of ``rank`` axes, where the batch is."""
    for name in ("axis", "axes"):
        value = node.attributes.get(name)
        if value is None:
            continue
        counted = node.op in ("layer_norm", "rms_norm")  # so many last axes
        lowest = -value if counted else min(value, default=0) if isinstance(value, tuple) else value
        if lowest < -rank and node.op != "permute":
            raise GraphError(
                f"{node.name} ({node.op}): {name} = {value!r} reaches beyond the {rank} axes of a sample, to the batch."
            )


def _has_as_many_rows(node: Node) -> bool:
    """Whether a stored tensor has an axis as long as the batch of the runs without data, or an attribute names it."""
    values = node.attributes.values()
    named = any(value == _BATCH or (isinstance(value, tuple) and _BATCH in value) for value in values)
    return named or any(_BATCH in parameter.shape for parameter in node.parameters.values())


def _on_meta(node: Node) -> dict[str, Tensor]:
    return {name: torch.empty_like(p, device="meta") for name, p in node.parameters.items()}


def _dtype(node: Node, default: torch.dtype) -> torch.dtype:
    return next((p.dtype for p in node.parameters.values() if p.is_floating_point()), default)


def _check_results(graph: Graph, node: Node) -> None:
    for signal in infer(node, [graph.signals[name] for name in node.inputs]):
        given = graph.signals[signal.name]
        if given.shape != signal.shape:
            raise GraphError(
                f"{node.name} ({node.op}) writes {signal.name!r} of {signal.shape}, declared {given.shape}."
            )
        if given.type not in (signal.type, REAL):
            raise GraphError(
                f"{node.name} ({node.op}) writes {signal.name!r} of type {signal.type}, declared {given.type}."
            )


def _check_frame(graph: Graph) -> None:
    """Inputs, outputs, states, and every signal's own description."""
    if not graph.outputs:
        raise GraphError("the graph has no output.")
    if not isinstance(graph.timesteps, int) or graph.timesteps < 1:
        raise GraphError(f"timesteps={graph.timesteps!r}: must be a whole number ≥ 1.")
    for key, signal in graph.signals.items():
        if key != signal.name:
            raise GraphError(f"the signal {signal.name!r} is kept under the name {key!r}.")
        if any(not isinstance(size, int) or isinstance(size, bool) or size < 1 for size in signal.shape):
            raise GraphError(f"the signal {key!r} has shape {signal.shape}; sizes are whole numbers ≥ 1.")
        if signal.size >= 2**63:
            raise GraphError(f"the signal {key!r} has shape {signal.shape}, more values than there can be.")
        check_type(signal.name, signal.type)
    for name in (*graph.inputs, *graph.outputs):
        if name not in graph.signals:
            raise GraphError(f"the input or output {name!r} is no signal of the graph.")
    if len(set(graph.inputs)) != len(graph.inputs):
        raise GraphError("an input is listed twice.")
    read: set[str] = set(graph.inputs)
    for state in graph.states:
        _check_state(graph, state, read)
        read.add(state.read)


def _check_state(graph: Graph, state: State, read: set[str]) -> None:
    for signal in (state.read, state.written):
        if signal not in graph.signals:
            raise GraphError(f"the state {signal!r} is no signal of the graph.")
    shape, other = graph.shape(state.read), graph.shape(state.written)
    if shape != other:
        raise GraphError(f"the state {state.read!r} of shape {shape} is written with shape {other}.")
    if isinstance(state.initial, Tensor):
        if tuple(state.initial.shape) != shape:
            raise GraphError(f"the state {state.read!r} of shape {shape} starts as {tuple(state.initial.shape)}.")
        if bool(torch.isnan(state.initial).any()):
            raise GraphError(f"the state {state.read!r} starts with NaN.")
    elif not isinstance(state.initial, (int, float)) or math.isnan(state.initial):
        raise GraphError(f"the state {state.read!r} starts at {state.initial!r}, which is no number.")
    if state.read in read:
        raise GraphError(f"the state {state.read!r} is an input or another state's already.")


def check_type(name: str, kind: SignalType) -> None:
    """Raise GraphError unless a signal's type is one that can be."""
    if kind.kind not in KINDS:
        raise GraphError(f"the signal {name!r} is of type {kind.kind!r}.{nearest(kind.kind, KINDS)}")
    if kind.is_event and (kind.low > kind.high or kind.scale <= 0):
        raise GraphError(f"the signal {name!r} has the impossible type {kind}.")
