"""Silicon as data: units never mix, every number has a source, and the cost formulas hold by hand.

Would break it: pJ added to ns, a chip without sources, a synapse chunk of another length, routes that miss their
target, a static layer charged at every step in the nominal case, parts that do not add up to the total.
"""

import dataclasses
import json
import math
import re
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

import hw
from hw.chip import ChipError, Mesh, SynapseFormat
from hw.chips import CHIPS
from hw.counts import COUNTED, Counts, LayerCounts
from hw.lookup import UnknownNameError
from hw.quantity import Interval, Quantity, UnitError

# Quantities and intervals.


def test_a_quantity_without_range_is_a_point():
    assert Quantity(23.6, "pJ", "s").interval == Interval(23.6, 23.6, 23.6, "pJ")
    assert Quantity(2.0, "pJ", "s", low=1.0, high=4.0).interval == Interval(1.0, 2.0, 4.0, "pJ")
    assert Quantity(2.0, "pJ", "s", high=4.0).interval == Interval(2.0, 2.0, 4.0, "pJ")


@pytest.mark.parametrize("ends", [{"low": 3.0}, {"high": 1.0}, {"low": 5.0, "high": 1.0}, {"low": math.nan}])
def test_a_value_outside_its_range_is_refused(ends):
    with pytest.raises(ValueError, match="the source"):
        Quantity(2.0, "pJ", "the source", **ends)


@pytest.mark.parametrize(
    ("unit", "said"),
    [
        ("furlong", "Known: fJ pJ nJ"),
        ("pj", "Did you mean 'pJ'"),
        ("core", "Did you mean 'cores'"),
        ("", "hw/quantity.py"),
        ("pJ ", "Did you mean 'pJ'"),
    ],
)
def test_units_that_are_not_known_are_refused_in_one_line(unit, said):
    for make in (lambda: Quantity(1.0, unit, "the source"), lambda: Interval(1, 1, 1, unit)):
        with pytest.raises(UnitError, match=re.escape(repr(unit))) as caught:
            make()
        assert said in str(caught.value)
        assert "\n" not in str(caught.value)


def test_not_a_number_is_no_quantity():
    with pytest.raises(ValueError, match="does not hold"):
        Quantity(math.nan, "pJ", "s")


def test_sums_of_one_unit():
    assert Interval(1, 2, 3, "pJ") + Interval(10, 20, 30, "pJ") == Interval(11, 22, 33, "pJ")


@pytest.mark.parametrize("other", ["ns", "nJ", "bits", "pj"])
def test_unlike_units_are_refused(other):
    with pytest.raises(UnitError, match=other):
        Interval(1, 2, 3, "pJ") + Interval(1, 2, 3, other)


def test_energy_units_convert():
    converted = Interval(1e6, 2e6, 3e6, "pJ").to("uJ")
    assert (converted.low, converted.nominal, converted.high) == pytest.approx((1, 2, 3), rel=1e-12)
    assert converted.unit == "uJ"


@pytest.mark.parametrize(("unit", "to"), [("ns", "pJ"), ("pJ", "ns"), ("bits", "bits")])
def test_only_energy_converts(unit, to):
    with pytest.raises(UnitError):
        Interval(1, 1, 1, unit).to(to)


@given(
    st.lists(st.floats(0, 1e6), min_size=3, max_size=3).map(sorted),
    st.lists(st.floats(0, 1e6), min_size=3, max_size=3).map(sorted),
)
def test_products_keep_their_order(energy, count):
    low, nominal, high = count
    product = Interval(*energy, "pJ").times(low, nominal, high)
    assert product.low <= product.nominal <= product.high
    assert product.nominal == energy[1] * nominal


@pytest.mark.parametrize("count", [(2, 1, 3), (1, 3, 2), (-1, 0, 1)])
def test_counts_out_of_order_are_refused(count):
    with pytest.raises(ValueError, match="does not hold"):
        Interval(1, 1, 1, "pJ").times(*count)


# Chips.


BUILT = [name for name in hw.list_chips() if hw.get_chip(name).build]


