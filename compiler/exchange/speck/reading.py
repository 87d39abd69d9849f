"""Read: a configuration from its file, held against the chip it is for; nothing in the file is executed."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from compiler.exchange.speck.configuration import FORMAT, Configuration, Core, Destination, Input
from compiler.graph import SignalType
from hw import get_chip
from hw.chip import Chip
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
        wrong = next(_wrong(made, chip), None)
    except SnnkitError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError, OverflowError, IndexError) as error:
        reason = f"no field {error}" if isinstance(error, KeyError) else str(error).splitlines()[0]
        raise CorruptFileError(f"{path} describes no configuration: {reason}.") from None
    if wrong:
        raise CorruptFileError(f"{path} describes no configuration for {chip.name}: {wrong}.")
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
        return_to_zero=bool(one["return_to_zero"]),
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


def _shape(given: dict[str, Any]) -> tuple[int, int, int]:
    return _whole(given["feature_count"]), _whole(given["size"]["y"]), _whole(given["size"]["x"])


def _sent(given: list[dict[str, Any]]) -> tuple[Destination, ...]:
    return tuple(Destination(_whole(d["core"]), str(d["layer"]), _whole(d["pooling"])) for d in given)


def _wrong(made: Configuration, chip: Chip) -> Any:
    """Yield what does not hold together, or is more than the chip has."""
    limits = chip.layers
    if limits is None or not limits.kernel_memory:
        yield "its cores are not programmed layer by layer"
        return
    held = 2 ** (int(chip.number("weight_bits").value) - 1)
    numbers = {core.name: core.core for core in made.cores}
    if len(set(numbers.values())) < len(made.cores) or len(numbers) < len(made.cores):
        yield "two layers have one core or one name"
    if made.timesteps < 1:
        yield f"it has {made.timesteps} time steps"
    for one in made.inputs:
        SignalType.parse(one.type)
        if len(one.shape) != 3 or min(one.shape) < 1:
            yield f"the input {one.name} has the shape {one.shape}, which is no map of channels, rows and columns"
    for core in made.cores:
        yield from _wrong_core(core, held, len(limits.kernel_memory))
        if not 0 <= core.core < len(limits.kernel_memory):
            continue
        rooms = {"kernel": limits.kernel_memory, "neuron": limits.neuron_memory, "bias": limits.bias_memory}
        for name, sizes in rooms.items():
            if core.memory.get(name, 0) > sizes[core.core]:
                yield f"{core.name} takes {core.memory[name]:,} words of {sizes[core.core]:,} ({name} memory)"
    sent = [(i.name, i.destinations) for i in made.inputs] + [(core.name, core.destinations) for core in made.cores]
    for name, destinations in sent:
        for to in destinations:
            if numbers.get(to.layer) != to.core or to.pooling < 1:
                yield f"{name} sends to {to.layer} on core {to.core}, which is not there"
    for name in made.outputs:
        if name not in numbers:
            yield f"the output {name} is no layer"
    if _loops(made):
        yield "its layers send in a circle"


def _wrong_core(core: Core, held: int, cores: int) -> Any:
    (f, h, w), (c, height, width) = core.output_shape, core.input_shape
    if not 0 <= core.core < cores:
        yield f"{core.name} is on core {core.core}, there are {cores}"
    if core.weights.ndim != 4 or core.weights.shape[:2] != (f, c) or core.weights.shape[2] != core.weights.shape[3]:
        yield f"{core.name} has weights {tuple(core.weights.shape)} for {c} and {f} channels"
        return
    if core.biases.shape != (f,):
        yield f"{core.name} has {core.biases.numel()} biases for {f} channels"
    if bool((core.weights.abs() > held).any()) or bool((core.biases.abs() > held).any()):
        yield f"{core.name} has weights beyond ±{held}"
    if core.threshold_high < 1 or not math.isfinite(core.scale) or core.scale <= 0:
        yield f"{core.name} has a threshold of {core.threshold_high} at the scale {core.scale}"
    kernel = core.weights.shape[-1]
    for side, made, pad, stride in zip((height, width), (h, w), core.padding, core.stride, strict=True):
        if stride < 1 or pad < 0 or (side + 2 * pad - kernel) // stride + 1 != made:
            yield f"{core.name} makes no map of {h}×{w} from {height}×{width}"
            return


def _loops(made: Configuration) -> bool:
    waiting = {core.name: {d.layer for d in core.destinations} for core in made.cores}
    while waiting:
        ends = [name for name, to in waiting.items() if not to & set(waiting)]
        if not ends:
            return True
        for name in ends:
            del waiting[name]
    return False
