"""Saving and loading weights. A pickle is recognised and refused, never opened: it can run code."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
from safetensors.torch import save
from torch import Tensor, nn

from snnkit.errors import CorruptFileError, InvalidArgumentError
from snnkit.files import atomic_path
from snnkit.models import create_model

_PICKLE_SIGNS = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


@dataclass(frozen=True)
class LoadReport:
    """What loading did: keys taken, keys of the model that were missing, keys of the file that were not used."""

    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    unused: tuple[str, ...]

    @property
    def complete(self) -> bool:
        """Whether model and file had the same keys."""
        return not self.missing and not self.unused


def save_weights(model: nn.Module, path: str | Path, model_config: Mapping[str, Any] | None = None) -> None:
    """Write the model's state dict as safetensors, atomically.

    Args:
        model: whose parameters and buffers are written.
        path: of the file.
        model_config: ``{"name": …, **arguments}`` for ``create_model``, kept in the metadata.
    """
    tensors = {key: value.detach().contiguous() for key, value in model.state_dict().items()}
    metadata = {"format": "snnkit-weights-1", "model": json.dumps(dict(model_config or {}))}
    content = save(tensors, metadata)
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)  # not save_file: its errors hide what the system refused


def read_weights(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return (state dict, model configuration) of a safetensors file.

    Raises:
        CorruptFileError: missing, damaged, or a pickle (which is not opened).
    """
    path = Path(path)
    try:
        with open(path, "rb") as file:
            start = file.read(4)
        if any(start.startswith(sign) for sign in _PICKLE_SIGNS):
            raise CorruptFileError(
                f"{path} is a pickle or a zip of pickles (.pt, .pth), which could run code when opened; it was not. "
                "Save the weights as safetensors where they come from."
            )
        with safetensors.safe_open(str(path), framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            metadata = file.metadata() or {}
        return tensors, json.loads(metadata.get("model", "{}"))
    except FileNotFoundError:
        raise CorruptFileError(f"{path} does not exist.") from None
    except (safetensors.SafetensorError, OSError, json.JSONDecodeError) as error:
        raise CorruptFileError(f"{path} is not a readable safetensors file: {error}.") from None


def load_weights(
    model: nn.Module, path_or_state_dict: str | Path | Mapping[str, Tensor], strict: bool = True
) -> LoadReport:
    """Load weights into ``model`` and say what happened.

    Args:
        model: to be filled; untouched if anything is wrong.
        path_or_state_dict: a safetensors file, or a mapping from key to tensor.
        strict: whether missing or unused keys are an error.

    Raises:
        CorruptFileError: the file cannot be read.
        InvalidArgumentError: keys differ (strict), or a tensor has another shape.
    """
    given = read_weights(path_or_state_dict)[0] if isinstance(path_or_state_dict, (str, Path)) else path_or_state_dict
    own = model.state_dict()
    report = LoadReport(
        loaded=tuple(key for key in own if key in given),
        missing=tuple(key for key in own if key not in given),
        unused=tuple(key for key in given if key not in own),
    )
    if strict and not report.complete:
        raise InvalidArgumentError(
            f"these weights are not for this {type(model).__name__}: {_some('missing', report.missing)}, "
            f"{_some('unused', report.unused)}. Give the model it was trained as, or strict=False."
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

    Raises:
        CorruptFileError: the file cannot be read, or does not say which model it holds.
    """
    tensors, config = read_weights(path)
    if "name" not in config:
        raise CorruptFileError(f"{path} does not say which model it holds; use snnkit.load_weights(model, path).")
    arguments = {key: value for key, value in config.items() if key != "name"}
    model = create_model(config["name"], **arguments)
    load_weights(model, tensors)
    return model.eval(), config


def _some(what: str, keys: tuple[str, ...]) -> str:
    shown = ", ".join(keys[:3]) + (" …" if len(keys) > 3 else "")
    return f"{len(keys)} {what}" + (f" ({shown})" if keys else "")
