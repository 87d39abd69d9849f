"""ULSAM, ultra-lightweight subspace attention: one map of attention for each group of channels.

    for each of g subspaces x of m/g channels:   A = softmax over H·W of ReLU(BN(point(maxpool3(ReLU(BN(dw(x)))))))
    y = x + A · x

``dw`` is a 1 × 1 depthwise convolution, ``point`` mixes the channels of a subspace into one: 5·m + 3·g parameters. All
subspaces are computed at once, as convolutions in groups. The norms move their running statistics by 0.9 a batch.
Source: Saini et al., "ULSAM", WACV 2020; published code Nandan91/ULSAM.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from snnkit.errors import InvalidArgumentError

_MOMENTUM = 0.9


class ULSAM(nn.Module):
    """Subspace attention: (B, C, H, W) → (B, C, H, W).

    Args:
        channels: C.
        subspaces: g; divides C.

    Raises:
        InvalidArgumentError: g does not divide C; names the numbers next to it that do.
    """

    def __init__(self, channels: int, subspaces: int):
        super().__init__()
        check_subspaces("subspaces", channels, subspaces)
        self.subspaces = subspaces
        self.spread = nn.Sequential(
            OrderedDict(
                conv=nn.Conv2d(channels, channels, 1, groups=channels),
                bn=nn.BatchNorm2d(channels, momentum=_MOMENTUM),
                act=nn.ReLU(),
                pool=nn.MaxPool2d(3, 1, 1),
            )
        )
        self.score = nn.Sequential(
            OrderedDict(
                conv=nn.Conv2d(channels, subspaces, 1, groups=subspaces),
                bn=nn.BatchNorm2d(subspaces, momentum=_MOMENTUM),
                act=nn.ReLU(),
            )
        )

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Weigh the positions of each subspace; what was there stays."""
        scores = self.score(self.spread(x_BCHW))
        attention = scores.flatten(2).softmax(-1).view_as(scores).unsqueeze(2)
        x = x_BCHW.unflatten(1, (self.subspaces, -1))
        return (x * attention + x).flatten(1, 2)


def check_subspaces(name: str, channels: int, subspaces: int, where: str = "") -> None:
    """Refuse a number of subspaces that does not divide the channels.

    Raises:
        InvalidArgumentError: names the numbers next to it that do.
    """
    if isinstance(subspaces, bool) or not isinstance(subspaces, int) or subspaces < 1:
        raise InvalidArgumentError(f"{name}={subspaces!r}: must be a whole number ≥ 1.")
    if channels % subspaces:
        fitting = [g for g in range(1, channels + 1) if channels % g == 0]
        near = sorted(sorted(fitting, key=lambda g: abs(g - subspaces))[:2])
        offered = " or ".join(map(str, near))
        raise InvalidArgumentError(
            f"{name}={subspaces} does not divide the {channels} channels{where}; {offered} would do."
        )


_PUBLISHED = re.compile(r"^(.*?)subspaces\.(\d+)\.(conv_dws|bn_dws|conv_point|bn_point)\.(\w+)$")
_PARTS = {"conv_dws": "spread.conv", "bn_dws": "spread.bn", "conv_point": "score.conv", "bn_point": "score.bn"}


def join_subspaces(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Translate published keys, one set a subspace, wherever they occur in ``state``; other keys stay."""
    joined: dict[str, Tensor] = {}
    found: dict[str, dict[int, Tensor]] = {}
    for key, value in state.items():
        match = _PUBLISHED.match(key)
        if match:
            prefix, number, part, tensor = match.groups()
            found.setdefault(f"{prefix}{_PARTS[part]}.{tensor}", {})[int(number)] = value
        else:
            joined[key] = value
    for key, parts in found.items():
        row = [parts[number] for number in sorted(parts)]
        joined[key] = torch.cat(row) if row[0].ndim else row[0]  # all count the same batches
    return joined
