"""Constants of a float neuron, and what they are in a chip's decays."""

from __future__ import annotations

from dataclasses import dataclass

from compiler.graph import Node
from compiler.targets.loihi.formats import Formats
from snnkit.neurons import NO_RESET

MODES = {"threshold": 0, "half_even": 1, "half_up": 2, "sum": 3}
"""How the level of an event follows from a membrane: a threshold is reached, it is rounded, or it is the sum itself."""
RESETS = {"hard": 0, "soft": 1, "none": 2}


@dataclass(frozen=True)
class Neuron:
    """A float neuron as a chip's integers see it.

    Attributes:
        gain: what it multiplies its current by.
        dv: decay of its membrane, in the chip's fractions.
        threshold: in units of its membrane.
        reset: "hard" (to ``value``), "soft" or "none".
        levels: the most it sends at once; ``mode``: how they follow from the membrane (``MODES``).
        event: what one level of an event stands for.
    """

    gain: float
    dv: int
    threshold: float
    reset: str = "hard"
    value: float = 0.0
    levels: int = 1
    mode: str = "threshold"
    event: float = 1.0


def number(node: Node, name: str) -> float:
    """Return a neuron's constant, whether fixed or trained (one for the whole layer)."""
    return float(node.parameters[name]) if name in node.parameters else float(node.attributes[name])


def leak(node: Node, formats: Formats) -> tuple[float, int]:
    """Return what a neuron multiplies its input by, and its dv."""
    if node.op == "multi_spike":
        return 1.0, formats.forget  # it keeps nothing
    if node.op not in ("lif", "multilevel_lif"):
        return 1.0, 0
    tau = number(node, "tau")
    return (1.0 / tau if node.attributes.get("decay_input", False) else 1.0), round(formats.unity / tau)


def reset_of(node: Node) -> tuple[str, float]:
    """Return a neuron's kind of reset, and the value that a hard one leaves."""
    if node.op == "multilevel_lif":
        return "soft", 0.0
    if node.op == "multi_spike":
        return "hard", 0.0
    given = node.parameters.get("v_reset", node.attributes.get("v_reset"))
    if given is None:
        return "soft", 0.0
    return ("none", 0.0) if float(given) == NO_RESET else ("hard", float(given))


def neuron_of(node: Node, formats: Formats) -> Neuron:
    """Read a neuron's constants off its node."""
    gain, dv = leak(node, formats)
    reset, value = reset_of(node)
    if node.op == "multi_spike":
        mode = "half_up" if node.attributes["half_up"] else "half_even"
        return Neuron(gain, dv, 1.0, reset, value, _levels(node), mode, 1.0 / number(node, "divisor"))
    if node.op == "multilevel_lif":
        return Neuron(gain, dv, number(node, "v_threshold"), reset, value, _levels(node), "half_even")
    return Neuron(gain, dv, number(node, "v_threshold"), reset, value)


def _levels(node: Node) -> int:
    return int(node.attributes["levels"])
