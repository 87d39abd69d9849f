"""What every model offers: timm's methods for ordinary models, and their counterparts on sequences for spiking ones.

Both classes are interfaces: a family derives from one of them once, sets the attributes and writes the methods marked
abstract. Letters: T steps, B images, C channels, H and W pixels, K classes.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from snnkit.encoders import Direct
from snnkit.errors import InvalidArgumentError
from snnkit.layers.recompute import recompute
from snnkit.readouts import Mean

IMAGENET = {
    "mean": (0.485, 0.456, 0.406),
    "std": (0.229, 0.224, 0.225),
    "interpolation": "bicubic",
    "crop_pct": 0.875,
}


@dataclass(frozen=True)
class Feature:
    """One feature map: its channels, its stride against the image, and the module that makes it."""

    channels: int
    reduction: int
    module: str


class FeatureInfo(tuple[Feature, ...]):
    """The feature maps a model returns with ``features_only=True``, first to last; timm's three questions."""

    def channels(self) -> list[int]:
        """Channels of each map."""
        return [feature.channels for feature in self]

    def reduction(self) -> list[int]:
        """Stride of each map against the image."""
        return [feature.reduction for feature in self]

    def module_name(self) -> list[str]:
        """Module that makes each map."""
        return [feature.module for feature in self]


class _Model(nn.Module):
    """What spiking and ordinary models share: the head, recomputing blocks, checks of the input.

    Attributes set by the family:
        in_chans: C. num_classes: K. num_features: width before the head. head: ``nn.Linear`` or ``nn.Identity``.
        feature_info: what ``features_only=True`` returns. features_only: whether forward returns feature maps.
    """

    in_chans: int
    num_classes: int
    num_features: int
    head: nn.Module
    feature_info: FeatureInfo
    features_only: bool = False
    grad_checkpointing: bool = False

    @property
    def head_hidden_size(self) -> int:
        """Width of what the classifier reads."""
        return self.num_features

    @property
    def pretrained_cfg(self) -> dict[str, Any]:
        """timm's description of the input a published checkpoint expects."""
        size = getattr(self, "img_size", 224)
        height, width = size if isinstance(size, tuple) else (size, size)
        return {**IMAGENET, "input_size": (self.in_chans, height, width), "num_classes": self.num_classes}

    def get_classifier(self) -> nn.Module:
        """Return the last linear layer."""
        return self.head

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Put a new, untrained head of ``num_classes`` outputs in place; 0 removes it.

        Raises:
            InvalidArgumentError: ``num_classes`` < 0, or ``global_pool`` other than "avg" or None.
        """
        if not isinstance(num_classes, int) or isinstance(num_classes, bool) or num_classes < 0:
            raise InvalidArgumentError(f"num_classes={num_classes!r}: must be a whole number, at least 0.")
        if global_pool not in (None, "avg"):
            raise InvalidArgumentError(f"global_pool={global_pool!r}: this model averages; give 'avg' or None.")
        self.num_classes = num_classes
        reference = next(self.parameters())
        self.head = linear_head(self.num_features, num_classes).to(reference.device, reference.dtype)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Keep only the inputs of each block while training and compute the rest again in backward."""
        self.grad_checkpointing = bool(enable)

    def no_weight_decay(self) -> set[str]:
        """Names of parameters that must not decay, beyond those with one dimension."""
        return set()

    def _block(self, block: nn.Module, *inputs: Tensor) -> Tensor:
        """Run a block, recomputed in the backward where that was asked for."""
        if self.grad_checkpointing and self.training and torch.is_grad_enabled():
            return recompute(block, *inputs)
        return block(*inputs)

    def _blocks(self, blocks: nn.Module, x: Tensor) -> Tensor:
        """Run blocks in a row, each as ``_block``."""
        for block in blocks.children():
            x = self._block(block, x)
        return x

    def _check(self, x: Tensor, leading: int) -> None:
        """Refuse a tensor that is not (…, C, H, W) with ``leading`` axes before C and this model's channels."""
        if x.ndim != leading + 3 or x.shape[leading] != self.in_chans or 0 in x.shape:
            kinds = "(T, B, C, H, W)" if leading == 2 else "(B, C, H, W)"
            raise InvalidArgumentError(
                f"{type(self).__name__} takes images {kinds} with C = {self.in_chans}, got {tuple(x.shape)}. "
                "Change the input, or create the model with in_chans=."
            )


