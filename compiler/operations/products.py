"""Products of signals: matmul, einsum, and attention as one node.

matmul      (…, n, k) @ (…, k, m); the axes in front broadcast
einsum      ``equation`` over samples: the batch has no letter
attention   softmax(q kᵀ · scale + mask) v; ``compiler.passes`` can split it into its products

Counted by what meets what: events × events one accumulate for every unit of the one and of the other, events × reals
one for every unit, reals × reals a multiply-accumulate.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from compiler.graph.facts import Facts
from compiler.graph.graph import Node
from compiler.graph.operation import Operation, Shapes
from compiler.graph.signals import SignalType
from compiler.operations.call import Call
from compiler.operations.rules import BOOL, NUMBER, TEXT, align, real


def _matmul(node: Node, x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
    return (torch.matmul(*align(x, y)),)


def _matmul_type(node: Node, types: Sequence[SignalType], shapes: Shapes) -> SignalType:
    return types[0].product(types[1]).times(shapes[0][-1])


def product_counts(facts: Facts, left: int, right: int, macs: float) -> dict[str, float]:
    """Count (…, n, k) @ (…, k, m), ``macs`` of a machine that skips nothing; ``left``, ``right`` are input numbers."""
    done = {"dense_macs": macs}
    first, second = facts.is_event(left), facts.is_event(right)
    if not first and not second:
        return {**done, "mac": macs}
    if first and second:
        # Σ_k (Σ_n |x_nk|)(Σ_m |y_km|): every unit on either side of each k.
        x, y = align(facts.levels(left).sum(-2), facts.levels(right).sum(-1))
        accumulates = float((x * y).sum())
    elif first:
        accumulates = _units(facts, left, facts.inputs[right].shape[-1], macs)
    else:
        accumulates = _units(facts, right, facts.inputs[left].shape[-2], macs)
    return {**done, "ac": accumulates, "synaptic_events": accumulates}


def _units(facts: Facts, index: int, fan_out: int, macs: float) -> float:
    """Units of one event operand, each met by ``fan_out`` values of the other, as often as it is broadcast."""
    levels = facts.levels(index)
    repeats = macs / max(levels.numel() * fan_out, 1)
    return float(levels.sum()) * fan_out * repeats


def _count_matmul(node: Node, facts: Facts) -> Mapping[str, float]:
    return product_counts(facts, 0, 1, float(facts.outputs_size * facts.inputs[0].shape[-1]))


def _capture_matmul(call: Call) -> None:
    # A stored matrix on the right is a linear layer.
    if call.is_constant("other") and not call.is_constant("self"):
        matrix = call.tensor("other")
        if matrix.ndim == 2 and call.axis("self", -1) is not None:
            call.give(call.emit("linear", [call.signal("self")], {}, {"weight": matrix.t().contiguous()}))
            return
    call.give(call.matmul("self", "other"))


def _capture_bmm(call: Call) -> None:
    call.give(call.matmul("self", "mat2"))


def _einsum(node: Node, *values: Tensor) -> tuple[Tensor, ...]:
    left, right = node.attributes["equation"].split("->")
    batch = next(letter for letter in "ZYXWVUTSRQPONMLKJIHGFEDCBAzyxwvutsrqponmlkjihgfedcba" if letter not in left)
    terms = ",".join(batch + term for term in left.split(","))
    return (torch.einsum(f"{terms}->{batch}{right}", *values),)


def _letters(node: Node, shapes: Shapes) -> tuple[dict[str, int], list[str], str]:
    left, right = node.attributes["equation"].split("->")
    terms = left.split(",")
    sizes = {
        letter: size
        for term, shape in zip(terms, shapes, strict=True)
        for letter, size in zip(term, shape, strict=True)
    }
    return sizes, terms, right


def _einsum_type(node: Node, types: Sequence[SignalType], shapes: Shapes) -> SignalType:
    sizes, _, right = _letters(node, shapes)
    kind = types[0]
    for other in types[1:]:
        kind = kind.product(other)
    return kind.times(math.prod(size for letter, size in sizes.items() if letter not in right))


def _count_einsum(node: Node, facts: Facts) -> Mapping[str, float]:
    sizes, terms, _ = _letters(node, [signal.shape for signal in facts.inputs])
    macs = float(facts.evaluations * math.prod(sizes.values()))
    if len(terms) == 1:
        return {"adds": macs}
    done = {"dense_macs": macs}
    events = [index for index in range(len(terms)) if facts.is_event(index)]
    if not events:
        return {**done, "mac": macs * (len(terms) - 1)}
    # All events at once, real operands as ones: the sum over the equation is what meets what.
    left, _ = node.attributes["equation"].split("->")
    values = [
        facts.levels(i) if i in events else torch.ones_like(facts.values[i], dtype=torch.float64)
        for i in range(len(terms))
    ]
    spread = ",".join("Z" + term for term in left.split(","))
    met = float(torch.einsum(f"{spread}->", *values)) if "Z" not in left else macs
    return {**done, "ac": met, "synaptic_events": met}


def _capture_einsum(call: Call) -> None:
    call.give(call.einsum())


def _attention(node: Node, q: Tensor, k: Tensor, v: Tensor, *mask: Tensor) -> tuple[Tensor, ...]:
    a, aligned = node.attributes, align(q, k, v, *mask)
    batch = max(tensor.shape[0] for tensor in aligned)
    q, k, v = (tensor.expand(batch, *tensor.shape[1:]) for tensor in aligned[:3])
    mask = aligned[3:]
    added = mask[0] if mask else None
    if added is not None and added.dtype != torch.bool:
        added = added.to(q.dtype)
    y = F.scaled_dot_product_attention(q, k, v, added, 0.0, a["causal"], scale=a["scale"])
    return (y,)


def _count_attention(node: Node, facts: Facts) -> Mapping[str, float]:
    """q·kᵀ by what q and k carry, softmax, and the product of its reals with v."""
    shape = facts.outputs[0].shape
    (queries, depth), keys = facts.inputs[0].shape[-2:], facts.inputs[1].shape[-2]
    rows = float(facts.evaluations * math.prod(shape[:-1]))
    logits = rows * keys
    done = _first_product(facts, logits * depth)
    second = rows * keys * shape[-1]
    if facts.is_event(2):
        accumulates = _units(facts, 2, queries, second)
        done["ac"] = done.get("ac", 0.0) + accumulates
        done["synaptic_events"] = done.get("synaptic_events", 0.0) + accumulates
    else:
        done["mac"] = done.get("mac", 0.0) + second
    done["dense_macs"] += second
    masks = logits if len(facts.inputs) > 3 else 0.0
    return {
        **done,
        "multiplies": logits,
        "adds": logits + masks,
        "exponentials": logits,
        "divisions": logits,
        "activations": logits,
    }


def _first_product(facts: Facts, macs: float) -> dict[str, float]:
    done = {"dense_macs": macs}
    first, second = facts.is_event(0), facts.is_event(1)
    if not first and not second:
        return {**done, "mac": macs}
    if first and second:
        x, y = align(facts.levels(0).sum(-2), facts.levels(1).sum(-2))
        accumulates = float((x * y).sum())
    elif first:
        accumulates = _units(facts, 0, facts.inputs[1].shape[-2], macs)
    else:
        accumulates = _units(facts, 1, facts.inputs[0].shape[-2], macs)
    return {**done, "ac": accumulates, "synaptic_events": accumulates}


def _capture_attention(call: Call) -> None:
    if call["dropout_p"]:
        raise call.refuse("is attention with dropout; graphs hold networks in eval mode")
    if call["enable_gqa"]:
        raise call.refuse("shares keys between groups of heads (enable_gqa); repeat them")
    q = call.operand("query")
    scale = call["scale"] if call.has("scale") else 1.0 / math.sqrt(call.shape_of(q)[-1])
    inputs = [q, call.operand("key"), call.operand("value")]
    if call.has("attn_mask"):
        inputs.append(call.operand("attn_mask"))
    attributes = {"scale": float(scale), "causal": bool(call["is_causal"])}
    call.give(call.emit("attention", inputs, attributes))


OPERATIONS = (
    Operation(
        "matmul",
        "product",
        _matmul,
        _matmul_type,
        _count_matmul,
        {
            "aten.matmul.default": _capture_matmul,
            "aten.bmm.default": _capture_bmm,
            "aten.mm.default": _capture_bmm,
        },
        inputs=(2, 2),
    ),
    Operation(
        "einsum",
        "product",
        _einsum,
        _einsum_type,
        _count_einsum,
        {"aten.einsum.default": _capture_einsum},
        {"equation": TEXT},
        inputs=(1, None),
    ),
    Operation(
        "attention",
        "product",
        _attention,
        real,
        _count_attention,
        {"aten.scaled_dot_product_attention.default": _capture_attention},
        {"scale": NUMBER, "causal": BOOL},
        inputs=(3, 4),
    ),
)
