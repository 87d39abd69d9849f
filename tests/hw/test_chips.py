"""Chips as data: every number with unit, source and a sane range; what contradicts itself is no chip; chips in files.

Would break it: a number without source, one that a source does not have, an unconfirmed one that passes for checked,
a description that cannot be, a misspelt name that is taken for nothing, a file that is read as another chip.
"""

import math
import re
from dataclasses import fields, replace
from pathlib import Path

import pytest

import hw
from hw.chip import Chip, ChipError
from hw.chips import CHIPS
from hw.chips.design import PARAMETERS
from hw.describing import dumps, read
from hw.energy import MODELS
from hw.layers import LayerLimits
from hw.lookup import UnknownNameError
from hw.numbers import MEMORIES, NUMBERS, OF_THE_WHOLE
from hw.quantity import Quantity

ALL = hw.list_chips()
PROMISED = {
    *("loihi1", "loihi2", "truenorth", "spinnaker2", "speck", "akida", "darwin3", "tianjic", "odin", "tinyodin"),
    *("catalyst_n1", "brainscales2", "mesh"),
}


def test_the_chips_that_are_described():
    assert set(ALL) >= PROMISED
    assert [name for name in ALL if name.startswith("xylo")] == ["xylo_audio2", "xylo_audio3", "xylo_imu"]


@pytest.mark.parametrize("name", ALL)
def test_every_number_has_a_known_name_its_unit_a_sane_range_and_a_source(name):
    for key, number in hw.get_chip(name).numbers.items():
        known, ends = NUMBERS[key], number.interval
        assert number.unit in known.units, key
        assert known.low <= ends.low <= ends.nominal <= ends.high <= known.high, key
        assert ends.nominal > 0, key
        assert len(number.source) > 5, key
        if re.search(r"not checked|assumed|chosen|not on", number.source):
            assert not number.confirmed, f"{key}: {number.source}"


@pytest.mark.parametrize("name", ALL)
def test_numbers_are_shown_in_one_order(name):
    order = list(NUMBERS)
    places = [order.index(key) for key in hw.get_chip(name).numbers]
    assert places == sorted(places)


def test_every_name_of_a_number_is_used_or_asked_for():
    assert set(MEMORIES) | set(OF_THE_WHOLE) <= set(NUMBERS)
    used = {key for chip in CHIPS.values() for key in chip.numbers}
    assert used == set(NUMBERS), set(NUMBERS) - used


