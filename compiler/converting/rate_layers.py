"""A ReLU network as layers whose activation becomes a rate, and the spiking graph that they make.

A mean over time passes whatever is linear (up to a constant), so that of a network only the activations change:

    ReLU(x), clamp(x, 0, high)   →   θ · IF(x/θ + shift)

IF fires at most once a step and subtracts what it sent, so that its mean over T steps is θ · clip(⌊T·x/θ + v(0)⌋/T,
0, 1) for a constant x. Everything else that is not linear is refused, all of it at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from compiler.errors import CaptureError
from compiler.graph import Graph, GraphBuilder, Node, operation
from compiler.graph.builder import prune, stored_dtype
from compiler.passes.linear_maps import channel_axis
from compiler.rewriting import Draft, Match, Rule, pattern, rewrite
from snnkit.errors import InvalidArgumentError, unknown_name

MAX_POOLS = ("max_pool", "adaptive_max_pool")
MAX_POOL_CHOICES = ("refuse", "before", "spikes")
_PRODUCTS = ("mul", "matmul", "einsum")
_KEEP_CHANNELS = frozenset({"add", "sub", "scale", "batch_norm", "avg_pool", "identity", "neg", *MAX_POOLS})
_WHY = {
    "activation": "is no ReLU; train the network with ReLU in its place",
    "norm": "normalises by the data itself; a batch norm with stored statistics has no such need",
    "product": "multiplies two signals, of which a rate carries one",
    "neuron": "is a spiking neuron already",
}


@dataclass(frozen=True)
class Activation:
    """A ReLU of a graph: its node, and where its channels lie in a sample (negative axis)."""

    node: Node
    axis: int

    @property
    def name(self) -> str:
        """The name of the node, of its signal, and of the neuron that takes its place."""
        return self.node.name


@dataclass(frozen=True)
class RateLayer:
    """What takes an activation's place.

    ``threshold`` is θ in the activation's unit, ``shift`` what is added to the input at every step, in the same unit,
    and ``initial`` is v(0) in units of θ. Tensors broadcast to the activation from the end.
    """

    activation: Activation
    threshold: Tensor
    shift: Tensor
    initial: Tensor

    @property
    def value(self) -> str:
        """The signal θ · spikes in the graph that ``spiking`` makes."""
        return f"{self.activation.name}.value"


def check_ordinary(graph: Graph, timesteps: int) -> None:
    """Refuse what cannot be a network of rates in T steps, whatever it computes.

    Raises:
        InvalidArgumentError: no graph, a spiking one, several inputs, T < 1.
    """
    if not isinstance(graph, Graph):
        kind = type(graph).__name__
        raise InvalidArgumentError(f"rate coding takes a graph, got {kind}; use simplify(capture(model, images)).")
    if graph.states or graph.timesteps != 1:
        raise InvalidArgumentError(
            f"the graph {graph.name!r} has T = {graph.timesteps} and {len(graph.states)} states: it is spiking already."
        )
    if len(graph.inputs) != 1 or len(graph.outputs) != 1:
        counts = f"{len(graph.inputs)} inputs and {len(graph.outputs)} outputs"
        raise InvalidArgumentError(f"the graph {graph.name!r} has {counts}; rate coding takes one of each.")
    if isinstance(timesteps, bool) or not isinstance(timesteps, int) or timesteps < 1:
        raise InvalidArgumentError(f"timesteps={timesteps!r}: give the number of steps, 1 or more.")


def activations(graph: Graph, max_pool: str) -> tuple[Activation, ...]:
    """Return the activations of a graph that is linear but for them.

    Raises:
        CaptureError: it is not; ``reasons`` names every operation that is in the way.
        InvalidArgumentError: there is no activation, or no such choice for max pooling.
    """
    if max_pool not in MAX_POOL_CHOICES:
        raise unknown_name("way of max pooling", max_pool, MAX_POOL_CHOICES)
    fixed = _fixed(graph)
    reasons = [f"{n.name} ({n.op}) {why}" for n in graph if (why := _refused(graph, n, fixed, max_pool))]
    if reasons:
        many = f"{len(reasons)} operations" if len(reasons) > 1 else "an operation"
        lines = "".join(f"\n  {reason}" for reason in reasons)
        raise CaptureError(f"{graph.name} holds {many} that rate coding cannot carry:{lines}", tuple(reasons))
    found = tuple(Activation(node, _channels(graph, node)) for node in graph if _is_relu(node))
    if not found:
        raise InvalidArgumentError(f"the graph {graph.name!r} holds no ReLU: there is nothing to make spiking.")
    return found


def _is_relu(node: Node) -> bool:
    if node.op == "clamp":
        return float(node.attributes["low"]) == 0 and float(node.attributes["high"]) > 0
    return node.op == "relu"


def _fixed(graph: Graph) -> frozenset[str]:
    """Return the signals that follow from stored numbers alone."""
    return replace(graph, static_input=False).static_signals()


def _refused(graph: Graph, node: Node, fixed: frozenset[str], max_pool: str) -> str:
    """Say why a node cannot carry rates; nothing where it can."""
    op, moving = operation(node.op), [name for name in node.inputs if name not in fixed]
    if op.linear or not moving or _is_relu(node):
        return ""
    if node.op in MAX_POOLS:
        return _refused_pool(graph, node, max_pool)
    if (node.op in _PRODUCTS and len(moving) == 1) or (node.op == "div" and node.inputs[1] in fixed):
        return ""
    if node.op == "clamp":
        low, high = (float(node.attributes[end]) for end in ("low", "high"))
        return f"clamps to [{low:g}, {high:g}], and rates go from 0 up; a ReLU or a clamp to [0, high] can be carried"
    return _WHY.get(op.kind, "is not linear")


def _refused_pool(graph: Graph, node: Node, max_pool: str) -> str:
    if max_pool == "spikes":
        return ""
    readers = graph.consumers(node.output)
    if max_pool == "before":
        if readers and node.output not in graph.outputs and all(_is_relu(reader) for reader in readers):
            return ""
        return "cannot go before its ReLU, which others read too; choose max_pool='spikes' or average pooling"
    return (
        "takes the largest of several rates, which the spikes of one step do not tell; average instead, or accept an "
        "approximation: max_pool='before' (of the input of neurons) or 'spikes' (of spikes)"
    )


def _channels(graph: Graph, activation: Node) -> int:
    """Return the axis of an activation's channels: that of the layer before it, else the first one of a sample."""
    rank, node = len(graph.shape(activation.output)), graph.producer(activation.inputs[0])
    while node is not None:
        if node.op in ("conv", "conv_transpose", "linear"):
            return channel_axis(node)
        if node.op not in _KEEP_CHANNELS or len(graph.shape(node.output)) != rank:
            break
        node = next((found for name in node.inputs if (found := graph.producer(name)) and found.op != "constant"), None)
    return -max(rank, 1)


