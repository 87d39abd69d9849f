"""SimMIM: hidden patches become a mask token, the whole encoder runs, one linear layer paints their pixels.

    image → patch embeddings, those of hidden cells replaced → encoder → 1×1 convolution → pixels (pixel shuffle)
    loss = mean |target − painted| over hidden pixels        (``layers.pixel_targets``)

A cell is ``mask_patch_size`` pixels wide. Encoders: Swin Transformer V2 (``simmim:swinv2_…``), Swin Transformers of
timm (``simmim:timm:swin_…``) and its vision transformers (``simmim:timm:vit_…``). For Swin V2 targets are normalised
by the 47 × 47 pixels around each, as its authors did; for the others they are the pixels. The released vision
transformer has a shared bias of relative positions and layer scales; timm's adds positions instead.
Letters: B images, C channels, N tokens, D width of the last map, h and w places.
Sources: Xie et al., "SimMIM", arXiv 2111.09886 (microsoft/SimMIM@d3e29bc); Liu et al., "Swin Transformer V2", arXiv
2111.09883.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from snnkit.errors import InvalidArgumentError
from snnkit.layers.masked import patchify
from snnkit.layers.pixel_targets import WINDOW, hidden_l1, hide_cells, local_statistics
from snnkit.layers.recompute import recompute
from snnkit.layers.sparse import spread
from snnkit.models.family import Family, StateDict, renamed
from snnkit.models.mae import is_vision_transformer
from snnkit.models.masked import MaskedModel, MaskedPrediction, image_size
from snnkit.models.registry import register_method
from snnkit.models.sizes import as_pair, check_sides
from snnkit.models.swin_v2 import SwinV2


class Inside(ABC):
    """An interface: the two halves of an encoder, between which embeddings are replaced.

    Attributes:
        patch: side of a patch in pixels. stride: of the last map. width: of the embeddings. features: D.
    """

    patch: int
    stride: int
    width: int
    features: int

    def __init__(self, encoder: Any):
        self.encoder = encoder

    @abstractmethod
    def embed(self, images_BCHW: Tensor) -> Tensor:
        """Return embedded patches, row by row, (B, N, width)."""

    @abstractmethod
    def finish(self, x_BNC: Tensor) -> Tensor:
        """Return the last map, (B, D, h, w)."""


class _SwinV2(Inside):
    patch, stride = 4, 32

    def __init__(self, encoder: SwinV2):
        super().__init__(encoder)
        self.width, self.features = encoder.patch_embed.proj.out_channels, encoder.num_features

    def embed(self, images_BCHW: Tensor) -> Tensor:
        return self.encoder.patch_embed(images_BCHW)

    def finish(self, x_BNC: Tensor) -> Tensor:
        return self.encoder.norm(self.encoder.forward_tokens(x_BNC)[-1])


class _TimmSwin(Inside):
    def __init__(self, encoder: Any):
        super().__init__(encoder)
        self.patch = encoder.patch_embed.patch_size[0]
        self.stride = self.patch * 2 ** (len(encoder.layers) - 1)
        self.width, self.features = encoder.patch_embed.proj.out_channels, encoder.num_features
        self.grid = encoder.patch_embed.grid_size

    def embed(self, images_BCHW: Tensor) -> Tensor:
        return self.encoder.patch_embed(images_BCHW).flatten(1, 2)

    def finish(self, x_BNC: Tensor) -> Tensor:
        return self.encoder.norm(self.encoder.layers(x_BNC.unflatten(1, self.grid))).permute(0, 3, 1, 2)


class _TimmViT(Inside):
    def __init__(self, encoder: Any):
        super().__init__(encoder)
        self.patch = self.stride = encoder.patch_embed.patch_size[0]
        self.width = self.features = encoder.embed_dim
        self.grid = encoder.patch_embed.grid_size

    def embed(self, images_BCHW: Tensor) -> Tensor:
        return self.encoder.patch_embed(images_BCHW)

    def finish(self, x_BNC: Tensor) -> Tensor:
        encoder = self.encoder
        x = encoder.norm_pre(encoder._pos_embed(x_BNC))
        again = encoder.grad_checkpointing and encoder.training and torch.is_grad_enabled()
        for block in encoder.blocks:
            x = recompute(block, x) if again else block(x)
        return encoder.norm(x)[:, encoder.num_prefix_tokens :].transpose(1, 2).unflatten(2, self.grid)


def _inside(encoder: nn.Module) -> Inside:
    """Return the halves of an encoder.

    Raises:
        InvalidArgumentError: one without embeddings to replace (names those that have).
    """
    if isinstance(encoder, SwinV2):
        return _SwinV2(encoder)
    if is_vision_transformer(encoder):
        return _TimmViT(encoder)
    if _is_timm_swin(encoder):
        return _TimmSwin(encoder)
    name = getattr(encoder, "model_name", type(encoder).__name__)
    raise InvalidArgumentError(
        f"simmim:{name}: this encoder has no patch embeddings that could be replaced; swinv2_…, timm:swin_… and "
        "timm:vit_… have. mae:NAME trains convvit_… too."
    )


def _is_timm_swin(model: nn.Module) -> bool:
    from timm.models.swin_transformer import SwinTransformer  # a second of its own
    from timm.models.swin_transformer_v2 import SwinTransformerV2

    return isinstance(model, (SwinTransformer, SwinTransformerV2))


class SimMIM(MaskedModel):
    """SimMIM around an encoder.

    Args:
        encoder: one of those named above, without classes.
        in_chans, img_size, mask_ratio, normalise: those of ``MaskedModel``.
        mask_patch_size: side of a cell in pixels, a multiple of a patch's.
        norm_window: side of the window that targets are normalised in, with ``normalise``.

    Raises:
        InvalidArgumentError: cells or strides that do not divide the images (names sides that would do), or patches
            that do not divide the cells.
    """

    def __init__(
        self,
        encoder: nn.Module,
        in_chans: int,
        img_size: int | tuple[int, int],
        mask_ratio: float,
        mask_patch_size: int,
        normalise: bool,
        norm_window: int,
    ):
        inside = _inside(encoder)
        super().__init__(in_chans, img_size, inside.patch, mask_ratio, normalise)
        if not isinstance(mask_patch_size, int) or mask_patch_size < 1 or mask_patch_size % inside.patch:
            raise InvalidArgumentError(
                f"mask_patch_size={mask_patch_size!r}: must be a multiple of {inside.patch}, the patches' side."
            )
        check_sides("img_size", img_size, math.lcm(mask_patch_size, inside.stride), "cells and the stride together")
        local_statistics(torch.zeros(1, 1, 3, 3), norm_window)
        self.mask_patch_size, self.norm_window = mask_patch_size, norm_window
        height, width = as_pair(img_size)
        self.cell_grid = height // mask_patch_size, width // mask_patch_size
        hide_cells(torch.zeros(1, self.cells), mask_ratio)
        self.encoder, self._inside = encoder, (inside,)  # in a tuple: no module of its own
        self.mask_token = nn.Parameter(torch.zeros(1, 1, inside.width))
        nn.init.trunc_normal_(self.mask_token, std=0.02)
        self.decoder = nn.Sequential(
            nn.Conv2d(inside.features, inside.stride**2 * in_chans, 1), nn.PixelShuffle(inside.stride)
        )

    @property
    def cells(self) -> int:
        """N: one number a cell."""
        return self.cell_grid[0] * self.cell_grid[1]

    def forward(self, images_BCHW: Tensor, noise_BN: Tensor | None = None) -> MaskedPrediction:
        """Hide cells, encode all tokens, paint, and compare where cells were hidden.

        Args:
            images_BCHW: images of the model's size.
            noise_BN: decides which cells are hidden, those with the smallest values; drawn uniformly if None.

        Raises:
            InvalidArgumentError: images or noise of another shape.
        """
        cells = hide_cells(self.noise(images_BCHW, noise_BN), self.mask_ratio).unflatten(1, self.cell_grid)
        return self.paint(images_BCHW, spread(cells, *self.grid))

    def paint(self, images_BCHW: Tensor, hidden_Bhw: Tensor) -> MaskedPrediction:
        """Encode, paint and compare with the patches that are 1 in ``hidden_Bhw`` hidden.

        Args:
            images_BCHW: images of the model's size.
            hidden_Bhw: 1 or 0 for every patch.
        """
        inside = self._inside[0]
        x = inside.embed(images_BCHW)
        hidden = hidden_Bhw.flatten(1).unsqueeze(2).to(x.dtype)
        latent = inside.finish(x * (1 - hidden) + self.mask_token * hidden)
        painted = self.decoder(latent)
        target = self.target(images_BCHW)
        removed = hidden_Bhw.flatten(1).float()
        loss = hidden_l1(painted, target, spread(hidden_Bhw, *images_BCHW.shape[2:]).unsqueeze(1))
        tokens = latent.flatten(2).transpose(1, 2)
        places = torch.arange(tokens.shape[1], device=tokens.device).expand(len(tokens), -1)
        return MaskedPrediction(loss, patchify(painted, self.patch_size), removed, tokens, places)

    def target(self, images_BCHW: Tensor) -> Tensor:
        """Return what is to be painted, shaped as the images."""
        if not self.normalise:
            return images_BCHW
        mean, deviation = local_statistics(images_BCHW, self.norm_window)
        return (images_BCHW - mean) / deviation

    def target_statistics(self, images_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and deviation of the window around each pixel, cut into patches (B, L, P)."""
        mean, deviation = local_statistics(images_BCHW, self.norm_window)
        return patchify(mean, self.patch_size), patchify(deviation, self.patch_size)

    def no_weight_decay(self) -> set[str]:
        """The encoder's, and the mask token."""
        inner = self.encoder.no_weight_decay() if hasattr(self.encoder, "no_weight_decay") else ()
        return {"mask_token", *(f"encoder.{name}" for name in inner)}


