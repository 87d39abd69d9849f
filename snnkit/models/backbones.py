"""Any image model as a backbone: a few maps, fine to coarse, of images of any size.

    maps       of a model made with ``features_only``, one for each of the last ``levels`` of its feature_info
    one map    where all of a model's maps have one stride (plain vision transformers, LookupViT), a pyramid of strides
               4, 8, 16, 32 is made of the last one (``layers.simple_pyramid``), unless one level is asked for
    sizes      where a model reads multiples of some size only (its ``size_unit``), images are filled up with zeros at
               bottom and right, and what the maps show of that is cut off again: ⌈H / stride⌉ × ⌈W / stride⌉ are left;
               other models see images as they are, and a map has the size that they give it, at most that

Maps of ordinary models are (B, C, H, W), those of spiking ones (T, B, C, H, W).
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from snnkit.errors import InvalidArgumentError, unknown_name
from snnkit.layers.simple_pyramid import SimplePyramid
from snnkit.models.classifier import ImageClassifier, SpikingClassifier
from snnkit.models.sizes import check_whole
from snnkit.neurons import LIF, Neuron

NEURONS = ("lif", "backbone")
"""What the neurons of neck and head can be: ``LIF`` as it is by default, or what the backbone has most of."""

_STRIDES = (4, 8, 16, 32)  # of a pyramid that is made
# What stands behind the maps of a classifier: it keeps its weights, and learns nothing here.
_BEHIND = ("norm", "norm_lookup", "norm_cls", "head_norm", "head", "head_lookup", "head_cls", "aux_head", "fc1", "fc2")


class Backbone(nn.Module):
    """Images (B, C, H, W), or sequences (T, B, C, H, W) for spiking models, → maps.

    Args:
        encoder: made with ``features_only``; of this package or timm's.
        levels: how many of its maps are given, the coarsest.
        finest: smallest stride of a map that is given.

    Attributes:
        spiking: whether maps are sequences.
        channels, strides: of the maps.
        timesteps: T for still images; None for ordinary models.
        pyramid: what makes them of one; None where the encoder has them.

    Raises:
        InvalidArgumentError: a model without feature maps of images, or none of a stride from ``finest`` on.
    """

    def __init__(self, encoder: nn.Module, levels: int = 4, finest: int = 4):
        super().__init__()
        check_whole(levels=levels, finest=finest)
        self.encoder, self.spiking = encoder, isinstance(encoder, SpikingClassifier)
        strides, channels = self._listed()
        # A map whose size is set, whatever the image's, belongs in no pyramid.
        listed = getattr(encoder, "dense_maps", range(len(strides)))
        single = len({strides[i] for i in listed}) == 1 and levels > 1 and not self.spiking
        if single:
            listed = listed[-1:]
            offered: Sequence[int] = _STRIDES
        else:
            offered = [strides[i] for i in listed]
        kept = [i for i, stride in enumerate(offered) if stride >= finest][-levels:]
        if not kept:
            shown = ", ".join(map(str, dict.fromkeys(offered)))
            raise InvalidArgumentError(
                f"finest={finest}: {self._name} gives maps of strides {shown}; none is that coarse."
            )
        self.strides = tuple(offered[i] for i in kept)
        self.pyramid = SimplePyramid(channels[listed[0]], strides[listed[0]], self.strides) if single else None
        self._kept = tuple(listed) if single else tuple(listed[i] for i in kept)
        self.channels = self.pyramid.channels if self.pyramid else tuple(channels[i] for i in self._kept)
        self._channels_last = str(getattr(encoder, "output_fmt", "NCHW")).endswith("NHWC")
        self._unit = _size_unit(encoder)
        if isinstance(encoder, (SpikingClassifier, ImageClassifier)):
            for name in _BEHIND:
                if (part := getattr(encoder, name, None)) is not None:
                    part.requires_grad_(False)

    @property
    def _name(self) -> str:
        return str(getattr(self.encoder, "model_name", type(self.encoder).__name__))

    def _listed(self) -> tuple[list[int], list[int]]:
        """Strides and channels of the encoder's maps."""
        encoder: Any = self.encoder
        info = getattr(encoder, "feature_info", None)
        own = isinstance(encoder, (SpikingClassifier, ImageClassifier))
        if info is None or not hasattr(info, "reduction") or (own and not encoder.features_only):
            raise InvalidArgumentError(
                f"{self._name} lists no feature maps; take a model that create_model makes with features_only=True."
            )
        if getattr(encoder, "num_frames", 0):
            raise InvalidArgumentError(f"{self._name} reads clips; a backbone takes models of images.")
        return list(info.reduction()), list(info.channels())

    @property
    def timesteps(self) -> int | None:
        """T for still images; None for ordinary models."""
        return self.encoder.timesteps if self.spiking else None  # type: ignore[return-value]

    def neuron(self, kind: str) -> Callable[[], nn.Module]:
        """Return what makes the neurons of neck and head.

        Args:
            kind: one of ``NEURONS``. Maps of a backbone whose neurons take smaller currents leave ``LIF`` nearly
                silent in few time steps.

        Raises:
            UnknownNameError: another kind.
            InvalidArgumentError: "backbone", and there are none, or those there are hold constants by channel.
        """
        if kind not in NEURONS:
            raise unknown_name("neurons of neck and head", kind, NEURONS)
        if kind == "lif":
            return LIF
        found = [part for part in self.encoder.modules() if isinstance(part, Neuron)]
        if not found:
            raise InvalidArgumentError(f"neurons='backbone': {self._name} has none; leave it at 'lif'.")
        most = Counter(map(str, found)).most_common(1)[0][0]
        example = next(part for part in found if str(part) == most)
        if any(value.numel() > 1 for value in example.state_dict().values()):
            raise InvalidArgumentError(
                f"neurons='backbone': {most} of {self._name} has constants by channel, which fit no other layer; leave "
                "it at 'lif'."
            )
        return partial(copy.deepcopy, example)

    @property
    def in_chans(self) -> int:
        """Channels of the images."""
        known = getattr(self.encoder, "in_chans", None)
        if known is None:  # timm's: of the first convolution
            known = next(m for m in self.encoder.modules() if isinstance(m, nn.Conv2d)).in_channels
        return int(known)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the maps, fine to coarse."""
        height, width = x.shape[-2:]
        made = self._made(self._filled(x))
        maps = [made[i] for i in self._kept]
        if self._channels_last:
            maps = [y.permute(0, 3, 1, 2) for y in maps]
        if self.pyramid is not None:
            maps = self.pyramid(maps[0])
        return [_cut(y, -(-height // s), -(-width // s)) for y, s in zip(maps, self.strides, strict=True)]

    def _made(self, x: Tensor) -> Any:
        """Return the encoder's maps; timm's models of one size say no by an assertion."""
        if isinstance(self.encoder, (SpikingClassifier, ImageClassifier)):
            return self.encoder(x)
        try:
            return self.encoder(x)
        except AssertionError as error:
            raise InvalidArgumentError(
                f"{self._name} does not read images of {x.shape[-2]}×{x.shape[-1]} ({str(error).rstrip('.')}); change "
                "data.img_size, or make the model for that size (model.sizes.img_size)."
            ) from None

    def _filled(self, x: Tensor) -> Tensor:
        """Fill up to multiples of what the encoder reads."""
        below, right = (-size % unit for size, unit in zip(x.shape[-2:], self._unit, strict=True))
        return F.pad(x, (0, right, 0, below)) if below or right else x

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Keep only the inputs of the encoder's blocks while training and compute them again in the backward.

        Raises:
            InvalidArgumentError: the encoder has no blocks.
        """
        encoder = self._network
        if not hasattr(encoder, "set_grad_checkpointing"):
            raise InvalidArgumentError(
                f"runtime.grad_checkpointing: {self._name} has no blocks that it could keep the inputs of; set it to "
                "false."
            )
        encoder.set_grad_checkpointing(enable)

    def no_weight_decay(self) -> set[str]:
        """The encoder's own."""
        encoder = self._network
        own = encoder.no_weight_decay() if hasattr(encoder, "no_weight_decay") else ()
        prefix = "encoder." if encoder is self.encoder else "encoder.model."
        return {prefix + name for name in own}

    @property
    def _network(self) -> Any:
        """The encoder, or what timm's reads maps of while it runs."""
        inner = getattr(self.encoder, "model", None)
        return inner if isinstance(inner, nn.Module) and not hasattr(self.encoder, "no_weight_decay") else self.encoder


