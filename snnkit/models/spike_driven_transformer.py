"""Spike-driven Transformer, version 1: shortcuts carry membranes, attention is a mask between spikes.

    image → 3 × (conv 3×3, BN → LIF → max-pool /2) → conv 3×3, BN, max-pool /2 → f + BN(conv 3×3(LIF(f))) → blocks
    → mean over pixels of LIF → linear → mean over time

A block is x + BN(W·SDSA₁(q, k, v)) and x + MLP(x) with a neuron before every weight; only the first meets no spikes.
SDSA₁ = q ⊙ LIF(Σ k ⊙ v) multiplies nothing but 0 and 1.

Any image size serves: a map has ⌈side / stride⌉ pixels a side.

Source: Yao et al., "Spike-driven Transformer", NeurIPS 2023, arXiv 2307.01694.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import max_pool2d

from snnkit.errors import InvalidArgumentError
from snnkit.layers.conv_bn import ConvBN
from snnkit.layers.drop_path import rates
from snnkit.layers.membrane_attention import MembraneAttention
from snnkit.layers.sequence import over_time
from snnkit.layers.spike_driven_attention import attention_neuron, spike_attention
from snnkit.layers.spiking_block import SpikingBlock
from snnkit.layers.spiking_mlp import MembraneMLP
from snnkit.layers.spiking_stem import SpikingStem, halving_pool
from snnkit.models.classifier import Feature, FeatureInfo, SpikingClassifier, linear_head
from snnkit.models.family import Family, Published, StateDict, renamed
from snnkit.models.registry import register_variant
from snnkit.models.sizes import check_divides, check_pools, check_positive, check_whole
from snnkit.models.spikformer import BLOCK_RULES
from snnkit.neurons import LIF


class EventSDSA1(nn.Module):
    """SDSA-1 as published for event cameras: spikes spread to their neighbours before and behind each product.

    k and v spread over 3×3 pixels. k ⊙ v and the output spread over three tokens by three channels of a head, because
    that is how they lie in the published code; tokens are pixels in rows.

    Args:
        num_heads: heads.
    """

    def __init__(self, num_heads: int):
        super().__init__()
        self.num_heads, self.lif = num_heads, attention_neuron()

    def forward(self, q_TBCHW: Tensor, k_TBCHW: Tensor, v_TBCHW: Tensor) -> Tensor:
        """Return spikes (T, B, C, H, W)."""
        k_TBCHW, v_TBCHW = over_time(_spread, k_TBCHW), over_time(_spread, v_TBCHW)
        agreement = self._spread_tokens(k_TBCHW * v_TBCHW)
        return self._spread_tokens(q_TBCHW * self.lif(agreement.sum((3, 4), keepdim=True)))

    def _spread_tokens(self, x_TBCHW: Tensor) -> Tensor:
        heads_TBhdN = x_TBCHW.flatten(3).unflatten(2, (self.num_heads, -1))
        return over_time(_spread, heads_TBhdN).reshape(x_TBCHW.shape)


def _spread(x: Tensor) -> Tensor:
    """3×3 maximum over the last two axes, same shape."""
    return max_pool2d(x, 3, stride=1, padding=1)


class SpikeDrivenTransformer(SpikingClassifier):
    """Spiking classifier of images (B, C, H, W) or sequences (T, B, C, H, W).

    Args:
        num_classes: K; 0 for no head.
        in_chans: C.
        img_size: side of the images it is meant for; any is served.
        timesteps: T for images.
        drop_path_rate: stochastic depth of the last block (the published models apply none).
        features_only: return the stem's spikes behind each pool and the last block's membranes.
        embed_dim: D, a multiple of 8 and of ``num_heads``.
        depth: blocks.
        num_heads: heads; they matter with ``dvs`` only.
        mlp_ratio: hidden width of the MLPs over D, above 1.
        pools: four digits, 1 where a stage of the stem ends in a pool.
        dvs: attention as published for event cameras (``EventSDSA1``).

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
        pools: str = "1111",
        dvs: bool = False,
    ):
        super().__init__(timesteps)
        check_whole(embed_dim=embed_dim, depth=depth, num_heads=num_heads)
        check_divides("embed_dim", embed_dim, 8, "which the stem begins with an eighth of")
        check_divides("embed_dim", embed_dim, num_heads, "num_heads")
        check_positive(mlp_ratio=mlp_ratio)
        if mlp_ratio <= 1:
            raise InvalidArgumentError(
                f"mlp_ratio={mlp_ratio!r}: must be above 1; at 1 the published MLP has another shortcut."
            )
        self.in_chans, self.img_size, self.num_classes = in_chans, img_size, num_classes
        self.features_only, self.num_features = features_only, embed_dim
        self.pooled = check_pools(pools, 4)
        widths = [embed_dim // 8, embed_dim // 4, embed_dim // 2]
        self.stem = SpikingStem(in_chans, widths, self.pooled[:3])
        self.embed = ConvBN(widths[-1], embed_dim, 3)
        self.embed_pool = halving_pool() if self.pooled[3] else nn.Identity()
        self.position_neuron, self.position = LIF(), ConvBN(embed_dim, embed_dim, 3)
        hidden = int(embed_dim * mlp_ratio)
        self.blocks = nn.Sequential()
        for drop in rates(drop_path_rate, depth):
            attend = EventSDSA1(num_heads) if dvs else spike_attention("sdsa1", num_heads)
            attention = MembraneAttention(embed_dim, attend, LIF, ConvBN)
            attention.proj = ConvBN(embed_dim, embed_dim, bias=True)
            self.blocks.append(SpikingBlock(attention, MembraneMLP(embed_dim, hidden), drop))
        self.head_neuron = LIF()
        self.head = linear_head(embed_dim, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.trunc_normal_(module.weight, std=0.02)
        info = [
            Feature(widths[i], 2 ** sum(self.pooled[: i + 1]), f"stem.pools.{i}") for i in range(3) if self.pooled[i]
        ]
        self.feature_info = FeatureInfo([*info, Feature(embed_dim, 2 ** sum(self.pooled), f"blocks.{depth - 1}")])

    def forward_stem(self, x_TBCHW: Tensor) -> Tensor:
        """Return the currents of the first neurons."""
        return self.stem.first(x_TBCHW)

    def forward_stages(self, current_TBCHW: Tensor) -> list[Tensor]:
        """Return the stem's spikes behind its pools, and the membranes (T, B, D, H/16, W/16) behind the last block."""
        maps = self.stem(current_TBCHW)
        x = self.embed_pool(self.embed(maps[-1]))
        x = self._blocks(self.blocks, x + self.position(self.position_neuron(x)))
        return [*(y for y, pooled in zip(maps, self.pooled, strict=False) if pooled), x]

    def forward_head(self, features_TBCHW: Tensor, pre_logits: bool = False) -> Tensor:
        """Return the logits of every step (T, B, K), or with ``pre_logits`` the spikes of the means (T, B, D)."""
        spikes = self.head_neuron(features_TBCHW.mean((3, 4)))
        return spikes if pre_logits else self.head(spikes)


def convert(state: StateDict, model: nn.Module) -> dict[str, Tensor]:
    """Translate the published keys."""
    stem = [
        (r"^patch_embed\.proj_(conv|bn)3\.", r"embed.\1."),
        (r"^patch_embed\.proj_(conv|bn)(\d?)\.", lambda m: f"stem.convs.{m[2] or 0}.{m[1]}."),
        (r"^patch_embed\.rpe_(conv|bn)\.", r"position.\1."),
    ]
    return renamed(state, [*stem, *BLOCK_RULES])


FAMILY = Family(
    name="spike_driven_transformer",
    title="Spike-driven Transformer V1",
    kind="snn",
    paper="Yao et al., Spike-driven Transformer, NeurIPS 2023, arXiv 2307.01694",
    source="github.com/BICLab/Spike-Driven-Transformer @3faa822: model/spikeformer.py, module/{sps,ms_conv}.py",
    tiny={
        "name": "sdt_v1_8_384",
        "embed_dim": 16,
        "depth": 2,
        "num_heads": 2,
        "mlp_ratio": 2.0,
        "pools": "0110",
        "img_size": 16,
        "in_chans": 2,
        "timesteps": 3,
        "num_classes": 4,
    },
    published=(
        Published("sdt_v1_8_384", 72.28, 16.81, 3.90, 4),
        Published("sdt_v1_6_512", 74.11, None, 3.56, 4),
        Published("sdt_v1_8_512", 74.57, 29.68, 4.50, 4),
        Published("sdt_v1_10_512", 74.66, None, 5.53, 4),
        Published("sdt_v1_8_768", 77.07, 66.34, 6.09, 4, 288, "a re-run found 6.42 mJ at 224 and 6.23 at 288 pixels"),
    ),
    checkpoints=("linked in the repository's README: 8_384.pth.tar and others, timm style",),
    unconfirmed=(
        "the checkpoints' container key 'state_dict'",
        "the unused weights talking_heads are ignored",
        "dvs: equal to the published formula, but no published event weights were loaded",
    ),
    marks=(r"^block\.0\.attn\.talking_heads\.weight$", r"^patch_embed\.rpe_conv\.weight$"),
    convert=convert,
    ignored=(r"\.talking_heads\.weight$",),
)

for _name, _params, _top1, _sizes in (
    ("sdt_v1_8_384", 16816024, "72.28 %", {"embed_dim": 384}),
    ("sdt_v1_6_512", 23373352, "74.11 %", {"depth": 6}),
    ("sdt_v1_8_512", 29689384, "74.57 %", {}),
    ("sdt_v1_10_512", 36005416, "74.66 %", {"depth": 10}),
    ("sdt_v1_8_768", 66338632, "77.07 % at 288 pixels", {"embed_dim": 768}),
):
    _summary = f"Spike-driven Transformer V1 {_name[7:].replace('_', '-')}, ImageNet top-1 {_top1}, T=4"
    register_variant(FAMILY, _name, SpikeDrivenTransformer, params=_params, summary=_summary, **_sizes)
