"""From a run, a checkpoint or a name to a table of probes, and the record of it in the run's folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from snnkit.data import DataConfig
from snnkit.engine.feeding import fed_as
from snnkit.errors import CorruptFileError, InvalidArgumentError
from snnkit.files import read_json, write_json
from snnkit.probing.encoder import Encoder, load_encoder, random_start
from snnkit.probing.features import CollapsedError, Features, Feeding, Watch, compute, feeding, unwatched
from snnkit.probing.probes import Result, Settings, chance, probe

FILE = "probe.json"


@dataclass(frozen=True)
class Row:
    """One probe of one encoder: the trained one, or its random start; ``why`` says why there is no result."""

    encoder: str
    result: Result | None
    why: str = ""


@dataclass(frozen=True)
class Report:
    """What probes of an encoder found.

    Attributes:
        encoder: the trained one.
        features: of it.
        origin: of the data.
        rows: the probes.
        folder: of the run that the encoder came from; None if it is not of one.
        size: (H, W) in pixels of what the encoder gets.
    """

    encoder: Encoder
    features: Features
    origin: str
    rows: tuple[Row, ...]
    folder: Path | None
    size: tuple[int, ...] = ()

    def lines(self) -> Iterator[str]:
        """Say what was probed."""
        features, train = self.features, self.features.train
        yield (
            f"{self.encoder.called} on {self.origin}: {len(train):,} + {len(features.test):,} images, "
            f"{len(features.classes)} classes, chance {chance(features):.1%}"
        )
        yield f"{train.x.shape[1]:,} features: {features.pooling}"
        yield f"spread of features over images {features.spread:.3f} (0 = all alike)"
        yield from (note for note in (self.encoder.note, *features.notes) if note)
        if features.skipped:
            yield f"{features.skipped:,} images could not be read and are left out"
        if features.silent:
            yield f"{features.silent:,} images have features that are all zero"
        if self.encoder.checkpoint is None:
            yield "the weights are random: give a run, a checkpoint, or NAME@weights to probe trained ones"

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        features = self.features
        common = {"key": features.key, "target": self.encoder.called, "data": self.origin}
        common |= {"img_size": list(self.size), "classes": len(features.classes)}
        common |= {"train_images": len(features.train), "test_images": len(features.test)}
        common |= {"pooling": features.pooling, "width": features.train.x.shape[1], "spread": features.spread}
        common |= {"chance": chance(features), "silent": features.silent, "skipped": features.skipped}
        probes = [
            {"encoder": row.encoder, **(row.result.to_dict() if row.result else {"why": row.why})} for row in self.rows
        ]
        return {**common, "notes": list(features.notes), "probes": probes}

    def save(self, path: str | Path) -> Path | None:
        """Write the results; those of the same features that are not asked for anew are kept.

        Results of other features (of another checkpoint, size or data set) go into a file beside it, that has the
        first letters of their key in its name.

        Returns:
            that file; None where there was nothing to be moved.

        Raises:
            DiskError: a file could not be written.
        """
        path, made, moved = Path(path), self.to_dict(), None
        try:
            before = read_json(path)
            key, kept = str(before["key"]), list(before["probes"])
            if key and key == made["key"]:
                ours = {_which(one) for one in made["probes"]}
                made["probes"] = [one for one in kept if _which(one) not in ours] + made["probes"]
            elif kept:
                moved = path.with_name(f"{path.stem}-{key[:8] or 'before'}{path.suffix}")
                write_json(moved, before)
        except (CorruptFileError, KeyError, TypeError):
            pass
        write_json(path, made)
        return moved


def _which(probe_: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(probe_.get(key) for key in ("encoder", "method", "labels"))


def probe_target(
    target: str,
    methods: Sequence[str],
    labels: Sequence[float] = (1.0,),
    settings: Settings | None = None,
    *,
    dataset: str | None = None,
    source: str | None = None,
    img_size: int | None = None,
    at_head: bool = False,
    random: bool = False,
    cache: str | Path | None = None,
    watch: Watch = unwatched,
) -> Report:
    """Probe an encoder.

    Args:
        target: folder of a run, a checkpoint, ``NAME@weights`` or ``NAME``; see ``load_encoder``.
        methods: of ``METHODS``.
        labels: shares of the training labels.
        settings: how probes are fitted.
        dataset, source: labelled data; by default what the run was trained on, Fashion-MNIST for a name.
        img_size: side in pixels of what the encoder gets; by default as the run was fed.
        at_head: take what the classifier of a spiking network reads, in place of the mean of its last map.
        random: probe the same network at random start beside it.
        cache: folder for features; None = ``features`` in the run's folder, and none for others.
        watch: see ``features.compute``.

    Raises:
        CollapsedError: the encoder tells no image from another. Of a random start, its row says so instead.
        CorruptFileError, UnknownNameError, InvalidArgumentError, NonFiniteError, DiskError: see the parts.
    """
    encoder, feed, folder = _prepare(target, dataset, source, img_size, at_head)
    if random and encoder.checkpoint is None:
        raise InvalidArgumentError(
            f"--random: {target} has random weights itself; give a run, a checkpoint, or NAME@weights to compare with."
        )
    encoder.model.to("cuda" if torch.cuda.is_available() else "cpu")
    if cache is None:
        cache = folder / "features" if folder is not None else ""
    features = compute(encoder, feed, cache, watch)
    called = "random" if encoder.checkpoint is None else "trained"
    rows = [Row(called, probe(features, method, share, settings)) for method in methods for share in labels]
    if random:
        start = random_start(encoder, feed.drawn(0), seed=0)
        try:
            found = compute(start, feed, cache, watch)
            rows += [Row("random", probe(found, method, share, settings)) for method in methods for share in labels]
        except CollapsedError as error:
            rows.append(Row("random", None, str(error).partition(", so that")[0]))
    return Report(encoder, features, feed.data.origin, tuple(rows), folder, tuple(feed.data.image_shape[-2:]))


def _prepare(
    target: str, dataset: str | None, source: str | None, img_size: int | None, at_head: bool
) -> tuple[Encoder, Feeding, Path | None]:
    """Return encoder, images, and the folder of the run, if it is one's."""
    if not Path(target).exists():
        config = DataConfig(img_size=img_size or 0)
        config.dataset, config.source = dataset or config.dataset, source or config.source
        feed = feeding(config, 0, target)  # the encoder is made for the channels that there are
        return load_encoder(target, feed.channels, at_head), feed, None
    encoder = load_encoder(target, at_head=at_head)
    assert encoder.checkpoint is not None  # a path is one
    config = fed_as(encoder.checkpoint, encoder.model)
    if dataset is not None and dataset != config.dataset:
        # What the run said of other data holds for these in size only.
        height, width = getattr(encoder.model, "trained_size", (0, 0))
        side = config.img_size or (height if height == width else 0)
        config = DataConfig(dataset, source or "auto", config.batch_size, side, workers=config.workers)
    config.source, config.validation = source or config.source, 0.0
    config.img_size = config.img_size if img_size is None else img_size
    place = encoder.checkpoint.absolute().parent
    in_run = place.name == "checkpoints" and (place.parent / "config.json").exists()
    feed = feeding(config, encoder.channels, target)
    return encoder, feed, place.parent if in_run else None
