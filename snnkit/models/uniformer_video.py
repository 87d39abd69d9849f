"""UniFormer for video: the image network with a time axis, attention over space and time at once or in turn.

    clip (B, C, T, H, W) → /(2, 4, 4) → local blocks → /(1, 2, 2) → … → BN → mean over T, H, W → linear

Feature maps are (B, C, T/2, H/s, W/s). ``inflate`` makes a start for training of image weights; ``load_weights`` does
so of itself where it is given some (``models.inflation``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from snnkit.errors import InvalidArgumentError, unknown_name
from snnkit.layers.drop_path import rates
from snnkit.layers.uniformer_blocks import GlobalBlock, LocalBlock, init_uniformer, patch_embed
from snnkit.models.classifier import ImageClassifier, linear_head
from snnkit.models.family import Family, Published, renamed
from snnkit.models.registry import register_variant
from snnkit.models.sizes import check_heads, check_positive, check_sides, whole_numbers
from snnkit.models.uniformer import RULES, SOURCE, STRIDE, feature_info, from_published

TUBELET = 2
ATTENTIONS = ("joint", "divided")


class UniFormerVideo(ImageClassifier):
    """Classifier of clips (B, C, T, H, W), T even, H and W multiples of 32.

    Args:
        num_classes: K.
        in_chans: C.
        img_size: side of the frames, or (height, width), of ``pretrained_cfg``; others work too.
        num_frames: T of ``pretrained_cfg``; other even numbers work too.
        drop_path_rate: stochastic depth of the last block; grows linearly from 0.
        features_only: return the four maps, strides 4, 8, 16, 32.
        depths: blocks per stage.
        dims: channels per stage.
        head_dim: channels of an attention head.
        mlp_ratio: hidden width of the MLPs.
        attention: "joint" over space and time at once, or "divided": time, then space.
        temporal_patches: whether the embeddings between stages see three frames instead of one.

    Raises:
        InvalidArgumentError: an argument outside its range.
        UnknownNameError: another attention.
    """

    def __init__(
        self,
        num_classes: int,
        in_chans: int,
        img_size: int | tuple[int, int],
        num_frames: int,
        drop_path_rate: float,
        features_only: bool,
        depths: tuple[int, ...],
        dims: tuple[int, ...],
        head_dim: int,
        mlp_ratio: float,
        attention: str,
        temporal_patches: bool,
    ):
        super().__init__()
        if attention not in ATTENTIONS:
            raise unknown_name("attention of a video UniFormer", str(attention), ATTENTIONS)
        depths, dims = whole_numbers("depths", depths, 4), whole_numbers("dims", dims, 4)
        check_heads(head_dim, dims[2:])
        check_positive(mlp_ratio=mlp_ratio)
        check_sides("img_size", img_size, STRIDE, "the last stride")
        _check_frames("num_frames", num_frames)
        self.in_chans, self.img_size, self.num_classes = in_chans, img_size, num_classes
        self.num_frames, self.features_only = num_frames, features_only
        long = 3 if temporal_patches else 1
        self.patch_embeds = nn.ModuleList([patch_embed(in_chans, dims[0], (3, 4, 4), (TUBELET, 4, 4))])
        self.patch_embeds.extend(patch_embed(dims[i], dims[i + 1], (long, 2, 2), (1, 2, 2)) for i in range(3))
        drop = iter(rates(drop_path_rate, sum(depths)))
        self.stages = nn.ModuleList()
        for i, (depth, dim) in enumerate(zip(depths, dims, strict=True)):
            self.stages.append(
                nn.ModuleList(
                    LocalBlock(dim, mlp_ratio, next(drop), dims=3)
                    if i < 2
                    else GlobalBlock(
                        dim, dim // head_dim, mlp_ratio, next(drop), dims=3, divided=attention == "divided"
                    )
                    for _ in range(depth)
                )
            )
        self.norm = nn.BatchNorm3d(dims[3])
        self.num_features = dims[3]
        self.head = linear_head(dims[3], num_classes)
        self.feature_info = feature_info(dims)
        init_uniformer(self)

    @property
    def pretrained_cfg(self) -> dict[str, Any]:
        """timm's description of the input, (C, T, H, W) here."""
        config = super().pretrained_cfg
        channels, *sides = config["input_size"]
        return {**config, "input_size": (channels, self.num_frames, *sides)}

    def forward_stages(self, x_BCTHW: Tensor) -> list[Tensor]:
        """Return the four maps (B, C, T/2, H/s, W/s)."""
        maps = []
        for embed, blocks in zip(self.patch_embeds, self.stages, strict=True):
            x_BCTHW = embed(x_BCTHW)
            for block in blocks:
                x_BCTHW = self._block(block, x_BCTHW)
            maps.append(x_BCTHW)
        return maps

    def _check(self, x: Tensor, leading: int) -> None:
        if x.ndim != 5 or x.shape[1] != self.in_chans or 0 in x.shape:
            raise InvalidArgumentError(
                f"{type(self).__name__} takes clips (B, C, T, H, W) with C = {self.in_chans}, got {tuple(x.shape)}. "
                "Change the input, or create the model with in_chans=."
            )
        _check_frames("number of frames", x.shape[2])
        check_sides("height or width", (x.shape[-2], x.shape[-1]), STRIDE, "the last stride")


def _check_frames(what: str, frames: Any) -> None:
    if isinstance(frames, bool) or not isinstance(frames, int) or frames < TUBELET or frames % TUBELET:
        near = (
            f"{max(TUBELET, frames // 2 * 2)} or {max(TUBELET, frames // 2 * 2) + 2}" if type(frames) is int else "16"
        )
        raise InvalidArgumentError(
            f"{what}={frames!r}: a tubelet is {TUBELET} frames, so it must be a multiple of {TUBELET}; {near} would do."
        )


