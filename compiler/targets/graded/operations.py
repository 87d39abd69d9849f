"""``lif_graded``: the neuron of ``arithmetic`` as an operation of integer graphs. Only quantising makes it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from compiler.graph.graph import Node
from compiler.graph.operation import NOT_CAPTURED, Operation, Shapes
from compiler.graph.signals import BINARY, SignalType, integer
from compiler.operations.neurons import count_neuron
from compiler.targets.graded.differentiable import graded_lif


def lif_graded(node: Node, drive: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
    """One step: returns (levels of events, v), whole numbers in the type of ``drive``, which have a gradient.

    Attributes: dv, vth, levels, mode ("threshold", "half_even" or "half_up"), reset ("hard", "soft" or "none"), limit,
    decay_bits as in ``arithmetic``; drive says where ``drive`` goes, "current", "bias", or "both" with the bias behind
    it; ``event``: what one level stands for in the float network; layer, scale and rounding as in ``lif_fixed``.
    """
    if drive.is_meta:  # shapes alone are asked for
        return tuple(torch.empty_like(drive) for _ in range(2))
    *bias, v = rest
    return graded_lif(drive, bias[0] if bias else None, v, node.attributes)


def _levels(node: Node, types: Sequence[SignalType], shapes: Shapes) -> SignalType:
    most = int(node.attributes["levels"])
    return BINARY if most <= 1 else integer(0, most)


_WHOLE, _TEXT, _NUMBER = (int,), (str,), (float, int)

OPERATIONS = (
    Operation(
        "lif_graded",
        "neuron",
        lif_graded,
        _levels,
        count_neuron,
        NOT_CAPTURED,
        {
            "dv": _WHOLE,
            "vth": _WHOLE,
            "levels": _WHOLE,
            "mode": _TEXT,
            "reset": _TEXT,
            "limit": _WHOLE,
            "decay_bits": _WHOLE,
            "scale": _NUMBER,
            "drive": _TEXT,
        },
        {"layer": _TEXT, "rounding": _NUMBER, "event": _NUMBER},
        inputs=(2, 3),
    ),
)
