"""From a name to an optimizer: which parameters decay, which learn slower, and whose implementation is taken."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from timm.optim import (
    create_optimizer_v2,
    get_optimizer_class,
    list_optimizers,
    param_groups_layer_decay,
    param_groups_weight_decay,
)
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from snnkit.errors import InvalidArgumentError, unknown_name
from snnkit.optim.stable_embedding import mark_stable_embeddings

OPTIMIZERS: dict[str, type[torch.optim.Optimizer]] = {}
"""This project's own by name; the package's list fills it."""

# What the loop cannot drive, or go on with. Their variants (kronw …) are named after them.
_UNFIT = {
    "adahessian": "needs second derivatives, which are not computed here",
    "kron": "keeps its state outside of tensors, so that a run could not be resumed",
}

# torch's one-pass implementations: four times as fast on a CPU. That of SGD takes no shards.
_FUSED, _FUSED_WHOLE = ("adam", "adamw"), ("sgd", "momentum", "nesterov")


def parameter_groups(
    model: nn.Module,
    weight_decay: float,
    layer_decay: float = 1.0,
    others: tuple[nn.Module, ...] = (),
    decay_all: bool = False,
) -> list[dict[str, Any]]:
    """Return parameter groups: no decay for biases, norms and what ``model.no_weight_decay()`` names.

    Args:
        model: the network; ``group_matcher`` says which of its layers belong together.
        weight_decay: of all other parameters.
        layer_decay: factor on the learning rate from each group of layers to the one before it; 1 = off.
        others: modules that are trained beside the network, without layer decay.
        decay_all: have everything decay, biases and norms too.
    """
    mark_stable_embeddings(model, *others)
    if decay_all and layer_decay < 1:
        raise InvalidArgumentError("optim.decay_all=true: goes with optim.layer_decay=1 only.")
    if decay_all:
        trained = [p for module in (model, *others) for p in module.parameters() if p.requires_grad]
        return [{"params": trained, "weight_decay": weight_decay}]
    exempt = set(model.no_weight_decay()) if hasattr(model, "no_weight_decay") else set()
    if layer_decay < 1:
        if not hasattr(model, "group_matcher"):
            raise InvalidArgumentError(
                f"optim.layer_decay={layer_decay}: {type(model).__name__} has no group_matcher() that says which "
                "layers follow each other; give 1."
            )
        groups = param_groups_layer_decay(model, weight_decay, exempt, layer_decay=layer_decay)
    else:
        groups = param_groups_weight_decay(model, weight_decay, no_weight_decay_list=exempt)
    for other in others:
        groups += param_groups_weight_decay(other, weight_decay)
    return [group for group in groups if group["params"]]


def apart(groups: list[dict[str, Any]], late: Iterable[Tensor]) -> list[dict[str, Any]]:
    """Return the groups with the parameters ``late`` in groups of their own.

    torch's one-pass SGD takes no group of which some parameters had their first gradient later than others.
    """
    known, found = {id(parameter) for parameter in late}, []
    for group in groups:
        for wanted in (False, True):
            chosen = [parameter for parameter in group["params"] if (id(parameter) in known) == wanted]
            if chosen:
                found.append({**group, "params": chosen})
    return found


def build_optimizer(
    name: str, groups: list[dict[str, Any]], lr: float, options: Mapping[str, Any]
) -> torch.optim.Optimizer:
    """Return the optimizer called ``name``.

    Args:
        name: in lower case, as timm writes it (``adamw``, ``lamb``, ``sgd`` …), or one of ``OPTIMIZERS``.
        groups: from ``parameter_groups``.
        lr: learning rate; a group's ``lr_scale`` multiplies it.
        options: further arguments.

    Raises:
        UnknownNameError: no such optimizer, or no such option of it (names the nearest).
        InvalidArgumentError: it refuses its options, or cannot be used here (says why).
    """
    known = [*OPTIMIZERS, *list_optimizers(exclude_filters=["bnb*", "fused*"])]
    if name not in known:
        raise unknown_name("optimizer", name, known)
    for prefix, why in _UNFIT.items():
        if name.startswith(prefix):
            raise InvalidArgumentError(f"optim.name={name!r}: it {why}; choose another, such as 'adamw'.")
    _check_options(name, options)
    try:
        if name in OPTIMIZERS:
            return OPTIMIZERS[name](groups, lr=lr, **options)
        sharded = any(isinstance(p, DTensor) for group in groups for p in group["params"])
        fused = name in _FUSED or (name in _FUSED_WHOLE and not sharded)
        given = {"fused": True, **options} if fused else dict(options)
        return create_optimizer_v2(groups, opt=name, lr=lr, **given)
    except (TypeError, ValueError) as error:
        raise InvalidArgumentError(
            f"optim.options={dict(options)}: {name} refuses them: {str(error).rstrip('.')}."
        ) from None


def _check_options(name: str, options: Mapping[str, Any]) -> None:
    """Refuse what the optimizer does not have: timm's factory would drop some of it without a word."""
    made = OPTIMIZERS.get(name) or get_optimizer_class(name, bind_defaults=False)
    allowed = set(inspect.signature(made).parameters) - {"params"}
    for key, value in options.items():
        if key in ("lr", "weight_decay"):
            raise InvalidArgumentError(f"optim.options.{key}: set optim.{key} instead.")
        if key not in allowed:
            raise unknown_name(f"option of optimizer {name}", key, allowed - {"lr", "weight_decay"})
        if key == "betas" and isinstance(value, (tuple, list)) and len(value) != _betas(made):
            raise InvalidArgumentError(f"optim.options.betas={value}: {name} takes {_betas(made)} numbers.")


def _betas(made: Any) -> int:
    return len(inspect.signature(made).parameters["betas"].default)
