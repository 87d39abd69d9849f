"""QKFormer: a hierarchical spiking transformer; early stages attend by a mask from queries alone (Q-K attention).

    image → embed /4, D/4 → 1 token Q-K block → embed /8, D/2 → 2 token Q-K blocks → embed /16, D → SSA blocks
    → mean over pixels → linear → mean over time

    embed           s(BN(conv(s(max-pool(BN(conv x)))))) + s(BN(conv 1×1 /2 x)); before the first conv, pool, s
    token Q-K       s(BN(W·(m ⊙ k))), m = s½(sum of q over the channels of a head): a mask over the tokens
    SSA             as in Spikformer

s is a LIF, s½ one with threshold 0.5. Sums of spikes reach the weights, so the model is not spike-driven.
Any image size serves: a map has ⌈side / stride⌉ pixels a side.

The published code runs the last neuron of SSA on time and batch flattened into one axis: its membranes go from sample
to sample, and results depend on the batch. Here every sample stands alone; ``official=True`` computes as published, and
so does a model that published weights are loaded into, unless it was made with ``official=False``.

Source: Zhou et al., "QKFormer: Hierarchical Spiking Transformer using Q-K Attention", NeurIPS 2024, arXiv 2403.16552.
"""

from __future__ import annotations

from torch import Tensor, nn

from snnkit.layers.conv_bn import ConvBN
from snnkit.layers.drop_path import rates
from snnkit.layers.spike_driven_attention import attention_neuron
from snnkit.layers.spiking_block import SpikingBlock
from snnkit.layers.spiking_mlp import SpikingMLP
from snnkit.layers.spiking_self_attention import SpikingSelfAttention
from snnkit.layers.spiking_stem import halving_pool
from snnkit.models.classifier import Feature, FeatureInfo, SpikingClassifier, linear_head
from snnkit.models.family import Family, Published, StateDict, renamed
from snnkit.models.registry import register_variant
from snnkit.models.sizes import check_divides, check_positive, check_whole, whole_numbers
from snnkit.models.spikformer import as_map_weights
from snnkit.neurons import LIF


class DeformedEmbedding(nn.Module):
    """Halve a map and change its channels, with a shortcut of its own (SPEDS).

    (T, B, C, H, W) → (T, B, C', ⌈H/2⌉, ⌈W/2⌉).
    """

    def __init__(self, in_channels: int, channels: int):
        super().__init__()
        self.conv1, self.pool, self.neuron1 = ConvBN(in_channels, channels, 3), halving_pool(), LIF()
        self.conv2, self.neuron2 = ConvBN(channels, channels, 3), LIF()
        self.shortcut, self.shortcut_neuron = ConvBN(in_channels, channels, 1, stride=2), LIF()

    def forward(self, x_TBCHW: Tensor) -> Tensor:
        """Return counts of spikes."""
        spikes = self.neuron2(self.conv2(self.neuron1(self.pool(self.conv1(x_TBCHW)))))
        return spikes + self.shortcut_neuron(self.shortcut(x_TBCHW))


class TokenQKAttention(nn.Module):
    """Tokens whose queries fire often enough pass their keys: (T, B, C, H, W) → spikes of the same shape.

    Args:
        channels: C.
        num_heads: heads; each has a mask of its own.
    """

    def __init__(self, channels: int, num_heads: int):
        super().__init__()
        self.num_heads = num_heads
        self.q, self.q_neuron = ConvBN(channels, channels), LIF()
        self.k, self.k_neuron = ConvBN(channels, channels), LIF()
        self.mask_neuron = attention_neuron()
        self.proj, self.proj_neuron = ConvBN(channels, channels, bias=True), LIF()

    def forward(self, x_TBCHW: Tensor) -> Tensor:
        """Mask the keys."""
        q_TBhdHW = self.q_neuron(self.q(x_TBCHW)).unflatten(2, (self.num_heads, -1))
        k_TBhdHW = self.k_neuron(self.k(x_TBCHW)).unflatten(2, (self.num_heads, -1))
        masked = self.mask_neuron(q_TBhdHW.sum(3, keepdim=True)) * k_TBhdHW
        return self.proj_neuron(self.proj(masked.flatten(2, 3)))


