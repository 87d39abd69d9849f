"""Swin Transformer V2: windows, cosine attention and a continuous bias of position; window and resolution may change.

    image → 4×4 patches, norm → 4 stages of blocks, halved and widened between them → norm → mean → linear
    block: x + norm(attention within windows(x)), then x + norm(mlp(x)); every second block has shifted windows

The norms stand at the end of the branches (residual post-norm) and begin at zero. Distances are measured by the window
of the pre-training, so weights serve another window and another image size as they are, without interpolation.
With ``features_only`` images may have any multiple of 4 pixels: where windows do not divide a map, it is filled up at
bottom and right with zeros, which attention sees, before it is shifted, as torchvision's Swin does (timm's is shifted
first, and its mask then lets tokens of opposite borders see each other).
Tokens are kept in the order of the windows within a stage; feature maps are (B, C, H, W), other than timm's.
Letters: B images, N tokens, C channels, H and W sides of a map, K classes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from snnkit.errors import InvalidArgumentError
from snnkit.layers.channel_norm import ChannelLayerNorm
from snnkit.layers.cosine_attention import CosineWindowAttention
from snnkit.layers.drop_path import DropPath, rates
from snnkit.layers.fixed_window_block import FixedWindowBlock
from snnkit.layers.mlp import Mlp
from snnkit.layers.shifted_windows import Windows
from snnkit.models.classifier import Feature, FeatureInfo, ImageClassifier, linear_head
from snnkit.models.family import Family, Published, StateDict, renamed
from snnkit.models.registry import register_variant
from snnkit.models.sizes import as_pair, check_positive, check_sides, check_whole, whole_numbers

_PATCH = 4
_STAGES = 4
Pair = tuple[int, int]


class PatchEmbed(nn.Module):
    """Patches of 4 × 4 pixels, projected and normed: (B, C, H, W) → (B, N, C')."""

    def __init__(self, in_chans: int, dim: int):
        super().__init__()
        self.proj = nn.Conv2d(in_chans, dim, _PATCH, _PATCH)
        self.norm = nn.LayerNorm(dim)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Embed."""
        return self.norm(self.proj(x_BCHW).flatten(2).transpose(1, 2))


class PatchMerging(nn.Module):
    """Four neighbours become one token of twice the width, normed after the product: (B, N, C) → (B, N/4, 2·C).

    Odd sides are filled up with a row or column of zeros.
    """

    def __init__(self, dim: int):
        super().__init__()
        self.reduction = nn.Linear(4 * dim, 2 * dim, bias=False)
        self.norm = nn.LayerNorm(2 * dim)

    def forward(self, x_BNC: Tensor, size: Pair) -> Tensor:
        """Merge tokens of a map (height, width) = ``size``."""
        x = _filled_up(x_BNC, size, (2, 2))
        x = x.unflatten(1, (-(-size[0] // 2), 2, -(-size[1] // 2), 2))
        # The published order of the four: down first, then right.
        x = x.permute(0, 1, 3, 4, 2, 5).flatten(3).flatten(1, 2)
        return self.norm(self.reduction(x))


class SwinBlock(nn.Module):
    """Attention within windows, then an MLP, each normed and added: (B, N, C) → (B, N, C), in the windows' order."""

    def __init__(
        self, dim: int, heads: int, windows: Windows, pretrained: Pair, mlp_ratio: float, drop: float, sequential: int
    ):
        super().__init__()
        self.attn = CosineWindowAttention(dim, heads, windows, pretrained, sequential)
        self.norm1 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, int(dim * mlp_ratio))
        self.norm2 = nn.LayerNorm(dim)
        self.drop_path = DropPath(drop)

    def forward(self, x_BNC: Tensor) -> Tensor:
        """Mix the tokens of each window, then the channels of each token."""
        x = x_BNC + self.drop_path(self.norm1(self.attn(x_BNC)))
        return x + self.drop_path(self.norm2(self.mlp(x)))

    def merged(self) -> FixedWindowBlock:
        """Return the block for inference alone, its position bias computed."""
        return FixedWindowBlock(self.attn, self.norm1, self.mlp, self.norm2)


