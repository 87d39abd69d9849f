"""Cores: which core takes which layer of a chip whose cores hold one convolution each, with its neurons and kernels.

A layer of c input and f output channels, kernel k×k and neurons f×h×w takes on a DYNAP-CNN core (sinabs, memory of a
DynapcnnLayer; addresses are made of whole bits):

    kernel memory   c · 2^(⌈log2 k²⌉ + ⌈log2 f⌉) words
    neuron memory   f · 2^(⌈log2 h⌉ + ⌈log2 w⌉) words
    bias memory     f words where there is a bias
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from compiler.analysis.currents import Term, at_rest, terms
from compiler.checking.dynamics import reset_of
from compiler.checking.findings import Findings
from compiler.checking.needs import OUTPUT, Layer, between
from compiler.checking.rewrites import either, fewer, largest
from compiler.errors import CompileError, Violation
from compiler.graph import Graph, Node, is_neuron, is_synapse, operation
from hw.layers import LayerLimits

_MEMORIES = ("kernel", "neuron", "bias")
_REPEATING = ("expand", "pad", "unfold", "windows")
"""Moves behind which there are more values than neurons."""
_Map = tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class CoreLayer:
    """One layer in the form of a core: a convolution, integrate-and-fire neurons, and who sends to it.

    Attributes:
        name: of the neurons. node: the layer with weights; ``factor`` times its weights, pools included, are meant.
        kernel: side of the kernel, dilation included. stride, padding: (rows, columns).
        input_shape, output_shape: (channels, rows, columns).
        sources: signals that feed it, with the sum pool of each.
        bias: whether there is one. neuron: the node of the neurons.
    """

    name: str
    node: Node
    neuron: Node
    signal: str
    factor: float
    kernel: int
    stride: tuple[int, int]
    padding: tuple[int, int]
    input_shape: _Map
    output_shape: _Map
    sources: tuple[tuple[str, int], ...]
    bias: bool

    def words(self) -> dict[str, int]:
        """Return what the layer takes of each memory of a core."""
        return words(self.input_shape, self.output_shape, self.kernel, self.bias)

    def with_outputs(self, channels: int) -> CoreLayer:
        """Return the layer with another number of output channels; its weights stay those of all."""
        return replace(self, output_shape=(channels, *self.output_shape[1:]))

    def weights(self) -> Tensor:
        """Return the kernel (f, c, k, k) in float64: groups and dilation filled with zeros, factors multiplied in."""
        weight = self.node.parameters["weight"].double() * self.factor
        c, side = self.input_shape[0], self.kernel
        if self.node.op == "linear":
            return weight.reshape(len(weight), c, side, side)
        groups, (dy, dx) = int(self.node.attributes["groups"]), self.node.attributes["dilation"]
        f, inner = weight.shape[:2]
        made = weight.new_zeros(f, c, side, side)
        for row, one in enumerate(weight):
            first = row // (f // groups) * inner
            made[row, first : first + inner, ::dy, ::dx] = one
        return made


def words(input_shape: _Map, output_shape: _Map, kernel: int, bias: bool) -> dict[str, int]:
    """Return what a layer of these (channels, rows, columns) and side of the kernel takes of each memory of a core."""
    (c, _, _), (f, h, w) = input_shape, output_shape
    held = c << (_bits(kernel**2) + _bits(f))
    return {"kernel": held, "neuron": f << (_bits(h) + _bits(w)), "bias": f if bias else 0}


def as_map(shape: tuple[int, ...]) -> _Map:
    """Return the (channels, rows, columns) by which a core addresses values of a shape; all are channels if flat."""
    return (shape[0], shape[1], shape[2]) if len(shape) == 3 else (math.prod(shape), 1, 1)


def _bits(count: int) -> int:
    """⌈log2 n⌉: the bits of an address among n."""
    return max(count - 1, 0).bit_length()


def has_cores(limits: LayerLimits | None) -> bool:
    """Whether a chip's cores take one layer each."""
    return limits is not None and bool(limits.kernel_memory)


