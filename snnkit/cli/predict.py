"""``snnkit predict``: what a trained network says of pictures and videos."""

from __future__ import annotations

import re
from pathlib import Path

_FURTHER = re.compile(r"(-\d{6}|\.map|\.masks)+$")  # behind the name of a video or picture: files about its parts


def predict(
    run: Path, *files: Path, output: Path = Path("predictions"), top: int = 5, every: float = 1.0, draw: bool = True
) -> None:
    """Show pictures to a network; answers are written as JSON, and drawn on the pictures where they have a place.

    Parameters
    ----------
    run
        Folder of a run, or a checkpoint in one.
    files
        Pictures, videos, or folders of them.
    output
        Folder that is written into: predictions.json and a picture for each that was shown.
    top
        Classes that a classifier names.
    every
        Seconds between the frames of a video that are looked at; a network for clips looks at those of its tests.
    draw
        Whether pictures are written.
    """
    from snnkit.engine.predicting import Predictor, files_in
    from snnkit.engine.progress import console, say
    from snnkit.errors import CorruptFileError, InvalidArgumentError
    from snnkit.files import write_json

    if not files:
        raise InvalidArgumentError("no pictures are given: snnkit predict RUN IMAGE… (or a folder, or a video).")
    if top < 1 or not every > 0:
        raise InvalidArgumentError(f"--top {top}, --every {every:g}: must be a whole number ≥ 1, and above 0.")
    found_files, predictor = files_in(files), Predictor(run, top)
    predictor.check(found_files)
    output.mkdir(parents=True, exist_ok=True)
    told, failed = [], 0
    for file, name in zip(found_files, _names(found_files), strict=True):
        try:
            for picture, found in predictor.answers(file, name, every):
                drawn = predictor.draw(picture, found) if draw else None
                line = {"file": str(file), **({} if picture.frame is None else {"frame": picture.frame})}
                told.append(line | _written(output, picture.name, found, drawn))
                console.print(f"{picture.name}: {_shown(found)}")
        except CorruptFileError as error:
            failed += 1
            told.append({"file": str(file), "error": str(error)})
            console.print(str(error))
    write_json(output / "predictions.json", told)
    unread = f", {failed} could not be read" if failed else ""
    say(f"{len(told) - failed} pictures{unread}; {output / 'predictions.json'}")
    if failed == len(told):
        raise CorruptFileError(f"none of {len(found_files)} files could be read.")


def _names(files: list[Path]) -> list[str]:
    """What the files about each are called: its stem, with a number where files about another would be called so.

    Frames of a video have six digits behind its name, maps of a picture a word; capitals do not tell names apart.
    """
    taken, bare = set[str](), set[str]()
    names = []
    for file in files:
        name, number = file.stem, 1
        while {name.lower(), _FURTHER.sub("", name.lower())} & taken or name.lower() in bare:
            number += 1
            name = f"{file.stem}-{number}"
        taken.add(name.lower())
        bare.add(_FURTHER.sub("", name.lower()))
        names.append(name)
    return names


def _written(output: Path, name: str, found: dict, drawn: object) -> dict:
    """Write maps and the drawn picture beside the answers; return these with the names of the files."""
    from PIL import Image
    from torch import Tensor
    from torchvision.io import write_png

    from snnkit.files import atomic_path

    kept = {}
    for key, value in found.items():
        if isinstance(value, Tensor):
            wide = value.max() > 255  # a byte holds no more
            with atomic_path(output / f"{name}.{key}.png") as temporary:
                Image.fromarray(value.cpu().numpy().astype("uint16" if wide else "uint8")).save(temporary, "png")
            value = f"{name}.{key}.png"
        kept[key] = value
    if isinstance(drawn, Tensor):
        with atomic_path(output / f"{name}.png") as temporary:
            write_png(drawn, str(temporary))
        kept["picture"] = f"{name}.png"
    return kept


def _shown(found: dict) -> str:
    """The answer in a few words: of every list the first three of its entries."""
    words = []
    for key, value in found.items():
        if isinstance(value, str):
            words.append(value)
        elif isinstance(value, list):
            first = [" ".join(str(part) for part in one.values() if not isinstance(part, list)) for one in value[:3]]
            more = f" … ({len(value)})" if len(value) > len(first) else ""
            words.append(", ".join(first) + more if first else f"no {key}")
    return "; ".join(words)
