"""``snnkit data``: look at folders of data before anything is trained on them, and write composed ones."""

from __future__ import annotations

import sys
from pathlib import Path

from cyclopts import App

data = App(help="Look at folders of data, and write composed ones.")
_SHOWN = 5
LEAST_SIDE = 16


@data.command
def check(
    folder: Path,
    *,
    metadata: Path | None = None,
    workers: int = 0,
    record: bool = False,
    list_: bool = False,
) -> None:
    """Check a PASS-shaped folder: counts, checksums, creators, and whether every image can be read.

    It exits with 3 if something must be mended.

    Parameters
    ----------
    folder
        Tar parts PASS.0.tar … or folders of images, with pass_metadata.csv.
    metadata
        Table of creators; found by itself if it lies in the folder or beside it.
    workers
        Threads that read; by default one a core.
    record
        Write the files' checksums into checksums.md5; later checks compare with them.
    list_
        Name every image that must be mended, not only the first ones.
    """
    import os

    from snnkit.data.pass_check import Check
    from snnkit.engine.progress import console, told
    from snnkit.errors import InvalidArgumentError

    if workers < 0:
        raise InvalidArgumentError(f"--workers {workers}: must be 0 (one a core) or more.")
    checking = Check(folder, str(metadata or ""), workers or os.cpu_count() or 1, record)
    found = checking.found
    for _ in told(checking.run(), "checking", found.images, "images"):
        pass
    console.print(
        f"{folder}: {found.images:,} images ({found.grey:,} grey), {found.creators:,} with a creator; "
        f"{found.rows:,} rows"
    )
    for fact in found.facts:
        console.print(f"  {fact}")
    for warning in found.warnings:
        console.print(f"  warning: {warning}")
    for one in found.wrong[: None if list_ else _SHOWN]:
        console.print(f"  wrong: {one.name} {one.reason}".rstrip())
    if len(found.wrong) > _SHOWN and not list_:
        console.print(f"  … and {len(found.wrong) - _SHOWN:,} more (--list names all)")
    if found.wrong:
        console.print(f"{len(found.wrong):,} to mend")
        sys.exit(3)
    console.print("nothing to mend")


@data.command
def compose(
    folder: Path,
    *,
    train: int = 30_000,
    test: int = 500,
    side: int = 96,
    seed: int = 0,
    source: str = "auto",
) -> None:
    """Write composed scenes in COCO's form: images, boxes with masks, key points and captions.

    They are those of data set scenes: clothes of Fashion-MNIST on crops of photographs.

    Parameters
    ----------
    folder
        Where to; images go into train and val, what is on them into annotations.
    train
        How many scenes to train on.
    test
        How many to test on: other clothes on other parts of the photographs.
    side
        Height and width in pixels.
    seed
        Which scenes they are; data set scenes has 0.
    source
        Of Fashion-MNIST: auto, vendored, full or a folder.
    """
    from snnkit.data.scene_files import SPLITS, check_new, write_scenes
    from snnkit.data.scenes import Scenes
    from snnkit.engine.progress import console, told
    from snnkit.errors import InvalidArgumentError

    for name, value in (("train", train), ("test", test), ("side", side)):
        if value < (LEAST_SIDE if name == "side" else 1):
            raise InvalidArgumentError(f"--{name} {value}: must be ≥ {LEAST_SIDE if name == 'side' else 1}.")
    check_new(folder, *SPLITS)
    for split, count in zip(SPLITS, (train, test), strict=True):
        scenes = Scenes(source, SPLITS[split], count, side, seed)
        for _ in told(write_scenes(folder, scenes, split), f"composing {split}", count, "scenes"):
            pass
    console.print(f"{folder}: {train:,} scenes to train on, {test:,} to test on, {side} × {side} pixels")
    console.print("data.dataset=coco, coco_keypoints or coco_captions reads them, with data.source as this folder")
