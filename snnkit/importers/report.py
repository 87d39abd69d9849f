"""What an import did, and whether the result still does what the original did."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(frozen=True)
class Layer:
    """One translated layer.

    Attributes:
        name: its path in the network.
        source: class it came from, with its library's name for it.
        result: class it became.
        mismatch: largest difference of outputs on random input; None where the layer has none of its own to compare.
        conventions: what had to be translated (threshold rule, delayed reset, decay of the input …).
    """

    name: str
    source: str
    result: str
    mismatch: float | None = None
    conventions: tuple[str, ...] = ()


@dataclass(frozen=True)
class ImportReport:
    """Every layer that was translated, and those that stayed what they were.

    Attributes:
        library: where the network came from.
        layers: translated layers in order.
        kept: classes of the foreign library that are still in the network: it keeps needing that library.
        whole: largest difference of the whole network's output on the example; None without an example.
    """

    library: str
    layers: tuple[Layer, ...]
    kept: tuple[str, ...] = ()
    whole: float | None = None

    @property
    def max_mismatch(self) -> float:
        """Largest difference found, over all layers and the whole network."""
        found = [layer.mismatch for layer in self.layers if layer.mismatch is not None]
        return max([*found, *([] if self.whole is None else [self.whole])], default=0.0)

    @property
    def conventions(self) -> tuple[str, ...]:
        """Every convention that was translated, once."""
        return tuple(dict.fromkeys(text for layer in self.layers for text in layer.conventions))

    def __str__(self) -> str:
        lines = [f"imported from {self.library}: {len(self.layers)} layers, largest mismatch {self.max_mismatch:g}"]
        for layer in self.layers:
            shown = "" if layer.mismatch is None else f", mismatch {layer.mismatch:g}"
            lines.append(f"  {layer.name or '(root)'}: {layer.source} → {layer.result}{shown}")
        lines += [f"  convention: {text}" for text in self.conventions]
        if self.kept:
            lines.append(f"  still from {self.library}: {', '.join(self.kept)}")
        if self.whole is not None:
            lines.append(f"  whole network on the example: largest difference {self.whole:g}")
        return "\n".join(lines)


@dataclass
class Translation:
    """A report under construction."""

    library: str
    layers: list[Layer] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)

    def report(self, whole: float | None = None) -> ImportReport:
        """Return the finished report."""
        return ImportReport(self.library, tuple(self.layers), tuple(dict.fromkeys(self.kept)), whole)


def mismatch(
    original: Callable[[Tensor], Tensor],
    translated: Callable[[Tensor], Tensor],
    timesteps: int = 8,
    channels: int = 16,
    size: tuple[int, ...] = (),
) -> float:
    """Return the largest difference of two neurons on random currents (T, 4, channels, *size), float32.

    The currents drive a neuron of unit threshold from silence to firing at every step.
    """
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(timesteps, 4, channels, *size, generator=generator) * 1.5 + 0.5
    with torch.no_grad():
        return (original(x) - translated(x)).abs().max().item()
