"""Images in folders by class, as ``image_folder``, with texts made of the classes' names: "a photo of a tree frog."

Folders' names are read as words: ``tree_frog`` is "tree frog". Training draws one of many templates each time, tests
take the first; ``SOURCE/templates.txt``, one a line with {} for the name, takes their place.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Sequence
from pathlib import Path

from torchvision.datasets.folder import IMG_EXTENSIONS

from snnkit.data.captions import PROMPTS, Pair, Pairs, filled, prompts
from snnkit.data.class_folders import find_files
from snnkit.data.config import DataConfig
from snnkit.data.image_folder import MEAN, STD, read_image
from snnkit.data.samples import Splits
from snnkit.data.tokens import make_tokens
from snnkit.data.transforms import for_testing, for_training
from snnkit.errors import InvalidArgumentError
from snnkit.files import read_lines


class FolderPairs:
    """A ``PairSource`` of image files.

    Args:
        samples: (path, label).
        classes: words by label.
        templates: of texts; drawn from where there are several.
    """

    def __init__(self, samples: Sequence[tuple[str, int]], classes: Sequence[str], templates: Sequence[str]):
        self.names, self.labels = [path for path, _ in samples], [label for _, label in samples]
        self._classes, self._templates = classes, templates

    def __len__(self) -> int:
        return len(self.names)

    def read(self, index: int) -> Pair:
        """Return a pair."""
        label = self.labels[index]
        text = filled(random.choice(self._templates), self._classes[label])
        return Pair(read_image(self.names[index]), text, label)

    def as_tested(self) -> FolderPairs:
        """Return the same images with the first template each."""
        twin = copy.copy(self)
        twin._templates = self._templates[:1]
        return twin


def load(config: DataConfig) -> Splits:
    """Return the images of the folder ``config.source`` with texts.

    Raises:
        InvalidArgumentError: as for ``image_folder``, or templates without a place for the name.
    """
    found, size = find_files(config, IMG_EXTENSIONS, "images"), (0, 0)
    words = [name.replace("_", " ").strip() or name for name in found.classes]
    templates, tokens = read_templates(Path(found.root) / "templates.txt"), make_tokens(config.tokenizer)
    return Splits(
        Pairs(FolderPairs(found.train, words, templates), for_training(config, size, MEAN, STD), config),
        Pairs(FolderPairs(found.test, words, templates[:1]), for_testing(config, size, MEAN, STD), config),
        found.classes,
        found.root,
        tokens=tokens,
        prompts=prompts(words, templates, tokens, config.context),
    )


def read_templates(path: Path) -> tuple[str, ...]:
    """Return the templates of a file, one a line; those of ``captions`` where there is none.

    Raises:
        CorruptFileError: it cannot be read.
        InvalidArgumentError: it is empty, or a line has not one {}.
    """
    if not path.exists():
        return PROMPTS
    lines = read_lines(path)
    wrong = [line for line in lines if line.count("{}") != 1]
    if wrong or not lines:
        raise InvalidArgumentError(
            f"{path}: {f'{wrong[0]!r} has not one {{}}' if wrong else 'it is empty'}; give lines such as "
            "'a photo of a {}.'."
        )
    return tuple(lines)
