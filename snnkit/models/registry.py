"""Models by name: a plain dict from name to a function that builds the model.

A family is one file: its card (``Family``), and functions with ``@register_model`` or a table of sizes given to
``register_variant``. Adding a family is that file and its line in ``snnkit.models``. ``timm:NAME`` builds timm's model.
``METHOD:NAME`` builds what a method (``register_method``) puts around the model called NAME, for pre-training
(``mae:timm:vit_base_patch16_224``) or on its feature maps (``semantic_fpn:swinv2_tiny_window8_256``).
"""

from __future__ import annotations

import fnmatch
import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from torch import nn

from snnkit.errors import InvalidArgumentError, unknown_name
from snnkit.models.family import Family, Kind

_TIMM = "timm:"


@dataclass(frozen=True)
class ModelInfo:
    """What is known of a model before it is built. ``params`` counts the trainable numbers at default sizes."""

    name: str
    kind: Kind
    paper: str
    source: str
    summary: str
    params: int
    family: Family | None = None


@dataclass(frozen=True)
class Entry:
    """A registered model: how it is built, its family, its parameter count and one line about it."""

    build: Callable[..., nn.Module]
    family: Family
    params: int
    summary: str


@dataclass(frozen=True)
class Method:
    """What is built around an encoder: ``build`` takes it first, and the card says how published weights load.

    ``maps`` says whether the encoder gives its feature maps; ``classes`` whether what is built has classes, and is then
    no pre-training.
    """

    build: Callable[..., nn.Module]
    family: Family
    maps: bool = False

    @property
    def classes(self) -> bool:
        """Whether what is built takes ``num_classes``."""
        return "num_classes" in inspect.signature(self.build).parameters


_MODELS: dict[str, Entry] = {}
_METHODS: dict[str, Method] = {}