# (chip, number): value, low, high, confirmed; as the sources have them, typed here once more.
READ = {
    ("loihi1", "cores"): (128, 128, 128, True),
    ("loihi1", "node_nm"): (14, 14, 14, True),
    ("loihi1", "synapse_bits_per_core"): (128 * 8192, 128 * 8192, 128 * 8192, True),
    ("loihi1", "delay_steps"): (62, 62, 63, True),
    ("loihi1", "power_mw"): (100, 100, 500, False),
    ("loihi1", "pj_per_synop"): (23.6, 23.6, 35.5, True),
    ("loihi1", "pj_per_neuron_update"): (81, 81, 81, True),
    ("loihi1", "pj_per_inactive_update"): (52, 52, 52, True),
    ("loihi1", "pj_per_hop"): (3.0, 3.0, 4.2, True),
    ("loihi1", "step_ns"): (600, 600, 1800, True),
    ("loihi2", "cores"): (128, 120, 152, False),
    ("loihi2", "neurons_per_core"): (8192, 8192, 8192, False),
    ("loihi2", "neurons"): (1e6, 1e6, 1e6, True),
    ("loihi2", "synapses"): (1.2e8, 1.2e8, 1.2e8, True),
    ("loihi2", "area_mm2"): (31, 31, 31, True),
    ("loihi2", "payload_bits"): (32, 32, 32, False),
    ("truenorth", "cores"): (4096, 4096, 4096, True),
    ("truenorth", "neurons_per_core"): (256, 256, 256, True),
    ("truenorth", "area_mm2"): (430, 430, 430, True),
    ("truenorth", "power_mw"): (63, 63, 70, True),
    ("truenorth", "weight_bits"): (9, 9, 9, False),
    ("truenorth", "pj_per_synop"): (2.5, 2.5, 26, False),
    ("spinnaker2", "cores"): (153, 152, 153, False),
    ("spinnaker2", "power_mw"): (2000, 2000, 5000, True),
    ("spinnaker2", "pj_per_synop"): (10, 10, 450, True),
    ("spinnaker2", "pj_per_neuron_update"): (2190, 0, 2190, True),
    ("darwin3", "cores"): (575, 575, 575, False),
    ("darwin3", "neurons"): (2.35e6, 2.35e6, 2.35e6, True),
    ("darwin3", "pj_per_synop"): (5.47, 5.47, 5.47, False),
    ("tianjic", "cores"): (156, 156, 156, True),
    ("tianjic", "area_mm2"): (14.44, 14.44, 14.44, True),
    ("tianjic", "core_memory_bits"): (180224, 180224, 180224, True),
    ("tianjic", "step_ns"): (16833.33, 16833.33, 16833.33, True),
    ("tianjic", "pj_per_synop"): (1.54, 1.54, 1.54, True),
    ("akida", "cores"): (80, 80, 80, True),
    ("akida", "power_mw"): (0.1, 0.1, 300, True),
    ("speck", "cores"): (9, 9, 9, True),
    ("speck", "neurons"): (327680, 327680, 327680, True),
    ("speck", "idle_power_mw"): (0.42, 0.42, 0.42, True),
    ("speck", "power_mw"): (0.70, 0.70, 0.70, True),
    ("speck", "node_nm"): (65, 65, 65, False),
    ("xylo_audio2", "neurons_per_core"): (1000, 1000, 1000, True),
    ("xylo_audio2", "output_neurons"): (8, 8, 8, True),
    ("xylo_audio3", "neurons_per_core"): (992, 992, 992, True),
    ("xylo_audio3", "fan_out"): (1024, 1024, 1024, True),
    ("xylo_imu", "neurons_per_core"): (496, 496, 496, True),
    ("xylo_imu", "fan_out"): (512, 512, 512, True),
    ("odin", "pj_per_synop"): (12.7, 12.7, 12.7, True),
    ("odin", "area_mm2"): (0.086, 0.086, 0.086, True),
    ("odin", "state_bits"): (8, 8, 8, True),
    ("tinyodin", "pj_per_synop"): (12.7, 12.7, 12.7, False),
    ("tinyodin", "state_bits"): (12, 12, 12, True),
    ("tinyodin", "event_queue"): (128, 128, 128, True),
    ("catalyst_n1", "cores"): (128, 128, 128, True),
    ("catalyst_n1", "synapse_words_per_core"): (131072, 131072, 131072, True),
    ("catalyst_n1", "packets_per_step"): (512, 512, 512, True),
    ("catalyst_n1_f2", "cores"): (16, 16, 16, True),
    ("catalyst_n1_f2", "synapse_words_per_core"): (4096, 4096, 4096, True),
    ("catalyst_n1_f2", "clock_mhz"): (62.5, 62.5, 62.5, True),
    ("brainscales2", "neurons_per_core"): (512, 512, 512, False),
    ("brainscales2", "synapses_per_core"): (131072, 131072, 131072, False),
}


@pytest.mark.parametrize(("name", "key"), READ)
def test_numbers_as_read(name, key):
    number = hw.get_chip(name).number(key)
    value, low, high, confirmed = READ[name, key]
    ends = number.interval
    assert (ends.nominal, ends.low, ends.high) == pytest.approx((value, low, high), rel=1e-6)
    assert number.confirmed is confirmed


def test_energies_are_those_of_the_energy_models():
    """One number, one place: what a chip says of a synaptic operation is what its energy model prices it with."""
    for name in ("truenorth", "spinnaker2", "tianjic", "odin", "darwin3"):
        assert hw.get_chip(name).number("pj_per_synop") == MODELS[name].constants["E_SOP"]
    assert hw.get_chip("loihi1").number("pj_per_synop") == MODELS["loihi1"].constants["E_syn"]
    assert "pj_per_synop" not in hw.get_chip("loihi2").numbers, "none was published"


def test_speck_layer_by_layer():
    layers = hw.get_chip("speck").layers
    assert layers.neuron_memory == tuple(1024 * k for k in (64, 64, 64, 32, 32, 16, 16, 16, 16))
    assert layers.kernel_memory == tuple(1024 * k for k in (16, 16, 16, 32, 32, 64, 64, 16, 16))
    assert layers.bias_memory == (1024,) * 9
    most = ("kernel", "padding", "channels", "input_map", "output_map", "destinations")
    assert [getattr(layers, name).value for name in most] == [16, 7, 1024, 128, 64, 2]
    assert (layers.strides, layers.pools) == ((1, 2, 4, 8), (1, 2, 4))


