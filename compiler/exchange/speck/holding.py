"""Holding: a configuration against itself and against its chip, before anything is made of it."""

from __future__ import annotations

import math
from collections.abc import Iterator

from compiler.checking.cores import as_map, has_cores, words
from compiler.exchange.speck.configuration import Configuration, Core
from compiler.graph import SignalType
from hw.chip import Chip
from hw.layers import LayerLimits


def wrong(made: Configuration, chip: Chip) -> Iterator[str]:
    """Yield what does not hold together, or is more than the chip has."""
    limits = chip.layers
    if limits is None or not has_cores(limits):
        yield "its cores are not programmed layer by layer"
        return
    numbers = {core.name: core.core for core in made.cores}
    if len(set(numbers.values())) < len(made.cores) or len(numbers) < len(made.cores):
        yield "two layers have one core or one name"
    inputs = {one.name for one in made.inputs}
    if len(inputs) < len(made.inputs) or inputs & set(numbers):
        yield "an input has the name of another input or of a layer"
    if made.timesteps < 1:
        yield f"it has {made.timesteps} time steps"
    for one in made.inputs:
        kind = SignalType.parse(one.type)
        if not kind.is_event or kind.low < 0:
            yield f"the input {one.name} is {kind}, a core takes events without sign"
        if not one.shape or min(one.shape) < 1:
            yield f"the input {one.name} has the shape {one.shape}, which is no map of channels, rows and columns"
    for core in made.cores:
        yield from _core(core, chip, len(limits.kernel_memory))
        yield from _limits(core, limits)
        yield from _memories(core, limits)
    if _loops(made):
        yield "its layers send in a circle"
    yield from _sent(made, limits)
    if not made.outputs:
        yield "it has no outputs"
    for name in made.outputs:
        if name not in numbers:
            yield f"the output {name} is no layer"


def _core(core: Core, chip: Chip, cores: int) -> Iterator[str]:
    """What a core's shapes and numbers must be."""
    held, most = (2 ** (int(chip.number(key).value) - 1) - 1 for key in ("weight_bits", "state_bits"))
    (f, h, w), (c, height, width) = core.output_shape, core.input_shape
    if not 0 <= core.core < cores:
        yield f"{core.name} is on core {core.core}, there are {cores}"
    if min(f, h, w, c, height, width) < 1:
        yield f"{core.name} has an empty map"
    if core.weights.ndim != 4 or core.weights.shape[:2] != (f, c) or core.weights.shape[2] != core.weights.shape[3]:
        yield f"{core.name} has weights {tuple(core.weights.shape)} for {c} and {f} channels"
        return
    if core.biases.shape != (f,):
        yield f"{core.name} has {core.biases.numel()} biases for {f} channels"
    if any(bool((numbers < -held).any() or (numbers > held).any()) for numbers in (core.weights, core.biases)):
        yield f"{core.name} has weights beyond ±{held}"
    if not 1 <= core.threshold_high <= most or not math.isfinite(core.scale) or core.scale <= 0:
        yield f"{core.name} has a threshold of {core.threshold_high:,} at the scale {core.scale}, it goes to {most:,}"
    if not -most - 1 <= core.threshold_low <= 0:
        yield f"{core.name} has a lower limit of {core.threshold_low:,}, it goes from {-most - 1:,} to 0"
    if not math.isfinite(core.rounding) or core.rounding < 0:
        yield f"{core.name} has a rounding of {core.rounding}"
    kernel = core.weights.shape[-1]
    for side, made, pad, stride in zip((height, width), (h, w), core.padding, core.stride, strict=True):
        if stride < 1 or pad < 0 or (side + 2 * pad - kernel) // stride + 1 != made:
            yield f"{core.name} makes no map of {h}×{w} from {height}×{width}"
            return


def _limits(core: Core, limits: LayerLimits) -> Iterator[str]:
    """What a core's layer may be at most."""
    (f, h, w), (c, height, width) = core.output_shape, core.input_shape
    for what, need, most in (
        ("pixels of kernel", core.weights.shape[-1], limits.kernel),
        ("pixels of padding", max(core.padding), limits.padding),
        ("channels", max(f, c), limits.channels),
        ("pixels of input map", max(height, width), limits.input_map),
        ("pixels of output map", max(h, w), limits.output_map),
        ("destinations", len(core.destinations), limits.destinations),
    ):
        if most is not None and need > most.value:
            yield f"{core.name} has {need:,} {what}, a core has {most.value:,.0f}"
    for stride in core.stride:
        if limits.strides and stride not in limits.strides:
            yield f"{core.name} has a stride of {stride}, there is {', '.join(map(str, limits.strides))}"


def _memories(core: Core, limits: LayerLimits) -> Iterator[str]:
    """What its dimensions take of each memory is what the file says, and what its core has."""
    kernel, biased = core.weights.shape[-1], bool((core.biases != 0).any())
    biased = biased or core.memory.get("bias", 0) > 0  # biases may be there, and all be 0
    sizes = {"kernel": limits.kernel_memory, "neuron": limits.neuron_memory, "bias": limits.bias_memory}
    for name, need in words(core.input_shape, core.output_shape, kernel, biased).items():
        said, size = core.memory.get(name), sizes[name]
        if said is None:
            yield f"{core.name} does not say how many words of {name} memory it takes"
        elif said != need:
            yield f"{core.name} takes {need:,} words of {name} memory, not {said:,} words of it"
        if size and need > size[core.core]:
            yield f"{core.name} takes {need:,} words of {size[core.core]:,} ({name} memory)"


def _sent(made: Configuration, limits: LayerLimits) -> Iterator[str]:
    """Events go to cores that are there, as the maps that these take."""
    cores = {core.name: core for core in made.cores}
    sent = [(i.name, as_map(i.shape), i.destinations) for i in made.inputs]
    sent += [(core.name, core.output_shape, core.destinations) for core in made.cores]
    for name, (c, h, w), destinations in sent:
        for to in destinations:
            if to.layer not in cores or cores[to.layer].core != to.core or to.pooling < 1:
                yield f"{name} sends to {to.layer} on core {to.core}, which is not there"
                continue
            if limits.pools and to.pooling not in limits.pools:
                yield f"{name} sends with a pool of {to.pooling}, there is {', '.join(map(str, limits.pools))}"
            arrives = c, h // to.pooling, w // to.pooling
            if arrives != cores[to.layer].input_shape:
                yield f"{name} sends maps of {arrives} to {to.layer}, which takes {cores[to.layer].input_shape}"
    fed = {to.layer for _, _, destinations in sent for to in destinations}
    for core in made.cores:
        if core.name not in fed:
            yield f"nothing sends to {core.name}"


def _loops(made: Configuration) -> bool:
    waiting = {core.name: {d.layer for d in core.destinations} for core in made.cores}
    while waiting:
        ends = [name for name, to in waiting.items() if not to & set(waiting)]
        if not ends:
            return True
        for name in ends:
            del waiting[name]
    return False
