"""Which frames of a video make a clip: dense in one stretch of it, or one of each of equal segments.

Sources: dense as SlowFast networks are trained (Feichtenhofer et al., arXiv 1812.03982); segments from temporal segment
networks (Wang et al., arXiv 1608.00859).
"""

from __future__ import annotations

from itertools import pairwise

import torch

SAMPLINGS = ("dense", "segment")


def dense(total: int, frames: int, span: float, start: float) -> list[int]:
    """Return the indices of frames evenly spaced from ``start`` to the end of the span, rounded down.

    Args:
        total: frames of the video; indices beyond it become the last frame.
        frames: of the clip.
        span: frames of the video that the clip covers.
        start: first of them.
    """
    places = torch.linspace(start, start + span - 1, frames, dtype=torch.float64)
    return places.clamp(0, total - 1).long().tolist()


def random_start(total: int, span: float) -> float:
    """Draw where a span starts, anywhere that it fits in; from torch's generator."""
    return float(torch.rand(())) * max(total - span, 0)


def offset_start(total: int, span: float, clip: int = 0, clips: int = 1) -> int:
    """Return where clip number ``clip`` of ``clips`` starts in a test; a single one lies in the middle."""
    room = max(total - span, 0)
    return int(room // 2) if clips == 1 else clip * int(room // (clips - 1))


def segments(total: int, frames: int, random: bool, clip: int = 0, clips: int = 1) -> list[int]:
    """Return one frame of each of ``frames`` equal segments.

    Args:
        total: frames of the video.
        frames: of the clip.
        random: a random frame of each segment (torch's generator), else the middle one, or with several clips …
        clip, clips: … the one in the middle of part ``clip`` of ``clips`` equal parts of the segment.
    """
    edges = [total * n // frames for n in range(frames + 1)]
    found = []
    for first, end in pairwise(edges):
        count = max(end - first, 1)
        found.append(
            min(
                first + (int(torch.randint(count, ())) if random else (count - 1) * (2 * clip + 1) // (2 * clips)),
                total - 1,
            )
        )
    return found
