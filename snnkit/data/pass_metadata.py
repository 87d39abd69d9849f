"""Who made an image: the table ``pass_metadata.csv`` of PASS, one row an image.

Columns: ``hash`` (the name of the image's file without its ending), ``unickname`` (its creator), and, where they are
known, ``datetaken``, ``latitude`` and ``longitude``; others are passed over. A set of other origin may add ``licence``
(CC-BY without it). Creators are given as the table has them.

Rows stay in the file: 1.4 million of them take 150 MB. Kept are their places, by the hash.

Source: Asano et al., "PASS: An ImageNet replacement for self-supervised pretraining without humans", NeurIPS 2021
Datasets and Benchmarks, arXiv 2109.13228; https://github.com/yukimasano/PASS.
"""

from __future__ import annotations

import csv
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from snnkit.errors import CorruptFileError, InvalidArgumentError, nearest

FILE = "pass_metadata.csv"
LICENCE = "CC-BY"
_NEEDED = ("hash", "unickname")
_COLUMNS = (*_NEEDED, "datetaken", "latitude", "longitude", "licence")
_FURTHEST = {"latitude": 90.0, "longitude": 180.0}  # degrees


@dataclass(frozen=True)
class Credit:
    """What must be said of an image that is used, and what is known of it.

    Attributes:
        hash: name of its file without the ending.
        creator: who is to be named; never empty.
        licence: under which it may be used.
        date: when it was taken, as the table has it; "" where that is not known.
        latitude, longitude: where, in degrees; None where that is not known.
    """

    hash: str
    creator: str
    licence: str = LICENCE
    date: str = ""
    latitude: float | None = None
    longitude: float | None = None


class Metadata:
    """The rows of a table, by hash.

    Args:
        path: of the table.

    Raises:
        CorruptFileError: missing, no such table, a row of other length than the heading, or two of one hash (names
            the lines). A row without a creator, or of impossible coordinates, is told where it is asked for.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        hashes: list[bytes] = []
        offsets, lines, wrong = array("q"), array("q"), array("h")  # an eighth of the memory of lists
        reasons: dict[str, int] = {}
        with _opened(self.path) as file:
            rows = _Rows(self.path, file)
            reading = iter(rows)
            heading = next(reading, [])
            self._columns, self._width = _heading(self.path, heading), len(heading)
            for row in reading:
                if not row:
                    continue
                self._check(row, rows.line)
                hashes.append(row[self._columns["hash"]].strip().encode())
                offsets.append(rows.start)
                lines.append(rows.line)
                wrong.append(reasons.setdefault(self._reason(row), len(reasons)))
        found = np.array(hashes, np.bytes_)
        order = np.argsort(found, kind="stable")
        self._hashes, self._reasons = found[order], tuple(reasons)
        self._offsets, self._lines, self._wrong = (np.asarray(values)[order] for values in (offsets, lines, wrong))
        twice = np.flatnonzero(self._hashes[1:] == self._hashes[:-1])
        if len(twice):
            first = twice[0]
            raise CorruptFileError(
                f"{self.path}: lines {self._lines[first]} and {self._lines[first + 1]} are both of hash "
                f"{self._hashes[first].decode()!r} ({len(twice)} such); remove one."
            )

    def __len__(self) -> int:
        return len(self._hashes)

    def rows(self, hashes: Sequence[bytes] | np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return the number of each hash's row, −1 where there is none."""
        asked = np.asarray(hashes, np.bytes_)
        if not len(self._hashes):
            return np.full(len(asked), -1)
        place = np.searchsorted(self._hashes, asked).clip(max=len(self._hashes) - 1)
        return np.where(self._hashes[place] == asked, place, -1)

    def wrong(self, row: int) -> str:
        """Say what is wrong with a row; "" if nothing, and where there is no row (−1) that."""
        if row < 0:
            return f"has no row in {self.path.name}"
        reason = self._reasons[self._wrong[row]]
        return reason and f"{reason} (line {self._lines[row]} of {self.path.name})"

    def credit(self, row: int) -> Credit:
        """Read the row with this number.

        Raises:
            CorruptFileError: the table has changed since it was opened.
        """
        with _opened(self.path) as file:
            return self._read(file, row)

    def credits(self, rows: Iterable[int]) -> Iterator[Credit]:
        """Read several rows, the file opened once."""
        with _opened(self.path) as file:
            for row in rows:
                yield self._read(file, row)

    def _read(self, file: BinaryIO, row: int) -> Credit:
        file.seek(int(self._offsets[row]))
        try:
            values = next(iter(_Rows(self.path, file)), [])
        except CorruptFileError:
            values = []
        columns, found = self._columns, self._hashes[row].decode()
        if len(values) != self._width or values[columns["hash"]].strip() != found or self._reason(values):
            raise CorruptFileError(f"{self.path} changed while it was in use: start again.")
        given = {column: values[place].strip() for column, place in columns.items()}
        where = {column: _degrees(given.get(column, ""), _FURTHEST[column]) for column in _FURTHEST}
        date = given.get("datetaken", "")
        date = "" if date.lower() in _UNKNOWN else date
        return Credit(found, given["unickname"], given.get("licence") or LICENCE, date, **where)

    def _reason(self, row: list[str]) -> str:
        """What is wrong with a row."""
        if not row[self._columns["unickname"]].strip():
            return "has no creator"
        for column, furthest in _FURTHEST.items():
            if column in self._columns:
                try:
                    _degrees(row[self._columns[column]].strip(), furthest)
                except ValueError:
                    return f"has an impossible {column}"
        return ""

    def _check(self, row: list[str], line: int) -> None:
        if len(row) != self._width:
            raise CorruptFileError(
                f"{self.path}, line {line}: {len(row)} values under {self._width} headings; mend it (a value with a "
                "comma belongs into quotes), or fetch the file again."
            )
        if not row[self._columns["hash"]].strip():
            raise CorruptFileError(f"{self.path}, line {line}: the hash is empty; mend it, or fetch the file again.")


