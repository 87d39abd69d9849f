"""The integer network as a file: one npz that our own simulators and lava both run.

Only integers (and population names as unicode) are stored and nothing is ever unpickled. Two forms are read:

chain   ``T, L, inp`` and per population l ``W{l}, wexp{l}, wbits{l}, du{l}, dv{l}, vth{l}, bm{l}, be{l}``; population
        l is fed by population l - 1, population 0 by ``inp``.
graph   the same without ``W, wexp, wbits``; instead ``P`` projections with ``psrc{p}`` (-1 means ``inp``),
        ``pdst{p}``, the weights as coordinates ``prow{p}, pcol{p}, pval{p}``, ``pwexp{p}``, ``pwbits{p}``; optionally
        ``names``. Projections may skip populations, go backward or return to their own population.

Only the graph form is written: a chain is a graph with one projection a population.

Shapes: N neurons of one population, N0 input lines, T steps.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from compiler.network import INPUT, Network, Population, Projection
from compiler.targets.loihi.arithmetic import RANGES
from snnkit.archives import read_npz
from snnkit.errors import CorruptFileError
from snnkit.files import atomic_path

_INT32 = (-(2**31), 2**31 - 1)
_Arrays = dict[str, NDArray[Any]]


class ArtifactError(ValueError):
    """An artifact that cannot be used; the message is one line saying which file, which key and what is allowed."""

    user_error = True


def load(path: str | Path) -> Network:
    """Read an artifact of either form; :class:`ArtifactError` names the file, the key and what is wrong with it."""
    try:
        arrays = _read_arrays(Path(path))
        steps, count = _scalar(arrays, "T", 1), _scalar(arrays, "L", 1)
        inputs = _array(arrays, "inp", 2, RANGES["inp"]).astype(np.uint8)
        if inputs.shape[1] != steps:
            raise ArtifactError(f"key 'inp' has {inputs.shape[1]} steps (second axis), key 'T' says {steps}")
        if "names" in arrays and (arrays["names"].dtype.kind != "U" or arrays["names"].shape != (count,)):
            raise ArtifactError(f"key 'names' does not hold {count} unicode strings")
        network = Network(tuple(_population(arrays, i) for i in range(count)), (), inputs)
        projections = _scalar(arrays, "P", 0) if "P" in arrays else count
        read = _graph_projection if "P" in arrays else _chain_projection
        network = replace(network, projections=tuple(read(arrays, network, i) for i in range(projections)))
        validate(network)
    except ArtifactError as error:
        raise ArtifactError(f"{path}: {error}") from None
    return network


def save(path: str | Path, network: Network) -> None:
    """Write ``network`` in graph form; the file appears complete or not at all. :class:`ArtifactError` if invalid."""
    validate(network)
    arrays: dict[str, Any] = {"T": network.steps, "L": len(network.populations), "P": len(network.projections)}
    arrays |= {"inp": network.inputs, "names": np.array([p.name for p in network.populations], dtype=np.str_)}
    for i, pop in enumerate(network.populations):
        arrays |= {f"du{i}": pop.du, f"dv{i}": pop.dv, f"vth{i}": pop.vth}
        arrays |= {f"bm{i}": pop.bias_mant, f"be{i}": pop.bias_exp}
    for i, proj in enumerate(network.projections):
        coo = proj.weights.tocoo()
        arrays |= {f"prow{i}": coo.row.astype(np.int32), f"pcol{i}": coo.col.astype(np.int32), f"pval{i}": coo.data}
        arrays |= {f"psrc{i}": proj.source, f"pdst{i}": proj.target}
        arrays |= {f"pwexp{i}": proj.weight_exp, f"pwbits{i}": proj.weight_bits}
    # Through a file object: given a name, numpy would append ".npz" to the temporary one.
    with atomic_path(Path(path)) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, **arrays)


def validate(network: Network) -> None:
    """Raise :class:`ArtifactError` if a shape disagrees or a value lies outside what the arithmetic can represent."""
    if network.inputs.ndim != 2 or network.steps < 1:
        raise ArtifactError(f"key 'inp' has shape {network.inputs.shape}, wanted (input lines, steps) with steps >= 1")
    _check_range("key 'inp'", network.inputs, RANGES["inp"])
    for i, pop in enumerate(network.populations):
        if pop.size == 0 or pop.bias_mant.shape != pop.bias_exp.shape or pop.bias_exp.ndim != 1:
            shapes = f"{pop.bias_mant.shape} and {pop.bias_exp.shape}"
            raise ArtifactError(f"keys 'bm{i}' and 'be{i}' have shapes {shapes}, wanted one value a neuron in both")
        values = {"du": pop.du, "dv": pop.dv, "vth": pop.vth, "bm": pop.bias_mant, "be": pop.bias_exp}
        for key, value in values.items():
            _check_range(f"key '{key}{i}'", value, RANGES[key])
    for i, proj in enumerate(network.projections):
        _check_projection(f"projection {i}", proj, network)


def _check_ends(label: str, source: int, target: int, network: Network) -> None:
    last = len(network.populations) - 1
    if not INPUT <= source <= last or not 0 <= target <= last:
        raise ArtifactError(f"{label} goes from {source} to {target}; there are 0..{last}, and {INPUT} is the input")


def _check_projection(label: str, proj: Projection, network: Network) -> None:
    _check_ends(label, proj.source, proj.target, network)
    wanted = (network.populations[proj.target].size, network.source_size(proj.source))
    if tuple(proj.weights.shape) != wanted:
        raise ArtifactError(f"{label} has weights of shape {tuple(proj.weights.shape)}, wanted (out, in) = {wanted}")
    _check_range(f"{label}: weight", proj.weights.data, RANGES["weight"])
    _check_range(f"{label}: weight exponent", proj.weight_exp, RANGES["wexp"])
    _check_range(f"{label}: weight bits", proj.weight_bits, RANGES["wbits"])


def _check_range(label: str, given: Any, allowed: tuple[int, int]) -> None:
    low, high = allowed
    values = np.asarray(given)
    if values.dtype.kind not in "iub":
        raise ArtifactError(f"{label} holds {values.dtype}, wanted integers")
    wrong = (values < low) | (values > high)
    if wrong.any():
        raise ArtifactError(f"{label} = {values[wrong].flat[0]} is outside {low}..{high}")


def _read_arrays(path: Path) -> _Arrays:
    try:
        if not path.is_file():
            raise ArtifactError("no such file")
        return read_npz(path)
    except CorruptFileError as error:
        raise ArtifactError(str(error).removeprefix(str(path)).strip()) from None


def _array(arrays: _Arrays, key: str, ndim: int, allowed: tuple[int, int] = _INT32) -> NDArray[np.int32]:
    if key not in arrays:
        raise ArtifactError(f"key '{key}' is missing")
    values = arrays[key]
    if values.ndim != ndim:
        raise ArtifactError(f"key '{key}' has shape {values.shape}, wanted {ndim} axes")
    _check_range(f"key '{key}'", values, allowed)  # before the cast, which would hide it
    return values.astype(np.int32)


def _scalar(arrays: _Arrays, key: str, low: int = _INT32[0]) -> int:
    return int(_array(arrays, key, 0, (low, _INT32[1])))


def _population(arrays: _Arrays, i: int) -> Population:
    du, dv, vth = (_scalar(arrays, f"{key}{i}") for key in ("du", "dv", "vth"))
    name = str(arrays["names"][i]) if "names" in arrays else f"layer{i}"
    return Population(name, du, dv, vth, _array(arrays, f"bm{i}", 1), _array(arrays, f"be{i}", 1))


def _chain_projection(arrays: _Arrays, network: Network, i: int) -> Projection:
    weights = csr_array(_array(arrays, f"W{i}", 2))
    return Projection(i - 1, i, weights, _scalar(arrays, f"wexp{i}"), _scalar(arrays, f"wbits{i}"))


def _graph_projection(arrays: _Arrays, network: Network, i: int) -> Projection:
    source, target = _scalar(arrays, f"psrc{i}"), _scalar(arrays, f"pdst{i}")
    _check_ends(f"projection {i}", source, target, network)
    rows, cols, values = (_array(arrays, f"{key}{i}", 1) for key in ("prow", "pcol", "pval"))
    if not len(rows) == len(cols) == len(values):
        raise ArtifactError(f"keys 'prow{i}', 'pcol{i}' and 'pval{i}' differ in length")
    shape = (network.populations[target].size, network.source_size(source))
    _check_range(f"key 'prow{i}'", rows, (0, shape[0] - 1))
    _check_range(f"key 'pcol{i}'", cols, (0, shape[1] - 1))
    weights = csr_array((values, (rows, cols)), shape=shape, dtype=np.int32)
    if weights.nnz != len(values):
        raise ArtifactError(f"projection {i} lists the same pair of neurons twice; add the weights up before saving")
    return Projection(source, target, weights, _scalar(arrays, f"pwexp{i}"), _scalar(arrays, f"pwbits{i}"))
