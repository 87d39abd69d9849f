"""Plans: what is chosen, what is refused and why, and that a planned model is used like any other.

Would break it: a budget that is exceeded, a dearer choice where a cheaper one sufficed, parameters that are copies, a
wrapper that cannot be copied, stored or trained, a chunked model that mixes time steps.
"""

import copy
import io
import pickle

import pytest
import torch
from support.memory_networks import PerStep, Transformer, make, ordinary
from torch import nn

import snnkit
from snnkit.errors import InvalidArgumentError
from snnkit.layers import over_time
from snnkit.memory import Choice, Planned, measure, parse_bytes, plan, show_bytes, within_budget
from snnkit.memory.plan import tiered
from snnkit.neurons import LIF, PSN, Noisy


def test_the_cheapest_choice_that_fits():
    model, x = make("transformer")
    plain = plan(model, x)
    assert plain.choice == Choice()
    assert plain.peak == plain.plain_peak
    assert plain.steps == ()
    assert plan(model, x, plain.peak).choice == Choice()  # it fits as it is
    bits = plan(model, x, plain.peak - 1)
    assert bits.choice == Choice(bits=True)
    norms = plan(model, x, bits.peak - 1)
    assert norms.choice == Choice(bits=True, norms=True)
    layers = plan(model, x, norms.peak - 1)
    assert layers.choice == Choice(bits=True, norms=True, layers=True)
    blocks = plan(model, x, layers.peak - 1)
    assert blocks.choice.blocks
    peaks = [p.peak for p in (plain, bits, norms, layers, blocks)]
    assert peaks == sorted(peaks, reverse=True)
    assert [step.what for step in blocks.steps][:3] == [
        "spikes as bits",
        "batch norms computed again",
        "layers computed again",
    ]
    planned = blocks.apply(model)
    measure(planned, x)
    assert measure(planned, x) <= 1.1 * (layers.peak - 1)


@pytest.mark.slow
def test_as_few_blocks_as_fit():
    torch.manual_seed(0)
    model, x = Transformer(width=16, depth=6, dropout=0.0).train(), torch.randn(4, 4, 16, 24)
    smallest = smallest_peak(model, x)
    everything = plan(model, x, smallest)
    before = next(step.peak for step in everything.steps if step.what == "layers computed again")
    some = plan(model, x, (before + smallest) // 2)
    assert 0 < len(some.choice.blocks) < len(everything.choice.blocks) <= 6
    assert some.peak <= some.budget


def smallest_peak(model, x, **how):
    with pytest.raises(InvalidArgumentError, match="takes at least") as error:
        plan(model, x, 1, **how)
    return int(str(error.value).split(" bytes)")[0].rsplit("(", 1)[1])


def test_rect_comes_first_where_it_is_exact():
    model, x = make("rect")
    made = plan(model, x, plan(model, x).peak - 1)
    assert made.choice == Choice(rect=("lif", "lif2"))
    assert model.lif.save == "exact"
    model.lif.detach_reset = False
    assert list(tiered(model, x, "rect")) == ["lif2"]


class Gain(nn.Module):
    """A neuron whose input no layer makes: a product."""

    def __init__(self):
        super().__init__()
        self.gain, self.lif = nn.Parameter(torch.tensor(1.5)), LIF()

    def forward(self, x):
        return self.lif(x * self.gain)


def test_approximate_only_when_allowed():
    torch.manual_seed(0)
    model, x = nn.Sequential(*(Gain() for _ in range(6))).train(), torch.rand(8, 16, 256)
    bits = plan(model, x, plan(model, x).peak - 1)
    exact = plan(model, x, bits.peak - 1)
    assert not exact.choice.code8
    made = plan(model, x, bits.peak - 1, allow_approximate=True)
    assert made.choice.code8 == tuple(f"{i}.lif" for i in range(6))
    assert made.choice.blocks == ()
    planned = made.apply(model)
    measure(planned, x)
    assert abs(made.peak - measure(planned, x)) <= 0.1 * made.peak
    assert not any("approximate" in step.what for step in exact.steps)


def test_nothing_to_train():
    with pytest.raises(InvalidArgumentError, match="nothing to train"):
        plan(nn.Sequential(LIF()), torch.randn(4, 2, 3))


def test_chunks_of_time():
    model, x = make("per step", timesteps=16)
    smallest = smallest_peak(model, x)
    made = plan(model, x, smallest)
    assert made.choice.chunks > 1
    assert made.peak < 0.5 * made.plain_peak


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda m: m.__setattr__("stages", nn.Sequential(nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8))), "batch norm"),
        (lambda m: m.__setattr__("lif2", PSN(4)), "whole sequence"),
        (lambda m: m.__setattr__("head", nn.Sequential(nn.Linear(8, 6), nn.Dropout(0.5))), "random"),
        (lambda m: m.__setattr__("lif2", Noisy(LIF(), 0.1)), "random"),
        (lambda m: m.__setattr__("head", MixesTime()), "mixes time"),
        (lambda m: m.__setattr__("head", TakesTheMean()), "one result a step"),
    ],
)
def test_what_cannot_be_cut_says_why(spoil, reason):
    torch.manual_seed(0)
    model = PerStep()
    spoil(model)
    with pytest.raises(InvalidArgumentError, match=reason):
        plan(model.train(), torch.randn(4, 2, 3, 10, 10), 1)