def find_metadata(folder: str | Path, given: str | Path = "") -> Path:
    """Return the table of the images in a folder: the one given, else the one in the folder or beside it.

    Raises:
        InvalidArgumentError: there is none.
    """
    if given:
        return Path(given)
    for place in (Path(folder), Path(folder).absolute().parent):
        if (place / FILE).is_file():
            return place / FILE
    raise InvalidArgumentError(
        f"{folder}: no {FILE} in it or beside it, so nobody could be named for its images; put it there, or say where "
        "it is (data.metadata, --metadata)."
    )


class _Rows:
    """The rows of an opened table from where it stands; ``start`` and ``line`` are those of the row given last."""

    def __init__(self, path: Path, file: BinaryIO):
        self._path, self._file = path, file
        self.start = self.line = 0

    def __iter__(self) -> Iterator[list[str]]:
        reader, begin = csv.reader(self._lines(), strict=True), self._file.tell()
        self._read = begin
        while True:
            self.start = self._read
            line = reader.line_num + 1
            try:
                row = next(reader)
            except StopIteration:
                return
            except (csv.Error, UnicodeDecodeError) as error:
                raise CorruptFileError(
                    f"{self._path}, line {line}: is no text with values between commas ({error}); mend it, or fetch "
                    "the file again."
                ) from None
            self.line = line
            yield row

    def _lines(self) -> Iterator[str]:
        for line in self._file:
            self._read += len(line)
            yield line.decode("utf-8")


def _opened(path: Path) -> BinaryIO:
    try:
        return open(path, "rb")
    except FileNotFoundError:
        raise CorruptFileError(f"{path} does not exist.") from None
    except OSError as error:
        raise CorruptFileError(f"{path} cannot be read: {error.strerror or error}.") from None


def _heading(path: Path, row: list[str]) -> dict[str, int]:
    """Return the place of each column that is known."""
    names = [name.strip().removeprefix("\ufeff") for name in row]
    for needed in _NEEDED:
        if needed not in names:
            shown = ", ".join(names[:8]) or "nothing"
            raise CorruptFileError(
                f"{path} has no column {needed!r}, but {shown}.{nearest(needed, names)} PASS's table begins with "
                f"{','.join(_COLUMNS[:5])}."
            )
        if names.count(needed) > 1:
            raise CorruptFileError(f"{path} has two columns {needed!r}; remove one.")
    return {name: names.index(name) for name in _COLUMNS if name in names}


def _degrees(text: str, furthest: float) -> float | None:
    """Return a number within ±furthest, or None for what is not known; raises ValueError for anything else."""
    if text.lower() in _UNKNOWN:
        return None
    value = float(text)
    if not abs(value) <= furthest:
        raise ValueError
    return value


_UNKNOWN = ("", "nan", "none", "null")
