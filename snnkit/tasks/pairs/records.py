"""What is to be seen of image–text training, for the run's report: pairs.json and a picture of the first test images.

similarity   f_i · g_j of the first test pairs with different texts
examples     the texts that lie nearest to the first test images
confusion    how many images of each class the prompts put into each
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from snnkit.files import write_json
from snnkit.tasks.pairs.finding import Found
from snnkit.tasks.pictures import write_rows

RECORDS, PICTURE, MEMORY = "pairs.json", "pairs.png", "memory.json"
PICTURES = 16
_NEAREST, _MOST_CLASSES = 3, 100


def keep(
    folder: Path,
    epoch: int,
    found: Found,
    texts: Callable[[int], str],
    classes: Sequence[str],
) -> None:
    """Write what a test found.

    Args:
        folder: of the run.
        epoch: after which the test was.
        found: by the test.
        texts: the text of a test pair by its number.
        classes: names by label.
    """
    pictures = found.pictures
    distinct = found.first.sort().values[:PICTURES]
    near = found.images[distinct] @ found.texts[distinct].t()
    similarity = {"texts": [texts(int(n)) for n in distinct], "values": _rounded(near)}
    about: dict[str, Any] = {
        "epoch": epoch,
        "similarity": similarity,
        "examples": _examples(found, len(pictures), texts),
    }
    if pictures:
        write_rows(folder / PICTURE, [torch.stack(pictures)])
        about["pictures"] = PICTURE
    if found.classes is not None and 1 < len(classes) <= _MOST_CLASSES:
        known = found.labels >= 0
        cells = found.labels[known] * len(classes) + found.classes[known]
        counts = torch.bincount(cells, minlength=len(classes) ** 2).view(len(classes), -1)
        about["confusion"] = {"classes": list(classes), "counts": counts.tolist()}
    write_json(folder / RECORDS, about)


def keep_memory(folder: Path, predicted: Mapping[int, int], measured: Mapping[int, int] | None = None) -> None:
    """Write memory.json: the peak of a step in bytes by the batch, predicted and, where known, measured."""
    columns = {
        "batch": sorted(predicted),
        "predicted_bytes": [predicted[batch] for batch in sorted(predicted)],
        "peak_bytes": [(measured or {}).get(batch) for batch in sorted(predicted)],
    }
    write_json(folder / MEMORY, columns)


def _examples(found: Found, count: int, texts: Callable[[int], str]) -> list[dict[str, Any]]:
    owned = set(zip(found.image.tolist(), found.own.tolist(), strict=True))
    near = found.images[:count] @ found.texts[found.first].t()
    values, which = near.topk(min(_NEAREST, near.shape[1]), 1)
    return [
        {
            "text": texts(n),
            "nearest": [
                {
                    "text": texts(int(found.first[u])),
                    "similarity": round(float(v), 4),
                    "own": (int(found.image[n]), int(u)) in owned,
                }
                for v, u in zip(values[n], which[n], strict=True)
            ],
        }
        for n in range(len(near))
    ]


def _rounded(values: Tensor) -> list[list[float]]:
    return [[round(float(v), 4) for v in row] for row in values]
