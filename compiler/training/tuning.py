"""Fine-tune a trained spiking network in the integers of its chip, by the loop that trains everything.

The network learns from its float original (KL divergence of the logits) beside the labels; what comes out are weights
for which the chip's network says what was trained for.

Source: distillation into a quantised student, arXiv 1802.05668; quantisation in the forward pass alone, arXiv
1712.05877.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from compiler.converting.finetuning import fine_tuning as of_converted
from compiler.converting.finetuning import learned
from compiler.converting.trainable import GraphNumbers
from compiler.graph import Graph
from compiler.interpreting import evaluate
from compiler.program import Program
from compiler.training.module import ChipNetwork
from snnkit.data import DataConfig, ImageData
from snnkit.engine import Run, RunConfig

LEARNING_RATE = 5e-4
TEACHER_SHARE = 0.9
"""Weight of the float network against the labels."""


@dataclass(frozen=True)
class Tuned:
    """What came out: the network in eval mode, the run that trained it, and its program."""

    network: ChipNetwork
    run: Run
    program: Program


class SpikingGraph(GraphNumbers):
    """A spiking graph in floats as a module: images (B, …), or spikes (T, B, …), → the mean of its outputs over T."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the mean output over time, (B, K)."""
        outputs, _ = evaluate(self.live_graph(), x)
        assert isinstance(outputs, Tensor)
        return outputs.mean(0)


def fine_tuning(epochs: int) -> RunConfig:
    """Return the settings: AdamW without decay, a cosine from 5e-4, gradients of norm 1 at most, labels and teacher.

    Raises:
        InvalidArgumentError: epochs < 1, or no whole number.
    """
    config = replace(of_converted(epochs), recipe="chip_fine_tuning")
    config.task.options |= {"alpha": TEACHER_SHARE}
    config.optim.lr = LEARNING_RATE
    return config


def fine_tuned(
    network: ChipNetwork,
    data: DataConfig | ImageData,
    epochs: int = 3,
    *,
    config: RunConfig | None = None,
    teacher: nn.Module | Graph | None = None,
    folder: str | Path | None = None,
    runs: str | Path = "runs",
    go_on: bool = False,
) -> Tuned:
    """Train a network as its chip computes it, and compile it.

    Args:
        network: it stays as it is.
        data: what to learn on: settings of a data set, or its batches. Images as the network takes them.
        epochs: N ≥ 1, where no ``config`` is given.
        config: all settings, as ``fine_tuning`` returns them; its task may be any that takes teachers.
        teacher: a network with the same classes to learn from; by default the float network as it is now.
        folder, runs: where the run is written: its folder, or the folder of run folders.
        go_on: take up the run in ``folder``.

    Raises:
        CompileError: what was learned no longer fits the chip.
        InvalidArgumentError: epochs < 1, settings out of range, images or classes that do not fit the network.
        DivergedError: the loss became infinite or NaN.
    """
    graph = network.graph()
    float_network = graph if teacher is None else teacher
    if isinstance(float_network, Graph) and float_network.states:
        float_network = SpikingGraph(float_network)
    made, run = learned(
        lambda: network.again(graph),
        graph,
        float_network,
        data,
        config or fine_tuning(epochs),
        folder=folder,
        runs=runs,
        go_on=go_on,
    )
    made.eval()
    with torch.no_grad():
        program = made.program()
    return Tuned(made, run, program)