class SwinStage(nn.Module):
    """Merging (from the second stage on) and blocks: tokens of a map, row by row, in and out.

    Args:
        dim: C of the blocks. depth: number of blocks. heads: of their attention.
        size: (height, width) of the map; before: of the map that comes in, which is halved, rounding up.
        window, pretrained: sides of the windows, now and in pre-training.
        mlp_ratio: width of the MLPs. drops: stochastic depth of each block.
        merge: whether the stage halves the map first.
        extra_norm_period: a norm on the main branch after so many blocks; 0 for none.
        sequential: windows computed at a time; 0 for all.
    """

    def __init__(
        self,
        dim: int,
        depth: int,
        heads: int,
        size: Pair,
        before: Pair,
        window: Pair,
        pretrained: Pair,
        mlp_ratio: float,
        drops: list[float],
        merge: bool,
        extra_norm_period: int,
        sequential: int,
    ):
        super().__init__()
        self.merge = PatchMerging(dim // 2) if merge else None
        plain = Windows(size, window, (0, 0))
        self.blocks = nn.ModuleList(
            SwinBlock(dim, heads, plain, pretrained, mlp_ratio, drops[i], sequential) for i in range(depth)
        )
        ends = range(extra_norm_period, depth + 1, extra_norm_period) if extra_norm_period else ()
        self.extra_norms = nn.ModuleDict({str(end - 1): nn.LayerNorm(dim) for end in ends})
        self.set_size(size, before, window, pretrained)

    def set_size(self, size: Pair, before: Pair, window: Pair, pretrained: Pair) -> None:
        """Serve another map or window with the same weights."""
        self.size, self.before, self.window = size, before, window
        full = (-(-size[0] // window[0]) * window[0], -(-size[1] // window[1]) * window[1])
        shift = (0 if size[0] <= window[0] else window[0] // 2, 0 if size[1] <= window[1] else window[1] // 2)
        for i, block in enumerate(self.blocks):
            block.attn.set_windows(Windows(full, window, shift if i % 2 else (0, 0)), pretrained)
        plain, shifted = Windows(full, window, (0, 0)).order(), Windows(full, window, shift).order()
        last = plain if len(self.blocks) % 2 else shifted
        moves = {"enter": plain, "shift": plain.argsort()[shifted], "unshift": shifted.argsort()[plain]}
        leave = last.argsort().unflatten(0, full)[: size[0], : size[1]].flatten()
        # Which tokens are none of the map's, in either order.
        added = [(order // full[1] >= size[0]) | (order % full[1] >= size[1]) for order in (plain, shifted)]
        buffers = {**moves, "leave": leave, "added_plain": added[0][:, None], "added_shifted": added[1][:, None]}
        device = self.blocks[0].norm1.weight.device
        for name, values in buffers.items():
            self.register_buffer(name, values.to(device), persistent=False)
        self.filled = full != size
        # One window as wide as the map: its tokens are in the map's order already.
        self.windowed, self.shifted = window[1] < size[1], shift != (0, 0)

    def forward(self, x_BNC: Tensor, run: Callable[[nn.Module, Tensor], Tensor]) -> Tensor:
        """Return the tokens of the stage's map; ``run`` calls a block."""
        x = x_BNC if self.merge is None else self.merge(x_BNC, self.before)
        if self.filled:
            x = _filled_up(x, self.size, self.window)
        if self.windowed:
            x = x.index_select(1, self.enter)
        for i, block in enumerate(self.blocks):
            if i and self.shifted:
                x = x.index_select(1, self.shift if i % 2 else self.unshift)
            if i and self.filled:  # every block sees zeros there
                x = x.masked_fill(self.added_shifted if i % 2 else self.added_plain, 0.0)
            x = run(block, x)
            if str(i) in self.extra_norms:
                x = self.extra_norms[str(i)](x)
        moved = self.windowed or self.filled or (self.shifted and len(self.blocks) > 1)
        return x.index_select(1, self.leave) if moved else x


def _filled_up(x_BNC: Tensor, size: Pair, unit: Pair) -> Tensor:
    """Return the tokens of a map (height, width) = ``size`` with zeros at bottom and right: sides multiples of unit."""
    below, right = -size[0] % unit[0], -size[1] % unit[1]
    return F.pad(x_BNC.unflatten(1, size), (0, 0, 0, right, 0, below)).flatten(1, 2) if below or right else x_BNC


class SwinV2(ImageClassifier):
    """Swin Transformer V2.

    Args:
        num_classes: K; 0 for no head.
        in_chans: channels of the images.
        img_size: side of the images in pixels, or (height, width); with ``features_only`` others work too.
        window_size: side of the windows in tokens, or (height, width); where a map is smaller, the map is the window.
        pretrained_window_size: side of the windows in pre-training, one number or one per stage; 0 for ``window_size``.
        embed_dim: C of the first stage, doubled by each further one. depths, num_heads: per stage.
        mlp_ratio: width of the MLPs against C.
        extra_norm_period: a norm on the main branch after so many blocks of a stage; 0 for none.
        sequential: windows per image whose attention is computed at a time, 0 for all: less memory at high resolution.
        drop_path_rate: stochastic depth of the last block.
        features_only: return the maps of the four stages.

    Raises:
        InvalidArgumentError: sizes that do not fit each other; names image sizes that would do.
    """

    def __init__(
        self,
        num_classes: int,
        in_chans: int,
        img_size: int | Pair,
        window_size: int | Pair,
        pretrained_window_size: int | tuple[int, ...],
        embed_dim: int,
        depths: tuple[int, ...],
        num_heads: tuple[int, ...],
        mlp_ratio: float,
        extra_norm_period: int,
        sequential: int,
        drop_path_rate: float,
        features_only: bool,
    ):
        super().__init__()
        check_whole(embed_dim=embed_dim)
        check_positive(mlp_ratio=mlp_ratio)
        depths, num_heads = whole_numbers("depths", depths, _STAGES), whole_numbers("num_heads", num_heads, _STAGES)
        for name, value in (("extra_norm_period", extra_norm_period), ("sequential", sequential)):
            if not isinstance(value, int) or value < 0:
                raise InvalidArgumentError(f"{name}={value!r}: must be a whole number ≥ 0; 0 switches it off.")
        dims = [embed_dim * 2**i for i in range(_STAGES)]
        for i, (dim, heads) in enumerate(zip(dims, num_heads, strict=True)):
            if dim % heads:
                raise InvalidArgumentError(
                    f"num_heads={num_heads}: {heads} does not divide the {dim} channels of stage {i}."
                )
        self.in_chans, self.num_classes, self.features_only = in_chans, num_classes, features_only
        sizes, windows, pretrained = _geometry(img_size, window_size, pretrained_window_size, features_only)
        self.img_size, self.window_size, self._served = img_size, window_size, as_pair(img_size)
        self.patch_embed = PatchEmbed(in_chans, embed_dim)
        drops = rates(drop_path_rate, sum(depths))
        self.stages = nn.ModuleList(
            SwinStage(
                dims[i],
                depths[i],
                num_heads[i],
                sizes[i],
                sizes[max(i - 1, 0)],
                windows[i],
                pretrained[i],
                mlp_ratio,
                drops[sum(depths[:i]) : sum(depths[: i + 1])],
                merge=i > 0,
                extra_norm_period=extra_norm_period,
                sequential=sequential,
            )
            for i in range(_STAGES)
        )
        self.num_features = dims[-1]
        self.norm = ChannelLayerNorm(self.num_features)
        self.head = linear_head(self.num_features, num_classes)
        self.feature_info = FeatureInfo(Feature(dims[i], _PATCH * 2**i, f"stages.{i}") for i in range(_STAGES))
        self._begin()

    def _begin(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, SwinBlock):
                for norm in (module.norm1, module.norm2):
                    nn.init.zeros_(norm.weight)

    def set_input_size(
        self,
        img_size: int | Pair | None = None,
        window_size: int | Pair | None = None,
        pretrained_window_size: int | tuple[int, ...] | None = None,
    ) -> None:
        """Serve other images or windows with the same weights.

        Args:
            img_size, window_size: as in the constructor; None leaves them.
            pretrained_window_size: as in the constructor; None keeps measuring distances as before.

        Raises:
            InvalidArgumentError: sizes that do not fit each other.
        """
        img_size = self.img_size if img_size is None else img_size
        window_size = self.window_size if window_size is None else window_size
        self._serve(img_size, window_size, pretrained_window_size)
        self.img_size, self.window_size = img_size, window_size

    @torch.compiler.disable  # it makes new buffers; what is compiled finds them in place
    def _serve(
        self, img_size: int | Pair, window_size: int | Pair, pretrained_window_size: int | tuple[int, ...] | None
    ) -> None:
        if any(isinstance(part, FixedWindowBlock) for part in self.modules()):
            raise InvalidArgumentError("a deployed model serves the size it was made for: set that first, then deploy.")
        sizes, windows, pretrained = _geometry(img_size, window_size, pretrained_window_size or 0, self.features_only)
        if pretrained_window_size is None:
            pretrained = [stage.blocks[0].attn.pretrained for stage in self.stages]
        self._served = as_pair(img_size)
        befores = [sizes[0], *sizes[:-1]]
        with torch.inference_mode(False):  # what is made serves training too
            for stage, size, before, window, unit in zip(self.stages, sizes, befores, windows, pretrained, strict=True):
                stage.set_size(size, before, window, unit)

    @property
    def size_unit(self) -> Pair:
        """Sides that ``features_only`` reads are multiples of these, in pixels."""
        return _PATCH, _PATCH

    def forward_stages(self, x_BCHW: Tensor) -> list[Tensor]:
        """Return the maps of the four stages, (B, C, H, W), with strides 4, 8, 16, 32.

        Raises:
            InvalidArgumentError: images of another size than ``img_size``; with ``features_only``, of a side that 4
                does not divide.
        """
        size = (x_BCHW.shape[2], x_BCHW.shape[3])
        if self.features_only and size != self._served:
            self._serve(size, self.window_size, None)
        if size != self._served:
            raise InvalidArgumentError(
                f"images are {tuple(x_BCHW.shape[2:])}, this model serves {as_pair(self.img_size)}: resize them, or "
                "call model.set_input_size(img_size=…), which needs no other weights."
            )
        return self.forward_tokens(self.patch_embed(x_BCHW))

    def forward_tokens(self, x_BNC: Tensor) -> list[Tensor]:
        """Return the maps of the four stages for embedded patches, of which some may have been masked."""
        maps = []
        for stage in self.stages:
            x_BNC = stage(x_BNC, self._block)
            maps.append(x_BNC.transpose(1, 2).unflatten(2, stage.size))
        return maps

    def no_weight_decay(self) -> set[str]:
        """Parameters of the position bias and the scales of the attention."""
        return {name for name, _ in self.named_parameters() if "cpb_mlp" in name or "logit_scale" in name}

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Groups for layer-wise decay: patches first, then by block, or by stage with ``coarse``."""
        if coarse:
            return {"stem": r"^patch_embed", "blocks": r"^stages\.(\d+)"}
        blocks = [(r"^stages\.(\d+)\.merge", (0,)), (r"^stages\.(\d+)\.\w+\.(\d+)", None), (r"^norm", (99999,))]
        return {"stem": r"^patch_embed", "blocks": blocks}


def _geometry(
    img_size: int | Pair, window_size: int | Pair, pretrained_window_size: int | tuple[int, ...], any_size: bool = False
) -> tuple[list[Pair], list[Pair], list[Pair]]:
    """(size of the map, window, window of the pre-training) of every stage; ``any_size`` fills maps up to windows."""
    sides, windows = as_pair(img_size), as_pair(window_size)
    for window in windows:
        if isinstance(window, bool) or not isinstance(window, int) or window < 1:
            raise InvalidArgumentError(f"window_size={window_size!r}: must be a whole number ≥ 1.")
    given = pretrained_window_size
    per_stage = tuple(given) if isinstance(given, (tuple, list)) else (given,) * _STAGES
    if len(per_stage) != _STAGES or any(not isinstance(v, int) or v < 0 for v in per_stage):
        raise InvalidArgumentError(f"pretrained_window_size={given!r}: must be one whole number ≥ 0, or one per stage.")
    if any_size:
        check_sides("height or width", sides, _PATCH, "patches of 4 pixels")
    for side, window in zip(sides, windows, strict=True):
        if not (any_size or _fits(side, window)):
            raise InvalidArgumentError(
                f"img_size={img_size}: windows of {window} tokens do not divide the maps of {side} pixels, which are "
                f"1/4, 1/8, 1/16 and 1/32 as wide. {_nearest_sizes(side, window)} pixels would do."
            )
    reach = [_PATCH * 2**i for i in range(_STAGES)]
    sizes = [(-(-sides[0] // stride), -(-sides[1] // stride)) for stride in reach]
    clamped = [(min(size[0], windows[0]), min(size[1], windows[1])) for size in sizes]
    pretrained = [(unit, unit) if unit else window for unit, window in zip(per_stage, clamped, strict=True)]
    return sizes, clamped, pretrained


def _fits(side: int, window: int) -> bool:
    """Whether patches, merging and windows divide a side of the image."""
    maps = [side // (_PATCH * 2**i) for i in range(_STAGES)]
    return side > 0 and side % (_PATCH * 2 ** (_STAGES - 1)) == 0 and all(m <= window or m % window == 0 for m in maps)


def _nearest_sizes(side: int, window: int) -> str:
    """The next smaller and the next larger side that would do."""
    step = _PATCH * 2 ** (_STAGES - 1)
    lower = next((s for s in range(side // step * step, 0, -step) if _fits(s, window)), None)
    upper = next(s for s in range((side // step + 1) * step, side + step * (window + 1) + 1, step) if _fits(s, window))
    return " or ".join(str(s) for s in (lower, upper) if s)


def _convert(state: StateDict, model: nn.Module) -> dict[str, Tensor]:
    """From the keys of the authors, who merge at the end of a stage, or of timm, who merges at its beginning."""
    _check_windows(state, model)
    authors = "layers.0.downsample.reduction.weight" in state
    rules = [
        (r"\.rpe_mlp\.", ".cpb_mlp."),
        *[(rf"^layers\.{i}\.downsample\.", f"stages.{i + authors}.merge.") for i in range(_STAGES)],
        (r"^layers\.", "stages."),
        (r"^head\.fc\.", "head."),
    ]
    return renamed({key: value for key, value in state.items() if not key.endswith(_TABLE)}, rules)


_TABLE = ".relative_coords_table"


def _check_windows(state: StateDict, model: nn.Module) -> None:
    """Refuse weights whose tables, where the file has them, say that distances were measured by another window."""
    for i, stage in enumerate(getattr(model, "stages", ())):
        table = state.get(f"layers.{i}.blocks.0.attn{_TABLE}")
        if table is None or table.ndim != 4 or min(table.shape[1:3]) < 3:
            continue
        center = table.shape[2] // 2
        nearest = table[0, table.shape[1] // 2, center + 1, 1].item()  # of the next token: log2(1 + 8/(p − 1))/3
        unit = 1 + 8 / (2 ** (3 * nearest) - 1) if nearest > 0 else 0
        ours = stage.blocks[0].attn.pretrained[1]
        if nearest > 0 and round(unit) != ours:
            raise InvalidArgumentError(
                f"these weights measure the distances of stage {i} by a window of {round(unit)}, this model by {ours}; "
                f"create it with window_size={round(unit)}, or keep its windows and give pretrained_window_size."
            )


FAMILY = Family(
    name="swin_v2",
    title="Swin Transformer V2",
    kind="ann",
    paper="Liu et al., Swin Transformer V2: Scaling Up Capacity and Resolution, CVPR 2022, arXiv 2111.09883",
    source="https://github.com/microsoft/Swin-Transformer",
    tiny={
        "name": "swinv2_tiny_window8_256",
        "img_size": 64,
        "window_size": 4,
        "pretrained_window_size": 0,
        "embed_dim": 8,
        "depths": (2, 1, 2, 1),
        "num_heads": (1, 2, 2, 4),
        "mlp_ratio": 2.0,
        "in_chans": 1,
        "num_classes": 4,
    },
    published=(
        Published("swinv2_tiny_window8_256", 81.8, 28.3, img_size=256),
        Published("swinv2_tiny_window16_256", 82.8, 28.3, img_size=256),
        Published("swinv2_small_window8_256", 83.7, 49.7, img_size=256),
        Published("swinv2_small_window16_256", 84.1, 49.7, img_size=256),
        Published("swinv2_base_window8_256", 84.2, 87.9, img_size=256),
        Published("swinv2_base_window16_256", 84.6, 87.9, img_size=256),
        Published("swinv2_base_window12to16_192to256", 86.2, 87.9, img_size=256, note="pre-trained on ImageNet-22K"),
        Published("swinv2_base_window12to24_192to384", 87.1, 87.9, img_size=384, note="pre-trained on ImageNet-22K"),
        Published("swinv2_large_window12to16_192to256", 86.9, 196.7, img_size=256, note="pre-trained on ImageNet-22K"),
        Published("swinv2_large_window12to24_192to384", 87.6, 196.7, img_size=384, note="pre-trained on ImageNet-22K"),
        Published("swinv2_huge", params_m=658, img_size=192),
        Published("swinv2_giant", params_m=3000, img_size=192),
    ),
    checkpoints=(
        "the authors' .pth under 'model', of the classifiers and of SimMIM pre-training (prefix 'encoder.')",
        "timm: swinv2_* (it merges at the beginning of a stage, and stores no tables)",
    ),
    unconfirmed=(
        "huge and giant: sizes from the paper, heads of 32 channels inferred; their extra norm every 6 blocks of a "
        "stage is not in the published code, so its place after the block is inferred",
    ),
    marks=(r"^(layers|stages)\.0\.blocks\.0\.attn\.logit_scale$", r"\.attn\.(cpb|rpe)_mlp\.0\.weight$"),
    convert=_convert,
    ignored=(r"\.relative_position_index$", r"\.attn_mask$", r"\.k_bias$", r"^mask_token$", r"^decoder\."),
)


def _build(
    num_classes: int = 1000,
    in_chans: int = 3,
    img_size: int | Pair | None = None,
    drop_path_rate: float = 0.2,
    features_only: bool = False,
    window_size: int | Pair | None = None,
    pretrained_window_size: int | tuple[int, ...] | None = None,
    trained_at: Pair = (256, 8),
    embed_dim: int = 96,
    depths: tuple[int, ...] = (2, 2, 6, 2),
    num_heads: tuple[int, ...] = (3, 6, 12, 24),
    mlp_ratio: float = 4.0,
    extra_norm_period: int = 0,
    sequential: int = 0,
) -> SwinV2:
    """Build; ``trained_at`` is (side of the images, of the windows) that the name stands for."""
    img_size = trained_at[0] if img_size is None else img_size
    window_size = trained_at[1] if window_size is None else window_size
    if pretrained_window_size is None:
        then, now = _geometry(*trained_at, 0)[1], _geometry(img_size, window_size, 0, features_only)[1]
        known = tuple(window[0] for window in then)
        if then != now and features_only:  # images of any size come: distances are measured as in the training
            pretrained_window_size = known
        elif then != now:
            raise InvalidArgumentError(
                f"window_size={window_size}, img_size={img_size}: the windows of the stages are no longer {known}. "
                f"Give pretrained_window_size={known} to use weights trained with those, or 0 to train anew."
            )
    return SwinV2(
        num_classes,
        in_chans,
        img_size,
        window_size,
        pretrained_window_size or 0,
        embed_dim,
        depths,
        num_heads,
        mlp_ratio,
        extra_norm_period,
        sequential,
        drop_path_rate,
        features_only,
    )


_TINY: dict[str, Any] = {"embed_dim": 96, "depths": (2, 2, 6, 2), "num_heads": (3, 6, 12, 24), "drop_path_rate": 0.2}
_SMALL: dict[str, Any] = {**_TINY, "depths": (2, 2, 18, 2), "drop_path_rate": 0.3}
_BASE: dict[str, Any] = {"embed_dim": 128, "depths": (2, 2, 18, 2), "num_heads": (4, 8, 16, 32), "drop_path_rate": 0.5}
_LARGE: dict[str, Any] = {**_BASE, "embed_dim": 192, "num_heads": (6, 12, 24, 48), "drop_path_rate": 0.2}
_HUGE: dict[str, Any] = {**_LARGE, "embed_dim": 352, "num_heads": (11, 22, 44, 88), "extra_norm_period": 6}
_GIANT: dict[str, Any] = {**_HUGE, "embed_dim": 512, "depths": (2, 2, 42, 4), "num_heads": (16, 32, 64, 128)}
_22K: dict[str, Any] = {"trained_at": (192, 12), "num_classes": 21841}
_12: dict[str, Any] = {"pretrained_window_size": (12, 12, 12, 6), "drop_path_rate": 0.2}
_VARIANTS: tuple[tuple[str, int, str, dict[str, Any]], ...] = (
    ("swinv2_tiny_window8_256", 28347154, "Swin V2 tiny, windows of 8", {**_TINY, "trained_at": (256, 8)}),
    ("swinv2_tiny_window16_256", 28347154, "Swin V2 tiny, windows of 16", {**_TINY, "trained_at": (256, 16)}),
    ("swinv2_small_window8_256", 49728418, "Swin V2 small, windows of 8", {**_SMALL, "trained_at": (256, 8)}),
    ("swinv2_small_window16_256", 49728418, "Swin V2 small, windows of 16", {**_SMALL, "trained_at": (256, 16)}),
    ("swinv2_base_window8_256", 87918816, "Swin V2 base, windows of 8", {**_BASE, "trained_at": (256, 8)}),
    ("swinv2_base_window16_256", 87918816, "Swin V2 base, windows of 16", {**_BASE, "trained_at": (256, 16)}),
    ("swinv2_base_window12_192", 109280841, "Swin V2 base of ImageNet-22K, windows of 12", {**_BASE, **_22K}),
    (
        "swinv2_base_window12to16_192to256",
        87918816,
        "Swin V2 base, windows of 12 in pre-training, 16 now",
        {**_BASE, **_12, "trained_at": (256, 16)},
    ),
    (
        "swinv2_base_window12to24_192to384",
        87918816,
        "Swin V2 base, windows of 12 in pre-training, 24 now",
        {**_BASE, **_12, "trained_at": (384, 24)},
    ),
    ("swinv2_large_window12_192", 228772549, "Swin V2 large of ImageNet-22K, windows of 12", {**_LARGE, **_22K}),
    (
        "swinv2_large_window12to16_192to256",
        196739932,
        "Swin V2 large, windows of 12 in pre-training, 16 now",
        {**_LARGE, **_12, "trained_at": (256, 16)},
    ),
    (
        "swinv2_large_window12to24_192to384",
        196739932,
        "Swin V2 large, windows of 12 in pre-training, 24 now",
        {**_LARGE, **_12, "trained_at": (384, 24)},
    ),
    ("swinv2_huge", 658036370, "Swin V2 huge, with a norm every 6 blocks", {**_HUGE, "trained_at": (192, 12)}),
    ("swinv2_giant", 3001940680, "Swin V2 giant, with a norm every 6 blocks", {**_GIANT, "trained_at": (192, 12)}),
)
for _name, _params, _summary, _sizes in _VARIANTS:
    register_variant(FAMILY, _name, _build, params=_params, summary=_summary, **_sizes)
