"""Numbers as they were meant: the short decimal that became a long binary fraction on its way through a file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np


def shortest(stored: Any, stored_as: Callable[[float], float], value: float) -> float:
    """Return the shortest decimal near ``value`` that is stored as this number: 0.1 for float32's 0.100000001.

    Args:
        stored: a NumPy number or array without axes, whose dtype is that of the file.
        stored_as: what is written for a number.
        value: where to look.
    """
    kind = np.asarray(stored).dtype.type
    for digits in range(1, 18):
        shorter = float(f"{value:.{digits}g}")
        if shorter and kind(stored_as(shorter)) == stored:
            return shorter
    return value
