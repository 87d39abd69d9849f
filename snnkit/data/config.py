"""What is fed to a training, and how: plain settings, checked before anything is read."""

from __future__ import annotations

import math
from dataclasses import dataclass

from snnkit.data.clips import SAMPLINGS
from snnkit.data.events import PARTS
from snnkit.errors import InvalidArgumentError, unknown_name

ON_CORRUPT = ("stop", "skip")
ON_MISSING = ("stop", "skip")
STRAY = ("stop", "drop")
VIEWS = ("moco_v2", "swav", "dino")
TARGETS = ("", "labels", "maps", "captions", "keypoints", "objects")
_NOT_NEGATIVE = (
    *("shift_pixels", "train_limit", "test_limit", "sample_seed", "workers", "img_size", "mixup", "cutmix", "frames"),
    *("local_crops", "local_size", "target_fps", "sensor_height", "sensor_width", "shuffle_window", "longest_side"),
    *("crop_height", "crop_width", "rotate"),
)


@dataclass
class DataConfig:
    """Which images, and how they are fed.

    Attributes:
        dataset: a name in ``DATASETS``.
        source: where it lies (see the dataset's module).
        targets: what is learned of an image, where a data set knows more than labels: "maps", the class of every pixel;
            "objects", boxes and masks; "keypoints"; "captions", texts; "" is what the task asks for.
        batch_size: images of one process in one step.
        img_size: side in pixels of what the model gets; 0 leaves images as they are.
        train_limit, test_limit: keep only so many images, of every class its share (0 = all).
        validation: share of the training images that is set aside, of every class; it chooses best.safetensors in place
            of the test images (0 = none).
        sample_seed: which images the three above take; the same for every run and verb.
        workers: processes that load and augment; 0 = the training one.
        on_corrupt: "stop" at an image that cannot be read, or "skip" and count it.
        shift_pixels: random shift by at most so many pixels, black shifted in.
        flip: mirror half of the images.
        crop_scale: smallest share of the area that a random resized crop keeps; 1 = no such crop.
        smallest_scale, largest_scale: images that come with maps, boxes or points are scaled by a factor drawn between
            them and then cut or filled up to ``img_size`` (large-scale jitter: 0.1 and 2); 1 and 1 for none.
        short_sides: shorter sides in pixels, of which one is drawn for each training image with boxes (multi-scale).
        longest_side: the longer side of an image with boxes is at most this; 0 for no bound.
        crop_height, crop_width: pixels of a crop around a thing whose key points are learned; 0 = ``img_size``.
        rotate: training crops of things with key points are turned by at most so many degrees.
        rand_augment: timm's text, such as "rand-m9-mstd0.5-inc1"; "" = none.
        erase: probability that a random rectangle is replaced by noise.
        repeats: copies of an image in an epoch, each augmented anew (repeated augmentation).
        views: "moco_v2", "swav" or "dino": several views of each image, augmented as that method's code does; "" = one.
        local_crops: small views beside the two large ones (multi-crop).
        local_size: side in pixels of a small view.
        local_scale: smallest share of the area that a small view shows; the largest is ``crop_scale``.
        mixup, cutmix: parameter α of the Beta distribution; 0 = off; with both, each batch takes one of them.
        mix_probability: share of batches that are mixed.
        frames: frames of a clip, or of an event recording; 0 where the data are still images.
        sampling: frames of a clip are "dense", evenly spaced in one stretch, or one of each "segment" of the video.
        frame_stride: a dense clip spans frames · frame_stride frames of the video.
        test_clips: clips of a test video, from its beginning to its end; their probabilities are averaged.
        test_crops: 1, the middle of a test frame, or 3 along its longer side; averaged as well.
        target_fps: rate of a video that frame_stride counts at, whatever its own is; 0 = the video's own.
        time_first: make sequences (T, B, C, H, W) of videos, for spiking networks, instead of clips (B, C, F, H, W).
        part_by: frames of an event recording last equally long ("time") or hold equally many events ("count").
        sensor_height, sensor_width: pixels of an event camera whose files do not say; 0 = as they say.
        stray_events: "stop" at a recording with events outside of its sensor, or "drop" those events and count it.
        metadata: table of the creators of the images ("pass"); "" = pass_metadata.csv in ``source`` or beside it.
        on_missing: "stop" at images without a creator and at videos of a list that are not there, or "skip" and count
            them.
        holdout: share of a data set without labels and splits that is tested on; at least one image.
        tokenizer: how texts of pairs become numbers: "bytes", or a .json file of the library tokenizers.
        context: the most tokens of a text; longer ones are cut, which is counted.
        shuffle_window: images of tar shards are shuffled within so many, after the shards were; 0 = among all.
    """

    dataset: str = "fashion_mnist"
    source: str = "auto"
    batch_size: int = 64
    img_size: int = 0
    train_limit: int = 0
    test_limit: int = 0
    validation: float = 0.0
    sample_seed: int = 0
    workers: int = 0
    on_corrupt: str = "stop"
    shift_pixels: int = 2
    flip: bool = True
    crop_scale: float = 1.0
    smallest_scale: float = 1.0
    largest_scale: float = 1.0
    short_sides: tuple[int, ...] = ()
    longest_side: int = 0
    crop_height: int = 0
    crop_width: int = 0
    rotate: float = 0.0
    rand_augment: str = ""
    erase: float = 0.0
    repeats: int = 1
    views: str = ""
    local_crops: int = 0
    local_size: int = 96
    local_scale: float = 0.05
    mixup: float = 0.0
    cutmix: float = 0.0
    mix_probability: float = 1.0
    frames: int = 0
    sampling: str = "dense"
    frame_stride: int = 4
    test_clips: int = 1
    test_crops: int = 1
    target_fps: float = 0.0
    time_first: bool = False
    part_by: str = "time"
    sensor_height: int = 0
    sensor_width: int = 0
    stray_events: str = "stop"
    metadata: str = ""
    on_missing: str = "stop"
    holdout: float = 0.01
    tokenizer: str = "bytes"
    context: int = 64
    shuffle_window: int = 10_000
    targets: str = ""

    def check(self) -> None:
        """Raise InvalidArgumentError for a setting outside its range; names are checked where they are looked up."""
        for key, low in (("batch_size", 1), ("repeats", 1), ("frame_stride", 1), ("test_clips", 1), ("context", 1)):
            if getattr(self, key) < low:
                raise InvalidArgumentError(f"data.{key}={getattr(self, key)}: must be ≥ {low}.")
        for key in _NOT_NEGATIVE:
            if not getattr(self, key) >= 0:
                raise InvalidArgumentError(f"data.{key}={getattr(self, key)}: must be ≥ 0.")
        for key in ("erase", "mix_probability"):
            if not 0 <= getattr(self, key) <= 1:
                raise InvalidArgumentError(f"data.{key}={getattr(self, key)}: must be between 0 and 1.")
        for key in ("validation", "holdout"):
            if not 0 <= getattr(self, key) < 1:
                raise InvalidArgumentError(f"data.{key}={getattr(self, key)}: must be at least 0 and below 1.")
        for key in ("crop_scale", "local_scale"):
            if not 0 < getattr(self, key) <= 1:
                raise InvalidArgumentError(f"data.{key}={getattr(self, key)}: must be above 0 and at most 1.")
        if not 0 < self.smallest_scale <= self.largest_scale < math.inf:
            raise InvalidArgumentError(
                f"data.smallest_scale={self.smallest_scale}, largest_scale={self.largest_scale}: must be above 0, the "
                "first at most the second."
            )
        if self.targets not in ("", "keypoints") and (self.crop_height or self.crop_width or self.rotate):
            raise InvalidArgumentError(
                f"data.crop_height={self.crop_height}, crop_width={self.crop_width}, rotate={self.rotate:g}: are for "
                "things with key points; set them to 0."
            )
        self._check_views()
        if self.test_crops not in (1, 3):
            raise InvalidArgumentError(f"data.test_crops={self.test_crops}: must be 1 (the middle) or 3.")
        choices = {"on_corrupt": ON_CORRUPT, "sampling": SAMPLINGS, "part_by": PARTS, "stray_events": STRAY}
        choices |= {"on_missing": ON_MISSING, "targets": TARGETS}
        for key, allowed in choices.items():
            if getattr(self, key) not in allowed:
                raise unknown_name(f"value of data.{key}", getattr(self, key), allowed)

    def _check_views(self) -> None:
        """Views are augmented as published, and by nothing else."""
        if not self.views:
            if self.local_crops:
                raise InvalidArgumentError(
                    f"data.local_crops={self.local_crops}: are views of an image; say whose (data.views=swav or dino)."
                )
            return
        if self.views not in VIEWS:
            raise unknown_name("value of data.views", self.views, VIEWS)
        off = {"shift_pixels": 0, "rand_augment": "", "erase": 0.0, "test_crops": 1, "frames": 0}
        for key, value in off.items():
            if getattr(self, key) != value:
                raise InvalidArgumentError(
                    f"data.views={self.views}: is an augmentation of its own; set data.{key}={value or repr(value)}."
                )
        if self.local_crops and self.views == "moco_v2":
            raise InvalidArgumentError(f"data.local_crops={self.local_crops}: moco_v2 has two views; set it to 0.")
        if self.local_crops and not self.local_size:
            raise InvalidArgumentError("data.local_size=0: give the side of the small views, such as 96.")
        if self.local_crops and self.local_scale >= self.crop_scale:
            raise InvalidArgumentError(
                f"data.local_scale={self.local_scale}: small views show between this and data.crop_scale="
                f"{self.crop_scale} of an image; give less."
            )
