"""From torch to a graph."""

from compiler.capturing.capture import capture, graph_of
from compiler.capturing.translate import captures

__all__ = ["capture", "captures", "graph_of"]
