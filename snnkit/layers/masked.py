"""What masked pre-training has in common: which patches are hidden, where they are, what they held, who paints them.

    noise (B, L) → the patches with the smallest noise stay visible, ⌊L·(1 − ratio)⌋ of them; the others are removed
    latents of visible patches → decoder: mask tokens in the gaps, positions, transformer, pixels of every patch
    loss = mean over removed patches of mean((pixels painted − pixels held)²)

with the pixels of a patch normalised to mean 0 and unbiased variance 1 (1e-6 under the root) where that is asked for.
Letters: B images, L patches, K visible ones, P numbers of a patch, C width. Source: He et al., "Masked Autoencoders
Are Scalable Vision Learners", arXiv 2111.06377 and its published code.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from snnkit.errors import InvalidArgumentError
from snnkit.layers.transformer_block import TransformerBlock


class Masking(NamedTuple):
    """Which patches are hidden.

    Attributes:
        visible: numbers of the visible patches by ascending noise, (B, K).
        restore: where each patch stands in the row "visible ones, then removed ones, by ascending noise", (B, L).
        removed: 1 where a patch is hidden, 0 where it is visible, float32, (B, L).
    """

    visible: Tensor
    restore: Tensor
    removed: Tensor


def mask_from_noise(noise_BL: Tensor, ratio: float) -> Masking:
    """Hide the patches with the largest noise.

    Args:
        noise_BL: any numbers; equal ones stay in their order.
        ratio: share of the patches to hide.

    Raises:
        InvalidArgumentError: nothing would be visible, or nothing hidden.
    """
    length = noise_BL.shape[1]
    if not isinstance(ratio, (int, float)) or not 0 < ratio < 1:
        raise InvalidArgumentError(f"mask_ratio={ratio!r}: must be above 0 and below 1.")
    kept = int(length * (1 - ratio))
    if not 0 < kept < length:
        raise InvalidArgumentError(
            f"mask_ratio={ratio!r} leaves {kept} of {length} patches visible: some must be, and not all."
        )
    order_BL = torch.argsort(noise_BL, dim=1, stable=True)
    restore_BL = torch.argsort(order_BL, dim=1)
    return Masking(order_BL[:, :kept], restore_BL, (restore_BL >= kept).float())


def patchify(images_BCHW: Tensor, patch_size: int) -> Tensor:
    """Return the patches row by row, (B, L, P); within a patch the order is row, column, channel.

    Raises:
        InvalidArgumentError: sides that the patch size does not divide.
    """
    height, width = images_BCHW.shape[2:]
    if height % patch_size or width % patch_size:
        raise InvalidArgumentError(f"images of {height}×{width} pixels cannot be cut into patches of {patch_size}.")
    rows, columns = height // patch_size, width // patch_size
    cut = images_BCHW.unflatten(3, (columns, patch_size)).unflatten(2, (rows, patch_size))
    return cut.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)


def unpatchify(patches_BLP: Tensor, grid: tuple[int, int], patch_size: int) -> Tensor:
    """Return the images (B, C, H, W) whose ``patchify`` these patches are, ``grid`` rows and columns of them."""
    cut = patches_BLP.unflatten(2, (patch_size, patch_size, -1)).unflatten(1, grid)
    return cut.permute(0, 5, 1, 3, 2, 4).flatten(4).flatten(2, 3)


def sin_cos_positions(dim: int, rows: int, columns: int) -> Tensor:
    """Return fixed positions (rows·columns, dim), float32: first half by column, second half by row.

    Each half holds sin(p·ωᵢ), then cos(p·ωᵢ) with ωᵢ = 10000^(−4i/dim).

    Raises:
        InvalidArgumentError: ``dim`` that 4 does not divide.
    """
    if dim % 4:
        raise InvalidArgumentError(f"positions of {dim} channels: must be a multiple of 4, two waves for either axis.")
    omega = 10000.0 ** (-torch.arange(dim // 4, dtype=torch.float64) / (dim / 4))
    row, column = torch.meshgrid(torch.arange(rows).double(), torch.arange(columns).double(), indexing="ij")
    halves = [p.flatten().unsqueeze(1) * omega for p in (column, row)]
    return torch.cat([wave(half) for half in halves for wave in (torch.sin, torch.cos)], 1).float()


def reconstruction_loss(
    painted_BLP: Tensor, images_BCHW: Tensor, removed_BL: Tensor, patch_size: int, normalise: bool
) -> Tensor:
    """Return the mean squared error over removed patches.

    Args:
        painted_BLP: the decoder's pixels of every patch, in the order of ``patchify``.
        images_BCHW: what was there.
        removed_BL: 1 where a patch was hidden.
        patch_size: side of a patch in pixels.
        normalise: compare with pixels normalised within each patch.
    """
    held = patchify(images_BCHW, patch_size)
    if normalise:
        mean, deviation = patch_statistics(held)
        held = (held - mean) / deviation
    error_BL = (painted_BLP - held).square().mean(2)
    removed_BL = removed_BL.to(error_BL.dtype)
    return (error_BL * removed_BL).sum() / removed_BL.sum()


def patch_statistics(held_BLP: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and deviation (unbiased, 1e-6 under the root) of the numbers of each patch, (B, L, 1) both."""
    variance, mean = torch.var_mean(held_BLP, dim=2, correction=1, keepdim=True)
    return mean, (variance + 1e-6).sqrt()