def core_layers(found: Findings) -> list[CoreLayer]:
    """Return the layers of a graph in the form of cores; what has no such form is added to the violations."""
    graph = found.graph
    made: list[CoreLayer] = []
    maps: dict[str, _Map] = {}
    for layer in found.layers:
        try:
            one = _core_layer(found, layer, maps)
        except CompileError as error:
            _add(found, error)
            continue
        if one is not None:
            made.append(one)
            maps[one.neuron.output] = one.output_shape
            _linear(found, one)
    for name in graph.outputs[1:]:  # the first one is a layer, where it is no neuron's
        try:
            _output(found, name, *between(graph, name))
        except CompileError as error:
            _add(found, error)
    return made


def _add(found: Findings, error: CompileError) -> None:
    known = {(v.layer, v.kind) for v in found.violations}
    found.violations += [v for v in error.violations if not v.kind or (v.layer, v.kind) not in known]


def _core_layer(found: Findings, layer: Layer, maps: Mapping[str, _Map]) -> CoreLayer | None:
    """Return a layer in the form of a core, None for an output that counts spikes; ``maps``: of signals of cores."""
    graph, chip = found.graph, found.chip
    if layer.neuron is None:
        _output(found, layer.signal, layer.nodes, layer.sources)
        return None
    odd = next((node for node in layer.nodes if not _plain(node)), None)
    if odd is not None:
        if any(v.layer == layer.name for v in found.violations):
            return None  # said already: an operation that the chip has not
        raise CompileError(_between(layer, odd, "before", chip.name))
    found_terms = terms(graph, layer.signal, layer.name, chip.name)
    paths = [_path(found, layer, term, maps) for term in found_terms]
    node = paths[0].node if paths else None
    if node is None or any(path.node is not node for path in paths):
        raise CompileError(_not_one(layer, [path.node for path in paths], chip.name))
    if len({path.factor for path in paths}) > 1:
        need = "sources with different weights through one layer"
        raise CompileError(_form(layer, need, f"a core of {chip.name} has one kernel", "the same pool for each"))
    source = graph.shape(node.inputs[0])
    inputs, kernel, stride, padding = _geometry(layer, node, source, paths[0].map, chip.name)
    for path in paths:
        if as_map(path.map) != inputs:
            need = f"{path.source} as a map of {_by(inputs)}, which arrives as {_by(as_map(path.map))}"
            limit = f"cores of {chip.name} send maps as they are"
            raise CompileError(_form(layer, need, limit, "layers that read maps as the neurons before have them"))
    shape = graph.shape(node.output)
    return CoreLayer(
        name=layer.name,
        node=node,
        neuron=layer.neuron,
        signal=layer.signal,
        factor=paths[0].factor,
        kernel=kernel,
        stride=stride,
        padding=padding,
        input_shape=inputs,
        output_shape=as_map(shape if node.op == "conv" else shape[-1:]),
        sources=tuple((path.source, path.pool) for path in paths),
        bias="bias" in node.parameters or any(one.op == "constant" for one in layer.nodes),
    )


def _by(shape: _Map) -> str:
    return "×".join(map(str, shape))


