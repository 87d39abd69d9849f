"""The tape: what it says of spikes, rates and membranes is what the neurons did, and it leaves no trace.

Would break it: hooks that outlive the block, layers of an earlier forward left on the tape, the two calls of one neuron
mixed up, a rate averaged over the wrong axes, values that are added up where spikes are to be counted.
"""

import pytest
import torch
from support.neurons import examples
from torch import nn

import snnkit
from snnkit.errors import InvalidArgumentError, UnknownNameError
from snnkit.neurons import IF, ILIF, LIF, FewSpikes, LeakyIntegrator, MultiSpike, Noisy, Recurrent, TernaryIF, Tracer


class Net(nn.Module):
    """Two neuron layers joined by a fixed weight."""

    def __init__(self):
        super().__init__()
        self.front = LIF(tau=2)
        self.back = nn.Sequential(IF(v_reset=None))

    def forward(self, x):
        return self.back(0.5 * self.front(x))


class Twice(nn.Module):
    """One neuron module, called twice."""

    def __init__(self):
        super().__init__()
        self.neuron = IF()

    def forward(self, x):
        return self.neuron(0.5 * self.neuron(x))


# tau = 2: h = .75, 1.125 (fires), .75, 1.125 (fires); the second layer gets 0, .5, 0, .5 and fires at the last step.
CONSTANT = torch.full((4, 1, 1), 1.5, dtype=torch.float64)


def hooks(model):
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def test_by_hand():
    model = Net()
    with snnkit.record(model) as tape:
        output = model(CONSTANT)
    assert list(tape) == ["front", "back.0"]
    assert len(tape) == 2
    assert tape["front"].spikes.flatten().tolist() == [0, 1, 0, 1]
    assert tape["front"].currents.flatten().tolist() == [1.5] * 4
    assert tape["front"].membranes.flatten().tolist() == [0.75, 0, 0.75, 0]
    assert tape["back.0"].currents.flatten().tolist() == [0, 0.5, 0, 0.5]
    assert tape["back.0"].membranes.flatten().tolist() == [0, 0.5, 0.5, 0]
    assert tape.rates == {"front": 0.5, "back.0": 0.25}
    assert torch.equal(tape["back.0"].spikes, output)
    assert tape["front"].neuron is model.front


def test_rate_is_the_mean_over_steps_batch_and_neurons():
    neuron = LIF()
    x = torch.rand(5, 3, 2, 4, generator=torch.Generator().manual_seed(0)) * 4
    with snnkit.record(neuron) as tape:
        spikes = neuron(x)
    assert tape["neuron"].rate == pytest.approx(int(spikes.sum()) / (5 * 3 * 2 * 4), rel=1e-6)
    assert 0 < tape["neuron"].rate < 1


