"""Push stored numbers down, through whatever is linear, until a bias takes them up.

L(x + c) = L(x) + L(c): moves, averages, batch norms and scales let a constant pass; two constants that meet become one;
sums keep theirs for the end. Where it is one number a channel behind a layer, it joins the layer's bias. A layer with
weights lets a constant pass only for a gain, since it may turn one number into a map:

- what comes out is one number a channel and joins its bias;
- it dissolves there with the constant that is added next, into one number a channel (the padded border of RepConv);
- or the layer would read events but for the constant.

A bias passes the next layer in the same way, for the first two reasons. Computed in float64; numbers of one channel
count as equal when they differ by no more than the rounding of the type that they are stored in.
"""

from __future__ import annotations

import torch
from torch import Tensor

from compiler.graph import Graph, Node
from compiler.passes.linear_maps import (
    LAYERS,
    MOVES,
    POOLS,
    bias_of,
    borders,
    channel_axis,
    compact,
    gain,
    is_plain,
    linear_part,
    per_channel,
    rounding,
    spread,
    to_channels,
    weight_type,
    with_bias,
    without_bias,
)
from compiler.rewriting import ANYTHING, Draft, Match, Rule, pattern, rewrite

WEIGHTS = frozenset({"conv", "conv_transpose", "linear"})
PASSED = MOVES | POOLS | {"batch_norm", "scale", "neg"}


def push_constants(graph: Graph) -> Graph:
    """Return the graph with its constants in biases, or as late and as few as they can be."""
    return rewrite(graph, RULES)


# What a rule finds: x + c.


def _parts(draft: Draft, node: Node) -> tuple[str, str, Tensor] | None:
    """Return (x, signal of c, c) of a sum with stored numbers whose shape is x's own."""
    for x, constant in (node.inputs, node.inputs[::-1]):
        value = draft.value(constant)
        floats = value is not None and value.is_floating_point()
        if value is not None and floats and draft.value(x) is None and draft.shape(x) == draft.shape(node.output):
            return x, constant, value
    return None


def _plus(draft: Draft, x: str, value: Tensor, dtype: torch.dtype, like: Node) -> str:
    """Add stored numbers to a signal."""
    return draft.add("add", (x, draft.store(compact(value).to(dtype), like)), like=like)


# Sums.


def _difference(match: Match, draft: Draft) -> str | None:
    """x − c is x + (−c), c − x is −x + c."""
    node = match.root
    first, second = (draft.value(name) for name in node.inputs)
    if (first is None) == (second is None):
        return None
    if second is not None and second.is_floating_point():
        return draft.change(node, op="add", inputs=(node.inputs[0], draft.store(-second, node)))
    if first is not None and first.is_floating_point():
        negative = draft.add("neg", node.inputs[1:], like=node)
        return draft.change(node, op="add", inputs=(negative, node.inputs[0]))
    return None


def _two_constants(match: Match, draft: Draft) -> str | None:
    outer, inner = _parts(draft, match.root), _parts(draft, match["sum"])
    if outer is None or inner is None:
        return None
    (x, _, first), (_, _, second) = inner, outer
    total = (first.double() + second.double()).to(torch.promote_types(first.dtype, second.dtype))
    return draft.change(match.root, inputs=(x, draft.store(total, match.root)))


def _constant_last(match: Match, draft: Draft) -> str | None:
    """(x + c) + y is (x + y) + c; so for differences."""
    node, parts = match.root, _parts(draft, match["sum"])
    if parts is None or _parts(draft, node) is not None:
        return None
    x, _, value = parts
    inside = match["sum"].output
    if draft.value(match.other(inside)) is not None:
        return None
    sign = -1 if node.op == "sub" and node.inputs[1] == inside else 1
    total = draft.change(node, inputs=[x if name == inside else name for name in node.inputs])
    return _plus(draft, total, sign * value, value.dtype, node)


def _through(match: Match, draft: Draft) -> str | None:
    node, parts = match.root, _parts(draft, match["sum"])
    if parts is None:
        return None
    x, _, value = parts
    if node.op == "scale" and draft.shape(x) != draft.shape(node.output):
        return None
    passed = linear_part(node, spread(value, draft.shape(x)))
    return _plus(draft, draft.change(node, inputs=(x,)), passed, value.dtype, match["sum"])


# Biases.


def _into_bias(match: Match, draft: Draft) -> str | None:
    layer, path, parts = match["layer"], match.path("layer"), _parts(draft, match.root)
    if parts is None:
        return None
    x, _, value = parts
    shape, axis = draft.shape(layer.output), channel_axis(layer)
    if borders(path, shape):
        return None
    if path:
        vector = to_channels(value / gain(path, shape), path, shape, axis, draft.shape(x))
    else:
        vector = per_channel(value, shape, axis, rounding(weight_type(layer), value))
    if vector is None:
        return None
    draft.change(layer, parameters=with_bias(layer, vector))
    return x


