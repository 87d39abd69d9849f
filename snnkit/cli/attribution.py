"""``snnkit attribution``: who is to be named for the images of a folder, a run or a checkpoint."""

from __future__ import annotations

from pathlib import Path


def attribution(
    target: Path,
    *,
    output: Path | None = None,
    metadata: Path | None = None,
    only: Path | None = None,
    skip: bool = False,
) -> None:
    """Write ATTRIBUTION.csv: hash, creator, licence and date of every image.

    Parameters
    ----------
    target
        Folder of images with pass_metadata.csv, folder of a run, or a checkpoint in one.
    output
        The file to write; by default ATTRIBUTION.csv in the folder, or beside the checkpoint.
    metadata
        Table of creators, for a folder of images; found by itself if it lies in the folder or beside it.
    only
        Text file with the hash or the name of one image a line: the subset of a folder to name.
    skip
        Leave images without a creator out, and count them, instead of stopping.
    """
    from snnkit.data import attribution as files
    from snnkit.engine.progress import console
    from snnkit.errors import CorruptFileError, InvalidArgumentError

    if not target.exists():
        raise CorruptFileError(f"{target} does not exist; give a folder of images, of a run, or a checkpoint.")
    if target.is_dir() and not (target / "config.json").exists():
        written = files.of_folder(target, output or "", str(metadata or ""), only or "", skip)
        console.print(str(written))
        return
    for name, given in (("metadata", metadata), ("only", only), ("skip", skip)):
        if given:
            raise InvalidArgumentError(f"--{name} is for a folder of images; {target} is a run or a checkpoint.")
    kept = files.nearest_file(target)
    if kept is None:
        raise InvalidArgumentError(
            f"{target}: no {files.FILE} with it. Runs on images without creators have none; if this one was on PASS, "
            "give the folder of the run, or of the images."
        )
    default = target / files.FILE if target.is_dir() else target.absolute().parent / files.FILE
    console.print(str(files.write_attribution(output or default, files.read_attribution(kept))))
