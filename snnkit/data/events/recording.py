"""What every reader of event recordings returns."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from snnkit.errors import CorruptFileError

# Sensors send a few events late; in bytes that are no recording every second step goes back.
_BACKWARDS = 0.05
# More events than this share outside of the sensor are a wrong size, or another format.
_STRAY = 0.01
# Pixels; the largest sensor sold has 1280. Frames are made as large as a file says.
LARGEST_SIDE = 1 << 14


@dataclass(frozen=True)
class Events:
    """N events in the order of the file.

    Attributes:
        t: time in µs, int64 (N,).
        x, y: column and row, int32 (N,).
        on: whether it grew brighter, bool (N,).
        height, width: of the sensor in pixels; 0 where the file does not say.
        stray: how many events outside of the sensor were left out.
    """

    t: np.ndarray
    x: np.ndarray
    y: np.ndarray
    on: np.ndarray
    height: int = 0
    width: int = 0
    stray: int = 0

    def __len__(self) -> int:
        return len(self.t)

    def checked(self, path: Path, drop_stray: bool = False) -> Events:
        """Return these events, or with ``drop_stray`` those inside the sensor.

        Raises:
            CorruptFileError: none, outside the sensor, at times that run backwards, or of a sensor of no known size.
        """
        if not len(self):
            raise CorruptFileError(f"{path} holds no events; remove it, or fetch it again.")
        if max(self.height, self.width) > LARGEST_SIDE:
            raise CorruptFileError(
                f"{path}: a sensor of {self.width}×{self.height} pixels; at most {LARGEST_SIDE} a side are read. "
                "Give the right size (data.sensor_width, data.sensor_height), or fetch the file again."
            )
        back = int((np.diff(self.t) < 0).sum())
        if back > _BACKWARDS * len(self):
            raise CorruptFileError(
                f"{path}: time runs backwards after {back} of {len(self)} events: not a recording of this format, "
                "or a damaged one. Fetch it again."
            )
        return self._inside(path, drop_stray)

    def _inside(self, path: Path, drop_stray: bool) -> Events:
        inside = np.ones(len(self), bool)
        for values, limit in ((self.x, self.width), (self.y, self.height)):
            inside &= (values >= 0) & ((values < limit) | (not limit))
        stray = int((~inside).sum())
        if not stray:
            return self
        if not drop_stray or stray > max(1, _STRAY * len(self)):
            extremes = {"x": (self.x.min(), self.x.max(), self.width), "y": (self.y.min(), self.y.max(), self.height)}
            name, (low, high, limit) = next((n, e) for n, e in extremes.items() if e[0] < 0 or 0 < e[2] <= e[1])
            value = high if 0 < limit <= high else low
            way = "more than a few; " if drop_stray else "data.stray_events=drop leaves a few out, else "
            raise CorruptFileError(
                f"{path}: an event has {name} = {value}, the sensor is {self.width}×{self.height} ({stray:,} of "
                f"{len(self):,} events lie outside: {way}give the right size (data.sensor_width, data.sensor_height), "
                "or fetch the file again)."
            )
        t, x, y, on = (column[inside] for column in (self.t, self.x, self.y, self.on))
        return Events(t, x, y, on, self.height, self.width, stray)


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
