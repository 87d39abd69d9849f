"""This project's own families, small."""

from __future__ import annotations

from torch import nn

import snnkit
from snnkit.models import families

from .case import Case

# Beside each family's smallest build: the forms in which its networks are published.
_FORMS: dict[str, list[tuple[str, dict]]] = {
    "meta_spikeformer": [
        ("sew", {"shortcut": "sew"}),
        ("distilled", {"distilled": True}),
        ("hardvs", {"name": "meta_spikeformer_hardvs", "in_chans": 2, "num_heads": 2}),
    ],
    "spikformer": [("cifar", {"name": "spikformer_cifar_2_384", "num_heads": 2, "pools": "0011", "img_size": 32})],
    "sew_resnet": [
        ("and", {"connect": "and"}),
        ("iand", {"connect": "iand"}),
        ("bottleneck", {"name": "sew_resnet50"}),
    ],
    "ms_resnet": [("bottleneck", {"name": "ms_resnet50"})],
    "e_spikeformer_large": [("levels", {"levels": 4, "distilled": True, "img_size": 64})],
    "lookupvit": [
        (
            "video",
            {
                "name": "lookupvit_video_base",
                "num_frames": 4,
                "img_size": 32,
                "lookup_grid": (1, 2, 2),
                "input_shape": (1, 4, 32, 32),
            },
        )
    ],
    "moat": [("global", {"window_size": None}), ("no bias", {"position_bias": False})],
    "mobilenet_v1": [("plain", {"ulsam_insert": ()})],
    "mobilenet_v2": [("plain", {"ulsam_insert": (), "ulsam_substitute": ()})],
    "swin_v2": [("extra norms", {"extra_norm_period": 1}), ("features", {"features_only": True})],
    "uniformer": [("overlapping", {"overlapping_stem": True, "aux_head": True})],
    "uniformer_dense": [("global", {"attention": "global"}), ("window", {"attention": "window"})],
    "uniformer_video": [("divided", {"attention": "divided"})],
}
_STEPS = 4


def _case(family: str, form: str, kind: str, sizes: dict) -> Case:
    sizes = dict(sizes)
    side = sizes["img_size"]
    shape = sizes.pop("input_shape", (sizes["in_chans"], side, side))
    name = f"{family} {form}".strip()
    return Case(name, family, lambda: snnkit.create_model(**sizes), (shape,), _STEPS if kind == "snn" else 0)


def _families() -> list[Case]:
    found = []
    for family in families():
        for form, changes in [("", {}), *_FORMS.get(family.name, [])]:
            found.append(_case(family.name, form, family.kind, {**family.tiny, **changes}))
    return found


def segmenter(**sizes: object) -> nn.Module:
    """A small segmentation network, whose neck reads means over time."""
    small = {"embed_dim": (8, 8, 16, 16), "depths": (1, 1, 1, 1, 1), "num_heads": 1, "mlp_ratio": 2}
    return snnkit.create_model(
        "meta_spikeformer_seg_15m", **small, img_size=32, num_classes=3, fpn_channels=8, head_channels=8, **sizes
    )


_DECODER = {"decoder_dim": 8, "decoder_depth": 1, "decoder_heads": 2, "in_chans": 2, "img_size": 64}
_MASKED = {
    "e_spikeformer_mae_12_512": {"embed_dim": (8, 8, 16), "depth": 1, "num_heads": 1, "levels": 2},
    "spikformer_v2_mae_8_384": {"embed_dim": 16, "depth": 1, "num_heads": 2, "stem_ratio": 2},
}


def _encoder(name: str) -> Case:
    """What classifiers are made of after pre-training; the whole model draws its mask inside."""

    def build() -> nn.Module:
        return snnkit.create_model(name, **_MASKED[name], **_DECODER).encoder

    return Case(f"{name} encoder", "masked autoencoders", build, ((2, 64, 64),), _STEPS)


OURS = [
    *_families(),
    Case("meta_spikeformer segmentation", "meta_spikeformer", lambda: segmenter(timesteps=1), ((3, 32, 32),), 1),
    *map(_encoder, _MASKED),
]
