"""What every masked model offers: images and noise in; loss, painted patches and mask out.

``MaskedModel`` is what a task trains, ``MaskedAutoencoder`` one whose encoder sees visible patches alone.
Letters: B images, C channels, H and W pixels, L patches, P numbers of a patch, K visible patches, D width of latents,
N numbers of noise for an image.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor, nn

from snnkit.errors import InvalidArgumentError
from snnkit.layers.masked import (
    MaskedDecoder,
    Masking,
    mask_from_noise,
    patch_statistics,
    patchify,
    reconstruction_loss,
    unpatchify,
)
from snnkit.models.sizes import as_pair, check_sides

DECODER_KEYS = (
    (r"^decoder_(embed|norm|pred)\.", r"decoder.\1."),
    (r"^decoder_blocks\.(\d+)\.attn\.qkv", r"decoder.blocks.\1.attention.qkv"),
    (r"^decoder_blocks\.(\d+)\.attn\.", r"decoder.blocks.\1."),
    (r"^decoder_blocks\.", "decoder.blocks."),
)
"""Substitutions from the published keys of decoders, which all descend from MAE's, to those of ``MaskedDecoder``."""


class MaskedPrediction(NamedTuple):
    """What one masked forward gives.

    Attributes:
        loss: the error over removed patches, ().
        painted: what was painted in every patch (B, L, P), in the order of ``layers.masked.patchify``.
        removed: 1 where a patch was hidden, 0 where it was visible, (B, L).
        latent: what the encoder made, without a class token, (B, K, D): of visible patches, in the order of
            ``visible``; of all places where the encoder sees them all.
        visible: numbers of the patches that ``latent`` belongs to, (B, K); of SimMIM, whose tokens are larger and see
            hidden ones, those of all its tokens.
    """

    loss: Tensor
    painted: Tensor
    removed: Tensor
    latent: Tensor
    visible: Tensor


