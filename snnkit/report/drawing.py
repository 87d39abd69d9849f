"""The picture of a network as SVG, from plain data: blocks from top to bottom, what flows between them as arrows.

One column of 420 units, so that a telephone shows it at full size. Colours follow the page's, or by itself the reader's
light or dark scheme. Every word is escaped: the data may come from anybody.
"""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import Any

from snnkit.report.values import number, obj, rows, text, whole

# Kind of operation: colour on a light and on a dark page.
KIND_COLOURS = {
    "synapse": ("#3a4bd0", "#98a4ff"),
    "product": ("#8e3bb8", "#d79bf5"),
    "neuron": ("#1a7f4b", "#5fd39a"),
    "activation": ("#c2571a", "#f5a16b"),
    "norm": ("#a07a00", "#e6c04d"),
    "pool": ("#0f7f8c", "#5fcfdc"),
    "elementwise": ("#6b7280", "#aab1bf"),
    "move": ("#b3b8c2", "#596070"),
    "constant": ("#d9dce2", "#3d4350"),
}
# What an arrow carries: name, colour on a light and on a dark page.
TRAFFIC = {
    "spikes": ("spikes", "#1a7f4b", "#5fd39a"),
    "events": ("other events", "#2a6fb5", "#7db8f0"),
    "real": ("real numbers", "#9a5a00", "#eab05a"),
}
WIDTH = 420
_LEFT, _BOX, _PILL, _GAP = 8, 48, 30, 34


def traffic_of(signals: Any) -> str:
    """Return "real" where one of the signals is, "spikes" where all are binary, else "events"."""
    types = [text(signal.get("type")) for signal in rows(signals)]
    if not types or any(kind.startswith("real") or not kind for kind in types):
        return "real"
    return "spikes" if all(kind.startswith("binary") for kind in types) else "events"


@dataclass
class _Place:
    """A box: its upper and lower edge."""

    top: float
    bottom: float


@dataclass
class _Arrow:
    """From one place to others; ``lane`` is the vertical line it takes, −1 for straight down."""

    source: int
    targets: list[int]
    kind: str
    later: bool
    words: str
    lane: int = -1

    def span(self, places: list[_Place]) -> tuple[float, float]:
        """Upper and lower end of its vertical line."""
        ends = [places[i].top for i in (self.source, *self.targets)]
        return min(ends), max(ends)


def svg(drawn: dict[str, Any]) -> str:
    """Return the picture of what ``compiler.graph.picture.describe`` gives, or of anything of that form."""
    found = rows(drawn.get("blocks"))
    tops, places = 6.0, []
    for size in (_PILL, *[_BOX] * len(found), _PILL):
        places.append(_Place(tops, tops + size))
        tops += size + _GAP
    arrows = _arrows(drawn, len(found))
    lanes = _lanes([arrow for arrow in arrows if arrow.lane != -1], places)
    spacing = min(13.0, 104 / max(lanes, 1))
    right = WIDTH - _LEFT - (10 + lanes * spacing if lanes else 0)
    parts = [_arrow(arrow, places, right, spacing) for arrow in arrows]
    parts.append(_pill(places[0], right, _ends(drawn.get("inputs"), "input")))
    parts += [_block(block, place, right) for block, place in zip(found, places[1:-1], strict=True)]
    parts.append(_pill(places[-1], right, _ends(drawn.get("outputs"), "output")))
    legend, height = _legend(found, arrows, places[-1].bottom + 26)
    title = f"Network {text(drawn.get('name'))}: {whole(number(drawn.get('nodes')))} operations"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="net" viewBox="0 0 {WIDTH} {height:.0f}" width="{WIDTH}" '
        f'role="img" aria-label="{_safe(title)}"><style>{_style()}</style>'
        f'<rect class="net-page" width="{WIDTH}" height="{height:.0f}"/>{"".join(parts)}{legend}</svg>\n'
    )


def _arrows(drawn: dict[str, Any], count: int) -> list[_Arrow]:
    """Straight ones first; what skips a place takes a lane, one for all targets that read the same from it."""
    straight, skipping = [], {}
    for edge in rows(drawn.get("edges")):
        source, target = _place(edge.get("from"), 0, count), _place(edge.get("to"), count + 1, count)
        if source is None or target is None:
            continue
        kind, later = traffic_of(edge.get("signals")), edge.get("later") is True
        words = _carried(rows(edge.get("signals")))
        if target == source + 1 and not later:
            straight.append(_Arrow(source, [target], kind, later, words))
        elif target != source:
            arrow = skipping.setdefault((source, kind, later), _Arrow(source, [], kind, later, words, lane=0))
            arrow.targets.append(target)
    return straight + list(skipping.values())


