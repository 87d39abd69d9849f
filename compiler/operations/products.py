"""Products of signals: matmul, einsum, and attention as one node.

matmul      (…, n, k) @ (…, k, m); the axes in front broadcast
einsum      ``equation`` over samples: the batch has no letter
attention   softmax(q kᵀ · scale + mask) v; ``compiler.passes`` can split it into its products

Counted by what meets what: events × events one accumulate for every unit of the one and of the other, events × reals
one for every unit, reals × reals a multiply-accumulate.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from compiler.graph.facts import Amount, Facts
from compiler.graph.graph import Node
from compiler.graph.operation import Operation, Shapes
from compiler.graph.signals import SignalType
from compiler.operations.call import Call
from compiler.operations.rules import BOOL, NUMBER, TEXT, align, real, synaptic
from compiler.operations.softmax import softmax_counts


def _matmul(node: Node, x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
    return (torch.matmul(*align(x, y)),)


def _matmul_type(node: Node, types: Sequence[SignalType], shapes: Shapes) -> SignalType:
    return types[0].product(types[1]).times(shapes[0][-1])


def product_counts(facts: Facts, left: int, right: int, axes: tuple[int, int], macs: float) -> dict[str, Amount]:
    """Count the product of inputs ``left`` and ``right``, of ``macs`` multiply-accumulates if nothing is skipped.

    ``axes`` are those of the rows of the one and of the columns of the other: every row meets every column.
    """
    done: dict[str, Amount] = {"dense_macs": macs}
    events = [index for index in (left, right) if facts.is_event(index)]
    if len(events) == 1:
        return {**done, **synaptic(facts, events, units_spread(facts, events[0], macs))}
    if not facts.known:
        return {**done, "mac": macs}
    # Σ_k (Σ_n |x_nk|)(Σ_m |y_km|): every unit of the one meets every unit of the other at the same k.
    x, y = align(facts.unit_sums(left, axes[:1]), facts.unit_sums(right, axes[1:]))
    met = (x.squeeze(axes[0]) * y.squeeze(axes[1])).flatten(1).sum(1)
    return {**done, **synaptic(facts, events, met)} if events else {**done, "mac": macs, "effective_macs": met}


def units_spread(facts: Facts, index: int, macs: float) -> Tensor:
    """Units of the one event operand of ``macs`` products, each value of which is in equally many of them."""
    return facts.total_units(index) * (macs / max(facts.evaluations * facts.inputs[index].size, 1))


def _count_matmul(node: Node, facts: Facts) -> Mapping[str, Amount]:
    return product_counts(facts, 0, 1, (-2, -1), float(facts.outputs_size * facts.inputs[0].shape[-1]))


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


def _capture_addmm(left: str, right: str) -> Callable[[Call], None]:
    """beta · self + alpha · (left @ right)."""

    def capture(call: Call) -> None:
        product, summand = call.matmul(left, right), call.operand("self")
        product = call.reshape(product, call.out.sample)
        if call["alpha"] != 1:
            product = call.emit("scale", [product], {}, {"weight": call.number(call["alpha"])})
        if call["beta"] != 1:
            summand = call.emit("scale", [summand], {}, {"weight": call.number(call["beta"])})
        call.give(call.emit("add", [product, summand]))

    return capture


def _einsum(node: Node, *values: Tensor) -> tuple[Tensor, ...]:
    left, right = node.attributes["equation"].split("->")
    batch = next(letter for letter in "ZYXWVUTSRQPONMLKJIHGFEDCBAzyxwvutsrqponmlkjihgfedcba" if letter not in left)
    terms = ",".join(batch + term for term in left.split(","))
    return (torch.einsum(f"{terms}->{batch}{right}", *values),)


def _letters(node: Node, shapes: Shapes) -> tuple[dict[str, int], list[str], str]:
    left, right = node.attributes["equation"].split("->")
    terms = left.split(",")
    sizes: dict[str, int] = {}
    for term, shape in zip(terms, shapes, strict=True):
        for letter, size in zip(term, shape, strict=True):
            sizes[letter] = max(size, sizes.get(letter, 1))
    return sizes, terms, right


def _einsum_type(node: Node, types: Sequence[SignalType], shapes: Shapes) -> SignalType:
    sizes, _, right = _letters(node, shapes)
    kind = types[0]
    for other in types[1:]:
        kind = kind.product(other)
    return kind.times(math.prod(size for letter, size in sizes.items() if letter not in right))


def _count_einsum(node: Node, facts: Facts) -> Mapping[str, Amount]:
    """A sum over the letters that the result lacks, of products of all operands."""
    sizes, terms, _ = _letters(node, [signal.shape for signal in facts.inputs])
    macs = float(facts.evaluations * math.prod(sizes.values()))
    if len(terms) == 1:
        return {"adds": macs} if macs > facts.outputs_size else {}
    reals = sum(not facts.is_event(index) for index in range(len(terms)))
    done: dict[str, Amount] = {"dense_macs": macs * (len(terms) - 1)}
    if reals > 1:
        done["mac"] = macs * (reals - 1)
    if reals < len(terms):
        events = [index for index in range(len(terms)) if facts.is_event(index)]
        done |= synaptic(facts, events, _einsum_met(facts, sizes, terms))
    return done


def _einsum_met(facts: Facts, sizes: Mapping[str, int], terms: Sequence[str]) -> Tensor:
    """What units meet: the equation over units, with ones for reals, added up over every letter.

    Letters of one operand alone are summed up before, which leaves little to multiply.
    """
    met, names = 1.0, iter(range(52))
    number = {letter: next(names) for letter in sizes}
    batch, operands = next(names), []
    for index, term in enumerate(terms):
        others = "".join(other for at, other in enumerate(terms) if at != index)
        shape = facts.inputs[index].shape
        own = [a - len(term) for a, letter in enumerate(term) if letter not in others and term.count(letter) == 1]
        if facts.is_event(index):
            sums = facts.unit_sums(index, own)
        else:
            met *= math.prod(shape[a] for a in own)
            kept = [1 if a - len(term) in own else n for a, n in enumerate(shape)]
            sums = torch.ones(1, *kept, dtype=torch.float64, device=facts.values[index].device)
            sums = sums.expand(facts.evaluations, *sums.shape[1:])
        operands += [sums, [batch, *(number[letter] for letter in term)]]
    return met * torch.einsum(*operands, [batch])


def product_size(node: Node, facts: Facts) -> float:
    """Multiplications of a matmul, an einsum or a product value by value of the first two inputs, without skipping."""
    if node.op == "matmul":
        return float(facts.outputs_size * facts.inputs[0].shape[-1])
    if node.op == "einsum":
        sizes, _, _ = _letters(node, [signal.shape for signal in facts.inputs[:2]])
        return float(facts.evaluations * math.prod(sizes.values()))
    return float(facts.outputs_size)


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


def _count_attention(node: Node, facts: Facts) -> Mapping[str, Amount]:
    """q·kᵀ by what q and k carry, softmax, and the product of its reals with v."""
    shape = facts.outputs[0].shape
    depth, keys = facts.inputs[0].shape[-1], facts.inputs[1].shape[-2]
    rows = float(facts.evaluations * math.prod(shape[:-1]))
    logits = rows * keys
    done = product_counts(facts, 0, 1, (-2, -2), logits * depth)
    second = logits * shape[-1]
    done["dense_macs"] += second
    # What the softmax gives is never zero: of its product with v, only v can be skipped.
    met: Amount = units_spread(facts, 2, second) if facts.known else second
    of_v: dict[str, Amount] = {"mac": second, "effective_macs": met}
    if facts.is_event(2):
        of_v = synaptic(facts, [2], met)
    done |= {name: done.get(name, 0.0) + amount for name, amount in of_v.items()}
    soft = softmax_counts(logits, rows)
    masked = logits if len(facts.inputs) > 3 else 0.0
    return {**done, **soft, "multiplies": logits, "adds": soft["adds"] + masked}


def _capture_attention(call: Call) -> None:
    if call["dropout_p"]:
        raise call.refuse("is attention with dropout; graphs hold networks in eval mode")
    if call["enable_gqa"]:
        raise call.refuse("shares keys between groups of heads (enable_gqa); repeat them")
    for name in ("query", "key", "value"):
        call.apart(name, 2)
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
            "aten.addmm.default": _capture_addmm("mat1", "mat2"),
            "aten.baddbmm.default": _capture_addmm("batch1", "batch2"),
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
