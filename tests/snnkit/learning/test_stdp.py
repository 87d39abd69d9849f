"""STDP against SpikingJelly's learners and by hand.

Would break it: potentiation and depression exchanged, traces that are used before (or after) they are moved, a
convolution's patches in another order, a change that does not add up over calls.
"""

import pytest
import torch
from spikingjelly.activation_based import functional, layer, learning, neuron
from torch import nn

from snnkit.errors import InvalidArgumentError
from snnkit.learning import PairSTDP, RewardSTDP, TripletSTDP
from snnkit.neurons import IF

CASES = {
    "linear": (lambda: layer.Linear(6, 4, bias=False), (5, 3, 6)),
    "conv2d": (lambda: layer.Conv2d(2, 3, 3, stride=2, padding=1, bias=False), (5, 3, 2, 7, 6)),
    "conv1d": (lambda: layer.Conv1d(2, 3, 3, padding=1, bias=False), (5, 3, 2, 7)),
}


def spikes(*shape):
    return (torch.rand(shape, generator=torch.Generator().manual_seed(0)) < 0.4).float()


@pytest.mark.parametrize("kind", CASES)
def test_pairs_as_in_spikingjelly(kind):
    torch.manual_seed(0)
    make, shape = CASES[kind]
    synapse, node = make(), neuron.IFNode(v_threshold=0.3)
    net = nn.Sequential(synapse, node)
    functional.set_step_mode(net, "m")
    rates = {"f_pre": lambda w: (w + 1) * 0.5, "f_post": lambda w: (1 - w) * 2.0}
    theirs = learning.STDPLearner("m", synapse, node, 3.0, 5.0, **rates)
    with torch.no_grad():
        x = spikes(*shape)
        y = net(x)
    assert 0.02 < y.mean() < 0.98
    ours = PairSTDP(synapse, 3.0, 5.0, **rates)
    found = ours.observe(x, y)
    synapse.weight.grad = None
    theirs.step(on_grad=True)
    torch.testing.assert_close(found, -synapse.weight.grad, rtol=1e-5, atol=1e-5)
    assert found.abs().max() > 0.1


def test_watching_a_network_and_stepping_an_optimizer():
    torch.manual_seed(0)
    synapse, node, x = nn.Linear(6, 4), IF(v_threshold=0.4), spikes(5, 3, 6)
    rule, by_hand = PairSTDP(synapse, f_pre=0.1), PairSTDP(synapse, f_pre=0.1)
    with rule.watching(node), torch.no_grad():
        out = node(synapse(x))
        node(synapse(x.flatten(0, 1)).unflatten(0, (5, 3)))  # time folded into the batch: the same spikes again
    by_hand.observe(torch.cat([x, x]), torch.cat([out, out]))
    torch.testing.assert_close(rule.change, by_hand.change)
    before, change = synapse.weight.detach().clone(), rule.change.clone()
    assert change.abs().max() > 0
    optimizer = torch.optim.SGD([synapse.weight], lr=0.5)
    rule.step(scale=2.0)
    optimizer.step()
    torch.testing.assert_close(synapse.weight.detach(), before + change)
    assert rule.change.abs().max() == 0
    node(synapse(x))
    assert rule.change.abs().max() == 0, "nothing is seen outside of the block"


def trains(*pairs):
    x, y = zip(*pairs, strict=True)
    return torch.tensor(x).float().reshape(-1, 1, 1), torch.tensor(y).float().reshape(-1, 1, 1)


def test_pair_by_hand():
    """τ = 2: before then behind strengthens by ½; behind then before weakens by ½; two steps apart by ¼."""
    rule = PairSTDP(nn.Linear(1, 1))
    assert rule.observe(*trains((1, 0), (0, 1))).item() == 0.5
    rule.reset()
    assert rule.observe(*trains((0, 1), (1, 0))).item() == -0.5
    rule.reset()
    assert rule.observe(*trains((1, 0), (0, 0))).item() == 0.0
    assert (
        rule.observe(
            *trains(
                (0, 1),
            )
        ).item()
        == 0.25
    )
    assert rule.change.item() == 0.25


def test_triplet_by_hand():
    """post – pre – post, τ_plus = τ_minus = 2, τ_y = 4: the pair gives −½A₂⁻, then +½(A₂⁺ + A₃⁺·(¾)²)."""
    rule = TripletSTDP(nn.Linear(1, 1), 2.0, 2.0, 4.0, 4.0, a2_plus=1.0, a3_plus=2.0, a2_minus=3.0, a3_minus=5.0)
    assert rule.observe(*trains((0, 1), (1, 0))).item() == -0.5 * 3.0
    assert rule.observe(
        *trains(
            (0, 1),
        )
    ).item() == pytest.approx(0.5 * (1.0 + 2.0 * 0.75**2) - 0.0)
    rule.reset()  # pre – post – pre
    assert rule.observe(*trains((1, 0), (0, 1))).item() == 0.5
    assert rule.observe(
        *trains(
            (1, 0),
        )
    ).item() == pytest.approx(-0.5 * (3.0 + 5.0 * 0.75**2))


