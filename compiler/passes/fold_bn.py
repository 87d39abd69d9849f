"""Fold batch norms and scales into the layer before them or after them.

With stored statistics, y = γ·(Wx + b − μ)/√(σ² + ε) + β is linear: W' = W·γ/√(σ² + ε), b' = (b − μ)·γ/√(σ² + ε) + β.
A scale is the same without μ and β. In between may lie moves and averages, as long as all that a channel's values meet
is one factor; a neuron or any other function ends the search, and so does a second reader.

A batch norm before a layer leaves its factors in the layer's weights and its shift in the bias. Where the layer pads
with zeros, which the shift does not reach, the bias would depend on the place: only if the batch norm reads events, so
that the layer does too once it is gone, that sum is stored and added; else the batch norm stays.

Computed in float64. In float32 the rounding of a folded layer may flip a spike whose membrane lies on the threshold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from compiler.graph import Graph, Node
from compiler.passes.linear_maps import (
    LAYERS,
    MOVES,
    POOLS,
    affine,
    borders,
    channel_axis,
    compact,
    gain,
    input_channels,
    is_linear_pad,
    is_plain,
    linear_part,
    per_channel,
    rounding,
    run_on,
    scaled_inputs,
    scaled_results,
    spread,
    to_channels,
    weight_type,
    with_bias,
)
from compiler.rewriting import Draft, Match, Rule, pattern, rewrite

NORMS = frozenset({"batch_norm", "scale"})


def fold_bn(graph: Graph) -> Graph:
    """Return the graph without the batch norms and scales that a layer before or after them can take up."""
    return rewrite(graph, RULES)


def _into_layer_before(match: Match, draft: Draft) -> str | None:
    norm, layer, path = match.root, match["layer"], match.path("layer")
    x = norm.inputs[0]
    if draft.shape(x) != draft.shape(norm.output):
        return None
    shape, axis, end = draft.shape(layer.output), channel_axis(layer), draft.shape(x)
    factor, shift = affine(norm, end)
    own = to_channels(factor, path, shape, axis, end, fill=1.0)
    if own is None:
        return None
    added: Tensor | None = torch.zeros_like(own)
    if bool(shift.any()):
        added = None if borders(path, shape) else to_channels(shift / gain(path, shape), path, shape, axis, end)
    if added is None:
        return None
    draft.change(layer, parameters=scaled_results(layer, own, added))
    return x


def _into_layer_after(match: Match, draft: Draft) -> str | None:
    layer, norm, path = match.root, match["norm"], match.path("norm")
    x = norm.inputs[0]
    if draft.shape(x) != draft.shape(norm.output) or not all(is_linear_pad(node) for node in path):
        return None
    factor, shift = (spread(part, draft.shape(x)) for part in affine(norm, draft.shape(x)))
    for node in path:
        factor, shift = run_on(node, factor), run_on(node, shift)
    own = _inputs_factor(layer, factor, draft)
    if own is None:
        return None
    folded = replace(layer, parameters=scaled_inputs(layer, own))
    if not bool(shift.any()):
        return _skip(norm, path, draft, folded)
    meets = linear_part(layer, shift)
    dtype = weight_type(layer)
    bias = per_channel(meets, draft.shape(layer.output), channel_axis(layer), rounding(dtype, meets))
    if bias is not None:
        return _skip(norm, path, draft, replace(folded, parameters=with_bias(folded, bias)))
    if not draft.type(x).is_event:
        return None
    result = _skip(norm, path, draft, folded)
    return draft.add("add", (result, draft.store(compact(meets).to(dtype), layer)), like=layer)


def _inputs_factor(layer: Node, factor: Tensor, draft: Draft) -> Tensor | None:
    """Return a factor for each channel that a layer reads, None where a channel meets several.

    What stands at padded borders has no factor: it is 0.
    """
    return per_channel(factor, draft.shape(layer.inputs[0]), channel_axis(layer))


def _skip(norm: Node, path: Sequence[Node], draft: Draft, layer: Node) -> str:
    """Let what reads ``norm`` read what it read, and give ``layer`` its parameters; return the layer's signal."""
    x = norm.inputs[0]
    if not path:
        return draft.change(draft.nodes[layer.name], inputs=(x,), parameters=layer.parameters)
    draft.change(path[0], inputs=(x,))
    return draft.change(draft.nodes[layer.name], parameters=layer.parameters)


def _number_into_layer_after(match: Match, draft: Draft) -> str | None:
    """One number for all values: it goes through sums and averages too."""
    layer, scale, path = match.root, match["norm"], match.path("norm")
    weight: Tensor = scale.parameters["weight"]
    if weight.numel() != 1 or draft.shape(scale.inputs[0]) != draft.shape(scale.output):
        return None
    if not all(is_linear_pad(node) for node in path):
        return None
    factor = weight.double().reshape(1).expand(input_channels(layer))
    return _skip(scale, path, draft, replace(layer, parameters=scaled_inputs(layer, factor)))


_BEFORE = pattern(LAYERS, name="layer", where=is_plain, alone=True, through=MOVES | POOLS)
_NORM = pattern(NORMS, name="norm", where=is_plain, alone=True, through=MOVES)
_NUMBER = pattern("scale", name="norm", where=is_plain, alone=True, through=MOVES | POOLS)

RULES = (
    Rule("fold into the layer before", pattern(NORMS, _BEFORE, where=is_plain), _into_layer_before),
    Rule("fold one number into the layer after", pattern(LAYERS, _NUMBER, where=is_plain), _number_into_layer_after),
    Rule("fold into the layer after", pattern(LAYERS, _NORM, where=is_plain), _into_layer_after),
)
