"""Compile and check: one way from a model to a program, or to the list of what keeps it off the chip."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn

from compiler.analysis.currents import in_a_row
from compiler.capturing import graph_of
from compiler.errors import CompileError, Violation
from compiler.graph import Graph
from compiler.passes import merge_layers, simplify
from compiler.program import Program, assemble
from compiler.targets import Options, Target, target_of
from compiler.targets.target import AUTO
from hw import get_chip
from hw.chip import Chip
from snnkit.errors import InvalidArgumentError, UnknownNameError, nearest, unknown_name

__all__ = ["CompileError", "Violation", "compile"]


def compile(
    model_or_graph: nn.Module | Graph,
    example: Tensor | None = None,
    chip: str = "loihi1",
    input_type: str = "real",
    *,
    host: str | Sequence[str] = (),
    allow: str | Sequence[str] = (),
    headroom: int = 32,
) -> Program:
    """Return ``model_or_graph`` as a program for ``chip``: captured, simplified, quantised, lowered and mapped.

    Args:
        model_or_graph: a module, captured with ``example``; or a graph.
        example: one input of the right shape (needed for a module).
        chip: name of a chip.
        input_type: "real" for images (the first layers then run on the host), "binary" for spikes.
        host: names or patterns of operations that may be left to the host beside the first layers, such as
            ``"blocks.*.attn.*"``; "auto" leaves it whatever the chip cannot do.
        headroom: where the host adds to what spikes bring, its registers span so many thresholds: more let larger
            inputs through, and leave fewer levels between 0 and the threshold.
        allow: losses of the chip that may happen (its target says which it has); they are simulated and counted.

    Raises:
        CompileError: something does not fit; its ``violations`` say what, each with layer, need and limit.
        CaptureError: the module holds an operator that graphs do not have.
        UnknownNameError: a name or pattern for the host fits no operation, or the chip has no such loss.
        InvalidArgumentError: ``headroom`` is no whole number ≥ 1, or operations are named for a host that the programs
            of this chip do not have.
    """
    silicon = get_chip(chip)
    target, options = target_of(silicon), Options(_names(host), _names(allow), headroom)
    _grantable(options, target, silicon)
    graph = simplify(graph_of(model_or_graph, example, input_type))
    if in_a_row(graph):  # a spike is weighed once on a chip: layers in a row become one, whatever that costs
        graph = simplify(merge_layers(graph, math.inf))
    _all_there(graph, options)
    violations = target.legal(graph, silicon, options)
    if violations:
        raise CompileError(*violations)
    return assemble(graph, target.quantise(graph, silicon, options), silicon, options)


def _grantable(options: Options, target: Target, chip: Chip) -> None:
    """Refuse what a target cannot be granted: it would change nothing, unsaid."""
    headroom = options.headroom
    if isinstance(headroom, bool) or not isinstance(headroom, int) or headroom < 1:
        raise InvalidArgumentError(f"headroom={headroom!r}: must be a whole number of thresholds ≥ 1.")
    for name in options.allow:
        if not target.losses:
            raise UnknownNameError(f"allow={name!r}: programs for {chip.name} lose nothing that could be allowed.")
        if name not in target.losses:
            raise unknown_name(f"loss of {chip.name}", name, target.losses)
    named = [name for name in options.host if name != AUTO]
    if named and not target.host:
        raise InvalidArgumentError(
            f"host={named[0]!r}: programs for {chip.name} leave nothing to a host between the steps; change the "
            "network there, or take a chip whose programs do, such as loihi1."
        )


def _all_there(graph: Graph, options: Options) -> None:
    """Refuse a name or pattern for the host that fits nothing: what was meant would stay where it is, unsaid."""
    for pattern in options.host:
        if pattern != AUTO and not any(Options((pattern,)).on_host(node) for node in graph):
            names = sorted(node.name for node in graph)
            raise UnknownNameError(
                f"no operation fits host={pattern!r}.{nearest(pattern, names)} Names are those of the graph "
                f"({', '.join(names[:3])} …); * and ? stand for any text, 'auto' for what the chip cannot do."
            )


def _names(given: str | Sequence[str]) -> tuple[str, ...]:
    names = (given,) if isinstance(given, str) else tuple(given) if isinstance(given, Sequence) else (given,)
    wrong = [name for name in names if not isinstance(name, str)]
    if wrong:
        raise InvalidArgumentError(f"{wrong[0]!r} is no name; host and allow take a name, or several in a tuple.")
    return names
