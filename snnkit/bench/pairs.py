"""Image–text steps in parts against one pass and open_clip's accumulation; memory of a batch of 65,536.

Small towers on images of 28 pixels (ConvNeXt of 165,000 parameters, a text transformer), float32, forward and backward
with the softmax loss. "one pass" is the plain step: both towers on the whole batch, and torch's own cross-entropy on
the whole matrix. "accumulate" is what open_clip's training does with ``--accum-freq``: features of all parts without
gradients, then for each part the loss of the whole batch with that part's features made again. Its error is that of the
gradient against the one pass, and it has none but in the temperature. Two processes: ``pairs_sharded``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from importlib.util import find_spec
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from snnkit.bench.harness import compare
from snnkit.bench.pairs_sharded import PART, PARTS, peaks
from snnkit.bench.row import figure, rows
from snnkit.memory import show_bytes
from snnkit.memory.allocations import allocations, highest
from snnkit.models import create_model
from snnkit.tasks.classification import channels_last
from snnkit.tasks.pairs.two_pass import TwoPass

_CASES, _LARGE, _LARGE_PART = ((1024, 64), (1024, 256)), 65_536, 256
_TIME, _MEMORY, _PREDICTED = 1.45, 1.2, 1.1
_TOWER = {"dims": (16, 32, 64, 96), "depths": (1, 1, 1, 1), "output_stride": 16}
_TEXT = {"text_width": 64, "text_depth": 1, "text_heads": 4, "dim": 64, "context": 24}


def run(repeats: int) -> list[dict[str, Any]]:
    """Measure; the peer's rows need open_clip_torch."""
    towers = _towers()
    found = []
    for batch, part in _CASES:
        found += _against_one_pass(towers, batch, part, repeats)
    return [*found, *_large(towers), *_in_two_processes()]


def _towers() -> Any:
    torch.manual_seed(0)
    return create_model("basic:timm:convnext_atto", in_chans=1, **_TOWER, **_TEXT).train()


Pairs = Callable[[], Iterable[tuple[Tensor, Tensor]]]
"""The parts of a batch, as often as they are asked for."""


