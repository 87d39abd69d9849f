"""LookupViT: few compressed tokens do the work, the many lookup tokens of an image or a clip are asked and informed.

    image → patches z_l (N tokens) → resized to a small grid z_p (M tokens), each with its positions
    block: A = softmax(q k̂ᵀ/√d), q from z_p, k from z_l, both normed       the only product of queries with all keys
           z_p += A v(z_l);  z_p += attention(z_p);  z_p += mlp(z_p)
           z_l += Aᵀ v(z_p); z_l += small mlp(z_l)                         the same A, transposed
    mean of z_p → linear (the prediction); mean of z_l → linear (a second one, for training)

Weights serve any grid of compressed tokens: tokens and positions are resized (bi- or trilinearly), which is exact at
the size that positions are stored in. Letters: B images, N and M tokens, C channels, h heads, d channels of a head.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from snnkit.errors import InvalidArgumentError
from snnkit.layers.channel_norm import ChannelLayerNorm
from snnkit.layers.drop_path import DropPath, rates
from snnkit.layers.mlp import Mlp
from snnkit.layers.self_attention import SelfAttention
from snnkit.models.classifier import Feature, FeatureInfo, ImageClassifier, linear_head
from snnkit.models.family import Family
from snnkit.models.registry import register_variant
from snnkit.models.sizes import as_pair, check_divides, check_positive, check_sides, check_whole

PATCH = 16
TUBELET = 2  # frames
_POSITIONS = (10, 10)  # the grid that positions of compressed tokens are stored in: the largest published


def resize(map_: Tensor, size: tuple[int, ...]) -> Tensor:
    """Resize (B, C, *grid) linearly to (B, C, *size); the same tensor where the grid is that already."""
    if tuple(map_.shape[2:]) == tuple(size):
        return map_
    return F.interpolate(map_, size, mode="bilinear" if len(size) == 2 else "trilinear", align_corners=False)


def _tokens(map_: Tensor) -> Tensor:
    """(B, C, *grid) → (B, N, C), channels next to each other in memory."""
    return map_.flatten(2).transpose(1, 2).contiguous()


def _pooled(map_: Tensor) -> Tensor:
    """(B, C, *grid) → (B, C). Over tokens: the compiler's idea of the gradient's memory is right for that order."""
    return map_.flatten(2).transpose(1, 2).mean(1)


class BidirectionalAttention(nn.Module):
    """Compressed tokens read lookup tokens and write back with the same attention, transposed.

    Args:
        dim: C. heads: h; divides C.
    """

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm_short, self.norm_lookup, self.norm_back = nn.LayerNorm(dim), nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.query, self.key = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.norm_query, self.norm_key = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.value_lookup, self.value_short = nn.Linear(dim, dim), nn.Linear(dim, dim)

    def _split(self, x_BNC: Tensor) -> Tensor:
        """(B, N, C) → (B, h, N, d)."""
        return x_BNC.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def forward(self, short_BMC: Tensor, lookup_BNC: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the compressed tokens read, (B, M, C), and the attention (B, h, M, N)."""
        lookup = self.norm_lookup(lookup_BNC)
        query = self._split(self.norm_query(self.query(self.norm_short(short_BMC))))
        key = self._split(self.norm_key(self.key(lookup)))
        attention = (query @ key.transpose(-2, -1) / math.sqrt(query.shape[-1])).softmax(-1)
        return (attention @ self._split(self.value_lookup(lookup))).transpose(1, 2).flatten(2), attention

    def write(self, short_BMC: Tensor, attention_BhMN: Tensor) -> Tensor:
        """Return what the lookup tokens get, (B, N, C)."""
        value = self._split(self.value_short(self.norm_back(short_BMC)))
        return (attention_BhMN.transpose(-2, -1) @ value).transpose(1, 2).flatten(2)


