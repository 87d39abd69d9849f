"""The benchmark of converted networks: found by the command, both ways run, the ratio is that of the float network.

Would break it: a ratio the wrong way round, a run that is compared with nothing, a bar on what is only reported.
"""

from compiler.bench.convert_speed import Case, images, measured
from snnkit.bench import modules


def test_rows_of_a_small_network():
    assert modules()["convert_speed"] == "compiler.bench.convert_speed"
    rows = measured(Case("resnet10t", 32, 1, 4, 1000.0), repeats=1)
    assert [row["case"].rsplit(", ", 1)[1] for row in rows] == ["spiking", "step by step"]
    assert rows[0]["reached"]
    assert rows[0]["bar"] == 1000.0
    assert "bar" not in rows[1]
    for row in rows:
        assert abs(row["value"] - row["ms"] / row["float_ms"]) < 0.05 * row["value"]
        assert row["events_per_neuron"] > 0.1


def test_images_have_unit_deviation_and_are_smooth():
    x = images(4, 32)
    assert x.shape == (4, 3, 32, 32)
    assert abs(float(x.std()) - 1) < 1e-3
    assert float((x[..., 1:] - x[..., :-1]).std()) < 0.9  # of independent pixels it would be 1.41
