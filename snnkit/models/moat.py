"""MOAT: mobile convolution and attention in one block.

    image → stem /2 → two stages of bottlenecks with squeeze-and-excitation, /4, /8 → two with attention, /16, /32
    → mean → LN → linear

Feature maps are NCHW and taken before any activation: the stem's and those of the four stages, strides 2 to 32 (the
published decoders read their GELU). Attention is global, or within windows that must divide the maps.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from snnkit.errors import InvalidArgumentError
from snnkit.layers.moat_block import MoatBlock, batch_norm
from snnkit.layers.position_bias import RelativePositionBias
from snnkit.layers.same_padding import SameConv2d
from snnkit.layers.self_attention import SelfAttention
from snnkit.models.classifier import Feature, FeatureInfo, ImageClassifier, linear_head
from snnkit.models.family import Family, Published
from snnkit.models.registry import register_variant
from snnkit.models.sizes import as_pair, check_divides, check_whole, whole_numbers

HEAD_DIM = 32
STRIDES = (4, 8, 16, 32)
TABLES = {2: 14, 3: 7}  # side of the maps that the tables of stages 3 and 4 are made for, at any image size
Windows = tuple[tuple[int, int] | None, ...]


class MOAT(ImageClassifier):
    """Classifier of images (B, C, H, W) of any size that its windows, if it has any, divide.

    Args:
        num_classes: K.
        in_chans: C.
        img_size: side of the images, or (height, width), of ``pretrained_cfg``; others work too.
        drop_path_rate: stochastic depth r; block i of n drops with r·i/n.
        features_only: return the maps of the stem and of the four stages.
        stem_dim: channels of the stem.
        dims: channels per stage; those of the last two are multiples of 32.
        depths: blocks per stage.
        window_size: per stage None for global attention, a side, or (height, width); None for global everywhere.
            Only the last two stages attend.
        global_end: whether the last block of a stage with windows is global.
        pool_size: side of the averages beside strided bottlenecks: 2, or 3 as in the published detectors.
        position_bias: whether attention has a bias per distance.
        half_range: whether ``pretrained_cfg`` asks for pixels in ±1, as ImageNet-22K weights do.

    Raises:
        InvalidArgumentError: an argument outside its range.
    """

    def __init__(
        self,
        num_classes: int,
        in_chans: int,
        img_size: int | tuple[int, int],
        drop_path_rate: float,
        features_only: bool,
        stem_dim: int,
        dims: tuple[int, ...],
        depths: tuple[int, ...],
        window_size: Sequence[int | Sequence[int] | None] | None,
        global_end: bool,
        pool_size: int,
        position_bias: bool,
        half_range: bool,
    ):
        super().__init__()
        dims, depths = whole_numbers("dims", dims, 4), whole_numbers("depths", depths, 4)
        check_whole(stem_dim=stem_dim)
        for dim in dims[2:]:
            check_divides("dims", dim, HEAD_DIM, "the width of a head")
        if pool_size not in (2, 3):
            raise InvalidArgumentError(f"pool_size={pool_size!r}: must be 2 or 3.")
        self.windows = _windows(window_size)
        if not features_only:
            _check_windows("img_size", as_pair(img_size), self.windows)
        self.in_chans, self.img_size, self.num_classes = in_chans, img_size, num_classes
        self.features_only, self.half_range = features_only, half_range
        self.stem = nn.Sequential()
        self.stem.add_module("conv1", SameConv2d(in_chans, stem_dim, 3, stride=2))
        self.stem.add_module("norm", batch_norm(stem_dim))
        self.stem.add_module("act", nn.GELU())
        self.stem.add_module("conv2", SameConv2d(stem_dim, stem_dim, 3))
        self.stages = nn.ModuleList(nn.ModuleList() for _ in dims)
        number, before = 0, stem_dim
        for stage, (dim, depth) in enumerate(zip(dims, depths, strict=True)):
            for i in range(depth):
                windowed = not (global_end and i == depth - 1)
                attention = self._attention(stage, dim, windowed, position_bias) if stage in TABLES else None
                drop = drop_path_rate * number / sum(depths)
                self.stages[stage].append(MoatBlock(before, dim, 1 if i else 2, pool_size, attention, drop))
                number, before = number + 1, dim
        self.norm, self.head_norm = nn.Identity(), nn.LayerNorm(dims[3])
        self.num_features = dims[3]
        self.head = linear_head(dims[3], num_classes)
        maps = [Feature(stem_dim, 2, "stem")]
        maps += [Feature(dim, STRIDES[i], f"stages.{i}") for i, dim in enumerate(dims)]
        self.feature_info = FeatureInfo(maps)
        self._init_weights()

    def _attention(self, stage: int, dim: int, windowed: bool, position_bias: bool) -> SelfAttention:
        window, heads = self.windows[stage] if windowed else None, dim // HEAD_DIM
        height, width = (-(-side // STRIDES[stage]) for side in as_pair(self.img_size))
        position = RelativePositionBias(heads, TABLES[stage], window or (height, width)) if position_bias else None
        return SelfAttention(dim, heads, window, position)

    def _init_weights(self) -> None:
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                nn.init.normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    @property
    def pretrained_cfg(self) -> dict[str, Any]:
        """timm's description of the input a published checkpoint expects."""
        half = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)} if self.half_range else {}
        return {**super().pretrained_cfg, **half}

    @property
    def size_unit(self) -> tuple[int, int]:
        """Height and width are multiples of these, in pixels; 1 without windows."""
        return _steps(0, self.windows), _steps(1, self.windows)

    def forward_stages(self, x_BCHW: Tensor) -> list[Tensor]:
        """Return the maps of the stem and of the four stages, strides 2, 4, 8, 16, 32."""
        maps = [self.stem(x_BCHW)]
        for blocks in self.stages:
            x_BCHW = maps[-1]
            for block in blocks:
                x_BCHW = self._block(block, x_BCHW)
            maps.append(x_BCHW)
        return maps

    def forward_head(self, features_BCHW: Tensor, pre_logits: bool = False) -> Tensor:
        """Return logits (B, K), or with ``pre_logits`` the pooled and normed features (B, F)."""
        pooled = self.head_norm(super().forward_head(features_BCHW, pre_logits=True))
        return pooled if pre_logits else self.head(pooled)

    def _check(self, x: Tensor, leading: int) -> None:
        super()._check(x, leading)
        _check_windows("image size", (x.shape[-2], x.shape[-1]), self.windows)


