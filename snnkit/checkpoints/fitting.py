"""From the tensors of a checkpoint to those a model takes: same channels, same precision, no value lost or made up."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from snnkit.errors import InvalidArgumentError, NonFiniteError

_COLOURS = 3


def fitted(
    model: nn.Module, own: Mapping[str, Tensor], given: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Return the tensors with those of first convolutions fitted to the channels of the model's images, and their keys.

    A convolution of three colours is summed for images of one channel: a grey image gives what it gave as three equal
    channels. For other numbers it is repeated and scaled by 3 / channels, as timm does.
    """
    channels, made, adapted = getattr(model, "in_chans", None), dict(given), []
    for key, value in given.items():
        mine = own.get(key)
        if mine is None or mine.ndim < 4 or value.ndim != mine.ndim or value.layout != torch.strided:
            continue
        rest = value.shape[:1] + value.shape[2:] == mine.shape[:1] + mine.shape[2:]
        want = mine.shape[1]
        if rest and value.shape[1] == _COLOURS != want and channels in (None, want) and value.is_floating_point():
            times = -(-want // _COLOURS)
            repeated = value.repeat(1, times, *[1] * (value.ndim - 2))[:, :want] * (_COLOURS / want)
            made[key] = value.sum(1, keepdim=True) if want == 1 else repeated
            adapted.append(key)
    return made, tuple(adapted)


def converted(key: str, value: Tensor, own: Tensor) -> Tensor:
    """Return a tensor as the model's has it, in precision and place.

    Raises:
        InvalidArgumentError: either has no plain values (sparse, quantised, without memory), or the precision would
            lose an imaginary part, a fraction, or the scale that quantised weights need.
        NonFiniteError: it holds NaN or infinity where the model has numbers.
    """
    for what, tensor in (("the file", value), ("the model", own)):
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_meta:
            kind = "no memory (device meta)" if tensor.is_meta else "no plain values (sparse or quantised)"
            raise InvalidArgumentError(f"{key} of {what} has {kind}; give it as a dense tensor: nothing was changed.")
    kinds = f"{str(value.dtype).removeprefix('torch.')}, the model {str(own.dtype).removeprefix('torch.')}"
    if value.is_complex() and not own.is_complex():
        raise InvalidArgumentError(f"{key} is {kinds}: its imaginary part would be lost; nothing was changed.")
    made = value.detach().to(own.device, own.dtype)
    if own.is_floating_point() or own.is_complex():
        if not (value.is_floating_point() or value.is_complex()) and value.dtype != torch.bool:
            raise InvalidArgumentError(
                f"{key} is {kinds}: whole numbers for weights are quantised ones, whose scales are missing. Give the "
                "weights as floats; nothing was changed."
            )
        _check_finite(key, made, own)
    elif value.dtype != own.dtype and not bool((made.to(value.dtype) == value.to(own.device)).all()):
        raise InvalidArgumentError(f"{key} is {kinds}: its values would change; nothing was changed.")
    return made


def _check_finite(key: str, made: Tensor, own: Tensor) -> None:
    finite = torch.isfinite(made)
    if bool(finite.all()):
        return
    # Where the model has the same (masks of attention, a threshold that is never reached) they mean something.
    wrong = ~finite & ~((made == own) & ~torch.isfinite(own))
    if bool(wrong.any()):
        first = made[wrong].flatten()[0].item()
        raise NonFiniteError(
            f"{key} holds {first} ({int(wrong.sum())} of {made.numel()} values are not finite): these weights are "
            "damaged, or the training diverged. Take an earlier checkpoint; nothing was changed."
        )