class LookupBlock(nn.Module):
    """Read, mix the compressed tokens, write: (B, M, C), (B, N, C) → the same shapes."""

    def __init__(self, dim: int, heads: int, mlp_ratio: float, lookup_mlp_ratio: float, drop: float):
        super().__init__()
        self.exchange = BidirectionalAttention(dim, heads)
        self.norm1 = nn.LayerNorm(dim)
        self.attn, self.proj = SelfAttention(dim, heads), nn.Linear(dim, dim)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, int(dim * mlp_ratio))
        self.norm3 = nn.LayerNorm(dim)
        self.lookup_mlp = Mlp(dim, int(dim * lookup_mlp_ratio))
        self.drop_path = DropPath(drop)

    def forward(self, short_BMC: Tensor, lookup_BNC: Tensor) -> tuple[Tensor, Tensor]:
        """Return the compressed and the lookup tokens."""
        read, attention = self.exchange(short_BMC, lookup_BNC)
        short = short_BMC + self.drop_path(read)
        short = short + self.drop_path(self.proj(self.attn(self.norm1(short))))
        short = short + self.drop_path(self.mlp(self.norm2(short)))
        lookup = lookup_BNC + self.drop_path(self.exchange.write(short, attention))
        return short, lookup + self.drop_path(self.lookup_mlp(self.norm3(lookup)))


