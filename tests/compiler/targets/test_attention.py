"""Attention between spikes on chips: as gates (SDSA-1, SDSA-2), as products of events, or beside the chip on its host.

The golden attention was computed in plain numpy and run in lava; the float networks are the models' own operators.
Would break it: a mask that remembers, an artifact a step off, products of levels that are taken for values or the other
way round, spikes of the host that come in a step late, a refusal that does not say what would do.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from support.chip_runs import Heads, eighths, run, same, spikes
from torch import nn

import compiler
from compiler.exchange import lava
from compiler.simulate import replay
from snnkit.layers.spike_driven_attention import spike_attention
from snnkit.neurons import IF, LIF, MultiSpike

GOLDEN = Path(__file__).parents[2] / "golden" / "lava"
SDSA_PAIRS = 2 * (2 * 2 * 4 + 2 * 2 * 4)
"""Products a step in q (kᵀ v), of 2 heads of 2 channels and 4 tokens."""


def golden():
    """Input (T, 1, 3·N·D), reference (N, D, T), N, D and θ, all from the file."""
    given = np.load(GOLDEN / "sdsa.npz", allow_pickle=False)
    reference = np.load(GOLDEN / "sdsa_ref.npy", allow_pickle=False)
    tokens, channels, _ = reference.shape
    assert given["inp"].shape[0] == 3 * tokens * channels
    threshold = (int(given["vth1"]) + 1) // 2
    return torch.from_numpy(given["inp"].T.astype(np.float64))[:, None], reference, tokens, channels, threshold


class Mask(nn.Module):
    """SDSA-1 as its formula says: q ∧ (Σ over tokens of k ∧ v ≥ θ), with a neuron that keeps 1/4096 of a step."""

    def __init__(self, tokens, channels, threshold):
        super().__init__()
        self.shape = (3, tokens, channels)
        self.lif = LIF(tau=4096 / 4095, decay_input=False, v_threshold=float(threshold))
        self.out = nn.Linear(tokens * channels, 2, bias=False)

    def forward(self, x):
        q, k, v = x.unflatten(-1, self.shape).unbind(-3)
        mask = self.lif((k * v).sum(-2, keepdim=True))
        return self.out((q * mask).flatten(-2))


def test_the_golden_attention_is_replayed_in_our_simulator():
    ours = replay(GOLDEN / "sdsa.npz")
    theirs = np.load(GOLDEN / "sdsa_out.npz", allow_pickle=False)
    for key in set(theirs.files) - {"wall"}:
        np.testing.assert_array_equal(ours[key], theirs[key], err_msg=key)
    _, reference, tokens, channels, _ = golden()
    found = ours["s2"].reshape(tokens, channels, -1)
    np.testing.assert_array_equal(found[..., 3:], reference[..., :-3])


@pytest.mark.parametrize("chip", ["loihi1", "mesh"])
def test_the_formula_compiles_to_the_golden_output(chip):
    x, reference, tokens, channels, threshold = golden()
    program, trace, _ = run(eighths(Mask(tokens, channels, threshold)), x, chip)
    last = [placed for placed in program.mapping.lowered.placed if placed.kind == "gate"][-1]
    found = trace.spikes[last.layer][:, 0].reshape(-1, tokens, channels)
    np.testing.assert_array_equal(found, reference.transpose(2, 0, 1))
    assert 0 < found.mean() < 1
    sizes = [placed.population.size for placed in program.mapping.lowered.placed if placed.kind == "gate"]
    assert sizes == [tokens * channels] * 2


def test_the_artifact_for_lava_gives_the_golden_output(tmp_path):
    x, reference, tokens, channels, threshold = golden()
    program = compiler.compile(eighths(Mask(tokens, channels, threshold)), x, "loihi1", "binary")
    network = lava.write(program, tmp_path / "ours.npz", x)
    done = replay(tmp_path / "ours.npz")
    placed = program.mapping.lowered.placed
    index = max(i for i, p in enumerate(placed) if p.kind == "gate")
    depth, steps = placed[index].depth, reference.shape[-1]
    assert network.populations[index].name == placed[index].population.name
    found = done[f"s{index}"].reshape(tokens, channels, -1)
    np.testing.assert_array_equal(found[..., depth : depth + steps], reference)


def maps(name, heads, scale):
    """An operator of the models between three maps of spikes (4, 2, 2)."""
    operator = spike_attention(name, heads, LIF(v_threshold=0.5), scale)
    given = [(4, 2, 2)] * (3 if operator.uses_value else 2)
    net = Heads(lambda *x: operator(*x), given, inputs=6)
    net.operator = operator
    return eighths(net, low=-4)


@pytest.mark.parametrize("chip", ["loihi1", "mesh"])
@pytest.mark.parametrize("name", ["sdsa1", "sdsa2"])
def test_masks_of_spikes_are_gates(name, chip):
    program, _, _ = same(maps(name, 2, 0.5), spikes(8, 4, 6, rate=0.6), chip)
    assert not program.host_operations


@pytest.mark.parametrize("chip", ["mesh", "loihi2"])
@pytest.mark.parametrize("name", ["sdsa3", "ssa"])
def test_products_of_events_are_the_chips(name, chip):
    program, trace, _ = same(maps(name, 2, 0.5), spikes(8, 4, 6, rate=0.6), chip)
    assert not program.host_operations
    # (q kᵀ) v, 2 heads of 2 channels and 4 tokens, 8 steps, 4 samples
    pairs = {"sdsa3": SDSA_PAIRS, "ssa": 2 * (4 * 4 * 2 + 4 * 2 * 4)}[name]
    assert trace.counters["products"] == pairs * 8 * 4
    assert [trace.counters[key] for key in ("spikes_to_host", "spikes_from_host", "biases_from_host")] == [0, 0, 0]


@pytest.mark.parametrize(("chip", "host"), [("mesh", ()), ("loihi2", ()), ("loihi1", "auto")])
def test_sdsa4(chip, host):
    """Its learned scale, here a quarter, goes into the neuron's threshold: 2 where it was 0.5."""
    model = maps("sdsa4", 2, 0.5)
    model.operator.scale.data.fill_(0.25)
    program, trace, _ = same(model, spikes(8, 4, 6, rate=0.6), chip, host=host)
    assert bool(program.host_operations) == bool(host)
    assert trace.counters["products"] == (0 if host else SDSA_PAIRS * 8 * 4)
    assert (trace.counters["spikes_to_host"] > 0) == bool(host)
    assert trace.spikes["operator.lif"].any()
    model.operator.scale.data.fill_(1.0)
    _, louder, _ = same(model, spikes(8, 4, 6, rate=0.6), chip, host=host)
    assert louder.spikes["operator.lif"].sum() > trace.spikes["operator.lif"].sum()


