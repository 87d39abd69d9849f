"""torchvision's models, narrow where their builders allow it, without weights."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import Tensor, nn
from torchvision import models as tv
from torchvision.models import get_model

from .case import Case


class Map(nn.Module):
    """A segmentation network whose answer is its map alone."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, 3, H, W) → logits (B, K, H, W)."""
        return self.model(x)["out"]


def _named(name: str, **settings: object) -> Callable[[], nn.Module]:
    return lambda: get_model(name, weights=None, num_classes=7, **settings)


def _small_head(name: str, features: int) -> Callable[[], nn.Module]:
    """AlexNet and VGG with two narrow layers where theirs hold a hundred million weights."""

    def build() -> nn.Module:
        model = get_model(name, weights=None)
        model.classifier = nn.Sequential(
            nn.Dropout(), nn.Linear(features, 16), nn.ReLU(inplace=True), nn.Dropout(), nn.Linear(16, 7)
        )
        return model

    return build


def _s3d() -> nn.Module:
    model = get_model("s3d", weights=None, num_classes=7)
    model.avgpool = nn.AvgPool3d((2, 2, 2), 1)  # for clips smaller than 224
    return model


def _convnext() -> nn.Module:
    stages = [(16, 32, 1), (32, 48, 1), (48, None, 2)]
    return tv.convnext.ConvNeXt([tv.convnext.CNBlockConfig(*stage) for stage in stages], num_classes=7)


def _mvit(v2: bool) -> nn.Module:
    setting = [
        tv.video.mvit.MSBlockConfig(1, 16, 32, [3, 3, 3], [3, 3, 3], [1, 1, 1], [1, 4, 4]),
        tv.video.mvit.MSBlockConfig(2, 32, 32, [3, 3, 3], [3, 3, 3], [1, 2, 2], [1, 2, 2]),
    ]
    forms = {"residual_pool": v2, "residual_with_cls_embed": not v2, "rel_pos_embed": v2, "proj_after_attn": v2}
    return tv.video.mvit.MViT((32, 32), 4, setting, num_classes=7, **forms)


_BACKBONE = {"weights_backbone": None}
_INCEPTION = {"init_weights": False, "aux_logits": False}
_MAXVIT = partial(
    tv.MaxVit, (64, 64), 8, 2, block_channels=[16, 32], block_layers=[1, 1], head_dim=8, stochastic_depth_prob=0.0
)
_SWIN = {"patch_size": [4, 4], "embed_dim": 16, "depths": [2, 2], "num_heads": [2, 4], "window_size": [4, 4]}
_VIT = {"image_size": 64, "patch_size": 32, "num_layers": 2, "num_heads": 2, "hidden_dim": 32, "mlp_dim": 64}
_MODELS: list[tuple[str, str, Callable[[], nn.Module], tuple[int, ...]]] = [
    ("alexnet", "alexnet", _small_head("alexnet", 9216), (3, 64, 64)),
    ("convnext", "convnext", _convnext, (3, 64, 64)),
    ("densenet", "densenet121", lambda: tv.DenseNet(8, (2, 2, 2, 2), 16, num_classes=7), (3, 64, 64)),
    ("efficientnet", "efficientnet_b0", _named("efficientnet_b0"), (3, 64, 64)),
    ("efficientnet", "efficientnet_v2_s", _named("efficientnet_v2_s"), (3, 64, 64)),
    ("googlenet", "googlenet", _named("googlenet", **_INCEPTION), (3, 64, 64)),
    ("inception", "inception_v3", _named("inception_v3", **_INCEPTION), (3, 75, 75)),
    ("maxvit", "maxvit", lambda: _MAXVIT(num_classes=7), (3, 64, 64)),
    ("mnasnet", "mnasnet0_5", _named("mnasnet0_5"), (3, 64, 64)),
    ("mobilenet", "mobilenet_v2", _named("mobilenet_v2", width_mult=0.5), (3, 64, 64)),
    ("mobilenet", "mobilenet_v3_small", _named("mobilenet_v3_small"), (3, 64, 64)),
    ("regnet", "regnet_y_400mf", _named("regnet_y_400mf"), (3, 64, 64)),
    ("resnet", "resnet18", _named("resnet18"), (3, 64, 64)),
    ("resnet", "resnext50_32x4d", _named("resnext50_32x4d"), (3, 64, 64)),
    ("shufflenet", "shufflenet_v2_x0_5", _named("shufflenet_v2_x0_5"), (3, 64, 64)),
    ("squeezenet", "squeezenet1_1", _named("squeezenet1_1"), (3, 64, 64)),
    ("swin", "swin", lambda: tv.SwinTransformer(**_SWIN, num_classes=7), (3, 64, 64)),
    (
        "swin",
        "swin v2",
        lambda: tv.SwinTransformer(
            **_SWIN,
            num_classes=7,
            block=tv.swin_transformer.SwinTransformerBlockV2,
            downsample_layer=tv.swin_transformer.PatchMergingV2,
        ),
        (3, 64, 64),
    ),
    ("vgg", "vgg11_bn", _small_head("vgg11_bn", 25088), (3, 32, 32)),
    ("vit", "vit", lambda: tv.VisionTransformer(**_VIT, num_classes=7), (3, 64, 64)),
    (
        "segmentation",
        "lraspp_mobilenet_v3_large",
        lambda: Map(_named("lraspp_mobilenet_v3_large", **_BACKBONE)()),
        (3, 64, 64),
    ),
    ("segmentation", "fcn_resnet50", lambda: Map(_named("fcn_resnet50", **_BACKBONE)()), (3, 64, 64)),
    (
        "segmentation",
        "deeplabv3_mobilenet_v3_large",
        lambda: Map(_named("deeplabv3_mobilenet_v3_large", **_BACKBONE)()),
        (3, 64, 64),
    ),
    ("video", "r3d_18", _named("r3d_18"), (3, 4, 32, 32)),
    ("video", "r2plus1d_18", _named("r2plus1d_18"), (3, 4, 32, 32)),
    ("video", "s3d", _s3d, (3, 16, 64, 64)),
    ("video", "mvit_v1", lambda: _mvit(False), (3, 4, 32, 32)),
    ("video", "mvit_v2", lambda: _mvit(True), (3, 4, 32, 32)),
    (
        "video",
        "swin3d",
        lambda: tv.video.SwinTransformer3d(
            **{**_SWIN, "patch_size": [2, 4, 4], "window_size": [2, 4, 4]}, num_classes=7
        ),
        (3, 4, 32, 32),
    ),
]

TORCHVISION = [
    Case(f"torchvision {name}", f"torchvision {family}", build, (shape,)) for family, name, build, shape in _MODELS
]
