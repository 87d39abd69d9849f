"""Translating SpikingJelly 2.0: neurons, layers, networks in both step modes, and what the report says.

Would break it: a reset that is not detached as the original's, a surrogate of another steepness, weights that are not
the original's, state that survives a call, a report that does not notice a difference.
"""

import pytest
import torch
from spikingjelly.activation_based import functional, layer, neuron, surrogate
from torch import nn

import snnkit
from snnkit.errors import InvalidArgumentError, UnknownNameError
from snnkit.importers import from_spikingjelly
from snnkit.importers import spikingjelly as importer
from snnkit.memory.chunks import in_chunks

X = torch.randn(6, 3, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def network():
    torch.manual_seed(1)
    return nn.Sequential(
        layer.Conv2d(1, 4, 3, padding=1),
        layer.BatchNorm2d(4),
        neuron.LIFNode(tau=1.7, surrogate_function=surrogate.ATan(), v_threshold=0.5),
        layer.MaxPool2d(2),
        layer.Flatten(),
        layer.Linear(64, 5),
        neuron.IFNode(v_reset=None, v_threshold=0.3, detach_reset=True),
    )


def original(net, x, mode):
    functional.reset_net(net)
    return torch.stack([net(x_t) for x_t in x]) if mode == "s" else net(x)


@pytest.mark.parametrize("mode", ["s", "m"])
def test_a_network_gives_the_same_spikes_and_gradients(mode):
    net = network()
    functional.set_step_mode(net, mode)
    ours = from_spikingjelly(net.eval(), X)
    assert ours.import_report.whole == 0.0
    results = []
    for run, parameters in ((lambda: original(net, X, mode), net), (lambda: ours(X), ours)):
        out = run()
        assert 0.05 < out.mean() < 0.95
        (out * torch.linspace(-1, 1, out.numel()).view_as(out)).sum().backward()
        results.append((out.detach(), [p.grad for p in parameters.parameters()]))
    assert torch.equal(results[0][0], results[1][0])
    for a, b in zip(results[0][1], results[1][1], strict=True):
        assert a.abs().max() > 1e-4
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
    assert torch.equal(ours(X), ours(X)), "a call starts at rest"


@pytest.mark.parametrize("mode", ["s", "m"])
def test_a_stream_goes_on_where_it_was(mode):
    net = network()
    functional.set_step_mode(net, mode)
    ours = from_spikingjelly(net.eval(), X)
    whole = ours(X)
    stream = snnkit.Stream(ours)
    assert torch.equal(torch.stack([stream.step(x_t) for x_t in X]), whole)
    assert {name.rsplit(".", 1)[1] for name in stream.state} == {"v"}
    assert len(stream.state) == 2
    stream.reset()
    assert torch.equal(torch.cat([stream.run(X[:2]), stream.run(X[2:])]), whole)
    assert torch.equal(ours(X), whole), "a call without the stream starts at rest"
    assert not torch.equal(torch.cat([ours(x_t.unsqueeze(0)) for x_t in X]), whole), "steps at rest differ"
    with pytest.raises(InvalidArgumentError, match="batch size"):
        stream.step(X[0, :2])
    assert torch.equal(in_chunks(ours, ours, X, 3), whole)


def test_multi_step_networks_keep_their_keys_and_share_nothing():
    net = network()
    functional.set_step_mode(net, "m")
    ours = from_spikingjelly(net)
    assert list(ours.state_dict()) == list(net.state_dict())
    before = ours(X)
    with torch.no_grad():
        net[0].weight.add_(1.0)
    assert torch.equal(ours(X), before)
    assert not any(type(part).__module__.startswith("spikingjelly") for part in ours.modules())


def test_containers_bridge_the_step_modes():
    torch.manual_seed(0)
    net = nn.Sequential(
        layer.SeqToANNContainer(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)),
        layer.MultiStepContainer(neuron.LIFNode(tau=3.0, v_threshold=0.4), nn.Flatten()),
        layer.SeqToANNContainer(nn.Linear(72, 3)),
    ).eval()
    ours = from_spikingjelly(net, X)
    assert ours.import_report.whole == 0.0
    assert list(ours.state_dict()) == list(net.state_dict())


def test_spikformer_is_translated():
    from spikingjelly.activation_based.model.spikformer import Spikformer

    torch.manual_seed(0)
    net = Spikformer(T=4, img_size_h=32, img_size_w=32, num_classes=3, embed_dims=32, num_heads=2, depths=1).eval()
    for part in net.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            part.running_var.fill_(0.02)
            nn.init.constant_(part.bias, 1.0)
    ours = from_spikingjelly(net)
    x = torch.rand(2, 3, 32, 32)
    functional.reset_net(net)
    with torch.no_grad():
        expected, got = net(x), ours(x)
    assert expected.std() > 1e-3
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-6)
    assert "SpikingSelfAttention" in ours.import_report.kept


