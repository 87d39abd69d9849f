"""The event-driven product: outputs as sums of the weight rows of the inputs that fired.

A linear layer is a convolution of one pixel a row. Weights are prepared once, in panels of 32 float or 64 integer
outputs (``csrc/panel.h``); integer weights are held as int16, which can be added without widening.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from snnkit.errors import InvalidArgumentError, SnnkitError
from snnkit.events.bits import Packed
from snnkit.events.library import library
from snnkit.kernels.layout import share

MAX_CHANNELS = (1 << 16) - 1  # lists hold 16-bit channel numbers

_PANEL_BYTES = 128
_SPARE = 64  # entries that the C code may write beyond the end of its lists
_SHAPE = struct.Struct("=14q")  # ``Shape`` of csrc/lists.h
_ROW_COUNTS_AS = 64  # ``share`` cuts at multiples of 64


@dataclass(frozen=True, slots=True)
class Geometry:
    """A convolution with zero padding; all pairs are (vertical, horizontal).

    ``padding`` is on either side; ``more`` is further padding at the bottom and on the right.
    """

    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    more: tuple[int, int] = (0, 0)

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """Return height and width of the output."""
        return tuple(  # type: ignore[return-value]
            (size + 2 * pad + more - dilation * (kernel - 1) - 1) // stride + 1
            for size, pad, more, dilation, kernel, stride in zip(
                (height, width), self.padding, self.more, self.dilation, self.kernel, self.stride, strict=True
            )
        )


@dataclass(frozen=True, slots=True)
class Panels:
    """Weights prepared for the C code: ``made`` by ``panels``."""

    weights: Tensor
    scale: Tensor | None
    bias: Tensor
    inputs: int
    outputs: int


def panels(weight: Tensor, bias: Tensor | None = None, scale: Tensor | None = None) -> Panels:
    """Prepare weights.

    Args:
        weight: (N, K), or (N, C, kh, kw); float32, or int8 for exact integer sums.
        bias: (N,) float32, added to float outputs.
        scale: (N,) float32, with int8 weights: the sums become ``sum · scale + bias``. Without it they stay int32.
    """
    integers = checked_weights(weight, bias, scale)
    rows = weight.movedim(1, -1).flatten(1)
    outputs, inputs = rows.shape
    width = _PANEL_BYTES // (2 if integers else 4)
    count = -(-outputs // width)
    made = torch.zeros(count, inputs + 1, width, dtype=torch.int16 if integers else torch.float32)
    filled = torch.nn.functional.pad(rows, (0, 0, 0, count * width - outputs))
    made[:, :inputs] = filled.view(count, width, inputs).transpose(1, 2)

    per_output = [torch.zeros(count * width) if v is None else padded(v, width) for v in (scale, bias)]
    return Panels(made, None if scale is None else per_output[0], per_output[1], inputs, outputs)


def checked_weights(weight: Tensor, bias: Tensor | None, scale: Tensor | None) -> bool:
    """Return whether the weights are integers.

    Raises:
        InvalidArgumentError: they are neither float32 nor int8, or integer sums are to have a float bias, or bias or
            scale are not one float32 an output.
    """
    if weight.dtype not in (torch.float32, torch.int8):
        raise InvalidArgumentError(f"event weights are float32 or int8, got {weight.dtype}.")
    for name, values in (("bias", bias), ("scale", scale)):
        if values is not None and (values.shape != weight.shape[:1] or values.dtype != torch.float32):
            raise InvalidArgumentError(
                f"the {name} of {len(weight)} event outputs is float32 of shape ({len(weight)},), got {values.dtype} "
                f"of shape {tuple(values.shape)}."
            )
    integers = weight.dtype == torch.int8
    if bias is not None and integers and scale is None:
        raise InvalidArgumentError(
            "integer sums have no float bias; give a scale per output too, or add the bias after."
        )
    return integers


def padded(values: Tensor, width: int) -> Tensor:
    """Return ``values`` (…, n) with zeros behind, up to a multiple of ``width``."""
    return torch.nn.functional.pad(values.detach(), (0, -values.shape[-1] % width))


def event_linear(x: Packed, weights: Panels) -> Tensor:
    """(…, K) spikes → (…, N): float32, or int32 for integer weights without a scale."""
    k = x.shape[-1]
    rows = len(x.words)
    out = _run(x, weights, Geometry(), shape_of(Geometry(), 1, 1, k, weights.outputs)[0], k, rows)
    return out.view(*x.shape[:-1], weights.outputs)


def event_conv(x: Packed, weights: Panels, geometry: Geometry) -> Tensor:
    """(N, H, W, C) spikes → (N, C', H', W'), which lies channels-last in memory."""
    n, height, width, channels = x.shape
    shape, out_h, out_w = shape_of(geometry, height, width, channels, weights.outputs)
    out = _run(x, weights, geometry, shape, channels, n * out_h * out_w)
    return out.view(n, out_h, out_w, weights.outputs).permute(0, 3, 1, 2)


def scale_in_place(sums: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    """Turn int32 sums (…, N), contiguous, into float32 ``sum · scale + bias`` in the same memory.

    The rounding is that of the event sums: a product, then an addition.
    """
    outputs = sums.shape[-1]
    library().snnkit_scale(sums.data_ptr(), sums.numel() // max(1, outputs), outputs, scale.data_ptr(), bias.data_ptr())
    return sums.view(torch.float32)


def shape_of(g: Geometry, height: int, width: int, channels: int, outputs: int) -> tuple[bytes, int, int]:
    """Return a convolution's ``Shape`` for the C code, and height and width of the output.

    Raises:
        InvalidArgumentError: the image is smaller than the kernel.
    """
    out_h, out_w = g.output_size(height, width)
    if min(out_h, out_w) < 1:
        raise InvalidArgumentError(f"an image of {height} × {width} is smaller than the kernel {g.kernel}.")
    sizes = (height, width, out_h, out_w)
    return _SHAPE.pack(*sizes, *g.kernel, *g.stride, *g.padding, *g.dilation, channels, outputs), out_h, out_w


def event_lists(x: Packed) -> tuple[Tensor, Tensor]:
    """Return, of all rows, where their lists start (rows + 1), and the columns that fired (with spare ones behind)."""
    rows, levels, width = x.words.shape
    starts = torch.empty(rows + 1, dtype=torch.int32)
    columns = torch.empty(x.spikes + _SPARE, dtype=torch.int16)
    library().snnkit_lists(x.words.data_ptr(), rows, width, levels, starts.data_ptr(), columns.data_ptr())
    return starts, columns


def in_shares(rows: int, run: Callable[[int, int], object]) -> None:
    """Call ``run(first, last)`` on parts of the output rows, shared among torch's threads."""
    share(rows * _ROW_COUNTS_AS, lambda part: run(part.start // _ROW_COUNTS_AS, part.stop // _ROW_COUNTS_AS))


def _run(x: Packed, weights: Panels, geometry: Geometry, shape: bytes, channels: int, rows: int) -> Tensor:
    if channels * geometry.kernel[0] * geometry.kernel[1] != weights.inputs:
        raise InvalidArgumentError(
            f"{channels} channels under a {geometry.kernel} kernel are not the {weights.inputs} inputs of the weights."
        )
    if channels > MAX_CHANNELS or weights.inputs * _PANEL_BYTES >= 1 << 32:
        raise InvalidArgumentError(
            f"{weights.inputs} inputs in {channels} channels: events take {MAX_CHANNELS} channels."
        )
    starts, columns = event_lists(x)
    integers = weights.weights.dtype == torch.int16
    dtype = torch.int32 if integers and weights.scale is None else torch.float32
    out = torch.empty(rows, weights.outputs, dtype=dtype)
    pointers = (
        shape, starts.data_ptr(), columns.data_ptr(), weights.weights.data_ptr(), integers,
        None if weights.scale is None else weights.scale.data_ptr(), weights.bias.data_ptr(), out.data_ptr(), x.levels,
    )  # fmt: skip
    failed: list[int] = []
    in_shares(rows, lambda first, last: failed.append(library().snnkit_events(*pointers, first, last)))
    if any(failed):
        raise SnnkitError(f"there is no memory for the event lists of {weights.inputs} inputs; give smaller batches.")
    return out
