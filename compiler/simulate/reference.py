"""Run an integer network step by step, as plainly as possible: the truth that faster simulators are compared with.

Shapes: N neurons of a population, T steps.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compiler.network import INPUT, Network, Population
from compiler.simulate import artifact
from compiler.targets.loihi.arithmetic import effective_weights, shift_sum, step

Ints = NDArray[np.int64]


def lif_step(u: Ints, v: Ints, a_in: Ints, population: Population) -> tuple[Ints, Ints, NDArray[np.bool_]]:
    """Advance the N neurons of ``population`` by one step.

    ``u``, ``v``: int64 current and voltage after the previous step; ``a_in``: int64 sum of what the projections
    deliver now. All of shape (N,), or (B, N) for B independent samples. Returns the new u, v and the spikes s (bool).
    """
    return step(u, v, a_in, population.bias, population.du, population.dv, population.vth)


def run(network: Network, record: bool = True) -> dict[str, NDArray[Any]]:
    """Simulate all T steps of ``network`` from rest.

    Returns ``u{l}``, ``v{l}`` (int32) and ``s{l}`` (uint8), each (N, T), for every population l: the states after
    the step and the spikes of it. With ``record=False`` only the spikes ``s{l}`` are kept.
    """
    steps = network.steps
    weights = [effective_weights(p.weights, p.weight_bits) for p in network.projections]
    u = [np.zeros(p.size, np.int64) for p in network.populations]
    v = [np.zeros(p.size, np.int64) for p in network.populations]
    a_in = [np.zeros(p.size, np.int64) for p in network.populations]
    out: dict[str, NDArray[Any]] = {}
    for i, population in enumerate(network.populations):
        out |= {f"{x}{i}": np.zeros((population.size, steps), np.int32) for x in "uv" if record}
        out[f"s{i}"] = np.zeros((population.size, steps), np.uint8)

    for t in range(steps):
        spikes: dict[int, NDArray[Any]] = {INPUT: network.inputs[:, t]}
        for i, population in enumerate(network.populations):
            u[i], v[i], spikes[i] = lif_step(u[i], v[i], a_in[i], population)
            out[f"s{i}"][:, t] = spikes[i]
            if record:
                out[f"u{i}"][:, t], out[f"v{i}"][:, t] = u[i], v[i]
        # What is gathered here arrives at the next step, whichever way the projection points.
        a_in = [np.zeros(p.size, np.int64) for p in network.populations]
        for projection, w in zip(network.projections, weights, strict=True):
            total = w @ spikes[projection.source].astype(np.int64)
            a_in[projection.target] += shift_sum(total, projection.weight_exp)
    return out


def replay(path: str | Path) -> dict[str, NDArray[Any]]:
    """Load the artifact ``path`` (see ``compiler.simulate.artifact``) and :func:`run` it; ``ArtifactError`` if bad."""
    return run(artifact.load(path))
