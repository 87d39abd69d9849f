"""Whole networks of other libraries, read by snnkit's importers."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from snnkit.importers import from_nir, from_snntorch, from_spikingjelly

from .case import Case

_STEPS = 4


def _spikingjelly(mode: str) -> nn.Module:
    from spikingjelly.activation_based import functional, layer, neuron

    net = nn.Sequential(
        layer.Conv2d(2, 4, 3, padding=1, bias=False),
        layer.BatchNorm2d(4),
        neuron.LIFNode(tau=1.7, v_threshold=0.5),
        layer.MaxPool2d(2),
        layer.Conv2d(4, 6, 3, padding=1),
        neuron.ParametricLIFNode(v_threshold=0.3),
        layer.AvgPool2d(2),
        layer.Flatten(),
        layer.Linear(24, 12),
        neuron.IFNode(v_reset=None, v_threshold=0.3),
        layer.Linear(12, 5),
        neuron.KLIFNode(v_threshold=0.3),
    )
    functional.set_step_mode(net, mode)
    return from_spikingjelly(net.eval(), torch.randn(3, 2, 2, 8, 8))


def _spikformer() -> nn.Module:
    from spikingjelly.activation_based.model.spikformer import Spikformer

    sizes = {"img_size_h": 32, "img_size_w": 32, "embed_dims": 32, "num_heads": 2, "depths": 1}
    return from_spikingjelly(Spikformer(T=_STEPS, num_classes=3, **sizes).eval())


def _spiking_resnet() -> nn.Module:
    from spikingjelly.activation_based import functional, neuron
    from spikingjelly.activation_based.model.sew_resnet import BasicBlock, SEWResNet

    net = SEWResNet(BasicBlock, [1, 1, 1, 1], num_classes=3, cnf="ADD", spiking_neuron=neuron.IFNode)
    functional.set_step_mode(net, "m")
    ours = from_spikingjelly(net.eval())
    ours.avgpool.step_mode = "m"  # its forward asks for it
    return ours


def _snntorch() -> nn.Module:
    import snntorch

    net = nn.Sequential(
        nn.Conv2d(1, 4, 3),
        snntorch.Leaky(beta=0.5, init_hidden=True, threshold=0.3),
        nn.Flatten(),
        nn.Linear(144, 8),
        snntorch.Synaptic(alpha=0.5, beta=torch.linspace(0.3, 0.8, 8), init_hidden=True, threshold=0.3),
        nn.Linear(8, 5),
        snntorch.Leaky(beta=0.8, init_hidden=True, reset_mechanism="zero", threshold=0.2, output=True),
    )
    return from_snntorch(net, torch.randn(3, 2, 1, 8, 8))


def _snntorch_recurrent() -> nn.Module:
    import snntorch

    net = nn.Sequential(
        nn.Linear(6, 8),
        snntorch.RSynaptic(alpha=0.5, beta=0.7, linear_features=8, init_hidden=True, threshold=0.4),
        nn.Linear(8, 8),
        snntorch.Lapicque(beta=0.9, init_hidden=True, threshold=0.1),
        nn.Linear(8, 4),
        snntorch.Alpha(alpha=0.9, beta=0.5, init_hidden=True, threshold=0.05, output=True),
    )
    return from_snntorch(net, torch.randn(3, 2, 6) * 2)


def nir_graph(recurrent: bool = False) -> object:
    """A NIR network: linear, LIF, linear, IF, with or without feedback around the first neurons."""
    nir = pytest.importorskip("nir")
    generator = np.random.default_rng(0)

    def weights(rows: int, columns: int, scale: float = 1.0) -> np.ndarray:
        return (scale * generator.standard_normal((rows, columns))).astype(np.float32)

    def each(value: float, count: int) -> np.ndarray:
        return np.full(count, value, np.float32)

    nodes = {
        "input": nir.Input(np.array([6])),
        "one": nir.Affine(weights(5, 6), weights(1, 5, 0.1)[0]),
        "lif": nir.LIF(tau=each(2.5, 5), r=each(2.5, 5), v_leak=each(0, 5), v_threshold=each(0.8, 5)),
        "two": nir.Linear(weights(4, 5)),
        "if": nir.IF(r=each(1, 4), v_threshold=each(1, 4)),
        "output": nir.Output(np.array([4])),
    }
    names = list(nodes)
    edges = list(itertools.pairwise(names))
    if recurrent:
        nodes["back"] = nir.Linear(weights(5, 5, 0.5))
        edges += [("lif", "back"), ("back", "lif")]
    return nir.NIRGraph(nodes, edges, type_check=False)


_NETWORKS = {
    "spikingjelly single step": (lambda: _spikingjelly("s"), (2, 8, 8)),
    "spikingjelly multi step": (lambda: _spikingjelly("m"), (2, 8, 8)),
    "spikingjelly spikformer": (_spikformer, (3, 32, 32)),
    "spikingjelly sew resnet": (_spiking_resnet, (3, 32, 32)),
    "snntorch": (_snntorch, (1, 8, 8)),
    "snntorch recurrent": (_snntorch_recurrent, (6,)),
    "nir": (lambda: from_nir(nir_graph()), (6,)),
    "nir recurrent": (lambda: from_nir(nir_graph(recurrent=True)), (6,)),
}

IMPORTED = [Case(name, name.split()[0], build, (shape,), _STEPS) for name, (build, shape) in _NETWORKS.items()]
