"""The benchmark of counting: found by the command, all variants on the same network, ratios the right way round.

Would break it: an entry point that names nothing, a peer that watches nothing, a bar on the wrong side.
"""

import pytest
import torch

import compiler
from compiler.bench import count as bench
from compiler.bench.published import lively
from compiler.passes import simplify
from snnkit.bench import about, modules
from snnkit.bench.harness import Timing
from snnkit.models import create_model

pytest.importorskip("spikingjelly")


def test_the_command_finds_it():
    assert modules()["count"] == "compiler.bench.count"
    assert "spikingjelly" in about("count").lower()


def test_rows():
    timings = {
        bench.PLAIN: Timing(9.0, 10.0),
        bench.OURS: Timing(14.0, 15.0),
        "slow peer": Timing(29.0, 30.0),
        "fast peer": Timing(11.0, 12.0),
    }
    rows = {row["variant"]: row for row in bench._rows("net", timings)}
    assert (rows[bench.OURS]["value"], rows[bench.OURS]["reached"]) == (1.5, True)
    assert (rows["slow peer"]["value"], rows["slow peer"]["reached"]) == (2.0, True)
    assert (rows["fast peer"]["value"], rows["fast peer"]["reached"]) == (0.8, False)
    assert rows["slow peer"]["times_an_inference"] == 3.0


def test_all_variants_run_the_same_network():
    """Peers' counters see every layer: as many dense operations as ours."""
    torch.manual_seed(0)
    model = lively(create_model("spiking_cnn_small", timesteps=bench.STEPS))
    x = torch.rand(bench.STEPS, 2, 1, 28, 28)
    graph = simplify(compiler.capture(model, x[0, :1]))
    variants = bench._variants(model, graph, x)
    expected = {bench.PLAIN, bench.OURS, "SpikingJelly, MAC and AC", "SpikingJelly, synaptic operations"}
    assert expected <= set(variants)
    counts = variants[bench.OURS]()
    for name, run in variants.items():
        made = run()
        if name == bench.PLAIN:
            assert made.shape[:2] == (bench.STEPS, 2)
        if name == bench.NEUROBENCH:
            dense = counts.total("dense_macs") - counts.total("padding_macs")
            assert made["Dense"] == pytest.approx(dense, rel=1e-6)