def test_the_report_notices_a_wrong_translation(monkeypatch):
    from snnkit.neurons import LIF

    monkeypatch.setitem(importer._NEURONS, "LIFNode", lambda module: (LIF(tau=module.tau + 1), ()))
    report = from_spikingjelly(neuron.LIFNode(tau=2.0)).import_report
    assert report.max_mismatch == 1.0
    assert "mismatch 1" in str(report)


def test_what_cannot_be_translated_is_named():
    class ATan(surrogate.SurrogateFunctionBase):
        """Not the library's, though it is called so."""

    with pytest.raises(UnknownNameError, match=r"1 \(IFNode\).*'ATan'.*test_from_spikingjelly's own"):
        from_spikingjelly(nn.Sequential(nn.Linear(4, 4), neuron.IFNode(surrogate_function=ATan(2.0))))
    with pytest.raises(InvalidArgumentError, match="set_step_mode"):
        from_spikingjelly(nn.Sequential(layer.Linear(4, 4, step_mode="m"), neuron.IFNode()))
    with pytest.raises(InvalidArgumentError, match="spiking=False"):
        from_spikingjelly(neuron.IFNode(surrogate_function=surrogate.ATan(spiking=False)))


def test_a_momentary_neuron_learns_as_the_original():
    """Its spikes are LIF's and only its gradient is not, which no comparison of spikes would notice."""
    theirs = neuron.SLTTLIFNode(tau=2.5, surrogate_function=surrogate.ATan())
    ours = from_spikingjelly(theirs)
    x = torch.randn(6, 3, 4, generator=torch.Generator().manual_seed(0)) * 2
    a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
    weight = torch.randn(6, 3, 4)
    (torch.stack([theirs(x_t) for x_t in a]) * weight).sum().backward()
    (ours(b) * weight).sum().backward()
    assert a.grad.abs().max() > 0.01
    torch.testing.assert_close(b.grad, a.grad)
    assert any("SLTT" in text for text in ours.import_report.conventions)


def test_another_window_of_the_gradient_is_refused():
    counts = surrogate.MultiLevelSpikeCount
    with pytest.raises(InvalidArgumentError, match="grad_window"):
        from_spikingjelly(neuron.ILIFNode(surrogate_function=counts(4, grad_window=(0.5, 3.0))))
    assert from_spikingjelly(neuron.ILIFNode(surrogate_function=counts(6, grad_window=(0, 6)))).levels == 6
    with pytest.raises(InvalidArgumentError, match="NoneType"):
        from_spikingjelly(None)


NODES = {
    "IFNode": lambda: neuron.IFNode(v_threshold=0.7, v_reset=-0.2, detach_reset=True),
    "LIFNode": lambda: neuron.LIFNode(tau=3.0, decay_input=False, v_reset=None),
    "ParametricLIFNode": lambda: neuron.ParametricLIFNode(init_tau=1.5),
    "SLTTLIFNode": lambda: neuron.SLTTLIFNode(tau=2.5),
    "QIFNode": lambda: neuron.QIFNode(),
    "EIFNode": lambda: neuron.EIFNode(),
    "IzhikevichNode": lambda: neuron.IzhikevichNode(),
    "KLIFNode": lambda: neuron.KLIFNode(),
    "CUBALIFNode": lambda: neuron.CUBALIFNode(),
    "ILIFNode": lambda: neuron.ILIFNode(),
    "ComplementaryLIFNode": lambda: neuron.ComplementaryLIFNode(),
    "TernaryIFNode": lambda: neuron.TernaryIFNode(),
    "TernaryLIFNode": lambda: neuron.TernaryLIFNode(),
    "PSN": lambda: neuron.PSN(T=6),
    "MaskedPSN": lambda: neuron.MaskedPSN(k=2, T=6, lambda_init=1.0, step_mode="m"),
    "SlidingPSN": lambda: neuron.SlidingPSN(k=2, step_mode="m"),
    "GatedLIFNode": lambda: neuron.GatedLIFNode(T=6),
    "NonSpikingLIFNode": lambda: neuron.NonSpikingLIFNode(),
    "STBIFNode": lambda: neuron.STBIFNode(q_threshold=0.3, level=8),
}


@pytest.mark.parametrize("kind", sorted(importer._NEURONS))
def test_every_neuron_that_is_listed(kind):
    ours = from_spikingjelly(NODES[kind]())
    report = ours.import_report
    assert report.layers[0].mismatch is not None
    assert report.max_mismatch <= 1e-6, report
    assert report.conventions
