"""How near captions come to their references: CIDEr-D, BLEU-1 to 4, ROUGE-L, by the code of the COCO challenge.

    CIDEr-D   mean over n = 1 … 4 of the cosine of n-gram counts weighted by rarity, lengths compared, times 10
    BLEU-n    geometric mean of the precisions of 1- to n-grams, times a penalty for short captions
    ROUGE-L   F of the longest common subsequence

All are of lower-case words, letters and digits with apostrophes inside. Published figures take the words of the Penn
Treebank's tokenizer, which is a Java program: they differ where it splits otherwise ("isn't" is "is n't" there). How
rare an n-gram is is told by the references given, so that CIDEr-D of few images is not that of many; of one it is 0.

Source: pycocoevalcap (PyPI 1.2), the Python 3 form of tylin/coco-caption; Vedantam et al., "CIDEr: Consensus-based
Image Description Evaluation", arXiv 1411.5726.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NamedTuple

from snnkit.errors import InvalidArgumentError

_WORD = re.compile(r"\w+(?:['’]\w+)*")


class Captioned(NamedTuple):
    """The caption written for an image, and those it has."""

    caption: str
    references: tuple[str, ...]


def words(text: str) -> str:
    """Return the lower-case words of a text, a space between two."""
    return " ".join(_WORD.findall(text.lower()))


def check_library() -> None:
    """Raise InvalidArgumentError unless the library of the scores is installed."""
    _library()


def scores(found: Sequence[Captioned]) -> tuple[dict[str, float], list[float]]:
    """Return the scores of captions by name, all 0 where there are none, and CIDEr-D of each caption.

    Raises:
        InvalidArgumentError: the library is not installed.
    """
    names = ("cider", "bleu_1", "bleu_2", "bleu_3", "bleu_4", "rouge_l")
    given = {number: [words(text) for text in one.references] for number, one in enumerate(found)}
    written = {number: [words(one.caption)] for number, one in enumerate(found)}
    bleu, cider, rouge = _library()
    if not any(text for texts in given.values() for text in texts):
        return dict.fromkeys(names, 0.0), [0.0] * len(found)
    each, single = cider().compute_score(given, written)
    values = [each, *bleu(4).compute_score(given, written, verbose=0)[0], rouge().compute_score(given, written)[0]]
    return {name: float(value) for name, value in zip(names, values, strict=True)}, [float(one) for one in single]


def _library() -> tuple[Any, Any, Any]:
    try:
        bleu, cider, rouge = (import_module(f"pycocoevalcap.{name}.{name}") for name in ("bleu", "cider", "rouge"))
    except ImportError:
        raise InvalidArgumentError(
            "scores of captions need the library pycocoevalcap (pip install 'snnkit[captions]')."
        ) from None
    return bleu.Bleu, cider.Cider, rouge.Rouge
