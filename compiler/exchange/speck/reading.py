"""Read: a configuration from its file, held against the chip it is for; nothing in the file is executed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from compiler.exchange.speck.configuration import FORMAT, Configuration, Core, Destination, Input
from compiler.exchange.speck.holding import wrong
from hw import get_chip
from snnkit.errors import CorruptFileError, SnnkitError
from snnkit.files import read_json


def read(path: str | Path) -> Configuration:
    """Return the configuration that ``write`` wrote.

    Raises:
        CorruptFileError: the file is missing, damaged, or not a configuration that its chip could hold (names the
            layer and the field).
        UnknownNameError: it is for a chip that is not known.
    """
    data = read_json(Path(path))
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise CorruptFileError(f"{path} is no configuration of the format {FORMAT}.")
    chip = get_chip(str(data.get("chip")))
    try:
        made = _configuration(data)
        fault = next(wrong(made, chip), None)
    except SnnkitError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError, OverflowError, IndexError) as error:
        reason = f"no field {error}" if isinstance(error, KeyError) else str(error).splitlines()[0]
        raise CorruptFileError(f"{path} describes no configuration: {reason}.") from None
    if fault:
        raise CorruptFileError(f"{path} describes no configuration for {chip.name}: {fault}.")
    return made


def _configuration(data: dict[str, Any]) -> Configuration:
    return Configuration(
        chip=str(data["chip"]),
        network=str(data["network"]),
        timesteps=_whole(data["timesteps"]),
        inputs=tuple(
            Input(str(i["name"]), tuple(map(_whole, i["shape"])), str(i["type"]), _sent(i["destinations"]))
            for i in data["inputs"]
        ),
        cores=tuple(_core(one) for one in data["layers"]),
        outputs=tuple(map(str, data["outputs"])),
    )


def _core(one: dict[str, Any]) -> Core:
    sizes = one["dimensions"]
    return Core(
        name=str(one["name"]),
        layer=str(one["layer"]),
        core=_whole(one["core"]),
        input_shape=_shape(sizes["input_shape"]),
        output_shape=_shape(sizes["output_shape"]),
        stride=(_whole(sizes["stride"]["y"]), _whole(sizes["stride"]["x"])),
        padding=(_whole(sizes["padding"]["y"]), _whole(sizes["padding"]["x"])),
        weights=_numbers(one["weights"]),
        biases=_numbers(one["biases"]),
        threshold_high=_whole(one["threshold_high"]),
        threshold_low=_whole(one["threshold_low"]),
        return_to_zero=_flag(one["return_to_zero"]),
        destinations=_sent(one["destinations"]),
        scale=float(one["scale"]),
        rounding=float(one["rounding"]),
        lowest=_whole(one["lowest_membrane"]),
        memory={str(key): _whole(value) for key, value in one["memory"].items()},
    )


def _numbers(values: Any) -> Tensor:
    made = torch.tensor(values)
    if made.dtype != torch.int64:
        raise ValueError("weights and biases are whole numbers")
    return made


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{value!r} stands where a whole number should")
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{value!r} stands where true or false should")
    return value


def _shape(given: dict[str, Any]) -> tuple[int, int, int]:
    return _whole(given["feature_count"]), _whole(given["size"]["y"]), _whole(given["size"]["x"])


def _sent(given: list[dict[str, Any]]) -> tuple[Destination, ...]:
    return tuple(Destination(_whole(d["core"]), str(d["layer"]), _whole(d["pooling"])) for d in given)
