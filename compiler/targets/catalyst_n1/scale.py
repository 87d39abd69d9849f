"""The scale of a population: how many whole numbers one unit of float current is.

    weights   round(w · gain · scale), 16 bits      units = threshold · scale      gain = 1/τ where the input decays

Each kind of neuron keeps a membrane m in another way:

- without leak, as v = m + floor in the plain mode, which holds v > 0 exactly: floor = 32,767 − units. A membrane that
  falls to −floor would come back as 0. The scale is one at which no T steps of inhibition can bring it there, unless
  that leaves less than ``FINE`` units to the threshold;
- with leak, as v = m in the current-based mode, from −32,768 up;
- a readout, in its current u of 24 bits, which keeps everything; its v is held so low that it never fires.

Where a power of two represents all weights, biases and the threshold without rounding, it is taken instead: such a
layer is quantised exactly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from compiler.errors import CompileError, Violation
from compiler.targets.loihi.scale import Layer

LIMIT = 32767
"""Largest weight, threshold and membrane."""
FINE = 1023
"""Units of a threshold below which a finer scale is worth a membrane that may leave its range."""
GATHERED = (1 << 23) - (1 << 17)
"""Largest sum of a step: accumulators and currents wrap at 2^23; what a decay leaves of a current comes on top."""
READOUT_BIAS = -4096 << 7
READOUT_RANGE = (-(1 << 23) + (1 << 16) - READOUT_BIAS, LIMIT - READOUT_BIAS + LIMIT)
"""Sums that a readout can hold: below, its v would wrap, above, it would fire."""
_POWERS = 24
_SHRINK = 0.98
PLAIN, LEAKY, READOUT = "plain", "leaky", "readout"


@dataclass(frozen=True)
class Scaled:
    """A layer in whole numbers: weights of each link, biases, what the threshold is (0 for a readout).

    ``safe``: whether every membrane stays in its range, whatever fires. ``rounding``: see ``lif_n1``.
    """

    scale: float
    units: int
    weights: tuple[Tensor, ...]
    bias: Tensor
    safe: bool
    rounding: float


def scaled(
    layer: Layer, kind: str, steps: int, threshold: float = 1.0, gain: float = 1.0, decay: float = 0.0
) -> Scaled:
    """Choose the scale of a population that runs ``steps`` steps, and write it in whole numbers.

    ``decay``: what its membrane loses in a step.

    Raises:
        CompileError: no scale does (names the layer, what is too large and the limit).
    """
    search = _Search(layer, kind, steps, threshold, gain, decay)
    top = search.largest()
    power = 2.0 ** math.floor(math.log2(top))
    for exponent in range(_POWERS):
        if kind != READOUT and threshold * power < 2**exponent:
            break
        exact = search.at(power / 2**exponent)
        if exact.rounding == 0.0 and exact.safe and search.fits(exact):
            return exact
    found = search.at(top)
    while not search.fits(found):
        found = search.at(found.scale * _SHRINK)
    return found


@dataclass(frozen=True)
class _Search:
    layer: Layer
    kind: str
    steps: int
    threshold: float
    gain: float
    decay: float

    def reach(self, weights: tuple[Tensor, ...], bias: Tensor) -> tuple[float, float, float]:
        """The lowest (≤ 0) and highest (≥ 0) current of a step, and the largest sum of magnitudes."""
        low, high = bias.clamp(max=0), bias.clamp(min=0)
        for link, size, weight in zip(self.layer.links, self.layer.sources, weights, strict=True):
            below, above = link.reach(weight, size)
            low, high = low + below, high + above
        if not low.numel():
            return 0.0, 0.0, 0.0
        return float(low.min()), float(high.max()), float((high - low).max())

    def span(self, low: float) -> float:
        """How far a membrane can fall in all steps."""
        lasting = min(self.steps, 1 / self.decay) if self.decay else self.steps
        return -low * lasting

    def largest(self) -> float:
        """The largest scale at which real numbers would fit."""
        weights = tuple(link.weight * self.gain for link in self.layer.links)
        bias = self.layer.bias * self.gain
        low, high, total = self.reach(weights, bias)
        peaks = [float(x.abs().max()) for x in (*weights, bias) if x.numel()]
        bounds = [limit / peak for limit, peak in ((LIMIT, max(peaks, default=0.0)), (GATHERED, total)) if peak]
        if self.kind == READOUT:
            bounds += [edge / (end * self.steps) for edge, end in zip(READOUT_RANGE, (low, high), strict=True) if end]
            return min(bounds, default=1.0)
        fallen = self.span(low)
        room = self.threshold + fallen if self.kind == PLAIN else max(self.threshold, fallen)
        safe = (LIMIT - 1) / room
        bounds.append(max(safe, FINE / self.threshold))
        return min(bounds)

    def at(self, scale: float) -> Scaled:
        """Write everything in whole numbers at (nearly) this scale."""
        units = 0
        if self.kind != READOUT:
            # The tiny addend keeps what is whole but for rounding whole.
            units = int(self.threshold * scale * (1 + 1e-12))
            if units < 1:
                raise CompileError(self._too_large())
            scale = units / self.threshold
        drive = self.gain * scale
        weights = tuple((link.weight * drive).round() for link in self.layer.links)
        bias = (self.layer.bias * drive).round()
        error = (bias / drive - self.layer.bias).abs()
        for link, size, weight in zip(self.layer.links, self.layer.sources, weights, strict=True):
            error = error + link.run((weight / drive - link.weight).abs(), torch.ones(size, dtype=torch.float64))
        low, _, _ = self.reach(weights, bias)
        fallen = self.span(low)
        safe = {READOUT: True, PLAIN: fallen < LIMIT - units, LEAKY: fallen <= LIMIT}[self.kind]
        return Scaled(scale, units, weights, bias, safe, float(error.max()) if error.numel() else 0.0)

    def fits(self, given: Scaled) -> bool:
        """Whether no weight, sum or threshold leaves its range."""
        low, high, total = self.reach(given.weights, given.bias)
        peaks = [float(x.abs().max()) for x in (*given.weights, given.bias) if x.numel()]
        if max(peaks, default=0.0) > LIMIT or total > GATHERED or given.units >= LIMIT:
            return False
        least, most = READOUT_RANGE
        return self.kind != READOUT or (low * self.steps >= least and high * self.steps <= most)

    def _too_large(self) -> Violation:
        peaks = [float(link.weight.abs().max()) for link in self.layer.links if link.weight.numel()]
        peaks += [float(self.layer.bias.abs().max())]
        ratio = max(peaks) * self.gain / self.threshold
        limit = f"a weight holds up to {LIMIT:,} units and a threshold takes at least one: lower them"
        return Violation(self.layer.name, f"weights and biases of up to {ratio:,.4g} times its threshold", limit)
