"""What SimMIM adds to masked pre-training: which cells are hidden, pixels normalised by their surroundings, the loss.

    cells hidden   the ⌈n·ratio⌉ of n with the smallest noise
    target         x, or (x − m)/√(v + 1e-6): mean m and unbiased variance v of the window around each pixel
    loss           Σ |target − painted| over hidden pixels / (hidden pixels + 1e-5) / C

Windows end at the image's border: only pixels that are there count. Letters: B images, C channels, H and W pixels.
Sources: Xie et al., "SimMIM", arXiv 2111.09886; Liu et al., "Swin Transformer V2", arXiv 2111.09883, and their code.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from snnkit.errors import InvalidArgumentError

WINDOW = 47


def hide_cells(noise_BL: Tensor, ratio: float) -> Tensor:
    """Return 1 for the cells that are hidden, those with the smallest noise, else 0: float32 (B, L).

    Raises:
        InvalidArgumentError: none would be hidden, or none visible.
    """
    length = noise_BL.shape[1]
    if not isinstance(ratio, (int, float)) or not 0 < ratio < 1:
        raise InvalidArgumentError(f"mask_ratio={ratio!r}: must be above 0 and below 1.")
    count = math.ceil(length * ratio)
    if count >= length:
        raise InvalidArgumentError(
            f"mask_ratio={ratio!r} hides all {length} cells of an image: some must be visible. Larger images or a "
            "smaller mask_patch_size make more cells."
        )
    return (noise_BL.argsort(dim=1, stable=True).argsort(1) < count).float()


def local_statistics(images_BCHW: Tensor, window: int = WINDOW) -> tuple[Tensor, Tensor]:
    """Return mean and deviation of the ``window`` × ``window`` pixels around each pixel, shaped as the images.

    Raises:
        InvalidArgumentError: a window that has no middle.
    """
    if not isinstance(window, int) or window < 3 or window % 2 == 0:
        raise InvalidArgumentError(f"norm_window={window!r}: must be an odd number ≥ 3, such as 47.")

    def mean(x: Tensor, pad: bool) -> Tensor:
        # A window cut off by the border is a rectangle still: rows first, then columns, costs 2·47 instead of 47².
        for kernel in ((window, 1), (1, window)):
            x = F.avg_pool2d(x, kernel, 1, (kernel[0] // 2, kernel[1] // 2), count_include_pad=pad)
        return x

    # Far from zero, a difference of squares would lose its digits.
    level = images_BCHW.mean((2, 3), keepdim=True)
    x = images_BCHW - level
    centre = mean(x, pad=False)
    count = mean(torch.ones_like(x[:1, :1]), pad=True) * window**2
    variance = (mean(x.square(), pad=False) - centre.square()) * (count / (count - 1))
    return centre + level, (variance.clamp(min=0) + 1e-6).sqrt()


def hidden_l1(painted_BCHW: Tensor, target_BCHW: Tensor, hidden_B1HW: Tensor) -> Tensor:
    """Return the mean absolute error over hidden pixels and channels, a scalar."""
    hidden = hidden_B1HW.to(target_BCHW.dtype)
    error = (target_BCHW - painted_BCHW).abs() * hidden
    return error.sum() / (hidden.sum() + 1e-5) / target_BCHW.shape[1]