# Max pooling before the activation: both only ever raise values, so they may change places.


def _pool_first(match: Match, draft: Draft) -> str | None:
    pool, relu = match.root, match["relu"]
    pooled = draft.add(pool.op, relu.inputs, pool.attributes, like=pool)
    return draft.change(relu, inputs=(pooled,), resized=True)


_POOLS_FIRST = Rule(
    "a max pool before its ReLU",
    pattern(MAX_POOLS, pattern(("relu", "clamp"), name="relu", where=_is_relu, alone=True)),
    _pool_first,
)


def pools_first(graph: Graph) -> Graph:
    """Return the graph with every max pool that alone reads a ReLU in front of it; it means the same."""
    return rewrite(graph, (_POOLS_FIRST,))


# The spiking graph.


def spiking(graph: Graph, layers: Sequence[RateLayer], timesteps: int) -> Graph:
    """Return the graph with neurons for activations, its input the same at every step.

    The neuron has the activation's name, and sends spikes; ``layer.value`` is their product with the threshold.
    """
    builder = GraphBuilder(f"{graph.name} as rates", timesteps, static_input=True)
    now = {name: builder.input(name, graph.shape(name), graph.type(name)) for name in graph.inputs}
    dtype, by_name = stored_dtype(graph), {layer.activation.name: layer for layer in layers}
    for node in graph:
        inputs = tuple(now[name] for name in node.inputs)
        if node.name in by_name:
            now[node.output] = _neuron(builder, by_name[node.name], inputs[0], dtype)
        else:
            now.update(zip(node.outputs, builder.append(replace(node, inputs=inputs)), strict=True))
    return builder.finish(now[name] for name in graph.outputs)


def _neuron(builder: GraphBuilder, layer: RateLayer, x: str, dtype: torch.dtype) -> str:
    name, scope = layer.activation.name, layer.activation.node.scope
    if bool((layer.shift != 0).any()):
        shift = builder.constant(layer.shift.to(dtype), f"{name}.shift", scope)
        x = builder.add("add", (x, shift), name=f"{name}.shifted", scope=scope)
    inverse = {"weight": (1 / layer.threshold.double()).to(dtype)}
    current = builder.add("scale", (x,), parameters=inverse, name=f"{name}.current", scope=scope)
    initial: float | Tensor = layer.initial.to(dtype)
    if layer.initial.numel() == 1:
        initial = float(layer.initial)
    elif layer.initial.shape != builder.signals[current].shape:
        initial = layer.initial.to(dtype).expand(builder.signals[current].shape).clone()
    constants = {"v_threshold": 1.0, "v_reset": None, "detach_reset": True}
    spikes = builder.neuron("integrate_fire", current, constants, states=[("v", initial)], name=name, scope=scope)
    threshold = {"weight": layer.threshold.to(dtype)}
    return builder.add("scale", (spikes,), parameters=threshold, name=layer.value, scope=scope)


# Behind the neurons: thresholds go into the weights that read the spikes.


def _pool_spikes(match: Match, draft: Draft) -> str | None:
    """A threshold for each channel, all of them > 0, may as well be multiplied behind a pool."""
    pool, scale = match.root, match["scale"]
    weight: Tensor = scale.parameters["weight"]
    rank = len(pool.attributes["output_size" if "output_size" in pool.attributes else "kernel_size"])
    if weight.numel() > 1 and (weight.ndim <= rank or any(size > 1 for size in weight.shape[-rank:])):
        return None
    if not bool((weight > 0).all()):
        return None
    pooled = draft.change(pool, inputs=scale.inputs)
    return draft.add("scale", (pooled,), parameters={"weight": weight}, name=f"{pool.name}.value", like=pool)


_BEHIND_POOLS = Rule(
    "thresholds behind a pool",
    pattern(
        ("avg_pool", "adaptive_avg_pool", *MAX_POOLS),
        pattern("scale", pattern("integrate_fire"), name="scale", alone=True),
    ),
    _pool_spikes,
)


def thresholds_behind_pools(graph: Graph) -> Graph:
    """Return the graph with pools on spikes and the thresholds behind them, where the next layer can take them up."""
    return rewrite(graph, (_BEHIND_POOLS,))


def up_to(graph: Graph, signal: str) -> Graph:
    """Return the part of a graph that computes ``signal``."""
    return prune(replace(graph, outputs=(signal,)))


def per_sample(vector: Tensor, axis: int | None) -> Tensor:
    """Return one number, or one for each channel (C,), so that it broadcasts to a sample from the end."""
    return vector.reshape(()) if axis is None else vector.reshape(-1, *[1] * (-axis - 1))