def _made(batch: int, part: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Pairs that are made one part after the other, the same each time."""
    generator = torch.Generator().manual_seed(0)
    for _ in range(batch // part):
        images = torch.rand(part, 1, 28, 28, generator=generator)
        yield channels_last(images), torch.randint(1, 257, (part, 24), generator=generator)


def _two_pass(towers: Any, pairs: Pairs) -> None:
    step = TwoPass(towers)
    for pair in pairs():
        step.look(*pair)
    step.compare()
    for pair in pairs():
        step.pull_back(*pair).backward()


def _one_pass(towers: Any, pairs: Pairs) -> None:
    images, tokens = (torch.cat(part) for part in zip(*pairs(), strict=True))
    f, g = towers(channels_last(images), tokens)
    z, n = towers.scale() * f @ g.t(), torch.arange(len(f))
    ((F.cross_entropy(z, n) + F.cross_entropy(z.t(), n)) / 2).backward()


def _accumulate(towers: Any, pairs: Pairs) -> None:
    from open_clip.loss import ClipLoss

    loss, parts = ClipLoss(), list(pairs())
    with torch.no_grad():
        kept = [towers(*pair) for pair in parts]
    for n, pair in enumerate(parts):
        own = towers(*pair)
        f, g = (torch.cat([one[side] for one in [*kept[:n], own, *kept[n + 1 :]]]) for side in (0, 1))
        loss(f, g, towers.scale()).backward()


Step = Callable[[Any, Pairs], None]


def _gradient(towers: Any, step: Step, pairs: Pairs) -> dict[str, Tensor]:
    towers.zero_grad(set_to_none=True)
    step(towers, pairs)
    found = {name: p.grad.clone() for name, p in towers.named_parameters() if p.grad is not None}
    towers.zero_grad(set_to_none=True)
    return found


def _error(found: dict[str, Tensor], right: dict[str, Tensor], scale: bool) -> float:
    """Relative error of the gradient: of the temperature, or of everything else."""
    names = [name for name in right if (name == "logit_scale") == scale]
    off = sum(float((found[name] - right[name]).square().sum()) for name in names)
    return (off / sum(float(right[name].square().sum()) for name in names)) ** 0.5


def _against_one_pass(towers: Any, batch: int, part: int, repeats: int) -> list[dict[str, Any]]:
    """Time, error and peak; the bar is for parts that are no less efficient than the whole batch."""
    case, kept = f"batch {batch:,} in parts of {part}", list(_made(batch, part))
    steps: dict[str, Step] = {"one pass": _one_pass, "two passes": _two_pass}
    if find_spec("open_clip"):
        steps["open_clip's accumulation"] = _accumulate
    right = _gradient(towers, _one_pass, lambda: kept)
    timings = compare({name: partial(step, towers, lambda: kept) for name, step in steps.items()}, repeats)
    towers.zero_grad(set_to_none=True)
    found = rows(case, timings, "one pass")
    share = round(timings["two passes"].min_ms / timings["one pass"].min_ms, 3)
    told = {"case": f"{case}: time", "variant": "two passes", "value": share, "unit": "of one pass"}
    found.append(told if part < _LARGE_PART else figure(told["case"], "two passes", share, "of one pass", _TIME))
    for name, step in steps.items():
        if name != "one pass":
            gradient = _gradient(towers, step, lambda: kept)
            for what, scale in (("weights", False), ("temperature", True)):
                error = _error(gradient, right, scale)
                found.append({"case": f"{case}: error, {what}", "variant": name, "value": error, "unit": "relative"})
        peak = _peak(towers, step, lambda: kept)
        found.append({"case": f"{case}: peak", "variant": name, "value": show_bytes(peak), "unit": ""})
    return found


def _peak(towers: Any, step: Step, pairs: Pairs) -> int:
    """Most bytes alive, gradients of parameters among them."""
    towers.zero_grad(set_to_none=True)
    found = highest(allocations(lambda: step(towers, pairs)))
    towers.zero_grad(set_to_none=True)
    return found


def _large(towers: Any) -> list[dict[str, Any]]:
    """Peak memory and time of one step of 65,536 pairs, and of the matrix that is never made."""
    width, case = towers.image_projection.out_features, f"batch {_LARGE:,} in parts of {_LARGE_PART}"
    part = _peak(towers, _one_pass, lambda: _made(_LARGE_PART, _LARGE_PART))
    started = time.perf_counter()
    peak = _peak(towers, _two_pass, lambda: _made(_LARGE, _LARGE_PART))
    seconds = time.perf_counter() - started
    allowed = part + 2 * _LARGE * width * 4
    return [
        figure(f"{case}: peak", "two passes", round(peak / allowed, 3), "of a part + 2·B·D·4 bytes", _MEMORY),
        {"case": f"{case}: peak", "variant": "two passes", "value": show_bytes(peak), "unit": ""},
        {"case": f"{case}: a part alone", "variant": "one pass", "value": show_bytes(part), "unit": ""},
        {"case": f"{case}: the matrix", "variant": "never made", "value": show_bytes(4 * _LARGE**2), "unit": ""},
        {"case": f"{case}: time", "variant": "two passes", "value": round(seconds, 1), "unit": "s"},
    ]


def _in_two_processes() -> Iterator[dict[str, Any]]:
    """Peaks of steps against what is predicted without looking at how weights are held, and the weights held."""
    case = f"two processes, {PARTS} parts of {PART}"
    for sharded, variant in ((False, "whole weights"), (True, "FSDP2")):
        found = peaks(sharded)
        most = {what: max(one[what] for one in found) for what in found[0]}
        share = round(most["peak"] / most["predicted"], 3)
        yield figure(f"{case}: peak", variant, share, "of what is predicted", _PREDICTED)
        for what in ("peak", "highest", "weights"):
            yield {"case": f"{case}: {what}", "variant": variant, "value": show_bytes(most[what]), "unit": ""}
