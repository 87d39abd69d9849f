"""A run's complete configuration, as plain dataclasses; a recipe is a function that returns one."""

from __future__ import annotations

import tomllib
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any

from snnkit.data import DataConfig
from snnkit.errors import CorruptFileError, InvalidArgumentError, unknown_name


@dataclass
class ModelConfig:
    """Which model: a name from ``list_models()``, T, and further arguments of that model in ``sizes``."""

    name: str = "spiking_cnn_small"
    timesteps: int = 4
    sizes: dict[str, Any] = field(default_factory=dict)


@dataclass
class OptimConfig:
    """AdamW under a one-cycle schedule with peak ``lr``; ``clip`` bounds the gradient norm (0 = off)."""

    lr: float = 5e-3
    weight_decay: float = 0.01
    clip: float = 0.0
    label_smoothing: float = 0.0


@dataclass
class RunConfig:
    """Everything that decides a run's result; ``threads`` of torch while it trains, 0 for torch's own choice."""

    recipe: str = "custom"
    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    epochs: int = 14
    seed: int = 0
    threads: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return asdict(self)


def override(config: RunConfig, key: str, value: Any) -> None:
    """Set ``config.a.b`` for the key ``a.b``; text is read as the field's own type.

    Raises:
        UnknownNameError: no such key (names the nearest).
        InvalidArgumentError: the value is not of the key's type.
    """
    keys = _keys(config)
    if key.startswith("model.sizes."):
        config.model.sizes[key.removeprefix("model.sizes.")] = _guess(value)
        return
    if key not in keys:
        raise unknown_name("configuration key", key, keys)
    *path, last = key.split(".")
    target: Any = config
    for part in path:
        target = getattr(target, part)
    setattr(target, last, _as_type(key, value, type(getattr(target, last))))


def apply_toml(config: RunConfig, path: str | Path) -> None:
    """Override from a TOML file whose tables are the configuration's: ``[optim] lr = 1e-3``.

    Raises:
        CorruptFileError: the file is missing or not TOML.
        UnknownNameError, InvalidArgumentError: as ``override``.
    """
    try:
        content = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CorruptFileError(f"{path} does not exist.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CorruptFileError(f"{path} is not valid TOML: {error}.") from None

    def walk(table: dict[str, Any], prefix: str) -> None:
        for name, value in table.items():
            if isinstance(value, dict):
                walk(value, f"{prefix}{name}.")
            else:
                override(config, prefix + name, value)

    walk(content, "")


def _keys(config: Any, prefix: str = "") -> list[str]:
    keys = []
    for item in fields(config):
        value = getattr(config, item.name)
        keys += _keys(value, f"{prefix}{item.name}.") if is_dataclass(value) else [prefix + item.name]
    return keys


def _as_type(key: str, value: Any, kind: type) -> Any:
    wanted = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}.get(kind, kind.__name__)
    try:
        if kind is bool:
            if isinstance(value, bool):
                return value
            return {"true": True, "false": False, "1": True, "0": False}[str(value).lower()]
        if kind is int:
            if isinstance(value, bool) or int(str(value)) != float(str(value)):
                raise ValueError
            return int(str(value))
        if kind is float and not isinstance(value, bool):
            return float(value)
        if kind is str:
            return str(value)
    except (ValueError, KeyError, TypeError):
        pass
    raise InvalidArgumentError(f"{key}={value!r}: must be {wanted}.")


def _guess(value: Any) -> Any:
    """Read text as a whole number or a number where it is one."""
    for kind in (int, float):
        try:
            return kind(value)
        except (TypeError, ValueError):
            continue
    return value
