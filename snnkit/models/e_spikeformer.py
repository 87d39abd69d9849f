"""E-SpikeFormer, the base models of Spike-driven Transformer V3: integers while training, spikes on a chip.

    image → conv 7×7 /2 → ConvBlock → down /4 → ConvBlock → down /8 → 2 ConvBlocks → down /16 → 6 blocks → down
    → 2 blocks → mean over pixels → spikes → linear

There is no time: a neuron sends a whole number of spikes 0 … D at once, divided by D (``neurons.MultiSpike``); a chip
sends that number as D binary steps or as one graded event. ``down`` is (spikes, conv 3×3, BN). With x a membrane:

    ConvBlock   x + SepConv₇(x);  x + Conv3×3(Conv3×3(x))       each convolution behind a neuron and before a batch norm
    block       x + SepConv₃(x);  x + attention(x);  x + MLP(x)
    SepConv     1×1 C→2C, depthwise k×k, 1×1 2C→C
    attention   2/√d · q (kᵀ v),  with d channels a head; v has four times as many channels as q and k

Letters: T steps (1, or the length of a sequence, whose steps know nothing of each other), B images, C channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from torch import Tensor, nn

from snnkit.errors import InvalidArgumentError
from snnkit.layers import ConvBN
from snnkit.layers.drop_path import DropPath, rates
from snnkit.layers.membrane_attention import MembraneAttention
from snnkit.layers.spike_conv import SpikeConv
from snnkit.layers.spike_driven_attention import ScaledAttention
from snnkit.layers.spiking_mlp import MembraneMLP
from snnkit.models.classifier import Feature, FeatureInfo, SpikingClassifier, linear_head
from snnkit.models.family import Family, Published, StateDict, renamed
from snnkit.models.registry import register_variant
from snnkit.models.sizes import check_positive, check_whole, whole_numbers
from snnkit.neurons import MultiSpike


def layer_groups(coarse: bool) -> dict[str, Any]:
    """Return ``group_matcher`` of both forms; a change of resolution counts with the block behind it."""
    behind = ((1, 2), (2, 1), (3, 0), (4, 0))
    downs = [(rf"^down{i}\.", place[:1] if coarse else place) for i, place in enumerate(behind, start=1)]
    blocks = r"^(?:conv_block|stage)(\d)" if coarse else r"^(?:conv_block|stage)(\d)[_.](\d+)"
    return {"stem": r"^stem", "blocks": [*downs, (blocks, None)]}


def _sep_conv(dim: int, kernel_size: int, levels: int) -> nn.Sequential:
    """Pointwise, depthwise, pointwise, each behind a neuron."""
    return nn.Sequential(
        SpikeConv(MultiSpike(levels), ConvBN(dim, 2 * dim)),
        SpikeConv(MultiSpike(levels), ConvBN(2 * dim, 2 * dim, kernel_size, groups=2 * dim)),
        SpikeConv(MultiSpike(levels), ConvBN(2 * dim, dim)),
    )


class _ConvBlock(nn.Module):
    """Two residual branches of convolutions."""

    def __init__(self, dim: int, mlp_ratio: float, levels: int):
        super().__init__()
        hidden = int(dim * mlp_ratio)
        self.sep_conv = _sep_conv(dim, 7, levels)
        self.channel_conv = nn.Sequential(
            SpikeConv(MultiSpike(levels), ConvBN(dim, hidden, 3)), SpikeConv(MultiSpike(levels), ConvBN(hidden, dim, 3))
        )

    def forward(self, x_TBCHW: Tensor) -> Tensor:
        """Membranes in, membranes out."""
        x_TBCHW = x_TBCHW + self.sep_conv(x_TBCHW)
        return x_TBCHW + self.channel_conv(x_TBCHW)


class _Block(nn.Module):
    """A transformer block with a convolution in front."""

    def __init__(self, dim: int, num_heads: int, mlp_ratio: float, value_ratio: int, levels: int, drop_path: float):
        super().__init__()
        neuron = partial(MultiSpike, levels)
        attend = ScaledAttention(num_heads, neuron(), scale=2 * (dim // num_heads) ** -0.5)
        self.sep_conv = _sep_conv(dim, 3, levels)
        self.attention = MembraneAttention(dim, attend, neuron, ConvBN, value_ratio * dim)
        self.mlp = MembraneMLP(dim, int(dim * mlp_ratio), neuron=neuron)
        self.drop_path = DropPath(drop_path, batch_axis=1)

    def forward(self, x_TBCHW: Tensor) -> Tensor:
        """Membranes in, membranes out."""
        for branch in (self.sep_conv, self.attention, self.mlp):
            x_TBCHW = x_TBCHW + self.drop_path(branch(x_TBCHW))
        return x_TBCHW


class ESpikeFormer(SpikingClassifier):
    """The base model of the module's first lines.

    Args:
        num_classes: K.
        in_chans: channels of the images, of any size.
        img_size: side of the images in pixels, for ``pretrained_cfg`` only.
        timesteps: T; the published models have 1.
        drop_path_rate: of the last block; it grows from 0 over all blocks.
        features_only: return the maps at strides 4, 8, 16, 16 and have no classifier.
        embed_dim: channels e₀ (even), e₁, e₂, e₃ of the stages.
        depths: blocks of the third and the fourth stage.
        num_heads: attention heads; divides e₂ and e₃.
        mlp_ratio: hidden channels of the MLPs and of the dense convolutions.
        value_ratio: channels of the values per channel of the keys.
        levels: D, the most spikes a neuron sends.

    Raises:
        InvalidArgumentError: channels that the heads do not divide.
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
        depths: Sequence[int],
        num_heads: int,
        mlp_ratio: float,
        value_ratio: int,
        levels: int,
    ):
        super().__init__(timesteps)
        _check_sizes(embed_dim, num_heads)
        depths = whole_numbers("depths", depths, 2)
        check_whole(value_ratio=value_ratio)
        check_positive(mlp_ratio=mlp_ratio)
        self.in_chans, self.img_size, self.features_only = in_chans, img_size, features_only
        self.num_classes = 0 if features_only else num_classes
        e0, e1, e2, e3 = embed_dim
        drops = iter(rates(drop_path_rate, sum(depths)))

        def stage(dim: int, depth: int) -> nn.ModuleList:
            return nn.ModuleList(
                _Block(dim, num_heads, mlp_ratio, value_ratio, levels, next(drops)) for _ in range(depth)
            )

        self.stem = ConvBN(in_chans, e0 // 2, 7, stride=2, bias=True)
        self.conv_block1_1 = _ConvBlock(e0 // 2, mlp_ratio, levels)
        self.down1 = SpikeConv(MultiSpike(levels), ConvBN(e0 // 2, e0, 3, stride=2, bias=True))
        self.conv_block1_2 = _ConvBlock(e0, mlp_ratio, levels)
        self.down2 = SpikeConv(MultiSpike(levels), ConvBN(e0, e1, 3, stride=2, bias=True))
        self.conv_block2_1 = _ConvBlock(e1, mlp_ratio, levels)
        self.conv_block2_2 = _ConvBlock(e1, mlp_ratio, levels)
        self.down3 = SpikeConv(MultiSpike(levels), ConvBN(e1, e2, 3, stride=2, bias=True))
        self.stage3 = stage(e2, depths[0])
        self.down4 = SpikeConv(MultiSpike(levels), ConvBN(e2, e3, 3, bias=True))
        self.stage4 = stage(e3, depths[1])
        self.head_neuron = MultiSpike(levels, divisor=1)
        self.head = linear_head(e3, self.num_classes)
        self.num_features = e3
        made = ("conv_block1_2", "conv_block2_2", f"stage3.{depths[0] - 1}", f"stage4.{depths[1] - 1}")
        self.feature_info = FeatureInfo(map(Feature, embed_dim, (4, 8, 16, 16), made))

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Groups for layer-wise decay: the stem, then block by block, or with ``coarse`` stage by stage."""
        return layer_groups(coarse)

    def forward_stem(self, x_TBCHW: Tensor) -> Tensor:
        """Return the currents of the first convolution, (T, B, e₀/2, H/2, W/2)."""
        return self.stem(x_TBCHW)

    def forward_stages(self, current_TBCHW: Tensor) -> list[Tensor]:
        """Return the membranes after each stage."""
        x = self._block(self.conv_block1_1, current_TBCHW)
        first = self._block(self.conv_block1_2, self.down1(x))
        second = self._block(self.conv_block2_1, self.down2(first))
        second = self._block(self.conv_block2_2, second)
        third = self.down3(second)
        for block in self.stage3:
            third = self._block(block, third)
        fourth = self.down4(third)
        for block in self.stage4:
            fourth = self._block(block, fourth)
        return [first, second, third, fourth]

    def forward_head(self, features_TBCHW: Tensor, pre_logits: bool = False) -> Tensor:
        """Return the logits of every step (T, B, K), or with ``pre_logits`` the numbers of spikes (T, B, e₃)."""
        spikes = self.head_neuron(features_TBCHW.mean((3, 4)))
        return spikes if pre_logits else self.head(spikes)


def _check_sizes(embed_dim: Sequence[int], num_heads: int) -> None:
    check_whole(num_heads=num_heads)
    if whole_numbers("embed_dim", embed_dim, 4)[0] % 2:
        raise InvalidArgumentError(f"embed_dim={list(embed_dim)}: four numbers of channels, the first one even.")
    for dim in embed_dim[2:]:
        if dim % num_heads:
            raise InvalidArgumentError(f"num_heads={num_heads}: must divide the {dim} channels of a stage.")


_RULES = (
    (r"^downsample1_1\.", "stem."),
    (r"^downsample1_2\.", "down1.conv."),
    (r"^downsample(\d)\.", r"down\1.conv."),
    (r"encode_", ""),
    (r"^ConvBlock(\d)_(\d)\.0\.", r"conv_block\1_\2."),
    (r"^block(\d)\.", r"stage\1."),
    (r"\.(Conv|conv)\.(pwconv|dwconv)", r".sep_conv.\2"),
    (r"sep_conv\.pwconv1", "sep_conv.0.conv"),
    (r"sep_conv\.dwconv", "sep_conv.1.conv"),
    (r"sep_conv\.pwconv2", "sep_conv.2.conv"),
    (r"^(conv_block\d_\d)\.conv1\.", r"\1.channel_conv.0.conv.conv."),
    (r"^(conv_block\d_\d)\.bn1\.", r"\1.channel_conv.0.conv.bn."),
    (r"^(conv_block\d_\d)\.conv2\.", r"\1.channel_conv.1.conv.conv."),
    (r"^(conv_block\d_\d)\.bn2\.", r"\1.channel_conv.1.conv.bn."),
    (r"\.attn\.(q|k|v|proj)_conv", r".attention.\1"),
    (r"\.mlp\.fc(\d)_", r".mlp.fc\1."),
    (r"\.(conv|q|k|v|proj)\.0\.", r".\1.conv."),
    (r"\.(conv|q|k|v|proj)\.1\.", r".\1.bn."),
)


def _convert(state: StateDict, model: nn.Module) -> dict[str, Tensor]:
    """Published keys to own ones; the MLPs' 1-D convolutions act on maps here."""
    own = renamed(state, _RULES)
    return {key: value.unsqueeze(-1) if value.ndim == 3 else value for key, value in own.items()}


PAPER = "Yao et al., Scaling Spike-driven Transformer with Efficient Spike Firing Approximation, arXiv 2411.16061"

FAMILY = Family(
    name="e_spikeformer",
    title="E-SpikeFormer (Spike-driven Transformer V3)",
    kind="snn",
    paper=PAPER,
    source="BICLab/Spike-Driven-Transformer-V3 @00fcd1f, SDT_V3/Classification/Model_Base/models.py",
    tiny={
        "name": "e_spikeformer_t",
        "embed_dim": (8, 8, 16, 32),
        "depths": (1, 1),
        "num_heads": 2,
        "mlp_ratio": 8,
        "img_size": 32,
        "in_chans": 2,
        "timesteps": 1,
        "num_classes": 4,
    },
    published=(
        Published("e_spikeformer_s", params_m=5.1, timesteps=1, note="one step of D = 4 (1×4)"),
        Published("e_spikeformer_m", top1=78.5, params_m=10, timesteps=1, note="one step of D = 4 (1×4)"),
        Published("e_spikeformer_l", top1=79.8, params_m=19, energy_mj=5.9, timesteps=1, note="D = 4 (1×4)"),
    ),
    checkpoints=("Google Drive links in the repository's README: 5.1M, 10M, 19M; torch pickle, weights under 'model'",),
    unconfirmed=("drop_path_rate: the published recipe does not name one",),
    marks=(r"^block3\.\d+\.conv\.pwconv1\.0\.weight$", r"\.attn\.v_conv\.0\.weight$"),
    convert=_convert,
)


def _build(
    num_classes: int = 1000,
    in_chans: int = 3,
    img_size: int | tuple[int, int] = 224,
    timesteps: int = 1,
    drop_path_rate: float = 0.0,
    features_only: bool = False,
    embed_dim: Sequence[int] = (24, 48, 96, 128),
    depths: Sequence[int] = (6, 2),
    num_heads: int = 8,
    mlp_ratio: float = 4.0,
    value_ratio: int = 4,
    levels: int = 4,
) -> ESpikeFormer:
    return ESpikeFormer(
        num_classes,
        in_chans,
        img_size,
        timesteps,
        drop_path_rate,
        features_only,
        embed_dim,
        depths,
        num_heads,
        mlp_ratio,
        value_ratio,
        levels,
    )


for _name, _embed_dim, _params, _size in (
    ("e_spikeformer_t", (24, 48, 96, 128), 2_702_048, "2.7M"),
    ("e_spikeformer_s", (32, 64, 128, 192), 5_105_608, "5.1M"),
    ("e_spikeformer_m", (48, 96, 192, 240), 10_023_112, "10M"),
    ("e_spikeformer_l", (64, 128, 256, 360), 18_987_504, "19M"),
):
    register_variant(
        FAMILY,
        _name,
        _build,
        params=_params,
        summary=f"E-SpikeFormer {_size}: integer training, spike inference; 6 + 2 blocks.",
        embed_dim=_embed_dim,
    )
