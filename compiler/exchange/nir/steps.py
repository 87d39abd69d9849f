"""Steps without a membrane in NIR, both ways: 1 where a signal lies above stored numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from compiler.exchange.nir.context import Reading, Writing
from compiler.exchange.nir.numbers import at_most, constant, next_below
from compiler.exchange.nir.package import NirError
from compiler.graph import Node


def write_step(w: Writing, node: Node) -> None:
    """gt, ge with stored numbers → Threshold, which is strictly above: ge gets the next smaller number."""
    x, bound = node.inputs
    if bound not in w.constants or w.shape(x) != w.shape(node.output):
        raise NirError(
            f"{node.name} ({node.op}) compares two signals; a NIR Threshold compares one with stored numbers: write it "
            "as x > number."
        )
    value = w.constants[bound].detach().cpu().double().numpy()
    threshold = at_most(value, w.dtype)
    if node.op == "ge":
        threshold = np.where(threshold == value, next_below(threshold), threshold).astype(w.dtype)
    casts = [n for n in w.graph.consumers(node.output) if n.op == "cast"]
    name = casts[0].name if len(casts) == 1 else node.name
    w.put(node, w.package.Threshold(np.broadcast_to(threshold, w.shape(x)).copy()), name)


def write_cast(w: Writing, node: Node) -> None:
    """cast → what it reads: of a comparison, whose numbers are 0 and 1 in any type."""
    before = w.graph.producer(node.inputs[0])
    if before is None or before.op not in ("gt", "ge"):
        raise NirError(f"{node.name} (cast) changes the type of numbers; NIR has one, that of its arrays. Remove it.")
    w.sources[node.output] = w.read(node.inputs[0], node.name)


def read_threshold(r: Reading, name: str, node: Any, x: str) -> str:
    """Threshold → gt, as numbers 0 and 1."""
    threshold = at_most(constant("threshold", node.threshold, r.shape(x)), r.dtype)
    bound = r.builder.constant(r.tensor(threshold), r.new(f"{name}.threshold"), name)
    above = r.add(r.new(f"{name}.above"), "gt", (x, bound))
    return r.add(name, "cast", (above,), {"to": "float"}, {"like": np.zeros(())})
