"""NeuroBench's metrics on common networks: ours under its definitions, the definitions by hand, and NeuroBench itself.

Its own run needs its folder (`make peers`). Would break it: padding counted as dense, biases as operations, steps or
samples divided twice, states that hang on a batch in the footprint.
"""

import copy
import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import compiler
from hw.energy import neurobench
from snnkit.importers import from_snntorch
from snnkit.layers import over_time
from snnkit.neurons import IF

pytest.importorskip("snntorch")
from snntorch import utils
from support.snntorch_networks import BATCH, INPUTS, SHAPES, STEPS, frames, network

ROOT = Path(__file__).parents[3]
CASES = [(name, kind) for name in SHAPES for kind in INPUTS]


@functools.cache
def counted(name, kind):
    """Counts of the network, imported."""
    given = "binary" if kind == "spikes" else "real"
    return compiler.count(from_snntorch(network(name)), [frames(name, kind)], input_type=given)


def by_definition(name, kind, zeros=0.0):
    """Run the network in snnTorch and apply NeuroBench's definitions: layers and inputs of ones, summed outputs."""
    net, x = network(name, zeros), frames(name, kind)
    utils.reset(net)
    macs = acs = dense = nonzero = outputs = 0

    def watch(layer, given, out):
        nonlocal macs, acs, dense
        ones = copy.deepcopy(layer)
        ones._forward_hooks.clear()
        if ones.bias is not None:
            ones.bias.data.zero_()
        ones.weight.data = (layer.weight != 0).float()
        values = given[0]
        done = float(ones((values != 0).float()).sum())
        if bool(((values == 0) | (values.abs() == 1)).all()):
            acs += done
        else:
            macs += done
        ones.weight.data.fill_(1.0)
        dense += float(ones(torch.ones_like(values)).sum())

    def fired(layer, given, out):
        nonlocal nonzero, outputs
        spikes = out[0] if isinstance(out, tuple) else out
        nonzero, outputs = nonzero + int((spikes != 0).sum()), outputs + spikes.numel()

    for layer in net:
        if isinstance(layer, (nn.Linear, nn.Conv2d)):
            layer.register_forward_hook(watch)
        elif not isinstance(layer, nn.Flatten):
            layer.register_forward_hook(fired)
    with torch.no_grad():
        for step in x:
            net(step)
    done = {"Effective_MACs": macs / BATCH, "Effective_ACs": acs / BATCH, "Dense": dense / BATCH}
    return done, (outputs - nonzero) / outputs


@functools.cache
def neurobench_said():
    """What NeuroBench says of every case, in one process of its own."""
    folder = Path(os.environ.get("SNNKIT_NEUROBENCH", ROOT / ".venv-neurobench"))
    if not (folder / "neurobench").is_dir():
        pytest.skip(f"NeuroBench is not in {folder.name}: make peers")
    path = os.pathsep.join([str(folder), str(ROOT / "tests")])
    cases = [f"{name}/{kind}/0" for name, kind in CASES] + ["linear/spikes/0.3"]
    command = [sys.executable, str(ROOT / "tests" / "processes" / "neurobench_metrics.py"), *cases]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path}, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def live(name, kind, zeros="0"):
    return neurobench_said()[f"{name}/{kind}/{zeros}"]


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_by_its_definitions(name, kind):
    operations, sparsity = by_definition(name, kind)
    found = neurobench.synaptic_operations(counted(name, kind))
    assert found.to_dict() == pytest.approx(operations, rel=1e-12)
    assert found.approximate == ()
    assert (operations["Effective_MACs"] > 0) == (kind == "real")
    assert 0 < operations["Effective_ACs"] < operations["Dense"]
    assert neurobench.activation_sparsity(counted(name, kind)) == pytest.approx(sparsity, rel=1e-12)
    assert 0.1 < sparsity < 0.9


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_against_neurobench(name, kind):
    said = live(name, kind)
    counts, net = counted(name, kind), network(name)
    assert neurobench.synaptic_operations(counts).to_dict() == pytest.approx(said["synaptic_operations"], rel=1e-12)
    assert neurobench.activation_sparsity(counts) == pytest.approx(said["activation_sparsity"], rel=1e-12)
    assert neurobench.connection_sparsity(net) == said["connection_sparsity"]
    assert neurobench.footprint(net) == said["footprint"]
    assert sum(p.numel() for p in net.parameters()) == said["parameters"]


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_membrane_updates(name, kind):
    """Theirs compare a membrane before and after a call: whatever leaks or gets input has changed, not what fired."""
    said = live(name, kind)["membrane_updates"]
    counts = counted(name, kind)
    found = neurobench.membrane_updates(counts)
    assert found.low < said <= found.high == counts.total("neuron_updates")
    assert said > 0.95 * found.nominal  # those without bias and input rest
    assert said > 2 * counts.total("resets")


# Where its definitions are blind.


def test_a_footprint_holds_a_batch():
    """Buffers after a run hold a state for every sample: the footprint grows with the batch."""
    said = live("linear", "spikes")
    assert said["footprint_after"] - said["footprint"] == 4 * BATCH * (9 + 6 + 4)


def test_zero_weights_are_skipped_by_theirs_alone():
    """Operations of weights that are zero: counts do not look at weights, and say so."""
    theirs = by_definition("linear", "spikes", zeros=0.3)[0]
    assert theirs == pytest.approx(live("linear", "spikes", "0.3")["synaptic_operations"], rel=1e-12)
    net = network("linear", 0.3)
    ours = neurobench.synaptic_operations(compiler.count(from_snntorch(net), [frames("linear", "spikes")], "binary"))
    assert ours.dense == theirs["Dense"]
    assert ours.effective_acs > theirs["Effective_ACs"]
    assert neurobench.connection_sparsity(net) == live("linear", "spikes", "0.3")["connection_sparsity"] > 0.2


class Attending(nn.Module):
    """A layer, and a product of spikes with spikes, which no hook on modules sees."""

    def __init__(self):
        super().__init__()
        self.q, self.k, self.q_if, self.k_if = nn.Linear(6, 8), nn.Linear(6, 8), IF(0.3), IF(0.3)

    def forward(self, x):
        return self.q_if(over_time(self.q, x)) @ self.k_if(over_time(self.k, x)).transpose(-2, -1)


def test_attention_is_in_none_of_its_metrics():
    torch.manual_seed(0)
    x = (torch.rand(STEPS, BATCH, 10, 6) < 0.5).float()
    counts = compiler.count(Attending().eval(), [x], input_type="binary")
    products = [layer for layer in counts.per_layer if layer.kind == "product"]
    assert sum(layer.dense_macs for layer in products) == STEPS * 10 * 10 * 8
    found = neurobench.synaptic_operations(counts)
    assert found.dense == counts.total("dense_macs") - STEPS * 10 * 10 * 8
    assert found.effective_acs == counts.total("ac") - sum(layer.ac for layer in products) < counts.total("ac")


def test_levels_are_one_multiplication_to_it():
    """Counts of spikes are no spikes: what adds a weight three times is one multiply-accumulate."""
    x = torch.tensor([[0.0, 1.0, 3.0, 0.0, 2.0]])
    counts = compiler.count(nn.Linear(5, 7), [x], input_type="integer[0,3]")
    assert counts.total("ac") == 6 * 7
    found = neurobench.synaptic_operations(counts)
    assert (found.effective_macs, found.effective_acs, found.dense) == (pytest.approx(3 * 7), 0, 35)
    assert len(found.approximate) == 1
