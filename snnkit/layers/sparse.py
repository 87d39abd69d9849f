"""Convolutions on the visible part of images, dense in memory: what is hidden stays zero and counts nowhere.

A hidden patch of an image must have no influence on what a network makes of the visible ones. A convolution carries
values across the border between them and its bias fills hidden places; a batch norm takes statistics over both. Here
results of convolutions are set to zero at hidden places, and batch norms count visible places only, with the layers of
the dense network, so that pre-trained weights are its own.

Letters: T steps, B images, N = T·B, C channels, H and W pixels, h and w places of the mask.
Source: Tian et al., "Designing BERT for Convolutional Networks" (SparK), arXiv 2301.03580.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from snnkit.kernels.call import state_dtype
from snnkit.layers.conv_bn import ConvBN


def spread(active_Bhw: Tensor, height: int, width: int) -> Tensor:
    """Return the mask for maps of ``height`` × ``width``, multiples of its own sides: (B, H, W)."""
    rows, columns = height // active_Bhw.shape[1], width // active_Bhw.shape[2]
    return active_Bhw.repeat_interleave(rows, 1).repeat_interleave(columns, 2)


def sparse_conv_bn(layer: ConvBN, x_TBCHW: Tensor, active_Bhw: Tensor) -> Tensor:
    """Return what ``layer`` makes of ``x_TBCHW``, whose hidden places are zero: (T, B, C', H', W'), zero there too.

    Args:
        layer: convolution and batch norm; its own statistics are read or updated.
        x_TBCHW: a sequence.
        active_Bhw: 1 where visible, 0 where hidden; its sides divide those of the result.
    """
    timesteps, batch = x_TBCHW.shape[:2]
    y_NCHW = layer.conv(x_TBCHW.flatten(0, 1))
    visible_NHW = spread(active_Bhw, *y_NCHW.shape[2:]).repeat(timesteps, 1, 1)
    y_NCHW = sparse_batch_norm(layer.bn, y_NCHW, visible_NHW.unsqueeze(1).to(y_NCHW.dtype))
    return y_NCHW.unflatten(0, (timesteps, batch))


def sparse_batch_norm(norm: nn.Module, x_NCHW: Tensor, visible_N1HW: Tensor) -> Tensor:
    """Return the batch norm over visible places, zero elsewhere.

    Equal to gathering the visible places, ``BatchNorm1d`` and putting them back, in shapes that do not depend on data.
    While training, the statistics are those of this process's images.

    Args:
        norm: a batch norm, or the identity where it has been folded into the layer before.
        x_NCHW: maps.
        visible_N1HW: 1 where visible, 0 elsewhere, in the maps' dtype.
    """
    if not (norm.training and isinstance(norm, nn.modules.batchnorm._BatchNorm)):
        return norm(x_NCHW) * visible_N1HW
    x, visible = x_NCHW.to(state_dtype(x_NCHW)), visible_N1HW.to(state_dtype(x_NCHW))
    count, axes = visible.sum(), (0, 2, 3)
    mean = (x * visible).sum(axes) / count
    centred = (x - mean.view(1, -1, 1, 1)) * visible
    variance = centred.square().sum(axes) / count
    _update(norm, mean, variance * count / (count - 1))
    scale = torch.rsqrt(variance + norm.eps)
    if not norm.affine:
        return (centred * scale.view(1, -1, 1, 1)).to(x_NCHW.dtype)
    y = centred * (scale * norm.weight).view(1, -1, 1, 1) + norm.bias.view(1, -1, 1, 1) * visible
    return y.to(x_NCHW.dtype)


@torch.no_grad()
def _update(norm: nn.modules.batchnorm._BatchNorm, mean: Tensor, unbiased: Tensor) -> None:
    """Move the running statistics, as torch's batch norm does."""
    if not norm.track_running_stats or norm.running_mean is None:
        return
    norm.num_batches_tracked.add_(1)
    share = 1 / norm.num_batches_tracked if norm.momentum is None else norm.momentum
    for running, value in ((norm.running_mean, mean), (norm.running_var, unbiased)):
        running.add_((value.to(running.dtype) - running) * share)
