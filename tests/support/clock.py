"""How long something takes, measured so that a bound means the same at the end of a long run of tests.

A process that has run thousands of tests holds millions of objects, and every collection of garbage walks them all;
another process on the same core or a first import costs once. So what lies about is set aside while the clock runs,
processor time is read instead of the clock on the wall, and the least of a few runs counts. Each run gets an object of
its own, on which nothing is remembered from the run before.
"""

import gc
import time
from collections.abc import Callable
from typing import Any

TRIES = 3


def timed(work: Callable[[Any], Any], fresh: Callable[[], Any], enough: float = 0.0) -> tuple[float, Any]:
    """Return the least processor time in s of up to three runs of `work`, and what the last run returned.

    `fresh` makes what each run works on, while the clock stands. The first run within `enough` s is the last.
    """
    least, found = float("inf"), None
    for _ in range(TRIES):
        made = fresh()
        gc.collect()
        gc.freeze()
        start = time.process_time()
        try:
            found = work(made)
            least = min(least, time.process_time() - start)
        finally:
            gc.unfreeze()
        if least <= enough:
            break
    return least, found
