"""lava: the artifact that Intel's simulator and our own both run, one npz of integers."""

from compiler.exchange.lava.reading import read
from compiler.exchange.lava.writing import write

__all__ = ["read", "write"]
