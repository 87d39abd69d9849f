"""UniFormer light: attention only between the class token, the tokens it looks at, and one that stands for the rest.

Every global block keeps the half of the tokens that the class token attended to most (score g), and merges the others:

    kept, dropped = the N·keep tokens of highest g, the rest;      r = Σ g_i · dropped_i / Σ g_i
    z = block([class, kept, r])                                    the slow update
    dropped_i ← dropped_i + (attention branch + MLP branch of r)   the fast update, without stochastic depth
    g_kept ← (1 − trade) · g_kept + trade · (mean over heads of the class token's attention to them)

The first global block keeps all and sets g. Between stages g is averaged over 2 × 2 tokens and scaled to the sum it
had. The scores are handed from block to block: a call keeps nothing. Feature maps are NCHW. Source of the token update:
Xu et al., "Evo-ViT", arXiv 2108.01390. In training the model returns two logits, of the map and of the class token.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from snnkit.errors import InvalidArgumentError
from snnkit.layers.drop_path import DropPath, rates
from snnkit.layers.residual_depthwise import ResidualDepthwise
from snnkit.layers.self_attention import split_heads
from snnkit.layers.uniformer_blocks import EPS, LocalBlock, conv_stem, init_uniformer, patch_embed, row, token_mlp
from snnkit.models.classifier import ImageClassifier, linear_head
from snnkit.models.family import Family, Published
from snnkit.models.registry import register_variant
from snnkit.models.sizes import check_heads, check_positive, check_sides, whole_numbers
from snnkit.models.uniformer import PAPER, SOURCE, STRIDE, feature_info, from_published


class ScoredAttention(nn.Module):
    """Self-attention that also says how much the first token looks at each: (B, S, C) → (B, S, C), (B, S).

    The scores are the first row of the attention, averaged over heads. The output projection stands behind it.
    """

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mix the tokens."""
        q, k, v = split_heads(self.qkv(x), self.heads)
        mixed = F.scaled_dot_product_attention(q, k, v)
        # Only the first row is needed: computed again, so that the product itself may be a fused one.
        first = (q[:, :, :1] @ k.transpose(-2, -1)) * q.shape[-1] ** -0.5
        return mixed.transpose(1, 2).reshape(x.shape), first.softmax(-1)[:, :, 0].mean(1)


