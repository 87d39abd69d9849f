"""Compiling large networks: seconds of one core and memory from the module to the program, and what that needs.

Untrained networks whose norms are set so that neurons fire; the chips are meshes on which they fit. Times are of the
process, so that others on the machine lengthen them little.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

import compiler
from compiler.bench.cost import peak, reset_peak
from compiler.bench.published import lively
from compiler.errors import CompileError
from compiler.program import Program
from snnkit.bench.row import figure
from snnkit.models import create_model

SECONDS, GIGABYTES, REFUSED_SECONDS = 60.0, 12.0, 2.0
"""Bars: for a program, and for saying that a network is a thousand times too large."""


@dataclass(frozen=True)
class Case:
    """A network, the shape of one image, and a chip that holds it."""

    model: str
    chip: str
    shape: tuple[int, int, int]
    sizes: dict[str, Any] = field(default_factory=dict)
    title: str = ""

    def __str__(self) -> str:
        return f"{self.title or self.model}, {self.shape[-1]}², {self.chip}"


_RESNET = {"num_classes": 10, "img_size": 64, "timesteps": 4}
_MESH = "mesh:width=64,height=64,neurons={},in_axons=16384,synapse_kib=2048"
CASES = (  # the smallest first, since a process may keep some memory of those before
    Case("spiking_cnn_small", "loihi1", (1, 28, 28), {"in_chans": 1, "img_size": 28}),
    Case("ms_resnet18", _MESH.format(1024), (3, 64, 64), _RESNET),
    Case("meta_spikeformer_tiny", _MESH.format(2048), (1, 28, 28)),
    Case("sew_resnet18", _MESH.format(1024), (3, 64, 64), _RESNET),
    Case(
        "meta_spikeformer_tiny",
        _MESH.format(2048),
        (3, 40, 40),
        {"in_chans": 3, "img_size": 40, "timesteps": 4},
        "meta_spikeformer_tiny, larger",
    ),
)
TOO_LARGE = Case("spiking_cnn_small", "mesh:width=2,height=2,neurons=64", (1, 100, 100), {"img_size": 100})


def run(repeats: int) -> list[dict[str, Any]]:
    """Compile each network; of up to three times the shortest counts."""
    return [row for case in CASES for row in compiled(case, min(repeats, 3))] + refused(TOO_LARGE)


def compiled(case: Case, repeats: int) -> list[dict[str, Any]]:
    """Return the rows of one network: seconds and memory, and the size of its program."""
    model, seconds, memory = _made(case), [], 0
    program: Program | None = None
    for _ in range(repeats):
        program = None  # its memory is free before the next is made
        reset_peak()
        started = time.process_time()
        program = compiler.compile(model, torch.zeros(1, *case.shape).double(), case.chip)
        seconds.append(time.process_time() - started)
        memory = max(memory, peak())
    assert program is not None
    cores = program.mapping.cores
    sizes = {
        "neurons": program.mapping.lowered.neurons,
        "synapses": sum(core.synapses for core in cores),
        "cores": len(cores),
    }
    return [
        figure(str(case), "time", round(min(seconds), 2), "s", SECONDS) | sizes,
        figure(str(case), "memory of the process", round(memory / 1e9, 2), "GB", GIGABYTES),
    ]


def refused(case: Case) -> list[dict[str, Any]]:
    """Return how long it takes to say that a network is far too large."""
    model, example = _made(case), torch.zeros(1, *case.shape).double()
    started, said = time.process_time(), ""
    try:
        compiler.compile(model, example, case.chip)
    except CompileError as error:
        said = str(error)
    seconds = round(time.process_time() - started, 2)
    return [figure(str(case), "refused after", seconds, "s", REFUSED_SECONDS) | {"said": said or "nothing"}]


def _made(case: Case) -> nn.Module:
    torch.manual_seed(0)
    return lively(create_model(case.model, **case.sizes)).double()
