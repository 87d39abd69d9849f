"""Norms: batch norm with stored statistics (linear: weights meet a signal), layer, group, RMS and vector norms.

batch_norm   y = γ·(x − μ)/√(σ² + ε) + β, a channel each; ``axis`` (negative) says where the channels lie
layer_norm   statistics over the last ``axes`` axes, one sample and position each
group_norm   statistics over ``groups`` groups of channels and all positions; ``rank`` positions follow the channels
rms_norm     x/√(mean(x²) + ε)·γ over the last ``axes`` axes
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from compiler.graph.facts import Amount, Facts
from compiler.graph.graph import Node
from compiler.graph.operation import Operation
from compiler.operations.call import Call
from compiler.operations.rules import INT, NUMBER, folded, real, synaptic


def _batch_norm(node: Node, x: Tensor) -> tuple[Tensor, ...]:
    p, axis = node.parameters, node.attributes["axis"]
    settings = (p["mean"], p["variance"], p.get("weight"), p.get("bias"), False, 0.0, node.attributes["eps"])
    if axis == -1:
        # Vectors: every axis in front of the channels is a batch.
        y = F.batch_norm(x.reshape(-1, x.shape[-1]), *settings)
        return (y.reshape(x.shape),)
    return (folded(x, -axis, lambda z: F.batch_norm(z, *settings)),)


def _count_batch_norm(node: Node, facts: Facts) -> Mapping[str, Amount]:
    """One weight and one bias for each value."""
    size = float(facts.outputs_size)
    if not facts.is_event(0):
        return {"mac": size, "dense_macs": size}
    return {"dense_macs": size, **synaptic(facts, [0], facts.total_units(0)), "bias_adds": size}


def _capture_batch_norm(call: Call) -> None:
    if call["training"]:
        raise call.refuse(
            "is a batch norm that takes its statistics from the batch: it mixes samples, and graphs hold networks in "
            "eval mode. Use track_running_stats=True"
        )
    call.give(_stored_batch_norm(call))


def _capture_batch_norm_without_training(call: Call) -> None:
    """What batch norm becomes in a program whose writes into views were taken out; further results are empty."""
    call.give_many([_stored_batch_norm(call)])


def _stored_batch_norm(call: Call) -> str:
    parameters = call.stored(weight="weight", bias="bias", mean="running_mean", variance="running_var")
    axis = call.axis("input", 1)
    if axis is None:
        raise call.refuse("is a batch norm over time steps")
    return call.emit("batch_norm", [call.signal("input")], {"eps": call["eps"], "axis": axis}, parameters)


def _layer_norm(node: Node, x: Tensor) -> tuple[Tensor, ...]:
    p, a = node.parameters, node.attributes
    return (F.layer_norm(x, x.shape[-a["axes"] :], p.get("weight"), p.get("bias"), a["eps"]),)


def _rms_norm(node: Node, x: Tensor) -> tuple[Tensor, ...]:
    a = node.attributes
    eps = a["eps"] if a["eps"] >= 0 else torch.finfo(x.dtype).eps
    return (F.rms_norm(x, x.shape[-a["axes"] :], node.parameters.get("weight"), eps),)


def _count_statistics(node: Node, facts: Facts, length: int) -> dict[str, Amount]:
    """Rows of ``length`` values: mean, differences, their squares' mean, 1/√(… + ε), and a product with that."""
    size = float(facts.outputs_size)
    rows = size / length
    return {
        "adds": 3 * size + rows + ("bias" in node.parameters) * size,
        "multiplies": 2 * size + 2 * rows + ("weight" in node.parameters) * size,
        "divisions": rows,
        "roots": rows,
    }


def _length(node: Node, facts: Facts) -> int:
    shape = facts.inputs[0].shape
    return math.prod(shape[len(shape) - node.attributes["axes"] :])


def _count_layer_norm(node: Node, facts: Facts) -> Mapping[str, Amount]:
    return _count_statistics(node, facts, _length(node, facts))


