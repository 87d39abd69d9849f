"""Constants of layers: one number or an array, and what rounding leaves of them in a file.

NIR holds an array of the layer's shape for every constant. In graphs a constant is a number where all are equal, else a
tensor that broadcasts against a sample.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def constant(key: str, value: Any, shape: tuple[int, ...]) -> Array:
    """Return a constant as a 0-d array where it is one number, else in the smallest shape that broadcasts to ``shape``.

    Its dtype is kept, float64 where that is no float.

    Raises:
        ValueError: its shape is not the layer's, or it is not finite.
    """
    array = np.asarray(value)
    if not np.issubdtype(array.dtype, np.floating):
        array = array.astype(np.float64)
    if array.size != 1 and array.shape != shape:
        raise ValueError(f"{key} has shape {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{key} is {array[~np.isfinite(array)].reshape(-1)[0]}")
    return smallest(array)


def smallest(array: Array) -> Array:
    """Return the smallest array that broadcasts to ``array``: 0-d where all its numbers are equal."""
    for axis in range(array.ndim):
        first = array.take([0], axis)
        if (array == first).all():
            array = first
    return array.reshape(()) if array.size == 1 else array


def close(stored: Array, value: Array | float) -> bool:
    """Whether stored numbers are ``value`` up to a few roundings."""
    given = np.asarray(value, np.float64)
    error = np.abs(stored.astype(np.float64) - given)
    return bool((error <= 4 * float(np.finfo(stored.dtype).eps) * np.abs(given)).all())


def next_below(threshold: Array) -> Array:
    """Return the largest number of its dtype below each: v > that is v ≥ threshold for numbers of that dtype."""
    return np.asarray(np.nextafter(threshold, threshold.dtype.type(-np.inf)))


def next_above(below: Array, dtype: np.dtype[Any]) -> Array:
    """Return the smallest number of ``dtype`` above each: v ≥ that is v > below for numbers of that dtype."""
    near = below.astype(dtype)
    too_small = near.astype(np.float64) <= below.astype(np.float64)
    return np.asarray(np.where(too_small, np.nextafter(near, dtype.type(np.inf)), near))


def at_most(number: Array, dtype: np.dtype[Any]) -> Array:
    """Return the largest number of ``dtype`` not above each: x > that is x > number for numbers of that dtype."""
    near = number.astype(dtype)
    too_large = near.astype(np.float64) > number.astype(np.float64)
    return np.asarray(np.where(too_large, np.nextafter(near, dtype.type(-np.inf)), near))


def gain_or_one(stored: Array, gain: Array) -> Array:
    """Return a gain, exactly 1 where it is that up to the rounding of what was stored."""
    eps = 4 * float(np.finfo(stored.dtype).eps)
    return np.ones(()) if bool((np.abs(gain - 1.0) <= eps).all()) else gain
