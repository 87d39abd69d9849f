"""Synaptic operations while a network runs: equal to compiler.count, to brute force, and with the right gradients.

Would break it: a border, stride or group that is not respected, a sum of two spikes that counts as one or as real, a
level that counts once, one operand of a product forgotten, a currents' multiply-accumulate that is counted, or what
someone else does with the spikes that he listens to.
"""

import itertools
import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import compiler
import snnkit
from snnkit.errors import InvalidArgumentError, UnknownNameError
from snnkit.layers.sequence import Conv1d, Conv2d, Conv3d, ConvTranspose2d, over_time
from snnkit.models.registry import families
from snnkit.neurons import IF, ILIF, LIF, MultiSpike, Recurrent, TernaryIF, Tracer
from snnkit.synapses import Meter


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def firing(card):
    """A family's tiny network whose norms have seen data and let every layer fire, and images for it."""
    model = snnkit.create_model(**card.tiny).train()
    side = card.tiny.get("img_size", 32)
    images = torch.randn(2, card.tiny.get("in_chans", 3), *((side, side) if isinstance(side, int) else side))
    for norm in model.modules():
        if isinstance(norm, nn.modules.batchnorm._BatchNorm) and norm.weight is not None:
            norm.momentum = None
            nn.init.constant_(norm.weight, 2.0)
    with torch.no_grad():
        for _ in range(2):
            model(images)
    return model.eval(), images


def total(meter):
    return float(meter.total().detach())


def metered(model, *inputs, **settings):
    with Meter(model, **settings) as meter:
        model(*inputs)
    return meter


CHEAPEST = ("spiking_cnn", "sew_resnet", "ms_resnet", "spikformer", "spike_driven_transformer", "e_spikeformer_large")
"""One of every kind: convolutional, sums of spikes, both kinds of attention, graded spikes. All others agree too."""


@pytest.mark.parametrize("card", [c for c in families() if c.name in CHEAPEST], ids=lambda card: card.name)
def test_spiking_families_agree_with_the_counter(card):
    model, images = firing(card)
    with torch.no_grad():
        meter = metered(model, images)
    counted = compiler.count(model, [images]).total("synaptic_events")
    assert counted > 100
    assert total(meter) / 2 == pytest.approx(counted, rel=1e-6)
    assert sum(number for _, number in meter.functions) == pytest.approx(total(meter), rel=1e-6)


class Own(nn.Module):
    """Neurons, then a function of what each sends: (T, B, …) currents in."""

    def __init__(self, function, *neurons, layer=None):
        super().__init__()
        self.neurons, self.function = nn.ModuleList(neurons), function
        self.layer = layer

    def forward(self, *currents):
        self.sent = [neuron(x) for neuron, x in zip(self.neurons, itertools.cycle(currents), strict=False)]
        for spikes in self.sent:
            if spikes.requires_grad:
                spikes.retain_grad()
        return self.function(*self.sent)


CONVS = [
    (Conv2d(4, 6, 3), (7, 5)),
    (Conv2d(4, 6, 3, stride=2, padding=1), (8, 7)),
    (Conv2d(4, 8, (3, 2), stride=(1, 3), padding=(2, 0), dilation=(2, 1), groups=4), (9, 8)),
    (Conv2d(4, 4, 4, padding="same"), (6, 6)),
    (Conv2d(4, 4, 2, padding="valid", groups=2), (5, 6)),
    (Conv1d(4, 3, 5, stride=2, padding=3), (11,)),
    (Conv3d(4, 2, 2, padding=1, stride=2), (3, 4, 5)),
    (ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2), (5, 4)),
    (ConvTranspose2d(4, 2, 2, dilation=2, padding=1), (4, 6)),
    (nn.Linear(6, 11), (3, 6)),
]


@pytest.mark.parametrize(("layer", "space"), CONVS, ids=lambda one: str(one))
def test_fan_out_and_its_gradient_by_brute_force(layer, space):
    """All weights set to 1, every output adds up the units that reach it."""
    layer.bias = None
    model = Own(layer, IF(v_threshold=0.5))
    currents = torch.rand(2, 3, 4, *space, requires_grad=True)
    meter = metered(model, currents)
    (spikes,) = model.sent
    ones = spikes.detach().requires_grad_()
    nn.init.ones_(layer.weight)
    reached = layer(ones).sum()
    (wanted,) = torch.autograd.grad(reached, ones)
    assert 0 < total(meter) == float(reached.detach())
    (3 * meter.total()).backward()
    assert torch.equal(spikes.grad, 3 * wanted)
    assert currents.grad.abs().sum() > 0  # through the surrogate
    assert meter.dense == float(wanted.sum())


