"""Two layers merged into one, exactly, for inference: what both multiply and add goes into new weights."""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from snnkit.layers.layer_scale import LayerScale


def layer_then_norm(layer: nn.Module, norm: nn.Module) -> nn.Module:
    """Return ``norm(layer(x))`` as one layer; ``layer`` is a convolution or linear, the norm has running statistics."""
    fuse = fuse_linear_bn_eval if isinstance(layer, nn.Linear) else fuse_conv_bn_eval
    return fuse(layer, norm)  # type: ignore[arg-type,type-var]


@torch.no_grad()
def layer_then_scale(layer: nn.Module, scale: LayerScale) -> nn.Module:
    """Return ``scale(layer(x))`` as one layer."""
    made = copy.deepcopy(layer)
    made.weight.mul_(scale.gamma.view(-1, *[1] * (made.weight.ndim - 1)))
    if made.bias is not None:
        made.bias.mul_(scale.gamma)
    return made


@torch.no_grad()
def norm_then_conv(norm: nn.modules.batchnorm._BatchNorm, conv: nn.Module) -> nn.Module:
    """Return ``conv(norm(x))`` as one convolution; ``conv`` does not pad, the norm has running statistics."""
    made = copy.deepcopy(conv)
    scale = torch.rsqrt(norm.running_var + norm.eps)
    scale = scale if norm.weight is None else scale * norm.weight
    shift = -norm.running_mean * scale
    shift = shift if norm.bias is None else shift + norm.bias
    # Weights are (C', C/groups, …): an output channel sees the inputs of its group.
    per_group = len(made.weight) // made.groups
    scale, shift = (x.view(made.groups, -1).repeat_interleave(per_group, 0) for x in (scale, shift))
    added = (made.weight.flatten(2).sum(2) * shift).sum(1)
    made.weight.mul_(scale.view(*scale.shape, *[1] * (made.weight.ndim - 2)))
    made.bias = nn.Parameter(added if made.bias is None else added + made.bias)
    return made
