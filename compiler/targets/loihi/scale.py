"""The scale of a population: how many of the chip's whole numbers one unit of float current is.

    weights   w·scale ≈ m·2^e      m a multiple of the weight step, |m| ≤ its limit, 0 ≤ e ≤ the highest exponent
    bias      b·scale ≈ Σ m_i·2^e_i, one always-on axon for each summand
    threshold units = threshold·scale, a whole number; vth = units − 1

The largest scale is taken at which the smallest layer uses every bit of its weights and all of the above, and every sum
over all T steps (``ranges``), stays in range; then it is doubled as long as that costs nothing, which makes thresholds
and biases finer. Where a power of two represents all weights, biases and the threshold without rounding, it is taken
instead: such a layer is quantised exactly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from compiler.errors import CompileError, Violation
from compiler.targets.loihi.differentiable import rounded
from compiler.targets.loihi.formats import Formats
from compiler.targets.loihi.links import Link
from compiler.targets.loihi.ranges import Dynamics, broken

_SHRINK = 0.98


@dataclass(frozen=True)
class Layer:
    """What feeds a population: its links with the sizes of their sources, and its bias (shaped like the population)."""

    name: str
    links: tuple[Link, ...]
    sources: tuple[int, ...]
    bias: Tensor

    @property
    def trains(self) -> bool:
        """Whether anything of it asks for a gradient."""
        return self.bias.requires_grad or any(link.weight.requires_grad for link in self.links)

    @property
    def detached(self) -> Layer:
        """The layer as numbers alone."""
        links = tuple(replace(link, weight=link.weight.detach()) for link in self.links)
        return replace(self, links=links, bias=self.bias.detach())


@dataclass(frozen=True)
class Scaled:
    """A layer in whole numbers: mantissas and exponent of each link, the bias, and what was rounded.

    ``scale`` is for the population's membrane; ``units`` its threshold (0 for a readout). ``rounding`` bounds how far
    the current of one step is from the float network's, in its unit, when both get the same spikes.
    """

    scale: float
    units: int
    weights: tuple[tuple[Tensor, int], ...]
    bias: Tensor
    rounding: float


def whole(weight: Tensor, formats: Formats) -> tuple[Tensor, int]:
    """Return mantissas m and the smallest exponent e with m·2^e ≈ ``weight`` (already scaled)."""
    largest = _peak(weight)
    room = formats.weight_limit + formats.weight_step / 2
    exponent = next((e for e in range(formats.exponents) if largest < room * 2**e), formats.exponents)
    return _mantissas(weight / 2**exponent, formats), exponent


def _mantissas(x: Tensor, formats: Formats) -> Tensor:
    step, limit = formats.weight_step, formats.weight_limit
    return (rounded(x / step) * step).clamp(-limit, limit)


def _peak(values: Tensor) -> float:
    return float(values.detach().abs().max()) if values.numel() else 0.0


def split_bias(bias: Tensor, formats: Formats) -> tuple[list[tuple[Tensor, int]], Tensor]:
    """Write ``bias`` as Σ m·2^e in weights: return [(m, e), …], coarsest first, and their exact sum.

    As many summands are used as it takes, so that the sum is off by half a weight step at most.
    """
    parts: list[tuple[Tensor, int]] = []
    rest, step, limit = bias, formats.weight_step, formats.weight_limit
    while not parts or _peak(rest) > step / 2:
        largest = _peak(rest)
        # The finest exponent that the following, finer part can complete.
        fits = (e for e in range(formats.exponents) if largest <= limit * 2**e + (limit if e else step / 2))
        exponent = next(fits, formats.exponents)
        mantissa = _mantissas(rest / 2**exponent, formats)
        parts.append((mantissa, exponent))
        rest = rest - mantissa * 2**exponent
    return parts, torch.stack([m * 2**e for m, e in parts]).sum(0)


def scaled(
    layer: Layer, gain: float, threshold: float | None, dynamics: Dynamics, formats: Formats, scale: float | None = None
) -> Scaled:
    """Choose the scale of a population and write its weights, bias and threshold in whole numbers.

    ``gain``: what the neuron multiplies its current by; ``threshold``: None for a readout; ``scale``: where it was
    chosen before, and is kept whether or not everything fits. Where weights or the bias train, what is written has
    gradients to them; the scale is a constant.

    Raises:
        CompileError: no scale does (names the layer, what is too large and the limit).
    """
    if scale is None:
        found = _chosen(_Search(layer.detached, gain, threshold, dynamics, formats))
        if not layer.trains:
            return found
        scale = found.scale
    return _Search(layer, gain, threshold, dynamics, formats).at(scale)


def _chosen(search: _Search) -> Scaled:
    top = search.largest()
    if not top > 0:  # a bias register of no bits
        raise CompileError(search._too_large())
    power = 2.0 ** math.floor(math.log2(top))
    while (exact := search.at(power)).rounding == 0.0:
        if search.fits(exact):
            return search.doubled(exact)
        power /= 2
    found = search.at(search.shrunk(top))
    while not search.fits(found):
        found = search.at(found.scale * _SHRINK)
    search.refuse_nothing(found)
    return search.doubled(found)


@dataclass(frozen=True)
class _Search:
    layer: Layer
    gain: float
    threshold: float | None
    dynamics: Dynamics
    formats: Formats

    def largest(self) -> float:
        """The scale at which the smallest layer uses all bits and nothing needs a higher exponent than there is."""
        f = self.formats
        peaks = [_peak(link.weight) * self.gain for link in self.layer.links]
        peaks = [peak for peak in peaks if peak > 0]
        bounds = [f.weight_limit / min(peaks), f.weight_limit * 2**f.exponents / max(peaks)] if peaks else []
        if self.threshold is not None:
            bounds.append((f.threshold + 1) / self.threshold / self.dynamics.most)
            if self.dynamics.headroom:
                bounds.append((f.mantissa << f.bias_exponent) / f.unit / self.dynamics.headroom / self.threshold)
        elif not peaks:
            bounds.append(f.state / f.unit / max(float(self.layer.bias.abs().max()), 1.0) / self.dynamics.timesteps)
        return float(min(bounds))

    def at(self, scale: float) -> Scaled:
        """Write everything in whole numbers at (nearly) this scale."""
        units = 0
        if self.threshold is not None:
            # The tiny addend keeps what is whole but for rounding whole.
            units = int(self.threshold * scale * (1 + 1e-12))
            if units < 1:
                raise CompileError(self._too_large())
            scale = units / self.threshold
        elif not scale > 0:
            raise CompileError(self._too_large())
        drive = self.gain * scale
        weights = tuple(whole(link.weight * drive, self.formats) for link in self.layer.links)
        _, bias = split_bias(self.layer.bias * drive, self.formats)
        return Scaled(scale, units, weights, bias, self._rounding(weights, bias, drive))

    @torch.no_grad()
    def _rounding(self, weights: tuple[tuple[Tensor, int], ...], bias: Tensor, drive: float) -> float:
        error = (bias / drive - self.layer.bias).abs()
        for link, size, (mantissa, exponent) in zip(self.layer.links, self.layer.sources, weights, strict=True):
            wrong = (mantissa * 2**exponent / drive - link.weight).abs()
            error = error + link.run(wrong, torch.full((size,), link.most, dtype=torch.float64))
        return float(error.max())

    def currents(self, given: Scaled) -> tuple[Tensor, Tensor]:
        """The lowest and highest current of each neuron in whole numbers, as ``ranges.currents`` finds them."""
        low, high = given.bias.clamp(max=0), given.bias.clamp(min=0)
        for link, size, (mantissa, exponent) in zip(self.layer.links, self.layer.sources, given.weights, strict=True):
            below, above = link.reach(mantissa * 2**exponent, size)
            low, high = low + below, high + above
        return low, high

    def fits(self, given: Scaled) -> bool:
        """Whether no accumulator can leave its range."""
        f = self.formats
        if self.threshold is not None and given.units * self.dynamics.most > f.threshold + 1:
            return False
        if given.units * f.unit * self.dynamics.headroom > f.mantissa << f.bias_exponent:
            return False
        for link, (mantissa, exponent) in zip(self.layer.links, given.weights, strict=True):
            wanted = link.weight * self.gain * given.scale / 2**exponent
            if float((wanted - mantissa).abs().max()) > f.weight_step / 2 * (1 + 1e-9):
                return False  # a weight was cut off
        return self._broken(*self.currents(given), given.units) is None

    def _broken(self, low: Tensor, high: Tensor, units: int) -> str | None:
        vth = units - 1 if self.threshold is not None else self.formats.threshold
        bottom, top = (t.reshape(-1).clamp(-(2.0**40), 2.0**40).long().numpy() for t in (low.floor(), high.ceil()))
        return broken(bottom, top, replace(self.dynamics, vth=vth), self.formats)

    def shrunk(self, top: float) -> float:
        """The largest scale up to ``top`` at which real weights would stay in range, found by halving intervals."""
        weights = tuple((link.weight * self.gain, 0) for link in self.layer.links)
        real = Scaled(1.0, 0, weights, self.layer.bias * self.gain, 0.0)
        low, high = self.currents(real)

        def fine(scale: float) -> bool:
            units = 0 if self.threshold is None else max(1, int(self.threshold * scale))
            return self._broken(low * scale, high * scale, units) is None

        if fine(top):
            return top
        bottom, ceiling = 0.0, top
        for _ in range(40):
            middle = (bottom + ceiling) / 2
            bottom, ceiling = (middle, ceiling) if fine(middle) else (bottom, middle)
        return bottom

    def doubled(self, given: Scaled) -> Scaled:
        """Double the scale while everything fits and the bias takes no more axons: thresholds and biases get finer."""
        if self.threshold is None and not bool(given.bias.any() or any(bool(m.any()) for m, _ in given.weights)):
            return given  # a readout of nothing: any scale fits, and none is finer
        parts = self._parts(given)
        while True:
            finer = self.at(2 * given.scale)
            if not self.fits(finer) or self._parts(finer) > parts or finer.rounding > given.rounding:
                return given
            given = finer

    def refuse_nothing(self, given: Scaled) -> None:
        """Refuse a readout of which nothing is left at the scale that fits.

        Raises:
            CompileError: all weights and biases are rounded to 0.
        """
        left = bool(given.bias.any()) or any(bool(mantissa.any()) for mantissa, _ in given.weights)
        if self.threshold is None and not left and self._largest_weight() > 0:
            raise CompileError(self._too_large())

    def _largest_weight(self) -> float:
        return max([_peak(link.weight) for link in self.layer.links] + [_peak(self.layer.bias)])

    def _parts(self, given: Scaled) -> int:
        return max(2, len(split_bias(given.bias, self.formats)[0]))

    def _too_large(self) -> Violation:
        f, steps = self.formats, self.dynamics.timesteps
        if self.threshold is None:
            need = f"sums of its inputs over {steps} steps, of which no bit is left where they fit"
            return Violation(self.layer.name, need, f"a state holds {f.state // f.unit:,} units: fewer inputs, or T")
        held, span = f.mantissa << f.bias_exponent, self.dynamics.headroom * f.unit
        if held < span:
            need = (
                f"a bias register beside its spikes that spans {self.dynamics.headroom} thresholds of {f.unit} or more"
            )
            return Violation(
                self.layer.name, need, f"one holds {held:,}, less than {span:,}: less headroom, or a wider one"
            )
        ratio = self._largest_weight() * self.gain / self.threshold
        return Violation(
            self.layer.name,
            f"weights and biases of up to {ratio:,.4g} times its threshold in {steps} steps",
            f"a state holds {f.state // f.unit:,} units and a threshold takes at least one: lower them, or T",
        )
