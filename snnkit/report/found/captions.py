"""captions.json: what was written about the first test images beside what people wrote, and the scores of all."""

from __future__ import annotations

from typing import Any

from snnkit.report.found.blocks import Block, Column, Texts, Written, after, decimal, table
from snnkit.report.pictures import Picture
from snnkit.report.values import names, number, obj, plural, rows, si, text

_SCORES = {"cider": "CIDEr-D", "bleu_1": "BLEU-1", "bleu_2": "BLEU-2", "bleu_3": "BLEU-3", "bleu_4": "BLEU-4"}
_SCORES |= {"rouge_l": "ROUGE-L"}


def blocks(records: dict[str, Any], picture: Picture | None) -> list[list[Block]]:
    """Return the captions with their images, and the table of scores."""
    written = [
        Written(text(one.get("caption")).strip(), decimal(one.get("cider")), names(one.get("references")))
        for one in rows(records.get("shown"))
    ]
    found: list[Block] = []
    if written:
        found = [Texts(f"Written about test images{after(records)}", picture, written, "CIDEr-D")]
    scores = obj(records, "scores")
    known = table(
        "Scores of all captions",
        "Test",
        "Scores of the captions",
        [Column(key, title, decimal) for key, title in _SCORES.items()],
        [scores | {"name": _images(records)}] if scores else [],
        note=f"CIDEr-D goes up to 10, the others to 1.{_search(records)}",
    )
    tables: list[Block] = [known] if known else []
    return [row for row in (found, tables) if row]


def _images(records: dict[str, Any]) -> str:
    images = number(records.get("images"))
    return plural(images, "image") if images is not None else "images"


def _search(records: dict[str, Any]) -> str:
    beam, penalty = number(records.get("beam")), number(records.get("length_penalty"))
    if beam is None:
        return ""
    if beam == 1:
        return " Written word by word, the likeliest each time."
    ranked = f", ranked by log p over length to the power of {si(penalty)}" if penalty else ""
    return f" The best of {plural(beam, 'caption')} written at once{ranked}."
