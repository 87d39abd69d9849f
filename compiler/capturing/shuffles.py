"""Calls whose place of the batch takes thought: permutations, stacks, repeats, indices, matrix products, einsum."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, fx

from compiler.capturing.axes import Layout

if TYPE_CHECKING:
    from compiler.capturing.call import ExportedCall


def permuted(call: ExportedCall, order: Sequence[int]) -> str:
    """Return ``self`` with its exported axes in ``order``."""
    source = call.layout("self")
    order = [dim % len(source.shape) for dim in order]
    shape = tuple(source.shape[dim] for dim in order)
    call.made_layout = result = Layout(shape, order.index(source.axis), source.outer, source.inner)
    x, here, there = call.signal("self"), _present(source), [order[dim] for dim in _present(result)]
    if sorted(here) != sorted(there):
        # An axis of size 1 comes to the front or leaves it: with all axes in place the order is plain.
        x, here, there = call.reshape(x, source.whole), list(range(len(order))), list(order)
    if here != there:
        x = call.emit("permute", [x], {"axes": tuple(here.index(dim) - len(here) for dim in there)})
    return x


def _present(layout: Layout) -> list[int]:
    """Return the exported axes that a sample has, in order."""
    front = [] if layout.leads else list(range(layout.axis))
    middle = [layout.axis] if layout.merged > 1 else []
    return [*front, *middle, *range(layout.axis + 1, len(layout.shape))]


def joined(call: ExportedCall) -> str:
    """Return the argument ``tensors`` one after the other along an exported axis."""
    out, dim = call.out, call.arguments["dim"]
    axis = call_position(call, out, dim)
    made = []
    for node, signal in zip(call.arguments["tensors"], call.signals("tensors"), strict=True):
        layout = call.values[node].layout
        # A leading axis of 1, which the sample lacks, stands beside longer ones here.
        short = layout is not None and layout.leads and not out.leads
        made.append(call.reshape(signal, layout.fronted) if layout is not None and short else signal)
    if axis is None:
        if len(made) > 1:
            raise call.refuse("joins time steps, which graphs do not have: they say what one step does")
        return made[0]
    return made[0] if len(made) == 1 else call.emit("concat", made, {"axis": axis})


def stacked(call: ExportedCall) -> str:
    """Return the argument ``tensors`` along a new axis."""
    made, out = call.signals("tensors"), call.out
    axis = call_position(call, out, call.arguments["dim"])
    if axis is None:
        if len(made) > 1:
            raise call.refuse("joins time steps, which graphs do not have: they say what one step does")
        return made[0]
    shape = list(out.sample)
    shape[axis] = 1
    return call.emit("concat", [call.reshape(x, shape) for x in made], {"axis": axis})


def call_position(call: ExportedCall, layout: Layout, dim: int) -> int | None:
    """Return the sample's axis of an exported axis of ``layout``; CaptureError for the batch."""
    if dim % len(layout.shape) == layout.axis:
        raise call.refuse("works along the batch, which mixes samples")
    return layout.position(dim)


def repeated(call: ExportedCall, counts: Sequence[int]) -> str:
    """Return ``self`` with its exported axes repeated, new ones in front."""
    source = call.layout("self")
    new = len(counts) - len(source.shape)
    axis = source.axis + new
    shape = tuple(count * size for count, size in zip(counts, (*[1] * new, *source.shape), strict=True))
    call.made_layout = Layout(shape, axis, source.outer * counts[axis], source.inner)
    x = call.reshape(call.signal("self"), (*[1] * new, *source.whole))
    for position, count in enumerate(counts):
        if count > 1:
            x = call.emit("concat", [x] * count, {"axis": position - len(counts)})
    return x


def interleaved(call: ExportedCall, repeats: int, dim: int | None) -> str:
    """Return ``self`` with every value along an exported axis repeated."""
    if dim is None:
        raise call.refuse("repeats all values of the batch in one row; name the axis")
    source = call.layout("self")
    dim %= len(source.shape)
    shape = tuple(size * (repeats if position == dim else 1) for position, size in enumerate(source.shape))
    inner = source.inner * (repeats if dim == source.axis else 1)
    call.made_layout = Layout(shape, source.axis, source.outer, inner)
    x = call.reshape(call.signal("self"), source.whole)
    index = torch.arange(source.whole[dim]).repeat_interleave(repeats)
    return call.emit("take", [x], {"axis": dim - len(source.whole)}, {"index": index})


def indexed(call: ExportedCall) -> str:
    """Return ``self`` at ``indices``: stored positions of a signal, or a computed position of a stored table."""
    indices = [call.values[i] if isinstance(i, fx.Node) else None for i in call.arguments["indices"]]
    given = [(dim, value) for dim, value in enumerate(indices) if value is not None]
    if call.is_constant("self"):
        if len(given) == 1 and given[0] == (0, given[0][1]) and given[0][1].signal:
            return call.emit("lookup", [given[0][1].signal], {}, {"weight": call.tensor("self")})
        raise call.refuse("looks up a stored table at several computed positions")
    if any(value.dtype == torch.bool and value.tensor is None for _, value in given):
        raise call.refuse(
            "picks values by a computed mask: how many depends on the data; multiply with the mask instead"
        )
    if any(value.tensor is None for _, value in given):
        raise call.refuse("takes values at computed positions; use torch.gather")
    dims = [dim for dim, _ in given]
    if dims != list(range(dims[0], dims[0] + len(dims))):
        raise call.refuse("takes values along axes that do not follow one another")
    source = call.layout("self")
    stored = [_positions(value.tensor) for _, value in given if value.tensor is not None]
    for dim in dims:
        if call.axis("self", dim) is None:
            raise call.refuse("takes time steps out of a sequence")
    first = call.axis("self", dims[0])
    assert first is not None
    sizes = [source.shape[dim] for dim in dims]
    flat = torch.zeros((), dtype=torch.long)
    for index, size in zip(stored, sizes, strict=True):
        flat = flat * size + index % size
    shape = source.sample
    start = first + len(shape)
    joined = (*shape[:start], math.prod(sizes), *shape[start + len(dims) :])
    x = call.reshape(call.signal("self"), joined)
    return call.emit("take", [x], {"axis": start - len(joined)}, {"index": flat.reshape(-1)})