# What cannot be.


def quantity(value, unit, **more):
    return Quantity(value, unit, "made up for a test", **more)


def with_numbers(chip, **numbers):
    return replace(chip, numbers={**chip.numbers, **numbers})


IMPOSSIBLE = {
    "infinite": ({"fan_in": quantity(math.inf, "synapses")}, "fan_in of inf synapses is outside of"),
    "negative": ({"node_nm": quantity(-14, "nm")}, "node_nm of -14 nm is outside of"),
    "nothing": ({"pj_per_message": quantity(0, "pJ")}, "pj_per_message is 0: what is not known is left out"),
    "negative end": ({"pj_per_hop": quantity(3, "pJ", low=-1)}, "pj_per_hop of -1 pJ is outside of"),
    "part of a bit": ({"leak_bits": quantity(3.5, "bits")}, "leak_bits of 3.5 bits is no whole number"),
    "a thousand bits": ({"leak_bits": quantity(1000, "bits")}, "leak_bits of 1000 bits is outside of 1 to 64"),
    "other unit": ({"step_ns": quantity(1, "us")}, "step_ns is given in 'us', it is in ns"),
    "misspelt": ({"neurons_per_cor": quantity(4, "neurons")}, "Did you mean 'neurons_per_core'?"),
    "no source": ({"fan_in": Quantity(4, "synapses", "  ")}, "fan_in has no source"),
    "plain number": ({"fan_in": 4}, "fan_in is 4, not a quantity"),
}


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("case", IMPOSSIBLE)
def test_numbers_that_cannot_be_are_refused_for_every_chip(name, case):
    numbers, said = IMPOSSIBLE[case]
    with pytest.raises(ChipError) as caught:
        with_numbers(hw.get_chip(name), **numbers)
    assert str(caught.value).startswith(f"{name}: ")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


LOIHI = hw.get_chip("loihi1")
SPECK = hw.get_chip("speck")
TRUENORTH = hw.get_chip("truenorth")


def arithmetic(**changes):
    return lambda: LOIHI.rebuilt(arithmetic=replace(LOIHI.arithmetic, **changes))


def synapses(**changes):
    return lambda: LOIHI.rebuilt(synapses=replace(LOIHI.synapses, **changes))


def core(**changes):
    return lambda: LOIHI.rebuilt(core=replace(LOIHI.core, **changes))


def layers(**changes):
    return lambda: replace(SPECK, layers=replace(SPECK.layers, **changes))


def numbers(chip=TRUENORTH, **changes):
    return lambda: with_numbers(chip, **changes)