def _windows(given: Any) -> Windows:
    """(height, width) or None for each of four stages."""
    if given is None:
        return (None,) * 4
    if not isinstance(given, (tuple, list)) or len(given) != 4:
        raise InvalidArgumentError(
            f"window_size={given!r}: give four entries, one per stage (None, a side, or (height, width)), or None."
        )
    made: list[tuple[int, int] | None] = []
    for stage, window in enumerate(given):
        pair = (window, window) if isinstance(window, int) else window
        if pair is not None:
            if not isinstance(pair, (tuple, list)) or len(pair) != 2 or stage not in TABLES:
                raise InvalidArgumentError(
                    f"window_size={given!r}: entry {stage + 1} is {window!r}; the first two stages have no attention, "
                    "so None there, and each of the last two takes None, a side or (height, width)."
                )
            for side in pair:
                check_whole(window_size=side)
        made.append(None if pair is None else (pair[0], pair[1]))
    return tuple(made)


def _steps(axis: int, windows: Windows) -> int:
    """Pixels along an axis whose multiples serve the windows of all stages."""
    return math.lcm(*(stride * window[axis] for stride, window in zip(STRIDES, windows, strict=True) if window))


def _check_windows(name: str, size: tuple[int, int], windows: Windows) -> None:
    """Raise InvalidArgumentError where a window does not divide its stage's map; names sides that serve all stages."""
    for axis, side in enumerate(size):
        for stride, window in zip(STRIDES, windows, strict=True):
            cells = -(-side // stride)
            if window and cells % window[axis]:
                step = _steps(axis, windows)
                lower, upper = side // step * step, (side // step + 1) * step
                raise InvalidArgumentError(
                    f"{name}={size}: at stride {stride} that is {cells} cells, which windows of {window[axis]} do not "
                    f"divide; {f'{lower} or {upper}' if lower else upper} would do for {side}."
                )


# Published weights. TensorFlow's last part of a name → torch's, and the order of axes.
_LEAVES: dict[str, str] = {
    "kernel": "weight",
    "depthwise_kernel": "weight",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
    "weight": "weight",
    "bias": "bias",
    "relative_position_embedding": "relative_position_embedding",
}
_AVERAGE = "/ExponentialMovingAverage"


def from_tf(arrays: Mapping[str, np.ndarray | Tensor], average: bool = False) -> dict[str, Tensor]:
    """Return arrays of a published TensorFlow checkpoint under torch's names and with its axes, for ``load_weights``.

    Args:
        arrays: by TensorFlow name (``moat/block_00_00/expand_conv/kernel``, with or without ``:0``).
        average: take the exponential moving averages where there are any.

    What is no weight (optimiser slots, step counters) is left out.
    """
    made: dict[str, Tensor] = {}
    averaged: dict[str, Tensor] = {}
    for name, array in arrays.items():
        path = name.removesuffix(":0")
        where = averaged if path.endswith(_AVERAGE) else made
        path = path.removesuffix(_AVERAGE).removeprefix("moat/")
        *parts, leaf = path.split("/")
        if leaf not in _LEAVES or not parts:
            continue
        if re.fullmatch(r"(conv|norm)_\d", parts[0]):
            parts.insert(0, "stem")
        value = array if isinstance(array, Tensor) else torch.from_numpy(np.asarray(array))
        where[".".join([*parts, _LEAVES[leaf]])] = _torch_axes(value, leaf, parts[-1])
    return {**made, **averaged} if average else made


def _torch_axes(value: Tensor, leaf: str, layer: str) -> Tensor:
    if leaf == "kernel":
        return value.permute(3, 2, 0, 1)
    if leaf == "depthwise_kernel":
        return value.permute(2, 3, 0, 1)
    if layer in ("q", "k", "v"):  # C × h × D → h·D × C; h × D → h·D
        return value.flatten(1).T if leaf == "weight" else value.flatten()
    return value.flatten(0, 1).T if leaf == "weight" else value  # o: h × D × C → C × h·D


_OWN = {
    "pre_norm": "main.pre_norm",
    "expand_conv": "main.expand",
    "expand_norm": "main.norm1",
    "depthwise_conv": "main.depthwise",
    "depthwise_norm": "main.norm2",
    "se.reduce_conv2d": "main.se.reduce",
    "se.expand_conv2d": "main.se.expand",
    "shrink_conv": "main.shrink",
    "shortcut_conv": "shortcut.conv",
    "attention_norm": "mix.norm",
    "attention.o": "mix.project",
    **{f"attention.{part}": f"mix.attention.{part}" for part in "qkv"},
}
_TOP = {"stem.conv_0": "stem.conv1", "stem.norm_0": "stem.norm", "stem.conv_1": "stem.conv2",
        "final_layer_norm": "head_norm", "logits_head": "head"}  # fmt: skip
_TABLE = "attention.relative_position_embedding"


def from_published(state: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Translate published keys, TensorFlow's or their view in torch's.

    Raises:
        InvalidArgumentError: position biases in the weights and not in the model, or the other way round.
    """
    given = from_tf(state) if any("/" in key for key in state) else state
    own = model.state_dict()
    has, wants = any(_TABLE in key for key in given), any(key.endswith("position.table") for key in own)
    if has != wants:
        raise InvalidArgumentError(
            f"these weights {'have' if has else 'lack'} position biases, and the model "
            f"{'does not' if has else 'does'}: position_bias={has} when it is created."
        )
    made = {_own_key(key): value for key, value in given.items()}
    if "head.weight" in made:
        made["head.weight"] = made["head.weight"].flatten(1)
    for query in [key for key in made if ".mix.attention.q." in key]:
        parts = [query.replace(".q.", f".{part}.") for part in "qkv"]
        if all(part in made for part in parts):
            made[query.replace(".q.", ".qkv.")] = torch.cat([made.pop(part) for part in parts])
    # Keras counts no batches.
    counters = {key: torch.zeros_like(own[key]) for key in own if key.endswith("num_batches_tracked")}
    return {**counters, **made}


def _own_key(key: str) -> str:
    found = re.fullmatch(r"block_(\d+)_(\d+)\.(.+)", key)
    inside, names = (found[3], _OWN) if found else (key, _TOP)
    prefix = f"stages.{int(found[1])}.{int(found[2])}." if found else ""
    if inside == _TABLE:
        return f"{prefix}mix.attention.position.table"
    layer, _, leaf = inside.rpartition(".")
    return f"{prefix}{names[layer]}.{leaf}" if layer in names else key


FAMILY = Family(
    name="moat",
    title="MOAT",
    kind="ann",
    paper='Yang et al., "MOAT: Alternating Mobile Convolution and Attention Brings Strong Vision Models", '
    "arXiv 2210.01820",
    source="https://github.com/google-research/deeplab2 (Apache-2.0)",
    tiny={
        "name": "tiny_moat_0", "stem_dim": 8, "dims": (8, 16, 32, 64), "depths": (1, 1, 2, 1), "img_size": 64,
        "window_size": (None, None, 2, None), "in_chans": 2, "num_classes": 5,
    },
    published=(
        Published("moat_0", 83.3, 27.8, note="5.7 GMAC; 83.0 without position biases"),
        Published("moat_1", 84.2, 41.6, note="9.1 GMAC; 84.1 without"),
        Published("moat_2", 87.5, 73.4, img_size=384, note="ImageNet-22K first; 54.3 GMAC; 87.2 without"),
        Published("moat_3", 88.4, 190.0, img_size=512, note="ImageNet-22K first; 271.0 GMAC; 88.2 without"),
        Published("moat_4", 89.1, 483.2, img_size=512, note="ImageNet-22K first; 648.5 GMAC; 88.9 without"),
        Published("tiny_moat_0", 76.6, 3.4, img_size=256, note="1.1 GMAC; 76.0 without"),
        Published("tiny_moat_1", 79.2, 5.1, img_size=256, note="1.6 GMAC; 78.9 without"),
        Published("tiny_moat_2", 81.7, 9.8, img_size=256, note="3.0 GMAC; 81.3 without"),
        Published("tiny_moat_3", 83.3, 19.5, img_size=256, note="6.0 GMAC; 83.0 without"),
    ),
    checkpoints=(
        "TensorFlow checkpoints of deeplab2: read with TensorFlow, then load_weights(model, moat.from_tf(arrays))",
        "detectors and segmenters were trained with pool_size=3 and windows of 14",
    ),
    unconfirmed=(
        "names of optimiser slots in published checkpoints: what is no weight is left out",
        "how the tables of position biases start: a truncated normal of 0.02 here",
        "published weights were not run; reference outputs of the published code at small sizes were",
    ),
    marks=(r"(^|/)block_00_00[./]pre_norm",),
    convert=from_published,
    ignored=(r"/ExponentialMovingAverage", r"^global_step", r"/(Momentum|Adam\w*|m|v)(:0)?$"),
)  # fmt: skip


def moat(
    num_classes: int = 1000,
    in_chans: int = 3,
    img_size: int | tuple[int, int] = 224,
    drop_path_rate: float = 0.0,
    features_only: bool = False,
    stem_dim: int = 64,
    dims: tuple[int, ...] = (96, 192, 384, 768),
    depths: tuple[int, ...] = (2, 3, 7, 2),
    window_size: Sequence[int | Sequence[int] | None] | None = None,
    global_end: bool = False,
    pool_size: int = 2,
    position_bias: bool = True,
    half_range: bool = False,
) -> MOAT:
    """Build a MOAT; see the class."""
    return MOAT(
        num_classes, in_chans, img_size, drop_path_rate, features_only, stem_dim, dims, depths, window_size, global_end,
        pool_size, position_bias, half_range,
    )  # fmt: skip


def _doubling(first: int) -> tuple[int, ...]:
    return tuple(first * 2**i for i in range(4))


for _name, _params, _stem, _first, _depths, _drop in (
    ("moat_0", 27_846_892, 64, 96, (2, 3, 7, 2), 0.2),
    ("moat_1", 41_598_448, 64, 96, (2, 6, 14, 2), 0.3),
    ("moat_2", 73_422_408, 128, 128, (2, 6, 14, 2), 0.3),
    ("moat_3", 189_958_040, 160, 160, (2, 12, 28, 2), 0.6),
    ("moat_4", 483_214_184, 256, 256, (2, 12, 28, 2), 0.7),
):
    register_variant(
        FAMILY, _name, moat, params=_params, summary=f"MOAT, {_first} to {8 * _first} channels, {sum(_depths)} blocks",
        stem_dim=_stem, dims=_doubling(_first), depths=_depths, drop_path_rate=_drop,
        half_range=_name in ("moat_2", "moat_3", "moat_4"),
    )  # fmt: skip
for _name, _params, _first, _drop in (
    ("tiny_moat_0", 3_355_348, 32, 0.0),
    ("tiny_moat_1", 5_122_895, 40, 0.0),
    ("tiny_moat_2", 9_772_741, 56, 0.0),
    ("tiny_moat_3", 19_534_390, 80, 0.1),
):
    register_variant(
        FAMILY, _name, moat, params=_params, summary=f"tiny MOAT, {_first} to {8 * _first} channels, for 256 × 256",
        stem_dim=_first, dims=_doubling(_first), img_size=256, drop_path_rate=_drop,
    )  # fmt: skip
