"""Preparing a trained network for inference: batch norms folded into the weights before them, channels last.

Folding moves a rounding error across the threshold now and then: in float32 up to a few spikes in ten thousand change,
so a folded network is judged by its flip rate and its task metric; in float64 it is exact. ``flip_rate`` measures it.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn

from snnkit.errors import InvalidArgumentError
from snnkit.layers import ConvBN
from snnkit.layers.layer_scale import LayerScale
from snnkit.layers.memory_order import channels_innermost
from snnkit.layers.merging import layer_then_norm, layer_then_scale, norm_then_conv
from snnkit.layers.normed_neuron import NormedNeuron
from snnkit.layers.sequence import SEQUENCE_LAYERS
from snnkit.neurons import PointNeuron
from snnkit.tape import record

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
# Exactly these pad by their attribute ``padding`` alone; a subclass may pad by itself (``SameConv2d``).
_UNPADDED = (*_CONVOLUTIONS, *(layer for layer in SEQUENCE_LAYERS if issubclass(layer, _CONVOLUTIONS)))


def deploy(
    model: nn.Module, channels_last: bool = True, example: Tensor | None = None, fewest_operations: bool = False
) -> nn.Module:
    """Return a copy of ``model`` in eval mode with batch norms folded; the original is left as it was.

    Folded are batch norms and layer scales that directly follow a convolution or linear layer inside ``nn.Sequential``
    (and its subclasses here) or ``ConvBN``, and batch norms directly before a convolution without padding (with it, a
    shift of the input is no shift of the output at the borders). A norm directly before a point neuron, which has no
    layer to go into, is computed in the neuron's pass over memory (``NormedNeuron``). Others stay. A layer with a
    method ``merged()``, which returns its exact equal for inference (``RepConv``), is replaced by that.

    Args:
        model: any network.
        channels_last: lay convolutions out with their channels innermost in memory, which CPU kernels prefer.
        example: an input; with it convolutions of kernel size 1 become matrix products where those are measured to be
            faster on this machine (``PointwiseConv2d``).
        fewest_operations: give a re-parametrised layer that has a method ``folded()`` that form: several layers without
            norms, with fewer operations than the single one, which is what a CPU is fastest with.
    """
    made = copy.deepcopy(model).eval()
    _merge(made, fewest_operations)
    for module in made.modules():
        if isinstance(module, nn.Sequential):
            _fold_pairs(module)
            _fold_before(module)
            _join_neurons(module)
        elif isinstance(module, ConvBN) and isinstance(module.bn, nn.BatchNorm2d):
            module.conv, module.bn = layer_then_norm(module.conv, module.bn), nn.Identity()
    for parameter in made.parameters():
        parameter.requires_grad_(False)
    if channels_last:
        channels_innermost(made)
    if example is not None:
        _choose_pointwise(made, example)
    return made


def _merge(module: nn.Module, fewest_operations: bool) -> None:
    """Replace every layer that has a ``merged()`` form for inference (re-parametrised ones) by it, in place."""
    for name, child in module.named_children():
        if fewest_operations and hasattr(child, "folded"):
            setattr(module, name, child.folded().eval())
        elif hasattr(child, "merged"):
            setattr(module, name, child.merged().eval())
        else:
            _merge(child, fewest_operations)


def _mix_channels(conv: nn.Module, x: Tensor) -> Tensor:
    """A convolution of kernel size 1 as the matrix product it is: (N, C, …) → (N, C', …).

    One product over all tokens; the result has its channels next to each other in memory, as the next one wants them.
    Which is faster depends on the processor: its libraries for products and for convolutions are different ones.
    """
    tokens = x.movedim(1, -1).contiguous()
    return nn.functional.linear(tokens, conv.weight.flatten(1), conv.bias).movedim(-1, 1)


class PointwiseConv1d(nn.Conv1d):
    """``nn.Conv1d`` of kernel size 1 as a matrix product; see ``_mix_channels``."""

    forward = _mix_channels


class PointwiseConv2d(nn.Conv2d):
    """``nn.Conv2d`` of kernel size 1 as a matrix product; see ``_mix_channels``."""

    forward = _mix_channels


class PointwiseConv3d(nn.Conv3d):
    """``nn.Conv3d`` of kernel size 1 as a matrix product; see ``_mix_channels``."""

    forward = _mix_channels


_POINTWISE = {nn.Conv1d: PointwiseConv1d, nn.Conv2d: PointwiseConv2d, nn.Conv3d: PointwiseConv3d}


def _is_pointwise(part: nn.Module) -> bool:
    sizes = type(part) in _POINTWISE and {*part.kernel_size, *part.stride} == {1}
    return sizes and part.groups == 1 and not any(part.padding)


@torch.no_grad()
def _choose_pointwise(model: nn.Module, example: Tensor) -> None:
    """Make every convolution of kernel size 1 what is faster for the inputs it gets from ``example``."""
    inputs: dict[nn.Module, Tensor] = {}
    found = [part for part in model.modules() if _is_pointwise(part)]
    handles = [part.register_forward_pre_hook(lambda m, given: inputs.setdefault(m, given[0])) for part in found]
    model(example)
    for handle in handles:
        handle.remove()
    faster: dict[tuple, bool] = {}
    for part, x in inputs.items():
        key = (x.shape, x.stride(), x.dtype, part.weight.shape)
        product = _POINTWISE[type(part)]
        if key not in faster:
            # The other form hands its result on in its own order of memory, so each is timed on what it would get.
            tokens = x.movedim(1, -1).contiguous().movedim(-1, 1)
            faster[key] = _seconds(product.forward, part, tokens) < _seconds(type(part).forward, part, x)
        if faster[key]:
            part.__class__ = product


def _seconds(forward: Callable[[nn.Module, Tensor], Tensor], part: nn.Module, x: Tensor, calls: int = 5) -> float:
    """The shortest of a few calls after a first one that is not counted."""
    forward(part, x)
    taken = []
    for _ in range(calls):
        started = time.perf_counter()
        forward(part, x)
        taken.append(time.perf_counter() - started)
    return min(taken)


def flip_rate(model: nn.Module, deployed: nn.Module, example: Tensor) -> dict[str, float]:
    """Return per neuron layer the share of spikes that differ between the two networks on ``example``.

    Raises:
        InvalidArgumentError: the networks have different neuron layers.
    """
    training = {part: part.training for part in model.modules()}
    with torch.no_grad(), record(model.eval()) as before, record(deployed) as after:
        model(example)
        deployed(example)
    for part, was in training.items():
        part.training = was
    if list(before) != list(after):
        raise InvalidArgumentError("the two networks have different neuron layers; compare a network with its copy.")
    return {name: (before[name].spikes != after[name].spikes).double().mean().item() for name in before}


def _fold_pairs(row: nn.Sequential) -> None:
    names = list(row._modules)
    for first, second in pairwise(names):
        layer, norm = row._modules[first], row._modules[second]
        if isinstance(layer, (*_CONVOLUTIONS, nn.Linear)) and isinstance(norm, _NORMS) and norm.track_running_stats:
            row._modules[first], row._modules[second] = layer_then_norm(layer, norm), nn.Identity()
        elif isinstance(norm, LayerScale) and isinstance(
            layer, nn.Linear if norm.channel_axis == -1 else _CONVOLUTIONS
        ):
            row._modules[first], row._modules[second] = layer_then_scale(layer, norm), nn.Identity()


def _fold_before(row: nn.Sequential) -> None:
    names = [name for name, part in row._modules.items() if not isinstance(part, nn.Identity)]
    for first, second in pairwise(names):
        norm, layer = row._modules[first], row._modules[second]
        if (
            isinstance(norm, _NORMS)
            and norm.track_running_stats
            and type(layer) in _UNPADDED
            and not any(layer.padding)
        ):
            row._modules[first], row._modules[second] = nn.Identity(), norm_then_conv(norm, layer)


def _join_neurons(row: nn.Sequential) -> None:
    for first, second in pairwise(list(row._modules)):
        norm, neuron = row._modules[first], row._modules[second]
        sequences = isinstance(norm, _NORMS) and type(norm) in SEQUENCE_LAYERS
        if sequences and isinstance(neuron, PointNeuron) and norm.running_var is not None:
            row._modules[first], row._modules[second] = nn.Identity(), NormedNeuron(norm, neuron)