@pytest.mark.parametrize(
    ("neuron", "level"),
    [
        (ILIF(levels=4), lambda s: s.abs() * 4),
        (MultiSpike(levels=3), lambda s: s.abs() * 3),
        (TernaryIF(), torch.abs),
    ],
    ids=["ILIF", "MultiSpike", "TernaryIF"],
)
def test_levels_count_as_often_as_they_say(neuron, level):
    _, _, _, scale = neuron.sends()
    model = Own(nn.Linear(8, 5, bias=False), neuron)
    currents = (4 * torch.randn(3, 2, 8)).requires_grad_()
    meter = metered(model, currents)
    (spikes,) = model.sent
    units = (spikes.detach().abs() / scale).round()
    assert units.max() > 1 or neuron.sends()[1] < 0
    assert total(meter) == pytest.approx(5 * float(units.sum()))
    meter.total().backward()
    slope = torch.where(spikes < 0, -1.0, 1.0) if neuron.sends()[1] >= 0 else spikes.detach().sign()
    assert torch.allclose(spikes.grad, 5 / scale * slope)


def test_powers_of_two_are_one_operation_each():
    neuron = Tracer(scale=0.25, low=-8, high=8, max_exponent=3)
    assert neuron.sends()[0] == "pow2"
    model = Own(nn.Linear(8, 5, bias=False), neuron)
    meter = metered(model, (3 * torch.randn(4, 2, 8)).requires_grad_())
    (sent,) = model.sent
    assert sent.abs().unique().numel() > 2
    assert total(meter) == 5 * int(sent.count_nonzero())


def spikes_of(*shapes):
    return [torch.rand(shape, requires_grad=True) * 1.2 for shape in shapes]


PRODUCTS = {
    "matmul": (lambda x, y: x @ y, "tbnk,tbkm->", (2, 3, 4, 5), (2, 3, 5, 6)),
    "bmm": (lambda x, y: torch.bmm(x[0], y[0]), "tbnk,tbkm->", (1, 3, 4, 5), (1, 3, 5, 6)),
    "einsum": (
        lambda x, y: torch.einsum("tbhn,tbhm->tbnm", x, y),
        "tbhn,tbhm->",
        (2, 3, 4, 5),
        (2, 3, 4, 6),
    ),
    "mul": (lambda x, y: x * y, "tbn,tbn->", (2, 3, 5), (2, 3, 5)),
}


@pytest.mark.parametrize("name", PRODUCTS)
def test_both_operands_of_a_product_count(name):
    function, equation, *shapes = PRODUCTS[name]
    model = Own(function, IF(v_threshold=0.5), IF(v_threshold=0.5))
    meter = metered(model, *spikes_of(*shapes))
    one, other = (spikes.detach().requires_grad_() for spikes in model.sent)
    met = torch.einsum(equation, one, other)
    assert 0 < total(meter) == float(met.detach())
    assert meter.dense == float(torch.einsum(equation, torch.ones_like(one), torch.ones_like(other)))
    meter.total().backward()
    for spikes, wanted in zip(model.sent, torch.autograd.grad(met, (one, other)), strict=True):
        assert torch.equal(spikes.grad, wanted)


def test_an_event_that_meets_a_real_signal_counts_once_for_every_value():
    """q of spikes, k real; then the softmax, whose real weights meet spikes of v."""
    model = Own(lambda q, v: F.scaled_dot_product_attention(q, model.k, v), IF(v_threshold=0.5), IF(v_threshold=0.5))
    model.k = torch.randn(2, 3, 6, 5)
    meter = metered(model, *spikes_of((2, 3, 4, 5), (2, 3, 6, 7)))
    q, v = model.sent
    assert total(meter) == 6 * float(q.detach().sum()) + 4 * float(v.detach().sum())


def test_attention_as_one_function_is_its_products():
    model = Own(lambda q, k, v: F.scaled_dot_product_attention(q, k, v), *(IF(v_threshold=0.5) for _ in range(3)))
    meter = metered(model, *spikes_of((2, 3, 4, 5), (2, 3, 6, 5), (2, 3, 6, 7)))
    q, k, v = model.sent
    assert total(meter) == float(torch.einsum("tbnd,tbmd->", q, k).detach()) + 4 * float(v.detach().sum())


def test_a_sum_of_two_spikes_is_two_units_and_an_average_one_of_each():
    linear = nn.Linear(6, 7, bias=False)
    summed = Own(lambda a, b: linear(a + b), IF(v_threshold=0.5), IF(v_threshold=0.5))
    currents = torch.ones(1, 2, 6)
    assert total(metered(summed, currents)) == 2 * 12 * 7
    pooled = Own(lambda a: over_time(lambda y: linear(F.avg_pool1d(y, 3)), a), IF(v_threshold=0.5))
    assert total(metered(pooled, torch.ones(1, 2, 4, 18))) == pytest.approx(2 * 4 * 18 * 7)


