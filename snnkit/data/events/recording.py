"""What every reader of event recordings returns."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from snnkit.errors import CorruptFileError

# Sensors send a few events late; in bytes that are no recording every second step goes back.
_BACKWARDS = 0.05


@dataclass(frozen=True)
class Events:
    """N events in the order of the file.

    Attributes:
        t: time in µs, int64 (N,).
        x, y: column and row, int32 (N,).
        on: whether it grew brighter, bool (N,).
        height, width: of the sensor in pixels; 0 where the file does not say.
    """

    t: np.ndarray
    x: np.ndarray
    y: np.ndarray
    on: np.ndarray
    height: int = 0
    width: int = 0

    def __len__(self) -> int:
        return len(self.t)

    def checked(self, path: Path) -> Events:
        """Return these events.

        Raises:
            CorruptFileError: none, outside the sensor, or at times that run backwards.
        """
        if not len(self):
            raise CorruptFileError(f"{path} holds no events; remove it, or fetch it again.")
        back = int((np.diff(self.t) < 0).sum())
        if back > _BACKWARDS * len(self):
            raise CorruptFileError(
                f"{path}: time runs backwards after {back} of {len(self)} events: not a recording of this format, "
                "or a damaged one. Fetch it again."
            )
        for name, values, limit in (("x", self.x, self.width), ("y", self.y, self.height)):
            if limit and values.max() >= limit:
                raise CorruptFileError(
                    f"{path}: an event has {name} = {values.max()}, the sensor is {self.width}×{self.height}; give the "
                    "right size (data.sensor_width, data.sensor_height), or fetch the file again."
                )
        return self


def whole(data: bytes, size: int, path: Path, what: str) -> bytes:
    """Return ``data`` if it is a whole number of records of ``size`` bytes.

    Raises:
        CorruptFileError: the last record is cut short.
    """
    if len(data) % size:
        raise CorruptFileError(
            f"{path} is cut short: {len(data)} bytes of events are no multiple of {size}, the size of {what}. "
            "Fetch it again."
        )
    return data
