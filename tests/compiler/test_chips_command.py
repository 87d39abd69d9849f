"""``snnkit chips``: the list, a chip, two side by side, a chip as a file; in 80 columns, every number with its source.

Would break it: a chip that is not listed, a number or a source that is left out, a mark that is lost on the way, a
line that a terminal would break, a printed file that cannot be read.
"""

import re
from dataclasses import replace

import pytest
import torch
from torch import nn

import compiler
import hw
import snnkit
from hw.describing import dumps
from hw.quantity import Quantity

ALL = hw.list_chips()


@pytest.fixture
def call(call, monkeypatch):
    """Run the command as in a pipe; return (exit code, output, errors)."""
    monkeypatch.setenv("COLUMNS", "80")
    return lambda *words: call("chips", *words)


def test_the_list_names_every_chip(call):
    code, out, _ = call()
    assert code == 0
    rows = {line.split()[0]: line.split() for line in out.splitlines() if line.strip()}
    assert set(ALL) <= set(rows)
    assert rows["loihi1"][-4:] == ["128", "1,024", "8", "compile"]
    assert rows["loihi2"][-4:-1] == ["?128", "?8,192", "?8"]
    assert rows["speck"][-3:] == ["9", "8", "check"]
    assert max(map(len, out.splitlines())) <= 80


@pytest.mark.parametrize("name", ALL)
def test_a_card_shows_every_number_and_every_source(name, call):
    chip = hw.get_chip(name)
    code, out, err = call(name)
    assert code == 0, err
    assert max(map(len, out.splitlines())) <= 80
    flat = re.sub(r"\s+", " ", out)
    notes = dict(re.findall(r"^\[(\d+)\] +(.*(?:\n {5}.*)*)", out, re.MULTILINE))
    for key, number in chip.numbers.items():
        found = re.search(rf"^ {key} +(.*?) +(\??)\[(\d+)\]", out, re.MULTILINE)
        assert found, key
        assert (found[2] == "") is number.confirmed, key
        assert re.sub(r"\s+", " ", notes[found[3]]) == number.source, key
        high = number.interval.high
        assert (f"{high:,.0f}" if high >= 1000 else f"{high:g}") in found[1], key
    assert chip.notes in flat
    assert all(reset in flat for reset in chip.resets)


def test_ranges_are_shown_as_such(call):
    _, out, _ = call("loihi2")
    assert "128 (120 … 152) cores" in out
    assert "1,048,576 … 1,572,864 bits (128 KiB)" in out
    _, out, _ = call("speck")
    assert re.search(r"neuron_memory +64, 64, 64, 32, 32, 16, 16, 16, 16 Ki words of each core", out)


@pytest.mark.parametrize("name", ALL)
def test_a_printed_file_is_read_as_the_same_chip(name, call, tmp_path):
    code, out, _ = call(name, "--toml")
    assert code == 0
    path = tmp_path / "own.toml"
    path.write_text(out)
    assert replace(hw.get_chip(str(path)), name=name) == hw.get_chip(name)
    code, shown, _ = call(str(path))
    assert code == 0
    assert hw.get_chip(name).title in re.sub(r"\s+", " ", shown)


def test_programs_hold_the_chip_of_a_file(tmp_path):
    """A program for a chip in a file is read again where that file has changed, or gone."""
    path = tmp_path / "own.toml"
    small = hw.get_chip("loihi1").rebuilt(cores=Quantity(5, "cores", "made up for a test"))
    path.write_text(dumps(small))
    model = nn.Sequential(nn.Linear(4, 6), snnkit.neurons.IF(), nn.Linear(6, 3)).double()
    program = compiler.compile(model, torch.zeros(3, 2, 4).double(), str(path), input_type="binary")
    program.save(tmp_path / "own.program")
    path.unlink()
    found = compiler.Program.load(tmp_path / "own.program")
    assert found.chip == program.chip
    assert (found.chip.name, found.chip.cores.value) == (str(path), 5)


def test_two_chips_side_by_side(call):
    code, out, err = call("diff", "loihi1", "speck")
    assert code == 0, err
    assert max(map(len, out.splitlines())) <= 80
    assert re.search(r"^ cores +128 cores +9 cores +×0\.0703", out, re.MULTILINE)
    assert re.search(r"^ node_nm +14 nm +65 nm\? +×4\.64", out, re.MULTILINE)
    assert re.search(r"^ power_mw +100 … 500 mW\? +0\.7 mW +×0\.007 \(0\.0014–0\.007\)", out, re.MULTILINE)
    assert re.search(r"^ resets +hard, to 0 +not described", out, re.MULTILINE)
    mine, rest = out.split("only loihi1\n")[1].split("only speck\n")
    assert "pj_per_synop                23.6 … 35.5 pJ" in mine
    assert "idle_power_mw  0.42 mW" in rest
    assert "neuron_memory  64, 64" in rest


def test_energies_side_by_side_carry_their_warning(call):
    _, out, _ = call("diff", "truenorth", "spinnaker2")
    assert "×4 (0.385–180)" in out
    assert "not which chip is better" in re.sub(r"\s+", " ", out)
    _, out, _ = call("diff", "loihi1", "speck")
    assert "not which chip" not in out


@pytest.mark.parametrize("name", ALL)
def test_every_chip_lies_beside_every_kind(name, call):
    for other in ("loihi1", "speck", "mesh"):
        code, out, err = call("diff", name, other)
        assert code == 0, err
        shared = set(hw.get_chip(name).numbers) & set(hw.get_chip(other).numbers)
        assert len(re.findall(r"×[\d.]+", out)) >= len(shared)
        assert "Traceback" not in err


def test_a_ratio_by_hand():
    from compiler.commands.show_chips import ratio

    point, wide = Quantity(4, "pJ", "test"), Quantity(10, "pJ", "test", low=5, high=20)
    assert ratio(point, Quantity(8, "pJ", "test")) == "×2"
    assert ratio(point, wide) == "×2.5 (1.25–5)"
    assert ratio(wide, point) == "×0.4 (0.2–0.8)"
    assert ratio(wide, point, formats=True) == "×0.4"
    assert ratio(Quantity(1, "pJ", "test", low=0), point) == "×4 (4–∞)"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["loih1"], "Did you mean 'loihi1'"),
        (["diff", "loihi1", "spek"], "Did you mean 'speck'"),
        (["mesh:widht=3"], "Did you mean 'width'"),
        (["mesh:width=0"], "must be a whole number from 1 to 1,024"),
        (["none.toml"], "none.toml cannot be read: No such file"),
        (["--toml"], "name it, as in `snnkit chips loihi1 --toml`"),
        (["diff", "loihi1"], "requires an argument"),
    ],
)
def test_mistakes_get_one_clear_line(words, said, call):
    code, out, err = call(*words)
    assert code == 2
    assert said in re.sub(r"[\s│]+", " ", out + err)
    assert "Traceback" not in out + err
    if err.startswith("snnkit:"):
        assert len(err.strip().splitlines()) == 1
