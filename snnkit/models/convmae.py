"""ConvMAE: convolutions, then transformer blocks; masked, the convolutions carry nothing between hidden and visible.

    image → 4×4 patches → ConvBlocks → 2×2 → ConvBlocks → 2×2, linear, + positions → transformer blocks → norm → linear
    ConvBlock   x + W₂(D₅ₓ₅(m · W₁(LN x)));  x + MLP(LN x)        m: 1, or 0 where hidden;  D: depthwise

``ConvViT`` is the classifier, ``ConvMAE`` its masked autoencoder: the mask is drawn on the last grid and spread over
the finer ones, the blocks run on visible tokens, and the maps of the first two stages are merged into theirs by strided
convolutions before the norm (multi-scale fusion).
Letters: B images, C channels, L patches of the last stage, K visible ones.
Source: Gao et al., "ConvMAE: Masked Convolution Meets Masked Autoencoders", arXiv 2205.03892; Alpha-VL/ConvMAE@4c97b4c.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from snnkit.errors import InvalidArgumentError
from snnkit.layers.channel_norm import ChannelLayerNorm
from snnkit.layers.drop_path import DropPath, rates
from snnkit.layers.masked import MaskedDecoder, Masking, sin_cos_positions
from snnkit.layers.sparse import spread
from snnkit.layers.transformer_block import TransformerBlock
from snnkit.models.classifier import Feature, FeatureInfo, ImageClassifier, linear_head
from snnkit.models.family import Family, Published, StateDict, renamed
from snnkit.models.masked import MaskedAutoencoder
from snnkit.models.registry import register_variant
from snnkit.models.sizes import as_pair, check_divides, check_positive, check_sides, check_whole, whole_numbers

STRIDE = 16
_STRIDES = (4, 2, 2)


class _PatchEmbed(nn.Module):
    """A convolution that does not overlap, norm, GELU; the last one ends in a linear layer: maps in and out."""

    def __init__(self, channels: int, dim: int, stride: int, linear: bool):
        super().__init__()
        self.proj = nn.Conv2d(channels, dim, stride, stride)
        self.norm = ChannelLayerNorm(dim)
        self.linear = nn.Conv2d(dim, dim, 1) if linear else nn.Identity()

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return self.linear(F.gelu(self.norm(self.proj(x_BCHW))))


class ConvBlock(nn.Module):
    """A depthwise 5×5 convolution between two 1×1 ones, and an MLP, each behind a norm and added: maps in and out."""

    def __init__(self, dim: int, mlp_ratio: float, drop: float):
        super().__init__()
        hidden = int(dim * mlp_ratio)
        self.norm1, self.norm2 = ChannelLayerNorm(dim), ChannelLayerNorm(dim)
        self.conv1, self.conv2 = nn.Conv2d(dim, dim, 1), nn.Conv2d(dim, dim, 1)
        self.depthwise = nn.Conv2d(dim, dim, 5, padding=2, groups=dim)
        self.fc1, self.fc2 = nn.Conv2d(dim, hidden, 1), nn.Conv2d(hidden, dim, 1)
        self.drop_path = DropPath(drop)

    def forward(self, x_BCHW: Tensor, visible_B1HW: Tensor | None = None) -> Tensor:
        """Mix neighbours, with a mask visible ones only, then the channels of each place."""
        inner = self.conv1(self.norm1(x_BCHW))
        if visible_B1HW is not None:
            inner = inner * visible_B1HW
        x = x_BCHW + self.drop_path(self.conv2(self.depthwise(inner)))
        return x + self.drop_path(self.fc2(F.gelu(self.fc1(self.norm2(x)))))


class ConvViT(ImageClassifier):
    """The network of the module's first lines.

    Args:
        num_classes: K; 0 for no head.
        in_chans: channels of the images.
        img_size: side of the images in pixels, or (height, width): multiples of 16; with ``features_only`` others of
            these work too, for which positions are resized bicubically.
        drop_path_rate: stochastic depth of the last block, growing from 0 over all.
        features_only: return the maps at strides 4, 8, 16.
        embed_dim, depths: channels and blocks of the three stages; the last number of channels is a multiple of 4.
        num_heads: attention heads; divides the last number of channels.
        mlp_ratio: hidden width of the MLPs, one number or one per stage.
        class_token: whether the transformer blocks have one, which the mean before the head leaves out.

    Raises:
        InvalidArgumentError: sizes that do not fit; names image sizes that would.
    """

    def __init__(
        self,
        num_classes: int,
        in_chans: int,
        img_size: int | tuple[int, int],
        drop_path_rate: float,
        features_only: bool,
        embed_dim: Sequence[int],
        depths: Sequence[int],
        num_heads: int,
        mlp_ratio: float | Sequence[float],
        class_token: bool,
    ):
        super().__init__()
        dims, depths = whole_numbers("embed_dim", embed_dim, 3), whole_numbers("depths", depths, 3)
        check_whole(num_heads=num_heads)
        ratios = tuple(mlp_ratio) if isinstance(mlp_ratio, (tuple, list)) else (mlp_ratio,) * 3
        for ratio in ratios if len(ratios) == 3 else (mlp_ratio,):
            check_positive(mlp_ratio=ratio)
        check_divides("embed_dim", dims[2], num_heads, "num_heads, in the last stage")
        if not features_only:
            check_sides("img_size", img_size, STRIDE, "the stride of the last stage")
        self.in_chans, self.img_size, self.num_classes = in_chans, img_size, num_classes
        self.features_only, self.num_features = features_only, dims[2]
        drops = rates(drop_path_rate, sum(depths))
        self.patch_embeds, self.stages = nn.ModuleList(), nn.ModuleList()
        for i, (channels, dim) in enumerate(zip((in_chans, *dims[:2]), dims, strict=True)):
            self.patch_embeds.append(_PatchEmbed(channels, dim, _STRIDES[i], linear=i == 2))
            own = drops[sum(depths[:i]) : sum(depths[: i + 1])]
            self.stages.append(
                nn.ModuleList(
                    ConvBlock(dim, ratios[i], drop)
                    if i < 2
                    else TransformerBlock(dim, num_heads, ratios[i], drop_path=drop)
                    for drop in own
                )
            )
        self.grid = -(-as_pair(img_size)[0] // STRIDE), -(-as_pair(img_size)[1] // STRIDE)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dims[2])) if class_token else None
        self.token_positions = nn.Parameter(sin_cos_positions(dims[2], *self.grid).unsqueeze(0))
        self.norm = ChannelLayerNorm(dims[2], eps=1e-6)
        self.head = linear_head(dims[2], num_classes)
        made = (f"stages.0.{depths[0] - 1}", f"stages.1.{depths[1] - 1}", f"stages.2.{depths[2] - 1}")
        self.feature_info = FeatureInfo(map(Feature, dims, (4, 8, 16), made))
        self._begin()

    def _begin(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear) and module is not self.head:
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        if self.cls_token is not None:
            nn.init.normal_(self.cls_token, std=0.02)

    @property
    def prefix(self) -> int:
        """Tokens in front that are no patches: 1 with a class token, else 0."""
        return 0 if self.cls_token is None else 1

    def forward_convolutions(self, x_BCHW: Tensor, active_Bhw: Tensor | None = None) -> list[Tensor]:
        """Return the maps of the first two stages and the embedded patches of the third, with a mask or without.

        Args:
            x_BCHW: images.
            active_Bhw: 1 where visible, 0 where hidden, on the grid of the last stage.
        """
        maps = []
        for embed, blocks in zip(self.patch_embeds[:2], self.stages[:2], strict=True):
            x_BCHW = embed(x_BCHW)
            visible = () if active_Bhw is None else (spread(active_Bhw, *x_BCHW.shape[2:]).unsqueeze(1),)
            for block in blocks:
                x_BCHW = self._block(block, x_BCHW, *visible)
            maps.append(x_BCHW)
        return [*maps, self.patch_embeds[2](x_BCHW)]

    def forward_blocks(self, patches_BKC: Tensor) -> Tensor:
        """Return what the transformer blocks make of patches with their positions, the class token in front."""
        x = patches_BKC
        if self.cls_token is not None:
            x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], 1)
        return self._blocks(self.stages[2], x)

    @property
    def size_unit(self) -> tuple[int, int]:
        """Sides that ``features_only`` reads are multiples of these, in pixels."""
        return STRIDE, STRIDE

    def forward_stages(self, x_BCHW: Tensor) -> list[Tensor]:
        """Return the maps of the three stages, at strides 4, 8, 16.

        Raises:
            InvalidArgumentError: images of another size than ``img_size``; with ``features_only``, of a side that 16
                does not divide.
        """
        if self.features_only:
            check_sides("height or width", (x_BCHW.shape[2], x_BCHW.shape[3]), STRIDE, "the stride of the last stage")
        elif tuple(x_BCHW.shape[2:]) != as_pair(self.img_size):
            raise InvalidArgumentError(
                f"images are {tuple(x_BCHW.shape[2:])}, this model serves {as_pair(self.img_size)}: resize them, or "
                "create the model with img_size=."
            )
        first, second, patches = self.forward_convolutions(x_BCHW)
        grid = (patches.shape[2], patches.shape[3])
        tokens = self.forward_blocks(patches.flatten(2).transpose(1, 2) + self._positions(grid))
        return [first, second, tokens[:, self.prefix :].transpose(1, 2).unflatten(2, grid)]

    def _positions(self, grid: tuple[int, int]) -> Tensor:
        """(1, L, C) for patches in rows and columns."""
        if grid == self.grid:
            return self.token_positions
        stored = self.token_positions.transpose(1, 2).unflatten(2, self.grid)
        return F.interpolate(stored, grid, mode="bicubic", align_corners=False).flatten(2).transpose(1, 2)


class ConvMAE(MaskedAutoencoder):
    """The masked autoencoder of a ``ConvViT`` without classes.

    Args:
        encoder: its positions are not trained here.
        in_chans, img_size, mask_ratio, normalise: those of ``MaskedAutoencoder``; patches are 16 pixels wide.
        decoder_dim, decoder_depth, decoder_heads, decoder_mlp_ratio: of the decoder.
    """

    def __init__(
        self,
        encoder: ConvViT,
        in_chans: int,
        img_size: int | tuple[int, int],
        mask_ratio: float,
        normalise: bool,
        decoder_dim: int,
        decoder_depth: int,
        decoder_heads: int,
        decoder_mlp_ratio: float,
    ):
        super().__init__(in_chans, img_size, STRIDE, mask_ratio, normalise)
        check_whole(decoder_dim=decoder_dim, decoder_depth=decoder_depth, decoder_heads=decoder_heads)
        check_positive(decoder_mlp_ratio=decoder_mlp_ratio)
        self.encoder = encoder
        encoder.token_positions.requires_grad_(False)
        first, second, width = encoder.feature_info.channels()
        self.fuse = nn.ModuleList([nn.Conv2d(first, width, 4, 4), nn.Conv2d(second, width, 2, 2)])
        self.decoder = MaskedDecoder(
            width,
            in_chans * STRIDE**2,
            self.grid,
            decoder_dim,
            decoder_depth,
            decoder_heads,
            prefix_tokens=encoder.prefix,
            mlp_ratio=decoder_mlp_ratio,
        )

    def encode(self, images_BCHW: Tensor, masking: Masking) -> tuple[Tensor, Tensor | None]:
        """Return the fused and normed latents of the visible patches, (B, K, C), the class token in front."""
        first, second, patches = self.encoder.forward_convolutions(images_BCHW, self.active(masking, images_BCHW))

        def at_visible(tokens_BLC: Tensor) -> Tensor:
            return tokens_BLC.gather(1, masking.visible.unsqueeze(2).expand(-1, -1, tokens_BLC.shape[2]))

        tokens = patches.flatten(2).transpose(1, 2) + self.encoder.token_positions
        x = self.encoder.forward_blocks(at_visible(tokens))
        fused = self.fuse[0](first) + self.fuse[1](second)
        fused = at_visible(fused.flatten(2).transpose(1, 2))
        x = torch.cat([x[:, : self.encoder.prefix], x[:, self.encoder.prefix :] + fused], 1)
        return self.encoder.norm(x.transpose(1, 2)).transpose(1, 2), masking.restore

    @staticmethod
    def published(state: StateDict) -> dict[str, Tensor]:
        """Return own keys for published ones, those of the decoder being own ones already."""
        rest = {key: value for key, value in state.items() if not key.startswith("decoder.")}
        fuse = [(rf"^stage{i + 1}_output_decode\.", f"fuse.{i}.") for i in range(2)]
        own = {key: value for key, value in renamed(rest, fuse).items() if key.startswith("fuse.")}
        encoder = {key: value for key, value in rest.items() if not re.match(r"stage\d_output_decode", key)}
        own |= {f"encoder.{key}": value for key, value in _convert(encoder).items()}
        return own | {key: value for key, value in state.items() if key.startswith("decoder.")}


_ENCODER = (
    (r"^patch_embed([123])\.", lambda m: f"patch_embeds.{int(m[1]) - 1}."),
    (r"^patch_embed4\.", "patch_embeds.2.linear."),
    (r"^blocks([123])\.", lambda m: f"stages.{int(m[1]) - 1}."),
    (r"^(stages\.[01]\.\d+)\.attn\.", r"\1.depthwise."),
    (r"^(stages\.[01]\.\d+)\.mlp\.", r"\1."),
    (r"^(stages\.2\.\d+)\.attn\.qkv\.", r"\1.attention.qkv."),
    (r"^(stages\.2\.\d+)\.attn\.proj\.", r"\1.proj."),
    (r"^pos_embed$", "token_positions"),
    (r"^fc_norm\.", "norm."),
)


def _convert(state: StateDict, model: nn.Module | None = None) -> dict[str, Tensor]:
    """Published keys to own ones; the linear layer behind the last patches is a 1×1 convolution here."""
    own = renamed(state, _ENCODER)
    key = "patch_embeds.2.linear.weight"
    if key in own and own[key].ndim == 2:
        own[key] = own[key][:, :, None, None]
    return own


FAMILY = Family(
    name="convmae",
    title="ConvMAE's encoder (ConvViT)",
    kind="ann",
    paper="Gao et al., ConvMAE: Masked Convolution Meets Masked Autoencoders, arXiv 2205.03892",
    source="Alpha-VL/ConvMAE@4c97b4c, models_convmae.py, vision_transformer.py",
    tiny={
        "name": "convvit_base",
        "embed_dim": (4, 8, 16),
        "depths": (1, 1, 2),
        "num_heads": 4,
        "mlp_ratio": 2.0,
        "img_size": 64,
        "in_chans": 2,
        "num_classes": 4,
    },
    published=(Published("convvit_base", 85.0, 88, note="after 1600 epochs of masked pre-training"),),
    checkpoints=("the authors' .pth under 'model', of ConvMAE and of its fine-tuned classifiers",),
    unconfirmed=(
        "the classifier's tail: norm, mean, linear; the authors' fine-tuning norms the mean",
        "the class token of version 2: where it stands and that the mean leaves it out",
    ),
    marks=(r"^patch_embed4\.weight$", r"^blocks1\.0\.conv1\.weight$"),
    convert=_convert,
    ignored=(r"^(decoder|mask_token|stage\d_output_decode)",),
)


def _build(
    num_classes: int = 1000,
    in_chans: int = 3,
    img_size: int | tuple[int, int] = 224,
    drop_path_rate: float = 0.0,
    features_only: bool = False,
    embed_dim: Sequence[int] = (256, 384, 768),
    depths: Sequence[int] = (2, 2, 11),
    num_heads: int = 12,
    mlp_ratio: float | Sequence[float] = 4.0,
    class_token: bool = False,
) -> ConvViT:
    return ConvViT(
        num_classes,
        in_chans,
        img_size,
        drop_path_rate,
        features_only,
        embed_dim,
        depths,
        num_heads,
        mlp_ratio,
        class_token,
    )


register_variant(
    FAMILY, "convvit_base", _build, params=85_374_824, summary="ConvMAE's encoder, base: 2 + 2 + 11 blocks."
)
