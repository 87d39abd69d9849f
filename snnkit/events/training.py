"""Training by events: convolutions that keep their input spikes as bits and sum gradients over what fired.

    y  = W ∗ x                       by events or densely, whichever is faster at the layer's rate
    ∂W[k, c] = Σ over the events of channel c of ∂y at the pixel that sees the event by tap k
    ∂x = Wᵀ ∗ ∂y                     densely: every membrane has a surrogate derivative

Bits take a thirty-second of the memory of float spikes, and the sums run over the share of the inputs that fired. The
results are those of the dense layer but for the order of additions.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from snnkit.errors import InvalidArgumentError
from snnkit.events.bits import Packed, try_pack_pixels, unpack
from snnkit.events.choice import EVENTS, Choice, race
from snnkit.events.groups import event_group_conv, group_weights
from snnkit.events.layers import EventConv
from snnkit.events.library import library, why_not
from snnkit.events.sums import Geometry, event_conv, event_lists, in_shares, panels, shape_of
from snnkit.layers import sequence

_DENSE = "dense"


def weight_gradient(x: Packed, g_NCHW: Tensor, geometry: Geometry, depthwise: bool = False) -> Tensor:
    """Return the gradient of a convolution's weight, (N, C, kh, kw) or depthwise (C, 1, kh, kw), float32.

    Args:
        x: its input as bits, (N, H, W, C).
        g_NCHW: the gradient of its output, float32; read fastest where it lies channels-last.
        geometry: of the convolution.
        depthwise: whether output c sees channel c alone.

    Raises:
        InvalidArgumentError: the gradient has not the shape of the output.
    """
    images, height, width, channels = x.shape
    shape, out_h, out_w = shape_of(geometry, height, width, channels, g_NCHW.shape[1])
    if (len(g_NCHW), *g_NCHW.shape[2:]) != (images, out_h, out_w) or (depthwise and g_NCHW.shape[1] != channels):
        raise InvalidArgumentError(f"a gradient of shape {tuple(g_NCHW.shape)} is not that of the layer's output.")
    starts, columns = event_lists(x)
    g_NHWC = g_NCHW.permute(0, 2, 3, 1).contiguous()
    kernel_h, kernel_w = geometry.kernel
    grad = torch.zeros(kernel_h, kernel_w, channels, 1 if depthwise else g_NCHW.shape[1])
    pointers = (shape, starts.data_ptr(), columns.data_ptr(), g_NHWC.data_ptr(), grad.data_ptr(), depthwise, images)
    in_shares(kernel_h * kernel_w, lambda first, last: library().snnkit_weight_gradient(*pointers, first, last))
    return grad.permute(2, 3, 0, 1) if depthwise else grad.permute(3, 2, 0, 1)


class _ByEvents:
    """Mixin for ``nn.Conv2d`` and its form on sequences: binary float32 input on the CPU is taken as events."""

    def _conv_forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        usable = x.dtype == weight.dtype == torch.float32 and x.device.type == "cpu" and x.dim() == 4
        usable = usable and type(x) in (Tensor, nn.Parameter)  # fake tensors of a simulation hold no spikes
        if usable and torch.is_grad_enabled() and weight.requires_grad and not torch.compiler.is_compiling():
            packed = try_pack_pixels(x.detach(), 1)
            if packed is not None:
                return _Convolution.apply(x, weight, bias, packed, self)
        return super()._conv_forward(x, weight, bias)  # type: ignore[misc]


class EventTrainedConv2d(_ByEvents, nn.Conv2d):
    """``nn.Conv2d``, (N, C, H, W), trained by events."""


class EventTrainedSequenceConv2d(_ByEvents, sequence.Conv2d):  # type: ignore[name-defined,misc]
    """``snnkit.layers.sequence.Conv2d``, (T, B, C, H, W), trained by events."""


_TRAINED = {nn.Conv2d: EventTrainedConv2d, sequence.Conv2d: EventTrainedSequenceConv2d}  # type: ignore[attr-defined]


def train_by_events(model: nn.Module) -> nn.Module:
    """Return a copy of ``model`` whose convolutions may compute by events while training on the CPU.

    Parameters and state_dict keys are the same; layers whose input is not binary compute as before. Each layer times
    its ways on its own data and takes the faster one. Where no C compiler is at hand the copy is a plain one.
    """
    made = copy.deepcopy(model)
    for part in made.modules():
        supported = type(part) in _TRAINED and not EventConv.unsupported(part) and not isinstance(part.padding, str)
        if supported and not why_not() and part.groups in (1, part.in_channels) and _plain(part):
            part.__class__ = _TRAINED[type(part)]
            part.forward_choices, part.backward_choices = {}, {}
    return made


def _plain(layer: nn.Conv2d) -> bool:
    """Whether it is an ordinary convolution, or one with an output per channel."""
    return layer.groups == 1 or layer.out_channels == layer.in_channels


def _geometry(layer: nn.Conv2d) -> Geometry:
    return Geometry(layer.kernel_size, layer.stride, layer.padding, layer.dilation)


def _faster(choices: dict[Any, Choice], key: Any, rate: float, ways: dict[str, Any]) -> Tensor:
    """Return the result of the faster way, timing both where it is not known."""
    choice = choices.setdefault(key, Choice(_DENSE))
    way = choice.at(rate) or choice.learn(rate, race(ways))
    return ways[way]()


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, packed: Packed, layer: nn.Conv2d) -> Tensor:
        ctx.save_for_backward(packed.words, weight)
        ctx.packed = (packed.shape, packed.levels, packed.spikes)
        ctx.layer, ctx.biased = layer, bias is not None

        def by_events() -> Tensor:
            if layer.groups == 1:
                return event_conv(packed, panels(weight, bias), _geometry(layer))
            return event_group_conv(packed, group_weights(weight, layer.groups, bias), _geometry(layer))

        def densely() -> Tensor:
            return F.conv2d(x, weight, bias, layer.stride, layer.padding, layer.dilation, layer.groups)

        ways = {EVENTS: by_events, _DENSE: densely}
        return _faster(layer.forward_choices, (x.shape, x.stride()), packed.rate, ways)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        words, weight = ctx.saved_tensors
        layer, packed = ctx.layer, Packed(words, *ctx.packed)
        settings = (layer.stride, layer.padding, layer.dilation, False, (0, 0), layer.groups)

        def convolution(x: Tensor, wanted: int) -> Tensor:
            mask = [i == wanted for i in range(3)]
            return torch.ops.aten.convolution_backward(g, x, weight, None, *settings, mask)[wanted]

        def by_events() -> Tensor:
            return weight_gradient(packed, g, _geometry(layer), layer.groups > 1)

        def densely() -> Tensor:
            return convolution(unpack(packed).permute(0, 3, 1, 2), 1)

        images, height, width, channels = packed.shape
        grad_x = grad_w = None
        if ctx.needs_input_grad[0]:
            grad_x = convolution(g.new_empty(1).expand(images, channels, height, width), 0)
        if ctx.needs_input_grad[1]:
            ways = {EVENTS: by_events, _DENSE: densely}
            grad_w = _faster(layer.backward_choices, (g.shape, g.stride()), packed.rate, ways)
        return grad_x, grad_w, g.sum((0, 2, 3)) if ctx.biased else None, None, None
