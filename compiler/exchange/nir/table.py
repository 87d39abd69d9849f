"""The table operation ↔ NIR form: how each operation of a graph is carried, or why it is not; to add one: one entry.

NIR's shapes have no batch axis, like those of graphs; several edges into one node mean their sum.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from compiler.exchange.nir import neurons, pools, steps, sums, weights
from compiler.exchange.nir.context import Reading, Writing
from compiler.graph import Node

Write = Callable[[Writing, Node], None]
"""Adds what a node becomes, or raises NirError with the reason why it cannot."""

Read = Callable[[Reading, str, Any, str], str]
"""(reading, name, NIR node, its input's signal) -> the signal that the node gives out."""


@dataclass(frozen=True)
class Form:
    """How one operation is carried: ``how`` in a few words; ``read``: which NIR nodes become it, and by what."""

    operation: str
    how: str
    write: Write
    read: Mapping[str, Read] = field(default_factory=dict)


CARRIED = (
    Form(
        "conv",
        "Conv1d, Conv2d: bias 0 where there is none; groups become zero blocks, rectangular kernels square ones",
        weights.write_conv,
        {"Conv1d": weights.read_conv, "Conv2d": weights.read_conv},
    ),
    Form(
        "linear",
        "Affine, Linear, on vectors",
        weights.write_linear,
        {"Affine": weights.read_linear, "Linear": weights.read_linear},
    ),
    Form("scale", "Scale; one by 1 is no node", weights.write_scale, {"Scale": weights.read_scale}),
    Form(
        "avg_pool",
        "AvgPool2d, and SumPool2d where it divides by 1; padded zeros count",
        pools.write_avg_pool,
        {"AvgPool2d": pools.read_pool, "SumPool2d": pools.read_pool},
    ),
    Form("adaptive_avg_pool", "AvgPool2d, where its windows are alike", pools.write_adaptive_pool),
    Form("mean", "AvgPool2d, of whole maps; a Flatten where axes go", pools.write_mean),
    Form("max_pool", "SumPool2d and Threshold, of spikes", pools.write_max_pool),
    Form("reshape", "Flatten, of neighbouring axes", pools.write_reshape, {"Flatten": pools.read_flatten}),
    Form("identity", "nothing", sums.write_identity),
    Form("add", "edges from both summands; I where it adds to a state", sums.write_add, {"I": sums.read_integrator}),
    Form("sub", "edges, one through a Scale by −1", sums.write_sub),
    Form("neg", "Scale by −1", sums.write_neg),
    Form("constant", "the bias of the layer before, or a threshold", sums.write_constant),
    Form("gt", "Threshold, with stored numbers", steps.write_step, {"Threshold": steps.read_threshold}),
    Form("ge", "Threshold, at the next smaller number", steps.write_step),
    Form("cast", "nothing, after a comparison", steps.write_cast),
    Form("lif", "LIF: tau = τ·dt, r = 1 or τ, v_leak = v_reset", neurons.write_lif, {"LIF": neurons.read_lif}),
    Form("parametric_lif", "LIF: tau = dt/decay", neurons.write_parametric_lif),
    Form("integrate_fire", "IF: r = 1/dt", neurons.write_integrate_fire, {"IF": neurons.read_integrate_fire}),
    Form(
        "cuba_lif",
        "CubaLIF: tau = dt/decay, w_in and r = 1/decay, v_leak = 0",
        neurons.write_cuba_lif,
        {"CubaLIF": neurons.read_cuba_lif},
    ),
    Form(
        "leaky_integrator",
        "LI: tau = τ·dt, r = 1 or τ, v_leak = 0; two of them are a CubaLI",
        neurons.write_leaky_integrator,
        {"LI": neurons.read_leaky_integrator, "CubaLI": neurons.read_cuba_li},
    ),
)

STRUCTURE: Mapping[str, str] = {
    "Input": "an input of the graph",
    "Output": "an output of the graph",
    "NIRGraph": "its nodes, under the names outer.inner",
    "Delay": "states: what was sent whole steps before",
}
"""NIR nodes that become no operation; a cycle carries what one of its nodes sent a step before."""

_SPIKING = "convert the network to a spiking one first"
_PRODUCT = "NIR has no product of two signals; keep this part outside of the file"
_POINT = "NIR has no such function of a signal; compute it outside of the file"
_MOVE = "NIR moves no values but for Flatten; put the order into the weights that follow"
_NEURON = "NIR has no neuron with these equations; use LIF, IF or CuBaLIF"
_INTEGER = "NIR has no integer arithmetic; write the floating-point graph it was quantised from"
_CONVERTED = "NIR has neither codes nor their traces over time; write the network that was converted, or a spiking one"
_REDUCED = "NIR reduces by pooling alone; use an average pool over the whole map"
_LOGIC = "NIR compares a signal with stored numbers only (x > c, x ≥ c); write it so, or compute it outside of the file"


def _each(reason: str, *names: str) -> dict[str, str]:
    return dict.fromkeys(names, reason)


REFUSED: Mapping[str, str] = {
    "batch_norm": "NIR has no batch norm; fold it with compiler.passes.simplify(graph), which needs a convolution or "
    "linear layer right before it",
    "conv_transpose": "NIR has no transposed convolution; upsample by a convolution over a padded map instead",
    "relu": f"NIR has no ReLU; {_SPIKING}",
    **_each(
        f"NIR has no such activation; {_SPIKING}",
        *("leaky_relu", "gelu", "silu", "mish", "sigmoid", "tanh", "elu", "selu", "softplus", "hardsigmoid"),
        *("hardswish", "erf", "clamp"),
    ),
    **_each(
        "NIR has no norm of a sample, and none that could be folded; build the network with batch norm",
        *("layer_norm", "rms_norm", "group_norm"),
    ),
    **_each("NIR has no softmax; leave it to who reads the output", "softmax", "log_softmax", "logsumexp"),
    **_each(_PRODUCT, "mul", "matmul", "einsum", "attention"),
    "div": "NIR has no quotient of two signals; multiply by stored numbers, one over the divisor",
    **_each(
        _POINT,
        *("maximum", "minimum", "where", "abs", "sign", "exp", "log", "sqrt", "rsqrt", "reciprocal", "sin", "cos"),
        *("floor", "ceil", "round", "trunc", "isnan", "pow", "power_of", "argsort", "argmax", "cumsum"),
    ),
    **_each(_LOGIC, "le", "lt", "eq", "ne", "logical_and", "logical_or", "logical_not"),
    **_each(
        _MOVE,
        *("lookup", "gather", "scatter", "permute", "expand", "slice", "concat", "roll", "take", "rearrange"),
        *("unfold", "windows", "fold"),
    ),
    "pad": "NIR pads within a convolution only; give the padding to the convolution that follows",
    "resize": "NIR has no resizing; use a convolution with a stride, or an average pool",
    "adaptive_max_pool": "NIR has no maximum pool; use an average pool",
    **_each(_REDUCED, "sum", "max", "min", "var", "norm"),
    **_each(
        _NEURON,
        *("adaptive_lif", "exponential_integrate_fire", "k_lif", "quadratic_integrate_fire", "adaptive_exponential"),
        *("alpha_lif", "complementary_lif", "delayed_reset_lif", "izhikevich", "two_compartment_lif"),
    ),
    **_each(
        "NIR's neurons send 0 or 1; use LIF or IF",
        *("multilevel_lif", "multi_spike", "ternary_if", "ternary_lif", "tracer"),
    ),
    **_each(_INTEGER, "lif_fixed", "lif_graded", "bias_current", "if_sequential", "readout_sequential", "lif_n1"),
    **_each(_CONVERTED, "quantise", "fake_quantise", "trace", "integrate", "traced_product"),
}
"""Operations that NIR cannot say, each with the reason and a way out."""

WRITE: Mapping[str, Write] = {form.operation: form.write for form in CARRIED}
READ: Mapping[str, Read] = {
    **{kind: read for form in CARRIED for kind, read in form.read.items()},
    "Input": sums.read_end,  # of a nested graph; the others are the graph's own
    "Output": sums.read_end,
}


def reason(operation: str) -> str:
    """Return why an operation is not carried."""
    return REFUSED.get(operation, "NIR has no such operation")