def quantities(thing, path=""):
    """Yield every Quantity anywhere inside a dataclass, with its path."""
    if isinstance(thing, Quantity):
        yield path, thing
    elif isinstance(thing, Mapping):
        for key, value in thing.items():
            yield from quantities(value, f"{path}[{key}]")
    elif dataclasses.is_dataclass(thing):
        for field in dataclasses.fields(thing):
            yield from quantities(getattr(thing, field.name), f"{path}.{field.name}")


@pytest.mark.parametrize("name", hw.list_chips())
def test_every_number_of_a_chip_is_positive_and_has_a_source(name):
    chip = hw.get_chip(name)
    found = list(quantities(chip))
    assert len(found) >= 5
    for path, quantity in found:
        assert quantity.value > 0, path
        assert len(quantity.source) > 5, path
        assert quantity.unit, path
    assert chip.notes


@pytest.mark.parametrize("name", BUILT)
def test_every_part_of_a_build_has_a_source(name):
    chip = hw.get_chip(name)
    assert all(limit > 0 for _, limit in chip.core.items())
    assert all(len(part.source) > 5 for part in (chip.arithmetic, chip.synapses, chip.mesh))


@pytest.mark.parametrize("name", BUILT)
def test_the_mesh_holds_exactly_the_cores(name):
    chip = hw.get_chip(name)
    cores = int(chip.cores.value)
    assert chip.mesh.width * chip.mesh.height * chip.mesh.cores_per_tile == cores
    seen = [chip.mesh.position(core) for core in range(cores)]
    assert set(seen) == {(x, y) for x in range(chip.mesh.width) for y in range(chip.mesh.height)}
    assert all(seen.count(tile) == chip.mesh.cores_per_tile for tile in set(seen))


@pytest.mark.parametrize("name", BUILT)
def test_every_core_full_of_neurons_can_be_addressed(name):
    chip = hw.get_chip(name)
    assert 2 ** chip.synapses.index_bits_for(int(chip.core.neurons.value)) >= chip.core.neurons.value


@pytest.mark.parametrize("name", BUILT)
def test_numbers_follow_the_build(name):
    """The shared names show the parts that programs are made from, also of a chip with other parts."""
    chip = hw.get_chip(name)
    assert chip.numbers["cores"] is chip.cores
    assert chip.numbers["neurons_per_core"] is chip.core.neurons
    assert chip.number("weight_bits").value == max(chip.arithmetic.weight_bits)
    smaller = chip.rebuilt(cores=Quantity(2, "cores", "made up"))
    assert smaller.number("cores").value == smaller.cores.value == 2
    assert (smaller.core, smaller.numbers["state_bits"]) == (chip.core, chip.numbers["state_bits"])


def test_a_number_that_a_chip_lacks_names_the_nearest():
    with pytest.raises(UnknownNameError, match="'neurons_per_core'"):
        hw.get_chip("loihi1").number("neuron_per_core")


def test_a_chip_without_a_build_says_so():
    described = dataclasses.replace(hw.get_chip("loihi1"), name="paper", semantics="", build=None)
    assert described.number("cores").value == 128
    for part in ("core", "arithmetic", "synapses", "mesh"):
        with pytest.raises(ChipError, match="paper is described by its numbers and limits only"):
            getattr(described, part)


def test_chips_are_listed_under_their_own_names():
    assert hw.list_chips() == sorted(CHIPS)
    assert all(chip.name == name for name, chip in CHIPS.items())


def test_an_unknown_chip_names_the_nearest():
    with pytest.raises(UnknownNameError, match="'loihi1'") as caught:
        hw.get_chip("lohi1")
    assert caught.value.user_error
    with pytest.raises(LookupError, match=r"Known: .*loihi1"):
        hw.get_chip("zzz")


def test_loihi1_is_what_its_sources_say():
    chip = hw.get_chip("loihi1")
    assert dict(chip.core.items()) == {
        "neurons": 1024,
        "in_axons": 4096,
        "out_axons": 4096,
        "synapse_bits": 128 * 1024 * 8,
    }
    assert int(chip.cores.value) == 128
    assert (chip.mesh.width, chip.mesh.height, chip.mesh.cores_per_tile) == (8, 4, 4)


