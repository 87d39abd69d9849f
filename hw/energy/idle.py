"""What a chip takes while it waits: idle power × the time one sample occupies it.

    E_static = P · t

| symbol | meaning | unit |
|---|---|---|
| P | power of the chip at rest: leakage, clocks, host link | nW … W |
| t | latency of one sample, or 1 / throughput where samples overlap | ns … s |

No energy model holds it: it hangs on the chip that is switched on and on how fast it is, not on what was counted. Add
it to an estimate with ``with_static_power``. Left out: that power changes with temperature and with load.
"""

from __future__ import annotations

import math

from hw.quantity import Interval, Quantity, UnitError


def static(power: Quantity | Interval, latency: Quantity | Interval) -> Interval:
    """Return idle power × latency in uJ, as an interval.

    Args:
        power: a quantity of power (nW, uW, mW, W).
        latency: a quantity of time (ns, us, ms, s).

    Raises:
        UnitError: either has no unit or one of another dimension, or is negative or not finite; says which was given.
    """
    p, t = _interval(power, "power", "power", "mW"), _interval(latency, "latency", "time", "ms")
    watts, seconds = p.to("W"), t.to("s")
    return watts.times(seconds.low, seconds.nominal, seconds.high).of("J").to("uJ")


def _interval(given: Quantity | Interval, name: str, dimension: str, example: str) -> Interval:
    if not isinstance(given, (Quantity, Interval)):
        raise UnitError(f"{name} is {given!r}, a number without a unit; give a quantity of {dimension}, in {example}.")
    found = given.interval if isinstance(given, Quantity) else given
    if found.dimension != dimension:
        raise UnitError(f"{name} is given in {found.unit}, which is no unit of {dimension}; write it in {example}.")
    if found.low < 0:
        raise UnitError(f"{name} is {found.low} {found.unit}: it must not be negative.")
    if not math.isfinite(found.high):
        raise UnitError(f"{name} is {found.high} {found.unit}: it must be finite.")
    return found