def _positions(index: Tensor) -> Tensor:
    return index.nonzero().reshape(-1) if index.dtype == torch.bool else index.long()


def matmul(call: ExportedCall, left: str, right: str) -> str:
    """Return the product of two arguments; a batch in rows or columns that meet stored numbers is put aside."""
    a, b = call.value(left), call.value(right)
    if b.tensor is not None and b.tensor.ndim == 1:
        return call.emit("linear", [call.signal(left)], {}, {"weight": b.tensor.reshape(1, -1)})
    if a.layout is not None and b.tensor is not None:
        place = a.layout.axis - len(a.layout.shape)
        if place == -2:
            return _aside(call, a.layout, call.signal(left), b.tensor, stored_left=False)
        if place == -1:
            raise call.refuse("multiplies along the batch, which mixes samples")
    if b.layout is not None and a.tensor is not None:
        place = b.layout.axis - len(b.layout.shape)
        if place == -1 and a.tensor.ndim > 1:
            return _aside(call, b.layout, call.signal(right), a.tensor, stored_left=True)
        if place == -2:
            raise call.refuse("multiplies along the batch, which mixes samples")
    if a.layout is not None and b.layout is not None:
        return _both(call, left, right)
    if a.tensor is not None and a.tensor.ndim == 1:
        row = call.constant(a.tensor.reshape(1, -1))
        return call.emit("matmul", [row, call.signal(right)])
    return call.emit("matmul", [call.operand(left), call.operand(right)])


def _aside(call: ExportedCall, layout: Layout, signal: str, stored: Tensor, stored_left: bool) -> str:
    """Multiply with the batch as an axis of one row or column."""
    x = call.reshape(signal, layout.whole)
    constant = call.constant(stored)
    return call.emit("matmul", [constant, x] if stored_left else [x, constant])


def _both(call: ExportedCall, left: str, right: str) -> str:
    """Two signals: the batch must be in front of both matrices."""
    for name in (left, right):
        layout = call.layout(name)
        if layout.axis - len(layout.shape) >= -2:
            raise call.refuse("multiplies along the batch, which mixes samples")
    return call.emit("matmul", [call.operand(left), call.operand(right)])


def einsum(call: ExportedCall) -> str:
    """Return an einsum whose equation has no letter for the batch."""
    values = [call.values[node] for node in call.arguments["tensors"]]
    ranks = [len(v.layout.shape) if v.layout else v.tensor.ndim if v.tensor is not None else 0 for v in values]
    terms, result = _terms(call, call.arguments["equation"], ranks)
    batch = {t[v.layout.axis] for t, v in zip(terms, values, strict=True) if v.layout is not None}
    if len(batch) != 1:
        raise call.refuse("sums over products of different samples")
    letter = batch.pop()
    if letter not in result:
        raise call.refuse("sums over the batch, which mixes samples")
    inputs, kept = [], []
    layouts = [v.layout for v in values if v.layout is not None]
    for layout in layouts[1:]:
        call.check_order(layouts[0], layout)
    merged = any(v.layout is not None and v.layout.merged > 1 for v in values)
    for term, value in zip(terms, values, strict=True):
        if value.layout is None:
            assert value.tensor is not None
            inputs.append(call.constant(value.tensor))
            kept.append(term)
            continue
        whole = value.layout.whole
        shape = whole if merged else (*whole[: value.layout.axis], *whole[value.layout.axis + 1 :])
        inputs.append(call.reshape(value.signal, shape))
        kept.append(term if merged else term.replace(letter, ""))
    equation = f"{','.join(kept)}->{result if merged else result.replace(letter, '')}"
    return call.emit("einsum", inputs, {"equation": equation})


def _terms(call: ExportedCall, equation: str, ranks: Sequence[int]) -> tuple[list[str], str]:
    """Return the letters of every operand and of the result, dots written out."""
    left, arrow, result = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    unused = [letter for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ" if letter not in equation]
    dots = max(
        (rank - len(t.replace("...", "")) for t, rank in zip(terms, ranks, strict=True) if "..." in t), default=0
    )
    spare = "".join(unused[:dots])
    written = []
    for term, rank in zip(terms, ranks, strict=True):
        count = rank - len(term.replace("...", ""))
        written.append(term.replace("...", spare[dots - count :] if count else ""))
    if not arrow:
        letters = "".join(written)
        result = "..." * bool(dots) + "".join(
            sorted(c for c in set(letters) if letters.count(c) == 1 and c not in spare)
        )
    return written, result.replace("...", spare)
