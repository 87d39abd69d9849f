"""What a Catalyst N1 is programmed with: read from the arrays of a trace, and checked value by value.

A trace says ``num_cores`` (C), ``neurons_per_core`` (N), ``steps`` (T), ``graded``, ``dendritic``, ``noise``,
``scale_u`` and ``noc_mode`` (0 or 1 each), and holds whole numbers in these tables, one write a row, the last one of a
place holds:

    cfg_params  core, neuron, parameter, value      parameters as in ``PARAMETERS``; 16-bit values
    cfg_pool    core, address, source, target, weight, compartment, delay       synapse words
    cfg_index   core, source neuron, base address, count, format                where a neuron's words lie
    cfg_routes  source core, source neuron, slot, target core, target neuron, weight, 1 for the global table
    cfg_ext     step, core, neuron, current         what the host writes before a step

Learning, homeostasis, compartment trees and several update passes are refused. Parameters that change nothing without
them (time constants of traces, the common dendrite threshold that the chip stores and never uses) are passed over.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snnkit.errors import CorruptFileError

_Ints = NDArray[np.int64]

CORES, NEURONS, STEPS = 4096, 1024, 1 << 20
MOST_STATES = 1 << 27
"""Neurons times steps that are run at once: what they do takes 26 bytes each."""
POOL_WORDS = 131072
SLOTS = 12
"""Routes a neuron: eight local ones and four global ones."""
SPARSE, DENSE, POPULATION = 0, 1, 2

TABLES: dict[str, tuple[tuple[str, int, int], ...]] = {
    "cfg_params": (("core", 0, -1), ("neuron", 0, -2), ("parameter", 0, 31), ("value", -32768, 65535)),
    "cfg_pool": (
        *(("core", 0, -1), ("address", 0, POOL_WORDS - 1), ("source", 0, NEURONS - 1), ("target", 0, -2)),
        *(("weight", -32768, 65535), ("compartment", 0, 3), ("delay", 0, 63)),
    ),
    "cfg_index": (
        *(("core", 0, -1), ("neuron", 0, -2), ("base address", 0, POOL_WORDS - 1), ("count", 0, 4095)),
        ("format", 0, 2),
    ),
    "cfg_routes": (
        *(("source core", 0, -1), ("source neuron", 0, -2), ("slot", 0, 7), ("target core", 0, -1)),
        *(("target neuron", 0, -2), ("weight", -32768, 65535), ("table", 0, 1)),
    ),
    "cfg_ext": (("step", 0, -3), ("core", 0, -1), ("neuron", 0, -2), ("current", -32768, 65535)),
}
"""Columns of each table: name, lowest, highest; -1, -2 and -3 are the last core, neuron and step."""
SCALARS = ("num_cores", "neurons_per_core", "steps")
SWITCHES = ("graded", "dendritic", "noise", "scale_u", "noc_mode")
KEYS = (*SCALARS, *SWITCHES, *TABLES)
_ABSENT = ("learn", "learning", "threefactor", "async_enable", "skip_idle", "dual_noc", "chip_link")
"""Switches of the chip that are not modelled: a trace that turns one on is refused."""

THRESHOLD, LEAK, REST, REFRACTORY, NOISE, DENDRITE_1, DENDRITE_2, DENDRITE_3, TREE, DECAY_V = range(10)
DECAY_U, BIAS, AXON_TYPE, NOISE_TARGET, VMIN, VMAX, AXON_TABLE = range(10, 17)
WIDTH = 17

# What the chip keeps of a value: so many low bits, with a sign or without.
PARAMETERS: dict[int, tuple[int, str, int, bool]] = {
    0: (THRESHOLD, "threshold", 16, True),
    1: (LEAK, "leak", 16, True),
    2: (REST, "rest", 16, True),
    3: (REFRACTORY, "refractory", 10, False),
    5: (NOISE, "noise", 12, False),
    8: (DENDRITE_1, "threshold of dendrite 1", 16, True),
    9: (DENDRITE_2, "threshold of dendrite 2", 16, True),
    10: (DENDRITE_3, "threshold of dendrite 3", 16, True),
    15: (TREE, "dendrite tree", 6, False),
    16: (DECAY_V, "decay_v", 12, False),
    17: (DECAY_U, "decay_u", 12, False),
    18: (BIAS, "bias", 16, False),
    25: (AXON_TYPE, "axon type", 5, False),
    26: (AXON_TABLE, "axon type table", 12, False),
    29: (NOISE_TARGET, "noise target", 2, False),
    30: (VMIN, "vmin", 16, True),
    31: (VMAX, "vmax", 16, True),
}
"""Parameter number -> column of ``Setup.parameters``, name, bits kept, signed."""
NEEDED = (0, 1, 2, 3, 30, 31)
"""Parameters that have no defined value before they are written."""
_INERT = (4, 6, 7, 12, 14, 19, 20, 21, 27, 28)
_REFUSED = {13: "homeostasis", 22: "compartment trees", 23: "compartment trees"}


@dataclass(frozen=True)
class Setup:
    """A programmed chip and what its host writes, all int64. Shapes: C cores, N neurons a core.

    ``parameters`` (C, N, WIDTH), with an axon's type in place of its number; ``pool`` (words, 4) of target, weight,
    compartment, delay, core after core from ``pool_start`` (C + 1,); ``index`` (C, N, 3) of base, count, format;
    ``routes`` (C, N, 12, 3) of target core (-1: none), target neuron, weight; ``host`` (X, 4) of step, core, neuron,
    current, sorted by step. ``writes`` counts programming writes, a word and its delay as two. The rest are
    switches.
    """

    steps: int
    writes: int
    parameters: _Ints
    pool_start: _Ints
    pool: _Ints
    index: _Ints
    routes: _Ints
    host: _Ints
    graded: bool
    dendritic: bool
    noise: bool
    scale_u: bool
    mesh: bool

    @property
    def cores(self) -> int:
        """Number of cores."""
        return len(self.parameters)

    @property
    def neurons(self) -> int:
        """Neurons built on each core; all are updated in every step."""
        return int(self.parameters.shape[1])


def read(arrays: Mapping[str, NDArray[Any]], name: object) -> Setup:
    """Return the setup that the arrays of a trace hold; ``name`` is the file's, for messages.

    Raises:
        CorruptFileError: one line: what is missing, out of range, or not modelled.
    """
    try:
        return _read(arrays)
    except CorruptFileError as error:
        raise CorruptFileError(f"{name}: {error}") from None


def _read(arrays: Mapping[str, NDArray[Any]]) -> Setup:
    cores, neurons, steps = (
        _scalar(arrays, key, 1, high) for key, high in zip(SCALARS, (CORES, NEURONS, STEPS), strict=True)
    )
    if steps * cores * neurons > MOST_STATES:
        raise CorruptFileError(
            f"{steps} steps of {cores} cores of {neurons} neurons are {steps * cores * neurons:,} states; at most "
            f"{MOST_STATES:,} are run at once."
        )
    switches = [bool(_scalar(arrays, key, 0, 1)) for key in SWITCHES]
    for key in arrays:
        if key in _ABSENT and arrays[key].any():
            raise CorruptFileError(f"key '{key}' turns on a part of the chip that is not modelled.")
        if key.startswith("cfg_") and key not in TABLES:
            raise CorruptFileError(f"key '{key}' is not known; known are {', '.join(TABLES)}.")
    last = {-1: cores - 1, -2: neurons - 1, -3: steps - 1}
    params, pool, index, routes, host = (_table(arrays, key, last) for key in TABLES)
    # First what needs rows for all neurons, so that no file claims more memory than its size justifies.
    parameters = _parameters(params, cores, neurons)
    runs = _index(index, cores, neurons)
    start, words = _pool(pool, runs, neurons)
    return Setup(
        steps=steps,
        writes=len(params) + 2 * len(pool) + len(index) + len(routes),
        parameters=parameters,
        pool_start=start,
        pool=words,
        index=runs,
        routes=_routes(routes, cores, neurons),
        host=_signed(host[np.argsort(host[:, 0], kind="stable")], 3),
        **dict(zip(("graded", "dendritic", "noise", "scale_u", "mesh"), switches, strict=True)),
    )


def _scalar(arrays: Mapping[str, NDArray[Any]], key: str, low: int, high: int) -> int:
    if key not in arrays:
        raise CorruptFileError(f"key '{key}' is missing: this is no complete trace of a Catalyst N1.")
    value = arrays[key]
    if value.shape != () or value.dtype.kind not in "iub" or not low <= int(value) <= high:
        shown = value.item() if value.shape == () else f"an array of shape {value.shape}"
        raise CorruptFileError(f"key '{key}' is {shown}, wanted a whole number from {low} to {high}.")
    return int(value)


def _table(arrays: Mapping[str, NDArray[Any]], key: str, last: dict[int, int]) -> _Ints:
    columns = TABLES[key]
    if key not in arrays:
        raise CorruptFileError(f"key '{key}' is missing: this is no complete trace of a Catalyst N1.")
    table = arrays[key]
    if table.ndim != 2 or table.shape[1] != len(columns) or table.dtype.kind not in "iu":
        raise CorruptFileError(
            f"key '{key}' has shape {table.shape} and type {table.dtype}, wanted (rows, {len(columns)}) whole numbers."
        )
    for column, (what, low, high) in enumerate(columns):
        highest = last.get(high, high)
        values = table[:, column]
        wrong = np.flatnonzero((values < low) | (values > highest))
        if len(wrong):
            row = int(wrong[0])
            raise CorruptFileError(f"key '{key}', row {row}: {what} is {int(values[row])}, wanted {low} to {highest}.")
    return table.astype(np.int64)


def _signed(table: _Ints, column: int) -> _Ints:
    """The table with a column of 16-bit words read with their sign."""
    table[:, column] = ((table[:, column] + 0x8000) & 0xFFFF) - 0x8000
    return table


def _parameters(writes: _Ints, cores: int, neurons: int) -> _Ints:
    for number in NEEDED:
        written = np.zeros((cores, neurons), bool)
        rows = writes[writes[:, 2] == number]
        written[rows[:, 0], rows[:, 1]] = True
        if not written.all():
            core, neuron = (int(i) for i in np.argwhere(~written)[0])
            raise CorruptFileError(
                f"neuron {neuron} of core {core} has no {PARAMETERS[number][1]} (parameter {number}), whose value is "
                "undefined until it is written."
            )
    found = np.zeros((cores, neurons, WIDTH), np.int64)
    table = np.zeros((cores, 32), np.int64)
    for number in np.unique(writes[:, 2]).tolist():
        rows = writes[writes[:, 2] == number]
        core, neuron, value = rows[:, 0], rows[:, 1], rows[:, 3]
        if number not in PARAMETERS:
            _check_passed_over(number, value)
            continue
        column, _, bits, signed = PARAMETERS[number]
        value = value & ((1 << bits) - 1)
        if signed:
            value = value - ((value >> (bits - 1)) << bits)
        if column == AXON_TABLE:
            table[core, neuron % 32] = value
        else:
            found[core, neuron, column] = value
    found[:, :, AXON_TYPE] = np.take_along_axis(table, found[:, :, AXON_TYPE], axis=1)
    return found


def _check_passed_over(number: int, values: _Ints) -> None:
    """Let writes pass that change nothing; refuse what is not modelled."""
    what = _REFUSED.get(number)
    if number == 11 and (((values >> 12) & 15) > 1).any():
        what = "several update passes"
    if number == 24 and not (values & 1).all():
        what = "compartment trees"
    if number == 13 and not values.any():
        what = None
    if what is not None:
        raise CorruptFileError(f"parameter {number} asks for {what}, which are not modelled.")
    if number not in (*_INERT, 11, 13, 24):
        raise CorruptFileError(f"parameter {number} is not known.")


def _index(writes: _Ints, cores: int, neurons: int) -> _Ints:
    found = np.zeros((cores, neurons, 3), np.int64)
    found[writes[:, 0], writes[:, 1]] = writes[:, 2:]
    return found


def _pool(writes: _Ints, index: _Ints, neurons: int) -> tuple[_Ints, _Ints]:
    """Lay out the words of all cores; words that were never written are zero."""
    base, count, form = (index[:, :, i] for i in range(3))
    used = count > 0
    ends = np.where(used, base + np.where(form == POPULATION, 1, count), 0).max(axis=1)
    if (ends > POOL_WORDS).any():
        worst = int(np.argmax(ends))
        raise CorruptFileError(
            f"the synapses of core {worst} end at word {int(ends[worst])}; a pool has {POOL_WORDS} words."
        )
    np.maximum.at(ends, writes[:, 0], writes[:, 1] + 1)
    start = np.concatenate([[0], np.cumsum(ends)]).astype(np.int64)
    words = np.zeros((int(start[-1]), 4), np.int64)
    words[start[writes[:, 0]] + writes[:, 1]] = writes[:, 3:]
    core, neuron = np.nonzero(used & (form != SPARSE))
    reach = words[start[core] + base[core, neuron], 0] + count[core, neuron] - 1
    if (reach >= neurons).any():
        first = int(np.argmax(reach >= neurons))
        raise CorruptFileError(
            f"the synapses of neuron {int(neuron[first])} of core {int(core[first])} lead to neuron "
            f"{int(reach[first])}; the core has {neurons}."
        )
    return start, _signed(words, 1)


def _routes(writes: _Ints, cores: int, neurons: int) -> _Ints:
    slot = writes[:, 2] + 8 * writes[:, 6]
    wrong = np.flatnonzero(slot >= SLOTS)
    if len(wrong):
        raise CorruptFileError(
            f"key 'cfg_routes', row {int(wrong[0])}: slot is {int(writes[wrong[0], 2])}, wanted 0 to 3 in the global "
            "table."
        )
    # No table for a chip of one core: it would be empty.
    found = np.full((cores, neurons, SLOTS if len(writes) else 0, 3), -1, np.int64)
    found[writes[:, 0], writes[:, 1], slot] = _signed(writes, 5)[:, 3:6]
    return found
