"""``snnkit capture``: a network as a graph: what it reads, does and writes, as a table, as text, as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

if TYPE_CHECKING:
    from compiler.commands.source import Source
    from compiler.graph import Graph


def capture(
    source: str,
    *,
    text: bool = False,
    types: bool = False,
    output: Path | None = None,
    picture: Path | None = None,
    simplify: Annotated[bool, Parameter(negative="--no-simplify")] = True,
    input_type: str = "real",
    timesteps: int | None = None,
) -> None:
    """Show a network as a graph: its blocks, operations, states and types, and whether it is spike-driven.

    With the folder of a run, graph.json is written there for the report. What cannot be captured is listed, all of it,
    with exit code 3.

    Parameters
    ----------
    source
        Folder of a run, a checkpoint, a model's name (timm's are called timm:NAME), or a file that holds a graph
        (.graph, .program, .nir, .onnx).
    text
        Print the whole graph instead, a line for every operation.
    types
        Print every signal that weights, products or norms read, with its type, and mark those that break the claim of
        being spike-driven.
    output
        File for the graph, NAME.graph.
    picture
        File for a picture, NAME.svg or NAME.mmd (Mermaid, which Markdown pages show).
    simplify
        Fold and merge what means the same in fewer operations.
    input_type
        What the input consists of: real, binary, signed, or integer[low,high].
    timesteps
        T of the graph instead of the network's own.
    """
    from compiler.commands.source import GRAPH, resolve
    from compiler.graph.picture import check_suffix
    from snnkit.engine.progress import console
    from snnkit.errors import InvalidArgumentError

    if picture is not None:
        check_suffix(picture)
    if output is not None and output.suffix != GRAPH:
        raise InvalidArgumentError(f"--output {output}: a graph is written to a file NAME{GRAPH}; name it so.")
    if timesteps is not None and timesteps < 1:
        raise InvalidArgumentError(f"--timesteps {timesteps}: must be ≥ 1.")
    given = resolve(source, input_type)
    graph = _graph(given, simplify, timesteps)
    written = _written(graph, output, picture)
    _show(given, graph, text, types)
    for what, path in written:
        console.print(f"{what}: {path}")


def _graph(given: Source, simplify: bool, timesteps: int | None) -> Graph:
    from dataclasses import replace

    from compiler.analysis.types import infer_signals
    from compiler.commands.show import captured_or_reasons
    from compiler.graph import is_neuron
    from snnkit.errors import InvalidArgumentError

    captured = captured_or_reasons(given)
    graph = given.graph if simplify else infer_signals(captured)
    if timesteps is None:
        return graph
    if timesteps > 1 and not graph.states and not any(is_neuron(node) for node in graph):
        raise InvalidArgumentError(f"--timesteps {timesteps}: {graph.name} has no neurons and so no time steps.")
    return replace(graph, timesteps=timesteps)


def _show(given: Source, graph: Graph, text: bool, types: bool) -> None:
    from compiler.commands import show
    from compiler.commands.stages import describe_graph
    from snnkit.engine.progress import console

    description = describe_graph(graph, given.folder)
    if text:
        console.print(str(graph))
    if types:
        show.types(graph)
    if not text and not types:
        show.graph(description, len(given.captured.nodes))


def _written(graph: Graph, output: Path | None, picture: Path | None) -> list[tuple[str, Path]]:
    from compiler.commands.stages import broken
    from compiler.graph.picture import draw

    written = []
    if output is not None:
        graph.save(output)
        written.append(("graph", output))
    if picture is not None:
        draw(graph, picture, broken(graph))
        written.append(("picture", picture))
    return written
