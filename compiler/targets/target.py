"""Target: the rules of one kind of silicon arithmetic. A chip names its target by ``semantics``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from scipy.sparse import csr_array

from compiler.errors import Violation
from compiler.graph import Graph
from compiler.network import Lowered
from hw.chip import Chip


@dataclass(frozen=True)
class Target:
    """What one semantics can do, and what it means.

    Args:
        semantics: the name by which chips refer to it.
        legal: ``(simplified graph, chip) -> violations``: everything that shows before numbers are chosen.
        quantise: ``(graph, chip) -> graph`` in the chip's integers; CompileError names what has no place in them.
        lower: ``(quantised graph, chip) -> populations and synapses``; CompileError likewise.
        step: ``(u, v, a_in, bias, du, dv, vth) -> (u, v, spikes)``: one time step, plain text that runs on arrays, on
            tensors and, compiled, on numbers.
        shift_sum: ``(sum of weights, exponent) -> current``, likewise.
        parts: all functions that these two are made of, what is called before what calls it.
        stored: ``(weights, weight_bits) -> weights`` as a core keeps them.
        disagreement: ``chip -> text``: where a chip's numbers contradict the semantics, None where they do not.
    """

    semantics: str
    legal: Callable[[Graph, Chip], list[Violation]]
    quantise: Callable[[Graph, Chip], Graph]
    lower: Callable[[Graph, Chip], Lowered]
    step: Callable[..., Any]
    shift_sum: Callable[..., Any]
    parts: tuple[Callable[..., Any], ...]
    stored: Callable[[csr_array, int], csr_array]
    disagreement: Callable[[Chip], str | None]
