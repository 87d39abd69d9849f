"""Which way of computing a layer is fastest at the present firing rate, found by timing them on the layer's own input.

The time of a dense product does not depend on the rate; that of events grows with it, but no faster: t(r) = a + b · r
with a ≥ 0. So there is one crossing. Each comparison bounds it: events that are f times faster at a rate r are faster
up to f · r at least, and where dense is f times faster, it is so down to r / f at least. Between the bounds the next
input is tried. Because a single comparison may be disturbed, all is compared anew now and then, ever more rarely.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

EVENTS = "events"
_CLOSED = 1.05  # bounds this close to each other leave nothing to find
_ROUNDS = 5
_HOPELESS, _CHANCES = 2.0, 2  # a variant that was this much slower so many times is not timed again
_FIRST_DOUBT, _LATER = 8, 4  # looks until everything is compared anew; each time so many times more


def race(variants: dict[str, Callable[[], Tensor]], rounds: int = _ROUNDS) -> dict[str, float]:
    """Time the variants in turns after one unmeasured call each; return the least seconds of each.

    CPU time of this thread where torch uses one, so that other programs do not decide; else wall time.
    """
    clock = time.thread_time if torch.get_num_threads() == 1 else time.perf_counter
    best: dict[str, float] = {}
    for run in variants.values():
        run()
    for number in range(rounds):
        fastest = min(best.values()) if number >= _CHANCES else float("inf")
        for name, run in variants.items():
            if best.get(name, 0.0) > _HOPELESS * fastest:
                continue
            started = clock()
            run()
            taken = clock() - started
            best[name] = min(taken, best.get(name, taken))
    return best


@dataclass(slots=True)
class Choice:
    """What is known about one layer at one input shape.

    Attributes:
        events_up_to: events are faster up to this rate (−1: not known).
        dense_from: a dense way is faster from this rate on.
        dense: name of the fastest dense way.
        seconds: the latest times of all ways.
    """

    dense: str
    events_up_to: float = -1.0
    dense_from: float = float("inf")
    seconds: dict[str, float] = field(default_factory=dict)
    _looks: int = 0
    _doubt_at: int = _FIRST_DOUBT

    def at(self, rate: float) -> str | None:
        """Return the way for this rate, or None where it must be tried."""
        self._looks += 1
        if self._looks == self._doubt_at:
            self._looks, self._doubt_at = 0, self._doubt_at * _LATER
            self.events_up_to, self.dense_from = -1.0, float("inf")
        if rate <= self.events_up_to:
            return EVENTS
        if rate >= self.dense_from:
            return self.dense
        if self.dense_from <= self.events_up_to * _CLOSED:
            return EVENTS
        return None

    def learn(self, rate: float, seconds: dict[str, float]) -> str:
        """Take the times measured at ``rate``; return the fastest way."""
        self.seconds = seconds
        dense = {name: taken for name, taken in seconds.items() if name != EVENTS}
        self.dense = min(dense, key=dense.__getitem__)
        faster = dense[self.dense] / seconds[EVENTS]
        if faster >= 1.0:
            self.events_up_to = max(rate * faster, self.events_up_to)
            return EVENTS
        self.dense_from = min(rate * faster, self.dense_from)
        return self.dense

    def reason(self, way: str) -> str:
        """Say why ``way`` is taken."""
        if way == EVENTS:
            return f"events are faster, at least up to a rate of {self.events_up_to:.3g}"
        return f"{way} is faster, at least from a rate of {self.dense_from:.3g}"
