"""Rewrites: what to change so that a network fits, with the numbers worked out.

Every one of them gives another network: it is to be trained (or converted) anew.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import replace

from compiler.checking.needs import Layer, layers_of
from compiler.errors import Violation
from compiler.graph import Graph, Node, is_neuron
from compiler.targets import targets
from hw import get_chip, list_chips
from hw.chip import Chip


def largest(fits: Callable[[int], bool], top: int) -> int:
    """Return the largest number from ``top`` − 1 down to 1 that ``fits`` (which holds for all below one that does).

    0 where none does.
    """
    low, high = 0, top
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def fewer(what: str, now: int, then: int) -> str:
    """Say "256 → 181 channels", "" where nothing fits."""
    return f"{now:,} → {then:,} {what}" if 0 < then < now else ""


def either(*ways: str) -> str:
    """Join rewrites of which each would do."""
    return ", or ".join(way for way in ways if way)


def chips_with(fits: Callable[[Chip], bool], without: str) -> str:
    """Say which described chips would do, "" where there is none."""
    found = [name for name in list_chips() if name != without and fits(get_chip(name))]
    found.sort(key=lambda name: not get_chip(name).semantics)  # those that programs are made for come first
    shown = ", ".join(found[:4]) + (" …" if len(found) > 4 else "")
    return f"--chip {shown}" if found else ""


def other_reset(chip: Chip, wanted: str) -> str:
    """Say which reset the chip has, and which chips have the ``wanted`` one."""
    own = {"hard": f"v_reset={chip.reset_value or 0:g}", "soft": "v_reset=None", "none": "v_reset=NO_RESET"}
    ways = [own[kind] for kind in chip.resets if kind in own and kind != wanted]
    return either(*ways[:1], chips_resetting(chip, wanted))


def chips_resetting(chip: Chip, wanted: str) -> str:
    """Say which chips have the ``wanted`` reset."""
    return chips_with(lambda one: wanted in one.resets and bool(one.neurons), chip.name)


_NEAREST = {"lif": "LIF", "integrate_fire": "IF", "cuba_lif": "CuBaLIF", "izhikevich": "Izhikevich"}
"""Names of ``snnkit.neurons`` for the dynamics that chips have."""


def other_neuron(chip: Chip, op: str) -> str:
    """Say which of the chip's dynamics comes nearest to ``op``, and which chips run it as it is."""
    leaky = op not in ("integrate_fire", "st_bif", "qif")
    wanted = [*(["cuba_lif", "lif"] if leaky else []), "integrate_fire", "lif"]
    own = next((_NEAREST[name] for name in wanted if name in chip.neurons), "")
    instead = f"snnkit.neurons.{own} and train again" if own else ""
    return either(instead, chips_with(lambda one: op in one.neurons, chip.name))


_NARROWEST = 1 / 32
"""What is narrower than this is another network altogether, and is not offered."""


def widths(graph: Graph, factor: float, area: float) -> str:
    """Say how narrow all layers must be, ``factor`` of what they are, or how small images: ``area`` of theirs."""
    shapes = {node.name: graph.shape(node.output) for node in graph if is_neuron(node)}
    name = max(shapes, key=lambda key: math.prod(shapes[key]))
    shape = shapes[name]
    wide = largest(lambda width: width <= shape[0] * factor, shape[0]) if shape else 0
    if not wide or wide < shape[0] * _NARROWEST:
        return smaller(graph, area) or f"a network of {factor:.2g} of the size"
    what = "channels" if len(shape) > 1 else "neurons"
    narrower = f"all widths × {wide / shape[0]:.2g} ({name}: {shape[0]:,} → {wide:,} {what})"
    return either(narrower, smaller(graph, area))


def smaller(graph: Graph, factor: float) -> str:
    """Say how large images may be for ``factor`` of their area, "" where the input is no image."""
    shape = graph.shape(graph.inputs[0]) if graph.inputs else ()
    if len(shape) != 3:
        return ""
    side = math.isqrt(int(shape[-1] * shape[-2] * factor)) if factor < 1 else 0
    return f"images of {shape[-2]}×{shape[-1]} → {side}×{side}" if 4 <= side < max(shape[-2:]) else ""


