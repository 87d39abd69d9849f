"""Energy as a training aim: a penalty on the synaptic operations of a sample, an option of every task.

    S  = Σ_layers Σ_(neurons, steps) units · fan-out + products of attention         synaptic operations per sample
    E  = S + Σ_layers c_l · messages_l                                              with costs of messages
    L' = L + w · E / E₁                          without a target
    L' = L + w · max(0, E / target − 1)          with a target

E₁ is what E would be if every value that can be a spike were one unit at every step: E / E₁ is a firing rate weighted
by fan-out and, for spikes of one level, lies between 0 and 1 whatever the network's size. A penalty with a target ends
at the target, and a weight that is large enough leaves E there; without one, w is the price of energy in units of loss.
The gradient reaches the spikes, and through their surrogates the weights. S counts what ``compiler.count`` calls
``synaptic_events``: events only, since where the input is real numbers there are multiply-accumulates, which no spike
rate can lower.

| symbol | unit | default |
|---|---|---|
| w ``weight`` | loss, ≥ 0 | 0: no penalty |
| ``target`` | SOP, kSOP, MSOP or GSOP (synaptic operations per sample), with its unit | "": none |
| c_l ``per_layer`` | synaptic operations that a message of neuron layer l is worth, ≥ 0 | none |

E is a mean over the samples of the batch, and over the batches of all processes, so that a target means the same on any
number of them. A sample is what one answer is made of; to a task that learns from views of images, every view that the
network reads is one. What follows the network, or teaches it, reads for itself and is not counted. With
``optim.accumulate`` each of the batches is held to the target. Messages are outputs other than 0: what a mapped network
sends as packets.

Source: penalties on synaptic operations: Sorbaro et al., "Optimizing the Energy Consumption of Spiking Neural Networks
for Neuromorphic Applications", Front. Neurosci. 2020, arXiv 1912.01268 (there quadratic, and with quantised ReLUs).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, distributed, nn
from torchmetrics import MeanMetric

from snnkit.errors import InvalidArgumentError
from snnkit.signals import SignalType
from snnkit.synapses import Meter
from snnkit.synapses.meter import event_layers

UNITS = {"SOP": 1.0, "kSOP": 1e3, "MSOP": 1e6, "GSOP": 1e9}


class Trained(Protocol):
    """What is asked of a task."""

    model: nn.Module
    training: bool
    takes_views: ClassVar[bool]

    def loss(self, batch: Any) -> Tensor:
        """Return the loss of a training batch."""

    def evaluate(self, batch: Any) -> None:
        """Feed the metrics with a test batch."""


class EnergyPenalty(nn.Module):
    """What a task adds to its loss and to its metrics: ``task.energy = EnergyPenalty(task.model, weight=0.1)``.

    Args:
        model: the network that is trained.
        weight: w; 0 only measures.
        target: the synaptic operations per sample up to which nothing is paid, such as "200 kSOP"; "" for no target.
        per_layer: c_l by the name of the neuron layer in ``model.named_modules()``.
        input_type: what the network's input consists of, as for ``compiler.count``.

    Raises:
        InvalidArgumentError: a number outside its range, a target without its unit, or a network that sends no spikes.
        UnknownNameError: no such neuron layer, or no such type of input.
    """

    def __init__(
        self,
        model: nn.Module,
        weight: float = 0.0,
        target: str = "",
        per_layer: Mapping[str, float] | None = None,
        input_type: str = "real",
    ):
        super().__init__()
        costs = dict(per_layer or {})
        check_energy(weight, target, costs, input_type)
        self.weight, self.target, self.per_layer = float(weight), parse_target(target), costs
        self.input_type = input_type
        event_layers(model)
        Meter(model, costs, input_type)
        self.metrics = nn.ModuleDict({name: _mean() for name in ("synaptic_operations", "energy_penalty")})
        if costs:
            self.metrics["energy"] = _mean()

    def step(self, task: Trained, batch: Any) -> Tensor | None:
        """Run a batch through the task, counting: the loss with the penalty in training mode, else None."""
        meter = Meter(task.model, self.per_layer, self.input_type)
        with meter:
            loss = task.loss(batch) if task.training else None
            if loss is None:
                task.evaluate(batch)
        if not meter.read:
            kind = type(task.model).__name__
            raise InvalidArgumentError(
                f"task.energy: {type(task).__name__} runs {kind} by none of its methods forward or forward_…, and only "
                "what these do is counted. Call the model itself."
            )
        if not meter.dense:
            raise InvalidArgumentError(
                f"task.energy: no spike of {type(task.model).__name__} meets a weight, so there are no synaptic "
                "operations to count. Do its layers read what its neurons send?"
            )
        samples = sum(map(_images, meter.read)) if task.takes_views else samples_in(batch)
        operations = meter.total() / samples
        messages = [self.per_layer[name] * found / samples for name, found in meter.messages.items()]
        energy = operations + torch.stack(messages).sum() if messages else operations
        self._log("synaptic_operations", operations, samples)
        if messages:
            self._log("energy", energy, samples)
        if loss is None or not self.weight:
            return loss
        if meter.blind or not energy.requires_grad:
            raise InvalidArgumentError(
                "task.energy: the spikes have no gradient here, so a penalty on them would train nothing. Train layers "
                "before the neurons, and give a runtime.memory_budget, if any, that needs no chunks of time."
            )
        sent = sum(self.per_layer[name] * size for name, size in meter.outputs.items() if name in meter.messages)
        penalty = self.penalty(energy, (meter.dense + sent) / samples)
        self._log("energy_penalty", penalty, samples)
        return loss + penalty.to(loss.dtype)

    def penalty(self, energy: Tensor, full: float) -> Tensor:
        """Return the penalty () for the mean energy of a sample (), which is ``full`` where all neurons always fire."""
        if not self.target:
            return self.weight * energy / full
        return self.weight * torch.relu(_of_all_processes(energy) / self.target - 1)

    def compute(self) -> dict[str, float]:
        """Return the means since the last call and start anew.

        ``synaptic_operations`` per sample; ``energy``, with the messages, where these have costs; and after training
        ``energy_penalty``, as it was added to the loss.
        """
        found = {name: float(metric.compute()) for name, metric in self._means() if metric.update_called}
        for _, metric in self._means():
            metric.reset()
        return found

    def _means(self) -> Iterator[tuple[str, MeanMetric]]:
        return ((name, metric) for name, metric in self.metrics.items() if isinstance(metric, MeanMetric))

    def _log(self, name: str, value: Tensor, samples: int) -> None:
        dict(self._means())[name].update(value.detach(), samples)

    def extra_repr(self) -> str:
        """Show the numbers in ``print(task)``."""
        costs = f", {len(self.per_layer)} layers with costs of messages" if self.per_layer else ""
        return f"weight={self.weight:g}, target={self.target:g} synaptic operations per sample{costs}"


def check_energy(weight: float, target: str, per_layer: Mapping[str, Any], input_type: str = "real") -> None:
    """Refuse settings that no network could be trained with.

    Raises:
        InvalidArgumentError: a number outside its range, a target without its unit, or one that no weight goes with.
        UnknownNameError: no such type of input.
    """
    if not 0 <= weight < math.inf:
        raise InvalidArgumentError(f"task.energy.weight={weight}: must be a number ≥ 0; 0 penalises nothing.")
    for name, cost in per_layer.items():
        number = isinstance(cost, (int, float)) and not isinstance(cost, bool)
        if not number or not 0 <= cost < math.inf:
            raise InvalidArgumentError(
                f"task.energy.per_layer.{name}={cost!r}: must be a number ≥ 0, the synaptic operations that one "
                "message of the layer is worth."
            )
    if parse_target(target) and not weight:
        raise InvalidArgumentError(
            f"task.energy.target={target!r} with weight=0 penalises nothing; give task.energy.weight too, such as 1."
        )
    SignalType.parse(input_type)


def parse_target(text: str) -> float:
    """Return the synaptic operations per sample of "200 kSOP"; 0 for "".

    Raises:
        InvalidArgumentError: no number above 0 with one of ``UNITS``.
    """
    if not str(text).strip():
        return 0.0
    found = re.fullmatch(r"\s*([0-9.eE+-]+)\s*([A-Za-z]*)\s*", str(text))
    try:
        number = float(found[1]) if found else math.nan
    except ValueError:
        number = math.nan
    if found and not math.isnan(number) and found[2] not in UNITS:
        shown = f"{number:.15g}"
        raise InvalidArgumentError(
            f"task.energy.target={text!r}: {'has no unit' if not found[2] else f'{found[2]} is no unit here'}; give "
            f"synaptic operations per sample in SOP, kSOP, MSOP or GSOP, such as '{shown} SOP'."
        )
    if not found or not 0 < number < math.inf:
        raise InvalidArgumentError(
            f"task.energy.target={text!r}: must be a number above 0 with its unit (SOP, kSOP, MSOP or GSOP, synaptic "
            "operations per sample), such as '200 kSOP'."
        )
    return number * UNITS[found[2]]


def samples_in(batch: Any) -> int:
    """Return how many samples a batch has: as many as labels where there are any, so that views of one are one."""
    if isinstance(batch, (tuple, list)) and len(batch) > 1 and not isinstance(batch[1], Mapping):
        return len(batch[1])  # of tables of key points and the like, the length is that of a column
    images = batch[0] if isinstance(batch, (tuple, list)) else batch
    return _images(images.shape)


def _images(shape: Sequence[int]) -> int:
    """Return B of (B, …), or of sequences (T, B, C, H, W)."""
    return shape[1] if len(shape) == 5 else shape[0]


def _of_all_processes(value: Tensor) -> Tensor:
    """Return the mean over the processes, with the gradient of this process's own value: DDP averages these."""
    if not (distributed.is_available() and distributed.is_initialized()) or distributed.get_world_size() == 1:
        return value
    mean = value.detach().clone()
    distributed.all_reduce(mean)
    return value + (mean / distributed.get_world_size() - value.detach())


def _mean() -> MeanMetric:
    """A mean whose sums are exact enough for millions of operations times thousands of batches."""
    metric = MeanMetric()
    if not torch.backends.mps.is_available():
        metric.set_dtype(torch.float64)
    return metric