def inflate(state: Mapping[str, Tensor], model: UniFormerVideo, center: bool = False) -> dict[str, Tensor]:
    """Return weights for clips from those of a UniFormer for images, under the keys of ``model``.

    A kernel of t frames is the image's kernel in each, divided by t, so that a still clip gives what its image gave.
    What has no counterpart or another size (attention over time, a head of other classes) is left out:
    ``load_weights(model, inflate(state, model), strict=False)`` reports it as missing.

    Args:
        state: bare published keys, or snnkit's own, of an image model without layer scale and overlapping stem.
        model: the video model.
        center: put the whole kernel into the middle frame instead.

    Raises:
        InvalidArgumentError: not weights of such a model.
    """
    made, own = renamed(state, RULES), model.state_dict()
    check_of_images(made)
    result = {}
    for key, value in made.items():
        if key in own and own[key].ndim == 5 and value.ndim == 4:
            value = over_frames(value, own[key].shape[2], center)
        if key in own and own[key].shape == value.shape:
            result[key] = value
    return result


def over_frames(kernel: Tensor, frames: int, center: bool = False) -> Tensor:
    """Return a kernel (O, I, H, W) of images as one of clips, (O, I, frames, H, W), whose sum over frames it is.

    Each frame has an equal share of it, or with ``center`` the middle one all of it.
    """
    wide = kernel.unsqueeze(2).repeat(1, 1, frames, 1, 1) / (1 if center else frames)
    if center:
        wide[:, :, torch.arange(frames) != frames // 2] = 0
    return wide


def check_of_images(state: Mapping[str, Tensor]) -> None:
    """Raise InvalidArgumentError unless weights of a UniFormer for images (own keys) are of a form that clips have."""
    if "patch_embeds.0.proj.weight" not in state or any("scale.gamma" in key for key in state):
        raise InvalidArgumentError(
            "a UniFormer for clips takes weights of a UniFormer for images with patch embeddings and without layer "
            "scale: it has neither overlapping stem nor layer scale."
        )


def _from_published(state: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Translate published keys, those of networks for images too: ``models.inflation`` widens their kernels."""
    made = renamed(state, RULES)
    first = made.get("patch_embeds.0.proj.weight")
    if first is not None and first.ndim == 4:
        return made
    return from_published(state, model)


FAMILY = Family(
    name="uniformer_video",
    title="UniFormer (video)",
    kind="ann",
    paper='Li et al., "UniFormer: Unified Transformer for Efficient Spatiotemporal Representation Learning", '
    "arXiv 2201.04676",
    source=SOURCE,
    tiny={
        "name": "uniformer_video_small", "depths": (1, 1, 1, 1), "dims": (4, 4, 8, 8), "head_dim": 4, "img_size": 32,
        "num_frames": 4, "in_chans": 2, "num_classes": 5, "input_shape": (2, 4, 32, 32),
    },
    published=(
        Published("uniformer_video_small", 78.4, 21.4, note="Kinetics-400, 8 frames, 70 GFLOPs over 4 views"),
        Published("uniformer_video_small", 80.8, 21.4, note="Kinetics-400, 16 frames, 167 GFLOPs over 4 views"),
        Published("uniformer_video_small", 82.0, 21.4, note="Kinetics-400, 32 frames, 438 GFLOPs over 4 views"),
        Published("uniformer_video_small", 67.7, note="Something-Something V2, 16 frames, after Kinetics-400"),
        Published("uniformer_video_base", 79.8, 49.8, note="Kinetics-400, 8 frames"),
        Published("uniformer_video_base", 82.0, 49.8, note="Kinetics-400, 16 frames, 387 GFLOPs over 4 views"),
        Published("uniformer_video_base", 82.9, 49.8, note="Kinetics-400, 32 frames, 1036 GFLOPs over 4 views"),
        Published("uniformer_video_base", 70.4, note="Something-Something V2, 16 frames, after Kinetics-400"),
    ),
    checkpoints=("torch files of the repository's video_classification, under 'model_state'",),
    unconfirmed=(
        "mean and deviation of the frames in pretrained_cfg are ImageNet's",
        "no published weights were run; reference outputs of the published code at small sizes were",
    ),
    marks=(r"^patch_embed1\.proj\.", r"^blocks1\.0\.pos_embed\."),
    convert=_from_published,
)  # fmt: skip


def uniformer_video(
    num_classes: int = 400,
    in_chans: int = 3,
    img_size: int | tuple[int, int] = 224,
    num_frames: int = 16,
    drop_path_rate: float = 0.1,
    features_only: bool = False,
    depths: tuple[int, ...] = (3, 4, 8, 3),
    dims: tuple[int, ...] = (64, 128, 320, 512),
    head_dim: int = 64,
    mlp_ratio: float = 4.0,
    attention: str = "joint",
    temporal_patches: bool = False,
) -> UniFormerVideo:
    """Build a UniFormer for video; see the class."""
    return UniFormerVideo(
        num_classes, in_chans, img_size, num_frames, drop_path_rate, features_only, depths, dims, head_dim, mlp_ratio,
        attention, temporal_patches,
    )  # fmt: skip


register_variant(
    FAMILY, "uniformer_video_small", uniformer_video, params=21_400_400,
    summary="UniFormer-S on clips of 16 frames, 41.7 GMAC a view",
)  # fmt: skip
register_variant(
    FAMILY, "uniformer_video_base", uniformer_video, params=49_813_200,
    summary="UniFormer-B on clips of 16 frames, 96.6 GMAC a view", depths=(5, 8, 20, 7), drop_path_rate=0.3,
)  # fmt: skip