# Synapse memory of Loihi: chunks of at most 64 weights, n·(weight + index) + 10 bits, rounded up to 64.


@pytest.mark.parametrize(
    ("neurons", "bits"),
    [(1, 0), (2, 6), (64, 6), (65, 7), (128, 7), (129, 8), (256, 8), (257, 9), (512, 9), (513, 10), (1024, 10)],
)
def test_index_bits(neurons, bits):
    assert hw.get_chip("loihi1").synapses.index_bits_for(neurons) == bits


@pytest.mark.parametrize(
    ("synapses", "neurons", "expected"),
    [
        (0, 1024, 0),
        (1, 1024, 64),  # 18 + 10 = 28
        (3, 1024, 64),  # 54 + 10 = 64 exactly
        (4, 1024, 128),  # 72 + 10 = 82
        (63, 1024, 1152),  # 1134 + 10 = 1144
        (64, 1024, 1216),  # 1152 + 10 = 1162
        (65, 1024, 1216 + 64),
        (128, 1024, 2 * 1216),
        (200, 1024, 3 * 1216 + 192),  # 8 left: 144 + 10 = 154
        (1, 64, 64),  # 14 + 10 = 24
        (63, 64, 896),  # 882 + 10 = 892
        (64, 64, 960),  # 896 + 10 = 906
        (65, 64, 960 + 64),
        (200, 64, 3 * 960 + 128),  # 112 + 10 = 122
        (64, 1, 576),  # 512 + 10 = 522: one neuron needs no index
    ],
)
def test_axon_memory_with_8_bit_weights(synapses, neurons, expected):
    assert hw.get_chip("loihi1").synapses.axon_bits(synapses, 8, neurons) == expected


def test_axon_memory_with_tags_and_delays():
    packed = SynapseFormat(32, 16, 5, delay_bits=3, tag_bits=2, index_bits=(4, 8), source="made up")
    # 20 synapses of 1 + 3 + 2 + 4 bits: 165 → 192, and 4 left: 45 → 64.
    assert packed.axon_bits(20, 1, 16) == 192 + 64


@given(st.integers(0, 500), st.integers(1, 8), st.integers(1, 1024))
def test_axon_memory_grows_and_never_undercuts_its_payload(synapses, weight_bits, neurons):
    packed = hw.get_chip("loihi1").synapses
    bits = packed.axon_bits(synapses, weight_bits, neurons)
    assert bits % 64 == 0
    assert bits >= synapses * weight_bits
    assert packed.axon_bits(synapses + 1, weight_bits, neurons) >= bits
    # A full chunk more costs the same wherever it is added.
    full = packed.axon_bits(64, weight_bits, neurons)
    assert packed.axon_bits(synapses + 64, weight_bits, neurons) == bits + full


# Mesh.

MESHES = st.builds(Mesh, st.integers(1, 8), st.integers(1, 6), st.integers(1, 5), st.just("made up"))


@given(MESHES, st.data())
def test_routes_hops_and_positions_agree(mesh, data):
    core = st.integers(0, mesh.width * mesh.height * mesh.cores_per_tile - 1)
    source, target = data.draw(core), data.draw(core)
    links = list(mesh.route(source, target))
    assert len(links) == mesh.hops(source, target) == mesh.hops(target, source)
    position = mesh.position(source)
    turned = False
    for (x0, y0), (x1, y1) in links:
        assert (x0, y0) == position
        assert abs(x0 - x1) + abs(y0 - y1) == 1
        assert 0 <= x1 < mesh.width
        assert 0 <= y1 < mesh.height
        turned = turned or y0 != y1
        assert not (turned and x0 != x1), "x comes first"
        position = (x1, y1)
    assert position == mesh.position(target)


