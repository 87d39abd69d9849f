"""Videos of lists, as Kinetics and Something-Something come: lines ``path label`` for training and for testing.

``data.source`` is the folder of the lists. Each is the one text file (.txt, .csv, .list) there whose name has "train"
in it, or "val" (where there is none, "test"). A path is absolute, or lies in that folder or in ``videos`` in it; its
ending may be left out. Path and label are parted by blanks or by a comma; a first line that names columns is passed
over. A label is a number, or a name.

Where a file ``*labels*.json`` or ``*labels*.txt`` is there, it says the classes: a dictionary from name to number, as
Something-Something's, or from number to name, or one name a line. Else the classes are the labels that occur, in the
order of numbers or names.

A video that is missing stops the run or is left out and counted, as ``data.on_missing`` asks; one that cannot be read
as ``data.on_corrupt`` asks. Clips are made as in ``data.video_folder``.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from snnkit.data.class_folders import ClassFolders
from snnkit.data.config import DataConfig
from snnkit.data.samples import Splits
from snnkit.data.video_folder import ENDINGS, check_clips, splits
from snnkit.errors import CorruptFileError, InvalidArgumentError, unknown_name

_TEXTS = (".txt", ".csv", ".list")
_WITH_ENDING = re.compile(rf"(.*?(?:{'|'.join(map(re.escape, ENDINGS))})[\"']?)\s*[,\s]\s*(.*)", re.IGNORECASE)
_COLUMNS = ("label", "class", "labels", "label_id", "class_id")
_SIDES = re.compile(r"\b(left|right)\b", re.IGNORECASE)


@dataclass(frozen=True)
class VideoList:
    """The lines of a list: its file, the paths and the labels as they stand there, and the number of each line."""

    file: Path
    paths: tuple[str, ...]
    labels: tuple[str, ...]
    lines: tuple[int, ...]


def load(config: DataConfig) -> Splits:
    """Return the videos of the lists in the folder ``config.source``.

    Raises:
        InvalidArgumentError: no such folder, no list or several, a line that is none, a label that the classes do not
            have, other classes in the two lists, missing videos, no number of frames, or no decoder.
        CorruptFileError: a list or the file of classes cannot be read.
    """
    check_clips(config)
    root = Path(config.source)
    if not root.is_dir():
        raise InvalidArgumentError(
            f"data.source={config.source!r} is not a folder: give one with lists, such as train.txt and val.txt."
        )
    lists = read_list(_the_list(root, ("train",))), read_list(_the_list(root, ("val", "test")))
    classes, numbers = _classes(_classes_file(root), lists)
    _check_same(classes, lists, numbers)
    parts, notes = [], []
    for one, labels in zip(lists, numbers, strict=True):
        samples, missing = _found(root, one, labels)
        notes += _missing(config, one, samples, missing)
        parts.append(samples)
    notes += _in_both(lists, *parts) + _mirrored(config, classes)
    return splits(config, ClassFolders(parts[0], parts[1], classes, str(root)), tuple(notes))


def read_list(file: Path) -> VideoList:
    """Read a list.

    Raises:
        CorruptFileError: it cannot be read, or has no lines.
        InvalidArgumentError: a line is no path and label (names it).
    """
    paths, labels, lines, begun = [], [], [], False
    for number, line in enumerate(_text(file).splitlines(), 1):
        if not line.strip():
            continue
        path, label = _parted(file, number, line.strip())
        first, begun = not begun, True
        if first and label.lower() in _COLUMNS and not path.lower().endswith(ENDINGS):
            continue
        paths.append(path)
        labels.append(label)
        lines.append(number)
    if not lines:
        raise CorruptFileError(f"{file} lists no videos: its lines are PATH LABEL.")
    return VideoList(file, tuple(paths), tuple(labels), tuple(lines))


def _text(file: Path) -> str:
    try:
        return file.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise CorruptFileError(
            f"{file} cannot be read: {error}; give UTF-8 text, a video and its label a line."
        ) from None


def _parted(file: Path, number: int, line: str) -> tuple[str, str]:
    """Return path and label: behind a video's ending, else at the first comma or blank."""
    found = _WITH_ENDING.fullmatch(line)
    pair = found.groups() if found else re.split(r"\s*,\s*|\s+", line, maxsplit=1)
    path, label = (text.strip().strip("\"'") for text in pair) if len(pair) == 2 else (line, "")
    if not path or not label:
        raise InvalidArgumentError(f"{file}, line {number}: {_short(line)!r} has no label; lines are PATH LABEL.")
    if re.fullmatch(r"\d+[,\s]+\d+", label):
        raise InvalidArgumentError(
            f"{file}, line {number}: {_short(line)!r} has two numbers, as lists of folders of frames have; give "
            "videos, and one number a line."
        )
    return path, label


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "…"


