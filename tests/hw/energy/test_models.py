"""Every energy model, over the registry: ordered, linear in counts, with a source for every number, nothing free.

Would break it: a price that falls when a constant rises, a part without a formula, a constant without a source, a
choice that does nothing, an operation that costs nothing and is named nowhere.
"""

import dataclasses
import json

import pytest

import hw
from hw.counts import Counts, LayerCounts, Traffic
from hw.energy import MODELS
from hw.energy.model import EstimateError
from hw.energy.scope import NO_PRICE

OPERATIONS = {"lif": (1, 2, 1), "integrate_fire": (0, 1, 1), "izhikevich": (6, 10, 1)}


def a_conv(**numbers):
    """5×5 kernel, 2 → 8 channels, 16×16 → 8×8 by stride 2, with biases, four steps."""
    given = {
        "dense_macs": 4 * 512 * 50.0,
        "ac": 3000.0,
        "synaptic_events": 3000.0,
        "bias_adds": 4 * 512.0,
        "input_events": 90.0,
        "weight_fetches": 3000.0 + 2048,
        "weight_reads": 4 * 408.0,
        "activation_reads": 4 * 512.0,
        "activation_writes": 4 * 512.0,
        "weights": 408,
        "fan_in": 50,
        "inputs": 512,
        "outputs": 512,
        "evaluations": 4,
        "shape": {"input": (2, 16, 16), "output": (8, 8, 8), "weight": (8, 2, 5, 5)},
        "settings": {"stride": (2, 2), "padding": (2, 2), "groups": 1, "dilation": (1, 1)},
    }
    return LayerCounts("conv", "conv", "synapse", "binary", "real", **{**given, **numbers})


def a_stem(**numbers):
    """The same layer with real input that is equal at every step."""
    return a_conv(
        mac=512 * 50.0,
        effective_macs=20_000.0,
        dense_macs=512 * 50.0,
        ac=0.0,
        synaptic_events=0.0,
        input_events=0.0,
        bias_adds=512.0,
        weight_fetches=512 * 51.0,
        weight_reads=408.0,
        activation_reads=512.0,
        activation_writes=512.0,
        evaluations=1,
        static=True,
        static_repeats=4,
        **numbers,
    )


def a_neuron(op="lif", **numbers):
    given = {
        "spikes": 100.0,
        "neurons": 512,
        "rate": 100 / 2048,
        "neuron_updates": 2048.0,
        "threshold_tests": 2048.0,
        "resets": 100.0,
        "output_events": 100.0,
        "state_reads": 2048.0,
        "state_writes": 2048.0,
        "activation_reads": 2048.0,
        "activation_writes": 2048.0,
        "inputs": 512,
        "outputs": 512,
        "states": 512,
        "evaluations": 4,
    }
    return LayerCounts(op, op, "neuron", "real", "binary", **{**given, **numbers})


def a_product(**numbers):
    given = {
        "dense_macs": 4000.0,
        "ac": 500.0,
        "synaptic_events": 500.0,
        "input_events": 60.0,
        "weight_fetches": 500.0,
        "weight_reads": 400.0,
        "activation_reads": 800.0,
        "activation_writes": 400.0,
        "inputs": 200,
        "outputs": 100,
        "evaluations": 4,
    }
    return LayerCounts("product", "matmul", "product", "binary", "integer[0,16]", **{**given, **numbers})


def a_plain(name="sum", kind="elementwise", **numbers):
    given = {"activation_reads": 800.0, "activation_writes": 400.0, "inputs": 200, "outputs": 100, "evaluations": 4}
    return LayerCounts(name, name, kind, "real", "real", **{**given, **(numbers or {"adds": 400.0})})


TRAFFIC = Traffic("loihi1", 900.0, 1200.0, 700.0, 50.0, 40.0, 6, 1024, 4, 3500.0, 4096.0, 200.0)
LAYERS = (
    dataclasses.replace(a_stem(), name="stem"),
    a_neuron(),
    a_conv(),
    a_neuron("integrate_fire"),
    a_product(),
    a_plain(),
    a_plain("scale", multiplies=300.0),
    a_plain("relu", "activation", activations=100.0),
)
COUNTS = Counts(LAYERS, 4, 10, (), OPERATIONS, traffic=TRAFFIC)

PRICED = [name for name, model in MODELS.items() if not model.refuse(COUNTS)]
BY_LAYER = [name for name in PRICED if name != "loihi1-mapped"]


def scaled(counts, factor):
    """The same network, with all that it did multiplied; its sizes stay."""
    fixed = {"rate", "static_repeats", "neurons", "weights", "fan_in", "inputs", "outputs", "states"}

    def more(one, keep):
        numbers = {
            f.name: getattr(one, f.name) * factor
            for f in dataclasses.fields(one)
            if f.name not in keep and type(getattr(one, f.name)) in (float, int)
        }
        return dataclasses.replace(one, **numbers)

    layers = tuple(more(layer, fixed) for layer in counts.per_layer)
    return dataclasses.replace(counts, per_layer=layers, traffic=more(counts.traffic, {"cores", "neurons"}))