class MixesTime(nn.Module):
    def forward(self, x):
        return x - x.mean(0)


class TakesTheMean(nn.Module):
    def forward(self, x):
        return x.mean(0)


def test_one_step_cannot_be_cut():
    with pytest.raises(InvalidArgumentError, match="one time step only"):
        plan(PerStep().train(), torch.randn(1, 2, 3, 10, 10), 1)


def test_classifiers_are_cut_where_norms_are_frozen():
    model, x = make("cnn", timesteps=8)
    x = x.double()
    for mode in (True, False):
        model.double().eval()
        model.training = mode
        plain = copy.deepcopy(model)
        planned = Planned(model, Choice(chunks=3, bits=True))
        model.dropout.training = False
        for net in (plain, planned):
            net.zero_grad()
            net(x).square().sum().backward()
        for (name, a), (_, b) in zip(plain.named_parameters(), model.named_parameters(), strict=True):
            assert (a.grad - b.grad).abs().max() <= 1e-12 * max(1, a.grad.abs().max()), name


@pytest.mark.parametrize("budget", [0, -5, "0MB", "-1GiB", "many", "12 parsecs", "", True, 1.5j, "1e"])
def test_nonsense_budgets(budget):
    with pytest.raises(InvalidArgumentError, match="budget="):
        parse_bytes(budget)


def test_sizes_as_people_write_them():
    assert parse_bytes("2GiB") == 2 * 1024**3
    assert parse_bytes("512 MB") == 512 * 1000**2
    assert parse_bytes("1.5kib") == 1536
    assert parse_bytes(17) == 17
    assert parse_bytes("1_000") == 1000
    assert show_bytes(1536) == "1.5 KiB"


def test_another_model_is_refused():
    model, x = make("rect")
    made = plan(model, x, plan(model, x).peak - 1)
    with pytest.raises(InvalidArgumentError, match="another model"):
        made.apply(ordinary())


def test_the_table_names_every_layer():
    model, x = make("cnn")
    made = plan(model, x, "7MiB")
    text = str(made)
    for name in ("stem.conv", "stem_lif", "head", "spikes as bits", "7 MiB"):
        assert name in text, name
    assert sum(layer.plain_kept for layer in made.layers) <= made.plain_kept
    assert max(layer.plain_peak for layer in made.layers) == made.plain_peak
    assert max(layer.peak for layer in made.layers) <= made.peak
    conv = next(layer for layer in made.layers if layer.name == "down.conv")
    assert conv.kind == "Conv2d"


def test_nothing_is_touched_or_allocated_by_planning():
    model, x = make("cnn")
    state = copy.deepcopy(model.state_dict())
    random = torch.get_rng_state()
    plan(model, x, "5MiB")
    assert torch.equal(random, torch.get_rng_state())
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    with torch.device("meta"):
        large = snnkit.create_model("spiking_cnn_small", img_size=1024, timesteps=64)
    assert plan(large, torch.empty(256, 1, 1024, 1024, device="meta")).peak > 10 * 1024**4


