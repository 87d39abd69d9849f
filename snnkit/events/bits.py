"""Spikes as bits: 64 values a word, 32 times smaller than float32, and back without loss.

Whole numbers from 0 to ``levels`` (multi-level neurons) are kept as a thermometer of ``levels`` bits: a value v sets v
of them, so that the set bits are the single spikes that v stands for.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from snnkit.errors import InvalidArgumentError
from snnkit.events.library import library, why_not

MAX_LEVELS = 15
_WORD = 64


@dataclass(frozen=True, slots=True)
class Packed:
    """Spikes of shape ``shape`` (…, K) as bits.

    ``words`` is an int64 tensor (rows, levels, ⌈K / 64⌉): value k of a row is bit k mod 64 of word k div 64, lowest bit
    first; bits beyond K are 0. Bit plane d is set where the value is above d. ``spikes`` counts all set bits.
    """

    words: Tensor
    shape: torch.Size
    levels: int
    spikes: int

    @property
    def rate(self) -> float:
        """Spikes per value: between 0 and ``levels``; 0 for an empty tensor."""
        return self.spikes / max(1, self.shape.numel())


def pack(x: Tensor, levels: int = 1) -> Packed:
    """Pack spikes along the last dimension.

    Args:
        x: (…, K) on the CPU, any dtype, whole numbers from 0 to ``levels``.
        levels: largest value; 1 for binary spikes.

    Raises:
        InvalidArgumentError: other values are in ``x`` (they are named), or ``levels`` is out of range.
    """
    _check_levels(levels)
    packed = try_pack(x, levels)
    if packed is None:
        raise _wrong_values(x, levels)
    return packed


def pack_pixels(x: Tensor, levels: int = 1) -> Packed:
    """Pack images (N, C, H, W) per pixel over the channels: the result has the shape (N, H, W, C).

    Args and errors: those of ``pack``. Both memory formats of torch are read where they lie.
    """
    _check_levels(levels)
    if x.dim() != 4:
        raise InvalidArgumentError(f"pack_pixels takes images (N, C, H, W), got the shape {tuple(x.shape)}.")
    packed = try_pack_pixels(x, levels)
    if packed is None:
        raise _wrong_values(x, levels)
    return packed


def try_pack(x: Tensor, levels: int = 1) -> Packed | None:
    """Return ``pack(x, levels)``, or None where ``x`` holds other values."""
    values = _as_floats(x)
    if values is None:
        return None
    if why_not():
        return _pack_with_torch(values, levels)
    values = values.contiguous()
    k = values.shape[-1]
    rows = values.numel() // k if k else 0
    words = torch.empty(rows, levels, -(-k // _WORD), dtype=torch.int64)
    spikes = library().snnkit_pack_rows(values.data_ptr(), words.data_ptr(), rows, k, levels)
    return None if spikes < 0 else Packed(words, x.shape, levels, spikes)


def try_pack_pixels(x: Tensor, levels: int = 1) -> Packed | None:
    """Return ``pack_pixels(x, levels)``, or None where ``x`` holds other values."""
    last = x.permute(0, 2, 3, 1)
    if last.is_contiguous() or why_not():
        return try_pack(last, levels)
    values = _as_floats(x)
    if values is None:
        return None
    values = values.contiguous()
    n, channels, height, width = x.shape
    words = torch.empty(n * height * width, levels, -(-channels // _WORD), dtype=torch.int64)
    spikes = library().snnkit_pack_images(
        values.data_ptr(), words.data_ptr(), n, channels, height * width, levels
    )  # fmt: skip
    return None if spikes < 0 else Packed(words, last.shape, levels, spikes)


def unpack(packed: Packed, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return the values that were packed, in their shape (for ``pack_pixels``: (N, H, W, C))."""
    k = packed.shape[-1]
    if why_not():
        return _unpack_with_torch(packed).to(dtype)
    values = torch.empty(packed.shape)
    rows = len(packed.words)
    library().snnkit_unpack_rows(packed.words.data_ptr(), values.data_ptr(), rows, k, packed.levels)
    return values.to(dtype)


def popcount(words: Tensor) -> int:
    """Return the number of set bits of an int64 tensor."""
    if words.dtype != torch.int64:
        raise InvalidArgumentError(f"popcount takes the int64 words of Packed, got {words.dtype}.")
    if why_not():
        return int(_bits(words).sum())
    words = words.contiguous()
    return library().snnkit_popcount(words.data_ptr(), words.numel())


def _as_floats(x: Tensor) -> Tensor | None:
    """``x`` as float32, or None where that would round a value to a whole number or there is no CPU tensor."""
    if x.device.type != "cpu" or x.dim() == 0:
        raise InvalidArgumentError(
            f"spikes are packed from CPU tensors (…, K), got the shape {tuple(x.shape)} on {x.device}."
        )
    x = x.detach()
    if x.dtype == torch.float32:
        return x
    values = x.to(torch.float32)
    if x.dtype in (torch.float64, torch.int32, torch.int64) and not torch.equal(values.to(x.dtype), x):
        return None
    return values


def _check_levels(levels: int) -> None:
    if not 1 <= levels <= MAX_LEVELS:
        raise InvalidArgumentError(f"levels={levels}: a value is packed as 1 to {MAX_LEVELS} bits.")


def _wrong_values(x: Tensor, levels: int) -> InvalidArgumentError:
    allowed = (x == x.round()) & (x >= 0) & (x <= levels) if x.is_floating_point() else (x >= 0) & (x <= levels)
    wrong = x[~allowed]
    shown = ", ".join(f"{value:.4g}" for value in wrong.flatten()[:3].tolist())
    kind = "0 and 1" if levels == 1 else f"whole numbers from 0 to {levels}"
    return InvalidArgumentError(
        f"spikes are {kind}, but {wrong.numel()} of {x.numel()} values are others: {shown}"
        f"{' …' if wrong.numel() > 3 else ''}. Pack the output of a spiking neuron, or give its number of levels."
    )


def _pack_with_torch(values: Tensor, levels: int) -> Packed | None:
    if not bool(((values >= 0) & (values <= levels) & (values == values.round())).all()):
        return None
    k = values.shape[-1]
    rows = values.reshape(-1, k) if k else values.reshape(0, 0)
    width = -(-k // _WORD)
    planes = torch.stack([rows > d for d in range(levels)], dim=1)
    padded = torch.nn.functional.pad(planes, (0, width * _WORD - k)).unflatten(-1, (width, _WORD))
    words = (padded.to(torch.int64) << torch.arange(_WORD)).sum(-1)  # bit 63 wraps to the sign, as it should
    return Packed(words, values.shape, levels, int(planes.sum()))


def _unpack_with_torch(packed: Packed) -> Tensor:
    counts = _bits(packed.words).flatten(-2).sum(1)
    return counts[:, : packed.shape[-1]].reshape(packed.shape).to(torch.float32)


def _bits(words: Tensor) -> Tensor:
    return words.unsqueeze(-1) >> torch.arange(_WORD) & 1