@pytest.mark.parametrize("host", ["auto", "*mul*", "operator*"])
@pytest.mark.parametrize("name", ["sdsa3", "ssa"])
def test_products_beside_a_chip_of_single_spikes_are_the_hosts(name, host):
    program, trace, _ = same(maps(name, 2, 0.5), spikes(8, 4, 6, rate=0.6), "loihi1", host=host)
    assert program.host_operations
    heads = [sent for layer, sent in trace.spikes.items() if layer.startswith("neurons")]
    behind = [sent for layer, sent in trace.spikes.items() if layer.startswith("operator")]
    assert (len(heads), len(behind)) == (3, 1)
    assert trace.counters["spikes_to_host"] == sum(int(sent.sum()) for sent in heads)
    assert trace.counters["spikes_from_host"] == int(behind[0].sum()) > 0


def test_a_refusal_says_what_would_do():
    """2 heads, 4 × 4 × 2 pairs each way: 64 gates, then as many for the second product."""
    violations = compiler.check(maps("ssa", 2, 0.5), "loihi1", spikes(8, 4, 6), "binary")
    assert len(violations) == 2
    assert "64 AND gates" in violations[0].need
    assert all('host="auto"' in v.limit and "mesh" in v.limit and "SDSA-1" in v.limit for v in violations)


@pytest.mark.parametrize("bits", [1, 2, 3])
def test_a_payload_that_is_too_small_is_refused_with_its_bits(bits):
    """Counts of up to 8 need 5 bits with their sign; 4 levels need 4."""
    model = maps("sdsa3", 2, 0.5)
    violations = compiler.check(model, f"mesh:payload_bits={bits}", spikes(8, 4, 6), "binary")
    assert violations
    same(model, spikes(8, 4, 6, rate=0.6), "mesh:payload_bits=6")


LEVELS = {
    "levels times levels": lambda q, k: q * k,
    "rows of levels": lambda q, k: (q.unflatten(-1, (4, 2)) @ k.unflatten(-1, (2, 4))).flatten(-2),
    "and the levels": lambda q, k: torch.cat([q * k, q.flip(-1)], -1),
}


@pytest.mark.parametrize(("chip", "host"), [("mesh", ()), ("mesh", "neurons.0"), ("loihi1", "auto")])
@pytest.mark.parametrize("name", LEVELS)
def test_levels_of_events_multiply_and_cross_as_what_they_stand_for(name, chip, host):
    """MultiSpike sends quarters: a product is of sixteenths, wherever it is computed."""
    model = eighths(Heads(LEVELS[name], [(8,), (8,)], neuron=lambda: MultiSpike(4), last=lambda: IF(v_threshold=0.5)))
    for layer in model.layers:
        layer.weight.data *= 8
    x = spikes(8, 4, 6, rate=0.6)
    program, trace, equality = run(model, x, chip, host=host)
    _, wanted = compiler.interpret(program.source_graph.double(), x, probes=["last", "neurons.0"])
    apart = int((trace.spikes["last"] != wanted["last"].flatten(2).numpy()).sum())
    assert apart <= (0 if chip == "mesh" else 0.03 * trace.spikes["last"].size)  # a membrane forgets all but 1/4096
    assert trace.spikes["last"].any()
    assert not np.array_equal(trace.spikes["neurons.0"], wanted["neurons.0"].flatten(2).numpy()), "levels, not values"
    assert equality.float_mismatches <= apart + 0.03 * equality.float_compared