@pytest.mark.parametrize(
    ("function", "works"),
    [
        (lambda a: F.linear(a.sigmoid(), torch.ones(5, 6)), 0),  # real values: multiply-accumulates
        (lambda a: F.linear(a + 0.3 * torch.randn(6), torch.ones(5, 6)), 0),  # currents
        (lambda a: F.linear(0.5 * a, torch.ones(5, 6)), 12 * 5),  # the factor is the layer's
        (lambda a: 0.5 * a, 12),  # nobody takes it up
        (lambda a: F.linear(F.max_pool1d(a, 2), torch.ones(5, 3)), 6 * 5),
        (lambda a: F.linear(torch.cat([a, a.flip(-1)], -1)[..., 3:], torch.ones(5, 9)), 18 * 5),
        (lambda a: F.linear(F.pad(a, (1, 2)), torch.ones(5, 9)), 12 * 5),
        (lambda a: F.linear(a.mean(1), torch.ones(5, 6)), 12 * 5),
        (lambda a: F.linear((a > 0.5).float(), torch.ones(5, 6)), 12 * 5),
        (lambda a: F.linear(a.reshape(1, 2, 2, 3).permute(0, 1, 3, 2), torch.ones(5, 2)), 12 * 5),
        (lambda a: F.linear(F.batch_norm(a[0], torch.ones(6), torch.ones(6)), torch.ones(5, 6)), 12 * 5),
        (lambda a: F.batch_norm(a[0], torch.ones(6), torch.ones(6)), 12),
        (lambda a: F.linear(torch.where(torch.ones(6) > 0, a, 0.0 * a), torch.ones(5, 6)), 12 * 5 + 12),
    ],
)
def test_what_becomes_of_spikes(function, works):
    meter = metered(Own(function, IF(v_threshold=0.5)), torch.ones(1, 2, 6))
    assert total(meter) == pytest.approx(works)


def test_a_norm_over_spikes_agrees_with_the_counter():
    """The layer behind it takes it up and reads spikes, on a padded border too."""
    model = nn.Sequential(LIF(v_threshold=0.4), snnkit.layers.sequence.BatchNorm2d(3), Conv2d(3, 4, 3, padding=1))
    model.eval()
    nn.init.normal_(model[1].running_mean)
    x = torch.rand(2, 5, 3, 6, 6)
    counted = compiler.count(model, [x]).total("synaptic_events")
    assert 0 < total(metered(model, x)) / 5 == counted


def test_feedback_inside_of_a_neuron_is_synaptic():
    model = nn.Sequential(Recurrent(LIF(v_threshold=0.4), nn.Linear(6, 6)), nn.Linear(6, 3)).eval()
    x = torch.rand(4, 5, 6)
    counted = compiler.count(model, [x]).total("synaptic_events")
    assert 0 < total(metered(model, x)) / 5 == counted


def test_real_inputs_are_not_counted_and_stated_ones_are():
    model = nn.Sequential(nn.Linear(6, 7), LIF(v_threshold=0.1), nn.Linear(7, 2)).eval()
    x = (torch.rand(3, 4, 6) > 0.5).float()
    found = {}
    for kind in ("real", "binary"):
        found[kind] = total(metered(model, x, input_type=kind)) / 4
        assert found[kind] == pytest.approx(compiler.count(model, [x], kind).total("synaptic_events"))
    assert found["binary"] - found["real"] == pytest.approx(7 * float(x.sum()) / 4)