class PruningBlock(nn.Module):
    """A global block on the tokens worth it; see the equations above.

    Args:
        dim: C.
        heads: attention heads.
        mlp_ratio: hidden width of the MLP / C.
        drop_path: probability of dropping a branch.
        keep: share of the tokens that are kept; 1 keeps all and merges none.
        trade: weight of the new scores against the old.
    """

    def __init__(self, dim: int, heads: int, mlp_ratio: float, drop_path: float, keep: float, trade: float):
        super().__init__()
        self.keep, self.trade = keep, trade
        self.position = ResidualDepthwise(dim)
        self.mix = row(norm=nn.LayerNorm(dim, EPS), attention=ScoredAttention(dim, heads), project=nn.Linear(dim, dim))
        self.mlp = token_mlp(dim, mlp_ratio)
        self.drop_path = DropPath(drop_path)

    def forward(self, x_BCHW: Tensor, cls_B1C: Tensor, scores_BN: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Return the map, the class token and the scores (B, N) after this block; N = H·W.

        ``scores_BN`` may be None for a block that keeps everything.
        """
        x_BCHW = self.position(x_BCHW)
        tokens = x_BCHW.flatten(2).transpose(1, 2)
        if self.keep == 1:
            tokens, cls_B1C, scores_BN = self._all(tokens, cls_B1C, scores_BN)
        else:
            tokens, cls_B1C, scores_BN = self._pruned(tokens, cls_B1C, scores_BN)
        return tokens.transpose(1, 2).reshape(x_BCHW.shape), cls_B1C, scores_BN

    def _all(self, tokens: Tensor, cls: Tensor, scores: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        y, _, seen = self._update(torch.cat([cls, tokens], 1))
        new = seen[:, 1:]
        return y[:, 1:], y[:, :1], new if scores is None else torch.lerp(scores, new, self.trade)

    def _pruned(self, tokens: Tensor, cls: Tensor, scores: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        count = int(tokens.shape[1] * self.keep)
        order = scores.argsort(dim=1, descending=True, stable=True)
        kept, dropped = order[:, :count], order[:, count:]
        weights = scores.gather(1, dropped)
        rest = _take(tokens, dropped)
        merged = (weights.unsqueeze(1) @ rest) / weights.sum(1)[:, None, None]
        y, branches, seen = self._update(torch.cat([cls, _take(tokens, kept), merged], 1))
        rest = rest + branches[:, -1:]
        renewed = torch.lerp(scores.gather(1, kept), seen[:, 1:-1], self.trade)
        return (
            _put(tokens, torch.cat([y[:, 1:-1], rest], 1), order),
            y[:, :1],
            scores.scatter(1, kept, renewed),
        )

    def _update(self, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the tokens after both branches, the sum of the branches, and what the class token looks at."""
        mixed, seen = self.mix.attention(self.mix.norm(y))
        mixed = self.mix.project(mixed)
        y = y + self.drop_path(mixed)
        hidden = self.mlp(y)
        return y + self.drop_path(hidden), mixed + hidden, seen


def _take(tokens: Tensor, places: Tensor) -> Tensor:
    return tokens.gather(1, places.unsqueeze(-1).expand(-1, -1, tokens.shape[-1]))


def _put(tokens: Tensor, values: Tensor, places: Tensor) -> Tensor:
    return tokens.scatter(1, places.unsqueeze(-1).expand_as(values), values)


class UniFormerLight(ImageClassifier):
    """Classifier of images (B, C, H, W) whose sides are multiples of 32.

    In eval mode it returns the logits (B, K) of the pooled map; in training a pair, the second being those of the
    class token, which is what the published training uses.

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
        keep: share of the tokens that global blocks keep.
        trade: weight of new scores against old.

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
        keep: float,
        trade: float,
    ):
        super().__init__()
        depths, dims = whole_numbers("depths", depths, 4), whole_numbers("dims", dims, 4)
        check_heads(head_dim, dims[2:])
        check_positive(mlp_ratio=mlp_ratio)
        if not features_only:
            check_sides("img_size", img_size, STRIDE, "the last stride")
        for name, value in (("keep", keep), ("trade", trade)):
            if not 0 < value <= 1:
                raise InvalidArgumentError(f"{name}={value!r}: must be above 0 and at most 1.")
        self.in_chans, self.img_size, self.num_classes = in_chans, img_size, num_classes
        self.features_only = features_only
        self.patch_embeds = nn.ModuleList([conv_stem(in_chans, dims[0], 2)])
        self.patch_embeds.extend(patch_embed(dims[i], dims[i + 1], (2, 2), (2, 2)) for i in range(3))
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dims[2]))
        self.cls_upsample = nn.Linear(dims[2], dims[3])
        drop = iter(rates(drop_path_rate, sum(depths)))

        def block(stage: int, number: int) -> nn.Module:
            if stage < 2:
                return LocalBlock(dims[stage], mlp_ratio, next(drop))
            first = stage == 2 and number == 0
            share, weight = (1.0, 1.0) if first else (keep, trade)
            return PruningBlock(dims[stage], dims[stage] // head_dim, mlp_ratio, next(drop), share, weight)

        self.stages = nn.ModuleList(nn.ModuleList(block(i, j) for j in range(depth)) for i, depth in enumerate(depths))
        self.norm, self.norm_cls = nn.BatchNorm2d(dims[3]), nn.LayerNorm(dims[3])
        self.num_features = dims[3]
        self.head, self.head_cls = linear_head(dims[3], num_classes), linear_head(dims[3], num_classes)
        self.feature_info = feature_info(dims)
        init_uniformer(self)

    def forward_both(self, x_BCHW: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return the four maps and the class token (B, 1, C)."""
        maps, cls, scores = [], self.cls_token.expand(len(x_BCHW), -1, -1), None
        for i, (embed, blocks) in enumerate(zip(self.patch_embeds, self.stages, strict=True)):
            x_BCHW = embed(x_BCHW)
            if i == 3:
                cls, scores = self.cls_upsample(cls), _halved(scores, maps[-1])
            for block in blocks:
                if i < 2:
                    x_BCHW = self._block(block, x_BCHW)
                else:
                    x_BCHW, cls, scores = self._block(block, x_BCHW, cls, scores)
            maps.append(x_BCHW)
        return maps, cls

    @property
    def size_unit(self) -> tuple[int, int]:
        """Height and width are multiples of these, in pixels."""
        return STRIDE, STRIDE

    def forward_stages(self, x_BCHW: Tensor) -> list[Tensor]:
        """Return the four maps, strides 4, 8, 16, 32."""
        return self.forward_both(x_BCHW)[0]

    def forward(self, x_BCHW: Tensor) -> Any:
        """Return logits (B, K), in training a pair of them; with ``features_only`` the list of maps."""
        if self.features_only or not self.training:
            return super().forward(x_BCHW)
        self._check(x_BCHW, leading=1)
        maps, cls = self.forward_both(x_BCHW)
        return self.forward_head(self.norm(maps[-1])), self.head_cls(self.norm_cls(cls[:, 0]))

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Put new heads in place, for the map and for the class token."""
        super().reset_classifier(num_classes, global_pool)
        reference = self.cls_token
        self.head_cls = linear_head(self.num_features, num_classes).to(reference.device, reference.dtype)

    def no_weight_decay(self) -> set[str]:
        """The class token."""
        return {"cls_token"}

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """As in ``ImageClassifier``; the class token is widened where the last stage begins."""
        groups = super().group_matcher(coarse)
        widening = (r"^cls_upsample", (3,) if coarse else (3, 0))
        return {**groups, "blocks": [widening, *groups["blocks"]]}

    def _check(self, x: Tensor, leading: int) -> None:
        super()._check(x, leading)
        check_sides("height or width", (x.shape[-2], x.shape[-1]), STRIDE, "the last stride")


def _halved(scores_BN: Tensor, map_BCHW: Tensor) -> Tensor:
    """Average the scores of a map over 2 × 2 positions and scale them to the sum they had."""
    small = F.avg_pool2d(scores_BN.reshape(-1, 1, *map_BCHW.shape[-2:]), 2).flatten(1)
    return small * (scores_BN.sum(1, keepdim=True) / small.sum(1, keepdim=True))


FAMILY = Family(
    name="uniformer_light",
    title="UniFormer light",
    kind="ann",
    paper=PAPER,
    source=SOURCE,
    tiny={
        "name": "uniformer_xxs", "depths": (1, 1, 2, 1), "dims": (8, 8, 16, 16), "head_dim": 8, "img_size": 64,
        "in_chans": 2, "num_classes": 5,
    },
    published=(
        Published("uniformer_xxs", 76.8, 10.2, img_size=128),
        Published("uniformer_xxs", 79.1, 10.2, img_size=160),
        Published("uniformer_xxs", 79.9, 10.2, img_size=192),
        Published("uniformer_xxs", 80.6, 10.2),
        Published("uniformer_xs", 81.5, 16.5, img_size=192),
        Published("uniformer_xs", 82.0, 16.5),
    ),
    checkpoints=("torch files of the repository's image_classification, bare or under 'model'",),
    unconfirmed=(
        "no reference outputs of the published code: tests compare with an independent loop over images and tokens",
        "where the fourth stage has a map of two tokens the published code scores the merged token too; this does not",
        "mixed precision: the published training ran without",
    ),
    marks=(r"^cls_upsample\.", r"^patch_embed1\.proj\.0\."),
    convert=from_published,
)  # fmt: skip


def uniformer_light(
    num_classes: int = 1000,
    in_chans: int = 3,
    img_size: int | tuple[int, int] = 224,
    drop_path_rate: float = 0.0,
    features_only: bool = False,
    depths: tuple[int, ...] = (2, 5, 8, 2),
    dims: tuple[int, ...] = (56, 112, 224, 448),
    head_dim: int = 28,
    mlp_ratio: float = 3.0,
    keep: float = 0.5,
    trade: float = 0.5,
) -> UniFormerLight:
    """Build a light UniFormer; see the class."""
    return UniFormerLight(
        num_classes, in_chans, img_size, drop_path_rate, features_only, depths, dims, head_dim, mlp_ratio, keep, trade
    )


register_variant(
    FAMILY, "uniformer_xxs", uniformer_light, params=10_215_280, summary="UniFormer-XXS, 0.43 GMAC at 128, 1.3 at 224"
)
register_variant(
    FAMILY, "uniformer_xs", uniformer_light, params=16_509_264, summary="UniFormer-XS, 2.0 GMAC at 224",
    depths=(3, 5, 9, 3), dims=(64, 128, 256, 512), head_dim=32,
)  # fmt: skip