def _the_list(root: Path, words: Sequence[str]) -> Path:
    """Return the only text file whose name has the first of ``words`` that any has."""
    texts = sorted(p for p in root.iterdir() if p.suffix.lower() in _TEXTS and not p.name.startswith("."))
    texts = [p for p in texts if "label" not in p.stem.lower()]
    for word in words:
        named = [p for p in texts if word in p.stem.lower()]
        if len(named) == 1:
            return named[0]
        if named:
            raise InvalidArgumentError(
                f"{root} holds {len(named)} lists with {word} in their names ({', '.join(p.name for p in named[:3])}); "
                "leave one there."
            )
    have = ", ".join(p.name for p in texts[:5]) or "none (but for names of classes)"
    raise InvalidArgumentError(
        f"{root} holds no list with {' or '.join(words)} in its name, such as {words[0]}.txt; text files there: {have}."
    )


# Classes.


def _classes_file(root: Path) -> dict[int, str] | None:
    """Return the names by number that a file of the folder says; None where there is none."""
    files = sorted(p for ending in (".json", ".txt") for p in root.glob(f"*label*{ending}") if p.is_file())
    if not files:
        return None
    if len(files) > 1:
        raise InvalidArgumentError(
            f"{root} holds {files[0].name} and {files[1].name}: leave one that says the classes."
        )
    file = files[0]
    if file.suffix == ".txt":
        said: object = [line.strip() for line in _text(file).splitlines() if line.strip()]
    else:
        try:
            said = json.loads(_text(file))
        except (json.JSONDecodeError, RecursionError) as error:
            raise CorruptFileError(f"{file} is no JSON ({error}); give a dictionary from name to number.") from None
    names = _by_number(said)
    if names is None or sorted(names) != list(range(len(names))) or len(set(names.values())) < len(names) or not names:
        raise CorruptFileError(
            f"{file} does not say the classes: give names by number, or numbers by name, 0, 1, 2 … without gaps, each "
            "name once."
        )
    return names


def _by_number(said: object) -> dict[int, str] | None:
    """Return names by number of a list of names, or of a dictionary either way; None of anything else."""
    if isinstance(said, list):
        return dict(enumerate(said)) if all(isinstance(name, str) for name in said) else None
    if not isinstance(said, dict):
        return None
    if all(_is_number(str(key)) for key in said):
        pairs = [(str(key), value) for key, value in said.items()]
    else:
        pairs = [(str(value), key) for key, value in said.items()]
    if not all(_is_number(number) and isinstance(name, str) for number, name in pairs):
        return None
    return {int(number): name for number, name in pairs} if len({int(n) for n, _ in pairs}) == len(pairs) else None


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[0-9]{1,9}", text) is not None


def _classes(names: dict[int, str] | None, lists: Sequence[VideoList]) -> tuple[tuple[str, ...], list[list[int]]]:
    """Return the classes, and for each list the number of every line's.

    Raises:
        InvalidArgumentError, UnknownNameError: labels of both kinds, or one that ``names`` does not have.
    """
    as_numbers = _of_one_kind(lists)
    if names is None:
        texts = {label for one in lists for label in one.labels}
        ordered = sorted({str(int(text)) for text in texts}, key=int) if as_numbers else sorted(texts)
        names = dict(enumerate(ordered))
        place = {name: number for number, name in names.items()}
    elif as_numbers:
        place = {str(number): number for number in names}
    else:
        place = {_plain(name): number for number, name in names.items()}
    key: Callable[[str], str] = (lambda label: str(int(label))) if as_numbers else _plain if names else str
    return tuple(names[number] for number in range(len(names))), [
        [_placed(one, n, key(label), place) for n, label in enumerate(one.labels)] for one in lists
    ]


