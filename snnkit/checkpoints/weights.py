"""Saving weights, loading them into a model, and building the model that a file holds."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from snnkit.archives import BAD_ARCHIVE, first_line
from snnkit.checkpoints.fitting import converted, fitted
from snnkit.checkpoints.formats import own_keys, unwrap
from snnkit.checkpoints.published import published_form, take_form, untold
from snnkit.checkpoints.read import FORMAT, read_any, read_weights
from snnkit.checksum import checksum
from snnkit.errors import CorruptFileError, InvalidArgumentError, SnnkitError
from snnkit.files import atomic_path
from snnkit.models import create_model
from snnkit.models.inflation import inflated
from snnkit.models.registry import method_arguments


@dataclass(frozen=True)
class LoadReport:
    """What loading did, by the model's own keys, and by the file's for what was not used.

    Attributes:
        loaded: keys that were filled.
        missing: keys of the model the file does not have.
        unused: keys of the file the model has no place for.
        ignored: keys of the file that carry nothing the model needs (buffers it computes, layers that were never used).
        source: "own", or the published format that was recognised.
        left: keys of both that differ in shape and were left as they are (``strict=False``), such as a new head's.
        adapted: first convolutions whose three channels were summed, or repeated, for images of other channels.
        form: arguments of ``create_model`` that the model was changed to, since published weights were trained so.
        untold: arguments that the weights do not tell, as the model has them: "num_heads=8".
        widened: tensors of a network for images that were widened over time (``models.inflation``).
    """

    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    unused: tuple[str, ...]
    ignored: tuple[str, ...] = ()
    source: str = "own"
    left: tuple[str, ...] = ()
    adapted: tuple[str, ...] = ()
    form: Mapping[str, Any] = field(default_factory=dict)
    untold: tuple[str, ...] = ()
    widened: int = 0

    @property
    def complete(self) -> bool:
        """Whether every key of the model was filled and none of the file was left over."""
        return not self.missing and not self.unused and not self.left

    def __str__(self) -> str:
        """One line: what was taken, and all that a reader must know of how."""
        parts = [f"{len(self.loaded)} tensors taken as {self.source}"]
        if random := self.missing + self.left:
            parts.append(f"{_some('start', random).replace(' start', '', 1)} start as the model has them")
        if self.unused:
            parts.append(_some("unused", self.unused))
        if self.ignored:
            parts.append(_some("ignored", self.ignored))
        if self.adapted:
            parts.append(f"{', '.join(self.adapted)} adapted to the channels of the images")
        if self.widened:
            parts.append(f"{self.widened} of them are a network's for images, widened over time")
        if self.form:
            form = ", ".join(f"{key}={value}" for key, value in self.form.items())
            parts.append(f"the model computes as published ({form})")
        if self.untold:
            parts.append(f"the weights do not tell {', '.join(self.untold)}: check")
        return "; ".join(parts)


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
    text = json.dumps(dict(model_config or {}))
    content = save(tensors, {"format": FORMAT, "model": text, "sha256": checksum(tensors, text)})
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)  # not save_file: its errors hide what the system refused


def load_weights(
    model: nn.Module, path_or_state_dict: str | Path | Mapping[str, Any], strict: bool = True
) -> LoadReport:
    """Load weights into ``model`` and say what happened.

    The model's own keys, the published ones of its family and timm's are recognised by themselves, in containers
    (``model``, ``state_dict`` …) and behind prefixes (``module.``, ``backbone.`` …).

    A first convolution of three channels is summed for images of one, as timm does, and repeated and scaled for other
    numbers. Weights of a network for images are widened for one of clips. Weights of a published file whose code
    computes otherwise than the model's defaults change the model to that form (``LoadReport.form``).

    Args:
        model: to be filled; untouched if anything is wrong.
        path_or_state_dict: a safetensors file, a torch file that holds nothing but tensors, or a mapping.
        strict: whether missing or unused keys and other shapes are an error; else what fits is taken, and the report
            names the rest (a head of another number of classes).

    Raises:
        CorruptFileError: the file cannot be read, or changed since it was written.
        NonFiniteError: a tensor holds NaN or infinity, or would in the model's precision.
        InvalidArgumentError: the weights are another family's, keys or shapes differ (strict), nothing fits, or a
            tensor is no dense real one.
    """
    given: Mapping[str, Any]
    if isinstance(path_or_state_dict, (str, Path)):
        given, config = read_any(path_or_state_dict)
    else:
        given, config = path_or_state_dict, {}
    own = model.state_dict()
    given, ignored, source = own_keys(model, unwrap(given, own))
    given, widened = inflated(model, own, given)
    made, adapted = fitted(model, own, given)
    left = tuple(key for key in own if key in made and made[key].shape != own[key].shape)
    report = LoadReport(
        loaded=tuple(key for key in own if key in made and key not in left),
        missing=tuple(key for key in own if key not in made),
        unused=tuple(key for key in made if key not in own),
        ignored=ignored,
        source=source,
        left=left,
        adapted=adapted,
        widened=widened,
        form=published_form(model, source),
        untold=untold(model, source),
    )
    if strict:
        _check_complete(model, report, own, made, config)
    if not report.loaded:
        raise InvalidArgumentError(f"none of these {len(made)} tensors fits this {_called(model)}; {_NEXT}.")
    ready = {key: converted(key, made[key], own[key]) for key in report.loaded}
    model.load_state_dict(ready, strict=False)
    take_form(model, report.form)
    return report


_State = Mapping[str, Tensor]
_NEXT = "create the model with the sizes it was trained with"


def _check_complete(model: nn.Module, report: LoadReport, own: _State, made: _State, config: Mapping[str, Any]) -> None:
    """Raise InvalidArgumentError unless every key of the model is filled, and no other is there."""
    if report.missing or report.unused:
        raise InvalidArgumentError(
            f"these weights are not for this {_called(model)}: {_some('missing', report.missing)}, "
            f"{_some('unused', report.unused)}. Give the model it was trained as"
            f"{', ' + str(config['name']) if 'name' in config else ''}, or strict=False."
        )
    for key in report.left:
        raise InvalidArgumentError(
            f"{key} has shape {tuple(made[key].shape)} in the file and {tuple(own[key].shape)} in the model"
            f"{f' ({len(report.left)} differ)' if len(report.left) > 1 else ''}; {_NEXT}, or strict=False to leave "
            "what does not fit, such as a new head, as it is."
        )


def build_model(path: str | Path) -> tuple[nn.Module, dict[str, Any]]:
    """Return the model a checkpoint was saved from, in eval mode, and its configuration.

    ``model.trained_size`` is the (height, width) of the images it was trained on, where the checkpoint says.

    Raises:
        CorruptFileError: the file cannot be read, or does not say which model it holds.
    """
    tensors, config = read_weights(path)
    name = config.get("name")
    if not isinstance(name, str):
        raise CorruptFileError(f"{path} does not say which model it holds; use snnkit.load_weights(model, path).")
    size = config.get("trained_size")
    if size is not None and not (isinstance(size, list) and len(size) == 2 and all(type(n) is int for n in size)):
        raise CorruptFileError(f"{path} says trained_size={size!r}; it must be [height, width].")
    arguments = {key: value for key, value in config.items() if key not in ("name", "trained_size")}
    model = _built(path, name, arguments, tensors)
    try:
        load_weights(model, tensors)
    except SnnkitError as error:
        raise type(error)(f"{path}: {error}") from None
    if size is not None:
        model.trained_size = tuple(size)  # type: ignore[assignment]
    return model.eval(), config


_TIMM_WORDS = ("global_pool", "stem_type")  # looked up in a list of forms
# What timm's models may be given by a file: sizes and shares. Its other arguments download, or open files.
_TIMM_SIZES = re.compile(
    r"(num_classes|in_chans|img_size|drop_rate|drop_path_rate|features_only|embed_dim|depths?|num_heads|mlp_ratio"
    r"|patch_size|window_size|qkv_bias|global_pool|stem_type|stem_width|output_stride|width|widths|dims|channels|layers"
    r"|cardinality|base_width|dynamic_img_size|init_values|(attn|proj|pos|patch)_drop_rate|drop_block_rate|class_token"
    r"|no_embed_class|reg_tokens|qk_norm|pre_norm|final_norm|fc_norm)"
)


def unreadable(name: str, arguments: Mapping[str, Any]) -> str | None:
    """Return the first argument of a network that is not taken from files; None if all are."""
    if "timm:" not in name:
        return None
    own = method_arguments(name)
    for key, value in arguments.items():
        plain = _TIMM_SIZES.fullmatch(key) and not (isinstance(value, str) and key not in _TIMM_WORDS)
        if not plain and key not in own:
            return key
    return None


def _built(path: str | Path, name: str, arguments: dict[str, Any], tensors: Mapping[str, Tensor]) -> nn.Module:
    """Make the model that a file describes, first without memory: it must have the file's tensors."""
    key = unreadable(name, arguments)
    if key is not None:
        raise CorruptFileError(
            f"{path} gives {name} {key}={arguments[key]!r}; only sizes are taken from a file. If you trust it: "
            "snnkit.load_weights(snnkit.create_model(…), path)."
        )
    try:
        with torch.device("meta"):
            shapes = {key: value.shape for key, value in create_model(name, **arguments).state_dict().items()}
    except SnnkitError as error:
        raise CorruptFileError(f"{path} describes a model that cannot be made: {error}") from None
    except NotImplementedError:  # values are asked for while it is made
        shapes = {}
    except (*BAD_ARCHIVE, AssertionError, ArithmeticError) as error:
        raise CorruptFileError(f"{path} describes a model that cannot be made: {first_line(error)}.") from None
    for key, shape in shapes.items():
        if key in tensors and tensors[key].shape != shape:
            raise CorruptFileError(
                f"{path} describes a model whose {key} has shape {tuple(shape)}, and holds one of "
                f"{tuple(tensors[key].shape)}."
            )
    if shapes and shapes.keys() != tensors.keys():
        differ = sorted(shapes.keys() ^ tensors.keys())
        raise CorruptFileError(f"{path} describes a model with other tensors than it holds: {_some('differ', differ)}.")
    return create_model(name, **arguments)


def _some(what: str, keys: Sequence[str]) -> str:
    shown = ", ".join(keys[:3]) + (" …" if len(keys) > 3 else "")
    return f"{len(keys)} {what}" + (f" ({shown})" if keys else "")


def _called(model: nn.Module) -> str:
    return getattr(model, "model_name", type(model).__name__)
