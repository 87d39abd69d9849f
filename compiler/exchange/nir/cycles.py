"""Order and lateness: in which order NIR nodes run, and which edges carry what was sent a step before.

Of every cycle one edge is late: the one that leads back to a node which the input has reached already, as in
``snnkit.importers.from_nir`` and the simulators that NIR names; of a layer with a bias what goes in is late, and not
what comes out. A Delay is late by itself, so no edge out of it closes
a cycle within a step.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from snnkit.importers.nir_network import Part, schedule

Edge = tuple[str, str]
_OUT = "\0out of "


def parts_of(
    before: Mapping[str, Sequence[str]],
    inputs: Sequence[str],
    delays: Collection[str],
    plain: Mapping[str, bool] | None = None,
) -> list[Part]:
    """Return the nodes in an order in which they can run, those that depend on each other together.

    Args:
        before: the sources of every node.
        inputs: where the input arrives.
        delays: the Delay nodes; where one has run says nothing of when its output is read.
        plain: the nodes without a memory, and whether they make 0 of 0.

    Raises:
        InvalidArgumentError: nodes depend on each other alone, so that nothing reaches them.
    """
    opened = {
        name: [f"{_OUT}{source}" if source in delays else source for source in sources]
        for name, sources in before.items()
    }
    opened |= {f"{_OUT}{name}": [] for name in delays}
    found = schedule(opened, list(inputs), plain)
    return [part for part in found if not part.names[0].startswith(_OUT)]


def retimed(late: set[Edge], wanted: set[Edge], edges: Sequence[Edge], quiet: Collection[str]) -> bool:
    """Whether ``late`` edges may as well be the ``wanted`` ones.

    A node without a memory that makes 0 of 0 (``quiet``) may be passed: with everything late that comes in, everything
    is late that goes out.
    """
    for _ in range(len(edges) + 1):
        wrong = sorted(late - wanted)
        if not wrong:
            return late == wanted
        node = wrong[0][1]
        into = {edge for edge in edges if edge[1] == node}
        out = {edge for edge in edges if edge[0] == node}
        if node not in quiet or not into <= late or out & late:
            return False
        late = (late - into) | out
    return False