CONTRADICTIONS = {
    "more neurons than its cores hold": (
        numbers(neurons=quantity(2_000_000, "neurons")),
        "neurons of 2,000,000, but cores × neurons_per_core are 1,048,576",
    ),
    "more synapses than its cores hold": (
        numbers(synapses=quantity(10**9, "synapses")),
        "but cores × synapses_per_core are 268,435,456",
    ),
    "more cores than places": (
        lambda: LOIHI.rebuilt(cores=quantity(129, "cores")),
        "cores of 129, but mesh_width × mesh_height × cores_per_tile are 128",
    ),
    "more cores than addresses": (numbers(addressable_cores=quantity(100, "cores")), "addressable_cores is 100"),
    "index too short": (core(neurons=quantity(5000, "compartments")), "an index of 12 bits addresses 4,096"),
    "index too short, described": (
        numbers(index_bits=quantity(7, "bits")),
        "neurons_per_core of 256, but an index of 7 bits addresses 128",
    ),
    "weights beyond a word": (synapses(word_bits=4), "weight_bits of 8, but synapse_word_bits is 4"),
    "weights beyond a word, described": (
        numbers(synapse_word_bits=quantity(8, "bits")),
        "weight_bits of 9, but synapse_word_bits is 8",
    ),
    "memory below one synapse": (core(synapse_bits=quantity(32, "bits")), "synapse_bits_per_core is 32"),
    "memory below its synapses": (
        numbers(SPECK, synapse_bits_per_core=quantity(9000, "bits"), core_memory_bits=quantity(8000, "bits")),
        "synapse_bits_per_core of 9,000, but core_memory_bits is 8,000",
    ),
    "decays longer than states": (
        arithmetic(decay_bits=quantity(30, "bits")),
        "decay_bits of 30, but state_bits is 24",
    ),
    "more power at rest than at work": (
        numbers(SPECK, idle_power_mw=quantity(9, "mW")),
        "idle_power_mw of 9, but power_mw is 0.7",
    ),
    "no weights": (arithmetic(weight_bits=()), "weight_bits (): give one or more widths"),
    "weights of no bits": (arithmetic(weight_bits=(0, 8)), "weight_bits (0, 8): give"),
    "weights in disorder": (arithmetic(weight_bits=(8, 4)), "in ascending order"),
    "no exponent": (arithmetic(weight_exponent=(1, -1)), "weight exponents from 1 to -1: give"),
    "negative payload": (arithmetic(payload_bits=-1), "payload_bits of -1: 0 to 64"),
    "formats without source": (arithmetic(source=""), "the arithmetic has no source"),
    "no index": (synapses(index_bits=()), "index_bits (): give"),
    "an index without end": (synapses(index_bits=(10**12,)), "index_bits (1000000000000,): give"),
    "a tag without end": (synapses(tag_bits=10**12), "tag_bits of 1000000000000: 0 to 64"),
    "chunks of nothing": (synapses(chunk_weights=0), "chunks of 0 weights"),
    "mesh of nothing": (
        lambda: LOIHI.rebuilt(mesh=replace(LOIHI.mesh, height=0)),
        "mesh_height is 0",
    ),
    "unknown reset": (lambda: replace(LOIHI, resets=("sotf",)), "unknown reset 'sotf'. Did you mean 'soft'?"),
    "a reset twice": (lambda: replace(LOIHI, resets=("hard", "hard")), "the reset 'hard' stands there twice"),
    "a value, but no hard reset": (
        lambda: replace(LOIHI, resets=("soft",)),
        "a reset to 0, but no hard reset",
    ),
    "a reset to nowhere": (lambda: replace(LOIHI, reset_value=math.inf), "which is not finite"),
    "a neuron without name": (lambda: replace(LOIHI, neurons=("lif", "")), "a neuron without a name"),
    "semantics without numbers": (
        lambda: replace(SPECK, semantics="graded LIF"),
        "nothing to make programs from: no resets, no neurons_per_core",
    ),
    "a build without semantics": (lambda: replace(LOIHI, semantics=""), "a build, but no semantics"),
    "no title": (lambda: replace(LOIHI, title=" "), "needs a name and a title"),
    "memories of other cores": (
        layers(kernel_memory=(1024,) * 8),
        "layers.kernel_memory of 8 cores, but cores 9",
    ),
    "memories below the neurons": (
        layers(neuron_memory=(1024,) * 9),
        "neurons 327,680, but layers.neuron_memory holds 9,216",
    ),
    "a stride of nothing": (layers(strides=(0, 1)), "layers.strides (0, 1)"),
    "a stride that is not there": (
        layers(stride_kernels={3: (3,)}),
        "kernels for a stride of 3, but strides 1, 2, 4, 8",
    ),
    "kernels that are not there": (
        layers(stride_kernels={2: (17,)}),
        "a stride of 2 with kernels 17, but kernels up to 16",
    ),
    "kernels in bits": (layers(kernel=quantity(3, "bits")), "layers.kernel is given in 'bits', it is in pixels"),
    "half a kernel": (layers(kernel=quantity(2.5, "pixels")), "layers.kernel is 2.5: a whole number"),
    "layers without source": (lambda: replace(SPECK, layers=LayerLimits(source="")), "layers have no source"),
}


@pytest.mark.parametrize("case", CONTRADICTIONS)
def test_what_contradicts_itself_is_no_chip(case):
    make, said = CONTRADICTIONS[case]
    with pytest.raises(ChipError) as caught:
        make()
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert ChipError.user_error


def test_ranges_are_given_the_benefit_of_the_doubt():
    """What may be true by its range is no contradiction."""
    maybe = with_numbers(TRUENORTH, neurons=quantity(2_000_000, "neurons", low=1_000_000))
    assert maybe.number("neurons").value == 2_000_000


def test_everything_wrong_is_said_at_once():
    with pytest.raises(ChipError, match=r"is given in 'us', it is in ns; .*no whole number"):
        with_numbers(TRUENORTH, leak_bits=quantity(1.5, "bits"), step_ns=quantity(1, "us"))