def narrower_fan_in(graph: Graph, layer: Layer, limit: int) -> str:
    """Say how a neuron gets at most ``limit`` inputs: groups, a smaller kernel, fewer channels."""
    node = max(layer.weighing, key=lambda one: one.parameters["weight"][0].numel(), default=None)
    if node is None:
        return ""
    weight = node.parameters["weight"]
    own = weight[0].numel()
    limit //= -(-layer.fan_in // own)  # a pool in between reads several neurons for each value
    if limit < 1:
        return ""
    if node.op != "conv":
        groups = _groups(own, weight.shape[0], lambda count: own // count <= limit)
        blocks = f"{groups} blocks of {own // groups:,} inputs" if groups else ""
        return either(fewer("inputs", own, limit), blocks)
    channels, kernel = weight.shape[1], tuple(weight.shape[2:])
    window, old = math.prod(kernel), int(node.attributes["groups"])
    groups = _groups(channels, weight.shape[0] // old, lambda count: channels // count * window <= limit)
    side = largest(lambda k: k ** len(kernel) * channels <= limit, max(kernel))
    return either(
        f"groups={groups * old} ({channels // groups * window:,} inputs)" if groups else "",
        fewer("input channels", channels, limit // window),
        f"kernel {max(kernel)} → {side}" if side else "",
    )


def _groups(channels: int, outputs: int, fits: Callable[[int], bool]) -> int:
    """The fewest groups that divide both sides and fit; 0 where none do."""
    both = math.gcd(channels, outputs)
    return next((count for count in range(2, both + 1) if both % count == 0 and fits(count)), 0)


def threshold_for_all(node: Node) -> str:
    """Say which single value stands for constants of each channel."""
    said = []
    for name, value in node.parameters.items():
        if value.numel() > 1:
            low, high, mean = float(value.min()), float(value.max()), float(value.mean())
            said.append(f"{name}={mean:.4g} (the mean of {low:.4g} to {high:.4g})")
    return f"{', '.join(said)}, or a layer for each value" if said else ""


# What targets refuse, by what they say. A violation with a ``kind`` is looked up by it, one without by its text.

_SAID = (
    ("neuron", r"^the neuron (?P<op>\w+)"),
    ("constants", r"for each channel$"),
    ("reset", r"^(a soft reset|a membrane that spikes leave|a reset)"),
    ("decay", r"^a membrane that forgets everything"),
    ("input", r"^(a|the) real input"),
    ("levels", r"^events integer\[(?P<low>-?\d+),(?P<high>-?\d+)\]"),
    ("loops", r"^spikes of the step before"),
    ("rows", r"^two layers in a row"),
    ("between", r"\((?P<op>\w+)\) before it, which synapses cannot do"),
    ("product", r"^a product of two signals"),
    ("cores", r"^[\d,]+ cores$"),
    ("neurons", r"^[\d,]+ (neurons|compartments)$"),
    ("synapses", r"^[\d,]+ synapses$"),
    ("fan-in", r"^[\d,]+ input axons for one neuron"),
    ("fan-out", r"^[\d,]+ output axons for one neuron"),
    ("range", r"^a (current|voltage|sum) of [\d,]+"),
    ("threshold", r"times its threshold in \d+ steps"),
    ("unspiking", r"^to run without spikes"),
)


def kind_of(violation: Violation) -> tuple[str, re.Match[str] | None]:
    """Return which limit a violation is about, and the match of its text (None where it says its kind itself)."""
    if violation.kind:
        pattern = dict(_SAID).get(violation.kind)
        return violation.kind, re.search(pattern, violation.need) if pattern else None
    found = ((kind, re.search(pattern, violation.need)) for kind, pattern in _SAID)
    return next(((kind, match) for kind, match in found if match), ("", None))


def with_rewrites(violations: Iterable[Violation], graph: Graph, chip: Chip) -> list[Violation]:
    """Return violations with their kinds and numbers, and what would fit where none was said."""
    layers: dict[str, Layer] = {}
    made = []
    for violation in violations:
        kind, match = kind_of(violation)
        need, limit = violation.need_value, violation.limit_value
        if need is None and kind in ("cores", "neurons", "synapses", "fan-in", "fan-out", "range"):
            need, limit = _numbers(violation.need), _numbers(violation.limit.split(chip.name, 1)[-1])
        known = replace(violation, kind=kind, need_value=need, limit_value=limit)
        if not known.rewrite:
            if kind in ("fan-in", "fan-out") and not layers:
                layers = {layer.name: layer for layer in layers_of(graph)}
            known = replace(known, rewrite=_rewrite(known, match, graph, chip, layers))
            if kind in ("neurons", "synapses") and known.rewrite:  # says by numbers what is advised there
                known = replace(known, limit=known.limit.partition("; the largest layers")[0])
        elif kind == "reset" and "--chip" not in known.rewrite:
            known = replace(known, rewrite=either(known.rewrite, chips_resetting(chip, _wanted_reset(known))))
        made.append(known)
    return made


def _numbers(text: str) -> float | None:
    found = re.search(r"\d[\d,]*", text)
    return float(found.group().replace(",", "")) if found else None


def _rewrite(v: Violation, match: re.Match[str] | None, graph: Graph, chip: Chip, layers: dict[str, Layer]) -> str:
    node = next((one for one in graph if one.name == v.layer), None)
    if v.kind == "neuron" and match:
        return other_neuron(chip, match["op"])
    if v.kind == "constants" and node is not None:
        return threshold_for_all(node)
    if v.kind == "reset":
        return other_reset(chip, _wanted_reset(v))
    if v.kind == "decay":
        return f"tau={_smallest_tau(chip):.6g}" if chip.build else ""
    if v.kind in ("input", "levels"):
        return _events(v, match, graph)
    if v.kind in ("cores", "neurons") and v.need_value and v.limit_value:
        # Cores grow no faster than the square of the widths and no slower than the widths.
        share = v.limit_value / v.need_value
        return widths(graph, share, share)
    if v.kind == "synapses" and v.need_value and v.limit_value:  # these grow with the square of the widths
        share = v.limit_value / v.need_value
        return widths(graph, share**0.5, share)
    if v.kind == "fan-in" and v.limit_value and v.layer in layers:
        return narrower_fan_in(graph, layers[v.layer], int(v.limit_value))
    if v.kind == "fan-out" and v.layer in layers and v.limit_value:
        return fewer("targets of a neuron", layers[v.layer].fan_out, int(v.limit_value))
    if v.kind == "range" and v.need_value and v.limit_value:
        return _range(v, graph)
    return _plain(v.kind, match, chip)


def _wanted_reset(v: Violation) -> str:
    return "none" if "leave" in v.need else "soft" if "soft" in v.need else "hard"


def _plain(kind: str, match: re.Match[str] | None, chip: Chip) -> str:
    if kind == "loops":
        others = chips_with(lambda one: bool(one.layers and one.layers.loops), chip.name)
        return either("the layer without feedback", others)
    if kind == "product":
        able = chips_with(lambda one: one.build is not None and one.build.arithmetic.products, chip.name)
        return either("attention as masks of spikes (SDSA)", able, "--host with its name")
    if kind == "rows":
        return "a neuron between the two, or one layer in their place"
    if kind == "between":
        return between(match["op"] if match else "", chip)
    return "snnkit convert makes a spiking network of an ordinary one" if kind == "unspiking" else ""


def between(op: str, chip: Chip) -> str:
    """Say what takes the place of an operation that no set of synapses does.

    Where programs have neither gates nor a host, no attention does: other chips have both.
    """
    target = targets().get(chip.semantics)
    if target is not None and not target.host and op in ("matmul", "einsum", "attention", "mul"):
        able = chips_with(lambda one: one.semantics in targets() and targets()[one.semantics].host, chip.name)
        return either("layers without products of signals", able)
    return {
        "relu": "a neuron instead of the ReLU",
        "gelu": "a neuron instead of the GELU",
        "silu": "a neuron instead of the SiLU",
        "layer_norm": "a batch norm, which folds into the layer before it",
        "rms_norm": "a batch norm, which folds into the layer before it",
        "softmax": "attention without softmax (masks of spikes: SDSA)",
        "max_pool": "an average pool of the same windows",
        "adaptive_max_pool": "an average pool",
        "matmul": "attention as masks of spikes (SDSA), or leave it to the host",
        "einsum": "attention as masks of spikes (SDSA), or leave it to the host",
        "attention": "attention as masks of spikes (SDSA), or leave it to the host",
        "mul": "masks of spikes, or leave it to the host",
    }.get(op, "")


def _smallest_tau(chip: Chip) -> float:
    unity = float(2 ** int(chip.arithmetic.decay_bits.value))
    return math.ceil(unity / (unity - 0.5) * 1e4) / 1e4


def _events(v: Violation, match: re.Match[str] | None, graph: Graph) -> str:
    if match is None or v.kind == "input":
        return "spikes as input (--input-type binary), from an encoder or an event camera"
    low, high = int(match["low"]), int(match["high"])
    if low < 0:
        return "two channels, of positive and of negative events"
    steps = graph.timesteps
    return f"levels spread over time: timesteps {steps} → {steps * high}, spikes of 0 and 1"


def _range(v: Violation, graph: Graph) -> str:
    assert v.need_value is not None
    share = (v.limit_value or 0.0) / v.need_value
    scaled = f"its weights and bias × {share * 0.99:.2g} (and thresholds behind them)"
    steps = int(graph.timesteps * share)
    fewer_steps = f"timesteps {graph.timesteps} → {steps}" if "sum" in v.need and 0 < steps < graph.timesteps else ""
    return either(fewer_steps, scaled)
