"""Chips as files: TOML with the fields of ``hw.chip.Chip``. Reading checks every name, type and number."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from hw.chip import Chip, ChipError
from hw.lookup import nearest
from hw.quantity import Quantity

_LARGEST = 2**20
_MOST = 2**53
_PLAIN = {int: "a whole number", float: "a number", str: "text in quotes", bool: "true or false"}


def read(path: str | Path) -> Chip:
    """Read a chip from a TOML file; it is called by the path that was given.

    ``dumps`` writes such files, ``snnkit chips NAME --toml`` prints one to start from.

    Raises:
        ChipError: no such file, not TOML, or not the description of a chip; says what and where.
    """
    return loads(_text(Path(path)), str(path))


def loads(text: str, name: str) -> Chip:
    """Return the chip that a text in TOML describes, called ``name``.

    Raises:
        ChipError: not TOML, or not the description of a chip; says what and where.
    """
    try:
        data = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError: TOML, or a number of thousands of digits
        raise ChipError(f"{name} is not TOML: {error}.") from None
    return _chip(data, name)


def _text(path: Path) -> str:
    try:
        raw = path.read_bytes() if path.stat().st_size <= _LARGEST else None
        if raw is None:
            raise ChipError(f"{path} has more than {_LARGEST:,} bytes: no description of a chip.")
        return raw.decode()
    except OSError as error:
        raise ChipError(f"{path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise ChipError(f"{path} is not text in UTF-8.") from None


def _chip(data: Mapping[str, Any], path: str) -> Chip:
    if "name" in data:
        raise ChipError(f"{path}: name: a chip in a file is called by its path; leave the name out.")
    chip: Chip = _made(Chip, {"name": path, **data}, path, "")
    given = data.get("numbers", {})
    for key, built in (chip.build.numbers() if chip.build else {}).items():
        if key in given and given[key].get("value") != built.value:
            raise ChipError(f"{path}: numbers.{key} is {given[key].get('value')}, but the build has {built.value:g}.")
    return chip


@cache
def _types(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def _made(kind: Any, data: Any, path: str, where: str) -> Any:
    """Make a dataclass of a table, by the types of its fields."""
    dot = f"{where}." if where else ""
    if not isinstance(data, dict):
        raise ChipError(f"{path}: {where} is {data!r}, it must be a table{_example(kind)}.")
    known = [field for field in fields(kind) if field.init]
    names = [field.name for field in known]
    for name in data:
        if name not in names:
            near = nearest(name, names) or f" There are {', '.join(names)}."
            raise ChipError(f"{path}: unknown key {dot}{name}.{near}")
    needed = [f.name for f in known if f.default is MISSING and f.default_factory is MISSING]
    lacking = [f"{dot}{name}" for name in needed if name not in data]
    if lacking:
        raise ChipError(f"{path}: lacks {', '.join(lacking)}{_example(kind)}.")
    types = _types(kind)
    values = {name: _value(types[name], given, path, f"{dot}{name}") for name, given in data.items()}
    try:
        return kind(**values)
    except ChipError:
        raise
    except ValueError as error:
        raise ChipError(f"{path}: {where}: {error}.") from None


def _example(kind: Any) -> str:
    return ' such as { value = 24, unit = "bits", source = "where it was read" }' if kind is Quantity else ""


def _value(kind: Any, given: Any, path: str, where: str) -> Any:
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        (kind,) = (one for one in inner if one is not NoneType)
        return _value(kind, given, path, where)
    if origin is tuple:
        if not isinstance(given, list) or (Ellipsis not in inner and len(given) != len(inner)):
            shape = "a list" if Ellipsis in inner else f"a list of {len(inner)}"
            raise ChipError(f"{path}: {where} is {given!r}, it must be {shape}.")
        return tuple(_value(inner[0], one, path, f"{where}[{i}]") for i, one in enumerate(given))
    if origin is not None:  # a mapping
        if not isinstance(given, dict):
            raise ChipError(f"{path}: {where} is {given!r}, it must be a table.")
        return {_key(inner[0], k, path, where): _value(inner[1], v, path, f"{where}.{k}") for k, v in given.items()}
    if is_dataclass(kind):
        return _made(kind, given, path, where)
    fine = isinstance(given, (int, float) if kind is float else kind) and (kind is bool or not isinstance(given, bool))
    if not fine:
        raise ChipError(f"{path}: {where} is {given!r}, it must be {_PLAIN[kind]}.")
    if isinstance(given, int) and abs(given) > _MOST:
        raise ChipError(f"{path}: {where} is beyond {_MOST:,}.")
    return given


def _key(kind: Any, given: str, path: str, where: str) -> Any:
    if kind is str:
        return given
    try:
        return kind(given)
    except ValueError:
        raise ChipError(f"{path}: {where}.{given}: the key must be {_PLAIN[kind]}.") from None


def dumps(chip: Chip) -> str:
    """Return a chip as the text of a TOML file, which ``read`` turns into the same chip."""
    built = chip.build.numbers() if chip.build else {}
    table = _table(chip)
    table["numbers"] = {key: value for key, value in table["numbers"].items() if key not in built}
    del table["name"]
    return "\n".join(_lines(table, "")) + "\n"


def _table(value: Any) -> dict[str, Any]:
    """Return a dataclass as a table, without what has its default."""
    defaults = {f.name: f.default_factory() if f.default_factory is not MISSING else f.default for f in fields(value)}
    shown = {name: getattr(value, name) for name, default in defaults.items() if getattr(value, name) != default}
    return {name: _plain(one) for name, one in shown.items()}


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return _table(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    return value


def _lines(table: Mapping[str, Any], where: str) -> list[str]:
    """Return a table's own values first, then its tables under their headings."""
    inline = {k: v for k, v in table.items() if not isinstance(v, dict) or ("source" in v and "value" in v)}
    lines = [f"{key} = {_inline(value)}" for key, value in inline.items()]
    for key, value in table.items():
        if key not in inline and value:
            below = f"{where}{key}"
            lines += ["", f"[{below}]", *_lines(value, f"{below}.")]
    return lines


def _inline(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_inline(one)}" for key, one in value.items()) + " }"
    if isinstance(value, tuple):
        return "[" + ", ".join(map(_inline, value)) + "]"
    if isinstance(value, float) and value == int(value):
        return repr(int(value)) if abs(value) < 2**53 else repr(value)
    return json.dumps(value, ensure_ascii=False)
