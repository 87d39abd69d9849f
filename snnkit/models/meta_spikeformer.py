"""Meta-SpikeFormer (Spike-driven Transformer V2): a spiking MetaFormer of convolutional and transformer blocks.

    image → stem 7×7 /2 → conv block → down → conv block → down → 2 conv blocks          (strides 2, 4, 8)
          → down → 6 transformer blocks → down (stride 1) → 2 transformer blocks         (stride 16)
          → mean over pixels → LIF → linear → mean over time

    down               LIF, 3×3, norm
    conv block         x + separable(x), then x + channel(x)
    separable          LIF, 1×1, norm, LIF, depthwise 7×7, 1×1, norm
    channel            LIF, 3×3, norm, LIF, 3×3, norm                                    (dense)
    transformer block  x + attention(x), then x + mlp(x)
    attention          LIF, three RepConv with a LIF each, SDSA, RepConv
    mlp                LIF, 1×1, norm, LIF, 1×1, norm

Shortcuts join membranes: x is what neurons receive, and every weight behind the stem but those of the separable
convolution's last layer meets spikes only. Letters: T steps, B images, C channels, H and W pixels, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from snnkit.errors import InvalidArgumentError, unknown_name
from snnkit.layers import ConvBN
from snnkit.layers.drop_path import DropPath, rates
from snnkit.layers.rep_conv import RepConv
from snnkit.layers.sequence import Conv2d  # type: ignore[attr-defined]
from snnkit.layers.spike_driven_attention import spike_attention
from snnkit.layers.spiking_mlp import MembraneMLP, SpikingMLP
from snnkit.models.classifier import Feature, FeatureInfo, SpikingClassifier, linear_head
from snnkit.models.family import Family, Published, StateDict, renamed
from snnkit.models.registry import register_variant
from snnkit.neurons import LIF


@dataclass(frozen=True)
class Shortcut:
    """What stands at the entry and at the end of every branch, and the MLP that is so."""

    entry: Callable[[], nn.Module]
    ending: Callable[[], nn.Module]
    mlp: type[nn.Module]


SHORTCUTS = {
    "membrane": Shortcut(LIF, nn.Identity, MembraneMLP),  # shortcuts join currents
    "sew": Shortcut(nn.Identity, LIF, SpikingMLP),  # shortcuts add spikes: layers meet counts
}


class SeparableConv(nn.Module):
    """LIF, 1×1 to twice the channels, LIF, depthwise 7×7, 1×1 back: (T, B, C, H, W) → (T, B, C, H, W)."""

    def __init__(self, dim: int, shortcut: Shortcut):
        super().__init__()
        self.lif1, self.expand = shortcut.entry(), ConvBN(dim, 2 * dim, 1)
        self.lif2 = LIF()
        self.depthwise = Conv2d(2 * dim, 2 * dim, 7, padding=3, groups=2 * dim, bias=False)
        self.project, self.end = ConvBN(2 * dim, dim, 1), shortcut.ending()

    def forward(self, x_TBCHW: Tensor) -> Tensor:
        """Return what the shortcut adds."""
        return self.end(self.project(self.depthwise(self.lif2(self.expand(self.lif1(x_TBCHW))))))


class ChannelConv(nn.Module):
    """LIF, dense 3×3 to more channels, LIF, dense 3×3 back: (T, B, C, H, W) → (T, B, C, H, W)."""

    def __init__(self, dim: int, hidden: int, shortcut: Shortcut):
        super().__init__()
        self.lif1, self.conv1 = shortcut.entry(), ConvBN(dim, hidden, 3)
        self.lif2, self.conv2 = LIF(), ConvBN(hidden, dim, 3)
        self.end = shortcut.ending()

    def forward(self, x_TBCHW: Tensor) -> Tensor:
        """Return what the shortcut adds."""
        return self.end(self.conv2(self.lif2(self.conv1(self.lif1(x_TBCHW)))))


class Attention(nn.Module):
    """Spike-driven self-attention between RepConvs: (T, B, C, H, W) → (T, B, C, H, W)."""

    def __init__(self, dim: int, num_heads: int, attention: str, shortcut: Shortcut):
        super().__init__()
        self.lif = shortcut.entry()
        operator = spike_attention(attention, num_heads)
        self.q, self.q_lif = RepConv(dim, dim), LIF()
        self.k, self.k_lif = RepConv(dim, dim), LIF()
        if operator.uses_value:
            self.v, self.v_lif = RepConv(dim, dim), LIF()
        self.sdsa = operator
        self.proj, self.end = RepConv(dim, dim), shortcut.ending()

    def forward(self, x_TBCHW: Tensor) -> Tensor:
        """Return what the shortcut adds."""
        spikes = self.lif(x_TBCHW)
        given = [self.q_lif(self.q(spikes)), self.k_lif(self.k(spikes))]
        if self.sdsa.uses_value:
            given.append(self.v_lif(self.v(spikes)))
        return self.end(self.proj(self.sdsa(*given)))


class Block(nn.Module):
    """Two residual branches in a row: (T, B, C, H, W) → (T, B, C, H, W)."""

    def __init__(self, mixer: nn.Module, channel: nn.Module, drop_path: float):
        super().__init__()
        self.mixer, self.channel = mixer, channel
        self.drop_path = DropPath(drop_path, batch_axis=1)

    def forward(self, x_TBCHW: Tensor) -> Tensor:
        """Return currents, or counts of spikes."""
        x_TBCHW = x_TBCHW + self.drop_path(self.mixer(x_TBCHW))
        return x_TBCHW + self.drop_path(self.channel(x_TBCHW))


class Stage(nn.Module):
    """A change of resolution and the blocks behind it; the first stage has the stem before it instead."""

    def __init__(self, lif: nn.Module, down: nn.Module, end: nn.Module, blocks: Iterable[nn.Module]):
        super().__init__()
        self.lif, self.down, self.end = lif, down, end
        self.blocks = nn.ModuleList(blocks)

    def forward(self, x_TBCHW: Tensor, run_block: Callable[[nn.Module, Tensor], Tensor]) -> Tensor:
        """(T, B, C, H, W) → (T, B, C', H', W'); ``run_block`` calls each block."""
        x_TBCHW = self.end(self.down(self.lif(x_TBCHW)))
        for block in self.blocks:
            x_TBCHW = run_block(block, x_TBCHW)
        return x_TBCHW


class MetaSpikeFormer(SpikingClassifier):
    """The network; images (B, C, H, W) of any size, or sequences (T, B, C, H, W).

    Args:
        num_classes: K; 0 for no classifier.
        in_chans: channels of the images.
        img_size: side of the images it is made for, in pixels; others work too.
        timesteps: T for still images.
        drop_path_rate: of the last transformer block, growing linearly from 0; the published code never drops.
        features_only: return the maps of strides 4, 8, 16, 16 and have no classifier.
        distilled: add a second head; training returns the pair of logits, eval their mean.
        embed_dim: channels of the last four stages; the first has half of the first number.
        depths: blocks of the five stages.
        num_heads: heads of the attention.
        mlp_ratio: hidden channels of the convolutional and of the transformer blocks' second branch, per channel.
        attention: a key of ``snnkit.layers.spike_driven_attention.ATTENTIONS``.
        shortcut: "membrane", or "sew" (neurons behind the norms, spikes are added; own form, unpublished).
        stem_stride: 2; 1 for small images, which halves all strides.

    Raises:
        InvalidArgumentError: sizes that do not fit one another.
        UnknownNameError: no such attention or shortcut.
    """

    def __init__(
        self,
        num_classes: int,
        in_chans: int,
        img_size: int | tuple[int, int],
        timesteps: int,
        drop_path_rate: float,
        features_only: bool,
        distilled: bool,
        embed_dim: Sequence[int],
        depths: Sequence[int],
        num_heads: int,
        mlp_ratio: float,
        attention: str,
        shortcut: str,
        stem_stride: int,
    ):
        super().__init__(timesteps)
        _check_sizes(embed_dim, depths, num_heads, mlp_ratio, stem_stride)
        if shortcut not in SHORTCUTS:
            raise unknown_name("shortcut", shortcut, SHORTCUTS)
        kind = SHORTCUTS[shortcut]
        self.in_chans, self.img_size, self.features_only = in_chans, img_size, features_only
        self.num_classes = 0 if features_only else num_classes
        widths = (embed_dim[0] // 2, *embed_dim)
        self.stem = ConvBN(in_chans, widths[0], 7, stride=stem_stride, bias=True)
        drop = iter(rates(drop_path_rate, depths[3] + depths[4]))

        def block(stage: int, dim: int) -> Block:
            hidden = int(dim * mlp_ratio)
            if stage < 3:
                return Block(SeparableConv(dim, kind), ChannelConv(dim, hidden, kind), 0.0)
            return Block(Attention(dim, num_heads, attention, kind), kind.mlp(dim, hidden), next(drop))

        def stage(i: int) -> Stage:
            stride = 1 if i == 4 else 2
            lif = kind.entry() if i else nn.Identity()
            down = ConvBN(widths[i - 1], widths[i], 3, stride=stride, bias=True) if i else nn.Identity()
            return Stage(lif, down, kind.ending(), [block(i, widths[i]) for _ in range(depths[i])])

        self.stages = nn.ModuleList(stage(i) for i in range(5))
        self.num_features = embed_dim[3]
        reductions = [stem_stride * factor for factor in (2, 4, 8, 8)]
        self.feature_info = FeatureInfo(
            Feature(width, reduction, f"stages.{i}")
            for i, (width, reduction) in enumerate(zip(embed_dim, reductions, strict=True), start=1)
        )
        self.head_lif = LIF()
        self.head = linear_head(self.num_features, self.num_classes)
        self.head_dist = linear_head(self.num_features, self.num_classes) if distilled and not features_only else None

    def forward_stem(self, x_TBCHW: Tensor) -> Tensor:
        """Return the currents of the first layer, (T, B, C, H, W)."""
        return self.stem(x_TBCHW)

    def forward_maps(self, current_TBCHW: Tensor) -> list[Tensor]:
        """Return the currents behind each of the five stages, (T, B, C, H, W) at strides 2, 4, 8, 16, 16."""
        maps, x_TBCHW = [], current_TBCHW
        for stage in self.stages:
            x_TBCHW = stage(x_TBCHW, self._block)
            maps.append(x_TBCHW)
        return maps

    def forward_stages(self, current_TBCHW: Tensor) -> list[Tensor]:
        """Return the currents behind the last four stages, (T, B, C, H, W) at strides 4, 8, 16, 16."""
        return self.forward_maps(current_TBCHW)[1:]

    def forward_head(self, features_TBCHW: Tensor, pre_logits: bool = False) -> Tensor:
        """Return logits (T, B, K), of two heads their mean; with ``pre_logits`` the spikes (T, B, C) they read."""
        spikes_TBC = self.head_lif(features_TBCHW.mean((3, 4)))
        if pre_logits:
            return spikes_TBC
        if self.head_dist is None:
            return self.head(spikes_TBC)
        return (self.head(spikes_TBC) + self.head_dist(spikes_TBC)) / 2

    def forward_logits(self, features_TBCHW: Tensor) -> Any:
        """Return logits (B, K); of a distilled model in training (logits, logits of the second head)."""
        if self.head_dist is None or not self.training:
            return super().forward_logits(features_TBCHW)
        spikes_TBC = self.forward_head(features_TBCHW, pre_logits=True)
        return self.readout(self.head(spikes_TBC)), self.readout(self.head_dist(spikes_TBC))

    def get_classifier(self) -> Any:
        """Return the last linear layer, of a distilled model the pair of them."""
        return self.head if self.head_dist is None else (self.head, self.head_dist)

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Put new, untrained heads of ``num_classes`` outputs in place; 0 removes them.

        Raises:
            InvalidArgumentError: ``num_classes`` < 0, or ``global_pool`` other than "avg" or None.
        """
        super().reset_classifier(num_classes, global_pool)
        if self.head_dist is not None:
            reference = next(self.parameters())
            self.head_dist = linear_head(self.num_features, num_classes).to(reference.device, reference.dtype)


def _check_sizes(
    embed_dim: Sequence[int], depths: Sequence[int], num_heads: int, mlp_ratio: float, stem_stride: int
) -> None:
    for name, values, count, low in (("embed_dim", embed_dim, 4, 1), ("depths", depths, 5, 0)):
        whole = isinstance(values, (tuple, list)) and all(isinstance(v, int) and v >= low for v in values)
        if not whole or len(values) != count:
            raise InvalidArgumentError(f"{name}={values!r}: must be {count} whole numbers ≥ {low}.")
    if embed_dim[0] % 2:
        raise InvalidArgumentError(f"embed_dim={embed_dim!r}: the first must be even; the stem has half of it.")
    if not isinstance(num_heads, int) or num_heads < 1 or embed_dim[2] % num_heads or embed_dim[3] % num_heads:
        shared = math.gcd(embed_dim[2], embed_dim[3])
        allowed = [n for n in range(1, shared + 1) if shared % n == 0]
        raise InvalidArgumentError(
            f"num_heads={num_heads!r}: must divide the channels of the transformer blocks, {embed_dim[2]} and "
            f"{embed_dim[3]}; {', '.join(map(str, allowed[:8]))} would do."
        )
    if not mlp_ratio > 0 or int(min(embed_dim) * mlp_ratio) < 1:
        raise InvalidArgumentError(f"mlp_ratio={mlp_ratio!r}: must leave at least one hidden channel.")
    if stem_stride not in (1, 2):
        raise InvalidArgumentError(f"stem_stride={stem_stride!r}: must be 1 or 2.")


_STAGES = (
    (r"^downsample1_1\.encode_", "stem."),
    (r"^downsample1_2\.encode_", "stages.1.down."),
    (r"^downsample(\d)\.encode_", r"stages.\1.down."),
    (r"^ConvBlock1_1\.0\.", "stages.0.blocks.0."),
    (r"^ConvBlock1_2\.0\.", "stages.1.blocks.0."),
    (r"^ConvBlock2_1\.0\.", "stages.2.blocks.0."),
    (r"^ConvBlock2_2\.0\.", "stages.2.blocks.1."),
    (r"^block(\d)\.(\d+)\.", r"stages.\1.blocks.\2."),
)
_LAYERS = (
    (r"\.Conv\.pwconv1\.", ".mixer.expand.conv."),
    (r"\.Conv\.bn1\.", ".mixer.expand.bn."),
    (r"\.Conv\.dwconv\.", ".mixer.depthwise."),
    (r"\.Conv\.pwconv2\.", ".mixer.project.conv."),
    (r"\.Conv\.bn2\.", ".mixer.project.bn."),
    (r"(blocks\.\d+)\.(conv|bn)([12])\.", r"\1.channel.conv\3.\2."),
    (r"\.mlp\.fc([12])_(conv|bn)\.", r".channel.fc\1.\2."),
    (r"\.attn\.([qkv]|proj)_conv\.", r".mixer.\1."),
    (r"\.0\.body\.0\.", ".conv_in."),
    (r"\.0\.body\.1\.bn\.", ".norm_in."),
    (r"\.0\.body\.2\.0\.", ".depthwise."),
    (r"\.0\.body\.2\.1\.", ".conv_out."),
    (r"\.0\.body\.2\.2\.", ".norm_out."),
    (r"(mixer\.(?:[qkv]|proj))\.1\.", r"\1.norm."),
    (r"^head_kd\.", "head_dist."),
)


def backbone_keys(state: StateDict) -> dict[str, Tensor]:
    """Translate published keys of the classifier and of its backbones; 1-D convolutions become 1×1."""
    made = renamed(state, (*_STAGES, *_LAYERS))
    return {key: value.unsqueeze(-1) if value.ndim == 3 else value for key, value in made.items()}


def _convert(state: StateDict, model: nn.Module) -> dict[str, Tensor]:
    convert = getattr(model, "published_keys", backbone_keys)  # the segmentation network has a neck and a head too
    return convert(state)


FAMILY = Family(
    name="meta_spikeformer",
    title="Meta-SpikeFormer (Spike-driven Transformer V2)",
    kind="snn",
    paper="Yao et al., Spike-driven Transformer V2: Meta Spiking Neural Network Architecture, arXiv 2404.03663",
    source="BICLab/Spike-Driven-Transformer-V2 @35f245f; backbones, segmentation and HAR-DVS: "
    "BICLab/Spike-Driven-Transformer-V3 @00fcd1f",
    tiny={
        "name": "meta_spikeformer_tiny",
        "embed_dim": (8, 8, 16, 16),
        "depths": (1, 1, 1, 1, 1),
        "num_heads": 1,
        "mlp_ratio": 2,
        "num_classes": 5,
        "in_chans": 1,
        "img_size": 32,
        "timesteps": 3,
    },
    published=(
        Published("meta_spikeformer_15m", 74.1, 15.1, 16.7, 4),
        Published("meta_spikeformer_31m", 77.2, 31.3, 32.8, 4),
        Published("meta_spikeformer_55m", 80.0, 55.4, 52.4, 4, note="distilled; 79.7 without (unconfirmed)"),
        Published("meta_spikeformer_15m", 71.8, 15.1, 4.0, 1, note="unconfirmed"),
        Published("meta_spikeformer_31m", 75.4, 31.3, 7.8, 1, note="unconfirmed"),
        Published("meta_spikeformer_55m", 79.1, 55.4, 13.0, 1, note="unconfirmed"),
        Published("meta_spikeformer_hardvs", 47.5, 18.3, None, 8, note="HAR-DVS, unconfirmed"),
        Published("meta_spikeformer_seg_15m", 32.3, 16.5, None, 1, 512, "ADE20K mIoU, unconfirmed; 33.6 at T = 4"),
        Published("meta_spikeformer_seg_55m", 34.8, 58.9, None, 1, 512, "ADE20K mIoU, unconfirmed; 35.3 at T = 4"),
    ),
    checkpoints=(
        "the authors' drive, 55m distilled only (55M_kd.pth at T = 1, 55M_kd_T4.pth): weights under 'model' of a torch "
        "pickle, with head_kd; make the model with distilled=True",
        "mmdet and mmseg weights: under 'state_dict', keys begin with backbone.",
    ),
    unconfirmed=(
        "SDSA-1 has published code in V1 only; SDSA-2 and SDSA-4 have none",
        'the SEW shortcut of the paper\'s ablation is not published; shortcut="sew" is an own form',
        "124m is in the code but not in the paper",
        "the paper's energies need a RepConv counted as one dense 3×3 convolution",
    ),
    marks=(r"(^|\.)downsample1_1\.encode_conv\.weight$", r"(^|\.)block3\.0\.attn\.q_conv\.0\.body\.1\.bn\.weight$"),
    convert=_convert,
)


def meta_spikeformer(
    num_classes: int = 1000,
    in_chans: int = 3,
    img_size: int | tuple[int, int] = 224,
    timesteps: int = 4,
    drop_path_rate: float = 0.0,
    features_only: bool = False,
    distilled: bool = False,
    embed_dim: Sequence[int] = (64, 128, 256, 360),
    depths: Sequence[int] = (1, 1, 2, 6, 2),
    num_heads: int = 8,
    mlp_ratio: float = 4.0,
    attention: str = "sdsa3",
    shortcut: str = "membrane",
    stem_stride: int = 2,
    threshold: float = 1.0,
) -> MetaSpikeFormer:
    """Build a Meta-SpikeFormer.

    Args:
        threshold: factor on the threshold of every neuron; below 1 it fires from the start, which short trainings
            on one time step need. Published weights want 1.
        num_classes, in_chans, img_size, timesteps, drop_path_rate, features_only, distilled: as in ``MetaSpikeFormer``.
        embed_dim, depths, num_heads, mlp_ratio, attention, shortcut, stem_stride: as in ``MetaSpikeFormer``.

    Raises:
        InvalidArgumentError: sizes that do not fit one another, or a factor that is not above 0.
        UnknownNameError: no such attention or shortcut.
    """
    if not threshold > 0:
        raise InvalidArgumentError(f"threshold={threshold!r}: must be > 0.")
    model = MetaSpikeFormer(
        num_classes,
        in_chans,
        img_size,
        timesteps,
        drop_path_rate,
        features_only,
        distilled,
        embed_dim,
        depths,
        num_heads,
        mlp_ratio,
        attention,
        shortcut,
        stem_stride,
    )
    for module in model.modules():
        if isinstance(module, LIF):
            module.v_threshold = threshold * module.v_threshold
    return model


SIZES: dict[str, tuple[int, int, int, int]] = {
    "15m": (64, 128, 256, 360),
    "31m": (96, 192, 384, 480),
    "55m": (128, 256, 512, 640),
    "124m": (192, 384, 768, 960),
}
_PARAMS = {"15m": 15_112_208, "31m": 31_333_864, "55m": 55_350_248, "124m": 123_741_160}

for _size, _width in SIZES.items():
    register_variant(
        FAMILY,
        f"meta_spikeformer_{_size}",
        meta_spikeformer,
        params=_PARAMS[_size],
        summary=f"Spike-driven Transformer V2, channels {', '.join(map(str, _width))}.",
        embed_dim=_width,
    )
register_variant(
    FAMILY,
    "meta_spikeformer_hardvs",
    meta_spikeformer,
    params=18_262_980,
    summary="Spike-driven Transformer V2 for event frames (T, B, 2, H, W) of HAR-DVS: 300 actions, T = 8.",
    num_classes=300,
    in_chans=2,
    timesteps=8,
    embed_dim=(80, 160, 320, 400),
    depths=(1, 1, 2, 4, 2),
)
register_variant(
    FAMILY,
    "meta_spikeformer_tiny",
    meta_spikeformer,
    params=682_554,
    summary="Spike-driven Transformer V2 for images of 28 or 32 pixels.",
    num_classes=10,
    in_chans=1,
    img_size=28,
    embed_dim=(32, 48, 64, 96),
    depths=(1, 1, 1, 2, 1),
    stem_stride=1,
)