def test_positions_by_hand():
    mesh = hw.get_chip("loihi1").mesh
    assert [mesh.position(core) for core in (0, 3, 4, 15, 16, 127)] == [(0, 0), (0, 0), (0, 1), (0, 3), (1, 0), (7, 3)]
    assert mesh.hops(0, 127) == 10
    assert list(mesh.route(0, 20)) == [((0, 0), (1, 0)), ((1, 0), (1, 1))]


# Counts and energy.


def layer(name, op, kind, **numbers):
    return LayerCounts(name, op, kind, "real", "real", **numbers)


COUNTS = Counts(
    per_layer=(
        layer(
            "stem", "conv2d", "synapse", mac=1000.0, dense_macs=1000.0, bias_adds=50.0, static=True, static_repeats=4
        ),
        layer("stem_lif", "lif", "neuron", spikes=30.0, neurons=50, rate=0.15, neuron_updates=200.0),
        layer("body", "conv2d", "synapse", dense_macs=8000.0, ac=700.0, synaptic_events=700.0, bias_adds=80.0),
        layer("sum", "add", "other", adds=40.0),
        layer("relu", "relu", "activation", activations=20.0),
        layer("body_if", "integrate_fire", "neuron", spikes=5.0, neurons=20, rate=0.0625, neuron_updates=80.0),
    ),
    timesteps=4,
    images=10,
    neuron_operations={"lif": (1, 2, 1), "integrate_fire": (0, 1, 1)},
)


def test_totals():
    assert COUNTS.total("mac") == 1000
    assert COUNTS.total("ac") == 700
    assert COUNTS.total("spikes") == 35
    assert COUNTS.total("neuron_updates") == 280
    assert COUNTS.total("dense_macs") == 9000
    with pytest.raises(LookupError, match="synaptic_events"):
        COUNTS.total("sops")


def test_counts_as_json():
    data = json.loads(json.dumps(COUNTS.to_dict(), allow_nan=False))
    assert set(data["totals"]) == set(COUNTED)
    assert data["totals"]["bias_adds"] == 130
    assert [entry["name"] for entry in data["per_layer"]][:2] == ["stem", "stem_lif"]
    assert data["neuron_operations"]["lif"] == [1, 2, 1]


def test_45nm_by_hand():
    energy = hw.energy.estimate(COUNTS)
    pj = {
        "multiply-accumulates": (4600.0, 4600.0, 18400.0),
        "accumulates": (630.0, 630.0, 630.0),
        # 200·(3.7 + 3·0.9) + 80·2·0.9
        "neuron updates": (0.0, 1424.0, 1424.0),
        # (50 + 80 + 40 + 20)·0.9, and the first 50 four times
        "biases, adds, comparisons": (0.0, 171.0, 306.0),
    }
    for part in energy.parts:
        got = (part.energy.low, part.energy.nominal, part.energy.high)
        assert got == pytest.approx([value * 1e-6 for value in pj.pop(part.name)], rel=1e-12), part.name
        assert part.energy.unit == "uJ"
    assert not pj
    assert energy.total.low == pytest.approx(5230e-6, rel=1e-12)
    assert energy.total.nominal == pytest.approx(6825e-6, rel=1e-12)
    assert energy.total.high == pytest.approx(20760e-6, rel=1e-12)
    by_layer = dict(energy.per_layer)
    assert by_layer["stem"] == pytest.approx((4600 + 45) * 1e-6, rel=1e-12)
    assert by_layer["sum"] == pytest.approx(36e-6, rel=1e-12)


def test_the_low_end_is_the_papers_formula():
    """E_MAC·MACs + E_AC·ACs and nothing else."""
    low = hw.energy.estimate(COUNTS, "45nm").total.low
    assert low == pytest.approx((4.6 * COUNTS.total("mac") + 0.9 * COUNTS.total("ac")) * 1e-6, rel=1e-12)