def test_what_listeners_do_with_spikes_is_no_work():
    model = nn.Sequential(LIF(v_threshold=0.4), nn.Linear(6, 3))
    x = torch.rand(3, 4, 6)
    alone = total(metered(model, x))
    seen = []
    handle = model[0].register_forward_hook(
        lambda neuron, _x, s: seen.append(neuron.events_in(s).sum() * 3 + (s @ s.mT).sum())
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert total(metered(model, x)) == alone > 0
    handle.remove()
    assert len(seen) == 1
    assert not model[0]._forward_hooks  # nothing is left behind
    assert not model._forward_pre_hooks


def test_dropped_spikes_count_on_average():
    """Training's dropout leaves the expected number as it is in eval mode."""
    model = nn.Sequential(IF(v_threshold=0.5), snnkit.layers.sequence.Dropout(0.25), nn.Linear(400, 5))
    x = torch.ones(1, 100, 400)
    full = total(metered(model.eval(), x))
    assert full == 100 * 400 * 5
    assert total(metered(model.train(), x)) == pytest.approx(full, rel=0.02)


def test_an_unknown_function_of_spikes_is_told():
    model = Own(lambda a: F.linear(torch.special.i0(a), torch.ones(5, 6)), IF(v_threshold=0.5))
    with pytest.warns(UserWarning, match="torch's special_i0 of spikes"):
        assert total(metered(model, torch.ones(1, 2, 6))) == 0


def test_the_same_with_less_memory_and_narrow_numbers():
    """Blocks that run again in the backward, and autocast."""
    card = next(c for c in families() if c.name == "spikformer")
    model, images = firing(card)
    found = {}
    for how in ("plain", "again"):
        model.zero_grad()
        model.train().set_grad_checkpointing(how == "again")
        torch.manual_seed(1)
        meter = metered(model, images)
        meter.total().backward()
        found[how] = [total(meter), *(p.grad for p in model.parameters() if p.grad is not None)]
    for one, other in zip(*found.values(), strict=True):
        assert torch.allclose(torch.as_tensor(one), torch.as_tensor(other))
    with torch.autocast("cpu", torch.bfloat16):
        meter = metered(model, images)
    assert total(meter) == pytest.approx(found["plain"][0], rel=0.1)
    assert meter.total().dtype == torch.float32


def test_messages_of_named_layers():
    model = nn.Sequential(ILIF(levels=4), nn.Linear(6, 6), LIF(v_threshold=0.1), nn.Linear(6, 2))
    x = (4 * torch.rand(3, 2, 6)).requires_grad_()
    with snnkit.record(model) as tape, Meter(model, ["0", "2"]) as meter:
        model(x)
    assert {name: int(n) for name, n in meter.messages.items()} == tape.message_counts
    assert float(meter.messages["0"].detach()) < tape.spike_counts["0"]  # several units, one message
    assert meter.outputs == {"0": 36, "2": 36}
    meter.messages["0"].backward()
    assert x.grad.abs().sum() > 0


class InParts(nn.Module):
    """Spikes whose sum a batch norm reads, and behind the cut a layer with weights: it takes the norm up."""

    def __init__(self):
        super().__init__()
        self.lif, self.norm, self.conv, self.head = LIF(v_threshold=0.1), nn.BatchNorm1d(4), nn.Conv1d(4, 3, 3), None

    def forward_features(self, x):
        return self.norm(self.lif(x.unsqueeze(0))[0] + 1)

    def forward_head(self, features):
        return self.conv(features)

    def forward(self, x):
        return self.forward_head(self.forward_features(x))


def test_methods_in_a_row_are_the_network():
    """Types, and norms that go to the layer behind them, go on from one method to the next; inputs are told."""
    model, x = InParts(), torch.rand(2, 4, 7)
    whole = metered(model, x)
    with Meter(model) as meter:
        features = model.forward_features(x)
        assert torch.ones(2) @ torch.ones(2) == 2  # nobody listens between them
        model.forward_head(features)
    assert total(meter) == total(whole) > 0
    assert (meter.dense, meter.functions, meter.read) == (whole.dense, whole.functions, [(2, 4, 7)])
    assert meter.read == whole.read
    with Meter(model) as meter:
        model(x), model.forward(x), model.forward_head(model.forward_features(x.clone()))
    assert total(meter) == 3 * total(whole)
    assert meter.read == 3 * [(2, 4, 7)]
    assert not {"forward", "forward_features", "forward_head"} & set(vars(model))


def test_what_comes_from_outside_between_two_methods_is_told():
    model = InParts()
    with Meter(model), pytest.warns(UserWarning, match="forward_head of InParts was given what was computed outside"):
        model.forward_head(2 * model.forward_features(torch.rand(2, 4, 7)))


def test_a_forward_of_the_instance_comes_back():
    model = InParts()
    model.forward = own = lambda x: model.forward_head(model.forward_features(x) * 1)
    x = torch.rand(2, 4, 7)
    assert total(metered(model, x)) > 0
    assert vars(model)["forward"] is own


def test_bad_arguments():
    with pytest.raises(InvalidArgumentError, match="no neuron that sends spikes"):
        Meter(nn.Sequential(nn.Linear(2, 2), snnkit.neurons.LeakyIntegrator()))
    with pytest.raises(UnknownNameError, match="Did you mean 'block.lif'"):
        Meter(nn.ModuleDict({"block": nn.ModuleDict({"lif": LIF()})}), ["block.lfi"])
    with pytest.raises(UnknownNameError, match="binary"):
        Meter(nn.Sequential(LIF()), input_type="binry")


def test_an_error_inside_leaves_nothing_behind():
    model = Own(lambda a: a @ torch.ones(9, 2), LIF())
    with pytest.raises(RuntimeError), Meter(model):
        model(torch.ones(1, 2, 6))
    assert not model.neurons[0]._forward_hooks
    assert "forward" not in vars(model)
    with Meter(Own(nn.Linear(6, 3), LIF())):  # and the mode is closed: nothing is listened to outside of a model
        assert torch.ones(2) @ torch.ones(2) == 2