def _through_layer(match: Match, draft: Draft) -> str | None:
    layer, parts = match.root, _parts(draft, match["sum"])
    if parts is None:
        return None
    x, _, value = parts
    meets = linear_part(layer, spread(value, draft.shape(x)))
    vector = _vector(layer, meets, draft)
    if vector is not None:
        return draft.change(layer, inputs=(x,), parameters=with_bias(layer, vector))
    if draft.type(x).is_event and not draft.type(match["sum"].output).is_event:
        return _plus(draft, draft.change(layer, inputs=(x,)), meets, weight_type(layer), layer)
    return None


def _dissolved(match: Match, draft: Draft) -> str | None:
    """layer(x + c) + d, where layer(c) + d is one number a channel."""
    layer, inner, outer = match["layer"], _parts(draft, match["sum"]), _parts(draft, match.root)
    if inner is None or outer is None:
        return None
    x, _, value = inner
    meets = linear_part(layer, spread(value, draft.shape(x)))
    vector = _vector(layer, meets, draft, outer[2])
    if vector is None:
        return None
    return draft.change(layer, inputs=(x,), parameters=with_bias(layer, vector))


def _bias_dissolved(match: Match, draft: Draft) -> str | None:
    """second(first + b) + d, where second(b) + d is one number a channel."""
    layer, outer = match["layer"], _parts(draft, match.root)
    if outer is None:
        return None
    vector = _vector(layer, _bias_behind(match, layer, draft), draft, outer[2])
    return None if vector is None else _hand_over(match, layer, vector, draft)


def _bias_through(match: Match, draft: Draft) -> str | None:
    """second(first + b), where second(b) is one number a channel."""
    layer = match.root
    vector = _vector(layer, _bias_behind(match, layer, draft), draft)
    return None if vector is None else _hand_over(match, layer, vector, draft)


def _bias_behind(match: Match, layer: Node, draft: Draft) -> Tensor:
    """Return what the bias of the first layer comes to behind ``layer``."""
    first = match["first"]
    value = spread(bias_of(first), draft.shape(first.output))
    for node in (*match.path("first"), layer):
        value = linear_part(node, value)
    return value


def _hand_over(match: Match, layer: Node, vector: Tensor, draft: Draft) -> str:
    first = match["first"]
    draft.change(first, parameters=without_bias(first))
    return draft.change(layer, parameters=with_bias(layer, vector))


def _vector(layer: Node, meets: Tensor, draft: Draft, other: Tensor | None = None) -> Tensor | None:
    """Return stored numbers behind a layer (plus ``other``) as one number a channel, None where they are more."""
    shape = draft.shape(layer.output)
    given = [meets] if other is None else [meets, other.double()]
    total = meets if other is None else meets + spread(other.double(), shape)
    return per_channel(total, shape, channel_axis(layer), rounding(weight_type(layer), *given))


def _biased(node: Node) -> bool:
    return is_plain(node) and "bias" in node.parameters


_SUM = pattern("add", name="sum", alone=True)
_LAYER = pattern(LAYERS, name="layer", where=is_plain, alone=True, through=MOVES | POOLS)
_FIRST = pattern(WEIGHTS, name="first", where=_biased, alone=True, through=MOVES | POOLS)
_CONSTANT = pattern("constant")

RULES = (
    Rule("a difference with stored numbers", pattern("sub"), _difference),
    Rule("two constants", pattern("add", _SUM, _CONSTANT, either=True), _two_constants),
    Rule("constants last", pattern(("add", "sub"), _SUM, ANYTHING, either=True), _constant_last),
    Rule("into the bias", pattern("add", _LAYER, _CONSTANT, either=True), _into_bias),
    Rule(
        "dissolve behind a layer",
        pattern(
            "add",
            pattern(WEIGHTS, _SUM, name="layer", where=is_plain, alone=True),
            _CONSTANT,
            either=True,
        ),
        _dissolved,
    ),
    Rule(
        "dissolve a bias behind a layer",
        pattern(
            "add",
            pattern(WEIGHTS, _FIRST, name="layer", where=is_plain, alone=True),
            _CONSTANT,
            either=True,
        ),
        _bias_dissolved,
    ),
    Rule("through moves, averages and norms", pattern(PASSED, _SUM, where=is_plain), _through),
    Rule("through a layer", pattern(WEIGHTS, _SUM, where=is_plain), _through_layer),
    Rule("a bias through a layer", pattern(WEIGHTS, _FIRST, where=is_plain), _bias_through),
)
