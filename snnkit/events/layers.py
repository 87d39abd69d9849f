"""Event-driven stand-ins for ``nn.Linear``, ``nn.Conv1d`` and ``nn.Conv2d``, also for those on sequences.

Shapes are torch's; further leading dimensions, such as time, are batch. Convolutions by events return (N, H, W, C) in
memory, torch's channels-last format: values are looked up per pixel, so that is where they arise.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from snnkit.deploy import PointwiseConv1d
from snnkit.errors import InvalidArgumentError
from snnkit.events.base import EventLayer
from snnkit.events.bits import Packed, try_pack, try_pack_pixels, unpack
from snnkit.events.groups import event_group_conv, group_weights
from snnkit.events.sums import MAX_CHANNELS, Geometry, event_conv, event_linear, scale_in_place


class EventLinear(EventLayer):
    """``nn.Linear``: (…, K) → (…, N)."""

    @staticmethod
    def unsupported(layer: nn.Module) -> str:
        """Return why a linear layer cannot be computed by events, "" where it can."""
        return _unsupported_weight(layer.weight)

    def _kind(self, x: Tensor) -> tuple:
        return (x.numel().bit_length(),)

    def _pack(self, x: Tensor, levels: int) -> Packed | None:
        return try_pack(x, levels)

    def _events(self, packed: Packed, x: Tensor | None) -> Tensor:
        return event_linear(packed, self._panels())

    def _product(self, x: Tensor, bias: Tensor | None) -> Tensor:
        return F.linear(x, self._float_weight(), bias)

    def _per_output(self, values: Tensor) -> Tensor:
        return values

    def _integer_product(self, x: Tensor) -> Tensor:
        rows = x.reshape(-1, x.shape[-1]).to(torch.int8)
        sums = torch._int_mm(rows, self._keep("columns", lambda: self.weight.t().contiguous()))
        return scale_in_place(sums, self.scale, self._bias_or_zeros()).view(*x.shape[:-1], len(self.weight))

    def _from_packed(self, packed: Packed) -> Tensor:
        return unpack(packed)


class EventConv(EventLayer):
    """``nn.Conv2d`` (…, C, H, W) → (…, C', H', W') and ``nn.Conv1d`` (…, C, L) → (…, C', L').

    Inside, a 1-D convolution is one over images of height 1. The dense way is that of the layer.
    """

    def __init__(self, layer: nn.Conv1d | nn.Conv2d, weights: str = "float32"):
        super().__init__(layer, weights)
        padding, more = _padding(layer)
        self.geometry = Geometry(
            *(_pair(value) for value in (layer.kernel_size, layer.stride)),
            _pair(padding, other=0),
            _pair(layer.dilation),
            _pair(more, other=0),
        )
        self.groups = layer.groups
        self._as_tokens = isinstance(layer, PointwiseConv1d)

    @staticmethod
    def unsupported(layer: nn.Module) -> str:
        """Return why a convolution cannot be computed by events, "" where it can."""
        if layer.padding_mode != "zeros":
            return f"padding_mode={layer.padding_mode!r}: only zeros are silent"
        return _unsupported_weight(layer.weight, layer.groups)

    @property
    def _dims(self) -> int:
        return self.weight.dim() - 2

    def _images(self, x: Tensor) -> Tensor:
        """(…, C, [H,] W) → (N, C, H, W)."""
        if x.dim() <= self._dims:
            raise InvalidArgumentError(f"a {self._dims}-D convolution takes images of channels, got {tuple(x.shape)}.")
        if self._dims == 1:
            x = x.unsqueeze(-2)
        return x if x.dim() == 4 else x.reshape(-1, *x.shape[-3:])

    def _like(self, y: Tensor, x: Tensor | None) -> Tensor:
        """(N, C', H', W') → the dimensions that ``x`` has."""
        if self._dims == 1:
            y = y.squeeze(2)
        if x is None or x.dim() == y.dim():
            return y
        return y.unflatten(0, x.shape[: -self._dims - 1]) if x.dim() > y.dim() else y.squeeze(0)

    def _kind(self, x: Tensor) -> tuple:
        return (x.numel().bit_length(), x.shape[-self._dims :], x.stride(-self._dims - 1) == 1)

    def _pack(self, x: Tensor, levels: int) -> Packed | None:
        return try_pack_pixels(self._images(x), levels)

    def _events(self, packed: Packed, x: Tensor | None) -> Tensor:
        if self.groups == 1:
            return self._like(event_conv(packed, self._panels(), self.geometry), x)
        prepared = self._keep("groups", lambda: group_weights(self._weight_4d(), self.groups, self.bias, self.scale))
        return self._like(event_group_conv(packed, prepared, self.geometry), x)

    def _product(self, x: Tensor, bias: Tensor | None) -> Tensor:
        images, g = self._images(x), self.geometry
        if self._as_tokens:
            tokens = images.squeeze(2).transpose(1, 2)
            y = F.linear(tokens.contiguous(), self._float_weight().squeeze(-1), bias)
            return self._like(y.transpose(1, 2).unsqueeze(2), x)
        padding = "same" if any(g.more) else g.padding
        y = F.conv2d(images, self._weight_for(images), bias, g.stride, padding, g.dilation, self.groups)
        return self._like(y, x)

    def _weight_for(self, images: Tensor) -> Tensor:
        """The weight (N, C, kh, kw), channels-last if it or the images are: so is the output then, as torch has it."""
        weight = self._float_weight()
        if self._dims == 1:
            weight = weight.unsqueeze(2)
        if weight.is_contiguous() and images.stride(1) == 1 and images.shape[1] > 1:
            return self._keep("last", lambda: weight.contiguous(memory_format=torch.channels_last))
        return weight

    def _per_output(self, values: Tensor) -> Tensor:
        return values.view(-1, *[1] * self._dims)

    def _weight_4d(self) -> Tensor:
        return self.weight.unsqueeze(2) if self._dims == 1 else self.weight

    @property
    def _has_integer_product(self) -> bool:
        return self.groups == 1

    def _integer_product(self, x: Tensor) -> Tensor:
        images, g = self._images(x), self.geometry
        (top, left), (below, beside), (down, right) = g.padding, g.more, g.stride
        pixels = images.permute(0, 2, 3, 1).to(torch.int8, memory_format=torch.contiguous_format)
        around = (0, 0, left, left + beside, top, top + below)
        pixels = F.pad(pixels, around) if any(around) else pixels
        out_h, out_w = g.output_size(*images.shape[-2:])
        n, row, column, channel = pixels.stride()
        patches = pixels.as_strided(
            (len(pixels), out_h, out_w, *g.kernel, pixels.shape[-1]),
            (n, row * down, column * right, row * g.dilation[0], column * g.dilation[1], channel),
        )
        inputs = patches.shape[3] * patches.shape[4] * patches.shape[5]
        columns = self._keep("columns", lambda: self.weight.movedim(1, -1).flatten(1).t().contiguous())
        sums = torch._int_mm(patches.reshape(-1, inputs), columns)
        y = scale_in_place(sums, self.scale, self._bias_or_zeros()).view(len(pixels), out_h, out_w, -1)
        return self._like(y.permute(0, 3, 1, 2), x)

    def _from_packed(self, packed: Packed) -> Tensor:
        images = unpack(packed).permute(0, 3, 1, 2)
        return images.squeeze(2) if self._dims == 1 else images


def _unsupported_weight(weight: Tensor, groups: int = 1) -> str:
    if weight.dtype != torch.float32 or weight.device.type != "cpu":
        return f"its weights are {weight.dtype} on {weight.device}; events take float32 on the CPU"
    inputs = weight.shape[1] * groups
    if not weight.numel() or inputs > MAX_CHANNELS:
        return f"it has {inputs} inputs; events take 1 to {MAX_CHANNELS}"
    return ""


def _pair(values: tuple[int, ...], other: int = 1) -> tuple[int, int]:
    return (other, values[0]) if len(values) == 1 else (values[0], values[1])


def _padding(layer: nn.Conv1d | nn.Conv2d) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Padding per dimension on both sides, and what torch's "same" adds on the far side."""
    none = (0,) * len(layer.kernel_size)
    if layer.padding == "valid":
        return none, none
    if layer.padding != "same":
        return layer.padding, none  # type: ignore[return-value]
    total = [d * (k - 1) for d, k in zip(layer.dilation, layer.kernel_size, strict=True)]
    return tuple(t // 2 for t in total), tuple(t % 2 for t in total)
