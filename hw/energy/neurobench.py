"""NeuroBench's complexity metrics, by NeuroBench's own definitions. They are counts, not energies.

| metric | definition (NeuroBench 2.3.0) | from |
|---|---|---|
| Footprint | bytes of all parameters and buffers, each as wide as its dtype | module |
| ConnectionSparsity | weights that are zero / weights, in Linear, Conv and recurrent layers, to 4 digits | module |
| ActivationSparsity | zeros / outputs, of neurons and activations, over all steps and samples | counts |
| SynapticOperations | operations where weight and input are not zero, a sample, in Linear and Conv | counts |
| MembraneUpdates | neurons at the first step, and at later ones those whose membrane the step changed | counts |

An operation is an AC where all inputs of the layer are 0, 1 or −1, else a MAC; Dense takes all weights and inputs as
not zero, without biases, and without the weights that lie on a padded border, where there is no input.

What counts cannot tell, and how it is met:

- Which weights are zero: counts take all of them as not zero. With zero weights, effective operations are too many,
  and NeuroBench's ``ConnectionSparsity`` says so.
- How many outputs of an activation (ReLU) are zero: ``activation_sparsity`` then says so instead of a number.
- Events of several levels are MACs to NeuroBench, one each; the counts hold their levels added up. They are given as
  MACs of ``dense × share of the input that is not zero``, exact where every input meets as many weights, and named.
- Which membranes a step leaves as they were (no input, nothing that leaks): ``MembraneUpdates`` is an interval from the
  first step alone to all steps.

NeuroBench's blind spots are kept, since its numbers are to be met: products of two signals (attention) are in no
metric, and neither are norms and sums.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from hw.counts import Counts, LayerCounts
from hw.energy.model import EstimateError
from hw.quantity import Interval

_STATELESS = ("Linear", "Conv1d", "Conv2d", "Conv3d")
_RECURRENT = ("RNN", "LSTM", "GRU", "RNNCell", "LSTMCell", "GRUCell")
_CONNECTIONS = ("linear", "conv")


@dataclass(frozen=True)
class SynapticOperations:
    """Mean operations a sample; ``approximate`` names the layers whose number is not exact, see the module's text."""

    effective_macs: float
    effective_acs: float
    dense: float
    approximate: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, float]:
        """Return the metric under NeuroBench's own names."""
        return {"Effective_MACs": self.effective_macs, "Effective_ACs": self.effective_acs, "Dense": self.dense}


def footprint(module: Any) -> int:
    """Return the bytes of a module's parameters and buffers (anything with ``parameters()`` and ``buffers()``).

    Weights that are only simulated in 8 bits are stored in 32, and count as such.
    """
    return sum(t.numel() * t.element_size() for t in (*module.parameters(), *module.buffers()))


def connection_sparsity(module: Any) -> float:
    """Return the share of weights that are zero in linear, convolution and recurrent layers, rounded to 4 digits.

    Biases count in recurrent layers only. A module without such layers has a sparsity of 0 (NeuroBench divides by 0).
    """
    zeros = weights = 0
    for part in module.modules():
        for tensor in _connections(part):
            zeros += tensor.numel() - int((tensor != 0).sum())
            weights += tensor.numel()
    return round(zeros / weights, 4) if weights else 0.0


def _connections(part: Any) -> Iterable[Any]:
    kinds = {kind.__name__ for kind in type(part).__mro__}
    if kinds.intersection(_STATELESS):
        return [part.weight]
    if kinds.intersection(_RECURRENT):
        return [tensor for name, tensor in part.named_parameters(recurse=False) if name.startswith(("weight", "bias"))]
    return []


def activation_sparsity(counts: Counts) -> float:
    """Return the share of zeros in what neurons and activations put out; 0 without any.

    Raises:
        EstimateError: the counts do not say how many outputs of an activation are zero.
    """
    layers = [layer for layer in counts.per_layer if layer.kind in ("neuron", "activation")]
    unknown = [layer.name for layer in layers if layer.kind == "activation" and not layer.output_events]
    if unknown:
        raise EstimateError(
            f"activation sparsity: the counts do not say how many outputs of {', '.join(unknown[:5])} are zero; "
            "they do for neurons."
        )
    values = sum(_times(layer) * layer.activation_writes for layer in layers)
    events = sum(_times(layer) * layer.output_events for layer in layers)
    return (values - events) / values if values else 0.0


def synaptic_operations(counts: Counts) -> SynapticOperations:
    """Return effective MACs and ACs, and dense operations, of linear and convolution layers, mean per sample.

    NeuroBench watches modules run, so that a layer whose input never changes counts at every step.
    """
    macs = acs = dense = 0.0
    approximate = []
    for layer in counts.per_layer:
        if layer.kind != "synapse" or layer.op not in _CONNECTIONS:
            continue
        times = _times(layer)
        inner = layer.dense_macs - layer.padding_macs
        dense += times * inner
        if layer.mac:
            macs += times * layer.effective_macs
        elif layer.input_type in ("binary", "signed"):
            acs += times * layer.ac
        else:
            macs += times * inner * _rate(layer)
            approximate.append(layer.name)
    return SynapticOperations(macs, acs, dense, tuple(approximate))


def _rate(layer: LayerCounts) -> float:
    return layer.input_events / layer.activation_reads if layer.activation_reads else 0.0


def _times(layer: LayerCounts) -> int:
    return layer.static_repeats if layer.static else 1


def membrane_updates(counts: Counts) -> Interval:
    """Return membrane updates per sample, as an interval: which membranes a step left as they were is not counted.

    NeuroBench compares a membrane before and after each step: leak and input change it as well as firing. Low: nothing
    after the first step; nominal and high: every neuron at every step.
    """
    neurons = [layer for layer in counts.per_layer if layer.kind == "neuron" and layer.neurons]
    first = float(sum(layer.neurons or 0 for layer in neurons))
    updates = max(sum(layer.neuron_updates for layer in neurons), first)
    return Interval(first, updates, updates, "updates")