# Drives, so that what is sent can be written down: (neuron, currents per step, what it sends, spikes, unit events).
SENT = {
    "ternary": (lambda: TernaryIF(), [1.0, -1.0] * 4, [1, -1] * 4, 8, 8),
    "ternary, rarely": (lambda: TernaryIF(), [0.5, 0.5, -0.5, -0.5], [0, 1, 0, -1], 2, 2),
    "multi-spike": (lambda: MultiSpike(levels=4), [0.2, 1.0, 3.2, 9.0], [0, 0.25, 0.75, 1], 3, 8),
    "multi-spike, whole": (lambda: MultiSpike(levels=3, divisor=1.0), [3.0, 0.0, 2.0], [3, 0, 2], 2, 5),
    "multi-spike, thirds": (lambda: MultiSpike(levels=3), [1.0, 2.0, 3.0], [1 / 3, 2 / 3, 1], 3, 6),
    # v = 0, x = 1.6 of thresholds 0.5: 3 spikes, 0.1 stays; 3/4 of it leaks, and 0.5 more makes one spike.
    "integer LIF of low threshold": (lambda: ILIF(v_threshold=0.5), [1.6, 0.5, 0.0], [3, 1, 0], 2, 4),
    "tracer of ±1": (lambda: Tracer(0.25, -4, 4), [0.5, 0.0, -0.25, 0.0], [0.25, 0.25, -0.25, 0], 3, 3),
    "tracer of powers": (lambda: Tracer(0.25, -8, 8, max_exponent=2), [1.25, 0.0, -1.5], [1, 0.25, -1], 3, 9),
    "tracer, graded": (lambda: Tracer(0.25, -8, 8, max_exponent=None), [1.25, 0.0, -1.5], [1.25, 0, -1.5], 2, 11),
    "few spikes": (lambda: FewSpikes.relu(3, 8.0), [5.5, 0.0, 0.0], [4, 0, 1], 2, 2),
    "binary": (lambda: IF(), [1.0, 0.0, 1.0, 0.5], [1, 0, 1, 0], 2, 2),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", SENT)
def test_spikes_are_messages_and_events_are_levels(name, dtype):
    make, currents, sent, spikes, events = SENT[name]
    x = torch.tensor(currents, dtype=dtype).view(-1, 1, 1).expand(-1, 2, 3)
    neuron = make()
    with snnkit.record(neuron) as tape:
        neuron(x)
    torch.testing.assert_close(tape["neuron"].spikes[:, 0, 0], torch.tensor(sent, dtype=dtype))
    assert tape.message_counts == {"neuron": 6 * spikes}
    assert tape.spike_counts == {"neuron": 6 * events}
    assert tape.message_rates == {"neuron": spikes / len(sent)}
    assert tape.rates == {"neuron": events / len(sent)}
    assert tape["neuron"].levels.sum().item() == 6 * events


@pytest.mark.parametrize("divisor", [3, 7, 15])
def test_levels_survive_the_rounding_of_half_precision(divisor):
    x = torch.arange(divisor + 1.0).view(-1, 1).bfloat16()
    neuron = MultiSpike(levels=divisor)
    with snnkit.record(neuron) as tape:
        neuron(x)
    assert tape["neuron"].levels.flatten().tolist() == list(range(divisor + 1))


def test_a_scale_per_channel():
    neuron = Tracer(torch.nn.Parameter(torch.tensor([0.25, 0.5])), -8, 8, max_exponent=None)
    with snnkit.record(neuron) as tape:
        neuron(torch.tensor([1.0, -1.5]).view(1, 1, 2, 1).expand(1, 3, 2, 5))
    assert tape["neuron"].levels[0, 0, :, 0].tolist() == [4, 3]
    assert tape.spike_counts == {"neuron": 3 * 5 * (4 + 3)}


def test_real_values_are_recorded_and_not_counted():
    model = nn.Sequential(IF(), LeakyIntegrator())
    with snnkit.record(model) as tape:
        model(torch.ones(4, 1, 1))
    assert list(tape) == ["0", "1"]
    assert tape.rates == {"0": 1.0}
    assert tape.spike_counts == {"0": 4}
    with pytest.raises(InvalidArgumentError, match="LeakyIntegrator sends real values"):
        _ = tape["1"].rate


def test_a_neuron_around_another_sends_what_that_sends_and_is_counted_once():
    model = nn.Sequential(Noisy(TernaryIF(), std=0.0))
    with snnkit.record(model.train()) as tape:
        model(torch.tensor([1.0, -1.0, 0.0]).view(3, 1, 1))
    assert list(tape) == ["0.neuron", "0"]
    assert tape.spike_counts == {"0": 2}
    assert Recurrent(MultiSpike(levels=2)).sends() == MultiSpike(levels=2).sends()


@pytest.mark.parametrize("name", examples())
def test_what_a_neuron_sends_lies_on_its_levels(name):
    neuron = examples()[name]().double()
    kind, low, high, scale = neuron.sends()
    if kind == "real" or name == "FewSpikes":
        return
    out = neuron(2 * torch.randn(6, 3, 5, 4, dtype=torch.float64))
    levels = neuron.events_in(out)
    assert levels.max() > 0
    torch.testing.assert_close(levels * scale, out.abs(), rtol=0, atol=1e-12)
    assert low * scale <= out.min() + 1e-12
    assert out.max() <= high * scale + 1e-12


@pytest.mark.parametrize("cls", [IF, LIF])
def test_membranes_are_those_a_stream_goes_through(cls):
    neuron = cls(v_reset=None)
    x = torch.rand(5, 2, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    with snnkit.record(neuron) as tape:
        neuron(x)
    stream, seen = snnkit.Stream(neuron), []
    for x_t in x:
        stream.step(x_t)
        seen.append(stream.state["v"])
    torch.testing.assert_close(tape["neuron"].membranes, torch.stack(seen), rtol=0, atol=1e-12)


def test_each_call_of_a_reused_neuron_has_its_own_entry():
    model, x = Twice(), torch.ones(4, 1, 1, dtype=torch.float64)
    with snnkit.record(model) as tape:
        output = model(x)
    assert list(tape) == ["neuron", "neuron#1"]
    assert tape["neuron"].spikes.flatten().tolist() == [1, 1, 1, 1]
    assert tape["neuron#1"].spikes.flatten().tolist() == [0, 1, 0, 1]
    assert torch.equal(tape["neuron#1"].spikes, output)


def test_each_forward_starts_the_tape_anew():
    model = Net()
    with snnkit.record(model) as tape:
        model(torch.zeros(3, 2, 5))
        model(CONSTANT)
    assert list(tape) == ["front", "back.0"]
    assert tape["front"].spikes.shape == (4, 1, 1)


def test_each_step_of_a_stream_starts_the_tape_anew():
    """A stream calls forward_sequence, which no hook of the model sees."""
    model = snnkit.create_model("spiking_cnn_small", img_size=8, width=4).eval()
    stream = snnkit.Stream(model)
    with snnkit.record(model) as tape:
        for _ in range(3):
            stream.step(torch.rand(2, 1, 8, 8))
    # The membrane is that of the third step, not of a first one.
    assert torch.equal(tape["stem_lif"].membranes[-1], stream.state["stem_lif.v"])
    assert list(tape) == ["stem_lif", "down_lif", "depthwise_lif", "mix_lif"]


def test_recording_changes_neither_output_nor_gradient():
    model = Net()
    x = torch.rand(4, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 3
    plain, watched = x.clone().requires_grad_(), x.clone().requires_grad_()
    expected = model(plain)
    expected.sum().backward()
    with snnkit.record(model) as tape:
        got = model(watched)
    got.sum().backward()
    assert torch.equal(got, expected)
    assert torch.equal(watched.grad, plain.grad)
    assert not tape["front"].spikes.requires_grad
    assert not tape["front"].currents.requires_grad


def test_hooks_are_gone_after_the_block():
    model = Net()
    with snnkit.record(model) as tape:
        assert hooks(model) > 0
        model(CONSTANT)
    assert hooks(model) == 0
    kept = tape["front"].spikes
    model(torch.zeros(2, 1, 1))
    assert tape["front"].spikes is kept


def test_hooks_are_gone_after_an_exception():
    model = Net()

    def record_and_fail():
        with snnkit.record(model):
            model(CONSTANT)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        record_and_fail()
    assert hooks(model) == 0


def test_hooks_of_others_stay():
    model, seen = Net(), []
    model.front.register_forward_hook(lambda *_: seen.append(1))
    with snnkit.record(model):
        model(CONSTANT)
    model(CONSTANT)
    assert seen == [1, 1]


def test_two_tapes_at_once():
    model = Net()
    with snnkit.record(model) as outer, snnkit.record(model.back) as inner:
        model(CONSTANT)
    assert list(inner) == ["0"]
    assert torch.equal(inner["0"].spikes, outer["back.0"].spikes)


def test_unknown_layer_names_the_nearest():
    model = Net()
    with snnkit.record(model) as tape:
        model(CONSTANT)
    with pytest.raises(UnknownNameError, match="'front'"):
        tape["frnt"]
    with pytest.raises(UnknownNameError, match=r"back\.0, front"):
        tape["zzz"]


def test_a_model_is_recorded_by_module_name():
    model = snnkit.create_model("spiking_cnn_small", img_size=8, width=4, timesteps=3).eval()
    with snnkit.record(model) as tape:
        model(torch.rand(2, 1, 8, 8))
    assert list(tape) == ["stem_lif", "down_lif", "depthwise_lif", "mix_lif"]
    assert tape["stem_lif"].spikes.shape == (3, 2, 4, 8, 8)
