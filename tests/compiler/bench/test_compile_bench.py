"""The benchmark of compiling: found by the command, with the size of what was made beside its time and its bar.

Would break it: an entry point that names nothing, a time without the network it belongs to, a bar on the wrong side, a
network that does not compile on its chip.
"""

from compiler.bench import compile as bench
from snnkit.bench import about, modules


def test_the_command_finds_it():
    assert modules()["compile"] == "compiler.bench.compile"
    assert "large networks" in about("compile")


def test_rows():
    case = bench.Case("spiking_cnn_small", "loihi1", (1, 12, 12), {"in_chans": 1, "img_size": 12})
    took, memory = bench.compiled(case, 1)
    assert took["case"] == memory["case"] == "spiking_cnn_small, 12², loihi1"
    assert (took["unit"], memory["unit"]) == ("s", "GB")
    assert took["reached"] == (took["value"] <= 60)
    assert took["neurons"] > took["cores"] > 0
    assert took["synapses"] > took["neurons"]
    assert 0 < memory["value"] < memory["bar"] == 12


def test_a_refusal_is_timed_and_a_program_is_none():
    (row,) = bench.refused(bench.TOO_LARGE)
    assert "neurons" in row["said"]
    (row,) = bench.refused(bench.Case("spiking_cnn_small", "loihi1", (1, 12, 12), {"in_chans": 1, "img_size": 12}))
    assert row["said"] == "nothing"
