"""ONNX: networks as most frameworks write them, read into a graph.

Source of the format: the ONNX specification, operator sets 13 to 25, and the package ``onnx``, which parses it.
``table`` says which operators are known, ``network`` how a file becomes a module that is captured like any other.
"""

from compiler.exchange.onnx.package import OnnxError
from compiler.exchange.onnx.reading import read

__all__ = ["OnnxError", "read"]
