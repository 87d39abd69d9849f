"""Target: the rules of one kind of silicon arithmetic. A chip names its target by ``semantics``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from compiler.errors import Violation
from compiler.graph import Graph
from compiler.graph.graph import Node
from hw.chip import Chip

AUTO = "auto"


@dataclass(frozen=True)
class Options:
    """What the user grants a compiler beyond what is lossless and on the chip.

    ``host``: names or patterns (``blocks.*.attn``) of operations that may be left to the host; "auto": whatever the
    chip cannot do. ``allow``: losses that may happen, by name; they are then simulated exactly and counted.
    ``headroom``: so many thresholds spans the register into which the host writes what it adds to spikes.
    """

    host: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()
    headroom: int = 32

    def on_host(self, node: Node) -> bool:
        """Whether the user left this node to the host."""
        names = (node.name, node.scope, f"{node.scope}.{node.op}")
        return any(pattern == AUTO or fnmatchcase(name, pattern) for pattern in self.host for name in names)


@dataclass(frozen=True)
class Activity:
    """What a chip did with B inputs. Shapes: T the network's time steps, N neurons of a layer, S steps of the chip.

    ``spikes``: by signal of the quantised graph, integers (T, B, N), aligned in time with the graph; ``membrane``:
    float64 (B, *output shape), the readout's last membrane; ``synaptic_events``: of each core (cores,); ``packets``:
    from core to core (cores + 1, cores), the last row from the host; ``fired``: all spikes, those of helpers included;
    ``counters``: further totals by name, such as cycles or drops; ``membranes``: float64 (T, B, *output shape), the
    readout's at the end of every step of the graph, of chips whose host can read it then.
    """

    spikes: dict[str, NDArray[Any]]
    membrane: Tensor
    synaptic_events: NDArray[np.int64]
    packets: NDArray[np.int64]
    fired: int
    counters: Mapping[str, Any] = field(default_factory=dict)
    membranes: Tensor | None = None


class Image(Protocol):
    """What a chip is loaded with: a quantised graph in the chip's own form, placed on its cores."""

    @property
    def chip(self) -> Chip:
        """The chip it was made for."""
        ...

    def simulate(self, x: Tensor) -> Activity:
        """Run inputs (B, …), or (T, B, …), in the chip's integers.

        Raises:
            InvalidArgumentError: the input does not fit the network.
        """
        ...

    def to_dict(self) -> dict[str, Any]:
        """Return the mapping as plain data for JSON: ``chip``, ``cores`` with their loads, ``limits``."""
        ...


@dataclass(frozen=True)
class Target:
    """What one semantics can do, and what it means.

    Args:
        semantics: the name by which chips refer to it.
        legal: ``(simplified graph, chip, options) -> violations``: everything that shows before numbers are chosen.
        quantise: ``(graph, chip, options) -> graph`` in the chip's integers; CompileError names what has no place in
            them. Its neurons carry the attributes ``layer`` (the float graph's signal they stand for, "" for the
            readout), ``scale`` and ``rounding``; the readout's membrane is the output.
        build: ``(quantised graph, chip, options) -> image``; CompileError likewise.
        unit: membrane units of the readout in one unit of its ``scale``.
        disagreement: ``chip -> text``: where a chip's numbers contradict the semantics, None where they do not.
        losses: what may be allowed by name (``Options.allow``).
        host: whether operations may be left to the host between the steps (``Options.host``).
        trains: whether ``quantise`` also takes ``scales`` and ``gates`` and passes gradients to the numbers it rounds.
    """

    semantics: str
    legal: Callable[[Graph, Chip, Options], list[Violation]]
    quantise: Callable[[Graph, Chip, Options], Graph]
    build: Callable[[Graph, Chip, Options], Image]
    unit: int
    disagreement: Callable[[Chip], str | None]
    losses: tuple[str, ...] = ()
    host: bool = True
    trains: bool = False


def starts_elsewhere(graph: Graph, node: Node, chip: Chip) -> list[Violation]:
    """Return what a neuron asks of a chip whose membranes start at 0."""
    starts = [state.initial for state in graph.states if state.read in node.inputs[1:]]
    if not any(bool(torch.as_tensor(start).any()) for start in starts):
        return []
    limit = f"membranes of {chip.name} start at 0; start there, or bring the first charge as spikes"
    return [Violation(node.name, "a membrane that starts at another value than 0", limit)]


def one_of_each(graph: Graph, chip: Chip) -> list[Violation]:
    """Return what to say of several inputs or outputs."""
    if len(graph.inputs) == len(graph.outputs) == 1:
        return []
    need = f"{len(graph.inputs)} inputs and {len(graph.outputs)} outputs"
    return [Violation(graph.name, need, f"a program for {chip.name} has one of each")]


def not_finite(graph: Graph) -> list[Violation]:
    """Return the parameters that hold infinities or no numbers."""
    wrong = [
        f"{node.name}.{name}"
        for node in graph
        for name, value in node.parameters.items()
        if value.is_floating_point() and not bool(torch.isfinite(value).all())
    ]
    return [Violation(name, "numbers that are not finite", "weights are finite; train again") for name in wrong]
