"""The operations of integer graphs: ``lif_fixed``, the neuron, and ``bias_current``, what the host writes for one.

All tensors are floating point and hold whole numbers (float64 holds them exactly up to 2^53); only passes make these
nodes, no model is captured into them.
"""

from __future__ import annotations

import torch
from torch import Tensor

from compiler.graph.facts import Facts
from compiler.graph.graph import Node
from compiler.graph.operation import NOT_CAPTURED, Operation
from compiler.operations.neurons import count_neuron
from compiler.operations.rules import binary, real
from compiler.targets.loihi.differentiable import Constants, integrate_and_fire, rounded
from snnkit.errors import InvalidArgumentError


def lif_fixed(node: Node, drive: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
    """The integer LIF of ``arithmetic.step``: returns (spikes, u, v), which have a gradient (``differentiable``).

    Attributes du, dv, vth; ``drive`` is the synaptic current where the attribute drive says "current", and goes into
    the bias register where it says "bias"; where it says "both", the bias comes behind it. Then come u and v.
    ``scale``: threshold units of one unit of the float network's membrane. ``layer``: the neuron of the float network
    it stands for. ``rounding``: how far the current of one step can be from the float network's, in the latter's unit,
    when both get the same spikes.
    """
    if drive.is_meta:  # shapes alone are asked for
        return tuple(torch.empty_like(drive) for _ in range(3))
    a = node.attributes
    constants = Constants(a["du"], a["dv"], a["vth"], a["scale"])
    *bias, u, v = rest
    if a["drive"] == "both":
        return integrate_and_fire(drive, u, v, constants, False, bias[0])
    return integrate_and_fire(drive, u, v, constants, a["drive"] == "bias")


def bias_current(node: Node, x: Tensor) -> tuple[Tensor, ...]:
    """Round a real current to what a bias register holds: mantissa (signed) << exponent, in membrane units.

    Attribute scale: membrane units per unit of current; exponent; mantissa_limit (largest magnitude). What lies beyond
    the limit saturates, which changes no spike: the current is the same at every step, the limit lies above the
    threshold (``quantise`` sees to it), so a neuron at the upper end fires at every step either way, and one at the
    lower end never does. ``floating``: each value has the finest exponent that holds it, up to the one given; spikes
    come as well, so that nothing may saturate.

    Raises:
        InvalidArgumentError: a floating value that no exponent holds.
    """
    a = node.attributes
    if a.get("floating", False):
        return (_floating(node, x * a["scale"]),)
    step, limit = 2.0 ** a["exponent"], float(a["mantissa_limit"])
    return (rounded(x * a["scale"] / step).clamp(-limit, limit) * step,)


def _floating(node: Node, x: Tensor) -> Tensor:
    """Round to mantissa << exponent, with the finest exponent for each value."""
    if x.is_meta:
        return x
    limit, most = float(node.attributes["mantissa_limit"]), int(node.attributes["exponent"])
    largest = float(x.detach().abs().max()) if x.numel() else 0.0
    if largest > limit * 2**most:
        raise InvalidArgumentError(
            f"the input drives {node.name} with {largest:,.0f} membrane units, and a bias register holds up to "
            f"{limit * 2**most:,.0f}: give it more headroom (compile with headroom=64), or scale the input down."
        )
    exponent = (x.detach().abs() / (limit + 0.49)).clamp(min=1.0).log2().ceil()
    return (rounded(x / 2**exponent) * 2**exponent).clamp(-limit * 2**most, limit * 2**most)


def _count_bias(node: Node, facts: Facts) -> dict[str, float]:
    return {"multiplies": float(facts.outputs_size)}


_WHOLE, _TEXT, _NUMBER = (int,), (str,), (float, int)

OPERATIONS = (
    Operation(
        "lif_fixed",
        "neuron",
        lif_fixed,
        binary,
        count_neuron,
        NOT_CAPTURED,
        {"du": _WHOLE, "dv": _WHOLE, "vth": _WHOLE, "scale": _NUMBER, "drive": _TEXT},
        {"layer": _TEXT, "rounding": _NUMBER, "event": _NUMBER},
        inputs=(3, 4),
    ),
    Operation(
        "bias_current",
        "elementwise",
        bias_current,
        real,
        _count_bias,
        NOT_CAPTURED,
        {"scale": _NUMBER, "exponent": _WHOLE, "mantissa_limit": _WHOLE},
        {"floating": (bool,)},
    ),
)
