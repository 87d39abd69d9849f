"""Whole spiking networks through a NIR file and back: the same spikes, one by one."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import compiler
import snnkit
from compiler.exchange.nir import read, write
from compiler.graph import is_neuron
from compiler.passes import simplify

pytest.importorskip("nir")
NETWORKS = {
    "spiking_cnn_small": ({"width": 8}, (1, 28, 28)),
    "sew_resnet18": ({"num_classes": 4, "img_size": 32}, (3, 32, 32)),
    "ms_resnet18": ({"num_classes": 4, "img_size": 32}, (3, 32, 32)),
}
SLOW = ("sew_resnet18", "ms_resnet18")


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in NETWORKS])
def test_every_network_that_is_carried_comes_back_spike_by_spike(name, tmp_path):
    """T = 4 in float64. A pool that counts otherwise, a residual edge lost or a constant rounded flips spikes."""
    sizes, shape = NETWORKS[name]
    torch.manual_seed(0)
    model = snnkit.create_model(name, timesteps=4, **sizes).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.6, 1.4)
            nn.init.uniform_(module.bias, 0.2, 0.9)
    graph = simplify(compiler.capture(model, torch.zeros(1, *shape))).double()
    names = write(graph, tmp_path / "a.nir", dt=1e-3).names
    back = read(tmp_path / "a.nir")
    assert back.timesteps == 4
    x = torch.rand(2, *shape, dtype=torch.float64)
    neurons = [node.output for node in graph if is_neuron(node)]
    y, spikes = compiler.interpret(graph, x, probes=neurons)
    y_back, spikes_back = compiler.interpret(back, x, probes=[names[neuron] for neuron in neurons])
    fired = 0
    for neuron in neurons:
        assert torch.equal(spikes[neuron], spikes_back[names[neuron]]), neuron
        assert str(back.type(names[neuron])) == str(graph.type(neuron))
        fired += bool(spikes[neuron].any())
    assert fired > 0.8 * len(neurons)
    torch.testing.assert_close(y, y_back, rtol=1e-12, atol=1e-12)