def _convert(state: StateDict, model: nn.Module) -> dict[str, Tensor]:
    """Published keys to own ones."""
    from snnkit.models.swin_v2 import FAMILY as SWIN_V2

    inside = {key.removeprefix("encoder."): value for key, value in state.items() if key.startswith("encoder.")}
    own = {key: value for key, value in state.items() if key.startswith("decoder.")}
    own["mask_token"] = inside.pop("mask_token")
    encoder: Any = model.encoder
    if isinstance(encoder, SwinV2) and SWIN_V2.convert is not None:
        inside = SWIN_V2.convert(inside, encoder)
    elif _is_timm_swin(encoder):
        # The authors merge at the end of a stage, timm at the beginning of the next.
        later = [(rf"^layers\.{i}\.downsample\.", f"layers.{i + 1}.downsample.") for i in range(8, -1, -1)]
        inside = renamed(inside, later)
    return own | {f"encoder.{key}": value for key, value in inside.items()}


FAMILY = Family(
    name="simmim",
    title="SimMIM",
    kind="ann",
    paper="Xie et al., SimMIM: A Simple Framework for Masked Image Modeling, arXiv 2111.09886",
    source="microsoft/SimMIM@d3e29bc; microsoft/Swin-Transformer@f82860b (models/simmim.py)",
    tiny={"name": "simmim:swinv2_tiny_window8_256", "img_size": 64, "embed_dim": 8, "num_heads": (1, 2, 2, 4)},
    marks=(r"^encoder\.mask_token$", r"^decoder\.0\.weight$"),
    convert=_convert,
    ignored=(r"\.relative_position_index$", r"\.relative_coords_table$", r"\.attn_mask$"),
)


def build(
    encoder: nn.Module,
    in_chans: int = 3,
    img_size: int | tuple[int, int] | None = None,
    mask_ratio: float = 0.6,
    mask_patch_size: int = 32,
    normalise: bool | None = None,
    norm_window: int = WINDOW,
) -> SimMIM:
    """Build SimMIM around an encoder; left None, ``normalise`` is as its authors had it: for Swin V2 only.

    Raises:
        InvalidArgumentError: an encoder without patch embeddings, or sizes that do not fit.
    """
    inside = _inside(encoder)
    img_size = image_size(encoder) if img_size is None else img_size
    normalise = isinstance(inside, _SwinV2) if normalise is None else normalise
    return SimMIM(encoder, in_chans, img_size, mask_ratio, mask_patch_size, normalise, norm_window)


register_method("simmim", build, FAMILY)