class AcrossBatch(nn.Module):
    """A LIF whose membranes go from sample to sample of a batch, step by step: the published code's flattened axis."""

    def __init__(self) -> None:
        super().__init__()
        self.neuron = LIF()

    def forward(self, x: Tensor) -> Tensor:
        """Currents (T, B, …) → spikes (T, B, …), in the order step 0 of all samples, step 1 of all samples, …"""
        return self.neuron(x.flatten(0, 1).unsqueeze(1)).reshape(x.shape)


class QKFormer(SpikingClassifier):
    """Spiking classifier of images (B, C, H, W) or sequences (T, B, C, H, W).

    Args:
        num_classes: K; 0 for no head.
        in_chans: C.
        img_size: side of the images it is meant for; any is served.
        timesteps: T for images.
        drop_path_rate: stochastic depth of the last block (the published models apply none).
        features_only: return the counts behind the three stages.
        embed_dim: D, a multiple of 8; D/4 is a multiple of ``num_heads``.
        depths: blocks of the three stages.
        num_heads: heads.
        mlp_ratio: hidden width of the MLPs over their channels.
        official: compute as the published code does, samples of a batch depending on each other; None for not, until
            published weights are loaded.

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
        depths: tuple[int, int, int] = (1, 2, 7),
        num_heads: int = 8,
        mlp_ratio: float = 4.0,
        official: bool | None = None,
    ):
        super().__init__(timesteps)
        check_whole(embed_dim=embed_dim, num_heads=num_heads)
        depths = whole_numbers("depths", depths, 3)
        check_divides("embed_dim", embed_dim, 8, "which the stem begins with an eighth of")
        check_divides("embed_dim", embed_dim, 4 * num_heads, "four times num_heads")
        check_positive(mlp_ratio=mlp_ratio)
        self.in_chans, self.img_size, self.num_classes = in_chans, img_size, num_classes
        self.features_only, self.num_features, self.official = features_only, embed_dim, official
        widths = [embed_dim // 4, embed_dim // 2, embed_dim]
        self.stem, self.stem_pool = ConvBN(in_chans, embed_dim // 8, 3), halving_pool()
        self.stem_neuron = LIF()
        channels = [embed_dim // 8, *widths]
        self.embeds = nn.ModuleList(DeformedEmbedding(channels[i], channels[i + 1]) for i in range(3))
        last = AcrossBatch if official else LIF
        drops = iter(rates(drop_path_rate, sum(depths)))
        self.stages = nn.ModuleList()
        for i, (width, depth) in enumerate(zip(widths, depths, strict=True)):
            stage = nn.Sequential()
            for _ in range(depth):
                attention = (
                    SpikingSelfAttention(width, num_heads, proj_neuron=last)
                    if i == 2
                    else TokenQKAttention(width, num_heads)
                )
                stage.append(SpikingBlock(attention, SpikingMLP(width, int(width * mlp_ratio)), next(drops)))
            self.stages.append(stage)
        self.head = linear_head(embed_dim, num_classes)
        self.feature_info = FeatureInfo(Feature(width, 2 ** (i + 2), f"stages.{i}") for i, width in enumerate(widths))

    def forward_stem(self, x_TBCHW: Tensor) -> Tensor:
        """Return the currents of the first neurons, at half the size of the image."""
        return self.stem_pool(self.stem(x_TBCHW))

    def forward_stages(self, current_TBCHW: Tensor) -> list[Tensor]:
        """Return the counts behind each stage."""
        x, maps = self.stem_neuron(current_TBCHW), []
        for embed, stage in zip(self.embeds, self.stages, strict=True):
            x = self._blocks(stage, embed(x))
            maps.append(x)
        return maps

    def forward_head(self, features_TBCHW: Tensor, pre_logits: bool = False) -> Tensor:
        """Return the logits of every step (T, B, K), or with ``pre_logits`` the means (T, B, D)."""
        pooled = features_TBCHW.mean((3, 4))
        return pooled if pre_logits else self.head(pooled)


def convert(state: StateDict, model: nn.Module) -> dict[str, Tensor]:
    """Translate the published keys."""
    rules = [
        (r"^patch_embed1\.proj_(conv|bn)\.", r"stem.\1."),
        (r"^patch_embed(\d)\.proj_res_(conv|bn)\.", lambda m: f"embeds.{int(m[1]) - 1}.shortcut.{m[2]}."),
        (r"^patch_embed(\d)\.proj[13]_(conv|bn)\.", lambda m: f"embeds.{int(m[1]) - 1}.conv1.{m[2]}."),
        (r"^patch_embed(\d)\.proj[24]_(conv|bn)\.", lambda m: f"embeds.{int(m[1]) - 1}.conv2.{m[2]}."),
        (r"^stage(\d)\.", lambda m: f"stages.{int(m[1]) - 1}."),
        (r"\.(?:attn|tssa)\.(q|k|v|proj)_(conv|bn)\.", r".attention.\1.\2."),
        (r"\.mlp\.(fc\d)_(conv|bn)\.", r".mlp.\1.\2."),
    ]
    return as_map_weights(renamed(state, rules))


def take_official_form(model: nn.Module) -> None:
    """Let a model compute as the published code does, as ``official=True`` makes it."""
    for module in model.modules():
        if isinstance(module, SpikingSelfAttention):
            module.proj_neuron = AcrossBatch()
    model.official = True  # type: ignore[assignment]


FAMILY = Family(
    name="qkformer",
    title="QKFormer",
    kind="snn",
    paper="Zhou et al., QKFormer: Hierarchical Spiking Transformer using Q-K Attention, NeurIPS 2024, arXiv 2403.16552",
    source="github.com/zhouchenlin2096/QKFormer @c2a00e8: imagenet/qkformer.py (official=True)",
    tiny={
        "name": "qkformer_10_384",
        "embed_dim": 16,
        "depths": (1, 1, 1),
        "num_heads": 2,
        "mlp_ratio": 2.0,
        "img_size": 48,
        "in_chans": 2,
        "timesteps": 3,
        "num_classes": 4,
    },
    published=(
        Published("qkformer_10_384", 78.80, 16.47, 15.13, 4),
        Published("qkformer_10_512", 82.04, 29.08, 21.99, 4),
        Published("qkformer_10_768", 84.22, 64.96, 38.91, 4),
        Published("qkformer_10_768", 85.25, 64.96, None, 4, 288),
        Published("qkformer_10_768", 85.65, 64.96, 113.64, 4, 384),
    ),
    checkpoints=("linked in the repository's README; torch pickles with the weights under 'model'",),
    unconfirmed=(
        "whether the published accuracies were measured with membranes that cross samples (official=True): presumably",
        "the published SSA also swaps height and width of images that are not square; this is not reproduced",
    ),
    form={"official": True},
    take_form=take_official_form,
    marks=(r"^patch_embed1\.proj_res_conv\.weight$", r"^stage1\.0\.tssa\.q_conv\.weight$"),
    convert=convert,
)

for _name, _params, _top1, _sizes in (
    ("qkformer_10_384", 16473688, 78.80, {"embed_dim": 384, "num_heads": 6}),
    ("qkformer_10_512", 29079336, 82.04, {"embed_dim": 512, "num_heads": 8}),
    ("qkformer_10_768", 64962760, 84.22, {"embed_dim": 768, "num_heads": 12}),
):
    _summary = f"QKFormer {_name[9:].replace('_', '-')}, ImageNet top-1 {_top1:.2f} % at T=4"
    register_variant(FAMILY, _name, QKFormer, params=_params, summary=_summary, **_sizes)
