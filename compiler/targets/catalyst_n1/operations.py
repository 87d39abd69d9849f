"""``lif_n1``: a neuron of Catalyst N1 as an operation of integer graphs.

All tensors are floating point and hold whole numbers; only ``quantise`` makes these nodes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from compiler.graph.graph import Node
from compiler.graph.operation import NOT_CAPTURED, Operation
from compiler.operations.neurons import count_neuron
from compiler.operations.rules import binary
from compiler.targets.catalyst_n1.arithmetic import clamped, cuba_step, current_step, plain_step


def lif_n1(node: Node, current: Tensor, u: Tensor, v: Tensor) -> tuple[Tensor, ...]:
    """One step of a neuron without noise and refractory steps: returns (spikes, u, v).

    Attributes: threshold, rest, leak, vmin, vmax, the decays du and dv and bias (in membrane units, not as a register).
    The neuron is current-based where one of the last three is not 0; it then sees the current of *this* step, as the
    chip's does one step later. ``drive``: "current" of synapses, or "host" where the host writes it. ``scale``: its
    units in one unit of the float network's membrane. ``layer``: the neuron of the float network it stands for.
    ``rounding``: how far the current of a step can be from the float network's, in the latter's unit, when both get the
    same spikes; infinity where a membrane may leave its range.
    """
    if current.is_meta:  # shapes alone are asked for
        return tuple(torch.empty_like(current) for _ in range(3))
    a = node.attributes
    arrived, before, v_before = (x.round().long() for x in (current, u, v))
    ready = torch.zeros_like(v_before)
    if a["du"] or a["dv"] or a["bias"]:
        after = current_step(before, arrived, a["du"], 0, 0)
        moved, _, spike = cuba_step(after, v_before, ready, a["threshold"], a["rest"], 0, 0, a["dv"], a["bias"], 0)
    else:
        after = torch.zeros_like(before)
        moved, _, spike = plain_step(v_before, ready, arrived, a["threshold"], a["leak"], a["rest"], 0)
    kept = clamped(moved, a["vmin"], a["vmax"])
    return tuple(x.to(current.dtype) for x in (spike, after, kept))


_WHOLE, _TEXT, _NUMBER = (int,), (str,), (float, int)
_REGISTERS = ("threshold", "rest", "leak", "du", "dv", "bias", "vmin", "vmax")

OPERATIONS = (
    Operation(
        "lif_n1",
        "neuron",
        lif_n1,
        binary,
        count_neuron,
        NOT_CAPTURED,
        {**dict.fromkeys(_REGISTERS, _WHOLE), "scale": _NUMBER, "drive": _TEXT},
        {"layer": _TEXT, "rounding": _NUMBER},
        inputs=(3, 3),
    ),
)
