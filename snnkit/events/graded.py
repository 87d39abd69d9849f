"""Layers that read whole-number events of several steps, with the neurons behind them, in one pass, in C.

Weights lie on a grid: per output whole numbers times a power of two. Sums are those of integers, whether a step is
computed from the inputs that fired or densely; what costs less at the rate of the step is taken, and the results are
the same bit for bit. Float32 results are exact while |sums| ≤ 2^24 of the grid's steps.
"""

from __future__ import annotations

import ctypes
import math
import struct
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from snnkit.errors import SnnkitError
from snnkit.kernels import native
from snnkit.kernels.layout import share

SOURCE = Path(__file__).parent / "csrc" / "graded.c"
LARGEST_EVENT = (1 << 15) - 1
"""Size up to which events are computed here."""
EXACT = 1 << 24
"""Whole numbers up to here are exact in float32."""
MAX_STEPS = 64
"""Steps of one pass (``starts`` in the C file has room for as many)."""
LISTED_BELOW = 0.4
"""Share of channel pairs that fired below which a step is computed from lists; both ways cost about the same there."""

_LARGEST_WEIGHT = (1 << 15) - 1
_MOST_INPUTS = 1 << 16  # lists hold 16-bit numbers of pairs, and 32-bit offsets of weights
_SPARE = 64
_SHAPE, _AFTER = struct.Struct("=19q"), struct.Struct("=17q2d")
_WORTH = 64  # ``share`` cuts at multiples of 64 of what is at least 2^15


@lru_cache(maxsize=1)
def library() -> ctypes.CDLL:
    """Return the compiled library.

    Raises:
        NoNativeKernelError: there is no compiler, or it failed; the message says which.
    """
    loaded = native.load(SOURCE)
    long, pointer = ctypes.c_int64, ctypes.c_void_p
    loaded.snnkit_graded_width.restype = long
    loaded.snnkit_graded_lists.argtypes = (pointer, long, long, pointer, pointer, pointer)
    loaded.snnkit_graded_lists.restype = None
    loaded.snnkit_graded.argtypes = (ctypes.c_char_p, pointer, pointer, pointer, ctypes.c_char_p, long, long)
    loaded.snnkit_graded.restype = ctypes.c_int
    loaded.snnkit_graded_split.argtypes = (pointer, pointer, long, long)
    loaded.snnkit_graded_split.restype = None
    loaded.snnkit_graded_border.argtypes = (pointer, *[long] * 6)
    loaded.snnkit_graded_border.restype = None
    return loaded


def why_not() -> str:
    """Return "" where this can be computed on this machine, else the reason."""
    return native.why_not(SOURCE)


@lru_cache(maxsize=1)
def _width() -> int:
    return int(library().snnkit_graded_width())


def whole_panels(values: Tensor, fill: float = 0.0) -> Tensor:
    """Return ``values`` (…, n) filled up to whole panels of outputs."""
    return torch.nn.functional.pad(values, (0, -values.shape[-1] % _width()), value=fill)


@dataclass(frozen=True, slots=True)
class Window:
    """How a layer looks at its input: a convolution with zero padding; all pairs are (vertical, horizontal)."""

    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)


@dataclass(frozen=True, slots=True)
class Weights:
    """Weights prepared for the C code by ``prepared``.

    Attributes:
        panels: int16, [panel][tap][pair][output][2]; depthwise int32, [panel][tap][output].
        step: (whole panels,) float32, what one unit of a sum is worth.
        bias: (whole panels,) int32, where sums start, in these units.
        inputs, outputs: channels.
        window: of a convolution.
        depthwise: whether every output sees the channel of its number alone.
        shift: weights of more than 16 bits are two parts, and events are read as ``split`` by it; 0: they are one.
    """

    panels: Tensor
    step: Tensor
    bias: Tensor
    inputs: int
    outputs: int
    window: Window
    depthwise: bool = False
    shift: int = 0


