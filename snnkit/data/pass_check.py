"""Whether a PASS-shaped folder is whole: every image read, its bytes' checksum compared, its creator looked up.

The names of PASS's files are the hashes that YFCC-100M gives to photographs, not checksums of the files, so they cannot
tell a file that changed. Where a set names its files by the MD5 of their bytes, that is noticed (no other name equals
it by chance) and every file is held against its name. For all others checksums can be recorded once, in md5sum's form,
and are compared from then on.

Sources: yukimasano/PASS version_history.txt (counts); the MD5 of the table of version 3 as its record on Zenodo gives
it; tensorflow/datasets, PASS ("the hash, as computed from YFCC-100M").
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from snnkit.data.image_folder import read_image
from snnkit.data.pass_images import LeftOut, PassIndex, credited, find_images
from snnkit.data.pass_metadata import Metadata, find_metadata
from snnkit.errors import CorruptFileError
from snnkit.files import atomic_path

CHECKSUMS = "checksums.md5"
WHOLE, VERSION, TABLE_MD5 = 1_439_588, 3, "0b033707ea49365a5ffdd14615825511"
_MD5 = re.compile("[0-9a-f]{32}")
_AT_ONCE = 1024  # images handed to the threads in one go


class _Seen(NamedTuple):
    """What reading one image gave: its MD5, whether it is grey, and why it cannot be read ("" if it can)."""

    md5: str
    grey: bool
    wrong: str


@dataclass
class Checked:
    """What a check found.

    Attributes:
        images, rows: of the folder, of the table.
        creators: images with a creator.
        grey: images of one channel, which are read with three equal ones.
        wrong: what must be mended: name and reason.
        warnings: what may be meant so.
        facts: what else was established.
    """

    images: int = 0
    rows: int = 0
    creators: int = 0
    grey: int = 0
    wrong: list[LeftOut] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    facts: list[str] = field(default_factory=list)


class Check:
    """The check of a folder: iterate over ``run()`` to the end, one step an image, then look at ``found``.

    Args:
        folder: with images, as ``snnkit.data.pass_images`` takes it.
        metadata: table of creators; found by itself if it lies in the folder or beside it.
        workers: threads that read.
        record: write the checksums that were found, for the next check, in place of those recorded before.

    Raises:
        InvalidArgumentError: no such folder, no images, no table, or two files of one hash.
        CorruptFileError: the table, or the record of checksums, is malformed.
    """

    def __init__(self, folder: str | Path, metadata: str = "", workers: int = 1, record: bool = False):
        self._folder, self._workers, self._record = Path(folder), workers, record
        self._index = find_images(folder)
        self._table = Metadata(find_metadata(folder, metadata))
        self._known = {} if record else _read_checksums(self._folder / CHECKSUMS)
        self.found = Checked(images=len(self._index), rows=len(self._table))

    def run(self) -> Iterator[None]:
        """Read every image.

        Raises:
            DiskError: the checksums could not be recorded.
        """
        found, index = self.found, self._index
        kept, _, left_out = credited(index, self._table)
        found.creators = len(kept)
        found.wrong += [LeftOut(text, "") for text in index.damage] + left_out
        seen: list[_Seen] = []
        with ThreadPoolExecutor(self._workers) as threads:
            for first in range(0, len(index), _AT_ONCE):
                for one in threads.map(lambda n: _look(index, n), range(first, min(first + _AT_ONCE, len(index)))):
                    seen.append(one)
                    yield
        found.grey = sum(one.grey for one in seen)
        found.wrong += [LeftOut(index.called(n), one.wrong) for n, one in enumerate(seen) if one.wrong]
        self._count()
        self._compare([one.md5 for one in seen])

    def _count(self) -> None:
        found = self.found
        if found.images != WHOLE:
            found.warnings.append(
                f"{found.images:,} images; PASS version {VERSION} has {WHOLE:,} (a subset may be meant)"
            )
        unused = found.rows - int((self._table.rows(self._index.hashes()) >= 0).sum())
        if unused:
            found.warnings.append(f"{unused:,} rows of {self._table.path.name} are of images that are not here")
        with open(self._table.path, "rb") as file:
            published = hashlib.file_digest(file, "md5").hexdigest() == TABLE_MD5
        found.facts.append(f"{self._table.path.name} is {'' if published else 'not '}that of PASS version {VERSION}")

    def _compare(self, checksums: list[str]) -> None:
        """Hold the files against their names, where these are checksums, and against what was recorded."""
        found, index = self.found, self._index
        names = [name.decode("latin-1").lower() for name in index.hashes()]
        if any(name == md5 for name, md5 in zip(names, checksums, strict=True)):
            differ = [n for n, md5 in enumerate(checksums) if md5 and _MD5.fullmatch(names[n]) and names[n] != md5]
            found.wrong += [LeftOut(index.called(n), f"has changed: its MD5 is {checksums[n]}") for n in differ]
            found.facts.append("files are named by the MD5 of their bytes, and were held against it")
        else:
            found.facts.append("names are no checksums of the files (PASS's are those of YFCC-100M)")
        places = [_place(index, n) for n in range(len(index))]
        if self._record:
            _write_checksums(self._folder / CHECKSUMS, dict(zip(places, checksums, strict=True)))
            found.facts.append(f"{len(checksums):,} checksums recorded in {self._folder / CHECKSUMS}")
        elif not self._known:
            found.facts.append("no checksums were recorded before (--record writes them for the next check)")
        else:
            known = self._known
            here = dict(zip(places, checksums, strict=True))
            found.wrong += [
                LeftOut(place, f"has changed: its MD5 is {md5}, recorded was {known[place]}")
                for place, md5 in here.items()
                if md5 and known.get(place, md5) != md5
            ]
            found.wrong += [LeftOut(place, "was here when checksums were recorded") for place in known.keys() - here]
            new = len(here.keys() - known.keys())
            found.facts.append(
                f"{len(here) - new:,} files were held against {CHECKSUMS}{f'; {new:,} are not in it' if new else ''}"
            )


def _look(index: PassIndex, number: int) -> _Seen:
    md5 = ""
    try:
        content = index.content(number)
        md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
        read_image(io.BytesIO(content), index.called(number))
    except CorruptFileError as error:
        return _Seen(md5, False, str(error).removeprefix(f"{index.called(number)} ").partition("; mend")[0])
    with Image.open(io.BytesIO(content)) as image:
        return _Seen(md5, len(image.getbands()) == 1, "")


def _place(index: PassIndex, number: int) -> str:
    """Where an image lies within the folder."""
    part, name = Path(index.parts[index.part[number]]).name, index.name[number].decode("utf-8", "backslashreplace")
    return f"{part}:{name}" if index.offset[number] >= 0 else name


def _write_checksums(path: Path, checksums: dict[str, str]) -> None:
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8", newline="\n") as file:
        file.writelines(f"{md5}  {place}\n" for place, md5 in checksums.items() if md5)


def _read_checksums(path: Path) -> dict[str, str]:
    if not path.exists():
        return {}
    found = {}
    try:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            md5, space, place = line.partition("  ")
            if not (_MD5.fullmatch(md5) and space and place):
                raise CorruptFileError(f"{path}, line {number}: not MD5 and name as md5sum writes them; use --record.")
            found[place] = md5
    except (OSError, UnicodeDecodeError) as error:
        raise CorruptFileError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}.") from None
    return found