def register_model(family: Family, *, params: int) -> Callable[[Callable[..., nn.Module]], Any]:
    """Register the decorated function under its own name; the first line of its docstring is the summary.

    Args:
        family: the family's card.
        params: trainable parameters at default arguments; a test counts them.
    """

    def add(build: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
        summary = (inspect.getdoc(build) or "").splitlines()[0].replace("``", "`")
        _add(build.__name__, Entry(build, family, params, summary))
        return build

    return add


def register_variant(
    family: Family, name: str, build: Callable[..., nn.Module], *, params: int, summary: str, **sizes: Any
) -> None:
    """Register ``build`` with ``sizes`` as defaults under ``name``: one line of a family's table of sizes.

    Args:
        family: the family's card.
        name: in the registry.
        build: takes keyword arguments; what ``sizes`` sets can still be given to ``create_model``.
        params: trainable parameters at default arguments; a test counts them.
        summary: one line for lists.
        sizes: new defaults for arguments of ``build``.
    """
    _add(name, Entry(partial(build, **sizes), family, params, summary))


def _add(name: str, entry: Entry) -> None:
    if name in _MODELS:
        raise ValueError(f"two models are called {name!r}")
    _MODELS[name] = replace(entry, summary=entry.summary.removesuffix("."))


def register_method(name: str, build: Callable[..., nn.Module], family: Family, maps: bool = False) -> None:
    """Register what is built around an encoder, for pre-training or for more than classes, as ``name:ENCODER``.

    Args:
        name: of the method.
        build: from the encoder and keyword arguments of its own; what is called ``in_chans`` or ``img_size`` among
            these goes to the encoder too.
        family: a card; it is not among ``families()``, which are those of classifiers.
        maps: whether the encoder is made with ``features_only``.
    """
    if name in _METHODS:
        raise ValueError(f"two methods are called {name!r}")
    _METHODS[name] = Method(build, family, maps)


def _method(name: str) -> tuple[Method, str] | None:
    """The method and the encoder that ``METHOD:ENCODER`` names; None for the name of a model."""
    first, _, encoder = name.partition(":")
    if not encoder or name.startswith(_TIMM):
        return None
    if first not in _METHODS:
        raise unknown_name("method", first, [*_METHODS, "timm"], "Names are MODEL, timm:MODEL or METHOD:MODEL.")
    return _METHODS[first], encoder


def _entry(name: str) -> Entry:
    if name not in _MODELS:
        raise unknown_name(
            "model", name, _MODELS, "`snnkit models` lists all; timm's models are called timm:NAME here."
        )
    return _MODELS[name]


def accepts(name: str, argument: str) -> bool:
    """Whether the model called ``name`` takes ``argument``; of timm's models that is known for channels only."""
    if (made := _method(name)) is not None:
        own = argument in method_arguments(name)
        return own or (argument != "num_classes" and accepts(made[1], argument))
    if name.startswith(_TIMM):
        return argument in ("in_chans", "num_classes")
    return argument in inspect.signature(_entry(name).build).parameters


def of_one_family(*names: str) -> bool:
    """Whether these are all models of one registered family; timm's are of none."""
    found = {_MODELS[name].family.name if name in _MODELS else None for name in names}
    return len(found) == 1 and None not in found


def families() -> tuple[Family, ...]:
    """Return every registered family once."""
    return tuple({entry.family.name: entry.family for entry in _MODELS.values()}.values())


def family_of(model: nn.Module) -> Family | None:
    """Return the family of a model made by ``create_model``, else None."""
    name = getattr(model, "model_name", "")
    if (made := _method(name)) is not None:
        return made[0].family
    entry = _MODELS.get(name)
    return entry.family if entry else None


def _whole_number(key: str, value: Any) -> int:
    try:
        whole = int(value)
    except (TypeError, ValueError, OverflowError):  # a list, text or nan, inf
        whole = 0
    if isinstance(value, bool) or whole != value or whole < 1:
        raise InvalidArgumentError(f"{key}={value!r}: must be a whole number ≥ 1.")
    return whole


def _image_size(value: Any) -> int | tuple[int, int]:
    """One side, or (height, width)."""
    if isinstance(value, (tuple, list)) and len(value) == 2:
        return _whole_number("img_size", value[0]), _whole_number("img_size", value[1])
    return _whole_number("img_size", value)


def create_model(
    name: str,
    *,
    num_classes: int | None = None,
    in_chans: int | None = None,
    img_size: int | tuple[int, int] | None = None,
    timesteps: int | None = None,
    drop_path_rate: float | None = None,
    features_only: bool = False,
    **sizes: Any,
) -> nn.Module:
    """Build the model called ``name``; what is left None stays at the model's own default.

    Args:
        name: a name from ``list_models()``, ``timm:NAME`` for one of timm's, or ``METHOD:NAME`` for what pre-trains
            that model ("mae", "simmim").
        num_classes: K, outputs of the classifier; 0 for none, where the model can.
        in_chans: channels of the input images.
        img_size: side of the square input images in pixels, or (height, width) where the model can.
        timesteps: T for spiking models.
        drop_path_rate: stochastic depth in [0, 1), where the model has it.
        features_only: return feature maps instead of logits, where the model can.
        sizes: further arguments of that model.

    Raises:
        UnknownNameError: no such model, or no such argument (names the nearest match).
        InvalidArgumentError: an argument outside its range.
    """
    given = {
        "num_classes": num_classes,
        "in_chans": in_chans,
        "img_size": img_size,
        "timesteps": timesteps,
        "drop_path_rate": drop_path_rate,
        "features_only": features_only or None,
        **sizes,
    }
    given = {key: value for key, value in given.items() if value is not None}
    for key in ("in_chans", "timesteps"):
        if key in given:
            given[key] = _whole_number(key, given[key])
    if "num_classes" in given and given["num_classes"] is not False and given["num_classes"] != 0:
        given["num_classes"] = _whole_number("num_classes", given["num_classes"])
    if "img_size" in given:
        given["img_size"] = _image_size(given["img_size"])
    rate = given.get("drop_path_rate", 0)
    if not isinstance(rate, (int, float)) or not 0 <= rate < 1:
        raise InvalidArgumentError(f"drop_path_rate={drop_path_rate!r}: must be at least 0 and below 1.")
    model = _build(name, given)
    model.model_name = name
    return model


def _build(name: str, given: dict[str, Any]) -> nn.Module:
    """Build a model with arguments that were looked at."""
    if (made := _method(name)) is not None:
        return _around(*made, given)
    if name.startswith(_TIMM):
        return _timm_model(name, given)
    entry = _entry(name)
    allowed = set(inspect.signature(entry.build).parameters)
    for key in given:
        if key not in allowed:
            raise unknown_name(f"argument of {name}", key, allowed)
    return entry.build(**given)


def method_arguments(name: str) -> set[str]:
    """Return the arguments that a method, of ``METHOD:NAME``, takes for itself; none for the name of a model."""
    made = _method(name)
    return set() if made is None else set(inspect.signature(made[0].build).parameters) - {"encoder"}


def pretrains(name: str) -> bool:
    """Whether the model called ``name`` is one for pre-training: around an encoder, and without classes of its own."""
    if ":" in name:
        made = _METHODS.get(name.partition(":")[0])
        return made is not None and not made.classes
    return name in _MODELS and "mask_ratio" in inspect.signature(_MODELS[name].build).parameters


def _around(method: Method, encoder: str, given: dict[str, Any]) -> nn.Module:
    """Build an encoder without classes, and what the method puts around it; what is not the method's goes to it."""
    shared = ("in_chans", "img_size")
    if "num_classes" in given and not method.classes:
        raise InvalidArgumentError(f"num_classes={given['num_classes']}: what pre-trains a model has no classes.")
    names = set(inspect.signature(method.build).parameters) - {"encoder"}
    own = {key: given[key] for key in given if key in names}
    inner = {key: value for key, value in given.items() if key not in names or key in shared}
    if method.maps:
        return method.build(_of_maps(encoder, inner), **own)
    made = create_model(encoder, num_classes=0, **inner)
    return method.build(made, **own)


def _of_maps(encoder: str, given: dict[str, Any]) -> nn.Module:
    """Build an encoder that gives its maps, has no classes, and reads images of any size where it can."""
    if encoder.startswith(_TIMM):
        try:  # transformers of one size unless told otherwise
            return create_model(encoder, features_only=True, **{"dynamic_img_size": True, **given})
        except InvalidArgumentError as error:
            if "dynamic_img_size" not in str(error):
                raise
        return create_model(encoder, features_only=True, **given)
    if accepts(encoder, "num_classes"):
        given = {"num_classes": 0, **given}
    # What has no such argument gives nothing but maps, or none.
    return create_model(encoder, features_only=accepts(encoder, "features_only"), **given)


def _timm_model(name: str, given: dict[str, Any]) -> nn.Module:
    """Build one of timm's models."""
    import timm  # a second of its own, which most who build a model need not wait for

    if "timesteps" in given:
        raise InvalidArgumentError(
            f"timesteps={given['timesteps']}: {name} is an ordinary model and has no time steps."
        )
    bare = name.removeprefix(_TIMM)
    if not timm.is_model(bare):
        raise unknown_name("timm model", bare, timm.list_models())
    try:
        return timm.create_model(bare, **given)
    except TypeError as error:
        raise InvalidArgumentError(f"{name} refuses these arguments: {error}.") from None
    except RuntimeError as error:
        if "pretrained tag" not in str(error):
            raise
        tags = [known.partition(".")[2] for known in timm.list_pretrained(f"{bare.partition('.')[0]}.*")]
        raise unknown_name(f"tag of {bare.partition('.')[0]}", bare.partition(".")[2], tags) from None


def list_models(pattern: str = "*", kind: Kind | None = None) -> list[str]:
    """Return the sorted names that match a shell pattern, of one kind ("snn", "ann") or of both (None).

    A pattern that begins with ``timm:`` looks among timm's models, one that begins with a method's name for encoders;
    whether that method takes them is known when the model is made.
    """
    if kind not in (None, "snn", "ann"):
        raise unknown_name("kind of model", str(kind), ["snn", "ann"])
    if (made := _method(pattern)) is not None:
        return [pattern[: -len(made[1])] + name for name in list_models(made[1], kind)]
    if pattern.startswith(_TIMM):
        import timm

        found = [] if kind == "snn" else timm.list_models(pattern.removeprefix(_TIMM))
        return [_TIMM + name for name in found]
    return sorted(n for n, e in _MODELS.items() if fnmatch.fnmatchcase(n, pattern) and kind in (None, e.family.kind))


def _kind(name: str) -> Kind:
    """Of a model, or of what a method builds on its maps."""
    if (made := _method(name)) is not None:
        return _kind(made[1])
    return "ann" if name.startswith(_TIMM) else _entry(name).family.kind


def model_info(name: str) -> ModelInfo:
    """Return paper, source, parameter count, one-line summary and family of a model without building it."""
    if (made := _method(name)) is not None:
        params, card = sum(p.numel() for p in create_model(name).parameters()), made[0].family
        kind = _kind(made[1]) if made[0].maps else card.kind
        return ModelInfo(name, kind, card.paper, card.source, f"{card.title} around {made[1]}", params, card)
    if name.startswith(_TIMM):
        params = sum(p.numel() for p in create_model(name).parameters())
        return ModelInfo(name, "ann", "see timm's documentation", "timm", "one of timm's models", params)
    entry = _entry(name)
    family = entry.family
    return ModelInfo(name, family.kind, family.paper, family.source, entry.summary, entry.params, family)
