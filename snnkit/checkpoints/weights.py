"""Saving weights, loading them into a model, and building the model that a file holds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from snnkit.checkpoints.formats import own_keys, unwrap
from snnkit.checkpoints.read import read_any, read_weights
from snnkit.errors import CorruptFileError, InvalidArgumentError
from snnkit.files import atomic_path
from snnkit.models import create_model


@dataclass(frozen=True)
class LoadReport:
    """What loading did, by the model's own keys, and by the file's for what was not used.

    Attributes:
        loaded: keys that were filled.
        missing: keys of the model the file does not have.
        unused: keys of the file the model has no place for.
        ignored: keys of the file that carry nothing the model needs (buffers it computes, layers that were never used).
        source: "own", or the published format that was recognised.
    """

    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    unused: tuple[str, ...]
    ignored: tuple[str, ...] = ()
    source: str = "own"

    @property
    def complete(self) -> bool:
        """Whether every key of the model was filled and none of the file was left over."""
        return not self.missing and not self.unused


def save_weights(model: nn.Module, path: str | Path, model_config: Mapping[str, Any] | None = None) -> None:
    """Write the model's state dict as safetensors, atomically.

    Args:
        model: whose parameters and buffers are written.
        path: of the file.
        model_config: ``{"name": …, **arguments}`` for ``create_model``, kept in the metadata.
    """
    save_tensors(model.state_dict(), path, model_config)


def save_tensors(
    tensors: Mapping[str, Tensor], path: str | Path, model_config: Mapping[str, Any] | None = None
) -> None:
    """Write tensors by key as safetensors, atomically, with the configuration of the model they belong to."""
    # clone: safetensors refuses two names of one memory
    tensors = {key: value.detach().clone(memory_format=torch.contiguous_format) for key, value in tensors.items()}
    metadata = {"format": "snnkit-weights-1", "model": json.dumps(dict(model_config or {}))}
    content = save(tensors, metadata)
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)  # not save_file: its errors hide what the system refused


def load_weights(
    model: nn.Module, path_or_state_dict: str | Path | Mapping[str, Any], strict: bool = True
) -> LoadReport:
    """Load weights into ``model`` and say what happened.

    The model's own keys, the published ones of its family and timm's are recognised by themselves, in containers
    (``model``, ``state_dict`` …) and behind prefixes (``module.``, ``backbone.`` …).

    Args:
        model: to be filled; untouched if anything is wrong.
        path_or_state_dict: a safetensors file, a torch file that holds nothing but tensors, or a mapping.
        strict: whether missing or unused keys are an error.

    Raises:
        CorruptFileError: the file cannot be read.
        InvalidArgumentError: the weights are another family's, keys differ (strict), or a tensor has another shape.
    """
    given: Mapping[str, Any]
    from_file = isinstance(path_or_state_dict, (str, Path))
    given, config = read_any(path_or_state_dict) if from_file else (path_or_state_dict, {})  # type: ignore[arg-type]
    own = model.state_dict()
    given, ignored, source = own_keys(model, unwrap(given, own))
    report = LoadReport(
        loaded=tuple(key for key in own if key in given),
        missing=tuple(key for key in own if key not in given),
        unused=tuple(key for key in given if key not in own),
        ignored=ignored,
        source=source,
    )
    if strict and not report.complete:
        raise InvalidArgumentError(
            f"these weights are not for this {_called(model)}: {_some('missing', report.missing)}, "
            f"{_some('unused', report.unused)}. Give the model it was trained as"
            f"{', ' + str(config['name']) if 'name' in config else ''}, or strict=False."
        )
    for key in report.loaded:
        if given[key].shape != own[key].shape:
            raise InvalidArgumentError(
                f"{key} has shape {tuple(given[key].shape)} in the file and {tuple(own[key].shape)} in the model; "
                "create the model with the sizes it was trained with."
            )
    model.load_state_dict({key: given[key] for key in report.loaded}, strict=False)
    return report


def build_model(path: str | Path) -> tuple[nn.Module, dict[str, Any]]:
    """Return the model a checkpoint was saved from, in eval mode, and its configuration.

    ``model.trained_size`` is the (height, width) of the images it was trained on, where the checkpoint says.

    Raises:
        CorruptFileError: the file cannot be read, or does not say which model it holds.
    """
    tensors, config = read_weights(path)
    if "name" not in config:
        raise CorruptFileError(f"{path} does not say which model it holds; use snnkit.load_weights(model, path).")
    arguments = {key: value for key, value in config.items() if key not in ("name", "trained_size")}
    model = create_model(config["name"], **arguments)
    load_weights(model, tensors)
    if "trained_size" in config:
        model.trained_size = tuple(config["trained_size"])
    return model.eval(), config


def _some(what: str, keys: tuple[str, ...]) -> str:
    shown = ", ".join(keys[:3]) + (" …" if len(keys) > 3 else "")
    return f"{len(keys)} {what}" + (f" ({shown})" if keys else "")


def _called(model: nn.Module) -> str:
    return getattr(model, "model_name", type(model).__name__)