def _output(found: Findings, signal: str, nodes: Sequence[Node], sources: Sequence[str]) -> None:
    """Hold an output against what a core sends: spikes of neurons as they are, which its reader adds up or moves.

    Raises:
        CompileError: anything else is done to them, or they are no neurons'.
    """
    graph, chip = found.graph, found.chip.name
    if any(map(is_synapse, nodes)):
        limit = f"a core of {chip} sends spikes, its membranes are not read"
        rewrite = "IF(v_reset=None) behind it, whose spikes are counted"
        raise CompileError(Violation(OUTPUT, "to be a membrane, without neurons", limit, rewrite, "output"))
    need = next((f"{n.name} ({n.op}) behind its last neurons" for n in nodes if not _leaves(graph, n)), "")
    counts = {signal, *(name for node in nodes for name in node.outputs)}
    for source in sources:
        need = need or _no_spikes(graph, source, counts)
    if need:
        limit = f"a core of {chip} sends spikes as they are, to whoever counts them"
        rewrite = "a layer with weights and IF(v_reset=None) behind it, or the output without it"
        raise CompileError(Violation(OUTPUT, need, limit, rewrite, "output"))
    for node in nodes:
        if node.op not in ("add", "reshape", "identity"):
            found.doubtful.append(
                f"{node.name} ({node.op}) moves spikes behind the last neurons: the chip sends them as those lie"
            )


def _leaves(graph: Graph, node: Node) -> bool:
    """Whether each value behind a node is one spike that came in, or the count of spikes of different neurons."""
    if node.op == "add":
        read = [set(between(graph, name)[1]) for name in node.inputs]
        return read[0].isdisjoint(read[1]) and all(graph.shape(n) == graph.shape(node.output) for n in node.inputs)
    kind = operation(node.op)
    return kind.kind == "move" and kind.linear and node.op not in _REPEATING


def _no_spikes(graph: Graph, source: str, counts: set[str]) -> str:
    """What a source of an output is, where it is neither a neuron's spikes nor their count so far; "" if it is."""
    state = next((state for state in graph.states if state.read == source), None)
    if state is None:
        made = graph.producer(source)
        return "" if made is not None and is_neuron(made) else f"the input {source!r} itself"
    if state.written not in counts:
        return f"what was there in the step before ({source})"
    started = bool(torch.as_tensor(state.initial).any())
    return f"{source}, which starts at another value than 0" if started else ""


def _linear(found: Findings, layer: CoreLayer) -> None:
    """Hold a linear layer against the limits of convolutions: on a core it is one, its kernel as large as its map."""
    limits = found.chip.layers
    if limits is None or layer.node.op != "linear":
        return
    if limits.kernel is not None:
        rewrite = _smaller_kernel(layer, int(limits.kernel.value))
        found.most(layer.node.name, layer.kernel, "pixels of kernel", limits.kernel, "kernel", rewrite)
    for count, what in ((layer.input_shape[0], "input channels"), (layer.output_shape[0], "output channels")):
        if limits.channels is not None:
            rewrite = fewer(what, count, int(limits.channels.value))
            found.most(layer.node.name, count, what, limits.channels, "channels", rewrite)


def _plain(node: Node) -> bool:
    return (
        is_synapse(node)
        or node.op in ("add", "sub", "neg", "div", "constant", "reshape", "avg_pool")
        or (node.op in ("permute", "rearrange", "concat", "slice", "pad", "expand"))
    )


@dataclass(frozen=True)
class _Path:
    """From a source to the layer's weights: its pool, the weights' node, and the map that reaches a linear layer."""

    source: str
    pool: int
    node: Node | None
    factor: float
    map: tuple[int, ...]


def _path(found: Findings, layer: Layer, term: Term, maps: Mapping[str, _Map]) -> _Path:
    graph, chip = found.graph, found.chip.name
    if term.delay or (graph.producer(term.source) is None and term.source not in graph.inputs):
        need, limit = f"what was there in the step before ({term.source})", f"layers of {chip} are written in order"
        raise CompileError(Violation(layer.name, need, limit, "the layer without feedback", "loops"))
    pool, factor, node = 1, term.factor, None
    shape: tuple[int, ...] = maps.get(term.source, graph.shape(term.source))
    for hop in term.path:
        a = hop.node.attributes
        if hop.node.op == "avg_pool" and node is None:
            if pool > 1:
                need, limit = "two pools in a row before it", f"a destination of {chip} pools once"
                raise CompileError(_form(layer, need, limit, "one pool, or a stride in the layer before"))
            if graph.shape(hop.node.inputs[0]) != shape or len(shape) != 3:
                need = f"a pool over {graph.shape(hop.node.inputs[0])} of what is {shape}"
                limit = f"pools of {chip} lie on the maps (C, H, W) of neurons"
                raise CompileError(_form(layer, need, limit, "the pool on the map that the neurons have"))
            pool = int(a["kernel_size"][0])
            factor /= a["divisor"] or math.prod(a["kernel_size"])
            shape = graph.shape(hop.node.output)
        elif hop.node.op == "reshape":
            continue
        elif is_synapse(hop.node) and hop.node.op in ("conv", "linear") and node is None:
            node = hop.node
        else:
            raise CompileError(_between(layer, hop.node, "behind" if node is not None else "before", chip))
    return _Path(term.source, pool, node, factor, shape)


