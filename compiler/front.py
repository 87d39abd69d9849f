"""Front: backbone and neck of a detector as one graph, for a chip, or a conversion, whose host runs the heads.

    graph  image → backbone → neck → all maps of the pyramid side by side: one output (T, B, K) or, without time, (B, K)
    host   what is read at every step → maps → proposals, regions, box head, mask head, selection: the detector's own

Letters: T steps, B images, K values of all maps, C channels, H and W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor, nn

from compiler.capturing import capture
from compiler.graph import Graph
from compiler.parts import take_time
from compiler.passes import simplify
from snnkit.models.detector import Detector, Found, Seen

WHAT = "backbone and neck"
REST = "the heads and the selection of boxes stay on the host, which reads the pyramid at every step"


class _Pyramid(nn.Module):
    """Images (B, C, H, W), scaled as the detector says, → its pyramid (T, B, K) or (B, K)."""

    def __init__(self, detector: Detector):
        super().__init__()
        for name in ("backbone", "neck", "coarser"):
            if hasattr(detector, name):
                self.add_module(name, getattr(detector, name))
        self._whole = (detector,)  # in a tuple: its modules are those above
        if detector.backbone.spiking:
            take_time(self, detector)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        """Return all maps side by side."""
        return torch.cat([x.flatten(-3) for x in self._whole[0].pyramid(images_BCHW)], -1)


@dataclass(frozen=True)
class Front:
    """A detector, its backbone and neck as captured, and the shapes (C, H, W) of the maps that they put out."""

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
    def find(self, images_BCHW: Tensor, outputs: Tensor, sizes: Sequence[tuple[int, int]]) -> list[Found]:
        """Return what the heads find in images whose pyramid was computed elsewhere.

        Args:
            images_BCHW: as the detector takes them.
            outputs: the pyramid, (T, B, K); of an ordinary detector (B, K), or of one step.
            sizes: (H, W) of each image, in whose pixels boxes are wanted.
        """
        counts = [channels * height * width for channels, height, width in self.shapes]
        kind = next(self.model.parameters()).dtype
        if outputs.ndim == 3 and not self.model.backbone.spiking:
            outputs = outputs[0]
        maps = [
            part.to(kind).reshape(*part.shape[:-1], *shape)
            for part, shape in zip(torch.split(outputs, counts, -1), self.shapes, strict=True)
        ]
        batch, _ = self.model.transform(list(images_BCHW))
        return self.model.find(Seen(list(images_BCHW), batch, self.model.further(maps)), sizes)


def front(model: Detector, images_BCHW: Tensor) -> Front:
    """Return backbone and neck of a detector for images of this size.

    Raises:
        CaptureError: they hold what graphs do not have.
    """
    model.eval()
    images = model.transform(list(images_BCHW))[0].tensors
    with torch.no_grad():
        shapes = tuple((x.shape[-3], x.shape[-2], x.shape[-1]) for x in model.pyramid(images))
    captured = replace(capture(_Pyramid(model).eval(), images), name=f"{type(model).__name__} {WHAT}")
    return Front(model, captured, shapes)
