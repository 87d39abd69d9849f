"""The integer simulators: a plain reference, a fast engine, and the bridge to lava."""

from compiler.simulate.reference import replay

__all__ = ["replay"]
