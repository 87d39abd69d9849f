"""Does a network in steps do what its published forward does? Both run on the same samples, in float64."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from compiler.auditing.running import first_line, line_of
from compiler.auditing.stepped import Stepped, first_tensor, part_of, reset, run
from compiler.errors import CaptureError
from snnkit.importers.foreign import copied
from snnkit.importers.snntorch import neurons_of

_TOLERANCE = 1e-6
_LOUDER = 6
"""How many inputs, each of twice the size, are tried until all neurons of a network fire."""


def compare(module: nn.Module, stepped: Stepped, names: Sequence[str], sample: Sequence[int], alone: bool) -> float:
    """Run both in float64 on the same samples, settle how steps are read out, and return the largest difference.

    Compared is what leaves the network and what every neuron sent in all; norms are shifted, so that neurons fire.

    Raises:
        CaptureError: they differ.
    """
    original, ours = _firing(module), _firing(stepped)
    once = _samples(stepped, 1 if alone else _enough(sample), sample)
    for louder in range(_LOUDER if stepped.laps > 1 else 1):
        x = once * 2**louder
        with _sent(original, names) as wanted_spikes:
            wanted = stepped.time_first(_published(original, stepped.as_published(x), stepped))
        if all(wanted_spikes.values()):
            break  # what never fires tells nothing
    try:
        with torch.no_grad(), _sent(ours.network, names) as spikes:
            got = ours.forward_sequence(x if ours.encoder is None else ours.encoder(x))
    except Exception as error:
        raise CaptureError(
            f"{type(module).__name__} cannot run one time step{line_of(error)}: {first_line(error)}. Its forward "
            f"holds T = {stepped.inside} in a form that is not known: repeat the input with x.repeat(self.T, …) or "
            "call neurons once a step."
        ) from error
    if not got.isfinite().all() and wanted.isfinite().all():
        raise CaptureError(
            f"{type(module).__name__} computes what it returns from membranes, which graphs keep to their neurons: let "
            "its forward return spikes first, such as (spikes, membranes)."
        )
    forms = {"none": got, "mean": got.mean(0), "sum": got.sum(0)}
    gaps = {name: _gap(wanted, form) for name, form in forms.items() if form.shape == wanted.shape}
    other = next((name for name in names if not _same(wanted_spikes.get(name), spikes.get(name))), None)
    if not gaps or other is not None or not min(gaps.values()) <= _TOLERANCE:
        found = f"differ by {min(gaps.values()):.3g}" if gaps else "differ in shape"
        where = f", first in {other or 'the network'}" if other is not None else ""
        raise CaptureError(
            f"{type(module).__name__} is not a mean or a sum over {stepped.timesteps} time steps that are alike: its "
            f"output and that of its steps {found}{where}. A graph says what happens in one step; take what mixes "
            "steps (a neuron in two places, an operation over time) out of the model."
        )
    stepped.readout = min(gaps, key=gaps.__getitem__)
    return gaps[stepped.readout]


def _samples(stepped: Stepped, batch: int, sample: Sequence[int]) -> Tensor:
    front = (stepped.timesteps,) if stepped.sequences else ()
    generator = torch.Generator().manual_seed(0)
    return 2 * torch.rand(*front, batch, *sample, generator=generator, dtype=torch.float64)


def _enough(sample: Sequence[int]) -> int:
    """Return how many samples to compare: of small ones more, since few neurons may do the same by chance."""
    return max(2, min(32, 8192 // math.prod(sample)))


def _published(original: nn.Module, x: Tensor, stepped: Stepped) -> Tensor:
    """Run the published network on what it takes: images, a sequence, or one step after the other."""
    if stepped.sequences or stepped.inside > 1 or stepped.timesteps == 1:
        return run(original, x)
    reset(original)
    with torch.no_grad():
        out = torch.stack([first_tensor(original(x)) for _ in range(stepped.timesteps)])
    reset(original)
    return out


def _firing(module: nn.Module) -> Any:
    """Return a copy in float64 whose norms are shifted to where thresholds are; alike for all copies."""
    double, generator = copied(module).double(), torch.Generator().manual_seed(1)
    for part in double.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm) and part.bias is not None:
            with torch.no_grad():
                part.bias.add_(torch.rand(part.bias.shape, generator=generator, dtype=torch.float64))
    for neuron in neurons_of(double).values():
        _spike_alike(neuron)
    return double


def _spike_alike(neuron: Any) -> None:
    """Let a neuron of snnTorch fire in the precision of its membrane: its spikes are float32 whatever that is."""
    fire = neuron.spike_grad
    neuron.__dict__["spike_grad"] = lambda x: fire(x).to(x.dtype)


@contextmanager
def _sent(network: nn.Module, names: Iterable[str]) -> Iterator[dict[str, float]]:
    """Add up what neurons send while the block runs, places on the last axis weighted so that they tell apart."""
    sums: dict[str, float] = {}

    def add(name: str, out: Any) -> None:
        sent = first_tensor(out).double().abs()
        weights = torch.rand(sent.shape[-1:], generator=torch.Generator().manual_seed(2), dtype=torch.float64)
        sums[name] = sums.get(name, 0.0) + (sent * (weights + 0.5)).sum().item()

    hooks = [
        part_of(network, name).register_forward_hook(lambda m, a, out, name=name: add(name, out)) for name in names
    ]
    try:
        yield sums
    finally:
        for hook in hooks:
            hook.remove()


def _same(wanted: float | None, got: float | None) -> bool:
    if wanted is None or got is None:
        return wanted == got
    return abs(wanted - got) <= _TOLERANCE * max(1.0, abs(wanted))


def _gap(wanted: Tensor, got: Tensor) -> float:
    return ((wanted - got).abs().max() / wanted.abs().max().clamp(min=1e-12)).item()
