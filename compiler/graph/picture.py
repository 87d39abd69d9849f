"""A picture of a graph: its blocks and what flows between them, as plain data, as Mermaid text, and as SVG.

Blocks are coloured by the kind of operation, arrows by what travels on them: spikes, other events, or real numbers.
"""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import Any

from compiler.graph.blocks import MOST, Block, Link, blocks, links
from compiler.graph.graph import Graph
from compiler.graph.operation import KINDS, operation
from snnkit.errors import InvalidArgumentError
from snnkit.files import atomic_path
from snnkit.report.drawing import KIND_COLOURS, TRAFFIC, svg, traffic_of

SUFFIXES = (".svg", ".mmd")


def describe(graph: Graph, broken: Collection[str] = (), most: int = MOST) -> dict[str, Any]:
    """Return a graph in at most ``most`` blocks, as plain data; ``broken`` are nodes that read what they should not.

    ``blocks``: label, nodes, kinds and operations with their numbers, states, broken; ``edges``: from and to (numbers
    of blocks, −1 for inputs and outputs), later, and their signals with type and shape. Beside them ``inputs``,
    ``outputs``, ``kinds``, ``operations``, ``types``, ``states`` and ``stored`` of the whole graph, and ``mermaid``.
    """
    found = blocks(graph, most)
    drawn = {
        "name": graph.name,
        "timesteps": graph.timesteps,
        "static_input": graph.static_input,
        "nodes": len(graph),
        "inputs": [_signal(graph, name) for name in graph.inputs],
        "outputs": [_signal(graph, name) for name in graph.outputs],
        "states": {"count": len(graph.states), "values": sum(graph.signals[s.read].size for s in graph.states)},
        "stored": sum(p.numel() for node in graph for p in node.parameters.values()),
        "kinds": _kinds(graph),
        "types": dict(type_counts(graph)),
        "blocks": [_block(graph, block, broken) for block in found],
        "edges": [_edge(graph, link) for link in links(graph, found)],
    }
    return {**drawn, "mermaid": mermaid(drawn)}


def type_counts(graph: Graph) -> Counter[str]:
    """Return how many signals are of each type, states left out: they are real wherever there are neurons."""
    states = {name for state in graph.states for name in (state.read, state.written)}
    return Counter(str(signal.type) for name, signal in graph.signals.items() if name not in states)


def _kinds(graph: Graph) -> dict[str, dict[str, int]]:
    """Operations of each kind with their numbers, kinds in their own order."""
    found: dict[str, Counter[str]] = {}
    for node in graph:
        found.setdefault(operation(node.op).kind, Counter())[node.op] += 1
    return {kind: dict(found[kind].most_common()) for kind in KINDS if kind in found}


def _block(graph: Graph, block: Block, broken: Collection[str]) -> dict[str, Any]:
    read = {state.read for state in graph.states}
    return {
        "label": block.label,
        "nodes": len(block.nodes),
        "kinds": dict(block.kinds.most_common()),
        "operations": dict(block.operations.most_common()),
        "states": sum(signal in read for node in block.nodes for signal in set(node.inputs)),
        "broken": sum(node.name in broken for node in block.nodes),
    }


def _edge(graph: Graph, link: Link) -> dict[str, Any]:
    signals = [_signal(graph, name) for name in link.signals]
    return {"from": link.source, "to": link.target, "later": link.later, "signals": signals}


def _signal(graph: Graph, name: str) -> dict[str, Any]:
    return {"name": name, "type": str(graph.type(name)), "shape": list(graph.shape(name))}


def mermaid(drawn: dict[str, Any]) -> str:
    """Return what ``describe`` gave as text for Mermaid, which Markdown pages show as a flow chart."""
    lines = ["flowchart TD"]
    lines += [f'  in(["{_words(s["name"])}"])' for s in drawn["inputs"][:1]]
    for index, block in enumerate(drawn["blocks"]):
        does = ", ".join(f"{count} {op}" if count > 1 else op for op, count in list(block["operations"].items())[:4])
        kind = main_kind(block["kinds"])
        lines.append(f'  b{index}["{_words(block["label"])}<br/><small>{_words(does)}</small>"]:::{kind}')
    lines.append('  out(["output"])')
    styles: dict[str, list[int]] = {}
    for number, edge in enumerate(drawn["edges"]):
        source = "in" if edge["from"] < 0 else f"b{edge['from']}"
        target = "out" if edge["to"] < 0 else f"b{edge['to']}"
        one = edge["signals"][0]
        said = f"{one['type']} {'×'.join(map(str, one['shape']))}".strip()
        said += f" +{len(edge['signals']) - 1}" if len(edge["signals"]) > 1 else ""
        lines.append(f'  {source} {"-.->" if edge["later"] else "-->"}|"{_words(said)}"| {target}')
        styles.setdefault(traffic_of(edge["signals"]), []).append(number)
    kinds = dict.fromkeys(main_kind(block["kinds"]) for block in drawn["blocks"])
    lines += [f"  classDef {kind} stroke:{KIND_COLOURS[kind][0]},stroke-width:2px" for kind in kinds]
    lines += [f"  linkStyle {','.join(map(str, at))} stroke:{TRAFFIC[what][1]}" for what, at in styles.items()]
    return "\n".join(lines) + "\n"


def main_kind(kinds: dict[str, int]) -> str:
    """Return the kind that says most of a block: weights and products before neurons, these before the rest."""
    return next((kind for kind in KINDS if kind in kinds), "move")


def _words(text: str) -> str:
    """Text as Mermaid takes it between quotes."""
    return html.escape(text.replace("#", "#35;"), quote=False).replace("&", "#").replace('"', "#quot;")


def draw(graph: Graph, path: str | Path, broken: Collection[str] = ()) -> None:
    """Write a picture of a typed graph, as SVG or as Mermaid text, as the name of the file says.

    Raises:
        InvalidArgumentError: the name ends otherwise.
        DiskError: the file could not be written.
    """
    check_suffix(path)
    drawn = describe(graph, broken)
    text = drawn["mermaid"] if Path(path).suffix == ".mmd" else svg(drawn)
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def check_suffix(path: str | Path) -> None:
    """Raise InvalidArgumentError unless a picture can be written to a file of that name."""
    if Path(path).suffix not in SUFFIXES:
        raise InvalidArgumentError(f"{path}: a picture is written as {' or '.join(SUFFIXES)}; name the file so.")
