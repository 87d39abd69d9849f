"""Blocks that the section is built of: tables, curves, confusions, pictures beside each other, pictures with texts.

The template draws each by its ``kind``; ``data`` is what a chart of it needs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from snnkit.report.pictures import Picture, groups
from snnkit.report.values import number, percent, text, whole

Value = float | int | None
_COLOUR = re.compile(r"#[0-9a-fA-F]{6}")


def colour(value: Any) -> str:
    """Return "#rrggbb" as "rgb(r,g,b)"; nothing for anything else, so that no other words get into a style."""
    if not isinstance(value, str) or not _COLOUR.fullmatch(value):
        return ""
    return f"rgb({','.join(str(int(value[at : at + 2], 16)) for at in (1, 3, 5))})"


def decimal(value: Any) -> str:
    """Return a number with three digits behind the point."""
    value = number(value)
    return "–" if value is None else f"{value:.3f}"


@dataclass(frozen=True)
class Column:
    """A column of a table: the key in the records, its heading, and how a value is put in words."""

    key: str
    title: str
    shown: Callable[[Any], str] = percent


@dataclass(frozen=True)
class Row:
    """A row of a table: a name, with the colour of what it names, and (value, words) of each cell."""

    name: str
    cells: list[tuple[Value, str]]
    colour: str = ""


@dataclass(frozen=True)
class Block:
    """What all blocks have: a heading, and a line below."""

    kind: ClassVar[str]
    title: str
    note: str = field(default="", kw_only=True)

    @property
    def data(self) -> dict[str, Any] | None:
        """What its chart draws; None without a chart."""
        return None


@dataclass(frozen=True)
class Table(Block):
    """Names with numbers; ``first`` heads the names, ``about`` says aloud what it holds, ``foot`` is the last row."""

    kind: ClassVar[str] = "table"
    first: str
    about: str
    columns: list[str]
    rows: list[Row]
    foot: Row | None = None


@dataclass(frozen=True)
class Line:
    """A line of a chart."""

    name: str
    values: list[Value]
    colour: str = ""


@dataclass(frozen=True)
class View:
    """One of several sets of lines between which a chart switches."""

    key: str
    label: str
    lines: list[Line]


@dataclass(frozen=True)
class Curves(Block):
    """Shares over numbers or words.

    Attributes:
        name: of the chart, once in the page.
        about: what it shows, for those who do not see it.
        x: places, and ``axis``: what they are.
        at: title of the box at a place, with {} for it.
        views: sets of lines.
        each: the table has every so many-th place.
        numbers: whether places are numbers.
    """

    kind: ClassVar[str] = "curves"
    name: str
    about: str
    x: list[Any]
    axis: str
    at: str
    views: list[View]
    each: int = 1
    numbers: bool = True

    @property
    def data(self) -> dict[str, Any]:
        """What its chart draws."""
        views = [
            {"key": view.key, "lines": [{"name": a.name, "values": a.values, "rgb": a.colour} for a in view.lines]}
            for view in self.views
        ]
        drawn = {"x": self.x, "axis": self.axis, "at": self.at, "views": views, "numbers": self.numbers}
        return {"id": self.name, "kind": self.kind, **drawn}

    @property
    def tables(self) -> list[tuple[str, Table]]:
        """The numbers of every view."""
        found = []
        for view in self.views:
            places = range(0, len(self.x), self.each)
            cells = [[(line.values[at], percent(line.values[at])) for line in view.lines] for at in places]
            lines = [Row(text(self.x[at]), row) for at, row in zip(places, cells, strict=True)]
            columns = [line.name for line in view.lines]
            found.append((view.label, Table("", f"{self.axis[:1].upper()}{self.axis[1:]}", self.about, columns, lines)))
        return found


@dataclass(frozen=True)
class Confusion(Block):
    """How much of each class, a row, was taken for each class, a column, in a unit."""

    kind: ClassVar[str] = "confusion"
    name: str
    about: str
    classes: list[str]
    counts: list[list[Value]]
    unit: str

    @property
    def data(self) -> dict[str, Any]:
        """What its chart draws."""
        drawn = {"classes": self.classes, "counts": self.counts, "unit": self.unit}
        return {"id": self.name, "kind": self.kind, **drawn}


@dataclass(frozen=True)
class Mark:
    """What is named below a picture, in its colour."""

    words: str
    colour: str = ""


@dataclass(frozen=True)
class Pictures(Block):
    """Images with versions of each beside it; ``marks``: of every image, for every version, what is named below."""

    kind: ClassVar[str] = "pictures"
    picture: Picture
    parts: tuple[str, ...]
    count: int | None = None
    marks: list[list[list[Mark]]] = field(default_factory=list)

    @property
    def groups(self) -> list[dict[str, Any]]:
        """Every image: its box in the picture, and (version, marks); empty where the picture has another layout."""
        boxes = groups(self.picture, len(self.parts), self.count)
        blank: list[list[Mark]] = [[] for _ in self.parts]
        told = self.marks if len(self.marks) == len(boxes) else [blank for _ in boxes]
        return [
            {"box": box, "parts": list(zip(self.parts, marks, strict=True))}
            for box, marks in zip(boxes, told, strict=True)
        ]


@dataclass(frozen=True)
class Written:
    """What was written about an image, how good it is, and what people wrote."""

    words: str
    score: str
    references: list[str]


@dataclass(frozen=True)
class Texts(Block):
    """Images beside what was written about them; the first ``first`` are seen at once."""

    kind: ClassVar[str] = "texts"
    picture: Picture | None
    written: list[Written]
    score: str
    first: int = 6

    @property
    def parts(self) -> list[list[dict[str, Any]]]:
        """The first images, then the others, each with its box in the picture where it has one."""
        boxes = groups(self.picture, 1, len(self.written)) if self.picture else []
        told = [
            {"place": place, "box": boxes[place] if boxes else "", "one": one} for place, one in enumerate(self.written)
        ]
        return [part for part in (told[: self.first], told[self.first :]) if part]


def table(
    title: str,
    first: str,
    about: str,
    columns: Sequence[Column],
    records: Iterable[dict[str, Any]],
    foot: tuple[str, dict[str, Any]] | None = None,
    note: str = "",
) -> Table | None:
    """Return a table of records with a name each, without columns that have no number; None without any row.

    Args:
        title, first, about, note: as in ``Table``.
        columns: what may be shown.
        records: a row each.
        foot: the name of the last row, and its record.
    """
    found = list(records)
    of_all = [*found, *([foot[1]] if foot else [])]
    kept = [column for column in columns if any(number(row.get(column.key)) is not None for row in of_all)]
    if not found or not kept:
        return None

    def row(name: str, record: dict[str, Any]) -> Row:
        values = [number(record.get(column.key)) for column in kept]
        shown = [(value, column.shown(value)) for value, column in zip(values, kept, strict=True)]
        return Row(name, shown, colour(record.get("colour")))

    lines = [row(text(record.get("name")) or "–", record) for record in found]
    last = (
        row(foot[0], foot[1]) if foot and any(number(foot[1].get(column.key)) is not None for column in kept) else None
    )
    return Table(title, first, about, [column.title for column in kept], lines, last, note=note)


def line(name: str, values: Any, size: int, shade: str = "") -> list[Line]:
    """Return a list of numbers as a line of a chart, in a list; empty where it has another size, or no number."""
    if not isinstance(values, list) or len(values) != size:
        return []
    found = [number(value) for value in values]
    return [Line(name, found, shade)] if any(value is not None for value in found) else []


def after(records: dict[str, Any]) -> str:
    """Return the words "after epoch 3" where the records say of which they are."""
    epoch = number(records.get("epoch"))
    return f" after epoch {whole(epoch)}" if epoch is not None else ""