def prepared(
    weight: Tensor, bias: Tensor | None, window: Window, largest: int, depthwise: bool = False
) -> Weights | None:
    """Prepare float32 weights (N, C, kh, kw) or (N, C).

    Args:
        weight: on a grid.
        bias: (N,), on the same grid, or None.
        window: of a convolution.
        largest: what no event, and no sum of an input's events, exceeds in size.
        depthwise: weights are (N, 1, kh, kw), and every output sees the channel of its number.

    Returns:
        The weights, or None where they are no whole numbers on a grid on which sums are exact.
    """
    taps = weight.reshape(weight.shape[0], weight.shape[1], -1).double()
    outputs, inputs, _ = taps.shape
    rows = taps.flatten(1) if bias is None else torch.cat([taps.flatten(1), bias.double().reshape(-1, 1)], 1)
    step = _grid(rows)
    whole = rows / step[:, None]
    reach = whole[:, : taps[0].numel()].abs().sum(1) * largest
    if bias is not None:
        reach = reach + whole[:, -1].abs()
    if not bool((reach <= EXACT).all()) or inputs * taps.shape[2] > _MOST_INPUTS or not 1 <= largest <= LARGEST_EVENT:
        return None
    numbers = whole[:, : taps[0].numel()].reshape(taps.shape).to(torch.int32)
    start = torch.zeros(outputs, dtype=torch.int32) if bias is None else whole[:, -1].to(torch.int32)
    shift = 0
    if depthwise:
        filled = torch.nn.functional.pad(numbers[:, 0], (0, 0, 0, -outputs % _width()))
        panels, inputs = filled.reshape(-1, _width(), taps.shape[2]).transpose(1, 2).contiguous(), outputs
    else:
        if numbers.numel() and int(numbers.abs().max()) > _LARGEST_WEIGHT:
            shift = LARGEST_EVENT.bit_length() - largest.bit_length()
            high = (numbers + (1 << shift >> 1)) >> shift
            if int(high.abs().max()) > _LARGEST_WEIGHT:
                return None
            parts = torch.stack([high, numbers - (high << shift)], 2)
            numbers = torch.nn.functional.pad(parts, (0, 0, 0, 0, 0, inputs % 2)).flatten(1, 2)
        panels = _panels(numbers.to(torch.int16))
    per_output = (whole_panels(step.float()), whole_panels(start))
    return Weights(panels, *per_output, inputs, outputs, window, depthwise, shift)


