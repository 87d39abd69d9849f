"""UniFormer as a backbone for detection, segmentation and pose: four normed maps, strides 4, 8, 16, 32.

The third stage attends globally, within windows, or within windows with every fourth block global ("hybrid"). Maps are
NCHW. Sides need not be multiples of 32: each embedding leaves out the odd row or column at bottom and right.
"""

from __future__ import annotations

from torch import Tensor, nn

from snnkit.errors import InvalidArgumentError, unknown_name
from snnkit.layers.channel_norm import ChannelLayerNorm
from snnkit.layers.drop_path import rates
from snnkit.layers.uniformer_blocks import EPS, GlobalBlock, LocalBlock, init_uniformer, patch_embed
from snnkit.models.classifier import ImageClassifier
from snnkit.models.family import Family
from snnkit.models.registry import register_variant
from snnkit.models.sizes import as_pair, check_heads, check_positive, whole_numbers
from snnkit.models.uniformer import PAPER, SOURCE, STRIDE, feature_info, from_published

ATTENTIONS = ("global", "hybrid", "window")


class UniFormerDense(ImageClassifier):
    """Backbone: images (B, C, H, W) of at least 32 × 32 → four maps.

    Args:
        in_chans: C.
        img_size: side of the images, or (height, width), of ``pretrained_cfg``; others work too.
        drop_path_rate: stochastic depth of the last block; grows linearly from 0.
        depths: blocks per stage.
        dims: channels per stage.
        head_dim: channels of an attention head.
        mlp_ratio: hidden width of the MLPs.
        attention: of the third stage: "global", "window", or "hybrid" (every fourth block global).
        window_size: side of the windows in the third stage.

    Raises:
        InvalidArgumentError: an argument outside its range.
        UnknownNameError: another attention.
    """

    def __init__(
        self,
        in_chans: int,
        img_size: int | tuple[int, int],
        drop_path_rate: float,
        depths: tuple[int, ...],
        dims: tuple[int, ...],
        head_dim: int,
        mlp_ratio: float,
        attention: str,
        window_size: int,
    ):
        super().__init__()
        if attention not in ATTENTIONS:
            raise unknown_name("attention of a dense UniFormer", str(attention), ATTENTIONS)
        depths, dims = whole_numbers("depths", depths, 4), whole_numbers("dims", dims, 4)
        check_heads(head_dim, dims[2:])
        check_positive(mlp_ratio=mlp_ratio)
        if isinstance(window_size, bool) or not isinstance(window_size, int) or window_size < 1:
            raise InvalidArgumentError(f"window_size={window_size!r}: must be a whole number ≥ 1.")
        _check_least("img_size", as_pair(img_size))
        self.in_chans, self.img_size, self.num_classes = in_chans, img_size, 0
        self.features_only = True
        self.num_features = dims[3]
        self.patch_embeds = nn.ModuleList([patch_embed(in_chans, dims[0], (4, 4), (4, 4))])
        self.patch_embeds.extend(patch_embed(dims[i], dims[i + 1], (2, 2), (2, 2)) for i in range(3))
        drop = iter(rates(drop_path_rate, sum(depths)))

        def block(stage: int, number: int) -> nn.Module:
            if stage < 2:
                return LocalBlock(dims[stage], mlp_ratio, next(drop))
            windowed = attention == "window" or (attention == "hybrid" and (number + 1) % 4)
            window = window_size if stage == 2 and windowed else None
            return GlobalBlock(dims[stage], dims[stage] // head_dim, mlp_ratio, next(drop), window=window)

        self.stages = nn.ModuleList(nn.ModuleList(block(i, j) for j in range(depth)) for i, depth in enumerate(depths))
        self.norms = nn.ModuleList(ChannelLayerNorm(dim, EPS) for dim in dims)
        self.norm, self.head = nn.Identity(), nn.Identity()
        self.feature_info = feature_info(dims)
        init_uniformer(self)

    def forward_stages(self, x_BCHW: Tensor) -> list[Tensor]:
        """Return the four maps, each normed by itself."""
        maps = []
        for embed, blocks, norm in zip(self.patch_embeds, self.stages, self.norms, strict=True):
            x_BCHW = embed(x_BCHW)
            for block in blocks:
                x_BCHW = self._block(block, x_BCHW)
            maps.append(norm(x_BCHW))
        return maps

    def _check(self, x: Tensor, leading: int) -> None:
        super()._check(x, leading)
        _check_least("image size", x.shape[-2:])


def _check_least(what: str, size: tuple[int, ...]) -> None:
    if min(size) < STRIDE:
        raise InvalidArgumentError(
            f"{what}={tuple(size)}: height and width must be at least {STRIDE}, the last stride."
        )


def _from_published(state: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    made = from_published(state, model)
    return {f"norms.{int(k[4]) - 1}.{k[6:]}" if k.startswith("norm") and k[5:6] == "." else k: made[k] for k in made}


FAMILY = Family(
    name="uniformer_dense",
    title="UniFormer (dense prediction)",
    kind="ann",
    paper=PAPER,
    source=SOURCE,
    tiny={
        "name": "uniformer_dense_small", "depths": (1, 1, 4, 1), "dims": (8, 8, 16, 16), "head_dim": 8,
        "attention": "hybrid", "window_size": 3, "img_size": 64, "in_chans": 2,
    },
    checkpoints=(
        "torch files of the repository's object_detection, semantic_segmentation and pose_estimation",
        "image weights start a backbone: load_weights(model, …, strict=False); it keeps its four own norms",
    ),
    unconfirmed=("no published weights were run; reference outputs of the published code at small sizes were",),
    marks=(r"^patch_embed1\.proj\.", r"^blocks1\.0\.pos_embed\."),
    convert=_from_published,
    ignored=(r"^aux_head\.",),
)  # fmt: skip


def uniformer_dense(
    in_chans: int = 3,
    img_size: int | tuple[int, int] = 224,
    drop_path_rate: float = 0.1,
    depths: tuple[int, ...] = (3, 4, 8, 3),
    dims: tuple[int, ...] = (64, 128, 320, 512),
    head_dim: int = 64,
    mlp_ratio: float = 4.0,
    attention: str = "hybrid",
    window_size: int = 14,
) -> UniFormerDense:
    """Build a UniFormer backbone; see the class."""
    return UniFormerDense(in_chans, img_size, drop_path_rate, depths, dims, head_dim, mlp_ratio, attention, window_size)


register_variant(
    FAMILY, "uniformer_dense_small", uniformer_dense, params=21_033_280,
    summary="UniFormer-S backbone: Mask R-CNN 45.6 box AP (1x), UPerNet 46.9 mIoU with hybrid attention",
)  # fmt: skip
register_variant(
    FAMILY, "uniformer_dense_base", uniformer_dense, params=49_264_576, depths=(5, 8, 20, 7),
    summary="UniFormer-B backbone: Mask R-CNN 47.4 box AP (1x), UPerNet 48.9 mIoU with hybrid attention",
)  # fmt: skip