def test_without_triplet_terms_it_is_the_pair_rule():
    synapse, x, y = nn.Linear(4, 3), spikes(9, 2, 4), spikes(9, 2, 3)
    triplet = TripletSTDP(synapse, 3.0, 5.0, a2_plus=0.4, a3_plus=0.0, a2_minus=0.2, a3_minus=0.0)
    pair = PairSTDP(synapse, 3.0, 5.0, f_pre=0.2, f_post=0.4)
    torch.testing.assert_close(triplet.observe(x, y), pair.observe(x, y))


@pytest.mark.parametrize("kind", ["linear", "conv2d"])
def test_reward_by_its_equations(kind):
    torch.manual_seed(0)
    make, (steps, _, *rest) = CASES[kind]
    synapse, node = make(), neuron.IFNode(v_threshold=0.3)
    net = nn.Sequential(synapse, node)
    ours, pair = RewardSTDP(PairSTDP(synapse, 3.0, 5.0), 4.0), PairSTDP(synapse, 3.0, 5.0)
    x, rewards = spikes(steps, 1, *rest), torch.tensor([0.5, -1.0, 0.0, 2.0, 1.0])
    with torch.no_grad():
        y = torch.stack([net(x_t) for x_t in x])
    eligibility, expected = 0.0, 0.0
    for t in range(steps):
        eligibility = eligibility * 0.75 + pair.observe(x[t : t + 1], y[t : t + 1])
        expected = expected + rewards[t] * eligibility
    torch.testing.assert_close(ours.observe(x, y, rewards), expected)
    assert ours.rule.change.abs().max() > 0.1
    ours.step()
    torch.testing.assert_close(synapse.weight.grad, -expected)


def test_without_reward_nothing_changes():
    rule = RewardSTDP(PairSTDP(nn.Linear(4, 3)), 1.0)
    assert rule.observe(spikes(9, 2, 4), spikes(9, 2, 3), 0.0).abs().max() == 0
    x, y = spikes(3, 2, 4), spikes(3, 2, 3)
    plain = PairSTDP(rule.rule.synapse)
    rule.reset()
    torch.testing.assert_close(rule.observe(x, y, 2.0), 2.0 * plain.observe(x, y))


@pytest.mark.parametrize("mode", ["zeros", "circular", "reflect"])
@pytest.mark.parametrize("padding", ["same", "valid", (2, 1)])
def test_padding_is_the_layers(mode, padding):
    """Potentiation alone, by linearity: one spike behind the synapse adds the very patch the layer saw there."""
    layer = nn.Conv2d(1, 1, (3, 5), padding=padding, padding_mode=mode, bias=False)
    x = spikes(1, 1, 1, 7, 8)
    with torch.no_grad():
        size = layer(x[0]).shape
    post = torch.zeros(1, *size)
    post[0, 0, 0, 1, 2] = 1.0
    changed = PairSTDP(layer, f_pre=0.0).observe(x, post)
    with torch.no_grad():
        expected = layer(x[0])[0, 0, 1, 2]
    torch.testing.assert_close((changed * layer.weight).sum().detach(), expected)


def test_spikes_that_do_not_belong_together():
    rule = PairSTDP(nn.Linear(4, 3))
    for pre, post in (((5, 2, 4), (4, 2, 3)), ((5, 2, 3), (5, 2, 3)), ((5, 2, 4), (5, 3, 3)), ((5, 4), (5, 3))):
        with pytest.raises(InvalidArgumentError, match=r"observe: (pre|post) of shape"):
            rule.observe(torch.ones(pre), torch.ones(post))
    rule.observe(torch.ones(5, 2, 4), torch.ones(5, 2, 3))
    with pytest.raises(InvalidArgumentError, match=r"batch of 2, got one of 1: call reset\(\)"):
        rule.observe(torch.ones(5, 1, 4), torch.ones(5, 1, 3))
    rule.reset()
    rule.observe(torch.ones(5, 1, 4), torch.ones(5, 1, 3))
    with pytest.raises(InvalidArgumentError, match=r"one per step, \(5,\), got \(3,\)"):
        RewardSTDP(PairSTDP(nn.Linear(4, 3))).observe(torch.ones(5, 2, 4), torch.ones(5, 2, 3), torch.ones(3))


def test_bad_arguments():
    with pytest.raises(InvalidArgumentError, match="RewardSTDP"):
        RewardSTDP(nn.Linear(2, 2))
    with pytest.raises(InvalidArgumentError, match="BatchNorm1d"):
        PairSTDP(nn.BatchNorm1d(3))
    with pytest.raises(InvalidArgumentError, match="tau_pre=0.5"):
        PairSTDP(nn.Linear(2, 2), tau_pre=0.5)
    with pytest.raises(InvalidArgumentError, match="grouped"):
        PairSTDP(nn.Conv2d(4, 4, 3, groups=4))
    with pytest.raises(InvalidArgumentError, match="tau_eligibility"):
        RewardSTDP(PairSTDP(nn.Linear(2, 2)), 0.0)
