"""An image tower and a text tower whose features meet: ``basic:NAME`` around the image model NAME.

    f = unit(P_i · image(x)),  g = unit(P_t · text(tokens))             (B, D) both
    s = exp(min(log s, log s_max)),  and of the sigmoid loss a bias b

The image tower is any classifier by name, of this package, spiking ones among them, or ``timm:NAME``; the text tower
is ``text_transformer``. ``encoder`` holds the image tower, so that a checkpoint fills the classifier of that name.

Sources: Pham et al., "Combined Scaling for Zero-shot Transfer Learning", arXiv 2111.10050 (BASIC: the towers, average
pooling); Radford et al., arXiv 2103.00020 (temperature, its bound of 100); Zhai et al., arXiv 2303.15343 (the bias).
Letters: B pairs, L tokens, D width of common features.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from snnkit.errors import InvalidArgumentError
from snnkit.layers.selective import selectively
from snnkit.models.family import Family
from snnkit.models.image_features import features, reads_whole_images, width
from snnkit.models.registry import register_method
from snnkit.models.sizes import check_whole
from snnkit.models.text_transformer import TextTransformer

LARGEST_SCALE = 100.0
"""Inverse temperature that training does not go beyond; CLIP's."""


class TwoTowers(nn.Module):
    """Images and tokens in, unit features of both out.

    Args:
        encoder: the image tower, without classes.
        text: the text tower.
        dim: D.
        scale: s at the start, the inverse temperature.
        bias: b at the start, for the sigmoid loss; None for none.

    Raises:
        InvalidArgumentError: an image model without features of whole images, or a number outside its range.
    """

    def __init__(
        self,
        encoder: nn.Module,
        text: TextTransformer,
        dim: int = 128,
        scale: float = 1 / 0.07,
        bias: float | None = None,
    ):
        super().__init__()
        if not reads_whole_images(encoder):
            raise InvalidArgumentError(
                f"basic: {getattr(encoder, 'model_name', type(encoder).__name__)} has no forward_features() and "
                "forward_head(); take a classifier by name, such as timm:resnet50."
            )
        check_whole(dim=dim)
        if not 0 < scale <= LARGEST_SCALE:
            raise InvalidArgumentError(
                f"scale={scale:g}: the inverse temperature begins above 0 and at most at {LARGEST_SCALE:g}, where it "
                "is held."
            )
        self.encoder, self.text = encoder, text
        self.image_projection = nn.Linear(width(encoder), dim, bias=False)
        self.text_projection = nn.Linear(text.num_features, dim, bias=False)
        for projection in (self.image_projection, self.text_projection):
            nn.init.normal_(projection.weight, std=projection.in_features**-0.5)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(scale)))
        self.logit_bias = None if bias is None else nn.Parameter(torch.tensor(float(bias)))
        self._selective = False
        self.recall: Callable[[str, Callable[[], Tensor]], Tensor] | None = None
        """Called with "image" or "text" and a tower that waits to be run, in place of running it."""

    def forward(self, images_BCHW: Tensor, tokens_BL: Tensor) -> tuple[Tensor, Tensor]:
        """Return the unit features of images and texts, (B, D) both."""
        return self.encode_images(images_BCHW), self.encode_texts(tokens_BL)

    def encode_images(self, images_BCHW: Tensor) -> Tensor:
        """Return the unit features (B, D) of images."""
        return self._unit(self.image_projection(self._run("image", features, self.encoder, images_BCHW)))

    def encode_texts(self, tokens_BL: Tensor) -> Tensor:
        """Return the unit features (B, D) of texts."""
        return self._unit(self.text_projection(self._run("text", self.text, tokens_BL)))

    def _run(self, side: str, tower: Callable[..., Tensor], *given: Any) -> Tensor:
        def run() -> Tensor:
            recomputes = self._selective and self.training and torch.is_grad_enabled()
            found: Tensor = selectively(tower, *given) if recomputes else tower(*given)
            return found

        return run() if self.recall is None else self.recall(side, run)

    @staticmethod
    def _unit(rows: Tensor) -> Tensor:
        """Rows of unit length, at least float32: half precision rounds scores by more than they differ."""
        return F.normalize(rows.float() if rows.dtype in (torch.float16, torch.bfloat16) else rows)

    def scale(self) -> Tensor:
        """Return s, ()."""
        return self.logit_scale.exp()

    def bias(self) -> Tensor | None:
        """Return b, (), or None."""
        return self.logit_bias

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Keep only the inputs of the towers' blocks while training, and compute the blocks again in the backward."""
        for tower in (self.encoder, self.text):
            if not hasattr(tower, "set_grad_checkpointing"):
                raise InvalidArgumentError(
                    f"runtime.grad_checkpointing: {getattr(tower, 'model_name', type(tower).__name__)} has no blocks "
                    "that it could keep the inputs of; set it to false."
                )
            tower.set_grad_checkpointing(enable)

    def set_selective_checkpointing(self, enable: bool = True) -> None:
        """Keep products while training, and compute what is cheap again in the backward (``layers.selective``)."""
        self._selective = enable

    def no_weight_decay(self) -> set[str]:
        """The towers' own, and scale and bias."""
        found = {"logit_scale", "logit_bias", *(f"text.{name}" for name in self.text.no_weight_decay())}
        own = self.encoder.no_weight_decay() if hasattr(self.encoder, "no_weight_decay") else ()
        return found | {f"encoder.{name}" for name in own}  # type: ignore[union-attr]


FAMILY = Family(
    name="basic",
    title="Image and text towers (BASIC)",
    kind="ann",
    paper="Pham et al., Combined Scaling for Zero-shot Transfer Learning, arXiv 2111.10050",
    source="the paper; no code was published",
    tiny={"name": "basic:timm:resnet10t", "text_width": 16, "text_depth": 1, "text_heads": 2, "dim": 8},
    unconfirmed=("what the paper tells of its towers and stages beyond the abstract was not checked",),
    marks=(r"^logit_scale$", r"^image_projection\.weight$"),
)


def build(
    encoder: nn.Module,
    vocabulary: int = 257,
    context: int = 64,
    text_width: int = 256,
    text_depth: int = 4,
    text_heads: int = 4,
    text_dropout: float = 0.0,
    dim: int = 128,
    scale: float | None = None,
    bias: float | None = None,
) -> TwoTowers:
    """Build two towers around an image model; ``scale`` is 1 / 0.07, or 10 with a ``bias``, unless given."""
    text = TextTransformer(vocabulary, context, text_width, text_depth, text_heads, dropout=text_dropout)
    start: Any = scale if scale is not None else 1 / 0.07 if bias is None else 10.0
    return TwoTowers(encoder, text, dim, start, bias)


register_method("basic", build, FAMILY)
