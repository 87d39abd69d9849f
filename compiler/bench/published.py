"""The networks that capture is tried on at full size: every registered one of snnkit, and timm's by family.

Nobody needs their weights: large ones are left as the memory came, so that a network of three thousand million
parameters takes no memory before something reads it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

LARGE = 50_000
"""Numbers in a parameter from which on nobody fills it."""

TIMM: dict[str, tuple[str, ...]] = {
    "beit": ("beit_base_patch16_224", "beitv2_base_patch16_224"),
    "byobnet": ("gernet_s", "gcresnext26ts", "botnet26t_256", "lambda_resnet26t"),
    "cait": ("cait_xxs24_224",),
    "coat": ("coat_tiny", "coat_lite_tiny"),
    "coatnet": ("coatnet_nano_rw_224", "coatnet_0_rw_224"),
    "convit": ("convit_tiny",),
    "convmixer": ("convmixer_1024_20_ks9_p14",),
    "convnext": ("convnext_tiny", "convnextv2_atto"),
    "crossvit": ("crossvit_tiny_240",),
    "cspnet": ("cspresnet50", "cspdarknet53", "cs3darknet_m"),
    "davit": ("davit_tiny",),
    "deit": ("deit_tiny_patch16_224", "deit_tiny_distilled_patch16_224", "deit3_small_patch16_224"),
    "densenet": ("densenet121",),
    "dla": ("dla34", "dla60_res2net"),
    "dpn": ("dpn68",),
    "edgenext": ("edgenext_xx_small",),
    "efficientformer": ("efficientformer_l1", "efficientformerv2_s0"),
    "efficientnet": ("efficientnet_b0", "tf_efficientnetv2_s", "efficientnet_es", "mixnet_s"),
    "efficientnet-lite": ("efficientnet_lite0",),
    "efficientvit": ("efficientvit_b0", "efficientvit_m0"),
    "eva": ("eva02_tiny_patch14_224",),
    "fastvit": ("fastvit_t8", "fastvit_sa12"),
    "focalnet": ("focalnet_tiny_srf",),
    "gcvit": ("gcvit_xxtiny",),
    "ghostnet": ("ghostnet_100", "ghostnetv2_100"),
    "hiera": ("hiera_tiny_224",),
    "hrnet": ("hrnet_w18_small",),
    "inception": ("inception_v3", "inception_v4", "inception_resnet_v2"),
    "inception-next": ("inception_next_tiny",),
    "levit": ("levit_128s", "levit_conv_128s"),
    "maxvit": ("maxvit_tiny_rw_224", "maxxvit_rmlp_nano_rw_256"),
    "metaformer": ("poolformer_s12", "poolformerv2_s12", "convformer_s18", "caformer_s18"),
    "mixer": ("mixer_b16_224", "resmlp_12_224", "gmlp_ti16_224", "gmixer_12_224"),
    "mobilenet": ("mobilenetv2_100", "mobilenetv3_small_100", "mobilenetv3_large_100", "mobilenetv4_hybrid_medium"),
    "mobilevit": ("mobilevit_xxs", "mobilevitv2_050"),
    "mvit": ("mvitv2_tiny",),
    "nest": ("nest_tiny",),
    "nextvit": ("nextvit_small",),
    "nfnet": ("dm_nfnet_f0", "nf_resnet50"),
    "pit": ("pit_ti_224",),
    "pvt": ("pvt_v2_b0", "pvt_v2_b2_li"),
    "regnet": ("regnetx_002", "regnety_002", "regnetz_005"),
    "repvgg": ("repvgg_a0", "mobileone_s0"),
    "repvit": ("repvit_m1",),
    "res2net": ("res2net50_26w_4s",),
    "resnest": ("resnest14d",),
    "resnet": ("resnet18", "resnet50", "ecaresnet26t", "resnext50_32x4d", "wide_resnet50_2"),
    "resnetv2": ("resnetv2_50",),
    "rexnet": ("rexnet_100",),
    "senet": ("seresnet18", "legacy_seresnet18"),
    "swin": ("swin_tiny_patch4_window7_224", "swinv2_tiny_window8_256", "swinv2_cr_tiny_224"),
    "tiny_vit": ("tiny_vit_5m_224",),
    "tnt": ("tnt_s_patch16_224",),
    "tresnet": ("tresnet_m",),
    "twins": ("twins_pcpvt_small", "twins_svt_small"),
    "vgg": ("vgg11", "vgg16_bn"),
    "visformer": ("visformer_tiny",),
    "vit": ("vit_tiny_patch16_224", "vit_small_patch14_reg4_dinov2", "vit_relpos_small_patch16_224"),
    "volo": ("volo_d1_224",),
    "vovnet": ("ese_vovnet19b_dw",),
    "xception": ("xception41",),
    "xcit": ("xcit_nano_12_p16_224",),
}


def listed() -> dict[str, list[str]]:
    """Return family → names, timm's families as ``timm NAME``."""
    from snnkit.models import list_models
    from snnkit.models.registry import _MODELS

    found: dict[str, list[str]] = {}
    for name in list_models():
        found.setdefault(_MODELS[name].family.name, []).append(name)
    return {**found, **{f"timm {family}": list(names) for family, names in TIMM.items()}}


def built(name: str, timm: bool = False, fill: bool = False, **sizes: Any) -> tuple[nn.Module, Tensor]:
    """Return a network in eval mode and one sample of its default size; of an autoencoder its encoder.

    ``fill``: give large parameters their values too.
    """
    with nullcontext() if fill else _Unfilled():
        model, shape = (_timm if timm else _ours)(name, **sizes)
    return model.eval(), torch.zeros(1, *shape)


def _ours(name: str, **sizes: Any) -> tuple[nn.Module, tuple[int, ...]]:
    from snnkit.models import create_model
    from snnkit.models.masked import MaskedAutoencoder
    from snnkit.models.registry import _MODELS

    given = {key: value.default for key, value in inspect.signature(_MODELS[name].build).parameters.items()} | sizes
    side = given["img_size"] or given["trained_at"][0]
    model = create_model(name, **sizes)
    frames = tuple(filter(None, [getattr(model, "num_frames", given.get("num_frames"))]))  # 0 frames: an image
    if isinstance(model, MaskedAutoencoder):
        model = model.encoder
    return model, (given["in_chans"], *frames, side, side)


def _timm(name: str, **sizes: Any) -> tuple[nn.Module, tuple[int, ...]]:
    import timm

    model: nn.Module = timm.create_model(name, pretrained=False, **sizes)
    config: Any = model.default_cfg
    return model, tuple(config["input_size"] if isinstance(config, dict) else config.input_size)


def lively(model: nn.Module) -> nn.Module:
    """Shift norms to where thresholds are, so that neurons fire about as often as trained ones."""
    for part in model.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            nn.init.uniform_(part.bias, 0.0, 1.0)
    return model.eval()


class _Unfilled(TorchFunctionMode):
    """Drops every in-place operation on a large parameter."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        first = args[0] if args else (kwargs or {}).get("tensor")
        name = getattr(func, "__name__", "")
        in_place = name.endswith("_") and not name.endswith("__") and name != "requires_grad_"
        if in_place and isinstance(first, nn.Parameter) and first.numel() >= LARGE:
            return first
        return func(*args, **(kwargs or {}))
