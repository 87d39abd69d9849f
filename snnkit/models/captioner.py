"""Captions of images: a causal text decoder that reads what an image model sees; ``captioner:NAME`` around the model.

    image tokens   LookupViT: its compressed tokens, normed; others: the positions of the last feature map, of spiking
                   models averaged over the time steps
    read           linear(norm(image tokens)), and for maps + fixed sine and cosine positions       (B, N, D)
    text           ``layers.text_decoder`` over these: logits of every next token

The image model is frozen unless asked otherwise: it stays in eval mode, so that batch norms keep their statistics,
its parameters have no gradients and are not in the optimizer; a checkpoint holds them all the same. Around a spiking
model the decoder is an ordinary one: its softmax and layer norms have no spikes.

Letters: T steps, B images, C channels, H and W pixels, N image tokens, D width of the decoder, L tokens, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from snnkit.layers.masked import sin_cos_positions
from snnkit.layers.text_decoder import TextDecoder, as_inputs
from snnkit.models.backbones import Backbone, OnBackbone
from snnkit.models.beam_search import Written, beam_search, check_search
from snnkit.models.family import Family
from snnkit.models.lookupvit import LookupViT
from snnkit.models.registry import register_method
from snnkit.models.sizes import check_divides
from snnkit.readouts import Mean

_UNREAD = ("head", "head_dist", "head_lookup", "head_norm", "norm")
"""What image models have behind their maps."""


class Captioner(OnBackbone):
    """Images (B, C, H, W), or sequences (T, B, C, H, W) for spiking models, and tokens (B, L) → logits (B, L, V).

    Args:
        backbone: whose last map is read; around LookupViT its compressed tokens are.
        decoder: of texts.
        frozen: whether the image model is left as it is.

    Raises:
        InvalidArgumentError: a width that positions do not divide.
    """

    def __init__(self, backbone: Backbone, decoder: TextDecoder, frozen: bool = True):
        super().__init__(backbone)
        check_divides("text_width", decoder.width, 4, "image positions are two waves for either axis")
        self.decoder, self.frozen = decoder, bool(frozen)
        self.norm = nn.LayerNorm(backbone.channels[-1])
        self.project = nn.Linear(backbone.channels[-1], decoder.width)
        self.readout = Mean() if backbone.spiking else None
        if isinstance(backbone.encoder, LookupViT):
            backbone.encoder.norm.requires_grad_(True)  # behind its maps, but before the tokens that are read
        for parameter in self._untrained():
            parameter.requires_grad_(False)
        self.train(self.training)

    @property
    def vocabulary(self) -> int:
        """V, padding included."""
        return self.decoder.vocabulary

    @property
    def context(self) -> int:
        """The most tokens of a text."""
        return self.decoder.context

    def _untrained(self) -> list[nn.Parameter]:
        """What is frozen, or else what no caption depends on: several processes must not wait for its gradients."""
        encoder: Any = self.backbone.encoder
        if self.frozen:
            return list(encoder.parameters())
        parts = [getattr(encoder, name, None) for name in _UNREAD]
        if isinstance(encoder, LookupViT):
            last: Any = encoder.blocks[-1]
            parts.remove(encoder.norm)
            parts += [encoder.norm_lookup, last.exchange.norm_back, last.exchange.value_short]
            parts += [last.norm3, last.lookup_mlp]
        return [parameter for part in parts if isinstance(part, nn.Module) for parameter in part.parameters()]

    def train(self, mode: bool = True) -> Captioner:
        """Enter a mode; a frozen image model stays as in tests."""
        super().train(mode)
        if self.frozen:
            self.backbone.eval()
        return self

    def forward_images(self, images: Tensor) -> Tensor:
        """Return image tokens as the decoder reads them, (B, N, D).

        Raises:
            InvalidArgumentError: not images or sequences of the image model's channels.
        """
        encoder = self.backbone.encoder
        if isinstance(encoder, LookupViT):
            tokens: Tensor = self.project(self.norm(encoder.forward_tokens(images)[0]))
            return tokens
        last = self.backbone(images)[-1]
        map_BCHW = last if self.readout is None else self.readout(last)
        tokens = self.project(self.norm(map_BCHW.flatten(2).transpose(1, 2)))
        positions = sin_cos_positions(self.decoder.width, *map_BCHW.shape[-2:])
        return tokens + positions.to(tokens.device, tokens.dtype)

    def forward_texts(self, image_BND: Tensor, tokens_BL: Tensor) -> Tensor:
        """Return the logits (B, L, V) of every token of texts, from image tokens and the tokens before it.

        Raises:
            InvalidArgumentError: more tokens than the context has, or other than whole numbers (B, L).
        """
        logits: Tensor = self.decoder(as_inputs(tokens_BL), image_BND)
        return logits

    def forward(self, images: Tensor, tokens_BL: Tensor) -> Tensor:
        """Return the logits (B, L, V) of every token of texts, from the images and the tokens before it.

        Raises:
            InvalidArgumentError: as for ``forward_images`` and ``forward_texts``.
        """
        return self.forward_texts(self.forward_images(images), tokens_BL)

    @torch.compiler.disable  # every step has one token more: each would be compiled anew
    @torch.no_grad()
    def write(self, image_BND: Tensor, beam: int = 1, length_penalty: float = 0.0, keep: bool = True) -> Written:
        """Return captions (B, L) and their scores (B,) from image tokens; ``models.beam_search`` says how.

        Args:
            image_BND: of ``forward_images``.
            beam: texts that are written at once; 1 is greedy search.
            length_penalty: α.
            keep: keep keys and values of what is written; without, every step computes them all anew, with the same
                outcome.

        Raises:
            InvalidArgumentError: a beam below 1, or a negative length penalty.
        """
        check_search(beam, length_penalty)
        image = image_BND.repeat_interleave(beam, 0)
        kept = self.decoder.keeping() if keep else None

        def step(texts_Rn: Tensor, rows_R: Tensor) -> Tensor:
            begun = nn.functional.pad(texts_Rn, (1, 0))
            for block in kept or ():
                block.choose(rows_R)
            logits = self.decoder(begun if kept is None else begun[:, -1:], image, kept)
            return logits[:, -1].float().log_softmax(-1)

        return beam_search(step, len(image_BND), self.context, beam, length_penalty, image_BND.device)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Keep only the inputs of blocks while training and compute them again in the backward."""
        self.decoder.set_grad_checkpointing(enable)
        if not self.frozen:
            self.backbone.set_grad_checkpointing(enable)

    def no_weight_decay(self) -> set[str]:
        """The image model's own and the decoder's."""
        own = {f"decoder.{name}" for name in self.decoder.no_weight_decay()}
        return own | {f"backbone.{name}" for name in self.backbone.no_weight_decay()}


FAMILY = Family(
    name="captioner",
    title="Captions by a causal decoder over image tokens",
    kind="ann",
    paper="Vaswani et al., Attention Is All You Need, arXiv 1706.03762",
    source="this package: the decoder with its norms first, after an image model by name",
    tiny={
        "name": "captioner:timm:resnet10t", "vocabulary": 20, "context": 8, "text_width": 16, "text_depth": 1,
        "text_heads": 2,
    },
    unconfirmed=("published weights of other code's captioners are not read",),
)  # fmt: skip


def build(
    encoder: nn.Module,
    vocabulary: int = 257,
    context: int = 64,
    text_width: int = 256,
    text_depth: int = 4,
    text_heads: int = 4,
    text_dropout: float = 0.1,
    frozen: bool = True,
) -> Captioner:
    """Build a captioner around an image model; arguments as in ``TextDecoder`` and ``Captioner``."""
    decoder = TextDecoder(vocabulary, context, text_width, text_depth, text_heads, dropout=text_dropout)
    return Captioner(Backbone(encoder, levels=1, finest=1), decoder, frozen)


register_method("captioner", build, FAMILY, maps=True)
