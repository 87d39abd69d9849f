"""UniFormer for images: convolution where relations are local, attention where they are global.

    image → /4 → local blocks → /2 → local blocks → /2 → global blocks → /2 → global blocks → BN → mean → linear

The final norm is a batch norm, and two layer norms have different eps (see ``layers.uniformer_blocks``). Feature maps
are NCHW. ``deploy`` folds the batch norms before convolutions, the layer scales and the skip connections beside the
position convolutions. The relatives: ``uniformer_light`` (token pruning), ``uniformer_video``, ``uniformer_dense``.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from snnkit.errors import InvalidArgumentError
from snnkit.layers.drop_path import rates
from snnkit.layers.uniformer_blocks import GlobalBlock, LocalBlock, conv_stem, init_uniformer, patch_embed
from snnkit.models.classifier import Feature, FeatureInfo, ImageClassifier, linear_head
from snnkit.models.family import Family, Published, renamed
from snnkit.models.registry import register_variant
from snnkit.models.sizes import check_heads, check_positive, check_sides, whole_numbers

STRIDE = 32
PAPER = 'Li et al., "UniFormer: Unifying Convolution and Self-attention for Visual Recognition", arXiv 2201.09450'
SOURCE = "https://github.com/Sense-X/UniFormer (Apache-2.0)"


class UniFormer(ImageClassifier):
    """Classifier of images (B, C, H, W) whose sides are multiples of 32.

    Args:
        num_classes: K.
        in_chans: C.
        img_size: side of the images, or (height, width), of ``pretrained_cfg``; others work too.
        drop_path_rate: stochastic depth of the last block; grows linearly from 0.
        features_only: return the four maps, strides 4, 8, 16, 32.
        depths: blocks per stage.
        dims: channels per stage.
        head_dim: channels of an attention head.
        mlp_ratio: hidden width of the MLPs.
        overlapping_stem: 3×3 convolutions with batch norms in place of patches with layer norms.
        layer_scale: whether the global blocks have layer scale.
        local_layer_scale: whether the local ones have.
        aux_head: token labelling's second head, whose highest logits over all tokens count half.

    Raises:
        InvalidArgumentError: an argument outside its range.
    """

    def __init__(
        self,
        num_classes: int,
        in_chans: int,
        img_size: int | tuple[int, int],
        drop_path_rate: float,
        features_only: bool,
        depths: tuple[int, ...],
        dims: tuple[int, ...],
        head_dim: int,
        mlp_ratio: float,
        overlapping_stem: bool,
        layer_scale: bool,
        local_layer_scale: bool,
        aux_head: bool,
    ):
        super().__init__()
        depths, dims = whole_numbers("depths", depths, 4), whole_numbers("dims", dims, 4)
        check_heads(head_dim, dims[2:])
        check_positive(mlp_ratio=mlp_ratio)
        if not features_only:
            check_sides("img_size", img_size, STRIDE, "the last stride")
        self.in_chans, self.img_size, self.num_classes = in_chans, img_size, num_classes
        self.features_only = features_only
        embeds = []
        for i, dim in enumerate(dims):
            size, before = (4, in_chans) if i == 0 else (2, dims[i - 1])
            stem = conv_stem(before, dim, size // 2) if overlapping_stem else None
            embeds.append(stem or patch_embed(before, dim, (size, size), (size, size)))
        self.patch_embeds = nn.ModuleList(embeds)
        drop = iter(rates(drop_path_rate, sum(depths)))
        self.stages = nn.ModuleList()
        for i, (depth, dim) in enumerate(zip(depths, dims, strict=True)):
            if i < 2:
                blocks = [LocalBlock(dim, mlp_ratio, next(drop), local_layer_scale) for _ in range(depth)]
            else:
                blocks = [GlobalBlock(dim, dim // head_dim, mlp_ratio, next(drop), layer_scale) for _ in range(depth)]
            self.stages.append(nn.ModuleList(blocks))
        self.norm = nn.BatchNorm2d(dims[3])
        self.num_features = dims[3]
        self.head = linear_head(dims[3], num_classes)
        self.aux_head = linear_head(dims[3], num_classes) if aux_head and num_classes else None
        self.feature_info = feature_info(dims)
        init_uniformer(self)

    @property
    def size_unit(self) -> tuple[int, int]:
        """Height and width are multiples of these, in pixels."""
        return STRIDE, STRIDE

    def forward_stages(self, x_BCHW: Tensor) -> list[Tensor]:
        """Return the four maps, strides 4, 8, 16, 32."""
        maps = []
        for embed, blocks in zip(self.patch_embeds, self.stages, strict=True):
            x_BCHW = embed(x_BCHW)
            for block in blocks:
                x_BCHW = self._block(block, x_BCHW)
            maps.append(x_BCHW)
        return maps

    def forward_head(self, features_BCHW: Tensor, pre_logits: bool = False) -> Tensor:
        """Return logits (B, K), or with ``pre_logits`` the pooled features (B, F)."""
        logits = super().forward_head(features_BCHW, pre_logits)
        if pre_logits or self.aux_head is None:
            return logits
        return logits + 0.5 * self._token_logits(features_BCHW).amax(1)

    def forward_tokens(self, x_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits of the image (B, K) and of every token (B, H·W/1024, K), as token labelling trains them.

        Raises:
            InvalidArgumentError: the model has no second head.
        """
        if self.aux_head is None:
            raise InvalidArgumentError("this model has no second head; create it with aux_head=True.")
        features = self.forward_features(x_BCHW)
        return super().forward_head(features), self._token_logits(features)

    def _token_logits(self, features_BCHW: Tensor) -> Tensor:
        return self.aux_head(features_BCHW.flatten(2).transpose(1, 2))

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Put a new head in place; a second one goes with the old classes."""
        super().reset_classifier(num_classes, global_pool)
        self.aux_head = None

    def _check(self, x: Tensor, leading: int) -> None:
        super()._check(x, leading)
        check_sides("height or width", (x.shape[-2], x.shape[-1]), STRIDE, "the last stride")


def feature_info(dims: tuple[int, ...]) -> FeatureInfo:
    """Return the card of the four maps of a UniFormer."""
    return FeatureInfo([Feature(dim, 4 * 2**i, f"stages.{i}") for i, dim in enumerate(dims)])


# Published keys of every UniFormer: stages and embeddings first, then what is inside of them.
RULES = (
    *((rf"^patch_embed{i + 1}\.", f"patch_embeds.{i}.") for i in range(4)),
    *((rf"^blocks{i + 1}\.", f"stages.{i}.") for i in range(4)),
    *(
        (rf"^(patch_embeds\.\d)\.proj\.{given}\.", rf"\1.{own}.")
        for given, own in ((0, "conv1"), (1, "norm1"), (3, "conv2"), (4, "norm2"))
    ),
    *(
        (rf"^(stages\.\d\.\d+)\.{given}(?=\.|$)", rf"\1.{own}")
        for given, own in (
            ("pos_embed", "position.conv"),
            ("norm1", "mix.norm"),
            ("conv1", "mix.pointwise"),
            (r"attn(?=\.weight|\.bias)", "mix.depthwise"),
            ("conv2", "mix.project"),
            (r"attn\.qkv", "mix.attention.qkv"),
            (r"attn\.proj", "mix.project"),
            ("t_norm", "time.norm"),
            (r"t_attn\.qkv", "time.attention.qkv"),
            (r"t_attn\.proj", "time.project"),
            ("norm2", "mlp.norm"),
            ("gamma_1", "mix.scale.gamma"),
            ("gamma_2", "mlp.scale.gamma"),
        )
    ),
)


# What the keys of one variant have and those of others lack: mark, what it is, what to do.
VARIANTS = (
    ("cls_upsample.", "a class token (the light UniFormer)", "uniformer_xxs and uniformer_xs are the light ones"),
    ("stages.0.0.mlp.scale.", "layer scale in local blocks", "local_layer_scale= says so when the model is created"),
    ("stages.3.0.mlp.scale.", "layer scale", "layer_scale= says so when the model is created, as in uniformer_base_ls"),
    ("patch_embeds.1.conv1.", "a stem of overlapping convolutions",
     "overlapping_stem= says so when the model is created, as in uniformer_small_plus"),
    (".time.", "attention over time apart (divided)", "attention='joint' or 'divided' says so when it is created"),
)  # fmt: skip


def from_published(state: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Translate published keys of any UniFormer, after a look at whether they are this variant's.

    Raises:
        InvalidArgumentError: weights of another variant (token pruning, layer scale, stem, image or video).
    """
    own = model.state_dict()
    made = {k: v.flatten() if k.endswith(".gamma") else v for k, v in renamed(state, RULES).items()}
    for mark, what, give in VARIANTS:
        if any(mark in key for key in made) != any(mark in key for key in own):
            have, lack = ("have", "does not") if any(mark in key for key in made) else ("lack", "does")
            raise InvalidArgumentError(f"these weights {have} {what}, and the model {lack}: {give}.")
    axes = made.get("patch_embeds.0.proj.weight", torch.empty(())).ndim
    if "patch_embeds.0.proj.weight" in own and axes not in (0, own["patch_embeds.0.proj.weight"].ndim):
        given, taken = ("clips", "images") if axes == 5 else ("images", "clips")
        raise InvalidArgumentError(
            f"these are weights for {given}, and the model takes {taken}; snnkit.models.uniformer_video.inflate makes "
            "weights for clips of those for images."
        )
    return made


