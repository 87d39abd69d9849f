"""Constants of a float neuron, and what they are in a chip's decays."""

from __future__ import annotations

from compiler.graph import Node
from compiler.targets.loihi.formats import Formats


def number(node: Node, name: str) -> float:
    """Return a neuron's constant, whether fixed or trained (one for the whole layer)."""
    return float(node.parameters[name]) if name in node.parameters else float(node.attributes[name])


def leak(node: Node, formats: Formats) -> tuple[float, int]:
    """Return what a neuron multiplies its input by, and its dv."""
    if node.op != "lif":
        return 1.0, 0
    tau = number(node, "tau")
    return (1.0 / tau if node.attributes["decay_input"] else 1.0), round(formats.unity / tau)