def _of_one_kind(lists: Sequence[VideoList]) -> bool:
    """Return whether labels are numbers; refuse lists where some are and some are not."""
    first: dict[bool, str] = {}
    for one in lists:
        for line, label in zip(one.lines, one.labels, strict=True):
            first.setdefault(_is_number(label), f"{_short(label)!r} ({one.file.name}, line {line})")
    if len(first) > 1:
        raise InvalidArgumentError(
            f"{lists[0].file.parent}: labels are numbers, {first[True]}, and names, {first[False]}; give one kind."
        )
    return True in first


def _plain(name: str) -> str:
    """Return a name without the brackets that Something-Something puts around what stands for things."""
    return name.replace("[", "").replace("]", "")


def _placed(one: VideoList, index: int, label: str, place: dict[str, int]) -> int:
    if label not in place:
        raise unknown_name(f"class in {one.file}, line {one.lines[index]}:", label, place)
    return place[label]


def _check_same(classes: Sequence[str], lists: Sequence[VideoList], numbers: Sequence[Sequence[int]]) -> None:
    train, test = (set(found) for found in numbers)
    if train != test:
        only = [_some([classes[number] for number in sorted(one)]) for one in (train - test, test - train)]
        raise InvalidArgumentError(
            f"{lists[0].file.parent}: {lists[0].file.name} and {lists[1].file.name} have different classes: only in "
            f"{lists[0].file.name} {only[0]}, only in {lists[1].file.name} {only[1]}."
        )


# Videos.


def _found(root: Path, one: VideoList, labels: Sequence[int]) -> tuple[list[tuple[str, int]], list[str]]:
    """Return the videos that are there with their labels, and the paths of those that are not."""
    there, missing = [], []
    for path, label in zip(one.paths, labels, strict=True):
        file = next((str(p) for p in _places(root, path) if os.path.isfile(p)), None)
        if file is None:
            missing.append(path)
        else:
            there.append((file, label))
    return there, missing


def _places(root: Path, path: str) -> Iterator[Path]:
    endings = ("",) if path.lower().endswith(ENDINGS) else ("", *ENDINGS)
    for folder in (root, root / "videos"):
        for ending in endings:
            yield folder / f"{path}{ending}"


def _missing(config: DataConfig, one: VideoList, there: Sequence[tuple[str, int]], missing: Sequence[str]) -> list[str]:
    """Return what is said of missing videos.

    Raises:
        InvalidArgumentError: there are some, and ``data.on_missing`` does not say to go on; or all are.
    """
    if not missing:
        return []
    counted = f"{one.file}: {len(missing):,} of {len(one.paths):,} videos are missing ({_some(missing)})"
    if not there:
        raise InvalidArgumentError(f"{counted}; paths are absolute, or lie in the list's folder or in videos/ there.")
    if config.on_missing != "skip":
        raise InvalidArgumentError(f"{counted}; fetch them, or leave them out by data.on_missing=skip.")
    return [f"{counted}, and are left out"]


def _in_both(
    lists: Sequence[VideoList], train: Sequence[tuple[str, int]], test: Sequence[tuple[str, int]]
) -> list[str]:
    """Say where a video is trained and tested on."""
    both = sorted({file for file, _ in train} & {file for file, _ in test})
    if not both:
        return []
    counted = f"1 video is ({both[0]})" if len(both) == 1 else f"{len(both):,} videos are ({_some(both)})"
    return [f"{counted} in both {lists[0].file.name} and {lists[1].file.name}: the test says too much"]


def _mirrored(config: DataConfig, classes: Sequence[str]) -> list[str]:
    """Say where mirroring makes videos of other classes than their labels."""
    sides = [name for name in classes if _SIDES.search(name)] if config.flip else []
    if not sides:
        return []
    return [f"data.flip=true mirrors videos whose class says left or right ({_some(sides)}); set data.flip=false"]


def _some(names: Sequence[str]) -> str:
    return (", ".join(_short(name) for name in names[:3]) or "none") + (" …" if len(names) > 3 else "")