class LookupViT(ImageClassifier):
    """LookupViT for images (B, C, H, W), or for clips (B, C, T, H, W) where ``num_frames`` is given.

    Args:
        num_classes: K; 0 for no heads.
        in_chans: channels of the images.
        img_size: side of the images in pixels, or (height, width): multiples of 16; others of these work too.
        num_frames: T of the clips, even; 0 for images.
        lookup_grid: (height, width) of the compressed tokens; for clips (time, height, width), or (height, width) to
            compress space alone. ``model.lookup_grid`` may be set anew at any time, so training may change it per step.
        embed_dim: C. depth: blocks. num_heads: h.
        mlp_ratio, lookup_mlp_ratio: width of the MLPs of compressed and of lookup tokens against C.
        drop_path_rate: stochastic depth of the last block.
        features_only: return the maps of the lookup and of the compressed tokens.

    Raises:
        InvalidArgumentError: sizes that do not fit each other.
    """

    def __init__(
        self,
        num_classes: int,
        in_chans: int,
        img_size: int | tuple[int, int],
        num_frames: int,
        lookup_grid: tuple[int, ...],
        embed_dim: int,
        depth: int,
        num_heads: int,
        mlp_ratio: float,
        lookup_mlp_ratio: float,
        drop_path_rate: float,
        features_only: bool,
    ):
        super().__init__()
        check_whole(embed_dim=embed_dim, depth=depth, num_heads=num_heads)
        check_positive(mlp_ratio=mlp_ratio, lookup_mlp_ratio=lookup_mlp_ratio)
        check_divides("num_heads", embed_dim, num_heads, "heads share the channels evenly")
        if not features_only:
            check_sides("img_size", img_size, PATCH, "patches of 16 pixels")
        self.in_chans, self.img_size, self.num_classes = in_chans, img_size, num_classes
        self.num_frames, self.features_only = num_frames, features_only
        height, width = (-(-side // PATCH) * PATCH for side in as_pair(img_size))
        times: tuple[int, ...] = ()
        if num_frames:
            _check_frames("num_frames", num_frames)
            times = (num_frames // TUBELET,)
        self._grid = self._checked(lookup_grid)
        patch = (TUBELET, PATCH, PATCH) if times else (PATCH, PATCH)
        self.patch_embed = (nn.Conv3d if times else nn.Conv2d)(in_chans, embed_dim, patch, patch)
        self.lookup_positions = nn.Parameter(torch.empty(1, embed_dim, *times, height // PATCH, width // PATCH))
        self.short_positions = nn.Parameter(torch.empty(1, embed_dim, *times, *_POSITIONS))
        self.blocks = nn.ModuleList(
            LookupBlock(embed_dim, num_heads, mlp_ratio, lookup_mlp_ratio, rate)
            for rate in rates(drop_path_rate, depth)
        )
        self.num_features = embed_dim
        self.norm_lookup, self.norm = ChannelLayerNorm(embed_dim), ChannelLayerNorm(embed_dim)
        self.head = linear_head(embed_dim, num_classes)
        self.head_lookup = linear_head(embed_dim, num_classes)
        # One module makes both maps; the second's stride is the nearest whole one.
        last = f"blocks.{depth - 1}"
        self.feature_info = FeatureInfo(
            [Feature(embed_dim, PATCH, last), Feature(embed_dim, -(-width // self._grid[-1]), last)]
        )
        self._begin()

    def _begin(self) -> None:
        for positions in (self.lookup_positions, self.short_positions):
            nn.init.trunc_normal_(positions, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    @property
    def lookup_grid(self) -> tuple[int, ...]:
        """(height, width) of the compressed tokens, for clips (time, height, width) or (height, width)."""
        return self._grid

    @lookup_grid.setter
    def lookup_grid(self, grid: tuple[int, ...]) -> None:
        self._grid = self._checked(grid)

    def _checked(self, grid: Any) -> tuple[int, ...]:
        lengths = (2, 3) if self.num_frames else (2,)
        whole = isinstance(grid, (tuple, list)) and all(type(side) is int and side >= 1 for side in grid)
        if not whole or len(grid) not in lengths:
            kinds = "(height, width) or (time, height, width)" if self.num_frames else "(height, width)"
            raise InvalidArgumentError(f"lookup_grid={grid!r}: must be {kinds}, whole numbers ≥ 1, such as (7, 7).")
        return tuple(grid)

    @property
    def pretrained_cfg(self) -> dict[str, Any]:
        """timm's description of the input; (C, T, H, W) for clips."""
        config = super().pretrained_cfg
        channels, *sides = config["input_size"]
        return {**config, "input_size": (channels, *([self.num_frames] if self.num_frames else []), *sides)}

    @property
    def size_unit(self) -> tuple[int, int]:
        """Height and width are multiples of these, in pixels."""
        return PATCH, PATCH

    @property
    def dense_maps(self) -> tuple[int, ...]:
        """The maps that grow with the image: that of the lookup tokens; the grid of the others is set."""
        return (0,)

    def forward_stages(self, x: Tensor) -> list[Tensor]:
        """Return the maps of the lookup tokens (B, C, *patches) and of the compressed ones (B, C, *lookup_grid)."""
        patches = self.patch_embed(x)
        size = tuple(patches.shape[2:])
        grid = self._grid if len(self._grid) == len(size) else (size[0], *self._grid)
        short = _tokens(resize(patches, grid) + resize(self.short_positions, grid))
        lookup = _tokens(patches + resize(self.lookup_positions, size))
        for block in self.blocks:
            short, lookup = self._block(block, short, lookup)
        return [lookup.transpose(1, 2).unflatten(2, size), short.transpose(1, 2).unflatten(2, grid)]

    def forward_tokens(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return normed compressed tokens (B, M, C) and lookup tokens (B, N, C), for a captioner or another decoder.

        Raises:
            InvalidArgumentError: not images, or clips, of the model's channels.
        """
        self._check(x, leading=1)
        lookup, short = self.forward_stages(x)
        return self.norm(short).flatten(2).transpose(1, 2), self.norm_lookup(lookup).flatten(2).transpose(1, 2)

    def forward(self, x: Tensor) -> Any:
        """Return logits (B, K) from the compressed tokens; in training (logits, logits of the lookup tokens).

        With ``features_only`` the two maps.

        Raises:
            InvalidArgumentError: images or clips of other channels, or of a side that 16 does not divide.
        """
        self._check(x, leading=1)
        maps = self.forward_stages(x)
        if self.features_only:
            return maps
        logits = self.forward_head(self.norm(maps[1]))
        if not self.training:
            return logits
        return logits, self.head_lookup(_pooled(self.norm_lookup(maps[0])))

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        """Return logits (B, K) of a normed map (B, C, *grid), or with ``pre_logits`` its mean (B, C)."""
        return _pooled(features) if pre_logits else self.head(_pooled(features))

    def get_classifier(self) -> Any:
        """Return the last linear layers of compressed and of lookup tokens."""
        return self.head, self.head_lookup

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Put new, untrained heads of ``num_classes`` outputs in place; 0 removes them.

        Raises:
            InvalidArgumentError: ``num_classes`` < 0, or ``global_pool`` other than "avg" or None.
        """
        super().reset_classifier(num_classes, global_pool)
        reference = self.lookup_positions
        self.head_lookup = linear_head(self.num_features, num_classes).to(reference.device, reference.dtype)

    def no_weight_decay(self) -> set[str]:
        """The positions."""
        return {"lookup_positions", "short_positions"}

    def _check(self, x: Tensor, leading: int) -> None:
        if not self.num_frames:
            super()._check(x, leading)
        elif x.ndim != 5 or x.shape[1] != self.in_chans or 0 in x.shape:
            raise InvalidArgumentError(
                f"this LookupViT takes clips (B, C, T, H, W) with C = {self.in_chans}, got {tuple(x.shape)}. "
                "Change the input, or create the model with in_chans=."
            )
        else:
            _check_frames("number of frames", x.shape[2])
        check_sides("height or width", (x.shape[-2], x.shape[-1]), PATCH, "patches of 16 pixels")


def _check_frames(name: str, frames: Any) -> None:
    if type(frames) is not int or frames < TUBELET or frames % TUBELET:
        raise InvalidArgumentError(f"{name}={frames!r}: must be a multiple of {TUBELET}, the frames of a tubelet.")


FAMILY = Family(
    name="lookupvit",
    title="LookupViT",
    kind="ann",
    paper="Koner et al., LookupViT: Compressing visual information to a limited number of tokens, ECCV 2024, "
    "arXiv 2407.12753",
    source="own, from the paper; no code of the authors is public",
    tiny={
        "name": "lookupvit_small",
        "img_size": 64,
        "lookup_grid": (2, 2),
        "embed_dim": 16,
        "depth": 2,
        "num_heads": 2,
        "in_chans": 1,
        "num_classes": 4,
    },
    checkpoints=("none are published",),
    unconfirmed=(
        "the paper's text was not at hand: that queries and keys are normed after their projection and the transposed "
        "attention is used as it is, is taken from secondary descriptions",
        "norms before the values, no projection behind the exchange, sizes of small, and time kept or resized "
        "trilinearly in clips are this implementation's choices",
        "no accuracy or size is published that could be checked",
    ),
    marks=(r"^lookup_positions$", r"^blocks\.0\.exchange\.query\.weight$"),
)


def _build(
    num_classes: int = 1000,
    in_chans: int = 3,
    img_size: int | tuple[int, int] = 224,
    num_frames: int = 0,
    drop_path_rate: float = 0.0,
    features_only: bool = False,
    lookup_grid: tuple[int, ...] = (7, 7),
    embed_dim: int = 768,
    depth: int = 12,
    num_heads: int = 12,
    mlp_ratio: float = 4.0,
    lookup_mlp_ratio: float = 0.5,
) -> LookupViT:
    return LookupViT(
        num_classes,
        in_chans,
        img_size,
        num_frames,
        lookup_grid,
        embed_dim,
        depth,
        num_heads,
        mlp_ratio,
        lookup_mlp_ratio,
        drop_path_rate,
        features_only,
    )


_SMALL = {"embed_dim": 384, "num_heads": 6}
_CLIPS = {"num_frames": 16, "lookup_grid": (4, 7, 7), "num_classes": 400}
register_variant(FAMILY, "lookupvit_small", _build, params=31402064, summary="LookupViT small, 7 × 7 tokens", **_SMALL)
register_variant(FAMILY, "lookupvit_base", _build, params=122964176, summary="LookupViT base, 7 × 7 tokens")
for _k in (3, 5, 7, 10):
    register_variant(
        FAMILY,
        f"lookupvit_base_{_k}x{_k}",
        _build,
        params=122964176,
        summary=f"LookupViT base, {_k} × {_k} compressed tokens",
        lookup_grid=(_k, _k),
    )
register_variant(
    FAMILY, "lookupvit_video_base", _build, params=124222496, summary="LookupViT base for clips of 16 frames", **_CLIPS
)
