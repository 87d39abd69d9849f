"""Run an integer artifact in lava-nc 0.10 and write what every neuron did.

    python lava_runner.py net.npz out.npz

A script that stands alone: it needs Python 3.10 with lava-nc 0.10, numpy and scipy, and imports nothing else, because
lava cannot be installed beside this library. ``net.npz`` is of either form described in ``artifact.py`` (taken as
valid: the caller has checked it). ``out.npz`` receives u{l}, v{l} (int32) and s{l} (uint8) of shape (N, T) for every
population l.

Each projection becomes one lava process: Dense, or Sparse for a big matrix with few synapses. Sparse was compared with
Dense in lava 0.10.0 (fixed_pt) on random weights of all three sign modes, exponents -8..7, 1 to 8 weight bits, empty
rows and columns included: every u, v and s is equal, so the choice is one of speed only. The bias exponent is handed
over per neuron, which lava's LIF accepts. A network without input lines simply has no source process.
"""

import os
import sys
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

SPARSE_FROM = 1 << 16
"""Matrices with at least this many entries, of which at most one in eight is a synapse, are run as Sparse."""


def read_projections(net: Any) -> list[tuple[int, int, csr_matrix, int, int]]:
    """Return (source or -1, target, weights (out, in), weight exponent, weight bits) of every projection in ``net``."""
    if "P" not in net:
        return [
            (i - 1, i, csr_matrix(net[f"W{i}"].astype(np.int32)), int(net[f"wexp{i}"]), int(net[f"wbits{i}"]))
            for i in range(int(net["L"]))
        ]
    found = []
    for p in range(int(net["P"])):
        source, target = int(net[f"psrc{p}"]), int(net[f"pdst{p}"])
        shape = (len(net[f"bm{target}"]), net["inp"].shape[0] if source < 0 else len(net[f"bm{source}"]))
        entries = (net[f"pval{p}"].astype(np.int32), (net[f"prow{p}"], net[f"pcol{p}"]))
        found.append((source, target, csr_matrix(entries, shape=shape), int(net[f"pwexp{p}"]), int(net[f"pwbits{p}"])))
    return found


def build(net: Any) -> list[Any]:
    """Make and connect the lava processes of ``net``; returns one LIF process per population."""
    from lava.proc.dense.process import Dense  # type: ignore[import-not-found]
    from lava.proc.io.source import RingBuffer  # type: ignore[import-not-found]
    from lava.proc.lif.process import LIF  # type: ignore[import-not-found]
    from lava.proc.sparse.process import Sparse  # type: ignore[import-not-found]

    neurons = [
        LIF(
            shape=(len(net[f"bm{i}"]),),
            du=int(net[f"du{i}"]),
            dv=int(net[f"dv{i}"]),
            vth=int(net[f"vth{i}"]),
            bias_mant=net[f"bm{i}"].astype(np.int32),
            bias_exp=net[f"be{i}"].astype(np.int32),
        )
        for i in range(int(net["L"]))
    ]
    inputs = net["inp"].astype(np.int32)
    projections = [p for p in read_projections(net) if p[0] >= 0 or len(inputs)]
    sources = dict(enumerate(neurons))
    if any(p[0] < 0 for p in projections):
        sources[-1] = RingBuffer(data=inputs)
    for origin, target, weights, exponent, bits in projections:
        entries = weights.shape[0] * weights.shape[1]
        if entries >= SPARSE_FROM and weights.nnz * 8 <= entries:
            synapses = Sparse(weights=weights, weight_exp=exponent, num_weight_bits=bits)
        else:
            synapses = Dense(weights=weights.toarray(), weight_exp=exponent, num_weight_bits=bits)
        sources[origin].s_out.connect(synapses.s_in)
        synapses.a_out.connect(neurons[target].a_in)
    return neurons


def simulate(net: Any) -> dict[str, np.ndarray]:
    """Run ``net`` for its T steps; returns u{l}, v{l}, s{l} of shape (N, T)."""
    from lava.magma.core.run_conditions import RunSteps  # type: ignore[import-not-found]
    from lava.magma.core.run_configs import Loihi2SimCfg  # type: ignore[import-not-found]
    from lava.proc.monitor.process import Monitor  # type: ignore[import-not-found]

    steps = int(net["T"])
    neurons = build(net)
    monitors = {}
    for i, lif in enumerate(neurons):
        for quantity, probed in (("u", lif.u), ("v", lif.v), ("s", lif.s_out)):
            monitors[f"{quantity}{i}"] = Monitor()
            monitors[f"{quantity}{i}"].probe(probed, steps)
    config = Loihi2SimCfg(select_tag="fixed_pt")
    out = {}
    # Parts that are not connected with each other are separate for lava: run() follows connections only.
    started: list[Any] = []
    try:
        for i, lif in enumerate(neurons):
            if not any(lif.runtime is process.runtime for process in started):
                lif.run(condition=RunSteps(num_steps=steps), run_cfg=config)
                started.append(lif)
            for quantity in "uvs":
                (record,) = monitors[f"{quantity}{i}"].get_data().values()
                (values,) = record.values()
                out[f"{quantity}{i}"] = values.T.astype(np.uint8 if quantity == "s" else np.int32)
    finally:
        for process in started:
            process.stop()
    return out


def main(arguments: list[str]) -> int:
    """Read the artifact ``arguments[0]``, run it, write ``arguments[1]`` beside and rename; returns the exit status."""
    if len(arguments) != 2:
        print("usage: python lava_runner.py net.npz out.npz", file=sys.stderr)
        return 2
    with np.load(arguments[0], allow_pickle=False) as archive:
        net = {key: archive[key] for key in archive.files}
    out = simulate(net)
    temporary = f"{arguments[1]}.{os.getpid()}.part"
    try:
        with open(temporary, "wb") as file:
            np.savez_compressed(file, **out)  # type: ignore[arg-type]
        os.replace(temporary, arguments[1])
    finally:
        if os.path.exists(temporary):
            os.remove(temporary)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
