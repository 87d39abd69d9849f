"""NaN is found where it arises, and neurons train alike in one process and in two.

Would break it: a NaN that the threshold hides, a layer that is blamed for what came into it, gradients that two
processes do not average, a neuron that cannot be sent to another process.
"""

import os
import tempfile

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import snnkit
from snnkit.engine.fabric import leave_group
from snnkit.errors import NonFiniteError
from snnkit.layers.sequence import Linear
from snnkit.neurons import IF, LIF, GatedLIF, ParametricLIF


def network():
    torch.manual_seed(0)
    return nn.Sequential(Linear(5, 8), LIF(), Linear(8, 8), ParametricLIF(v_threshold=0.3), Linear(8, 6), IF())


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize(("layer", "name"), [(0, "1"), (2, "3"), (4, "5")])
def test_the_first_layer_that_holds_it_is_named(layer, name, bad):
    net, x = network(), torch.randn(4, 3, 5)
    with torch.no_grad():
        net[layer].weight[2, 1] = bad
        net[layer].bias[2] = bad
    assert torch.isfinite(net(x)).all() or bad > 0, "a spiking layer hides it"
    kind = type(net[int(name)]).__name__
    with pytest.raises(NonFiniteError, match=f"layer '{name}' \\({kind}\\) holds NaN"), snnkit.detect_nan(net):
        net(x)
    with pytest.raises(NonFiniteError, match=f"layer '{name}'"):
        snnkit.Stream(net).step(x[0])


def test_a_sound_network_runs_as_ever_and_nothing_stays_behind():
    net, x = network(), torch.randn(4, 3, 5)
    expected = net(x)
    with snnkit.detect_nan(net):
        assert torch.equal(net(x), expected)
        net(x[:, :2])  # each call starts anew
        net(x).sum().backward()
    assert not net._forward_hooks
    assert not net._forward_pre_hooks
    with torch.no_grad():
        net[0].bias[0] = float("nan")
    net(x)


def test_an_error_inside_leaves_no_stream_open():
    net = network()
    with pytest.raises(RuntimeError, match="shapes"), snnkit.detect_nan(net):
        net(torch.randn(4, 3, 7))
    assert net(torch.randn(4, 3, 5)).shape == (4, 3, 6)


def train(rank, size, rendezvous, folder):
    if size > 1:
        dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=size)
    torch.manual_seed(0)
    net = nn.Sequential(network(), GatedLIF(4), Linear(6, 3))
    model = DistributedDataParallel(net) if size > 1 else net
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    x = torch.randn(3, 4, 8, 5, generator=torch.Generator().manual_seed(1))
    for batch in x:
        optimizer.zero_grad()
        model(batch.chunk(size, 1)[rank]).square().mean().backward()
        optimizer.step()
    torch.save({name: p.detach() for name, p in net.named_parameters()}, os.path.join(folder, f"{size}-{rank}.pt"))
    if size > 1:
        leave_group()


@pytest.mark.slow
def test_two_processes_are_one():
    with tempfile.TemporaryDirectory() as folder:
        train(0, 1, None, folder)
        mp.spawn(train, args=(2, os.path.join(folder, "meet"), folder), nprocs=2)
        one, first, second = (torch.load(os.path.join(folder, f"{name}.pt")) for name in ("1-0", "2-0", "2-1"))
    start = dict(nn.Sequential(network()).named_parameters())
    assert (one["0.0.weight"] - start["0.0.weight"]).abs().max() > 1e-4
    for name, value in one.items():
        assert torch.equal(first[name], second[name]), name
        torch.testing.assert_close(first[name], value, rtol=1e-4, atol=1e-6)