def ends(energy):
    return energy.total.low, energy.total.nominal, energy.total.high


def test_only_loihi2_is_refused_whatever_the_counts():
    assert [name for name in MODELS if name not in PRICED] == ["loihi2"]
    assert len(PRICED) >= 18


@pytest.mark.parametrize("name", PRICED)
def test_low_nominal_and_high_are_in_order_and_the_parts_add_up(name):
    energy = MODELS[name].estimate(COUNTS)
    assert 0 <= energy.total.low <= energy.total.nominal <= energy.total.high
    assert energy.total.high > 0
    for part in energy.parts:
        assert part.energy.low <= part.energy.nominal <= part.energy.high
    for end in ("low", "nominal", "high"):
        assert sum(getattr(p.energy, end) for p in energy.parts) == pytest.approx(getattr(energy.total, end), rel=1e-9)
    if name in BY_LAYER:
        assert sum(value for _, value in energy.per_layer) == pytest.approx(energy.total.nominal, rel=1e-9)


@pytest.mark.parametrize("name", PRICED)
def test_twice_the_work_takes_twice_the_energy(name):
    once, twice = MODELS[name].estimate(COUNTS), MODELS[name].estimate(scaled(COUNTS, 2))
    assert ends(twice) == pytest.approx([2 * end for end in ends(once)], rel=1e-12)


@pytest.mark.parametrize("name", BY_LAYER)
def test_the_same_layers_again_take_the_same_energy_again(name):
    once = MODELS[name].estimate(COUNTS)
    again = MODELS[name].estimate(dataclasses.replace(COUNTS, per_layer=LAYERS * 2))
    assert ends(again) == pytest.approx([2 * end for end in ends(once)], rel=1e-12)


@pytest.mark.parametrize("name", MODELS)
def test_every_constant_has_a_source_and_every_part_a_formula(name):
    model = MODELS[name]
    assert model.name == name
    assert 10 < len(model.title) <= 62, "one line beside the name, in 80 columns"
    assert "left out" in model.scope
    assert model.precision
    assert model.technology_nm is None or 5 <= model.technology_nm <= 130
    for constant, quantity in model.constants.items():
        assert len(quantity.source) > 10, constant
        assert quantity.interval.dimension == "energy", constant
    assert model.formulas
    for part, formula in model.formulas.items():
        assert len(formula) > 5, part
    for choice in model.choices.values():
        assert len(choice.what) > 10
        assert choice.low <= choice.nominal <= choice.high
        assert choice.low < choice.high
    assert set(model.ends) == {"low", "nominal", "high"}


@pytest.mark.parametrize("name", PRICED)
def test_no_constant_is_idle_and_none_makes_it_cheaper(name):
    """Each constant and choice, moved up alone, raises some end or leaves it; each constant counts somewhere."""
    model = MODELS[name]
    if name == "loihi1-mapped":  # one format of synapses at a time
        model = dataclasses.replace(model, constants={k: v for k, v in model.constants.items() if k not in UNUSED})
    heavy = dataclasses.replace(COUNTS, per_layer=(*LAYERS, *BIG))
    for end in ENDS:
        for name_, value in model._values(end).items():
            raised = price(model, heavy, end, {name_: value * 1.5 + 0.01})
            assert raised >= price(model, heavy, end) * (1 - 1e-12), name_
    for constant in model.constants:
        assert any(price(model, heavy, end, {constant: 0.0}) < price(model, heavy, end) for end in ENDS), constant


def price(model, counts, end, other=None):
    return sum(model._parts(counts, {**model._values(end), **(other or {})}).values())


ENDS = ("low", "nominal", "high")
UNUSED = ("E_conv", "E_dense")
BIG = (
    dataclasses.replace(a_conv(), name="20 KiB", weights=5_000, outputs=20_000),
    dataclasses.replace(a_conv(), name="600 KiB", weights=150_000),
    dataclasses.replace(a_conv(), name="4 MiB", weights=4_000_000),
    dataclasses.replace(a_neuron("izhikevich")),
)


@pytest.mark.parametrize("name", PRICED)
def test_each_driver_spans_its_part_of_the_interval(name):
    """The answer holds every constant and choice that has two ends, sorted by how far it moves the total."""
    energy = MODELS[name].estimate(COUNTS)
    wide = [driver.high - driver.low for driver in energy.drivers]
    assert wide == sorted(wide, reverse=True)
    moving = {k for k, q in MODELS[name].constants.items() if q.interval.low < q.interval.high}
    assert {d.name for d in energy.drivers if d.kind != "samples"}.isdisjoint(energy.unmoved)
    assert {d.name for d in energy.drivers if d.kind == "constant"} == moving - set(energy.unmoved)
    assert {d.name for d in energy.drivers if d.kind == "choice"} == set(MODELS[name].choices) - set(energy.unmoved)
    assert set(energy.unmoved) <= moving | set(MODELS[name].choices)
    assert energy.to_dict()["unmoved"] == list(energy.unmoved)
    for driver in energy.drivers:
        assert driver.low < driver.high
        assert driver.low <= energy.total.nominal * (1 + 1e-12)
        assert driver.high >= energy.total.nominal * (1 - 1e-12)
        assert driver.low >= energy.total.low * (1 - 1e-12)
        assert driver.high <= energy.total.high * (1 + 1e-12)


