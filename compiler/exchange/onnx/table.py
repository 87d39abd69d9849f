"""Operator of ONNX → what it is in torch. Adding an operator is one entry in one of the files by kind.

The meaning of each is that of the ONNX specification, operator sets 13 to 25, without training.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from compiler.exchange.onnx import constants, elementwise, indexing, moves, norms, pools, reductions, resizing, weights
from compiler.exchange.onnx.call import OnnxCall, Result

Handler = Callable[[OnnxCall], Result]

TABLE: Mapping[str, Handler] = {
    **elementwise.TABLE,
    **weights.TABLE,
    **norms.TABLE,
    **pools.TABLE,
    **reductions.TABLE,
    **moves.TABLE,
    **indexing.TABLE,
    **resizing.TABLE,
    **constants.TABLE,
}
"""Operators and their handlers."""

NUMBERS: Mapping[str, int] = {"Shape": 0, "Size": 0, "CastLike": 1}
"""Operators that read the numbers of only so many of their inputs; of the others shapes and types."""
