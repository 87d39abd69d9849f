"""Feature maps of any network in one layout."""

from __future__ import annotations

import math

from torch import Tensor, nn

from snnkit.errors import InvalidArgumentError


def laid_out(
    x: Tensor,
    channels: int,
    image: tuple[int, int],
    last: bool,
    otherwise: str = "pair other maps (task.options.pairs)",
) -> Tensor:
    """Return a map as (B, C, H, W), from that, (B, H, W, C), or tokens (B, N, C), those without a place in front.

    Args:
        x: the map.
        channels: C.
        image: height and width of what the network saw; where an axis of the map is as long as C, its ratio tells.
        last: whether channels are known to come last.
        otherwise: what to do about a map of another kind.

    Raises:
        InvalidArgumentError: it is none of these.
    """
    ratio = image[0] / image[1]
    if x.ndim == 4 and channels in (x.shape[1], x.shape[3]):
        in_front = x.shape[1] == channels
        if in_front and x.shape[3] == channels:
            # The layout whose sides are as those of the image.
            in_front = not last and abs(x.shape[2] / x.shape[3] - ratio) <= abs(x.shape[1] / x.shape[2] - ratio)
        return x if in_front else x.movedim(3, 1)
    if x.ndim == 3 and x.shape[2] == channels:
        width = math.isqrt(max(round(x.shape[1] / ratio), 1))
        height = round(width * ratio)
        if 0 < height * width <= x.shape[1]:
            return x[:, x.shape[1] - height * width :].movedim(2, 1).unflatten(2, (height, width))
    raise InvalidArgumentError(
        f"a map of {channels} channels is {tuple(x.shape)}: neither (B, C, H, W), (B, H, W, C) nor tokens (B, N, C); "
        f"{otherwise}."
    )


def channels_come_last(model: nn.Module) -> bool:
    """Whether timm says so of a model's maps."""
    return str(getattr(model, "output_fmt", "")) in ("NHWC", "Format.NHWC")