WORK = {
    "mac": {"dense_macs": 10.0, "effective_macs": 10.0},
    "ac": {"dense_macs": 10.0, "synaptic_events": 10.0, "input_events": 10.0},
    "shift_adds": {"dense_macs": 10.0, "synaptic_events": 10.0, "input_events": 10.0},
    "adds": {},
    "multiplies": {},
    "activations": {},
    "lookups": {"activation_writes": 10.0},
    **{name: {} for name in NO_PRICE},
}


@pytest.mark.parametrize("what", WORK)
@pytest.mark.parametrize("name", BY_LAYER)
def test_nothing_is_free_and_unnamed(name, what):
    """Each kind of work alone costs something at the upper end, or its layer is named as without a price."""
    kind = {"mac": "synapse", "ac": "synapse", "shift_adds": "synapse", "lookups": "move"}.get(what, "elementwise")
    if what == "lookups" and name.startswith("45nm") and "memory" not in name:
        assert "memory" in MODELS[name].scope.split("left out")[1]
        return
    given = {what: 10.0, **WORK[what], "outputs": 10, "inputs": 10}
    layer = LayerCounts("one", "linear", kind, "real" if what == "mac" else "binary", "real", **given)
    # A silent neuron beside it makes it a network of events.
    silent = LayerCounts("if", "integrate_fire", "neuron", "real", "binary", spikes=0.0, neurons=1, inputs=1, outputs=1)
    energy = MODELS[name].estimate(Counts((layer, silent), 1, 1, (), OPERATIONS))
    assert energy.total.high > 0 or "one" in energy.uncounted


@pytest.mark.parametrize("name", BY_LAYER)
def test_an_update_of_any_neuron_costs_or_is_named(name):
    for known in ({}, OPERATIONS):
        counts = Counts((a_neuron("izhikevich", output_events=0.0, resets=0.0, spikes=0.0),), 4, 1, (), known)
        energy = MODELS[name].estimate(counts)
        in_the_operation = "synapses" in MODELS[name].formulas and MODELS[name].kind == "spiking"
        assert energy.total.high > 0 or "izhikevich" in energy.uncounted or in_the_operation


@pytest.mark.parametrize("name", PRICED)
def test_an_estimate_is_plain_data_with_its_provenance(name):
    energy = MODELS[name].estimate(COUNTS)
    data = json.loads(json.dumps({**energy.to_dict(), **energy.provenance()}, allow_nan=False))
    assert data["model"] == name
    assert all(one["source"] and isinstance(one["confirmed"], bool) for one in data["constants"])
    assert data["assumed"] == list(energy.assumed)


@pytest.mark.parametrize(
    ("name", "assumed"),
    [
        ("truenorth", ("E_SOP",)),
        ("darwin3", ("E_SOP",)),
        ("yan2024", ("E_weight", "E_product")),
        ("45nm-memory", ()),
        ("odin", ()),
        ("loihi1", ()),
    ],
)
def test_what_was_not_checked_is_named_and_refused_in_strict_mode(name, assumed):
    events = Counts((a_conv(), a_stem(), a_neuron()), 4, 1, (), OPERATIONS, traffic=TRAFFIC)
    assert MODELS[name].estimate(events).assumed == assumed
    if assumed:
        with pytest.raises(EstimateError, match="was not checked against its source"):
            MODELS[name].estimate(events, strict=True)


@pytest.mark.parametrize("name", [name for name, model in MODELS.items() if model.kind == "spiking"])
def test_an_ordinary_network_has_no_price_on_a_chip_of_events(name):
    ordinary = Counts((a_stem(), a_plain("relu", "activation", activations=100.0)), 1, 1)
    with pytest.raises(EstimateError, match=f"'{name}'") as caught:
        MODELS[name].estimate(ordinary)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["45nm-memory", "45nm-memory-int8", "lemaire2022"])
def test_memory_is_never_taken_as_free_where_the_counts_do_not_hold_it(name):
    old = Counts((LayerCounts("a", "conv", "synapse", "binary", "real", ac=5.0, synaptic_events=5.0),), 4, 1)
    with pytest.raises(EstimateError, match="say nothing of memory"):
        MODELS[name].estimate(old)


def test_loihi2_is_refused_with_the_reason():
    with pytest.raises(EstimateError, match=r"'loihi2': no energy .* was published") as caught:
        hw.energy.estimate(COUNTS, "loihi2")
    assert caught.value.user_error
    assert "\n" not in str(caught.value)