def _between(layer: Layer, node: Node, where: str, chip: str) -> Violation:
    need = f"{node.name} ({node.op}) {where} its weights"
    limit = f"a core of {chip} has one convolution, its neurons, then a sum pool"
    order = "the pool behind the neuron" if node.op == "avg_pool" else "the layer without it"
    return _form(layer, need, limit, order)


def _form(layer: Layer, need: str, limit: str, rewrite: str) -> Violation:
    return Violation(layer.name, need, limit, rewrite, "form")


def _not_one(layer: Layer, nodes: Sequence[Node | None], chip: str) -> Violation:
    names = list(dict.fromkeys(node.name for node in nodes if node is not None))
    limit = f"a core of {chip} has one kernel for all that reaches it"
    if not names:
        return _form(layer, "no weights at all", limit, "a 1×1 convolution")
    if None in nodes:
        rewrite = f"the shortcut through {names[0]} as well, or no shortcut"
        return _form(layer, f"a shortcut beside {names[0]}", limit, rewrite)
    rewrite = "one layer over both sources as channels of one map (concatenated kernels)"
    return _form(layer, f"{' and '.join(names)}, added up", limit, rewrite)


_Geometry = tuple[_Map, int, tuple[int, int], tuple[int, int]]


def _geometry(layer: Layer, node: Node, shape: tuple[int, ...], source: tuple[int, ...], chip: str) -> _Geometry:
    """Return (channels, rows, columns) that reach a layer, its kernel side, stride and padding."""
    weight, a = node.parameters["weight"], node.attributes
    if node.op == "linear":
        if len(shape) > 1:
            raise CompileError(_form(layer, f"a linear layer on {shape}", f"maps of {chip} are flattened", "flatten"))
        channels, rows, columns = source if len(source) == 3 else (shape[-1], 1, 1)
        if rows != columns:
            need = f"a linear layer on a map of {rows}×{columns}"
            raise CompileError(_form(layer, need, f"kernels of {chip} are square", "a square map, or a pool before it"))
        return (channels, rows, columns), rows, (1, 1), (0, 0)
    sides = [d * (k - 1) + 1 for d, k in zip(a["dilation"], weight.shape[2:], strict=True)]
    if len(shape) != 3 or len(sides) != 2:
        raise CompileError(_form(layer, f"a map of shape {shape}", f"maps of {chip} are (C, H, W)", "two dimensions"))
    if sides[0] != sides[1]:
        need = f"a kernel of {sides[0]}×{sides[1]}"
        wider = f"{max(sides)}×{max(sides)} with zeros, and more padding on the short side"
        raise CompileError(_form(layer, need, f"kernels of {chip} are square", wider))
    (sy, sx), (py, px) = a["stride"], a["padding"]
    return (shape[0], shape[1], shape[2]), sides[0], (sy, sx), (py, px)