def _place(value: Any, end: int, count: int) -> int | None:
    index = number(value)
    if index is None or index != int(index) or not -1 <= index < count:
        return None
    return end if index < 0 else int(index) + 1


def _lanes(arrows: list[_Arrow], places: list[_Place]) -> int:
    """Give every arrow a lane in which it crosses no other, short ones inside; return how many there are."""
    taken: list[list[tuple[float, float]]] = []
    for arrow in sorted(arrows, key=lambda a: a.span(places)[1] - a.span(places)[0]):
        low, high = arrow.span(places)
        lane = next((i for i, t in enumerate(taken) if all(high < a or b < low for a, b in t)), len(taken))
        if lane == len(taken):
            taken.append([])
        taken[lane].append((low, high))
        arrow.lane = lane
    return len(taken)


def _arrow(arrow: _Arrow, places: list[_Place], right: float, spacing: float) -> str:
    style = f'class="net-{arrow.kind}{" net-later" if arrow.later else ""}"'
    title = f"<title>{_safe(arrow.words)}</title>"
    start = places[arrow.source]
    if arrow.lane < 0:
        x, end = _LEFT + 26.0, places[arrow.targets[0]].top
        line = f'<path d="M{x} {start.bottom}V{end - 5}"/>{_head(x, end, down=True)}'
        words = f'<text class="net-edge" x="{x + 12}" y="{start.bottom + _GAP / 2 + 4}">{_safe(_cut(arrow.words, 52))}'
        return f"<g {style}>{title}{line}{words}</text></g>"
    x, leave = right + 12 + arrow.lane * spacing, start.bottom - 10
    parts = []
    for target in arrow.targets:
        enter = places[target].top + 12
        parts.append(f'<path d="M{right} {leave}H{x:.1f}V{enter}H{right + 6}"/>{_head(right, enter, down=False)}')
    return f"<g {style}>{title}{''.join(parts)}</g>"


def _head(x: float, y: float, down: bool) -> str:
    points = f"{x - 4},{y - 6} {x + 4},{y - 6} {x},{y}" if down else f"{x + 6},{y - 4} {x + 6},{y + 4} {x},{y}"
    return f'<polygon points="{points}"/>'


def _block(block: dict[str, Any], place: _Place, right: float) -> str:
    top, width, label = place.top, right - _LEFT, text(block.get("label"))
    nodes, broken, states = (number(block.get(key)) or 0 for key in ("nodes", "broken", "states"))
    counted = f"{whole(nodes)} nodes" if nodes != 1 else "1 node"
    side = f"{whole(broken)} real read{'s' if broken != 1 else ''}" if broken else ""
    side = side or (f"{whole(states)} state{'s' if states != 1 else ''}" if states else "")
    does = [f"{whole(n)} {op}" if n != 1 else op for op, n in obj(block, "operations").items() if number(n)]
    room = (width - 26) / 6.8
    bar, at = "", top
    kinds = {kind: n for kind, n in obj(block, "kinds").items() if kind in KIND_COLOURS and number(n)}
    for kind, count in kinds.items():
        high = _BOX * count / sum(kinds.values())
        bar += f'<rect class="net-kind-{kind}" x="{_LEFT}" y="{at:.1f}" width="6" height="{high:.1f}"/>'
        at += high
    return (
        f"<g><title>{_safe(label)}: {_safe(', '.join(does))}</title>"
        f'<rect class="net-box" x="{_LEFT}" y="{top}" width="{width:.1f}" height="{_BOX}" rx="6"/>{bar}'
        f'<text class="net-label" x="{_LEFT + 16}" y="{top + 20}">{_safe(_cut(label, int(room - len(counted))))}</text>'
        f'<text class="net-side" x="{right - 8:.1f}" y="{top + 20}">{counted}</text>'
        f'<text class="net-does" x="{_LEFT + 16}" y="{top + 38}">{_safe(_fit(does, room - len(side) + 2))}</text>'
        f'<text class="net-side{" net-broken" if broken else ""}" x="{right - 8:.1f}" y="{top + 38}">{side}</text></g>'
    )


