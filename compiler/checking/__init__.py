"""Check: everything that keeps a network off a chip, layer by layer, with what would fit, before anything is built.

Chips that are described only are held against their numbers. For chips that programs are made for, the target's own
rules come on top, and where those find nothing the network is compiled, which finds what only placement shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from compiler import compiling
from compiler.capturing import graph_of
from compiler.checking.cores import CoreLayer, check_cores, core_layers, has_cores
from compiler.checking.dynamics import check_dynamics
from compiler.checking.findings import Findings
from compiler.checking.maps import check_maps, made_for_maps
from compiler.checking.needs import Layer, layers_of
from compiler.checking.numbers import check_layers, check_sizes
from compiler.checking.rewrites import with_rewrites
from compiler.errors import CompileError, Violation
from compiler.graph import Graph
from compiler.passes import simplify
from compiler.targets import TARGETS
from compiler.targets.target import AUTO
from hw import get_chip
from hw.chip import Chip
from snnkit.errors import InvalidArgumentError


@dataclass(frozen=True)
class Report:
    """What a check found.

    Attributes:
        chip: that was held against. layers: of the network, with what each needs.
        violations: what keeps it off the chip. unchecked: what was not compared, since the chip has no such number.
        doubtful: what holds by some sources, or in one reading, only.
        cores: which core takes which layer, on chips whose cores take one each. core_layers: these, in that form.
    """

    chip: Chip
    layers: tuple[Layer, ...]
    violations: tuple[Violation, ...]
    unchecked: tuple[str, ...] = ()
    doubtful: tuple[str, ...] = ()
    cores: tuple[tuple[str, int], ...] = ()
    core_layers: tuple[CoreLayer, ...] = ()

    @property
    def described_only(self) -> bool:
        """Whether no program can be made for the chip, so that only its numbers were compared."""
        return self.chip.semantics not in TARGETS


def check(
    model_or_graph: nn.Module | Graph,
    chip: str,
    example: Tensor | None = None,
    input_type: str = "real",
    *,
    host: str | Sequence[str] = (),
    allow: str | Sequence[str] = (),
) -> list[Violation]:
    """Return what keeps a network off ``chip``; an empty list means that it compiles.

    On a chip that is described only an empty list means that its known numbers hold it (``examine`` says which are
    not known).

    Args:
        model_or_graph: a module, captured with ``example``; or a graph.
        chip: name of a chip.
        example: one input of the right shape (needed for a module).
        input_type: "real" for images, "binary" for spikes.
        host: operations that may be left to the host. allow: losses that may happen. Both as in ``compile``.

    Raises:
        CaptureError: the module holds an operator that graphs do not have.
    """
    get_chip(chip)
    graph = simplify(graph_of(model_or_graph, example, input_type))
    return list(examine(graph, chip, host=host, allow=allow).violations)


def examine(graph: Graph, chip: str, *, host: str | Sequence[str] = (), allow: str | Sequence[str] = ()) -> Report:
    """Return everything that a check of a (simplified) graph finds; the arguments are those of ``check``.

    Raises:
        InvalidArgumentError: something is granted to a chip that no program can be made for.
    """
    silicon = get_chip(chip)
    if silicon.semantics in TARGETS:
        return _compiled(graph, silicon, chip, host, allow)
    for name, granted in (("host", host), ("allow", allow)):
        if granted and granted not in (AUTO, (AUTO,)):
            raise InvalidArgumentError(
                f"{name}={granted!r}: {chip} is described only; its numbers say nothing of a host or of losses."
            )
    return described(graph, silicon)


def described(graph: Graph, chip: Chip) -> Report:
    """Hold a graph against the numbers of a chip alone."""
    found = Findings(graph, layers_of(graph), chip)
    check_dynamics(found)
    check_sizes(found)
    check_layers(found)
    check_maps(found)
    cores: dict[str, int] = {}
    made: list[CoreLayer] = []
    if has_cores(chip.layers):
        made = core_layers(found)
        cores = check_cores(found, made)
        if found.violations:
            cores = {}
    _formats(found)
    if not made_for_maps(chip.layers) and chip.build is None:
        found.unknown("how layers are placed on cores")
    return _report(found, with_rewrites(found.violations, graph, chip), tuple(cores.items()), tuple(made))


def _formats(found: Findings) -> None:
    """Rounding is no limit, and yet nothing says here how well the network does with it."""
    bits = found.chip.numbers.get("weight_bits")
    if bits is not None:
        found.unknown(f"what weights of {bits.value:g} bits do to its results")


def _compiled(graph: Graph, chip: Chip, name: str, host: str | Sequence[str], allow: str | Sequence[str]) -> Report:
    found = Findings(graph, layers_of(graph), chip)
    try:
        compiling.compile(graph, chip=name, host=host, allow=allow)
    except CompileError as error:
        found.violations += error.violations
    return _report(found, with_rewrites(found.violations, graph, chip))


def _report(
    found: Findings,
    violations: list[Violation],
    cores: tuple[tuple[str, int], ...] = (),
    made: tuple[CoreLayer, ...] = (),
) -> Report:
    return Report(
        found.chip,
        found.layers,
        tuple(dict.fromkeys(violations)),
        tuple(w if need is None else f"{w} (here up to {need:,})" for w, need in found.unchecked.items()),
        tuple(found.doubtful),
        cores,
        made,
    )


__all__ = ["Report", "check", "described", "examine"]