def bias_of(found: Findings, layer: CoreLayer) -> Tensor:
    """Return the bias of each output channel, (f,) in float64.

    Raises:
        CompileError: what is added differs within a channel.
    """
    rest = at_rest(found.graph, layer.signal).reshape(layer.output_shape[0], -1)
    if bool((rest != rest[:, :1]).any()):
        limit = f"a core of {found.chip.name} has one bias for each channel"
        need = "a bias that differs within a channel"
        raise CompileError(Violation(layer.name, need, limit, "one bias a channel", "form"))
    return rest[:, 0]


def neuron_of(layer: CoreLayer) -> tuple[float, str]:
    """Return the threshold and reset of a layer's neurons."""
    given = {**layer.neuron.attributes, **layer.neuron.parameters}
    return float(given["v_threshold"]), reset_of(layer.neuron)[0]


# Assignment.


def fits(layer: CoreLayer, limits: LayerLimits) -> tuple[int, ...]:
    """Return the cores that hold a layer."""
    need = layer.words()
    sizes = _sizes(limits)
    count = len(limits.kernel_memory)
    return tuple(i for i in range(count) if all(need[m] <= sizes[m][i] for m in _MEMORIES if m in sizes))


def _sizes(limits: LayerLimits) -> dict[str, tuple[int, ...]]:
    given = {m: getattr(limits, f"{m}_memory") for m in _MEMORIES}
    return {memory: sizes for memory, sizes in given.items() if sizes}


def assign(layers: Sequence[CoreLayer], limits: LayerLimits) -> tuple[dict[str, int], tuple[str, ...]]:
    """Give every layer a core of its own: {layer: core}, and where that cannot be the layers that compete.

    A largest matching, found by paths that free one core after another; layers come in order and take the lowest
    core they can. The layers that compete reach fewer cores together than they are.
    """
    options = {layer.name: fits(layer, limits) for layer in layers}
    taken: dict[int, str] = {}

    def place(name: str, tried: set[int]) -> bool:
        for core in options[name]:
            if core in tried:
                continue
            tried.add(core)
            if core not in taken or place(taken[core], tried):
                taken[core] = name
                return True
        return False

    for layer in layers:
        tried: set[int] = set()
        if not place(layer.name, tried):
            rivals = {taken[core] for core in tried} | {layer.name}
            return {}, tuple(one.name for one in layers if one.name in rivals)
    return {name: core for core, name in sorted(taken.items())}, ()


def check_cores(found: Findings, layers: Sequence[CoreLayer]) -> dict[str, int]:
    """Hold layers against the memories of the cores; return which core takes which, {} where they do not fit."""
    limits, chip = found.chip.layers, found.chip
    assert limits is not None
    homeless = [layer for layer in layers if not fits(layer, limits)]
    for layer in homeless:
        _memory(found, layer, limits)
    count = len(limits.kernel_memory)
    if len(layers) > count:
        rewrite = f"{len(layers) - count:,} layers fewer"
        limit = f"{chip.name} has {count}, one a layer"
        need = f"{len(layers)} cores"
        found.violations.append(Violation("the network", need, limit, rewrite, "cores", len(layers), count))
    _destinations(found, layers, limits)
    if homeless or len(layers) > count:
        return {}
    cores, rivals = assign(layers, limits)
    if rivals:
        _competing(found, layers, rivals, limits)
    return cores


def _destinations(found: Findings, layers: Sequence[CoreLayer], limits: LayerLimits) -> None:
    """A layer that another one reads in several ways, each a destination; the readers alone are counted elsewhere."""
    for name, sent in feeds(layers, ()).items():
        readers = len({to for to, _ in sent})
        if limits.destinations is not None and readers <= limits.destinations.value:
            rewrite = "one way to each layer"
            found.most(name, len(sent), "destinations", limits.destinations, "destinations", rewrite)