def test_chips_are_compared_and_hashed_by_what_they_say():
    assert replace(LOIHI) == LOIHI
    assert hash(LOIHI) == hash(replace(LOIHI))
    assert with_numbers(LOIHI, node_nm=quantity(7, "nm")) != LOIHI


# Meshes of one's own.


def test_a_mesh_of_ones_own():
    chip = hw.get_chip("mesh:width=16,height=4,cores_per_tile=2,neurons=512,weight_bits=6,synapse_kib=64")
    assert (chip.mesh.width, chip.mesh.height, chip.cores.value) == (16, 4, 128)
    assert (chip.core.neurons.value, chip.core.synapse_bits.value) == (512, 64 * 8192)
    assert chip.arithmetic.weight_bits == (6,)
    assert chip.synapses.index_bits == (9,)
    assert chip == hw.chips.mesh(width=16, height=4, cores_per_tile=2, neurons=512, weight_bits=6, synapse_kib=64)


def test_a_mesh_is_found_again_by_its_name():
    """Programs store the name of their chip: it holds every parameter that is no default, and nothing else."""
    for given in ({}, {"width": 8}, {"width": 3, "payload_bits": 0}, {"pj_per_synop": 2.125, "in_axons": 2**24}):
        chip = hw.chips.mesh(**given)
        assert hw.get_chip(chip.name) == chip
    assert hw.chips.mesh(width=8).name == "mesh"
    assert hw.chips.mesh(in_axons=2**24, width=3.0).name == "mesh:width=3,in_axons=16777216"


@pytest.mark.parametrize("name", PARAMETERS)
def test_every_parameter_does_something(name):
    value = {"cores_per_tile": 2, "state_bits": 20}.get(name, PARAMETERS[name].low)
    changed, plain = hw.chips.mesh(**{name: value}), hw.chips.mesh()
    assert replace(changed, name="x", title="x") != replace(plain, name="x", title="x")


def test_prices_are_numbers_only_where_they_are_given():
    assert "pj_per_synop" not in hw.chips.mesh().numbers
    assert hw.chips.mesh(pj_per_synop=2.5).number("pj_per_synop").interval.high == 2.5
    assert not hw.chips.mesh(pj_per_synop=2.5).number("pj_per_synop").confirmed


BAD_NAMES = {
    "mesh:widht=3": "Did you mean 'width'?",
    "mesh:width=0": "width=0.0, tiles from west to east: must be a whole number from 1 to 1,024",
    "mesh:width=2.5": "must be a whole number",
    "mesh:width=nan": "must be a whole number",
    "mesh:width=inf": "must be a whole number",
    "mesh:width=1e400": "must be a whole number",
    "mesh:width=three": "width='three' is no number",
    "mesh:width": "'width' is no parameter; give name=value",
    "mesh:": "'' is no parameter",
    "mesh:width=3,width=4": "width is given twice",
    "mesh:pj_per_synop=0": "must be a number from",
    "mesh:state_bits=8": "decay_bits of 12, but state_bits is 8",
    "mehs:width=3": "Did you mean 'mesh'?",
    "loihi1:width=3": "loihi1 has no parameters",
    "loihi": "Did you mean 'loihi1' or 'loihi2'?",
    "": "unknown chip ''",
}


@pytest.mark.parametrize("name", BAD_NAMES)
def test_names_that_are_no_chip_get_one_line(name):
    with pytest.raises((ChipError, UnknownNameError)) as caught:
        hw.get_chip(name)
    assert BAD_NAMES[name] in str(caught.value)
    assert "\n" not in str(caught.value)


# Chips in files.


@pytest.mark.parametrize("name", ALL)
def test_a_chip_written_is_read_as_the_same(name, tmp_path):
    chip, path = hw.get_chip(name), tmp_path / "own.toml"
    path.write_text(dumps(chip))
    found = hw.get_chip(str(path))
    assert found.name == str(path)
    assert replace(found, name=name) == chip