def _count_rms_norm(node: Node, facts: Facts) -> Mapping[str, Amount]:
    """As a layer norm without the mean."""
    size = float(facts.outputs_size)
    rows = size / _length(node, facts)
    weighted = ("weight" in node.parameters) * size
    return {"adds": size + rows, "multiplies": 2 * size + rows + weighted, "divisions": rows, "roots": rows}


def _capture_layer_norm(call: Call) -> None:
    axes = len(call["normalized_shape"])
    for dim in range(-axes, 0):
        if call.axis("input", dim) is None:
            raise call.refuse("is a layer norm over time steps")
    attributes = {"axes": axes, "eps": call["eps"]}
    call.give(call.emit("layer_norm", [call.signal("input")], attributes, call.stored(weight="weight", bias="bias")))


def _capture_rms_norm(call: Call) -> None:
    axes = len(call["normalized_shape"])
    attributes = {"axes": axes, "eps": call["eps"] if call.has("eps") else -1.0}
    call.give(call.emit("rms_norm", [call.signal("input")], attributes, call.stored(weight="weight")))


def _group_norm(node: Node, x: Tensor) -> tuple[Tensor, ...]:
    p, a = node.parameters, node.attributes
    return (folded(x, a["rank"] + 1, lambda z: F.group_norm(z, a["groups"], p.get("weight"), p.get("bias"), a["eps"])),)


def _count_group_norm(node: Node, facts: Facts) -> Mapping[str, Amount]:
    a, shape = node.attributes, facts.inputs[0].shape
    return _count_statistics(node, facts, max(1, math.prod(shape[len(shape) - a["rank"] - 1 :]) // a["groups"]))


def _capture_group_norm(call: Call) -> None:
    axis = call.axis("input", 1)
    if axis is None:
        raise call.refuse("is a group norm over time steps")
    attributes = {"groups": int(call["num_groups"]), "eps": call["eps"], "rank": -axis - 1}
    call.give(
        call.emit("group_norm", [call.apart("input", -axis)], attributes, call.stored(weight="weight", bias="bias"))
    )


def _capture_instance_norm(call: Call) -> None:
    if not call["use_input_stats"]:
        raise call.refuse("is an instance norm with stored statistics; use a batch norm")
    axis = call.axis("input", 1)
    if axis is None:
        raise call.refuse("is an instance norm over time steps")
    channels = call.layout("input").shape[1]
    attributes = {"groups": channels, "eps": call["eps"], "rank": -axis - 1}
    call.give(
        call.emit("group_norm", [call.apart("input", -axis)], attributes, call.stored(weight="weight", bias="bias"))
    )


OPERATIONS = (
    Operation(
        "batch_norm",
        "synapse",
        _batch_norm,
        real,
        _count_batch_norm,
        {
            "aten.batch_norm.default": _capture_batch_norm,
            "aten._native_batch_norm_legit_no_training.default": _capture_batch_norm_without_training,
        },
        {"eps": NUMBER, "axis": INT},
        {},
        ("mean", "variance"),
        ("weight", "bias"),
        linear=True,
    ),
    Operation(
        "layer_norm",
        "norm",
        _layer_norm,
        real,
        _count_layer_norm,
        {"aten.layer_norm.default": _capture_layer_norm},
        {"axes": INT, "eps": NUMBER},
        optional_parameters=("weight", "bias"),
    ),
    Operation(
        "rms_norm",
        "norm",
        _rms_norm,
        real,
        _count_rms_norm,
        {"aten.rms_norm.default": _capture_rms_norm},
        {"axes": INT, "eps": NUMBER},
        optional_parameters=("weight",),
    ),
    Operation(
        "group_norm",
        "norm",
        _group_norm,
        real,
        _count_group_norm,
        {"aten.group_norm.default": _capture_group_norm, "aten.instance_norm.default": _capture_instance_norm},
        {"groups": INT, "eps": NUMBER, "rank": INT},
        optional_parameters=("weight", "bias"),
    ),
)
