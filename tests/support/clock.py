"""How long something takes, measured so that a bound means the same at the end of a long run of tests.

A process that has run thousands of tests holds millions of objects, and every collection of garbage walks them all;
another process on the same core, a cold file, a first import cost once. So what lies about is set aside while the
clock runs, processor time is read instead of the clock on the wall, and the least of a few runs counts.
"""

import gc
import time
from collections.abc import Callable

TRIES = 3


def least_seconds(work: Callable[[], object], enough: float = 0.0) -> float:
    """The least processor time in s of up to three runs of `work`; the first run within `enough` s ends them."""
    least = float("inf")
    for _ in range(TRIES):
        gc.collect()
        gc.freeze()
        start = time.process_time()
        try:
            work()
            least = min(least, time.process_time() - start)
        finally:
            gc.unfreeze()
        if least <= enough:
            break
    return least
