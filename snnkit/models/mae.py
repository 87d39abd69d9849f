"""Masked autoencoders (MAE) around vision transformers of timm: the encoder sees visible patches alone.

    image → patches + positions → those that stay → blocks → norm → decoder (``layers.masked``) → pixels

Positions are sines and cosines and are not trained; a class token, where the encoder has one, is always kept and is the
decoder's prefix. ``mae:timm:vit_base_patch16_224`` with the defaults is the published ViT-B. Its weights go into
``timm:vit_base_patch16_224`` for fine-tuning.
Letters: B images, L patches, K visible ones, D channels.
Source: He et al., "Masked Autoencoders Are Scalable Vision Learners", arXiv 2111.06377; facebookresearch/mae@efb2a80.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from snnkit.errors import InvalidArgumentError
from snnkit.layers.masked import MaskedDecoder, Masking, sin_cos_positions
from snnkit.layers.recompute import recompute
from snnkit.models.convmae import ConvMAE, ConvViT
from snnkit.models.family import Family, StateDict, renamed
from snnkit.models.masked import DECODER_KEYS, MaskedAutoencoder, image_size
from snnkit.models.registry import register_method
from snnkit.models.sizes import check_positive, check_whole


class MAE(MaskedAutoencoder):
    """A masked autoencoder around a vision transformer of timm without classes.

    Args:
        encoder: its positions become fixed ones.
        in_chans, img_size, mask_ratio, normalise: those of ``MaskedAutoencoder``.
        decoder_dim, decoder_depth, decoder_heads, decoder_mlp_ratio: of the decoder.
    """

    def __init__(
        self,
        encoder: Any,
        in_chans: int,
        img_size: int | tuple[int, int],
        mask_ratio: float,
        normalise: bool,
        decoder_dim: int,
        decoder_depth: int,
        decoder_heads: int,
        decoder_mlp_ratio: float,
    ):
        patch = _patch(encoder)
        super().__init__(in_chans, img_size, patch, mask_ratio, normalise)
        check_whole(decoder_dim=decoder_dim, decoder_depth=decoder_depth, decoder_heads=decoder_heads)
        check_positive(decoder_mlp_ratio=decoder_mlp_ratio)
        self.encoder, width = encoder, encoder.embed_dim
        prefix = encoder.num_prefix_tokens
        positions = sin_cos_positions(width, *self.grid)
        if prefix and not encoder.no_embed_class:
            positions = nn.functional.pad(positions, (0, 0, prefix, 0))
        encoder.pos_embed = nn.Parameter(
            positions.unsqueeze(0).to(encoder.patch_embed.proj.weight.device), requires_grad=False
        )
        self.decoder = MaskedDecoder(
            width,
            in_chans * patch**2,
            self.grid,
            decoder_dim,
            decoder_depth,
            decoder_heads,
            prefix_tokens=prefix,
            mlp_ratio=decoder_mlp_ratio,
        )
        _begin(encoder)

    def encode(self, images_BCHW: Tensor, masking: Masking) -> tuple[Tensor, Tensor | None]:
        """Return the latents of prefix and visible patches, (B, prefix + K, D)."""
        encoder: Any = self.encoder
        x = encoder._pos_embed(encoder.patch_embed(images_BCHW))
        first = encoder.num_prefix_tokens
        visible = masking.visible.unsqueeze(2).expand(-1, -1, x.shape[2])
        x = encoder.norm_pre(torch.cat([x[:, :first], x[:, first:].gather(1, visible)], 1))
        again = encoder.grad_checkpointing and self.training and torch.is_grad_enabled()
        for block in encoder.blocks:
            x = recompute(block, x) if again else block(x)
        # timm's averaging form has its norm behind the mean; here it norms the tokens.
        return encoder.fc_norm(encoder.norm(x)), masking.restore


def _patch(encoder: Any) -> int:
    height, width = encoder.patch_embed.patch_size
    if height != width or encoder.pos_embed is None or encoder.dynamic_img_size:
        raise InvalidArgumentError(
            f"patch_size={height}×{width}: masked autoencoders take transformers with square patches and positions "
            "that are added, of one image size."
        )
    return height


def _begin(encoder: Any) -> None:
    """The published beginning: Xavier's for every linear layer and the patches, which are one."""
    for module in encoder.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    weight = encoder.patch_embed.proj.weight
    bound = math.sqrt(6 / (weight.shape[0] + weight[0].numel()))
    nn.init.uniform_(weight, -bound, bound)
    for token in (encoder.cls_token, encoder.reg_token):
        if token is not None:
            nn.init.normal_(token, std=0.02)


def is_vision_transformer(model: nn.Module) -> bool:
    """Whether a model is timm's plain vision transformer."""
    from timm.models.vision_transformer import VisionTransformer  # a second of its own

    return isinstance(model, VisionTransformer)


def decoder_renamed(state: StateDict) -> dict[str, Tensor]:
    """Rename the decoder's published keys; the others are left."""
    return renamed(state, (*DECODER_KEYS, (r"^mask_token$", "decoder.mask_token")))


def _convert(state: StateDict, model: nn.Module) -> dict[str, Tensor]:
    """Published keys to own ones."""
    if isinstance(model, ConvMAE):
        return model.published(decoder_renamed(state))
    own = decoder_renamed(state)
    return {key if key.startswith("decoder.") else f"encoder.{key}": value for key, value in own.items()}


FAMILY = Family(
    name="mae",
    title="Masked autoencoder (MAE, ConvMAE)",
    kind="ann",
    paper="He et al., Masked Autoencoders Are Scalable Vision Learners, arXiv 2111.06377; Gao et al., ConvMAE, "
    "arXiv 2205.03892",
    source="facebookresearch/mae@efb2a80; Alpha-VL/ConvMAE@4c97b4c",
    tiny={"name": "mae:timm:vit_tiny_patch16_224", "embed_dim": 32, "depth": 1, "num_heads": 2, "img_size": 64},
    marks=(r"^decoder_pred\.weight$", r"^(encoder\.)?patch_embed1?\.proj\.weight$"),
    convert=_convert,
    ignored=(r"^decoder_pos_embed$",),
)


def build(
    encoder: nn.Module,
    in_chans: int = 3,
    img_size: int | tuple[int, int] | None = None,
    mask_ratio: float = 0.75,
    normalise: bool = True,
    decoder_dim: int = 512,
    decoder_depth: int = 8,
    decoder_heads: int = 16,
    decoder_mlp_ratio: float = 4.0,
) -> MaskedAutoencoder:
    """Build the masked autoencoder of an encoder: ConvMAE for ``convvit_…``, else MAE.

    Raises:
        InvalidArgumentError: an encoder that has none (names those that have).
    """
    img_size = image_size(encoder) if img_size is None else img_size
    settings = (in_chans, img_size, mask_ratio, normalise, decoder_dim, decoder_depth, decoder_heads, decoder_mlp_ratio)
    if isinstance(encoder, ConvViT):
        return ConvMAE(encoder, *settings)
    if is_vision_transformer(encoder):
        return MAE(encoder, *settings)
    name = getattr(encoder, "model_name", type(encoder).__name__)
    raise InvalidArgumentError(
        f"mae:{name}: this encoder cannot see visible patches alone. timm:vit_… and convvit_… can; spiking ones are "
        "spikformer_v2_mae_… and e_spikeformer_mae_…; for Swin Transformers take simmim:NAME."
    )


register_method("mae", build, FAMILY)
