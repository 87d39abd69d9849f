"""Traces: a programmed chip with its input events, and what it did, as an npz of arrays.

``cfg_*`` and the scalars say what goes in, ``out_*`` what came out. Read and written for both chips::

    both        steps, cfg_v_init, cfg_thr, cfg_leak, cfg_disable (N,), cfg_weights (N, N) [source, neuron],
                cfg_events (E, 2) of step and address
    tinyODIN    max_neur (the last neuron that events to all reach), open_loop
    ODIN        propagate_unmapped, cfg_leak_en, cfg_pre_sign (N,), cfg_mapped (N, N)
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compiler.targets.odin import events, simulator
from compiler.targets.odin.arithmetic import NEURONS, ODIN, TINYODIN, Format
from compiler.targets.odin.events import Ints
from compiler.targets.odin.simulator import Core
from snnkit.errors import CorruptFileError
from snnkit.files import atomic_path

_Arrays = Mapping[str, NDArray[Any]]

FLAG = (0, 1)


class TraceError(CorruptFileError):
    """A trace that cannot be replayed; the message names the key and what is wrong with it."""


_BOTH = ("steps", "cfg_v_init", "cfg_thr", "cfg_leak", "cfg_disable", "cfg_weights", "cfg_events")
KEYS = {
    TINYODIN.name: (*_BOTH, "max_neur", "open_loop"),
    ODIN.name: (*_BOTH, "propagate_unmapped", "cfg_leak_en", "cfg_pre_sign", "cfg_mapped"),
}
"""What goes in, by chip."""
MARKS = {TINYODIN.name: ("max_neur", "cfg_thr"), ODIN.name: ("propagate_unmapped", "cfg_thr")}
"""Keys that together only traces of a chip have."""


def replay(chip: Format, arrays: _Arrays, name: object = "the trace") -> dict[str, NDArray[Any]]:
    """Run the chip and the events of a trace; return what it did under the names of ``out_*``, without that prefix.

    ``name`` is the file's, for messages.

    Returns:
        ``v``, ``s`` int16 (T, N); ``spike_seq`` int32 (Q, 2); ``event_cycles`` int32 (E,); for tinyODIN ``drops``.

    Raises:
        TraceError: a key is missing, or says what the chip has not.
        InvalidArgumentError: the chip never comes to rest.
    """
    try:
        core, steps, given = read(chip, arrays)
    except TraceError as error:
        raise TraceError(f"{name}: {error}.") from None
    done = simulator.run(core, steps, np.ascontiguousarray(given[:, 0]), np.ascontiguousarray(given[:, 1]))
    found: dict[str, NDArray[Any]] = {
        "v": done.v,
        "s": done.spikes,
        "spike_seq": done.order,
        "event_cycles": done.cycles,
    }
    return found | ({"drops": np.array(done.drops, np.int64)} if chip is TINYODIN else {})


def read(chip: Format, arrays: _Arrays) -> tuple[Core, int, Ints]:
    """Return the programmed chip of a trace, its T and its events (E, 2).

    Raises:
        TraceError: a key is missing, or says what the chip has not.
    """
    v = _get(arrays, "cfg_v_init", (-1,), chip.state)
    size = len(v)
    if not 1 <= size <= NEURONS:
        raise TraceError(f"key 'cfg_v_init' has {size} neurons; {chip.title} has 1 to {NEURONS}")
    threshold = _get(arrays, "cfg_thr", (size,), chip.threshold)
    leak = _get(arrays, "cfg_leak", (size,), chip.leak)
    disabled = _get(arrays, "cfg_disable", (size,), FLAG)
    weights = _get(arrays, "cfg_weights", (size, size), chip.weight)
    updated, closed = size, False
    if chip is TINYODIN:
        updated = int(_get(arrays, "max_neur", (), (0, size - 1))) + 1
        closed = not int(_get(arrays, "open_loop", (), FLAG))
    else:
        leak = leak * _get(arrays, "cfg_leak_en", (size,), FLAG)
        mapped = _get(arrays, "cfg_mapped", (size, size), FLAG) | int(_get(arrays, "propagate_unmapped", (), FLAG))
        sign = 1 - 2 * _get(arrays, "cfg_pre_sign", (size,), FLAG)
        weights = weights * mapped * sign[:, None]
    steps = int(_get(arrays, "steps", (), (0, 10**9)))
    given = _get(arrays, "cfg_events", (-1, 2), (-(2**31), 2**31 - 1))
    _check_events(chip, steps, given, size)
    return Core(chip, v, threshold, leak, disabled, weights, updated, closed), steps, given


def _check_events(chip: Format, steps: int, given: Ints, size: int) -> None:
    step = given[:, 0]
    late = (step < 0) | (step >= steps)
    if late.any():
        raise TraceError(
            f"key 'cfg_events': event {int(late.argmax())} comes in step {step[late][0]}; key 'steps' says {steps}"
        )
    if len(step) and bool((np.diff(step) < 0).any()):
        back = int((np.diff(step) < 0).argmax())
        raise TraceError(f"key 'cfg_events': step {step[back + 1]} comes after step {step[back]}; they must ascend")
    wrong = events.refused(chip, given[:, 1], size)
    if wrong:
        raise TraceError(f"key 'cfg_events': {wrong}")


def _get(arrays: _Arrays, key: str, shape: tuple[int, ...], allowed: tuple[int, int]) -> Ints:
    """Return an array of whole numbers, checked; −1 in ``shape`` is any length."""
    if key not in arrays:
        raise TraceError(f"key {key!r} is missing")
    found = arrays[key]
    if found.ndim != len(shape) or any(size not in (-1, given) for size, given in zip(shape, found.shape, strict=True)):
        wanted = "(" + ", ".join("any" if size < 0 else str(size) for size in shape) + ")"
        raise TraceError(f"key {key!r} has the shape {found.shape}, wanted {wanted}")
    if found.dtype.kind not in "iub":
        raise TraceError(f"key {key!r} holds {found.dtype}, wanted whole numbers")
    outside = (found < allowed[0]) | (found > allowed[1])
    if outside.any():
        raise TraceError(f"key {key!r} holds {found[outside].flat[0]}, outside {allowed[0]} to {allowed[1]}")
    return found.astype(np.int64, order="C")


def write(path: str | Path, arrays: Mapping[str, Any]) -> None:
    """Write a trace; the file appears complete or not at all."""
    # Through a file object: given a name, numpy would append ".npz" to the temporary one.
    with atomic_path(Path(path)) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, **arrays)
