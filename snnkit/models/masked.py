"""What every masked autoencoder offers: images and noise in; loss, painted patches and mask out.

Letters: B images, C channels, H and W pixels, L patches, P numbers of a patch, K visible patches, D width of latents.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor, nn

from snnkit.errors import InvalidArgumentError
from snnkit.layers.masked import MaskedDecoder, Masking, mask_from_noise, reconstruction_loss


class MaskedPrediction(NamedTuple):
    """What one masked forward gives.

    Attributes:
        loss: mean squared error over removed patches, ().
        painted: the decoder's pixels of every patch (B, L, P), in the order of ``layers.masked.patchify``.
        removed: 1 where a patch was hidden, 0 where it was visible, (B, L).
    """

    loss: Tensor
    painted: Tensor
    removed: Tensor


class MaskedAutoencoder(nn.Module):
    """An interface: a family sets ``encoder`` and ``decoder`` once and writes ``encode``.

    After pre-training, ``load_weights(classifier, checkpoint, strict=False)`` takes the encoder's weights out of a
    checkpoint of this model, or ``model.encoder`` is used as it is.

    Args:
        in_chans: C.
        img_size: side, or (H, W), of the images in pixels.
        patch_size: side of a patch; divides H and W.
        mask_ratio: share of the patches to hide.
        normalise: whether patches are painted normalised to mean 0 and variance 1.

    Raises:
        InvalidArgumentError: patches that do not fit, or a ratio that hides none or all of them.
    """

    encoder: nn.Module
    decoder: MaskedDecoder

    def __init__(
        self, in_chans: int, img_size: int | tuple[int, int], patch_size: int, mask_ratio: float, normalise: bool
    ):
        super().__init__()
        self.in_chans, self.img_size = in_chans, img_size if isinstance(img_size, tuple) else (img_size, img_size)
        self.patch_size, self.mask_ratio, self.normalise = patch_size, mask_ratio, normalise
        if any(side % patch_size for side in self.img_size):
            raise InvalidArgumentError(f"img_size={img_size!r}: must be a multiple of {patch_size}, the patches' side.")
        self.grid = self.img_size[0] // patch_size, self.img_size[1] // patch_size
        mask_from_noise(torch.zeros(1, self.grid[0] * self.grid[1], device="cpu"), mask_ratio)

    @abstractmethod
    def encode(self, images_BCHW: Tensor, masking: Masking) -> tuple[Tensor, Tensor | None]:
        """Return latents, and ``masking.restore`` where they are those of the visible patches only."""

    def forward(self, images_BCHW: Tensor, noise_BL: Tensor | None = None) -> MaskedPrediction:
        """Hide patches, encode what is left, paint all, and compare where patches were hidden.

        Args:
            images_BCHW: images of the model's size.
            noise_BL: decides which patches are hidden, those with the largest values; drawn uniformly if None.

        Raises:
            InvalidArgumentError: images or noise of another shape.
        """
        self._check(images_BCHW, noise_BL)
        if noise_BL is None:
            noise_BL = torch.rand(len(images_BCHW), self.grid[0] * self.grid[1], device=images_BCHW.device)
        masking = mask_from_noise(noise_BL, self.mask_ratio)
        painted_BLP = self.decoder(*self.encode(images_BCHW, masking))
        loss = reconstruction_loss(painted_BLP, images_BCHW, masking.removed, self.patch_size, self.normalise)
        return MaskedPrediction(loss, painted_BLP, masking.removed)

    def active(self, masking: Masking, like: Tensor) -> Tensor:
        """Return the mask as a map (B, rows, columns) in the dtype of ``like``: 1 where visible."""
        return (1 - masking.removed).to(like.dtype).unflatten(1, self.grid)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Keep only the inputs of the encoder's blocks while training; the decoder is small."""
        self.encoder.set_grad_checkpointing(enable)

    def no_weight_decay(self) -> set[str]:
        """Names of parameters that must not decay, beyond those with one dimension."""
        return set() if self.decoder.mask_token is None else {"decoder.mask_token"}

    def _check(self, images_BCHW: Tensor, noise_BL: Tensor | None) -> None:
        expected = (self.in_chans, *self.img_size)
        if images_BCHW.ndim != 4 or tuple(images_BCHW.shape[1:]) != expected or not len(images_BCHW):
            raise InvalidArgumentError(
                f"{type(self).__name__} takes images (B, {', '.join(map(str, expected))}), got "
                f"{tuple(images_BCHW.shape)}. Resize them, or create the model with img_size= and in_chans=."
            )
        length = self.grid[0] * self.grid[1]
        if noise_BL is not None and tuple(noise_BL.shape) != (len(images_BCHW), length):
            raise InvalidArgumentError(
                f"noise of shape {tuple(noise_BL.shape)}: one number a patch is needed, ({len(images_BCHW)}, {length})."
            )
