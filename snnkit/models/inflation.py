"""Weights of a network for images where one for clips begins: ``load_weights`` recognises and widens them.

    kernel over t frames: the image's in each, divided by t          (UniFormer, LookupViT)
    positions of T′ steps: the image's at every step                  (LookupViT)
    everything else: as it is

A clip of one image all along then gives what the image gave, in UniFormer wherever a kernel does not reach over the
first or the last frame (zeros lie there), in LookupViT with a lookup grid (height, width) everywhere: attention over
equal tokens is that over one of them. Where a lookup grid shrinks time as well, from T′ steps to t, what lookup tokens
are told is t / T′ of what it was. Attention over time (UniFormer's "divided") has no counterpart in images and starts
as the model has it. Source of the kernels: Sense-X/UniFormer, video_classification.

Spiking networks need none of this: their weights are those of a step, whatever a step shows.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from snnkit.models.lookupvit import LookupViT
from snnkit.models.uniformer_video import UniFormerVideo, check_of_images, over_frames

# The first convolution of each, by own keys: it tells clips (5 axes) from images (4).
_FIRST = {UniFormerVideo: "patch_embeds.0.proj.weight", LookupViT: "patch_embed.weight"}


def inflated(model: nn.Module, own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], int]:
    """Return weights as a network for clips has them, and how many were widened; others unchanged, and 0.

    Args:
        model: to be filled.
        own: its state dict.
        given: weights under the model's own keys.

    Raises:
        InvalidArgumentError: weights for images of a form that the network for clips does not have.
    """
    result = dict(given)
    if not _of_images(model, own, given):
        return result, 0
    if isinstance(model, UniFormerVideo):
        check_of_images(given)
    widened = 0
    for key, value in given.items():
        mine = own.get(key)
        if mine is None or mine.ndim != 5 or value.ndim != 4:
            continue
        frames = mine.shape[2]
        if key.endswith("_positions"):
            result[key] = value.unsqueeze(2).repeat(1, 1, frames, 1, 1)
        else:
            result[key] = over_frames(value, frames)
        widened += 1
    return result, widened


def _of_images(model: nn.Module, own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> bool:
    """Whether a network for clips is given weights for images."""
    first = next((key for kind, key in _FIRST.items() if isinstance(model, kind)), None)
    if first is None or first not in own or own[first].ndim != 5:
        return False
    stem = isinstance(model, UniFormerVideo) and "patch_embeds.0.conv1.weight" in given
    return stem or (first in given and given[first].ndim == 4)