def linear_head(num_features: int, num_classes: int) -> nn.Module:
    """Return ``nn.Linear(num_features, num_classes)`` initialised as vision transformers do, or Identity for 0."""
    if num_classes == 0:
        return nn.Identity()
    head = nn.Linear(num_features, num_classes)
    nn.init.trunc_normal_(head.weight, std=0.02)
    nn.init.zeros_(head.bias)
    return head


class SpikingClassifier(_Model):
    """A spiking classifier of images (B, C, H, W), encoded for T steps, or of sequences (T, B, C, H, W).

    A family sets ``encoder`` (``Direct`` unless it says otherwise) and ``readout`` and writes ``forward_stem``,
    ``forward_stages`` and ``forward_head``.
    """

    def __init__(self, timesteps: int):
        super().__init__()
        self.encoder = Direct(timesteps)
        self.readout = Mean()

    @property
    def timesteps(self) -> int:
        """T for still images."""
        return self.encoder.timesteps

    @abstractmethod
    def forward_stem(self, x_TBCHW: Tensor) -> Tensor:
        """Return what the first layers without memory make of the input: (T, B, …)."""

    @abstractmethod
    def forward_stages(self, current_TBCHW: Tensor) -> list[Tensor]:
        """Return the feature maps (T, B, C, H, W) that ``feature_info`` lists, for the output of the stem.

        The last one is what the head reads.
        """

    @abstractmethod
    def forward_head(self, features_TBCHW: Tensor, pre_logits: bool = False) -> Tensor:
        """Return the logits of every step (T, B, K), or with ``pre_logits`` what the last layer reads (T, B, F)."""

    def forward_features(self, x_TBCHW: Tensor) -> Tensor:
        """Return the last feature map (T, B, C, H, W) of a sequence."""
        self._check(x_TBCHW, leading=2)
        return self.forward_stages(self.forward_stem(x_TBCHW))[-1]

    def forward_sequence(self, x_TBCHW: Tensor) -> Tensor:
        """Return the logits of every step, (T, B, K), of a sequence."""
        return self.forward_head(self.forward_features(x_TBCHW))

    def forward_currents(self, x: Tensor) -> Tensor:
        """Return what the stem makes of images (B, C, H, W), encoded, or of a sequence: (T, B, …).

        Raises:
            InvalidArgumentError: not images or sequences of the model's channels.
        """
        if x.ndim == 5:
            self._check(x, leading=2)
            return self.forward_stem(x)
        self._check(x, leading=1)
        if self.training:
            # Batch norm's running variance counts T·B·H·W samples; the published networks repeat the image.
            return self.forward_stem(self.encoder(x))
        # The stem sees the same image at every step: once is enough.
        return self.encoder(self.forward_stem(x.unsqueeze(0))[0])

    def forward(self, x: Tensor) -> Any:
        """Return logits (B, K), or with ``features_only`` the list of maps (T, B, C, H, W).

        Raises:
            InvalidArgumentError: not images or sequences of the model's channels.
        """
        stages = self.forward_stages(self.forward_currents(x))
        if self.features_only:
            return stages
        return self.forward_logits(stages[-1])

    def forward_logits(self, features_TBCHW: Tensor) -> Any:
        """Return the prediction (B, K) from the last feature map; models with two heads override it."""
        return self.readout(self.forward_head(features_TBCHW))

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Groups for layer-wise decay, timm's way: the stem, then block by block, or with ``coarse`` stage by stage.

        A change of resolution counts with the block behind it; what no expression matches, the heads, is last.
        """
        stem = r"^(?:stem|downs|embed\.|position)"
        if coarse:
            return {"stem": stem, "blocks": r"^(?:stages|blocks|embeds)\.(\d+)"}
        downs = [(r"^stages\.(\d+)\.down", (0,)), (r"^embeds\.(\d+)", (0,))]
        blocks = [(r"^stages\.(\d+)\.(?:blocks\.)?(\d+)", None), (r"^blocks\.(\d+)", None)]
        return {"stem": stem, "blocks": [*downs, *blocks]}


class ImageClassifier(_Model):
    """An ordinary classifier of images (B, C, H, W) with timm's methods.

    A family writes ``forward_stages`` and, where its tail is not "norm, mean, linear", ``forward_head``.
    ``norm`` is what stands between the last map and the mean.
    """

    norm: nn.Module

    @abstractmethod
    def forward_stages(self, x_BCHW: Tensor) -> list[Tensor]:
        """Return the feature maps (B, C, H, W) that ``feature_info`` lists."""

    def forward_features(self, x_BCHW: Tensor) -> Tensor:
        """Return the last feature map after the final norm, (B, C, H, W)."""
        self._check(x_BCHW, leading=1)
        return self.norm(self.forward_stages(x_BCHW)[-1])

    def forward_head(self, features_BCHW: Tensor, pre_logits: bool = False) -> Tensor:
        """Return logits (B, K), or with ``pre_logits`` the pooled features (B, F)."""
        pooled = features_BCHW.flatten(2).mean(2)
        return pooled if pre_logits else self.head(pooled)

    def forward(self, x_BCHW: Tensor) -> Any:
        """Return logits (B, K), or with ``features_only`` the list of maps (B, C, H, W).

        Raises:
            InvalidArgumentError: not images of the model's channels, or of a size it cannot serve.
        """
        if self.features_only:
            self._check(x_BCHW, leading=1)
            return self.forward_stages(x_BCHW)
        return self.forward_head(self.forward_features(x_BCHW))

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | Sequence[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> Any:
        """Return (last features, chosen maps), timm's way.

        Args:
            x: images (B, C, H, W).
            indices: which maps of ``feature_info``; a number n means the last n, None all.
            norm: apply the final norm to the last map.
            stop_early: accepted for timm's sake; all stages run.
            output_fmt: "NCHW" only.
            intermediates_only: return the maps alone.

        Raises:
            InvalidArgumentError: another format, or an index out of range.
        """
        if output_fmt != "NCHW":
            raise InvalidArgumentError(f"output_fmt={output_fmt!r}: maps are NCHW here.")
        self._check(x, leading=1)
        stages = self.forward_stages(x)
        count = len(stages)
        chosen = (
            range(count) if indices is None else range(count - indices, count) if isinstance(indices, int) else indices
        )
        if any(not -count <= i < count for i in chosen):
            raise InvalidArgumentError(f"indices={indices!r}: the model has {count} feature maps.")
        last = self.norm(stages[-1])
        maps = [last if norm and i % count == count - 1 else stages[i] for i in chosen]
        return maps if intermediates_only else (last, maps)

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Regular expressions that sort parameters into groups for layer-wise decay, timm's way.

        What makes tokens first, then block by block, or stage by stage with ``coarse``; a change of resolution counts
        with the block behind it, the last norm with the block before it. What no expression matches, the heads, is
        last. The groups of an expression are numbers that timm sorts by.
        """
        stem = r"^(?:stem|patch_embed(?:s\.0)?\.|cls_token|\w+_positions)"
        if coarse:
            return {"stem": stem, "blocks": [(r"^(?:stages|blocks|patch_embeds)\.(\d+)", None), _LAST_NORM]}
        blocks = [(r"^patch_embeds\.(\d+)", (0,)), (r"^stages\.(\d+)\.(\d+)", None), (r"^blocks\.(\d+)", None)]
        return {"stem": stem, "blocks": [*blocks, _LAST_NORM]}


_LAST_NORM = (r"^norm(?:_\w+)?\.", (99999,))  # timm's number for "with the group before"

__all__ = ["Feature", "FeatureInfo", "ImageClassifier", "SpikingClassifier", "linear_head"]
