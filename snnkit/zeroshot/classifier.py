"""A classifier out of two towers and texts that name the classes; the texts' features are computed once and kept.

    logits_k = s · f · unit(mean over templates of g(template of class k))

Source: Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", arXiv 2103.00020,
sections 3.1.2 and 3.1.4. Letters: B images, D width, K classes, M templates, L tokens.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from snnkit.checkpoints import read_weights, save_tensors
from snnkit.data.captions import PROMPTS, prompts
from snnkit.data.tokens import BytePairs, Bytes
from snnkit.errors import DiskError, InvalidArgumentError, SnnkitError
from snnkit.layers.memory_order import channels_innermost
from snnkit.models.two_towers import TwoTowers
from snnkit.tasks.classification import channels_last
from snnkit.tasks.pairs.finding import class_weights


class ZeroShot(nn.Module):
    """Images (B, C, H, W) → logits (B, K).

    Args:
        towers: trained.
        weights_KD: unit rows, of each class.
    """

    weights: Tensor

    def __init__(self, towers: TwoTowers, weights_KD: Tensor):
        super().__init__()
        self.towers = channels_innermost(towers)
        self.register_buffer("weights", weights_KD)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        """Return the logits of images."""
        towers = self.towers
        assert isinstance(towers, TwoTowers)
        return towers.scale() * towers.encode_images(channels_last(images_BCHW)) @ self.weights.t()


def zero_shot(
    towers: TwoTowers,
    classes: Sequence[str],
    templates: Sequence[str] = PROMPTS,
    tokens: Bytes | BytePairs | None = None,
    kept: str | Path | None = None,
) -> ZeroShot:
    """Return a classifier of ``classes``, words as a text would say them.

    Args:
        towers: trained.
        classes: their names.
        templates: texts with one {} for the name; the features of all are averaged.
        tokens: how texts become numbers; bytes if not given.
        kept: folder in which the texts' features are kept, for the same towers and texts; None keeps nothing.

    Raises:
        InvalidArgumentError: no class or template, one that is empty or without its {}, or tokens beyond the towers'.
    """
    tokens = tokens or Bytes()
    if not classes or not templates or not all(name.strip() for name in classes):
        raise InvalidArgumentError("zero-shot: give one class and one template at least, none of them empty.")
    for template in templates:
        if template.count("{}") != 1:
            raise InvalidArgumentError(f"template {template!r}: must have one {{}} for the name of a class.")
    _check_tokens(towers, tokens.vocabulary)
    rows = prompts(classes, templates, tokens, towers.text.context)
    return by_prompts(towers, rows, kept, {"classes": list(classes), "templates": list(templates)})


def by_prompts(
    towers: TwoTowers, rows_KML: Tensor, kept: str | Path | None = None, about: dict[str, Any] | None = None
) -> ZeroShot:
    """Return a classifier of what the tokens of texts name, (K, M, L): M texts of each class.

    Args:
        towers: trained.
        rows_KML: tokens.
        kept: as for ``zero_shot``.
        about: what is written beside the kept features.

    Raises:
        InvalidArgumentError: tokens beyond the towers'.
    """
    _check_tokens(towers, int(rows_KML.max()) + 1)
    path = None if kept is None else Path(kept) / f"{_key(towers, rows_KML)}.safetensors"
    if path is not None and path.exists():
        with suppress(SnnkitError, KeyError):  # one that cannot be read is made anew
            return ZeroShot(towers, read_weights(path)[0]["weights"])
    training = towers.training
    found = class_weights(towers.eval(), rows_KML.to(towers.logit_scale.device))
    towers.train(training)
    if path is not None:
        with suppress(DiskError):
            path.parent.mkdir(parents=True, exist_ok=True)
            save_tensors({"weights": found}, path, about or {})
    return ZeroShot(towers, found)


def _check_tokens(towers: TwoTowers, vocabulary: int) -> None:
    if vocabulary > towers.text.vocabulary:
        raise InvalidArgumentError(
            f"the tokens go up to {vocabulary - 1}, the text tower knows {towers.text.vocabulary}; give the tokenizer "
            "that it was trained with."
        )


def _key(towers: TwoTowers, rows_KML: Tensor) -> str:
    """A name for the features of these texts by this text tower."""
    found = hashlib.blake2b(digest_size=16)
    for name, value in (*towers.text.state_dict().items(), ("projection", towers.text_projection.weight)):
        whole = value.detach().cpu().contiguous()
        found.update(f"{name} {whole.dtype} {tuple(whole.shape)}".encode())
        found.update(whole.view(torch.uint8).numpy().tobytes() if whole.ndim else repr(float(whole)).encode())
    found.update(f"{tuple(rows_KML.shape)}".encode())
    found.update(rows_KML.numpy().tobytes())
    return found.hexdigest()
