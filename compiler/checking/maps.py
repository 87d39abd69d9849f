"""Maps: kernels, strides, paddings, channels, pools and destinations of each layer, for chips made for convolutions."""

from __future__ import annotations

import math

from compiler.checking.findings import Findings
from compiler.checking.needs import Layer
from compiler.checking.rewrites import chips_with, either, fewer
from compiler.graph import Node
from hw.layers import LayerLimits


def made_for_maps(limits: LayerLimits | None) -> bool:
    """Whether a chip's layers are convolutions."""
    return limits is not None and limits.kernel is not None


def check_maps(found: Findings) -> None:
    """Hold the geometry of every layer against the limits of a chip's layers."""
    limits = found.chip.layers
    if limits is None or not made_for_maps(limits):
        return
    for layer in found.layers:
        for node in layer.nodes:
            if node.op == "conv":
                _convolution(found, layer, node, limits)
            elif node.op == "conv_transpose":
                limit = f"{found.chip.name} has no transposed convolutions"
                found.wrong(node.name, "a transposed convolution", limit, "operation", "an upsampling on the host")
            elif node.op == "avg_pool":
                _pool(found, layer, node, limits)
        _readers(found, layer, limits)


def _convolution(found: Findings, layer: Layer, node: Node, limits: LayerLimits) -> None:
    graph, a, weight = found.graph, node.attributes, node.parameters["weight"]
    if weight.ndim != 4:
        limit = f"layers of {found.chip.name} have two dimensions"
        side = "a map with one row" if weight.ndim == 3 else "clips as channels"
        found.wrong(node.name, f"a convolution in {weight.ndim - 2} dimensions", limit, "operation", side)
        return
    before, after = graph.shape(node.inputs[0]), graph.shape(node.output)
    reach = max(d * (k - 1) + 1 for d, k in zip(a["dilation"], weight.shape[2:], strict=True))
    _kernel(found, node, reach, limits)
    _stride(found, node, reach, limits)
    padding = max(a["padding"])
    if padding:
        found.most(node.name, padding, "pixels of padding", limits.padding, "padding", _padded(limits, padding))
    for count, what in ((before[-3], "input channels"), (after[-3], "output channels")):
        rewrite = fewer(what, count, int(limits.channels.value)) if limits.channels else ""
        found.most(node.name, count, what, limits.channels, "channels", rewrite)
    _sides(found, node, before, after, limits)
    if int(a["groups"]) > 1 and not limits.groups:
        if limits.groups is None and limits.kernel_memory:
            found.doubtful.append(f"{node.name}: its {a['groups']} groups are held as one kernel with zeros")
        elif limits.groups is None:
            found.unknown(f"whether {found.chip.name} has convolutions in groups")


def _kernel(found: Findings, node: Node, side: int, limits: LayerLimits) -> None:
    assert limits.kernel is not None
    limit = int(limits.kernel.value)
    half = (side + 2) // 2
    split = f"two layers of {half}×{half} with a neuron between (the same field of view)" if half <= limit else ""
    rewrite = either(f"kernel {side} → {limit}", split)
    found.most(node.name, side, "pixels of kernel", limits.kernel, "kernel", rewrite)


def _stride(found: Findings, node: Node, kernel: int, limits: LayerLimits) -> None:
    name = found.chip.name
    for stride in dict.fromkeys(node.attributes["stride"]):
        if limits.strides and stride not in limits.strides:
            near = sorted(limits.strides, key=lambda one: abs(one - stride))[:2]
            limit = f"{name} has {', '.join(map(str, limits.strides))}"
            rewrite = f"stride {' or '.join(map(str, sorted(near)))}"
            found.wrong(node.name, f"a stride of {stride}", limit, "stride", rewrite, limits.confirmed)
        sides = limits.stride_kernels.get(stride, ())
        if sides and kernel not in sides:
            only = " or ".join(map(str, sides))
            limit = f"a stride of {stride} goes with kernels of {only} on {name}"
            rewrite = f"kernel {kernel} → {sides[0]}, or stride 1 and an average pool of {stride}"
            found.wrong(node.name, f"a stride of {stride} with a kernel of {kernel}", limit, "stride", rewrite)
    if not limits.strides:
        found.unknown("strides")


def _padded(limits: LayerLimits, padding: int) -> str:
    return fewer("pixels of padding", padding, int(limits.padding.value)) if limits.padding else ""


def _sides(found: Findings, node: Node, before: tuple[int, ...], after: tuple[int, ...], limits: LayerLimits) -> None:
    own = node.inputs[0] in found.graph.inputs
    if limits.input_map is not None:
        side, limit = max(before[-2:]), int(limits.input_map.value)
        rewrite = fewer("pixels", side, limit) if own else f"a pool of {-(-side // limit)} before it"
        found.most(node.name, side, "pixels of input map", limits.input_map, "input map", rewrite)
    else:
        found.unknown("sides of input maps")
    if limits.output_map is not None:
        side, limit = max(after[-2:]), int(limits.output_map.value)
        stride = max(node.attributes["stride"])
        wider = [s for s in limits.strides if s > stride and math.ceil(side * stride / s) <= limit]
        ways = either(f"stride {stride} → {wider[0]}" if wider else "", "a smaller input map")
        found.most(node.name, side, "pixels of output map", limits.output_map, "output map", ways)
    else:
        found.unknown("sides of output maps")


def _pool(found: Findings, layer: Layer, node: Node, limits: LayerLimits) -> None:
    a, name = node.attributes, found.chip.name
    if not limits.pools:
        found.unknown("pools")
        return
    have = " or ".join(map(str, (p for p in limits.pools if p > 1)))
    sides = set(a["kernel_size"])
    if len(sides) > 1 or not sides <= set(limits.pools):
        side = max(sides)
        near = min(limits.pools, key=lambda p: (abs(p - side), -p))
        chain = side > 1 and math.log2(side).is_integer() and side > max(limits.pools)
        rewrite = f"a stride of {side} in the layer before it" if chain else f"a pool of {near}"
        found.wrong(
            layer.name,
            f"a pool of {'×'.join(map(str, a['kernel_size']))}",
            f"{name} pools by {have}",
            "pool",
            rewrite,
            limits.confirmed,
        )
    elif tuple(a["stride"]) != tuple(a["kernel_size"]) or any(a["padding"]) or a["ceil_mode"]:
        limit = f"pools of {name} lie side by side, without padding"
        found.wrong(
            layer.name,
            f"windows of {node.name} that overlap or reach beyond the map",
            limit,
            "pool",
            f"stride {a['kernel_size'][0]} and padding 0",
        )


def _readers(found: Findings, layer: Layer, limits: LayerLimits) -> None:
    readers, allowed = len(layer.readers), limits.destinations
    if readers < 2:
        return
    rewrite = ""
    if allowed is not None and readers > allowed.value:
        copies = -(-readers // int(allowed.value))
        rewrite = f"{copies} copies of the layer, a core each, or fewer shortcuts"
        others = chips_with(lambda one: one.layers is None and one.build is not None, found.chip.name)
        rewrite = either(rewrite, others)
    found.most(layer.name, readers, "destinations", allowed, "destinations", rewrite)
