"""Conversions: Graph → Graph of another meaning, each saying what it keeps."""

from compiler.converting.relu_twin import relu_twin

__all__ = ["relu_twin"]
