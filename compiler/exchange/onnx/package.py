"""The package ``onnx``, and the errors of reading."""

from __future__ import annotations

from typing import Any

from snnkit.errors import SnnkitError

OPSETS = range(13, 26)
"""Versions of the operator set whose definitions ``table`` follows."""


class OnnxError(SnnkitError):
    """What a graph cannot take from an ONNX file, with a way out; or ``onnx`` is not installed."""


def onnx_package() -> Any:
    """Return the package ``onnx``.

    Raises:
        OnnxError: it is not installed.
    """
    try:
        import onnx as package
        import onnx.inliner
        import onnx.numpy_helper
    except ImportError:
        raise OnnxError("ONNX files need the package onnx: pip install snnkit[onnx]") from None
    return package
