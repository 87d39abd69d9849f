"""ATTRIBUTION.csv: who is to be named for the images that a data set, a run or a checkpoint was made of.

One row an image: hash, creator, licence, date. A run's folder keeps the rows of all images that it could have seen
(training, validation and test) and those of the runs whose weights or teachers it began with; where the pictures were
taken is not needed to name anybody, and is left out.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch.utils.data import Subset

from snnkit.data.pass_images import Credits, credited, find_images
from snnkit.data.pass_metadata import Credit, Metadata, find_metadata
from snnkit.errors import CorruptFileError, InvalidArgumentError
from snnkit.files import atomic_path

FILE = "ATTRIBUTION.csv"
_COLUMNS = ["hash", "creator", "licence", "date"]


@dataclass(frozen=True)
class Written:
    """What a file of attributions holds."""

    path: Path
    images: int
    creators: int
    licences: tuple[str, ...]
    left_out: int = 0

    def __str__(self) -> str:
        """One line."""
        images = f"{self.images:,} image{'s' if self.images != 1 else ''}"
        creators = f"{self.creators:,} creator{'s' if self.creators != 1 else ''}"
        out = f"; {self.left_out:,} images without a creator left out" if self.left_out else ""
        return f"{self.path}: {images} by {creators}, {', '.join(self.licences)}{out}"


def write_attribution(path: str | Path, credits: Iterable[Credit], left_out: int = 0) -> Written:
    """Write the rows of images, each hash once, in the order they come.

    Raises:
        DiskError: the file could not be written; nothing half-written is left.
    """
    seen, creators, licences = set(), set(), set()
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_COLUMNS)
        for credit in credits:
            if credit.hash not in seen:
                seen.add(credit.hash)
                creators.add(credit.creator)
                licences.add(credit.licence)
                writer.writerow([credit.hash, credit.creator, credit.licence, credit.date])
    return Written(Path(path), len(seen), len(creators), tuple(sorted(licences)), left_out)


def read_attribution(path: str | Path) -> Iterator[Credit]:
    """Yield the rows of a file that ``write_attribution`` wrote.

    Raises:
        CorruptFileError: missing, or no such file (names the line).
    """
    try:
        with open(path, encoding="utf-8", newline="") as file:
            for number, row in enumerate(csv.reader(file, strict=True), 1):
                if len(row) != len(_COLUMNS) or (number == 1 and row != _COLUMNS):
                    raise CorruptFileError(f"{path}, row {number}: not {','.join(_COLUMNS)}; write it anew.")
                if number > 1:
                    yield Credit(row[0], row[1], row[2], row[3])
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise CorruptFileError(f"{path} cannot be read: {reason}.") from None


def credits_of(dataset: Any) -> Sequence[Credit]:
    """Return the credits of the samples of a data set, of all of it where a process has a share; () if it has none."""
    while isinstance(dataset, Subset):
        dataset = dataset.dataset
    return getattr(dataset, "credits", ())


def of_folder(
    folder: str | Path, output: str | Path = "", metadata: str = "", only: str | Path = "", skip: bool = False
) -> Written:
    """Write the attribution of the images that lie in a folder, or of some of them.

    Args:
        folder: with images, as ``snnkit.data.pass_images`` takes it.
        output: the file to write; ATTRIBUTION.csv in ``folder`` by default.
        metadata: table of creators; found by itself if it lies in the folder or beside it.
        only: text file that names the images to take, a hash or a file's name on each line.
        skip: leave images without a creator out, and count them, instead of stopping.

    Raises:
        InvalidArgumentError: no images, no table, an image without a creator, or a name that is not there.
        CorruptFileError: the table is malformed.
    """
    index = find_images(folder)
    if only:
        index = index.take(_chosen(index.hashes(), Path(only)))
    table = Metadata(find_metadata(folder, metadata))
    _, rows, left_out = credited(index, table)
    if left_out and not skip:
        raise InvalidArgumentError(
            f"{len(left_out):,} of {len(index):,} images cannot be credited: {left_out[0].name} "
            f"{left_out[0].reason}. Mend the table, or leave them out with --skip."
        )
    return write_attribution(output or Path(folder) / FILE, Credits(table, rows), len(left_out))


def _chosen(hashes: list[bytes], only: Path) -> list[int]:
    try:
        lines = [line.strip() for line in only.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise CorruptFileError(f"{only} cannot be read: {getattr(error, 'strerror', None) or error}.") from None
    place = {hash_: n for n, hash_ in enumerate(hashes)}
    wanted = [Path(line.rpartition(":")[2]).name.partition(".")[0].encode() for line in lines if line]
    lacking = [name for name in wanted if name not in place]
    if lacking or not wanted:
        what = f"names {lacking[0].decode()!r}, which is not there ({len(lacking)} such)" if lacking else "is empty"
        raise InvalidArgumentError(f"{only} {what}; give one hash or file name of the folder a line.")
    return [place[name] for name in dict.fromkeys(wanted)]


def nearest_file(path: str | Path) -> Path | None:
    """Return the attribution that goes with a run's folder, a checkpoint in it, or a file beside one; else None.

    Of a run it is the run's own: a file beside one of its checkpoints was written once, and the run may have gone on.
    """
    path = Path(path).absolute()
    folders = [path] if path.is_dir() else [path.parent]
    if folders[0].name == "checkpoints" or folders[0].parent.name == "checkpoints":
        folders = [*reversed(folders[0].parents[:2]), *folders]
    return next((folder / FILE for folder in folders if (folder / FILE).is_file()), None)


def keep(folder: Path, datasets: Iterable[Any], began_with: Iterable[str]) -> Written | None:
    """Keep the attribution of a run in its folder: what is there already, what it began with, and its own images.

    Args:
        folder: of the run.
        datasets: that it reads.
        began_with: texts of its configuration that may be paths of weights: a run's folder, a checkpoint, or
            NAME@weights.

    Returns:
        what was written; None if nobody is to be named.
    """
    files = [folder / FILE] if (folder / FILE).is_file() else []
    for text in began_with:
        for path in {text, text.partition("@")[2]} - {""}:
            found = nearest_file(path) if os.path.exists(path) else None
            if found is not None and found not in files:
                files.append(found)
    own = [credits for credits in map(credits_of, datasets) if len(credits)]
    if not files and not own:
        return None
    rows = (credit for source in (*map(read_attribution, files), *own) for credit in source)
    return write_attribution(folder / FILE, rows)