def _pill(place: _Place, right: float, words: str) -> str:
    return (
        f'<rect class="net-box" x="{_LEFT}" y="{place.top}" width="{right - _LEFT:.1f}" height="{_PILL}" rx="15"/>'
        f'<text class="net-does" x="{_LEFT + 16}" y="{place.top + 20}">{_safe(_cut(words, 46))}</text>'
    )


def _ends(signals: Any, what: str) -> str:
    found = rows(signals)
    if not found:
        return what
    more = f" and {len(found) - 1} more" if len(found) > 1 else ""
    return f"{what} {_shape(found[0])} {text(found[0].get('type'))}{more}"


def _carried(signals: list[dict[str, Any]]) -> str:
    types = list(dict.fromkeys(text(signal.get("type")) for signal in signals))
    shapes = list(dict.fromkeys(_shape(signal) for signal in signals))
    return " · ".join(" + ".join(words) for words in (types, shapes) if any(words))


def _shape(signal: dict[str, Any]) -> str:
    sizes = signal.get("shape")
    return "×".join(text(size) for size in sizes) if isinstance(sizes, list) else ""


def _legend(found: list[dict[str, Any]], arrows: list[_Arrow], top: float) -> tuple[str, float]:
    """What the colours mean, of those that occur; and where the picture ends."""
    kinds = [kind for kind in KIND_COLOURS if any(kind in obj(block, "kinds") for block in found)]
    entries = [(f"net-kind-{kind}", kind, False) for kind in kinds]
    entries += [(f"net-{key}", name, True) for key, (name, *_) in TRAFFIC.items() if any(a.kind == key for a in arrows)]
    parts, x, y = [], float(_LEFT), top
    for style, name, line in entries:
        width = 26 + 7.2 * len(name)
        if x + width > WIDTH:
            x, y = float(_LEFT), y + 20
        mark = (
            f'<path d="M{x} {y - 4}h14"/>' if line else f'<rect x="{x + 2}" y="{y - 9}" width="10" height="10" rx="2"/>'
        )
        parts.append(f'<g class="{style}">{mark}</g><text class="net-does" x="{x + 19:.1f}" y="{y}">{name}</text>')
        x += width
    return "".join(parts), y + 12


def _fit(words: list[str], room: float) -> str:
    """As many of the words as there is room for."""
    shown = ""
    for index, word in enumerate(words):
        longer = f"{shown}, {word}" if shown else word
        if len(longer) > room - (3 if index < len(words) - 1 else 0):
            return f"{shown}, …" if shown else _cut(word, int(room))
        shown = longer
    return shown


def _cut(words: str, room: int) -> str:
    """Words within so many characters: the beginning, and more of the end, which tells names of modules apart."""
    room = max(room, 4)
    if len(words) <= room:
        return words
    head = room // 3
    return f"{words[:head]}…{words[len(words) - (room - head - 1) :]}"


def _safe(words: str) -> str:
    return html.escape(words, quote=True)


def _style() -> str:
    def colour(what: str, light: str, dark: str) -> str:
        # Twice: programs that do not know light-dark() keep the first.
        return f"{what}:{light};{what}:light-dark({light},{dark});"

    rules = [
        ":root.net{color-scheme:light dark}",
        ".net{max-width:100%;height:auto;font:13px -apple-system,'Segoe UI',Inter,Roboto,Arial,sans-serif}",
        ".net-page{fill:none}:root.net .net-page{" + colour("fill", "#fbfbf9", "#0f1116") + "}",
        ".net-box{" + colour("fill", "#ffffff", "#161920") + colour("stroke", "#d5d7dd", "#353a47") + "}",
        ".net-label{font-weight:600;" + colour("fill", "#191b20", "#e9eaee") + "}",
        ".net-does{font-size:12.5px;" + colour("fill", "#4d5360", "#b3b8c5") + "}",
        ".net-side{font-size:12px;text-anchor:end;" + colour("fill", "#5b616e", "#a0a6b4") + "}",
        ".net .net-broken{" + colour("fill", "#915300", "#f0b356") + "}",
        ".net path{fill:none;stroke-width:1.6}.net-later path{stroke-dasharray:4 3}.net-edge{font-size:12px}",
    ]
    for kind, (light, dark) in KIND_COLOURS.items():
        rules.append(f".net-kind-{kind}{{" + colour("fill", light, dark) + "}")
    for key, (_, light, dark) in TRAFFIC.items():
        rules.append(f".net-{key} path{{" + colour("stroke", light, dark) + "}")
        rules.append(f".net-{key} polygon,.net-{key} text{{" + colour("fill", light, dark) + "}")
    return "".join(rules)
