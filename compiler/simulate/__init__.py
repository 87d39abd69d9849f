"""The integer simulators: a plain reference, a fast engine, traces of open designs, and the bridge to lava."""

from compiler.simulate.traces import replay

__all__ = ["replay"]