class MaskedDecoder(nn.Module):
    """A small ordinary transformer that paints every patch from latents.

    Args:
        in_dim: width of the latents.
        pixels: P, numbers it paints for a patch.
        grid: rows and columns of patches.
        dim, depth, num_heads, qkv_bias: of its transformer.
        mask_token: whether it fills gaps; False where it always gets a latent for every patch.
        prefix_tokens: latents in front that are no patches (a class token); nothing is painted for them.
        mlp_ratio: hidden width of its MLPs.
    """

    positions: Tensor

    def __init__(
        self,
        in_dim: int,
        pixels: int,
        grid: tuple[int, int],
        dim: int,
        depth: int,
        num_heads: int,
        qkv_bias: bool = True,
        mask_token: bool = True,
        prefix_tokens: int = 0,
        mlp_ratio: float = 4.0,
    ):
        super().__init__()
        self.prefix_tokens = prefix_tokens
        self.embed = nn.Linear(in_dim, dim)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, dim)) if mask_token else None
        positions = sin_cos_positions(dim, *grid)
        self.register_buffer("positions", nn.functional.pad(positions, (0, 0, prefix_tokens, 0)), persistent=False)
        self.blocks = nn.ModuleList(TransformerBlock(dim, num_heads, mlp_ratio, qkv_bias) for _ in range(depth))
        self.norm = nn.LayerNorm(dim, 1e-6)
        self.pred = nn.Linear(dim, pixels)
        self.apply(_initialise)
        if self.mask_token is not None:
            nn.init.normal_(self.mask_token, std=0.02)

    def forward(self, latent_BKC: Tensor, restore_BL: Tensor | None = None) -> Tensor:
        """Return the pixels of every patch, (B, L, P).

        Args:
            latent_BKC: latents, after ``prefix_tokens`` others.
            restore_BL: ``Masking.restore``, for latents of the visible patches in its order; None for latents of all
                patches row by row.
        """
        x = self.embed(latent_BKC)
        prefix, x = x[:, : self.prefix_tokens], x[:, self.prefix_tokens :]
        if restore_BL is not None:
            gaps = restore_BL.shape[1] - x.shape[1]
            if gaps and self.mask_token is not None:
                x = torch.cat([x, self.mask_token.expand(len(x), gaps, -1)], 1)
            x = x.gather(1, restore_BL.unsqueeze(2).expand(-1, -1, x.shape[2]))
        x = torch.cat([prefix, x], 1) + self.positions
        for block in self.blocks:
            x = block(x)
        return self.pred(self.norm(x))[:, self.prefix_tokens :]


def _initialise(layer: nn.Module) -> None:
    if isinstance(layer, nn.Linear):
        nn.init.xavier_uniform_(layer.weight)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