class MaskedModel(nn.Module):
    """An interface: an encoder, and whatever paints what was hidden from it.

    After pre-training, ``load_weights(classifier, checkpoint, strict=False)`` takes the encoder's weights out of a
    checkpoint of this model, or ``model.encoder`` is used as it is.

    Args:
        in_chans: C.
        img_size: side, or (H, W), of the images in pixels.
        patch_size: side of a patch; divides H and W.
        mask_ratio: share of the patches to hide.
        normalise: whether what is painted is normalised.

    Raises:
        InvalidArgumentError: patches that do not fit (names the sides that would).
    """

    encoder: nn.Module

    def __init__(
        self, in_chans: int, img_size: int | tuple[int, int], patch_size: int, mask_ratio: float, normalise: bool
    ):
        super().__init__()
        self.in_chans, self.img_size = in_chans, as_pair(img_size)
        self.patch_size, self.mask_ratio, self.normalise = patch_size, mask_ratio, normalise
        check_sides("img_size", self.img_size, patch_size, "the patches' side")
        self.grid = self.img_size[0] // patch_size, self.img_size[1] // patch_size

    @property
    @abstractmethod
    def cells(self) -> int:
        """N: how many numbers of noise decide over an image."""

    @abstractmethod
    def forward(self, images_BCHW: Tensor, noise_BN: Tensor | None = None) -> MaskedPrediction:
        """Hide, encode, paint and compare.

        Args:
            images_BCHW: images of the model's size.
            noise_BN: decides what is hidden; drawn uniformly if None.

        Raises:
            InvalidArgumentError: images or noise of another shape.
        """

    @abstractmethod
    def target_statistics(self, images_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Return (mean, deviation) that painted patches (B, L, P) are normalised by, for showing them as pixels."""

    def pictures(self, images_BCHW: Tensor, found: MaskedPrediction) -> tuple[Tensor, Tensor]:
        """Return what the encoder saw, hidden patches zero, and the images with what was painted there: as the images.

        Args:
            images_BCHW: what was given.
            found: what ``forward`` made of them.
        """
        held, removed = patchify(images_BCHW, self.patch_size), found.removed.unsqueeze(2).to(images_BCHW.dtype)
        painted = found.painted.to(images_BCHW.dtype)
        if self.normalise:
            mean, deviation = self.target_statistics(images_BCHW)
            painted = painted * deviation + mean
        seen = unpatchify(held * (1 - removed), self.grid, self.patch_size)
        return seen, unpatchify(held * (1 - removed) + painted * removed, self.grid, self.patch_size)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Keep only the inputs of the encoder's blocks while training; what paints is small."""
        self.encoder.set_grad_checkpointing(enable)

    def noise(self, images_BCHW: Tensor, noise_BN: Tensor | None) -> Tensor:
        """Return the noise that was given, or drawn.

        Raises:
            InvalidArgumentError: images or noise of another shape.
        """
        expected = (self.in_chans, *self.img_size)
        if images_BCHW.ndim != 4 or tuple(images_BCHW.shape[1:]) != expected or not len(images_BCHW):
            raise InvalidArgumentError(
                f"{type(self).__name__} takes images (B, {', '.join(map(str, expected))}), got "
                f"{tuple(images_BCHW.shape)}. Resize them, or create the model with img_size= and in_chans=."
            )
        if noise_BN is None:
            return torch.rand(len(images_BCHW), self.cells, device=images_BCHW.device)
        if tuple(noise_BN.shape) != (len(images_BCHW), self.cells):
            raise InvalidArgumentError(
                f"noise of shape {tuple(noise_BN.shape)}: one number a patch is needed, "
                f"({len(images_BCHW)}, {self.cells})."
            )
        return noise_BN


class MaskedAutoencoder(MaskedModel):
    """An interface: a family sets ``encoder`` and ``decoder`` once and writes ``encode``.

    The patches with the largest noise are hidden. What is painted is compared with pixels that are normalised, with
    ``normalise``, to mean 0 and variance 1 within each patch.

    Args:
        in_chans, img_size, patch_size, mask_ratio, normalise: those of ``MaskedModel``.

    Raises:
        InvalidArgumentError: patches that do not fit, or a ratio that hides none or all of them.
    """

    decoder: MaskedDecoder

    def __init__(
        self, in_chans: int, img_size: int | tuple[int, int], patch_size: int, mask_ratio: float, normalise: bool
    ):
        super().__init__(in_chans, img_size, patch_size, mask_ratio, normalise)
        mask_from_noise(torch.zeros(1, self.cells, device="cpu"), mask_ratio)

    @property
    def cells(self) -> int:
        """L: one number a patch."""
        return self.grid[0] * self.grid[1]

    @abstractmethod
    def encode(self, images_BCHW: Tensor, masking: Masking) -> tuple[Tensor, Tensor | None]:
        """Return latents, and ``masking.restore`` where they are those of the visible patches only.

        ``decoder.prefix_tokens`` of them, such as a class token, stand in front.
        """

    def forward(self, images_BCHW: Tensor, noise_BN: Tensor | None = None) -> MaskedPrediction:
        """Hide patches, encode what is left, paint all, and compare where patches were hidden.

        Args:
            images_BCHW: images of the model's size.
            noise_BN: decides which patches are hidden, those with the largest values; drawn uniformly if None.

        Raises:
            InvalidArgumentError: images or noise of another shape.
        """
        masking = mask_from_noise(self.noise(images_BCHW, noise_BN), self.mask_ratio)
        latent, restore = self.encode(images_BCHW, masking)
        painted_BLP = self.decoder(latent, restore)
        loss = reconstruction_loss(painted_BLP, images_BCHW, masking.removed, self.patch_size, self.normalise)
        latent_BKD = latent[:, self.decoder.prefix_tokens :]
        if latent_BKD.shape[1] != masking.visible.shape[1]:
            latent_BKD = latent_BKD.gather(1, masking.visible.unsqueeze(2).expand(-1, -1, latent_BKD.shape[2]))
        return MaskedPrediction(loss, painted_BLP, masking.removed, latent_BKD, masking.visible)

    def target_statistics(self, images_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and deviation of each patch, (B, L, 1)."""
        return patch_statistics(patchify(images_BCHW, self.patch_size))

    def active(self, masking: Masking, like: Tensor) -> Tensor:
        """Return the mask as a map (B, rows, columns) in the dtype of ``like``: 1 where visible."""
        return (1 - masking.removed).to(like.dtype).unflatten(1, self.grid)

    def no_weight_decay(self) -> set[str]:
        """Names of parameters that must not decay, beyond those with one dimension."""
        return set() if self.decoder.mask_token is None else {"decoder.mask_token"}


def image_size(encoder: nn.Module) -> tuple[int, int]:
    """Return the (height, width) that an encoder was made for, of this project or of timm."""
    size = getattr(encoder, "img_size", None) or getattr(getattr(encoder, "patch_embed", None), "img_size", None)
    return as_pair(224 if size is None else size)
