"""Speck (DYNAP-CNN): which core takes which layer, with dimensions, kernels, thresholds and destinations, as JSON."""

from compiler.exchange.speck.configuration import Configuration
from compiler.exchange.speck.reading import read
from compiler.exchange.speck.writing import configure, write

__all__ = ["Configuration", "configure", "read", "write"]
