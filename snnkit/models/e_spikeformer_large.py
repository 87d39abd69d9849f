"""E-SpikeFormer, the large models of Spike-driven Transformer V3, and their masked autoencoder.

    image → conv 7×7 /2 → ConvBlock → down /4 → ConvBlock → down /8 → 2 ConvBlocks → down /16 → blocks
    → mean over pixels → spikes → linear

As in the base models (``e_spikeformer``) a neuron sends a whole number of spikes 0 … D over D; here halves are rounded
up. ``down`` is (spikes, conv 3×3, BN); P is a pair of 1×1 convolutions with a norm behind each, without a neuron
between them. With x a membrane:

    ConvBlock   x + Conv3×3(Conv3×3(x))       each convolution behind a neuron and before a batch norm
    block       x + P(s(x)) ("base" only);  x + attention(x);  x + MLP(x)
    attention   1/8 · q (kᵀ v), with q, k, v and the output through BN(P)

The autoencoder sees an image whose hidden patches are zero; convolutions and their norms know visible places only
(``layers.sparse``), the blocks run on all places, and an ordinary transformer paints the pixels of hidden patches.

Letters: T steps (1 as published), B images, C channels, h and w rows and columns of patches.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from snnkit.errors import InvalidArgumentError, unknown_name
from snnkit.layers import ConvBN, sequence
from snnkit.layers.drop_path import DropPath, rates
from snnkit.layers.layer_scale import LayerScale
from snnkit.layers.masked import MaskedDecoder, Masking
from snnkit.layers.membrane_attention import MembraneAttention
from snnkit.layers.rep_conv import affine
from snnkit.layers.sequence import over_time
from snnkit.layers.sparse import sparse_conv_bn, spread
from snnkit.layers.spike_conv import SpikeConv
from snnkit.layers.spike_driven_attention import ScaledAttention
from snnkit.layers.spiking_mlp import MembraneMLP
from snnkit.models.classifier import Feature, FeatureInfo, SpikingClassifier, linear_head
from snnkit.models.e_spikeformer import PAPER, layer_groups
from snnkit.models.family import Family, Published, StateDict, renamed
from snnkit.models.masked import DECODER_KEYS, MaskedAutoencoder
from snnkit.models.registry import register_variant
from snnkit.models.sizes import check_positive, check_whole, whole_numbers
from snnkit.neurons import MultiSpike

CHOICES = ("base", "large")


class PointwisePair(nn.Module):
    """Two 1×1 convolutions with their norms, and perhaps a third norm: (T, B, C, H, W) → (T, B, O, H, W).

    Args:
        in_channels: C.
        out_channels: O.
        hidden: channels between the two.
        outer_norm: whether a norm of its own follows that of the second convolution.
    """

    def __init__(self, in_channels: int, out_channels: int, hidden: int, outer_norm: bool):
        super().__init__()
        self.conv1, self.conv2 = ConvBN(in_channels, hidden), ConvBN(hidden, out_channels)
        self.norm = nn.BatchNorm2d(out_channels) if outer_norm else nn.Identity()

    def forward(self, x_TBCHW: Tensor) -> Tensor:
        """Return the currents for the neurons that follow."""
        return over_time(self.norm, self.conv2(self.conv1(x_TBCHW)))

    @torch.no_grad()
    def merged(self) -> nn.Module:
        """Return the one 1×1 convolution with bias that equals this layer in eval mode."""
        reference = self.conv1.conv.weight
        weight = torch.eye(reference.shape[1], dtype=torch.float64, device=reference.device)
        bias = weight.new_zeros(len(weight))
        for conv, norms in ((self.conv1, (self.conv1.bn,)), (self.conv2, (self.conv2.bn, self.norm))):
            own = conv.conv.weight.double().flatten(1)
            weight, bias = own @ weight, own @ bias
            for norm in norms:
                if isinstance(norm, nn.BatchNorm2d):
                    scale, shift = affine(norm, double=True)
                    weight, bias = scale.unsqueeze(1) * weight, scale * bias + shift
        made = sequence.Conv2d(  # type: ignore[attr-defined]
            weight.shape[1], weight.shape[0], 1, device=reference.device, dtype=reference.dtype
        )
        made.weight.copy_(weight.view_as(made.weight))
        made.bias.copy_(bias)
        return made.train(self.training)


def _projection(in_channels: int, out_channels: int) -> PointwisePair:
    return PointwisePair(in_channels, out_channels, int(in_channels * 1.5), outer_norm=True)


class _ConvBlock(nn.Module):
    """A residual branch of two dense convolutions."""

    def __init__(self, dim: int, mlp_ratio: float, neuron: Callable[[], nn.Module]):
        super().__init__()
        hidden = int(dim * mlp_ratio)
        self.conv1 = SpikeConv(neuron(), ConvBN(dim, hidden, 3, bias=True))
        self.conv2 = SpikeConv(neuron(), ConvBN(hidden, dim, 3, bias=True))

    def forward(self, x_TBCHW: Tensor, active_Bhw: Tensor | None) -> Tensor:
        """Membranes in, membranes out; with a mask, of visible places."""
        return x_TBCHW + self.conv2(self.conv1(x_TBCHW, active_Bhw), active_Bhw)


class _Block(nn.Module):
    """A transformer block, with a pair of 1×1 convolutions in front where ``choice`` is "base"."""

    def __init__(
        self,
        dim: int,
        num_heads: int,
        mlp_ratio: float,
        choice: str,
        neuron: Callable[[], nn.Module],
        layer_scale: float,
        drop_path: float,
    ):
        super().__init__()
        base = choice == "base"
        self.neuron = neuron() if base else None
        self.rep_conv = PointwisePair(dim, dim, dim, outer_norm=False) if base else None
        self.attention = MembraneAttention(dim, ScaledAttention(num_heads, neuron()), neuron, _projection)
        self.mlp = MembraneMLP(dim, int(dim * mlp_ratio), neuron=neuron)
        self.scale1, self.scale2 = (LayerScale(dim, layer_scale, 2) if layer_scale else nn.Identity() for _ in range(2))
        self.drop_path = DropPath(drop_path, batch_axis=1)

    def forward(self, x_TBCHW: Tensor) -> Tensor:
        """Membranes in, membranes out."""
        if self.rep_conv is not None:
            x_TBCHW = x_TBCHW + self.rep_conv(self.neuron(x_TBCHW))
        x_TBCHW = x_TBCHW + self.drop_path(self.scale1(self.attention(x_TBCHW)))
        return x_TBCHW + self.drop_path(self.scale2(self.mlp(x_TBCHW)))


class ESpikeFormerLarge(SpikingClassifier):
    """The large model of the module's first lines.

    Args:
        num_classes: K.
        in_chans: channels of the images, of any size.
        img_size: side of the images in pixels, for ``pretrained_cfg`` only.
        timesteps: T; the published models have 1.
        drop_path_rate: of the last block; it grows from 0 over all blocks.
        features_only: return the maps at strides 2, 4, 8, 16 and have no classifier.
        embed_dim: channels e₀ (even), e₁, e₂ of the stages.
        depth: blocks.
        num_heads: attention heads; divides e₂.
        mlp_ratio: hidden channels of the MLPs and of the dense convolutions.
        choice: "base" or "large", whose blocks lack the pair of 1×1 convolutions.
        levels: D, the most spikes a neuron sends.
        layer_scale: where the factors at the ends of branches start; 0 for none, as in pre-training.
        distilled: whether a second head learns from a teacher; then training returns both heads' logits, and
            evaluation their mean.
        head_reads_spikes: False for weights of the released code, whose first head reads the pooled membranes; that
            one layer is not spike-driven then. None for True, until published weights are loaded.

    Raises:
        InvalidArgumentError: channels that the heads do not divide.
        UnknownNameError: another choice.
    """

    def __init__(
        self,
        num_classes: int,
        in_chans: int,
        img_size: int | tuple[int, int],
        timesteps: int,
        drop_path_rate: float,
        features_only: bool,
        embed_dim: Sequence[int],
        depth: int,
        num_heads: int,
        mlp_ratio: float,
        choice: str,
        levels: int,
        layer_scale: float,
        distilled: bool,
        head_reads_spikes: bool | None,
    ):
        super().__init__(timesteps)
        _check_sizes(embed_dim, num_heads, choice)
        check_whole(depth=depth)
        check_positive(mlp_ratio=mlp_ratio)
        self.in_chans, self.img_size, self.features_only = in_chans, img_size, features_only
        self.num_classes = 0 if features_only else num_classes
        self.head_reads_spikes = head_reads_spikes
        e0, e1, e2 = embed_dim
        neuron = partial(MultiSpike, levels, half_up=True)

        def down(dim: int, out: int) -> SpikeConv:
            return SpikeConv(neuron(), ConvBN(dim, out, 3, stride=2, bias=True))

        self.stem = ConvBN(in_chans, e0 // 2, 7, stride=2, bias=True)
        self.conv_block1_1 = _ConvBlock(e0 // 2, mlp_ratio, neuron)
        self.down1, self.conv_block1_2 = down(e0 // 2, e0), _ConvBlock(e0, mlp_ratio, neuron)
        self.down2, self.conv_block2_1 = down(e0, e1), _ConvBlock(e1, mlp_ratio, neuron)
        self.conv_block2_2 = _ConvBlock(e1, mlp_ratio, neuron)
        self.down3 = down(e1, e2)
        self.stage3 = nn.ModuleList(
            _Block(e2, num_heads, mlp_ratio, choice, neuron, layer_scale, rate) for rate in rates(drop_path_rate, depth)
        )
        self.head_neuron = neuron(divisor=1)
        self.head = linear_head(e2, self.num_classes)
        self.head_dist = linear_head(e2, self.num_classes) if distilled and not features_only else None
        self.num_features = e2
        made = ("conv_block1_1", "conv_block1_2", "conv_block2_2", f"stage3.{depth - 1}")
        self.feature_info = FeatureInfo(map(Feature, (e0 // 2, e0, e1, e2), (2, 4, 8, 16), made))

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Groups for layer-wise decay: the stem, then block by block, or with ``coarse`` stage by stage."""
        return layer_groups(coarse)

    def forward_stem(self, x_TBCHW: Tensor) -> Tensor:
        """Return the currents of the first convolution, (T, B, e₀/2, H/2, W/2)."""
        return self.stem(x_TBCHW)

    def forward_stages(self, current_TBCHW: Tensor, active_Bhw: Tensor | None = None) -> list[Tensor]:
        """Return the membranes after each stage; with a mask, the convolutions see visible places only."""
        *early, fourth = self.forward_convolutions(current_TBCHW, active_Bhw)
        return [*early, self.forward_blocks(fourth)]

    def forward_convolutions(self, current_TBCHW: Tensor, active_Bhw: Tensor | None = None) -> list[Tensor]:
        """Return the membranes after the three stages of convolutions, and those that the blocks begin with."""
        first = self._block(self.conv_block1_1, current_TBCHW, active_Bhw)
        second = self._block(self.conv_block1_2, self.down1(first, active_Bhw), active_Bhw)
        third = self._block(self.conv_block2_1, self.down2(second, active_Bhw), active_Bhw)
        third = self._block(self.conv_block2_2, third, active_Bhw)
        return [first, second, third, self.down3(third, active_Bhw)]

    def forward_blocks(self, x_TBCHW: Tensor) -> Tensor:
        """Return the membranes after the last block; tokens may lie in any order."""
        return self._blocks(self.stage3, x_TBCHW)

    def forward_head(self, features_TBCHW: Tensor, pre_logits: bool = False) -> Tensor:
        """Return logits (T, B, K), of two heads their mean; with ``pre_logits`` what the head reads, (T, B, e₂)."""
        if pre_logits:
            return self._read(features_TBCHW)[0]
        logits = self._heads(features_TBCHW)
        return logits[0] if len(logits) == 1 else (logits[0] + logits[1]) / 2

    def forward_logits(self, features_TBCHW: Tensor) -> Any:
        """Return logits (B, K); of a distilled model in training (logits, logits of the second head)."""
        if self.head_dist is None or not self.training:
            return super().forward_logits(features_TBCHW)
        return tuple(map(self.readout, self._heads(features_TBCHW)))

    def _read(self, features_TBCHW: Tensor) -> tuple[Tensor, Tensor]:
        """What the first head reads, and what the second one does."""
        pooled = features_TBCHW.mean((3, 4))
        direct = self.head_reads_spikes is False
        spikes = pooled if direct and self.head_dist is None else self.head_neuron(pooled)
        return pooled if direct else spikes, spikes

    def _heads(self, features_TBCHW: Tensor) -> list[Tensor]:
        read, spikes = self._read(features_TBCHW)
        return [self.head(read)] if self.head_dist is None else [self.head(read), self.head_dist(spikes)]

    def get_classifier(self) -> Any:
        """Return the last linear layer, of a distilled model the pair of them."""
        return self.head if self.head_dist is None else (self.head, self.head_dist)

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Put new heads of ``num_classes`` outputs in place; 0 removes them."""
        super().reset_classifier(num_classes, global_pool)
        if self.head_dist is not None:
            reference = next(self.parameters())
            self.head_dist = linear_head(self.num_features, num_classes).to(reference.device, reference.dtype)


class ESpikeFormerMAE(MaskedAutoencoder):
    """A masked autoencoder around ``ESpikeFormerLarge``.

    Args:
        encoder: a classifier without classes; its head is not used.
        in_chans, img_size, mask_ratio: of ``MaskedAutoencoder``; patches are 16 pixels wide.
        decoder_dim, decoder_depth, decoder_heads: of the decoder.
        reshuffle: as in the released code, which brings latents that are in order already "back" into order and so
            attaches them to other places; for parity only.
        visible_only: run the blocks on visible tokens alone and fill the gaps with a mask token, which the released
            code has and never uses; else they run on all places, as published.

    Raises:
        InvalidArgumentError: ``reshuffle`` with ``visible_only``, which leaves nothing to be shuffled wrongly.
    """

    def __init__(
        self,
        encoder: ESpikeFormerLarge,
        in_chans: int,
        img_size: int | tuple[int, int],
        mask_ratio: float,
        decoder_dim: int,
        decoder_depth: int,
        decoder_heads: int,
        reshuffle: bool,
        visible_only: bool,
    ):
        super().__init__(in_chans, img_size, 16, mask_ratio, normalise=True)
        if reshuffle and visible_only:
            raise InvalidArgumentError(
                "reshuffle=True: is the released code's fault on all places; visible_only=False."
            )
        check_whole(decoder_dim=decoder_dim, decoder_depth=decoder_depth, decoder_heads=decoder_heads)
        self.encoder, self.reshuffle, self.visible_only = encoder, reshuffle, visible_only
        width = encoder.num_features
        self.norm = nn.BatchNorm1d(width)
        self.decoder = MaskedDecoder(
            width,
            in_chans * 16 * 16,
            self.grid,
            decoder_dim,
            decoder_depth,
            decoder_heads,
            qkv_bias=False,
            mask_token=visible_only,
        )

    def encode(self, images_BCHW: Tensor, masking: Masking) -> tuple[Tensor, Tensor | None]:
        """Return the latents of all places, (B, L, D), where the blocks spread what was visible; or of visible ones."""
        active = self.active(masking, images_BCHW)
        seen = images_BCHW * spread(active, *images_BCHW.shape[2:]).unsqueeze(1)
        current = sparse_conv_bn(self.encoder.stem, self.encoder.encoder(seen), active)
        if self.visible_only:
            x_TBDL = self.encoder.forward_convolutions(current, active)[-1].flatten(3)
            chosen = masking.visible.unsqueeze(1).expand(*x_TBDL.shape[:3], -1)
            features = self.encoder.forward_blocks(x_TBDL.gather(3, chosen).unsqueeze(4))
            return self.norm(features.mean(0).flatten(2)).transpose(1, 2), masking.restore
        features = self.encoder.forward_stages(current, active)[-1]
        latent_BLD = self.norm(features.mean(0).flatten(2)).transpose(1, 2)
        return latent_BLD, masking.restore if self.reshuffle else None


def _check_sizes(embed_dim: Sequence[int], num_heads: int, choice: str) -> None:
    if choice not in CHOICES:
        raise unknown_name("choice", choice, CHOICES)
    check_whole(num_heads=num_heads)
    if whole_numbers("embed_dim", embed_dim, 3)[0] % 2:
        raise InvalidArgumentError(f"embed_dim={list(embed_dim)}: three numbers of channels, the first one even.")
    if embed_dim[2] % num_heads:
        raise InvalidArgumentError(f"num_heads={num_heads}: must divide the {embed_dim[2]} channels of the blocks.")


_ENCODER = (
    (r"^downsample1_1\.encode_", "stem."),
    (r"^downsample1_2\.encode_", "down1.conv."),
    (r"^downsample(\d)\.encode_", r"down\1.conv."),
    (r"^ConvBlock(\d)_(\d)\.0\.conv(\d)\.0\.", r"conv_block\1_\2.conv\3.conv."),
    (r"^block3\.", "stage3."),
    (r"\.attn\.(q|k|v|proj)_conv\.0\.", r".attention.\1."),
    (r"\.attn\.(q|k|v|proj)_conv\.1\.", r".attention.\1.norm."),
    (r"\.mlp\.fc(\d)_", r".mlp.fc\1."),
    (r"(conv_block.*\.conv|attention.*\.conv\d|rep_conv\.conv\d)\.0\.", r"\1.conv."),
    (r"(conv_block.*\.conv|attention.*\.conv\d|rep_conv\.conv\d)\.1\.", r"\1.bn."),
    (r"\.layer_scale(\d)$", r".scale\1.gamma"),
    (r"^head_kd\.", "head_dist."),
)


def _convert(state: StateDict, model: nn.Module) -> dict[str, Tensor]:
    """Published keys to own ones; 1-D convolutions act on maps here."""
    own = renamed(state, (*_ENCODER, *DECODER_KEYS))
    own = {key: value.flatten() if key.endswith("gamma") else value for key, value in own.items()}
    own = {key: value.unsqueeze(-1) if value.ndim == 3 else value for key, value in own.items()}
    if isinstance(model, ESpikeFormerMAE):
        return {key if key.startswith(("decoder.", "norm.")) else f"encoder.{key}": value for key, value in own.items()}
    return own


def _let_head_read_membranes(model: nn.Module) -> None:
    """Let the first head read as in the released code."""
    model.head_reads_spikes = False  # type: ignore[assignment]


FAMILY = Family(
    name="e_spikeformer_large",
    title="E-SpikeFormer, large (Spike-driven Transformer V3)",
    kind="snn",
    paper=PAPER,
    source="BICLab/Spike-Driven-Transformer-V3 @00fcd1f, SDT_V3/Classification/Model_Large",
    tiny={
        "name": "e_spikeformer_12_512",
        "embed_dim": (8, 8, 16),
        "depth": 1,
        "num_heads": 1,
        "mlp_ratio": 8,
        "levels": 2,
        "layer_scale": 1.0,
        "img_size": 32,
        "in_chans": 2,
        "timesteps": 1,
        "num_classes": 4,
    },
    published=(
        Published("e_spikeformer_12_512", top1=84.0, params_m=83, timesteps=1, note="1×4, after masked pre-training"),
        Published(
            "e_spikeformer_12_768", top1=86.2, params_m=173, timesteps=1, img_size=384, note="1×8: levels = 8; 384 px"
        ),
    ),
    checkpoints=(
        "Google Drive links in the repository's README: 83M (1×4, 1×8), 171M (1×4, 1×8, 1×8 at 384 px); torch pickle, "
        "weights under 'model'. The 83M 1×4 file is said to hold another first pair of 1×1 convolutions (hidden width "
        "1.5·C) than the released code, and does not fit then.",
    ),
    unconfirmed=(
        "e_spikeformer_12_768's first width: 196 channels in the released classifier, 192 in its autoencoder, so the "
        "weights of one do not fit the other",
        "layer scales and drop path stand at the ends of the attention and MLP branches only",
        "released weights want head_reads_spikes=False; no such file was tried",
    ),
    form={"head_reads_spikes": False},
    take_form=_let_head_read_membranes,
    marks=(r"^block3\.\d+\.attn\.q_conv\.0\.conv1\.0\.weight$",),
    convert=_convert,
    ignored=(r"^(pos_embed|mask_token|decoder_pos_embed)$",),
)


def _build(
    num_classes: int = 1000,
    in_chans: int = 3,
    img_size: int | tuple[int, int] = 224,
    timesteps: int = 1,
    drop_path_rate: float = 0.0,
    features_only: bool = False,
    embed_dim: Sequence[int] = (128, 256, 512),
    depth: int = 12,
    num_heads: int = 8,
    mlp_ratio: float = 4.0,
    choice: str = "base",
    levels: int = 4,
    layer_scale: float = 1e-6,
    distilled: bool = False,
    head_reads_spikes: bool | None = None,
) -> ESpikeFormerLarge:
    return ESpikeFormerLarge(
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
        choice,
        levels,
        layer_scale,
        distilled,
        head_reads_spikes,
    )


def _build_mae(
    in_chans: int = 3,
    img_size: int | tuple[int, int] = 224,
    timesteps: int = 1,
    drop_path_rate: float = 0.0,
    embed_dim: Sequence[int] = (128, 256, 512),
    depth: int = 12,
    num_heads: int = 8,
    mlp_ratio: float = 4.0,
    choice: str = "base",
    levels: int = 4,
    mask_ratio: float = 0.5,
    decoder_dim: int = 256,
    decoder_depth: int = 4,
    decoder_heads: int = 4,
    reshuffle: bool = False,
    visible_only: bool = False,
) -> ESpikeFormerMAE:
    encoder = _build(
        0,
        in_chans,
        img_size,
        timesteps,
        drop_path_rate,
        False,
        embed_dim,
        depth,
        num_heads,
        mlp_ratio,
        choice,
        levels,
        layer_scale=0.0,
    )
    return ESpikeFormerMAE(
        encoder, in_chans, img_size, mask_ratio, decoder_dim, decoder_depth, decoder_heads, reshuffle, visible_only
    )


register_variant(
    FAMILY,
    "e_spikeformer_12_512",
    _build,
    params=82_502_952,
    summary="E-SpikeFormer 83M: 12 blocks of 512 channels; integer training, spike inference.",
)
register_variant(
    FAMILY,
    "e_spikeformer_12_768",
    _build,
    params=170_971_714,
    summary="E-SpikeFormer 171M: 12 blocks of 768 channels without the first pair of convolutions.",
    embed_dim=(196, 384, 768),
    choice="large",
)
register_variant(
    FAMILY,
    "e_spikeformer_mae_12_512",
    _build_mae,
    params=85_463_872,
    summary="Masked autoencoder that pre-trains e_spikeformer_12_512.",
)
register_variant(
    FAMILY,
    "e_spikeformer_mae_12_768",
    _build_mae,
    params=173_575_648,
    summary="Masked autoencoder of 12 blocks of 768 channels, with 192 channels first as published.",
    embed_dim=(192, 384, 768),
    choice="large",
)