CHANGED = {
    "not TOML": ("title = ", "is not TOML"),
    "unknown key": ('titel = "x"', "unknown key titel. Did you mean 'title'?"),
    "a name": ('name = "mine"', "a chip in a file is called by its path"),
    "lacks": ("", "lacks title, neurons, resets, notes"),
    "number for text": ("title = 3", "title is 3, it must be text in quotes"),
    "text for a number": ('reset_value = "0"', "reset_value is '0', it must be a number"),
    "truth for a number": ("reset_value = true", "reset_value is True, it must be a number"),
    "number for a list": ("resets = 3", "resets is 3, it must be a list"),
    "number for a table": ("numbers = 3", "numbers is 3, it must be a table"),
    "plain number": ("numbers.cores = 3", 'numbers.cores is 3, it must be a table such as { value = 24, unit = "bits"'),
    "no unit": ('numbers.cores = { value = 3, source = "mine" }', "lacks numbers.cores.unit"),
    "misspelt in a number": (
        'numbers.cores = { value = 3, unit = "cores", source = "mine", hihg = 4 }',
        "unknown key numbers.cores.hihg. Did you mean 'high'?",
    ),
    "upside down": (
        'numbers.cores = { value = 3, unit = "cores", source = "mine", high = 2 }',
        "numbers.cores: low 3 <= nominal 3 <= high 2 does not hold",
    ),
    "not a number": ('numbers.cores = { value = nan, unit = "cores", source = "mine" }', "does not hold"),
    "unknown unit": (
        'numbers.cores = { value = 3, unit = "coers", source = "mine" }',
        "numbers.cores: unknown unit 'coers'. Did you mean 'cores'?",
    ),
    "a number without end": (
        f'numbers.cores = {{ value = {10**400}, unit = "cores", source = "mine" }}',
        "numbers.cores.value is beyond",
    ),
    "thousands of digits": (f"reset_value = {'9' * 5000}", "is not TOML: Exceeds the limit"),
    "layers of text": ('layers = { source = "mine", strides = ["two"] }', "layers.strides[0] is 'two'"),
    "a key of text": (
        'layers = { source = "mine", strides = [2], stride_kernels = { two = [3] } }',
        "layers.stride_kernels.two: the key must be a whole number",
    ),
}


@pytest.mark.parametrize("case", CHANGED)
def test_files_that_describe_no_chip_get_one_line(case, tmp_path):
    text, said = CHANGED[case]
    path = tmp_path / "own.toml"
    path.write_text(text if case == "lacks" else _beside(text))
    with pytest.raises(ChipError) as caught:
        read(path)
    assert str(caught.value).startswith(str(path))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def _beside(text):
    """The text in a file that would else describe a chip."""
    rest = {
        "title": 'title = "mine"',
        "neurons": 'neurons = ["lif"]',
        "resets": 'resets = ["hard"]',
        "notes": 'notes = "mine"',
    }
    return "\n".join([*(line for key, line in rest.items() if not text.startswith(f"{key} =")), text])


def test_half_a_pair_is_refused(tmp_path):
    path = tmp_path / "own.toml"
    path.write_text(dumps(LOIHI).replace("weight_exponent = [-8, 7]", "weight_exponent = [-8]"))
    with pytest.raises(ChipError, match=r"weight_exponent is \[-8\], it must be a list of 2"):
        read(path)


def test_a_number_beside_the_build_must_agree_with_it(tmp_path):
    path = tmp_path / "own.toml"
    other = 'cores = { value = 64, unit = "cores", source = "mine" }'
    path.write_text(dumps(LOIHI).replace("[numbers]", f"[numbers]\n{other}"))
    with pytest.raises(ChipError, match=r"numbers\.cores is 64, but the build has 128"):
        read(path)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: None, "cannot be read: No such file"),
        (lambda path: path.mkdir(), "cannot be read: Is a directory"),
        (lambda path: path.write_bytes(b"title = '\xff'"), "is not text in UTF-8"),
        (lambda path: path.write_text("#" * 2**21), "has more than 1,048,576 bytes"),
        (lambda path: path.write_text("a = " + "[" * 50_000), "is not TOML"),
    ],
)
def test_files_that_cannot_be_read_get_one_line(make, said, tmp_path):
    path = tmp_path / "own.toml"
    make(path)
    with pytest.raises(ChipError, match=re.escape(said)) as caught:
        hw.get_chip(str(path))
    assert "\n" not in str(caught.value)


# The page.


def test_the_page_names_every_chip_number_and_parameter():
    page = (Path(__file__).parents[2] / "docs" / "chips.md").read_text()
    words = set(re.findall(r"[a-z0-9_]+", page))
    assert set(ALL) | set(NUMBERS) | set(PARAMETERS) <= words
    assert {field.name for field in fields(Chip)} <= words
