"""Counts in training mode are what torch does in it.

Would break it: norms that see what those before them made with stored statistics, statistics of one step of T, a graph
whose own numbers change, batches that share their statistics.
"""

import copy

import pytest
import torch

import compiler
import snnkit
from compiler.auditing.elsewhere import in_training_mode
from compiler.conventions import Conventions
from compiler.passes import simplify


@pytest.mark.parametrize("sizes", [(8,), (5, 3)])
def test_training_mode_is_that_of_torch(sizes):
    """Four norms in a row, each with the statistics of its batch over all steps: every spike of the module's own."""
    torch.manual_seed(0)
    model = snnkit.create_model("spiking_cnn_small", img_size=12, num_classes=4, timesteps=3, dropout=0.0).eval()
    batches = list(torch.split(torch.rand(8, 1, 12, 12), sizes))
    graph = compiler.capture(model, batches[0][:1])
    before = compiler.count(simplify(graph), batches)
    found = in_training_mode(graph, batches, Conventions())
    spikes = 0
    for x in batches:
        trained = copy.deepcopy(model).train()
        with torch.no_grad(), snnkit.record(trained) as tape:
            trained(x)
        spikes += sum(tape.spike_counts.values())
    assert found.total("spikes") == pytest.approx(spikes / 8, rel=1e-3)  # a membrane at its threshold may round over it
    assert abs(found.total("spikes") / before.total("spikes") - 1) > 0.05
    assert compiler.count(simplify(graph), batches).total("spikes") == before.total("spikes")
    assert (found.images, found.total("dense_macs")) == (8, before.total("dense_macs"))
