"""What a network for clips is shown of a video: the clips of it that tests of its run would see.

Letters: V views, F frames, C channels, H and W pixels.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from torch import Tensor

from snnkit.data import DataConfig, moving_things
from snnkit.data.image_folder import MEAN, STD
from snnkit.data.samples import Partly
from snnkit.data.transforms import for_testing
from snnkit.data.video_folder import ChannelsFirst, ClipReader

DATASETS = ("video_folder", "video_lists", "moving_things")
"""Data sets of clips."""


class Clips:
    """From a video to its views, as a batch, and a remark where frames are repeated ("" if none are).

    Args:
        data: of the run.
    """

    def __init__(self, data: DataConfig):
        drawn = data.dataset == "moving_things"  # its clips are as large as they are drawn, and are not cut
        side = (data.img_size or moving_things.SIDE) if drawn else 0
        self._read = ClipReader(dataclasses.replace(data, frames=data.frames or moving_things.FRAMES), training=False)
        wanted = dataclasses.replace(data, img_size=side) if drawn else data
        self._transform = for_testing(wanted, (side, side), MEAN, STD)
        self._time_first = data.time_first

    def __call__(self, file: Path) -> tuple[Tensor, str]:
        """Return (V, C, F, H, W), or with the time first (F, V, C, H, W), and the remark.

        Raises:
            CorruptFileError: no readable video.
        """
        found, remark = self._read(str(file)), ""
        if isinstance(found, Partly):
            found, remark = found.sample, found.reason
        views: Tensor = self._transform(found)
        views = views if views.ndim == 5 else views[None]
        return views.transpose(0, 1) if self._time_first else ChannelsFirst()(views), remark
