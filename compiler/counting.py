"""Count: what a network does on data, exactly, layer by layer.

The graph is interpreted, and every node counted by the rule of its own operation, from the types and levels of what it
reads: a real operand costs a multiply-accumulate a weight (``mac``); an event of level k costs |k| accumulates for
every weight it reaches (``ac``), a power of two one shift and add (``shift_adds``). Which weights an event reaches is
found by running the connectivity over the events themselves, so strides, borders and groups are exact. Sums over
samples are whole numbers before they are divided by the number of samples; every sample's own sums give the intervals.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor, distributed, nn

from compiler.analysis.types import infer_signals
from compiler.capturing import capture
from compiler.conventions import Conventions
from compiler.graph import Graph
from compiler.passes import simplify
from compiler.tally import NEURON_OPERATIONS, Tally
from hw.counts import Counts
from snnkit.errors import InvalidArgumentError

__all__ = ["NEURON_OPERATIONS", "Conventions", "Tally", "count"]


def count(
    model_or_graph: nn.Module | Graph,
    batches: Tensor | Iterable[Tensor | tuple[Tensor, ...] | list[Tensor]],
    input_type: str = "real",
    conventions: Conventions | None = None,
    gather: bool = False,
    progress: Callable[[int], None] | None = None,
) -> Counts:
    """Count a network on data.

    Args:
        model_or_graph: a module (captured and simplified first) or a typed graph.
        batches: inputs (B, …) or sequences (T, B, …), or pairs whose first entry is that; every sample is counted, and
            batches may have any sizes: one is held at a time. A tensor alone is one batch; a graph of several inputs
            takes tuples of them all.
        input_type: what a module's input consists of: "real", "binary", "signed", "integer[low,high]". A graph says so
            itself.
        conventions: what is counted how; the counts carry what was used.
        gather: add up what all processes of ``torch.distributed`` counted, each on samples of its own: every process
            returns the counts of all of them, the sums of one process that counts all samples.
        progress: called after every batch with the number of samples so far.

    Raises:
        InvalidArgumentError: there are no batches, samples that do not fit the input, an input type other than a
            graph's own, or a convention that a graph no longer allows.
        NonFiniteError: samples that are not finite.
        CaptureError: the module holds what graphs do not have. One in training mode is counted as in eval mode.
    """
    if not isinstance(conventions, (Conventions, type(None))):
        raise InvalidArgumentError(f"conventions={conventions!r}: give Conventions(…).")
    tally: Tally | None = None
    # A tensor is one batch: taken apart along its first axis, its steps would be counted as samples of one step.
    for batch in (batches,) if isinstance(batches, Tensor) else batches:
        several = isinstance(model_or_graph, Graph) and len(model_or_graph.inputs) > 1
        x = batch[0] if isinstance(batch, (tuple, list)) and not several else batch
        if tally is None:
            tally = Tally(_graph(model_or_graph, x, input_type, conventions or Conventions()), conventions)
        tally.add(x)
        if progress is not None:
            progress(tally.samples)
    if gather and distributed.is_initialized():
        tally = _gathered(tally)
    if tally is None:
        raise InvalidArgumentError("count needs at least one batch of samples.")
    return tally.counts()


def _graph(model_or_graph: nn.Module | Graph, x: Any, input_type: str, conventions: Conventions) -> Graph:
    if isinstance(model_or_graph, Graph):
        own = {str(model_or_graph.type(name)) for name in model_or_graph.inputs}
        if input_type != "real" and own != {input_type}:
            raise InvalidArgumentError(
                f"input_type={input_type!r}: the graph {model_or_graph.name!r} takes {', '.join(sorted(own))}; capture "
                "it with that input type."
            )
        return conventions.of_graph(infer_signals(model_or_graph))
    return conventions.of_captured(capture(model_or_graph, x, input_type), simplify)


def _gathered(tally: Tally | None) -> Tally | None:
    """Return the tally of all processes; one without samples of its own takes part as well."""
    found: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(found, None if tally is None else tally.state())
    states = [state for state in found if state is not None]
    if tally is None and states:
        raise InvalidArgumentError("count needs at least one batch of samples in every process.")
    return None if tally is None else tally.with_states(states)