FAMILY = Family(
    name="uniformer",
    title="UniFormer",
    kind="ann",
    paper=PAPER,
    source=SOURCE,
    tiny={
        "name": "uniformer_small",
        "depths": (1, 1, 2, 1),
        "dims": (8, 8, 16, 16),
        "head_dim": 8,
        "layer_scale": True,
        "img_size": 64,
        "in_chans": 2,
        "num_classes": 5,
    },
    published=(
        Published("uniformer_small", 82.9, 22.0),
        Published("uniformer_small", 83.4, 22.0, note="token labelling, aux_head=True, head_dim=32"),
        Published("uniformer_small", 84.6, 22.0, img_size=384, note="token labelling"),
        Published("uniformer_small_plus", 83.4, 24.0),
        Published("uniformer_small_plus", 83.9, 24.0, note="token labelling, aux_head=True"),
        Published("uniformer_small_plus", 84.9, 24.0, img_size=384, note="token labelling"),
        Published("uniformer_base", 83.8, 50.0),
        Published("uniformer_base", 85.1, 50.0, note="token labelling, aux_head=True, head_dim=32"),
        Published("uniformer_base", 86.0, 50.0, img_size=384, note="token labelling"),
        Published("uniformer_base_ls", 83.9, 50.0),
        Published("uniformer_large_ls", 85.6, 100.0, note="token labelling, aux_head=True"),
        Published("uniformer_large_ls", 86.3, 100.0, img_size=384, note="token labelling"),
    ),
    checkpoints=(
        "torch files of the repository's image_classification, bare or under 'model'",
        "token labelling: the same keys and aux_head.*, which a model without aux_head=True ignores, at a loss",
    ),
    unconfirmed=(
        "weights do not tell the width of their heads: token-labelled small and base were trained with head_dim=32",
        "39.2 G are printed for UniFormer-L at 384; with its published sizes, whose parameters agree, it is 62.7 G",
        "no published weights were run; reference outputs of the published code at small sizes were",
    ),
    marks=(r"^patch_embed1\.proj\.", r"^blocks1\.0\.pos_embed\."),
    convert=from_published,
    ignored=(r"^aux_head\.",),
)


