"""RepConv: a re-parametrised 3×3 convolution with its norms, trained in pieces and merged into one for inference.

    u = BN₁(W₁ x)            1×1
    z = W₂ (D ∗ pad(u))      depthwise 3×3 on u, whose border of one pixel is BN₁(0), then 1×1
    y = BN₃(BN₂(z))          two norms in a row

Padding with BN₁(0) = β₁ − μ₁ γ₁ / √(σ₁² + ε) is padding x with zeros, so in eval mode the whole is one dense 3×3
convolution with zero padding and a bias: ``merged``. While training, the border comes from the running statistics,
just updated by the batch, and takes no gradient, whereas the interior uses the statistics of the batch; a merged
convolution is therefore another network there.

Source: Meta-SpikeFormer (arXiv 2404.03663) and its published code; the border after Ding et al., "Diverse Branch
Block", arXiv 2103.13425. Letters: T steps, B images, N = T·B, C and O channels, H and W pixels.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from snnkit.layers import sequence
from snnkit.layers.sequence import over_time


class RepConv(nn.Module):
    """1×1, norm, depthwise 3×3, 1×1, norm, norm: (T, B, C, H, W) → (T, B, O, H, W).

    Args:
        in_channels: C.
        out_channels: O.
    """

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.conv_in = nn.Conv2d(in_channels, in_channels, 1, bias=False)
        self.norm_in = nn.BatchNorm2d(in_channels)
        self.depthwise = nn.Conv2d(in_channels, in_channels, 3, groups=in_channels, bias=False)
        self.conv_out = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.norm_out = nn.BatchNorm2d(out_channels)
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, x_TBCHW: Tensor) -> Tensor:
        """Return the currents for the neurons that follow."""
        return over_time(self._step, x_TBCHW)

    def border(self) -> Tensor:
        """What the pixels around the map hold, (C), from the running statistics; no gradient."""
        return affine(self.norm_in)[1].detach()

    def _step(self, x_NCHW: Tensor) -> Tensor:
        u = self.norm_in(self.conv_in(x_NCHW))
        weight, groups = self.depthwise.weight, self.depthwise.groups
        # The border adds the same to every image: it meets the taps once, not as a padded copy of every map.
        frame = F.pad(u.new_zeros(u.shape[-2:]), (1, 1, 1, 1), value=1.0) * self.border().view(1, -1, 1, 1)
        z = F.conv2d(u, weight, padding=1, groups=groups) + F.conv2d(frame, weight, groups=groups)
        return self.norm(self.norm_out(self.conv_out(z)))

    @torch.no_grad()
    def folded(self) -> nn.Module:
        """Return 1×1, depthwise 3×3, 1×1 without norms: equal in eval mode too, with fewer operations than ``merged``.

        Padding with BN₁(0) is padding W₁ x with zeros and adding BN₁(0) everywhere, which becomes a bias at the end.
        """
        (s1, b1), (s2, b2), (s3, b3) = (affine(n, double=True) for n in (self.norm_in, self.norm_out, self.norm))
        scale = s2 * s3
        made = copy.deepcopy(nn.Sequential(self.conv_in, self.depthwise, self.conv_out))
        first, middle, last = made
        first.weight.copy_(self.conv_in.weight * s1.view(-1, 1, 1, 1))
        middle.padding = (1, 1)
        last.weight.copy_(self.conv_out.weight * scale.view(-1, 1, 1, 1))
        constant = self.conv_out.weight.double().flatten(1) @ (self.depthwise.weight.double().sum((1, 2, 3)) * b1)
        last.bias = nn.Parameter((scale * constant + s3 * b2 + b3).to(last.weight.dtype))
        return sequence.Folded(*made).train(self.training)

    @torch.no_grad()
    def merged(self) -> nn.Module:
        """Return the dense 3×3 convolution with zero padding and bias that equals this layer in eval mode."""
        (s1, b1), (s2, b2), (s3, b3) = (affine(n, double=True) for n in (self.norm_in, self.norm_out, self.norm))
        w1_CC = self.conv_in.weight.double().flatten(1) * s1.unsqueeze(1)
        taps_C9 = self.depthwise.weight.double().flatten(1)
        w2_OC = self.conv_out.weight.double().flatten(1)
        scale_O = s2 * s3
        kernel = torch.einsum("oc,ct,ci->oit", w2_OC * scale_O.unsqueeze(1), taps_C9, w1_CC)
        bias = scale_O * (w2_OC @ (taps_C9.sum(1) * b1)) + s3 * b2 + b3
        reference = self.conv_in.weight
        made = sequence.Conv2d(  # type: ignore[attr-defined]
            w1_CC.shape[1], w2_OC.shape[0], 3, padding=1, device=reference.device, dtype=reference.dtype
        )
        made.weight.copy_(kernel.unflatten(2, (3, 3)))
        made.bias.copy_(bias)
        return made.train(self.training)


def affine(norm: nn.BatchNorm2d, double: bool = False) -> tuple[Tensor, Tensor]:
    """Return a batch norm in eval mode as (scale, shift), each (C); ``double`` computes in float64."""
    mean, var, weight, bias = norm.running_mean, norm.running_var, norm.weight, norm.bias
    if double:
        mean, var, weight, bias = mean.double(), var.double(), weight.double(), bias.double()
    scale = weight / torch.sqrt(var + norm.eps)
    return scale, bias - mean * scale
