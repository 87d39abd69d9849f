"""When a spiking form is at rest: a bound that holds for every input.

A layer of neurons whose value no longer changes needs a few steps to send what is missing: the largest correction,
high − low levels, in events of at most 2^K. Along the longest chain of layers these steps add up, and the last step is
the one that shows that nothing is sent any more.
"""

from __future__ import annotations

from compiler.graph import Graph


def steps_needed(width: int, max_exponent: int | None) -> int:
    """Return the most steps in which a correction of up to ``width`` levels is sent: |c| as a sum of powers ≤ 2^K."""
    if max_exponent is None:
        return 1
    largest: int = 2**max_exponent
    whole, rest = divmod(width, largest)
    # The most bits of any number up to the rest, or of any below 2^K with one large event fewer.
    partial = max_exponent if whole else 0
    return max(whole + most_bits(rest), whole - 1 + partial if whole else 0)


def most_bits(number: int) -> int:
    """Return the largest number of ones in the binary form of any number up to ``number``."""
    length = number.bit_length()
    return length if number == 2**length - 1 else length - 1


def bound_of(graph: Graph) -> int:
    """Return T such that a step T of a constant input and all after it send nothing."""
    depth: dict[str, int] = {}
    for node in graph:
        deepest = max((depth.get(name, 0) for name in node.inputs), default=0)
        if node.op == "trace":
            width = node.attributes["high"] - node.attributes["low"]
            deepest += steps_needed(width, node.attributes["max_exponent"])
        depth.update(dict.fromkeys(node.outputs, deepest))
    return 1 + max(depth.values(), default=0)
