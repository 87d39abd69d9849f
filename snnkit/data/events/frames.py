"""From events to frames: counts of events per pixel in so many parts of a recording."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from snnkit.data.events.recording import Events
from snnkit.errors import InvalidArgumentError, unknown_name

PARTS = ("time", "count")


def to_frames(events: Events, parts: int, by: str = "time", size: tuple[int, int] | None = None) -> Tensor:
    """Return counts float32 (T, 2, H, W); channel 0 counts off events, channel 1 on events. No event is lost.

    Args:
        events: at least one, with the sensor's size.
        parts: T.
        by: "time": parts last equally long, from the first event to the last; "count": parts hold equally many events.
        size: H and W; the sensor's where not given, else events of pixels that fall together are added.

    Raises:
        InvalidArgumentError: T below 1, or the sensor's size is unknown.
        UnknownNameError: another way to part.
    """
    if parts < 1:
        raise InvalidArgumentError(f"{parts} frames: must be ≥ 1.")
    if by not in PARTS:
        raise unknown_name("way to part a recording", by, PARTS)
    if not events.height or not events.width:
        raise InvalidArgumentError("the sensor's size is unknown: give events of a known height and width.")
    height, width = size or (events.height, events.width)
    if by == "time":
        first = events.t.min()
        # One µs more than lies between them: the last event belongs to the last part.
        part = (events.t - first) * parts // (events.t.max() - first + 1)
    else:
        part = np.arange(len(events)) * parts // len(events)
    y, x = events.y.astype(np.int64) * height // events.height, events.x.astype(np.int64) * width // events.width
    flat = ((part * 2 + events.on) * height + y) * width + x
    counts = np.bincount(flat, minlength=parts * 2 * height * width)
    return torch.from_numpy(counts.astype(np.float32)).view(parts, 2, height, width)