@pytest.mark.parametrize("model", ["45nm", "45nm-fp16"])
def test_a_static_layer_is_charged_once_or_at_every_step(model):
    once = Counts((layer("a", "conv2d", "synapse", mac=100.0, bias_adds=10.0),), 4, 1)
    static = Counts((dataclasses.replace(once.per_layer[0], static=True, static_repeats=4),), 4, 1)
    fixed, ends = hw.energy.estimate(once, model).total, hw.energy.estimate(static, model).total
    assert (ends.low, ends.nominal) == (fixed.low, fixed.nominal)
    assert ends.high == pytest.approx(4 * fixed.nominal, rel=1e-12)


# Models that need more of the counts are tested over a whole registry in tests/hw/energy.
ARITHMETIC = ("45nm", "45nm-fp16", "45nm-int8")
NUMBERS = st.floats(0, 1e9)
LAYERS = st.builds(
    LayerCounts,
    name=st.sampled_from(["a", "b", "c"]),
    op=st.sampled_from(["conv2d", "lif", "integrate_fire", "add"]),
    kind=st.just("other"),
    input_type=st.just("real"),
    output_type=st.just("real"),
    mac=NUMBERS,
    ac=NUMBERS,
    bias_adds=NUMBERS,
    neuron_updates=NUMBERS,
    activations=NUMBERS,
    adds=NUMBERS,
    static=st.booleans(),
    static_repeats=st.integers(1, 64),
)


@pytest.mark.parametrize("model", ARITHMETIC)
@given(layers=st.lists(LAYERS, max_size=5))
def test_energy_is_an_ordered_sum_of_its_parts(model, layers):
    counts = Counts(tuple(layers), 4, 1, (), COUNTS.neuron_operations)
    energy = hw.energy.estimate(counts, model)
    for interval in (energy.total, *(part.energy for part in energy.parts)):
        assert 0 <= interval.low <= interval.nominal <= interval.high
        assert interval.unit == energy.total.unit
    for end in ("low", "nominal", "high"):
        summed = sum(getattr(part.energy, end) for part in energy.parts)
        assert getattr(energy.total, end) == pytest.approx(summed, rel=1e-9, abs=1e-30)
    assert sum(value for _, value in energy.per_layer) == pytest.approx(energy.total.nominal, rel=1e-9, abs=1e-30)


@pytest.mark.parametrize("model", ARITHMETIC)
def test_an_estimate_carries_its_provenance(model):
    energy = hw.energy.estimate(COUNTS, model)
    data = json.loads(json.dumps({**energy.to_dict(), **energy.provenance()}, allow_nan=False))
    assert data["model"] == model
    assert data["low"] <= data["nominal"] <= data["high"]
    assert set(data["ends"]) == {"low", "nominal", "high"}
    assert all(constant["source"] and constant["unit"] == "pJ" for constant in data["constants"])
    assert len(data["per_layer"]) == len(COUNTS.per_layer)


def test_what_was_not_counted_is_passed_on():
    counts = dataclasses.replace(COUNTS, uncounted=("softmax",))
    assert hw.energy.estimate(counts).provenance()["uncounted"] == ["softmax"]


def test_an_unknown_energy_model_names_the_nearest():
    with pytest.raises(UnknownNameError, match="'45nm'") as caught:
        hw.energy.estimate(COUNTS, "45nmm")
    assert caught.value.user_error


def test_neurons_whose_cost_is_not_given_are_not_free():
    """A neuron without an entry in ``neuron_operations`` must be refused or reported, never priced at nothing."""
    counts = Counts((layer("a", "izhikevich", "neuron", neuron_updates=100.0),), 1, 1)
    try:
        energy = hw.energy.estimate(counts)
    except (LookupError, ValueError):
        return
    assert energy.total.nominal > 0 or energy.uncounted


def test_a_core_outside_the_mesh_has_no_position():
    mesh = hw.get_chip("loihi1").mesh
    for core in (-1, 128):
        with pytest.raises(ValueError, match=str(core)):
            mesh.position(core)


def test_more_neurons_than_any_index_can_address():
    with pytest.raises(ValueError, match="5000"):
        hw.get_chip("loihi1").synapses.index_bits_for(5000)


def test_an_interval_out_of_order_is_refused():
    with pytest.raises(ValueError, match="does not hold"):
        Interval(3, 2, 1, "pJ")