def _panels(numbers: Tensor) -> Tensor:
    """Lay out weights (N, C, taps) as [panel][tap][pair][output][2]."""
    filled = torch.nn.functional.pad(numbers, (0, 0, 0, numbers.shape[1] % 2, 0, -numbers.shape[0] % _width()))
    pairs = filled.reshape(-1, _width(), filled.shape[1] // 2, 2, filled.shape[2])
    return pairs.permute(0, 4, 2, 1, 3).contiguous()


def _grid(rows: Tensor) -> Tensor:
    """Return, for every row of float32 numbers, the largest power of two that all of them are multiples of."""
    mantissa, exponent = torch.frexp(rows)
    whole = (mantissa * 2**24).to(torch.int64)
    lowest = (whole & -whole).double().log2() + exponent.double() - 24
    lowest = torch.where(whole == 0, torch.full_like(lowest, float("inf")), lowest).amin(1)
    return torch.where(lowest.isinf(), torch.ones_like(lowest), torch.exp2(lowest))


@dataclass(slots=True)
class Events:
    """Events of several steps.

    Attributes:
        buffer: int16 (T, images, height, width, channels), zero-padded; channels are even.
        steps: behind so many steps there are none.
        padding: (vertical, horizontal) of the buffer.
        channels: those that are not there to make their number even.
        counts: (T, 2) int64, events and their sizes added up, or None where nobody counted.
    """

    buffer: Tensor
    steps: int
    padding: tuple[int, int]
    channels: int
    counts: list[list[int]]

    def images(self) -> Tensor:
        """Return them without padding as (steps · images, channels, height, width), a view."""
        (up, side), (_, _, height, width, _) = self.padding, self.buffer.shape
        inner = self.buffer[: self.steps, :, up : height - up, side : width - side, : self.channels]
        return inner.permute(0, 1, 4, 2, 3).flatten(0, 1)


def split(x: Events, shift: int) -> Events:
    """Return events for weights in two parts: every channel as a pair, x · 2^shift and x."""
    buffer = torch.empty(*x.buffer.shape[:-1], 2 * x.buffer.shape[-1], dtype=torch.int16)
    size = x.buffer[: x.steps].numel()
    library().snnkit_graded_split(x.buffer.data_ptr(), buffer.data_ptr(), size, shift)
    return Events(buffer, x.steps, x.padding, x.channels, x.counts)


def empty_events(steps: int, images: int, size: tuple[int, int], channels: int, padding: tuple[int, int]) -> Events:
    """Return room for events, whose border is 0 already."""
    height, width = size[0] + 2 * padding[0], size[1] + 2 * padding[1]
    shape = (steps, images, height, width, channels + channels % 2)
    # Whole panels are read where every output has a channel of its own.
    made = torch.empty(math.prod(shape) + _width(), dtype=torch.int16)[: -_width()].view(shape)
    if channels % 2:
        made[..., -1] = 0
    if padding != (0, 0):
        library().snnkit_graded_border(made.data_ptr(), steps * images, height, width, made.shape[-1], *padding)
    return Events(made, steps, padding, channels, [])


@dataclass(slots=True)
class Neurons:
    """Neurons that send what is missing of a code: scale (whole panels,), bounds, and the largest event (0: any)."""

    scale: Tensor
    low: int
    high: int
    largest: int


@dataclass(slots=True)
class Pass:
    """What one pass reads and writes; ``run`` does it.

    Attributes:
        pixels: (images, height, width) of the outputs.
        outputs: their channels.
        steps: of the neurons.
        layer, x: the weights and what they meet, or None: only ``other`` counts.
        sums: (pixels, whole panels) int32, the state of the layer.
        other: (n, pixels, outputs) float32 values that are added, constant from the last on.
        least, most: ends that values are clipped at.
        y: (max(x.steps, n), pixels, outputs) float32, the values, if they are wanted.
        neurons, total, sent: what reads the values, its state (pixels, whole panels), and room for events.
    """

    pixels: tuple[int, int, int]
    outputs: int
    steps: int
    layer: Weights | None = None
    x: Events | None = None
    sums: Tensor | None = None
    other: Tensor | None = None
    least: float = -math.inf
    most: float = math.inf
    y: Tensor | None = None
    neurons: Neurons | None = None
    total: Tensor | None = None
    sent: Events | None = None

    @property
    def steps_in(self) -> int:
        """Steps in which events come."""
        return self.x.steps if self.x is not None else 0

    @property
    def steps_y(self) -> int:
        """Steps from whose last one on the values stay."""
        return max(1, self.steps_in, 0 if self.other is None else len(self.other))

    def run(self) -> None:
        """Do it. ``sent`` then knows its counts and in how many steps there were events."""
        images, height, width = self.pixels
        shape = self._shape()
        lists, kept = self._lists()
        step = self.layer.step if self.layer is not None else torch.zeros(-(-self.outputs // _width()) * _width())
        counts: list[Tensor] = []
        failed: list[int] = []

        def part(first: int, last: int) -> None:
            counts.append(torch.zeros(self.steps, 2, dtype=torch.int64))
            after = self._after(step, counts[-1])
            failed.append(
                library().snnkit_graded(shape, _at(self._x()), _at(lists), _at(self._panels()), after, first, last)
            )

        pixels = images * height * width
        share(pixels * _WORTH, lambda some: part(some.start // _WORTH, some.stop // _WORTH))
        del kept
        if any(failed):
            raise SnnkitError("there is no memory for the event lists; give smaller batches.")
        if self.sent is not None:
            self.sent.counts = torch.stack(counts).sum(0).tolist() if len(counts) > 1 else counts[0].tolist()
            self.sent.steps = max((t + 1 for t, (events, _) in enumerate(self.sent.counts) if events), default=0)

    def _x(self) -> Tensor | None:
        return None if self.x is None else self.x.buffer

    def _panels(self) -> Tensor | None:
        return None if self.layer is None else self.layer.panels

    def _shape(self) -> bytes:
        images, height, width = self.pixels
        steps = (self.steps_in, self.steps_y, self.steps)
        if self.layer is None or self.x is None:
            return _SHAPE.pack(images, 0, 0, 0, 0, 0, height, width, 0, 0, 1, 1, 1, 1, self.outputs, *steps, 0)
        w = self.layer.window
        _, _, in_h, in_w, channels = self.x.buffer.shape
        begin = (self.x.padding[0] - w.padding[0], self.x.padding[1] - w.padding[1])
        return _SHAPE.pack(
            images, in_h, in_w, channels, *begin, height, width,
            *w.kernel, *w.stride, *w.dilation, self.outputs, *steps, self.layer.depthwise,
        )  # fmt: skip

    def _after(self, step: Tensor, counts: Tensor) -> bytes:
        n = self.neurons
        bounds = (0, 0, 0) if n is None else (n.low, n.high, n.largest)
        place = (0, 0, 0, 0, 0)
        if self.sent is not None:
            place = (*self.sent.buffer.shape[2:4], *self.sent.padding, self.sent.buffer.shape[4])
        return _AFTER.pack(
            _at(step), _at(self.sums), _at(self.other), _at(self.y), _at(None if n is None else n.scale),
            _at(self.total), _at(None if self.sent is None else self.sent.buffer), _at(counts),
            0 if self.other is None else len(self.other), *bounds, *place, self.least, self.most,
        )  # fmt: skip

    def _lists(self) -> tuple[Tensor, list[Tensor]]:
        """Return ``Lists`` of every step, with no pointers where it is computed densely, and what these point to."""
        found = torch.zeros(max(self.steps_in, 1), 3, dtype=torch.int64)
        kept: list[Tensor] = []
        if self.x is None or self.layer is None or self.layer.depthwise:
            return found, kept
        _, images, height, width, channels = self.x.buffer.shape
        rows, pairs = images * height * width, channels // 2
        (up, side), inner = self.x.padding, self.x.channels
        neurons = images * (height - 2 * up) * (width - 2 * side) * inner
        for t in range(self.steps_in):
            events = self.x.counts[t][0] if self.x.counts else neurons
            pair = 1 if self.layer.shift else 2  # inputs that share an entry
            if 1 - (1 - min(events / neurons, 1.0)) ** pair > LISTED_BELOW:
                continue
            starts = torch.empty(rows + 1, dtype=torch.int32)
            columns = torch.empty(events + _SPARE, dtype=torch.int16)
            values = torch.empty(events + _SPARE, dtype=torch.int32)
            library().snnkit_graded_lists(_at(self.x.buffer[t]), rows, pairs, _at(starts), _at(columns), _at(values))
            kept += [starts, columns, values]
            found[t] = torch.tensor([_at(starts), _at(columns), _at(values)])
        return found, kept


def _at(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()
