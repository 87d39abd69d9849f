"""SANA-FE's energy of a mapped network is a sum over counts: ours from counts alone, and SANA-FE itself.

The live part needs `.venv-sanafe` (`make peers`) and talks to it through a network file and its printed result. Would
break it: hops counted between cores instead of tiles, one packet a synapse, a formats' price mixed up, a unit.
"""

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from hw.counts import Counts, Traffic
from hw.energy import MODELS

ROOT = Path(__file__).parents[3]
MAPPED = MODELS["loihi1-mapped"]
STEPS = 20


def counts_of(**traffic):
    """Counts of a mapped network with nothing in it but what is given."""
    none = dict.fromkeys(("packets", "hops_east_west", "hops_north_south", "host_packets", "busiest_link"), 0)
    none |= dict.fromkeys(("cores", "neurons", "steps", "synaptic_events", "neuron_updates", "fired"), 0)
    return Counts((), STEPS, 1, traffic=Traffic("loihi1", **{**none, **traffic}))


def pj(counts):
    """Nominal energies in pJ: the total and its parts."""
    found = MAPPED.estimate(counts)
    return {"total": found.total.to("pJ").nominal, **{p.name: p.energy.to("pJ").nominal for p in found.parts}}


ONE_PACKET = {1: 111.0, 4: 115.2, 16: 114.0, 20: 118.2, 127: 144.6}
"""Core that a packet from core 0 goes to → pJ, as measured with networks of two neurons."""


def hops(source, target):
    """(east-west, north-south) between two cores: four to a tile, tiles in columns of four."""
    (x, y), (u, v) = (divmod(core // 4, 4) for core in (source, target))
    return abs(x - u), abs(y - v)


@pytest.mark.parametrize("core", ONE_PACKET)
def test_a_packet(core):
    east_west, north_south = hops(0, core)
    found = pj(counts_of(packets=1, hops_east_west=east_west, hops_north_south=north_south))
    assert found["total"] == pytest.approx(ONE_PACKET[core], rel=1e-9)


def test_two_neurons_of_which_one_rests_once():
    found = pj(counts_of(neurons=2, steps=10, neuron_updates=19, fired=10))
    assert found["neurons"] == pytest.approx(2127.4, rel=1e-9)


def test_a_run_on_four_cores():
    """As SANA-FE printed it, to six digits."""
    found = pj(
        counts_of(synaptic_events=40_928, neurons=256, steps=50, neuron_updates=12_800, fired=2_558, packets=10_135)
    )
    assert found["synapses"] * 1e-6 == pytest.approx(1.37518, abs=6e-6)
    assert found["neurons"] * 1e-6 == pytest.approx(1.10911, abs=6e-6)
    assert found["packets"] * 1e-6 == pytest.approx(1.12499, abs=6e-6)


@dataclass(frozen=True)
class Net:
    """Integrate-and-fire neurons with whole weights, on cores; no rounding anywhere."""

    weights: np.ndarray
    bias: np.ndarray
    threshold: np.ndarray
    cores: list[int]
    format: str

    def yaml(self):
        """The file that SANA-FE reads."""
        neurons = [
            f"        - {i}: [soma: {{threshold: {t}, bias: {b}, leak_decay: 1.0, reset: 0.0, reset_mode: hard, "
            "force_update: true}]"
            for i, (t, b) in enumerate(zip(self.threshold, self.bias, strict=True))
        ]
        edges = [f"    - g.{i} -> g.{j}: [weight: {self.weights[i, j]}]" for i, j in np.argwhere(self.weights)]
        unit = f"soma: loihi_lif, synapse: loihi_{self.format}_synapse"
        places = [f"  - g.{i}: [core: {core // 4}.{core % 4}, {unit}]" for i, core in enumerate(self.cores)]
        head = ["network:", "  name: net", "  groups:", "    - name: g", "      attributes: [log_spikes: true]"]
        return "\n".join([*head, "      neurons:", *neurons, "  edges:", *edges, "mappings:", *places, ""])

    def run(self):
        """Spikes of each step, and the traffic: a packet for every core that a spike goes to."""
        v, current, per_step = np.zeros(len(self.bias)), np.zeros(len(self.bias)), []
        synaptic = packets = east_west = north_south = 0
        for _ in range(STEPS):
            v = v + current + self.bias
            spikes = v > self.threshold
            v[spikes] = 0
            current = spikes @ self.weights
            per_step.append(int(spikes.sum()))
            synaptic += int((self.weights[spikes] != 0).sum())
            for i in np.flatnonzero(spikes):
                for core in {self.cores[j] for j in np.flatnonzero(self.weights[i])}:
                    x, y = hops(self.cores[i], core)
                    packets, east_west, north_south = packets + 1, east_west + x, north_south + y
        return per_step, counts_of(
            packets=packets,
            hops_east_west=east_west,
            hops_north_south=north_south,
            cores=len(set(self.cores)),
            neurons=len(self.bias),
            steps=STEPS,
            synaptic_events=synaptic,
            neuron_updates=len(self.bias) * STEPS,
            fired=sum(per_step),
            format=self.format,
        )


def random_net(seed, neurons, cores, density, kind):
    rng = np.random.default_rng(seed)
    weights = rng.integers(-2, 4, (neurons, neurons)) * (rng.random((neurons, neurons)) < density)
    places = rng.choice(cores, neurons).tolist()
    return Net(weights, rng.integers(1, 4, neurons), rng.integers(6, 12, neurons), places, kind)


NETS = {
    "one tile": (0, 16, [0, 1, 2, 3], 0.4, "dense"),
    "corners": (1, 24, [0, 12, 112, 127], 0.3, "sparse"),
    "all over": (2, 60, list(range(128)), 0.15, "conv"),
}


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    """What SANA-FE says of every network, in one process: it takes seconds to set up a chip."""
    python = Path(os.environ.get("SNNKIT_SANAFE_PYTHON", ROOT / ".venv-sanafe" / "bin" / "python"))
    if not python.exists():
        pytest.skip(f"SANA-FE has no environment {python.parent.parent.name}: make peers")
    folder = tmp_path_factory.mktemp("sanafe")
    paths = [folder / f"{index}.yaml" for index in range(len(NETS))]
    for path, settings in zip(paths, NETS.values(), strict=True):
        path.write_text(random_net(*settings).yaml())
    command = [str(python), str(ROOT / "tests" / "processes" / "sanafe_run.py"), str(STEPS), *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return dict(zip(NETS, lines, strict=True))


@pytest.mark.parametrize("name", NETS)
def test_against_sanafe(name, said):
    net, said = random_net(*NETS[name]), said[name]
    per_step, counts = net.run()
    traffic = counts.traffic
    assert said["per_step"] == per_step
    assert (said["neurons_fired"], said["neurons_updated"]) == (traffic.fired, traffic.neuron_updates)
    assert (said["spikes"], said["packets_sent"]) == (traffic.synaptic_events, traffic.packets)
    found, energy = pj(counts), {part: joule * 1e12 for part, joule in said["energy"].items()}
    assert found["total"] == pytest.approx(energy["total"], rel=1e-9)
    assert found["synapses"] == pytest.approx(energy["synapse"], rel=1e-9)
    assert found["neurons"] == pytest.approx(energy["soma"], rel=1e-9)
    assert found["packets"] + found.get("hops", 0.0) == pytest.approx(energy["network"], rel=1e-9)
    assert traffic.fired > 50
