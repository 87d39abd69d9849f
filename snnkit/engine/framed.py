"""Whether a network reads the frames of a data set as they come: as clips, as time steps, or not at all."""

from __future__ import annotations

from snnkit.data import ImageData
from snnkit.errors import InvalidArgumentError
from snnkit.models.registry import accepts


def check_frames(name: str, data: ImageData) -> None:
    """Refuse a network by name that would take time for images, or images for time.

    Args:
        name: of the network, as ``create_model`` takes it.
        data: what it is fed.

    Raises:
        InvalidArgumentError: sequences (T, B, C, H, W) for an ordinary network, or clips (B, C, F, H, W) for one that
            reads images or sequences.
    """
    if not data.frames:
        return
    steps, clips = accepts(name, "timesteps"), accepts(name, "num_frames")
    if data.time_first and not steps:
        mend = ", or set data.time_first=false where the data are videos" if clips else ""
        raise InvalidArgumentError(
            f"{name} has no time steps, and {data.origin} comes as sequences (T, B, C, H, W), a frame a step: give a "
            f"spiking network (snnkit models --kind snn){mend}."
        )
    if not data.time_first and not clips:
        mend = "set data.time_first=true, which makes a frame a time step" if steps else "give uniformer_video_small"
        raise InvalidArgumentError(
            f"{name} reads no clips (B, C, F, H, W), as {data.origin} comes: {mend}"
            f"{'' if steps else ' or another network with num_frames'}."
        )
