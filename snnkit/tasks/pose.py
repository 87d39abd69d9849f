"""Key points of things by heat maps on crops around them (``data.keypoints``): AP of COCO, and PCK.

    loss = ½ Σ_k w_k mean over cells (h_k − g_k)² / K;  h: heat maps of the network, g: Gaussians around the key points,
           w_k: 0 for a key point that is not marked or lies off the map (``heat_maps``)

A test takes the mean of the heat maps of a crop and of its mirror image, reads places off them and moves them back to
the image, where they are compared (``oks``). Of training crops the first 2,000 of an epoch in each process are scored
alike, as they are augmented and from single heat maps. Source: Xiao et al., "Simple Baselines for Human Pose Estimation
and Tracking", arXiv 1804.06208. Letters: B crops, K key points, C channels, H and W pixels, h and w cells.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric
from torchvision.utils import draw_keypoints

from snnkit.data.keypoints import mirrored, moved
from snnkit.errors import InvalidArgumentError, unknown_name
from snnkit.files import write_json
from snnkit.layers.memory_order import channels_innermost
from snnkit.tasks.classification import channels_last
from snnkit.tasks.firing import firing_neurons, listening
from snnkit.tasks.heat_maps import dark, heat_maps, quarter
from snnkit.tasks.oks import NEAR, KeypointAP, Things, check_installed
from snnkit.tasks.pictures import write_rows
from snnkit.tasks.task import Plan
from snnkit.tasks.teaching import Taught, no_temperature

DECODINGS = ("quarter", "dark")
_SCORED = 2000  # training crops of an epoch and process
_SHOWN = 12  # things in the records
_TRUE, _SAID = (80, 220, 100), (250, 80, 60)  # colours of marks
_ROUNDING = ("bf16-true", "16-true")

Batch = tuple[Tensor, dict[str, Tensor]]


class Pose(Taught):
    """Train a network (B, C, H, W) → heat maps (B, K, h, w) on crops around things and their key points.

    Args:
        model: the network.
        num_classes: K.
        sigma: standard deviation of the Gaussians, in cells of the heat maps.
        flip_test: whether tests take the mean with the mirror image's heat maps; energy counts both.
        decoding: how places are read off heat maps: "quarter" or "dark" (``heat_maps``).
        sigmas: how exact each key point is marked, for OKS; empty for what the data say.

    Raises:
        UnknownNameError: no such decoding.
        InvalidArgumentError: an option outside its range, or pycocotools is not installed.
    """

    name: ClassVar[str] = "pose"
    measure: ClassVar[str] = "pose_ap"
    takes: ClassVar[str] = "keypoints"

    def __init__(
        self,
        model: nn.Module,
        num_classes: int,
        sigma: float = 2.0,
        flip_test: bool = True,
        decoding: str = "quarter",
        sigmas: Sequence[float] = (),
    ):
        super().__init__()
        check_installed()
        if decoding not in DECODINGS:
            raise unknown_name("value of task.options.decoding", decoding, DECODINGS)
        if not 0 < sigma < math.inf:
            raise InvalidArgumentError(f"task.options.sigma={sigma!r}: must be a number of cells above 0.")
        if len(sigmas) not in (0, num_classes) or any(not 0 < value < math.inf for value in sigmas):
            raise InvalidArgumentError(
                f"task.options.sigmas={list(sigmas)}: give {num_classes} numbers above 0, one a key point."
            )
        self.model, self.num_classes = channels_innermost(model), num_classes
        self.sigma, self.flip_test, self.decoding = sigma, flip_test, decoding
        self.sigmas = tuple(map(float, sigmas))
        self.losses, self.rate, self.points = MeanMetric(), MeanMetric(), KeypointAP(num_classes)
        self.classes: tuple[str, ...] = ()
        self._neurons = firing_neurons(model)
        self._scored = 0
        self._found: tuple[Things, dict[float, float]] | None = None
        self._seen: list[tuple[Tensor, Tensor, Tensor]] = []
        self._shown: list[tuple[Tensor, Tensor, Tensor]] = []

    def begin(self, plan: Plan) -> None:
        """Take note of the key points' names.

        Raises:
            InvalidArgumentError: a precision that places in images do not survive.
        """
        if plan.precision in _ROUNDING:
            raise InvalidArgumentError(
                f"runtime.precision={plan.precision}: would round places in images to pixels and more; take "
                f"{plan.precision.replace('true', 'mixed')}."
            )
        self.classes = plan.classes

    def loss(self, batch: Batch) -> Tensor:
        """Return the loss of a training batch; one without any marked key point is worth 0."""
        crops, targets = batch
        with self.studying() as seen:
            maps = self.model(channels_last(crops)).float()
        loss = self._squares(maps, crops, targets)
        self._note(loss, maps, crops, targets)
        return self.taught(loss, batch, maps, seen)

    def check_teacher(self, teacher: nn.Module, temperature: float) -> None:
        """Refuse heat maps of other cells, and a temperature."""
        no_temperature(temperature, "heat maps")
        mine, theirs = (getattr(model, "stride", None) for model in (self.model, teacher))
        if mine is not None and theirs is not None and mine != theirs:
            raise InvalidArgumentError(
                f"task.options.teacher has heat maps of stride {theirs:g}, the student of {mine:g}; give a teacher of "
                "the same stride."
            )

    def teacher_loss(self, batch: Any, said: Tensor, answer: Tensor, temperature: float) -> Tensor:
        """Return ½ of the mean squared difference of the heat maps; key points that are not marked count too."""
        if answer.shape != said.shape:
            shown = "×".join(map(str, answer.shape[-2:])), "×".join(map(str, said.shape[-2:]))
            raise InvalidArgumentError(
                f"task.options.teacher has heat maps of {shown[0]} cells, the student of {shown[1]}; give a teacher of "
                "the same stride."
            )
        return (said - answer.float()).square().mean() / 2

    def evaluate(self, batch: Batch) -> None:
        """Feed the metrics with a test batch."""
        crops, targets = batch
        with listening(self._neurons) as rates, torch.no_grad():
            maps = self.maps(crops, targets["mirror"])
        cells = self._note(self._squares(maps, crops, targets), maps, crops, targets)
        if crops.ndim == 4 and cells is not None and (missing := _SHOWN - len(self._seen)) > 0:
            places = (cells * self._stride(maps, crops)).cpu()
            shown = zip(crops.cpu(), targets["points"].cpu(), places, strict=True)
            self._seen += list(shown)[:missing]
        if rates:
            self.rate.update(torch.stack(rates).mean(), len(crops))

    def maps(self, crops: Tensor, mirror_BK: Tensor) -> Tensor:
        """Return the heat maps of test crops, float32 (B, K, h, w).

        Args:
            crops: (B, C, H, W).
            mirror_BK: which key point takes whose name in the mirror image.
        """
        maps: Tensor = self.model(channels_last(crops)).float()
        if not self.flip_test:
            return maps
        flipped: Tensor = self.model(channels_last(crops.flip(-1))).float().flip(-1)
        return (maps + flipped.gather(1, mirror_BK[..., None, None].expand_as(flipped))) / 2

    def _squares(self, maps: Tensor, crops: Tensor, targets: dict[str, Tensor]) -> Tensor:
        size = maps.shape[-2], maps.shape[-1]
        wanted, weights = heat_maps(targets["points"].float(), size, self._stride(maps, crops), self.sigma)
        return ((maps - wanted).square().mean((-2, -1)) * weights).mean() / 2

    def _stride(self, maps: Tensor, crops: Tensor) -> float:
        """Return the pixels of a cell: what the network says, or what the sizes tell."""
        return float(getattr(self.model, "stride", crops.shape[-1] / maps.shape[-1]))

    @torch.compiler.disable  # counting branches on values; the network and its loss are one graph without it
    def _note(self, loss: Tensor, maps: Tensor, crops: Tensor, targets: dict[str, Tensor]) -> Tensor | None:
        """Feed the metrics and return the places in cells, (B, K, 2); None where they were not looked for."""
        self.losses.update(loss.detach(), len(crops))
        if self.training:
            if self._scored >= _SCORED:
                return None
            self._scored += len(crops)
        return self.look(self.points, maps, crops, targets)

    def look(self, points: KeypointAP, maps: Tensor, crops: Tensor, targets: dict[str, Tensor]) -> Tensor:
        """Feed a metric with what heat maps say of crops, and return the places in cells, (B, K, 2).

        Args:
            points: the metric.
            maps: heat maps (B, K, h, w).
            crops: (B, C, H, W).
            targets: what is true of them (``data.keypoints``).
        """
        cells, peaks = self._places(maps.detach())
        back = targets["back"].float()
        seen = moved(targets["points"][..., :2].float(), back)
        truth = {**targets, "truth": torch.cat([seen, targets["points"][..., 2:].float()], -1)}
        sigmas = targets["sigmas"]
        if self.sigmas:
            sigmas = sigmas.new_tensor(self.sigmas).expand_as(sigmas)
        points.update(moved(cells * self._stride(maps, crops), back), peaks.mean(1), truth, sigmas)
        return cells

    def _places(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        return dark(maps, self.sigma) if self.decoding == "dark" else quarter(maps)

    def compute(self) -> dict[str, float]:
        """Return loss, AP (= score), AP at 0.5 and 0.75, PCK and, after ``evaluate``, the mean firing rate."""
        things = self.points.compute()
        aps = {} if things is None else things.ap()
        self._found = None if things is None else (things, aps)
        ap = sum(aps.values()) / max(len(aps), 1)
        result = {"loss": float(self.losses.compute()), "pose_ap": ap, "score": ap}
        result |= {"pose_ap_50": aps.get(0.5, 0.0), "pose_ap_75": aps.get(0.75, 0.0)}
        result["pck"] = 0.0 if things is None else things.pck()
        if self.rate.update_called:
            result["firing_rate"] = float(self.rate.compute())
        for metric in (self.losses, self.points, self.rate):
            metric.reset()
        self._scored = 0
        self._shown, self._seen = self._seen, []  # of the last split alone
        return result

    @torch.no_grad()
    def predict(self, image: Tensor, size: tuple[int, int]) -> dict[str, Any]:
        """Return ``points`` of the one thing that fills the picture: name, x, y in its pixels, height of the peak."""
        mirror = mirrored(self.classes) if self.classes else torch.arange(self.num_classes)
        maps = self.maps(image, mirror.to(image.device)[None])
        cells, peaks = self._places(maps)
        places = (cells * self._stride(maps, image))[0].cpu() * torch.tensor(
            [size[1] / image.shape[-1], size[0] / image.shape[-2]]
        )
        return {
            "points": [
                {"name": name, "x": round(x, 2), "y": round(y, 2), "height": round(height, 4)}
                for name, (x, y), height in zip(self._names(), places.tolist(), peaks[0].tolist(), strict=True)
            ]
        }

    def draw(self, picture: Tensor, found: dict[str, Any]) -> Tensor:
        """Return the picture with a mark at every key point."""
        places = torch.tensor([[point["x"], point["y"]] for point in found["points"]])
        return _with_marks(picture, places, _SAID)

    def _names(self) -> tuple[str, ...]:
        return self.classes or tuple(map(str, range(self.num_classes)))

    def keep_records(self, folder: Path, epoch: int) -> None:
        """Write pose.json: AP by threshold, every key point by itself, and some things as they are and were found.

        Beside it predictions.png: the first test crops, their marked key points, and those that were found.
        """
        if self._found is None:
            return
        things, aps = self._found
        record = {"epoch": epoch, "things": len(things), "ap": {f"{key:.2f}": value for key, value in aps.items()}}
        write_json(folder / "pose.json", record | by_point(things, self._names()) | {"shown": shown(things)})
        if self._shown:
            rows = [_row(*one) for one in self._shown]
            write_rows(folder / "predictions.png", [torch.stack(column) for column in zip(*rows, strict=True)])


def by_point(things: Things, names: Sequence[str]) -> dict[str, Any]:
    """Return how near each key point was found, as plain numbers; None where it is marked nowhere."""
    marked = things.marked.sum(0)
    near = things.near().sum(0)
    rows = [
        {"name": name, "marked": int(count), "pck": float(hits / count) if count else None, "sigma": float(sigma)}
        for name, count, hits, sigma in zip(names, marked, near, things.sigmas, strict=True)
    ]
    return {"pck_within": NEAR, "points": rows}


def shown(things: Things) -> list[dict[str, Any]]:
    """Return things of the first images, with the places in the image that are marked and that were found."""
    order = torch.argsort(things.image, stable=True)[:_SHOWN].tolist()
    oks = things.oks()
    return [
        {
            "image": int(things.image[number]),
            "box": _plain(things.box[number]),
            "score": float(things.score[number]),
            "oks": float(oks[number]),
            "truth": _plain(things.truth[number]),
            "found": _plain(things.found[number]),
        }
        for number in order
    ]


def _row(crop: Tensor, truth: Tensor, places: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """A crop as it is, with its marked key points, and with those that were found; 0…255."""
    low, high = crop.amin(), crop.amax()
    grey = crop if len(crop) == 3 else crop.mean(0, keepdim=True).expand(3, -1, -1)
    pixels = ((grey - low) / (high - low).clamp(min=1e-6) * 255).round().byte()
    marks = _with_marks(pixels, truth[truth[:, 2] > 0, :2], _TRUE), _with_marks(pixels, places, _SAID)
    return pixels.float(), marks[0].float(), marks[1].float()


def _with_marks(pixels: Tensor, places_N2: Tensor, colour: tuple[int, int, int]) -> Tensor:
    radius = max(round(min(pixels.shape[-2:]) / 40), 1)
    drawn: Tensor = draw_keypoints(pixels, places_N2.float().cpu()[None], colors=colour, radius=radius)
    return drawn


def _plain(values: Tensor) -> Any:
    return values.mul(100).round().div(100).tolist()