def _size_unit(encoder: nn.Module) -> tuple[int, int]:
    """Height and width in pixels whose multiples the encoder reads."""
    own: tuple[int, int] | None = getattr(encoder, "size_unit", None)
    if own is not None:
        return own
    for part in encoder.modules():  # timm's patches are of one size; its convolutions read any
        if getattr(part, "dynamic_img_pad", None) is False:
            height, width = part.patch_size  # type: ignore[misc]
            return int(height), int(width)
    return 1, 1


def _cut(x: Tensor, height: int, width: int) -> Tensor:
    return x[..., :height, :width] if x.shape[-2] > height or x.shape[-1] > width else x


class OnBackbone(nn.Module):
    """What networks on a backbone have in common, to derive from once.

    Args:
        backbone: whose maps are read.

    Attributes:
        timesteps: T for still images; a network on an ordinary backbone has no such attribute.
    """

    def __init__(self, backbone: Backbone):
        super().__init__()
        self.backbone = backbone
        if backbone.timesteps is not None:
            self.timesteps = backbone.timesteps

    @property
    def in_chans(self) -> int:
        """Channels of the images."""
        return self.backbone.in_chans

    @property
    def encoder(self) -> nn.Module | None:
        """What makes time steps of still images, the backbone's; None for an ordinary one."""
        return getattr(self.backbone.encoder, "encoder", None) if self.backbone.spiking else None

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Keep only the inputs of the backbone's blocks while training and compute them again in the backward."""
        self.backbone.set_grad_checkpointing(enable)

    def no_weight_decay(self) -> set[str]:
        """The backbone's own."""
        return {f"backbone.{name}" for name in self.backbone.no_weight_decay()}
