"""Spikformer V2: Spikformer's blocks behind a spiking convolutional stem (SCS), and its masked autoencoder.

    image → 4 × (conv 2×2 /2, BN → s; then + s(BN(conv 3×3(s(BN(conv 3×3)))))) → blocks → mean over pixels → linear
    → mean over time

s is LIF, the 3×3 convolutions widen to four times the channels and back, the widths are D/8, D/4, D/2, D. What neurons
send is binary; shortcuts add spikes to spikes as in version 1, so what a layer behind them reads are counts.

**The stem is inferred.** No code of this paper is public. Among the plausible stems, searched by kernel sizes, biases,
widening and numbers of blocks, this one has the published parameter counts of both 8-384 and 8-512; a first kernel of 3
or 4 would fit as well. Where its neurons and shortcuts stand is taken over from version 1.

The autoencoder is snnkit's own reading of "masking and reconstruction": hidden patches are zero, the stem knows visible
places only (``layers.sparse``), the blocks run on visible tokens alone, an ordinary transformer paints hidden patches.

Letters: T steps, B images, D channels, h and w rows and columns of tokens, L = h·w, K visible tokens.
Source: Zhou et al., "Spikformer V2: Join the High Accuracy Club on ImageNet with an SNN Ticket", arXiv 2401.02020.
"""

from __future__ import annotations

from torch import Tensor, nn

from snnkit.errors import InvalidArgumentError
from snnkit.layers import ConvBN
from snnkit.layers.drop_path import rates
from snnkit.layers.masked import MaskedDecoder, Masking
from snnkit.layers.sparse import sparse_conv_bn, spread
from snnkit.layers.spiking_block import SpikingBlock
from snnkit.layers.spiking_mlp import SpikingMLP
from snnkit.layers.spiking_self_attention import SpikingSelfAttention
from snnkit.models.classifier import Feature, FeatureInfo, SpikingClassifier, linear_head
from snnkit.models.family import Family, Published
from snnkit.models.masked import MaskedAutoencoder
from snnkit.models.registry import register_variant
from snnkit.models.sizes import check_divides, check_positive, check_whole
from snnkit.neurons import LIF

STRIDE = 16


def _conv(layer: ConvBN, x_TBCHW: Tensor, active_Bhw: Tensor | None) -> Tensor:
    return layer(x_TBCHW) if active_Bhw is None else sparse_conv_bn(layer, x_TBCHW, active_Bhw)


class _StemStage(nn.Module):
    """A neuron, and a residual branch of two 3×3 convolutions with a neuron behind each."""

    def __init__(self, dim: int, ratio: int):
        super().__init__()
        self.neuron = LIF()
        self.expand, self.expand_neuron = ConvBN(dim, ratio * dim, 3), LIF()
        self.reduce, self.reduce_neuron = ConvBN(ratio * dim, dim, 3), LIF()

    def forward(self, current_TBCHW: Tensor, active_Bhw: Tensor | None) -> Tensor:
        """Currents in, counts of spikes 0 … 2 out; with a mask, at visible places."""
        spikes = self.neuron(current_TBCHW)
        inner = self.expand_neuron(_conv(self.expand, spikes, active_Bhw))
        return spikes + self.reduce_neuron(_conv(self.reduce, inner, active_Bhw))