def test_a_planned_model_is_the_model():
    model, x = make("cnn")
    made = plan(model, x, "5MiB")
    planned = made.apply(model)
    assert isinstance(planned, nn.Module)
    assert planned.model is model
    assert planned.timesteps == 4
    assert list(planned.state_dict()) == list(model.state_dict())
    for (a, p), (b, q) in zip(planned.named_parameters(), model.named_parameters(), strict=True):
        assert a == b
        assert p is q
    assert not planned.eval().model.training
    assert not model.dropout.training
    assert torch.equal(planned(x), model(x))
    assert planned.train().model.training
    planned.double()
    assert next(model.parameters()).dtype == torch.float64
    planned.float().load_state_dict({name: value + 1 for name, value in model.state_dict().items()})
    assert torch.equal(planned.head.bias, model.head.bias)


@pytest.mark.parametrize("how", ["deepcopy", "pickle", "save"])
def test_copies_stand_for_themselves(how):
    model, x = make("cnn")
    planned = plan(model, x, "5MiB").apply(model)
    assert planned.choice != Choice()
    if how == "deepcopy":
        other = copy.deepcopy(planned)
    elif how == "pickle":
        other = pickle.loads(pickle.dumps(planned))
    else:
        stored = io.BytesIO()
        torch.save(planned, stored)
        stored.seek(0)
        other = torch.load(stored, weights_only=False)
    assert other.choice == planned.choice
    assert other.model is not model
    assert next(other.parameters()) is next(other.model.parameters())
    torch.manual_seed(3)
    planned(x).sum().backward()
    assert next(other.parameters()).grad is None
    torch.manual_seed(3)
    other(x).sum().backward()
    for p, q in zip(planned.parameters(), other.parameters(), strict=True):
        assert torch.equal(p.grad, q.grad)


def test_training_goes_the_same_way():
    losses = []
    for planning in (False, True):
        model, x = make("cnn", batch=8)
        model = model.double()
        x, y = x.double(), torch.arange(8) % 10
        net = plan(model, x, "17MiB").apply(model) if planning else model
        assert not planning or net.choice.bits
        optimizer = torch.optim.AdamW(net.parameters(), 1e-2)
        torch.manual_seed(2)
        for _ in range(4):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(net(x), y)
            loss.backward()
            optimizer.step()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(losses[1], abs=1e-10)


def test_within_budget_for_a_training_loop():
    model, x = make("cnn")
    assert within_budget(model, x, None) == (model, None)
    assert within_budget(model, x, "")[0] is model
    same, made = within_budget(model, x, "1TiB")
    assert same is model
    assert made.choice == Choice()
    net, made = within_budget(model, x, "5MiB")
    assert isinstance(net, Planned)
    assert made.peak <= 5 * 1024**2


def test_a_stream_runs_plainly():
    model = nn.Sequential(nn.Linear(4, 4), LIF()).eval()
    planned, x = Planned(model, Choice(bits=True, layers=True, chunks=2)), torch.randn(5, 3, 4)
    stream = snnkit.Stream(planned)
    assert torch.equal(torch.stack([stream.step(x_t) for x_t in x]), model(x))


def test_backward_twice_and_inference():
    model, x = make("residuals")
    planned = Planned(model, Choice(bits=True, norms=True, layers=True))
    loss = planned(x).square().mean()
    loss.backward(retain_graph=True)
    once = [p.grad.clone() for p in model.parameters()]
    loss.backward()
    for p, g in zip(model.parameters(), once, strict=True):
        assert torch.equal(p.grad, 2 * g)
    with torch.no_grad():
        assert not planned(x).requires_grad


def test_an_input_modified_in_place_is_found():
    class Spoils(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(2, 2, 1)
            self.lif = LIF()

        def forward(self, x):
            x = x * 1
            out = self.lif(over_time(lambda y: self.conv(y), x))
            with torch.no_grad():
                x.detach().add_(1)
            return out

    planned = Planned(Spoils(), Choice(norms=True, layers=True))
    with pytest.raises((InvalidArgumentError, RuntimeError), match="modified"):
        planned(torch.randn(2, 2, 2, 3, 3)).sum().backward()


def test_half_precision_is_computed_again_in_half_precision():
    found = []
    for choice in (Choice(), Choice(bits=True, norms=True, layers=True), Choice(blocks=("0", "1", "2"))):
        model, x = make("residuals")
        with torch.autocast("cpu", torch.bfloat16):
            loss = Planned(model, choice)(x).float().square().mean()
        loss.backward()
        found.append([p.grad for p in model.parameters()])
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))