def uniformer(
    num_classes: int = 1000,
    in_chans: int = 3,
    img_size: int | tuple[int, int] = 224,
    drop_path_rate: float = 0.1,
    features_only: bool = False,
    depths: tuple[int, ...] = (3, 4, 8, 3),
    dims: tuple[int, ...] = (64, 128, 320, 512),
    head_dim: int = 64,
    mlp_ratio: float = 4.0,
    overlapping_stem: bool = False,
    layer_scale: bool = False,
    local_layer_scale: bool = False,
    aux_head: bool = False,
) -> UniFormer:
    """Build a UniFormer for images; see the class."""
    return UniFormer(
        num_classes, in_chans, img_size, drop_path_rate, features_only, depths, dims, head_dim, mlp_ratio,
        overlapping_stem, layer_scale, local_layer_scale, aux_head,
    )  # fmt: skip


_PLUS = {"depths": (3, 5, 9, 3), "overlapping_stem": True}
_BASE = {"depths": (5, 8, 20, 7), "drop_path_rate": 0.3}
_LARGE = {
    "depths": (5, 10, 24, 7), "dims": (128, 192, 448, 640), "drop_path_rate": 0.3,
    "layer_scale": True, "local_layer_scale": True,
}  # fmt: skip
for _name, _params, _summary, _sizes in (
    ("uniformer_small", 21_545_256, "UniFormer-S: 3, 4, 8, 3 blocks, 3.6 GMAC", {}),
    ("uniformer_small_plus", 24_032_552, "UniFormer-S†: overlapping stem, heads of 32, 4.2 GMAC",
     {**_PLUS, "head_dim": 32}),
    ("uniformer_small_plus_dim64", 24_032_552, "UniFormer-S† with heads of 64", _PLUS),
    ("uniformer_base", 49_776_552, "UniFormer-B: 5, 8, 20, 7 blocks, 8.3 GMAC", _BASE),
    ("uniformer_base_ls", 49_796_520, "UniFormer-B with layer scale in its global blocks",
     {**_BASE, "layer_scale": True}),
    ("uniformer_large_ls", 99_462_888, "UniFormer-L with layer scale, trained by token labelling", _LARGE),
):  # fmt: skip
    register_variant(FAMILY, _name, uniformer, params=_params, summary=_summary, **_sizes)