class SpikformerV2(SpikingClassifier):
    """The network of the module's first lines; images of any size from 16 pixels on.

    Args:
        num_classes: K.
        in_chans: channels of the images.
        img_size: side of the images it is made for, in pixels; others work too.
        timesteps: T for still images.
        drop_path_rate: of the last block, growing linearly from 0.
        features_only: return the maps at strides 2, 4, 8 of the stem and 16 of the blocks, and have no classifier.
        embed_dim: D, a multiple of 8 and of ``num_heads``.
        depth: blocks.
        num_heads: attention heads.
        mlp_ratio: hidden width of the MLPs over D.
        stem_ratio: widening of the stem's 3×3 convolutions.

    Raises:
        InvalidArgumentError: a size outside its range.
    """

    def __init__(
        self,
        num_classes: int = 1000,
        in_chans: int = 3,
        img_size: int | tuple[int, int] = 224,
        timesteps: int = 4,
        drop_path_rate: float = 0.0,
        features_only: bool = False,
        embed_dim: int = 512,
        depth: int = 8,
        num_heads: int = 8,
        mlp_ratio: float = 4.0,
        stem_ratio: int = 4,
    ):
        super().__init__(timesteps)
        check_whole(embed_dim=embed_dim, depth=depth, num_heads=num_heads, stem_ratio=stem_ratio)
        check_divides("embed_dim", embed_dim, 8, "which the stem begins with an eighth of")
        check_divides("embed_dim", embed_dim, num_heads, "num_heads")
        check_positive(mlp_ratio=mlp_ratio)
        self.in_chans, self.img_size, self.features_only = in_chans, img_size, features_only
        self.num_classes, self.num_features = 0 if features_only else num_classes, embed_dim
        widths = (embed_dim // 8, embed_dim // 4, embed_dim // 2, embed_dim)
        self.downs = nn.ModuleList(
            ConvBN(dim, out, 2, stride=2, padding=0) for dim, out in zip((in_chans, *widths), widths, strict=False)
        )
        self.stem = nn.ModuleList(_StemStage(width, stem_ratio) for width in widths)
        self.blocks = nn.ModuleList()
        for drop in rates(drop_path_rate, depth):
            attention = SpikingSelfAttention(embed_dim, num_heads)
            self.blocks.append(SpikingBlock(attention, SpikingMLP(embed_dim, int(embed_dim * mlp_ratio)), drop))
        self.head = linear_head(embed_dim, self.num_classes)
        made = ("stem.0", "stem.1", "stem.2", f"blocks.{depth - 1}")
        self.feature_info = FeatureInfo(map(Feature, widths, (2, 4, 8, 16), made))

    def forward_stem(self, x_TBCHW: Tensor) -> Tensor:
        """Return the currents of the first neurons, (T, B, D/8, H/2, W/2)."""
        return self.downs[0](x_TBCHW)

    def forward_convolutions(self, current_TBCHW: Tensor, active_Bhw: Tensor | None = None) -> list[Tensor]:
        """Return the counts behind the four stages of the stem, at strides 2, 4, 8, 16; with a mask, sparse."""
        maps = [self._block(self.stem[0], current_TBCHW, active_Bhw)]
        for down, stage in zip(self.downs[1:], self.stem[1:], strict=True):
            maps.append(self._block(stage, _conv(down, maps[-1], active_Bhw), active_Bhw))
        return maps

    def forward_blocks(self, x_TBDhw: Tensor) -> Tensor:
        """Return the counts behind the last block, in the shape of ``x_TBDhw``; tokens may lie in any order."""
        for block in self.blocks:
            x_TBDhw = self._block(block, x_TBDhw)
        return x_TBDhw

    def forward_stages(self, current_TBCHW: Tensor) -> list[Tensor]:
        """Return the counts behind three stages of the stem and behind the last block."""
        *early, x_TBDhw = self.forward_convolutions(current_TBCHW)
        return [*early, self.forward_blocks(x_TBDhw)]

    def forward_head(self, features_TBCHW: Tensor, pre_logits: bool = False) -> Tensor:
        """Return the logits of every step (T, B, K), or with ``pre_logits`` the means (T, B, D)."""
        pooled = features_TBCHW.mean((3, 4))
        return pooled if pre_logits else self.head(pooled)

    def _check(self, x: Tensor, leading: int) -> None:
        super()._check(x, leading)
        if min(x.shape[-2:]) < STRIDE:
            raise InvalidArgumentError(f"images of {tuple(x.shape[-2:])} pixels: the stem needs {STRIDE} either way.")


class SpikformerV2MAE(MaskedAutoencoder):
    """A masked autoencoder around ``SpikformerV2``; patches are 16 pixels wide.

    Args:
        encoder: a classifier without classes; its head is not used.
        in_chans, img_size, mask_ratio, normalise: of ``MaskedAutoencoder``.
        decoder_dim, decoder_depth, decoder_heads: of the decoder.
    """

    def __init__(
        self,
        encoder: SpikformerV2,
        in_chans: int,
        img_size: int | tuple[int, int],
        mask_ratio: float,
        normalise: bool,
        decoder_dim: int,
        decoder_depth: int,
        decoder_heads: int,
    ):
        super().__init__(in_chans, img_size, STRIDE, mask_ratio, normalise)
        check_whole(decoder_dim=decoder_dim, decoder_depth=decoder_depth, decoder_heads=decoder_heads)
        self.encoder = encoder
        self.decoder = MaskedDecoder(
            encoder.num_features, in_chans * STRIDE**2, self.grid, decoder_dim, decoder_depth, decoder_heads
        )

    def encode(self, images_BCHW: Tensor, masking: Masking) -> tuple[Tensor, Tensor | None]:
        """Return the latents of visible tokens, (B, K, D), averaged over time."""
        active = self.active(masking, images_BCHW)
        seen = images_BCHW * spread(active, *images_BCHW.shape[2:]).unsqueeze(1)
        current = sparse_conv_bn(self.encoder.downs[0], self.encoder.encoder(seen), active)
        x_TBDL = self.encoder.forward_convolutions(current, active)[-1].flatten(3)
        chosen = masking.visible.unsqueeze(1).expand(*x_TBDL.shape[:3], -1)
        features_TBDK = self.encoder.forward_blocks(x_TBDL.gather(3, chosen).unsqueeze(4)).squeeze(4)
        return features_TBDK.mean(0).transpose(1, 2), masking.restore


FAMILY = Family(
    name="spikformer_v2",
    title="Spikformer V2",
    kind="snn",
    paper="Zhou et al., Spikformer V2: Join the High Accuracy Club on ImageNet with an SNN Ticket, arXiv 2401.02020",
    source="own design from the paper's abstract and parameter counts; no code is public",
    tiny={
        "name": "spikformer_v2_8_384",
        "embed_dim": 16,
        "depth": 1,
        "num_heads": 2,
        "mlp_ratio": 2.0,
        "stem_ratio": 2,
        "img_size": 48,
        "in_chans": 2,
        "timesteps": 3,
        "num_classes": 4,
    },
    published=(
        Published("spikformer_v2_8_384", 78.80, 29.11, 4.69, 4),
        Published("spikformer_v2_8_512", 80.38, 51.55, 9.36, 4),
        Published("spikformer_v2_16_768", 81.10, 172, None, 1, note="after masked pre-training"),
    ),
    checkpoints=("none is public",),
    unconfirmed=(
        "the whole stem: kernels, widening, neurons, shortcuts; it has the published parameter counts",
        "the number of heads (8, as in version 1)",
        "the masked form: ratio 0.75, blocks on visible tokens only, normalised targets, size of the decoder",
    ),
)


def _build(
    num_classes: int = 1000,
    in_chans: int = 3,
    img_size: int | tuple[int, int] = 224,
    timesteps: int = 4,
    drop_path_rate: float = 0.0,
    features_only: bool = False,
    embed_dim: int = 512,
    depth: int = 8,
    num_heads: int = 8,
    mlp_ratio: float = 4.0,
    stem_ratio: int = 4,
) -> SpikformerV2:
    return SpikformerV2(
        num_classes,
        in_chans,
        img_size,
        timesteps,
        drop_path_rate,
        features_only,
        embed_dim,
        depth,
        num_heads,
        mlp_ratio,
        stem_ratio,
    )


def _build_mae(
    in_chans: int = 3,
    img_size: int | tuple[int, int] = 224,
    timesteps: int = 1,
    drop_path_rate: float = 0.0,
    embed_dim: int = 512,
    depth: int = 8,
    num_heads: int = 8,
    mlp_ratio: float = 4.0,
    stem_ratio: int = 4,
    mask_ratio: float = 0.75,
    normalise: bool = True,
    decoder_dim: int = 256,
    decoder_depth: int = 4,
    decoder_heads: int = 4,
) -> SpikformerV2MAE:
    encoder = _build(
        0, in_chans, img_size, timesteps, drop_path_rate, False, embed_dim, depth, num_heads, mlp_ratio, stem_ratio
    )
    return SpikformerV2MAE(
        encoder, in_chans, img_size, mask_ratio, normalise, decoder_dim, decoder_depth, decoder_heads
    )


def _register(size: str, params: int, mae_params: int, about: str, timesteps: int, embed_dim: int, depth: int) -> None:
    register_variant(
        FAMILY,
        f"spikformer_v2_{size}",
        _build,
        params=params,
        summary=f"Spikformer V2 {size.replace('_', '-')}, ImageNet top-1 {about}; its stem is inferred.",
        timesteps=timesteps,
        embed_dim=embed_dim,
        depth=depth,
    )
    register_variant(
        FAMILY,
        f"spikformer_v2_mae_{size}",
        _build_mae,
        params=mae_params,
        summary=f"Masked autoencoder that pre-trains spikformer_v2_{size}, own reading of the paper.",
        embed_dim=embed_dim,
        depth=depth,
    )


_register("8_384", 29_111_272, 32_182_016, "78.80 % at T=4", 4, 384, 8)
_register("8_512", 51_545_064, 54_520_576, "80.38 % at T=4", 4, 512, 8)
_register("16_768", 172_278_760, 175_063_808, "81.10 % at T=1 after masked pre-training", 1, 768, 16)
