"""Front: backbone and neck of a spiking detector as one graph, for a chip whose host runs the heads.

    chip   image → backbone → neck → all maps of the pyramid, pixel by pixel side by side: one output (T, B, K)
    host   what is read at every step → maps → proposals, regions, box head, mask head, selection: the detector's own

Letters: T steps, B images, K values of all maps, C channels, H and W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from compiler.capturing import capture
from compiler.graph import Graph
from compiler.parts import take_time
from compiler.passes import simplify
from snnkit.errors import InvalidArgumentError
from snnkit.models.detector import Detector, Found, Seen

WHAT = "backbone and neck"
REST = "the heads and the selection of boxes stay on the host, which reads the pyramid at every step"


class _Pyramid(nn.Module):
    """Images (B, C, H, W), scaled as the detector says, → its pyramid (T, B, K)."""

    def __init__(self, detector: Detector):
        super().__init__()
        for name in ("backbone", "neck", "coarser"):
            if hasattr(detector, name):
                self.add_module(name, getattr(detector, name))
        self._whole = (detector,)  # in a tuple: its modules are those above
        take_time(self, detector)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        """Return all maps side by side."""
        return torch.cat([x.flatten(-3) for x in self._whole[0].pyramid(images_BCHW)], -1)


@dataclass(frozen=True)
class Front:
    """A spiking detector, its backbone and neck as captured, and the shapes (C, H, W) of the maps that they put out."""

    model: Detector
    captured: Graph
    shapes: tuple[tuple[int, int, int], ...]

    @cached_property
    def graph(self) -> Graph:
        """``captured``, simplified."""
        return simplify(self.captured)

    def prepared(self, images_BCHW: Tensor) -> Tensor:
        """Return images as backbone and neck see them: scaled and filled up as the detector says."""
        return self.model.transform(list(images_BCHW))[0].tensors  # type: ignore[no-any-return]

    @torch.no_grad()
    def find(self, images_BCHW: Tensor, outputs_TBK: Tensor, sizes: Sequence[tuple[int, int]]) -> list[Found]:
        """Return what the heads find in images whose pyramid was computed elsewhere, in pixels of ``sizes`` (H, W)."""
        counts = [channels * height * width for channels, height, width in self.shapes]
        kind = next(self.model.parameters()).dtype
        maps = [
            part.to(kind).reshape(*part.shape[:-1], *shape)
            for part, shape in zip(torch.split(outputs_TBK, counts, -1), self.shapes, strict=True)
        ]
        batch, _ = self.model.transform(list(images_BCHW))
        return self.model.find(Seen(list(images_BCHW), batch, self.model.further(maps)), sizes)


def front(model: Detector, images_BCHW: Tensor) -> Front:
    """Return backbone and neck of a spiking detector for images of this size.

    Raises:
        InvalidArgumentError: nothing in it spikes.
        CaptureError: it holds what graphs do not have.
    """
    if not model.backbone.spiking:
        raise InvalidArgumentError(
            "this detector stands on an image model without spikes, and chips here run spikes; give one on a spiking "
            "one, such as mask_rcnn:ms_resnet18."
        )
    model.eval()
    images = model.transform(list(images_BCHW))[0].tensors
    with torch.no_grad():
        shapes = tuple((x.shape[-3], x.shape[-2], x.shape[-1]) for x in model.pyramid(images))
    return Front(model, capture(_Pyramid(model).eval(), images), shapes)
