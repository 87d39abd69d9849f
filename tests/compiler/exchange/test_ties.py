"""Membranes exactly at the threshold: neuron, graph, and both readers of its NIR file fire alike, in float64.

Would break it: a decay of 0.30000000000000004, or a gain of 0.99999998, where a file's rounding was taken at its word.
"""

import numpy as np
import pytest
import torch
from torch import nn

import compiler
from snnkit.importers import from_nir
from snnkit.neurons import CuBaLIF

STEPS = 60
DECAYS = (0.25, 0.125, 0.3)


@pytest.fixture(scope="module", autouse=True)
def package():
    pytest.importorskip("nir")


@pytest.mark.parametrize(("threshold", "v_reset"), [(0.25, 0.0), (1.0, 0.0), (0.75, -0.25)])
@pytest.mark.parametrize("current_decay", [0.5, 0.2, 0.3])
def test_ties_of_the_current_based_neuron(current_decay, threshold, v_reset, tmp_path):
    """Inputs in quarters reach thresholds exactly."""
    from compiler.exchange import nir

    x = torch.from_numpy(np.random.default_rng(0).choice([0, 0.25, 0.5, 1.0, -0.25], size=(STEPS, 1, 8)))
    spikes = 0
    for voltage_decay in DECAYS:
        net = nn.Sequential(CuBaLIF(current_decay, voltage_decay, threshold, v_reset)).double()
        graph = compiler.capture(net, x[:, :1])
        nir.write(graph, tmp_path / "n.nir")
        wanted = net(x)
        spikes += int(wanted.sum())
        read = compiler.interpret(nir.read(tmp_path / "n.nir", timesteps=STEPS).double(), x)[0]
        for name, found in {
            "graph": compiler.interpret(graph, x)[0],
            "graph of the file": read,
            "network of the file": from_nir(tmp_path / "n.nir").double()(x),
        }.items():
            assert torch.equal(found, wanted), (name, voltage_decay)
    assert spikes > 200


def test_a_file_of_foreign_numbers_fires_above_its_threshold(tmp_path):
    """NIR's own equations, v > v_threshold, in plain NumPy; powers of two meet the threshold exactly."""
    import nir

    from compiler.exchange import nir as exchange

    tau_mem, tau_syn, threshold, dt, ones = 2.0, 4.0, 0.25, 1.0, np.ones(8)
    constants = {"tau_mem": tau_mem, "tau_syn": tau_syn, "r": 1, "v_leak": 0, "v_threshold": threshold, "w_in": 1}
    node = nir.CubaLIF(**{key: value * ones for key, value in (constants | {"v_reset": 0}).items()})
    ends = {"input": nir.Input(np.array([8])), "n": node, "output": nir.Output(np.array([8]))}
    nir.write(tmp_path / "n.nir", nir.NIRGraph(ends, [("input", "n"), ("n", "output")]))
    x = np.random.default_rng(0).choice([0, 0.25, 0.5, 1.0, 2.0], size=(STEPS, 1, 8))
    i, v, wanted, ties = np.zeros((1, 8)), np.zeros((1, 8)), [], 0
    for x_t in x:
        i = i + dt / tau_syn * (x_t - i)
        v = v + dt / tau_mem * (i - v)
        ties += int((v == threshold).sum())
        wanted.append(v > threshold)
        v = np.where(wanted[-1], 0.0, v)
    assert ties
    graph = exchange.read(tmp_path / "n.nir", timesteps=STEPS, dt=dt)
    made = from_nir(tmp_path / "n.nir", dt=dt)
    for found in (compiler.interpret(graph.double(), torch.from_numpy(x))[0], made.double()(torch.from_numpy(x))):
        assert np.array_equal(found.detach().numpy(), np.stack(wanted))