def _memory(found: Findings, layer: CoreLayer, limits: LayerLimits) -> None:
    """A layer that no core holds: which memory is too small, or that no core has enough of all."""
    need, sizes = layer.words(), _sizes(limits)
    rewrite = _narrower(layer, limits)
    over = [memory for memory, given in sizes.items() if need[memory] > max(given)]
    for memory in over:
        text = f"the largest {memory} memory of {found.chip.name} has {max(sizes[memory]):,}"
        unit = f"{need[memory]:,} words of {memory} memory"
        violation = Violation(
            layer.name, unit, text, rewrite, f"{memory} memory", need[memory], max(sizes[memory]), limits.confirmed
        )
        found.violations.append(violation)
    if not over:
        enough = [i for i in range(len(limits.kernel_memory)) if need["kernel"] <= sizes["kernel"][i]]
        held = ", ".join(f"{sizes['neuron'][i]:,}" for i in enough)
        text = f"the cores of {found.chip.name} with such kernels have {held} words for neurons"
        both = f"{need['kernel']:,} words of kernel and {need['neuron']:,} of neuron memory on one core"
        found.wrong(layer.name, both, text, "memory", rewrite, limits.confirmed)


def _narrower(layer: CoreLayer, limits: LayerLimits) -> str:
    """Fewer output channels that fit, or a smaller map or kernel."""
    f, h, w = layer.output_shape
    width = largest(lambda channels: bool(fits(layer.with_outputs(channels), limits)), f)
    side = largest(lambda one: bool(fits(replace(layer, output_shape=(f, one, one)), limits)), max(h, w))
    kernel = largest(lambda one: bool(fits(replace(layer, kernel=one), limits)), layer.kernel)
    inner = largest(lambda one: bool(fits(replace(layer, input_shape=(one, 1, 1)), limits)), layer.input_shape[0])
    return either(
        f"{f:,} → {width:,} channels" if width else "",
        f"maps of {h}×{w} → {side}×{side}" if side else "",
        _smaller_kernel(layer, kernel),
        f"{layer.input_shape[0]:,} → {inner:,} input channels" if inner and not width else "",
    )


def _smaller_kernel(layer: CoreLayer, side: int) -> str:
    if not side:
        return ""
    if layer.node.op == "conv":
        return f"kernel {layer.kernel} → {side}"
    return f"a map of {layer.kernel}×{layer.kernel} → {side}×{side} before it (a pool or stride)"


def _competing(found: Findings, layers: Sequence[CoreLayer], rivals: tuple[str, ...], limits: LayerLimits) -> None:
    """Layers that reach too few cores together: which cores, and the smallest cut that lets all find one."""
    cores = sorted({core for layer in layers if layer.name in rivals for core in fits(layer, limits)})
    names = ", ".join(rivals)
    needs = f"{len(rivals)} cores for {names}"
    limit = f"only {len(cores)} of {found.chip.name} hold {'any of them' if len(rivals) > 1 else 'it'}"
    limit += f" (cores {', '.join(map(str, cores))})"
    best: tuple[float, str] = (0.0, "")
    for layer in layers:
        if layer.name not in rivals:
            continue
        f = layer.output_shape[0]

        def whole(channels: int, layer: CoreLayer = layer) -> bool:
            changed = [one.with_outputs(channels) if one is layer else one for one in layers]
            return not assign(changed, limits)[1]

        width = largest(whole, f)
        if width / f > best[0]:
            best = width / f, f"{layer.name}: {f:,} → {width:,} channels"
    found.violations.append(
        Violation(names, needs, limit, best[1], "competing", len(rivals), len(cores), limits.confirmed)
    )


def feeds(layers: Sequence[CoreLayer], inputs: Sequence[str]) -> Mapping[str, list[tuple[str, int]]]:
    """Return who sends to whom with which pool: {layer or input: [(layer, pool), …]}."""
    names = {layer.neuron.output: layer.name for layer in layers} | {name: name for name in inputs}
    found: dict[str, list[tuple[str, int]]] = {name: [] for name in (*inputs, *(layer.name for layer in layers))}
    for layer in layers:
        for source, pool in layer.sources:
            if source in names:
                found[names[source]].append((layer.name, pool))
    return found
