"""The chip-clean variant: a network with everything replaced that a chip of neurons and synapses cannot do.

| in the network | in its variant |
|---|---|
| softmax over N values | relu(x/N) = relu(x)/N |
| layer, RMS and group norm | a batch norm: per channel the affine map nearest to the norm on the samples |
| GELU, SiLU, hard-swish, mish | ReLU |

A batch norm is a part of the layer beside it once the variant is converted (a weight and a bias of its own where there
is none), and ReLU is the lowest code of a quantiser: what is left are weights, additions and products of two signals.
The variant is another network: it has to be fine-tuned (``distilled``, then ``fine_tuned`` with the float network as
teacher).

Sources: ReLU/N in place of softmax: Wortsman et al., arXiv 2309.08586; batch norm in place of layer norm: Yao et al.,
"Leveraging Batch Normalization for Vision Transformers", ICCV workshops 2021.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from compiler.analysis.types import infer_signals
from compiler.converting.calibrating import inputs_of
from compiler.converting.conversion import prepared
from compiler.graph import Graph, Node, operation, verify
from compiler.graph.builder import stored_dtype
from compiler.interpreting import last_reads, read_inputs
from compiler.rewriting import Draft, Match, Rule, pattern, rewrite
from snnkit.errors import InvalidArgumentError, NonFiniteError

SMOOTH = ("gelu", "silu", "hardswish", "mish")
NORMS = ("layer_norm", "rms_norm", "group_norm")
_EPS = 1e-5


def chip_clean(model: nn.Module | Graph, samples: Iterable[Tensor | tuple[Tensor, ...] | list[Tensor]]) -> Graph:
    """Return the chip-clean variant of a network, which is to be fine-tuned.

    Args:
        model: a module in eval mode, or its graph.
        samples: batches of inputs (B, …), or pairs whose first entry is that; batch norms get their numbers from them.

    Raises:
        InvalidArgumentError: a network in training mode, no samples, or samples of the wrong shape.
        CaptureError: a network that cannot be captured, or is a spiking one already.
        NonFiniteError: NaN or infinity in the samples, or in what the network makes of them.
    """
    batches = list(inputs_of(samples))
    if not batches:
        raise InvalidArgumentError("chip_clean needs at least one batch of samples.")
    graph = prepared(model, batches[0])
    dtype = stored_dtype(graph)

    def shared_out(match: Match, draft: Draft) -> str:
        return _relu_in_place_of_softmax(match.root, draft, dtype)

    rules = [
        Rule("softmax becomes ReLU/N", pattern("softmax"), shared_out),
        Rule("a smooth activation becomes ReLU", pattern(SMOOTH), _relu_in_place),
    ]
    return verify(_with_batch_norms(rewrite(graph, rules), batches))


def _relu_in_place_of_softmax(node: Node, draft: Draft, dtype: torch.dtype) -> str:
    (x,) = node.inputs
    share = torch.tensor(1 / draft.shape(x)[node.attributes["axis"]], dtype=dtype)
    # Divided first: what ReLU gives is known not to be negative, and gets all codes.
    divided = draft.add("scale", (x,), parameters={"weight": share}, name=f"{node.name}.share", like=node)
    return draft.change(node, op="relu", inputs=(divided,), attributes={})


def _relu_in_place(match: Match, draft: Draft) -> str:
    return draft.change(match.root, op="relu", attributes={})


def _with_batch_norms(graph: Graph, batches: list[Tensor]) -> Graph:
    """Replace norms, in order: each is fitted to what it reads once all before it are replaced."""
    values: dict[str, list[Tensor]] = {name: [] for name in graph.inputs}
    for batch in batches:
        given = read_inputs(graph, batch, None)
        if not given.still:
            raise InvalidArgumentError(f"samples are (B, …), got a sequence of shape {tuple(batch.shape)}.")
        for name, tensor in zip(graph.inputs, given.tensors, strict=True):
            _check_finite(tensor, f"the samples hold ({name})")
            values[name].append(tensor)
    done, nodes = last_reads(graph, set(graph.outputs)), []
    for node in graph:
        inputs = [values[name] for name in node.inputs]
        if node.op in NORMS:
            node = _fitted(node, inputs[0])
        nodes.append(node)
        results = [_run(node, [parts[index] for parts in inputs]) for index in range(len(batches))]
        for name, parts in zip(node.outputs, zip(*results, strict=True), strict=True):
            values[name] = list(parts)
        for signal in done.get(node.name, ()):
            del values[signal]
    return infer_signals(replace(graph, nodes=tuple(nodes)))


@torch.no_grad()
def _run(node: Node, inputs: list[Tensor]) -> tuple[Tensor, ...]:
    return operation(node.op).run(node, *inputs)


def _fitted(norm: Node, parts: list[Tensor]) -> Node:
    """Return the batch norm that is nearest to a norm, by least squares for each channel over all samples."""
    axis = -norm.attributes["rank"] - 1 if norm.op == "group_norm" else -norm.attributes["axes"]
    x = _rows(parts, axis)
    _check_finite(x, f"{norm.inputs[0]} holds")
    y = _rows([_run(norm, [part])[0] for part in parts], axis)
    mean, level = x.mean(1), y.mean(1)
    variance = (x - mean[:, None]).square().mean(1)
    together = ((x - mean[:, None]) * (y - level[:, None])).mean(1)
    slope = torch.where(variance > 0, together / variance, torch.zeros_like(variance))
    dtype = parts[0].dtype
    parameters: Mapping[str, Tensor] = {
        "mean": mean.to(dtype),
        "variance": variance.to(dtype),
        "weight": (slope * (variance + _EPS).sqrt()).to(dtype),
        "bias": level.to(dtype),
    }
    return replace(norm, op="batch_norm", attributes={"eps": _EPS, "axis": axis}, parameters=parameters)


def _rows(parts: list[Tensor], axis: int) -> Tensor:
    """Return all values by channel, (C, N), in float64."""
    return torch.cat([part.movedim(axis, 0).flatten(1).double() for part in parts], 1)


def _check_finite(x: Tensor, what: str) -> None:
    if not bool(torch.isfinite(x).all()):
        raise NonFiniteError(f"while a network is made chip-clean, {what} values that are not finite.")
