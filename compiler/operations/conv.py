"""conv: cross-correlation in one, two or three dimensions, ``y[o] = Σ w[o, i, k] · x[i, s·p + d·k − pad] + b[o]``.

Attributes stride, padding, dilation (a number for each dimension), groups. In integer graphs ``weight_exponent`` shifts
the sum before the bias is added; a negative one floors it.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from compiler.graph.facts import Amount, Facts
from compiler.graph.graph import Node
from compiler.graph.operation import Operation
from compiler.operations.call import Call
from compiler.operations.rules import INT, INTS, folded, pair, real, synaptic

_CONV: Mapping[int, Callable[..., Tensor]] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_TRANSPOSED: Mapping[int, Callable[..., Tensor]] = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


def shifted(y: Tensor, node: Node) -> Tensor:
    """Apply the integer exponent of quantised weights: the *sum* is shifted, a negative exponent floors it.

    The gradient passes the floor as if it were not there; the values are exact either way.
    """
    exponent = int(node.attributes.get("weight_exponent", 0))
    y = y * 2.0**exponent if exponent else y
    return y + (y.floor() - y).detach() if exponent < 0 else y


def _run(node: Node, x: Tensor) -> tuple[Tensor, ...]:
    a = node.attributes
    return _weighed(node, x, _CONV, a["stride"], a["padding"], a["dilation"], a["groups"])


def _weighed(node: Node, x: Tensor, runs: Mapping[int, Callable[..., Tensor]], *settings: object) -> tuple[Tensor, ...]:
    """Run the function of the right rank; the bias of integer weights comes after their shift."""
    weight, bias = node.parameters["weight"], node.parameters.get("bias")
    rank = weight.ndim - 2
    exact = "weight_exponent" not in node.attributes
    y = folded(x, rank + 1, lambda z: runs[rank](z, weight, bias if exact else None, *settings))
    if exact:
        return (y,)
    y = shifted(y, node)
    return (y if bias is None else y + bias.reshape(-1, *[1] * rank),)


def dense_macs(node: Node, facts: Facts) -> float:
    """Multiply-accumulates of a machine that skips nothing; padding counts, as usual."""
    return float(facts.outputs_size * node.parameters["weight"][0].numel())


def weighted(node: Node, facts: Facts, reach: Callable[[], Tensor]) -> dict[str, Amount]:
    """Count a layer with weights: ``reach()`` says how many weights the units of every evaluation meet."""
    return operand_counts(node, facts, dense_macs(node, facts), reach)


def operand_counts(node: Node, facts: Facts, dense: float, reach: Callable[[], Tensor]) -> dict[str, Amount]:
    """Count ``dense`` weights met by reals, or what ``reach()`` says of events, and the biases."""
    done: dict[str, Amount] = {"dense_macs": dense}
    if "bias" in node.parameters:
        done["bias_adds"] = float(facts.outputs_size)
    if facts.is_event(0):
        return {**done, **synaptic(facts, [0], reach())}
    return {**done, "mac": dense, "effective_macs": reach() if facts.known else dense}


@functools.lru_cache(maxsize=4096)  # shapes repeat, from layer to layer and from batch to batch; nobody writes to it
def _readers(size: int, outputs: int, kernel: int, stride: int, padding: int, dilation: int) -> Tensor:
    """How many (output, kernel offset) pairs of one axis read each of its ``size`` positions."""
    found, output = torch.zeros(size, dtype=torch.float64), torch.arange(outputs)
    for offset in range(kernel):
        read = output * stride + offset * dilation - padding
        found[read[(read >= 0) & (read < size)]] += 1
    return found


@functools.lru_cache(maxsize=4096)
def _targets(size: int, outputs: int, kernel: int, stride: int, padding: int, dilation: int) -> Tensor:
    """How many outputs of one axis each of its ``size`` positions is written to, transposed."""
    written = torch.arange(size)[:, None] * stride + torch.arange(kernel) * dilation - padding
    return ((written >= 0) & (written < outputs)).sum(1).double()


def _fans(node: Node, facts: Facts, fan_out: Callable[..., Tensor]) -> list[Tensor]:
    """How many pairs of output and kernel offset each position of every axis belongs to."""
    a, weight = node.attributes, node.parameters["weight"]
    rank = weight.ndim - 2
    before, after = facts.inputs[0].shape[-rank:], facts.outputs[0].shape[-rank:]
    settings = zip(weight.shape[2:], a["stride"], a["padding"], a["dilation"], strict=True)
    return [fan_out(size, made, *one) for size, made, one in zip(before, after, settings, strict=True)]


def _reach(node: Node, facts: Facts, fan_out: Callable[..., Tensor]) -> Tensor:
    """Σ over values of their units × the kernel offsets that lead from there to an output, for one output channel."""
    fans = _fans(node, facts, fan_out)
    rank = len(fans)
    sums = facts.unit_sums(0, range(1, len(facts.inputs[0].shape) + 1 - rank))
    sums = sums.reshape(sums.shape[0], *sums.shape[sums.ndim - rank :])
    for fan in reversed(fans):
        sums = sums @ fan.to(sums.device)
    return sums


def _on_padding(node: Node, facts: Facts, fan_out: Callable[..., Tensor], channels: int) -> dict[str, Amount]:
    """Multiply-accumulates of the dense count that meet padding: of all pairs, those that no position belongs to."""
    if not any(node.attributes["padding"]):
        return {}
    met = math.prod(float(fan.sum()) for fan in _fans(node, facts, fan_out))
    return {"padding_macs": dense_macs(node, facts) - facts.evaluations * met * channels}


def _count(node: Node, facts: Facts) -> Mapping[str, Amount]:
    shape = node.parameters["weight"].shape
    filters = shape[0] // node.attributes["groups"]
    lead = math.prod(facts.inputs[0].shape[: -(len(shape) - 2)])
    done = weighted(node, facts, lambda: _reach(node, facts, _readers) * filters)
    return {**done, **_on_padding(node, facts, _readers, lead * filters)}


def _capture(rank: int) -> Callable[[Call], None]:
    def capture(call: Call) -> None:
        parameters = call.stored(weight="weight", bias="bias")
        weight = parameters["weight"]
        stride, dilation = pair(call["stride"], rank), pair(call["dilation"], rank)
        padding, x = call["padding"], call.apart("input", rank + 1)
        if isinstance(padding, str):
            x, padding = _padded(call, x, padding, weight.shape[2:], dilation)
        attributes = {
            "stride": stride,
            "padding": pair(padding, rank),
            "dilation": dilation,
            "groups": int(call["groups"]),
        }
        call.give(call.emit("conv", [x], attributes, parameters))

    return capture


def _padded(
    call: Call, x: str, padding: str, kernel: tuple[int, ...], dilation: tuple[int, ...]
) -> tuple[str, tuple[int, ...]]:
    """Return the input and the numbers for padding="same" or "valid"; uneven padding becomes a node of its own."""
    if padding == "valid":
        return x, (0,) * len(kernel)
    total = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
    if all(t % 2 == 0 for t in total):
        return x, tuple(t // 2 for t in total)
    amounts = [amount for t in reversed(total) for amount in (t // 2, t - t // 2)]
    return call.emit("pad", [x], {"amounts": tuple(amounts), "mode": "constant", "value": 0.0}), (0,) * len(kernel)


def _run_transposed(node: Node, x: Tensor) -> tuple[Tensor, ...]:
    a = node.attributes
    return _weighed(node, x, _TRANSPOSED, a["stride"], a["padding"], a["output_padding"], a["groups"], a["dilation"])


def _count_transposed(node: Node, facts: Facts) -> Mapping[str, Amount]:
    """Every input value meets every weight of its channel, but for events those that the padding cuts off."""
    weight = node.parameters["weight"]
    dense = float(facts.inputs_size * weight[0].numel())
    return operand_counts(node, facts, dense, lambda: _reach(node, facts, _targets) * weight.shape[1])


def _capture_transposed(rank: int) -> Callable[[Call], None]:
    def capture(call: Call) -> None:
        attributes = {key: pair(call[key], rank) for key in ("stride", "padding", "output_padding", "dilation")}
        parameters = call.stored(weight="weight", bias="bias")
        attributes_all = {**attributes, "groups": int(call["groups"])}
        call.give(call.emit("conv_transpose", [call.apart("input", rank + 1)], attributes_all, parameters))

    return capture


_SETTINGS = {"stride": INTS, "padding": INTS, "dilation": INTS, "groups": INT}

CONV = Operation(
    "conv",
    "synapse",
    _run,
    real,
    _count,
    {
        "aten.conv1d.default": _capture(1),
        "aten.conv2d.default": _capture(2),
        "aten.conv3d.default": _capture(3),
        "aten.conv1d.padding": _capture(1),
        "aten.conv2d.padding": _capture(2),
        "aten.conv3d.padding": _capture(3),
    },
    _SETTINGS,
    {"weight_exponent": INT},
    ("weight",),
    ("bias",),
    linear=True,
)
CONV_TRANSPOSE = Operation(
    "conv_transpose",
    "synapse",
    _run_transposed,
    real,
    _count_transposed,
    {
        "aten.conv_transpose1d.default": _capture_transposed(1),
        "aten.conv_transpose2d.input": _capture_transposed(2),
        "aten.conv_transpose3d.input": _capture_transposed(3),
    },
    {**_SETTINGS, "output_padding": INTS},
    {"weight_exponent": INT},
    ("weight",),
    ("bias",),
    linear=True,
)
OPERATIONS = (CONV, CONV_TRANSPOSE)
