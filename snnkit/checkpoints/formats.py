"""Published checkpoints: out of their containers, without their prefixes, under the model's own keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from snnkit.archives import first_line
from snnkit.errors import InvalidArgumentError
from snnkit.models import Family, families, family_of

# Where training scripts put the weights: MAE and DeiT descendants, timm, mmcv, SlowFast, others.
CONTAINERS = ("model", "state_dict", "model_state", "model_state_dict", "module", "net")
PREFIXES = ("module.", "_orig_mod.", "backbone.", "encoder.")


def unwrap(content: Mapping[str, Any], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint by bare key.

    Args:
        content: a state dict, or a dictionary that holds one under one of ``CONTAINERS``.
        own: the model's state dict; a prefix that the model has itself stays.

    Raises:
        InvalidArgumentError: there are no tensors in it, or tensors under what are no names.
    """
    opened: list[Mapping[str, Any]] = []
    while (inner := _inner(content)) is not None and not any(inner is one for one in opened):
        opened.append(inner)  # a dictionary may hold itself
        content = inner
    unnamed = [key for key, value in content.items() if isinstance(value, Tensor) and not isinstance(key, str)]
    if unnamed:
        raise InvalidArgumentError(
            f"this checkpoint holds tensors under {unnamed[0]!r}, a {type(unnamed[0]).__name__}: it is no state dict. "
            "Give one: model.state_dict()."
        )
    tensors = {key: value for key, value in content.items() if isinstance(value, Tensor)}
    if not tensors:
        raise InvalidArgumentError(
            f"no tensors in this checkpoint: it holds {', '.join(map(str, list(content)[:8])) or 'nothing'}. "
            f"Weights are looked for at its top and under {', '.join(CONTAINERS)}."
        )
    for prefix in PREFIXES:
        if any(key.startswith(prefix) for key in own):
            continue
        inside = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
        if inside:
            tensors = inside  # what lies outside of it (a decoder, another head) belongs to other networks
    return tensors


def _inner(content: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the dictionary with tensors that a container holds."""
    for name in CONTAINERS:
        inner = content.get(name)
        if isinstance(inner, Mapping) and any(isinstance(value, Tensor) for value in inner.values()):
            return inner
    return None


def own_keys(model: nn.Module, given: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], tuple[str, ...], str]:
    """Translate bare keys into the model's own: (tensors, ignored keys, name of the format).

    Raises:
        InvalidArgumentError: the keys are those of another family.
    """
    own, family = model.state_dict(), family_of(model)
    if own.keys() <= given.keys() and not (family and any(family.ignores(key) for key in given.keys() - own.keys())):
        return dict(given), (), "own"
    if family is None:
        return dict(given), (), "own"
    if not family.recognises(given):
        others = [other.title for other in families() if other is not family and other.recognises(given)]
        if others or not set(given) & set(own):
            _refuse(family, given, others)
    kept = {key: value for key, value in given.items() if key in own or not family.ignores(key)}
    ignored = tuple(key for key in given if key not in kept)
    if kept.keys() == own.keys() or family.convert is None or not family.recognises(given):
        return kept, ignored, "own"
    try:
        return family.convert(kept, model), ignored, f"published ({family.title})"
    except (KeyError, IndexError, ValueError, RuntimeError) as error:
        if isinstance(error, InvalidArgumentError):
            raise
        raise InvalidArgumentError(
            f"these keys are those of {family.title}, but do not make this model ({first_line(error)}): tensors are "
            "missing, or have other shapes. Give the model it was trained as."
        ) from None


def _refuse(family: Family, given: Mapping[str, Tensor], others: list[str]) -> None:
    belongs = f"they belong to {' or '.join(others)}" if others else f"they begin with {', '.join(list(given)[:3])}"
    raise InvalidArgumentError(
        f"these {len(given)} keys are not {family.title}'s: {belongs}. Create that model, or give other weights."
    )
