"""Swin Transformer V2: inference against timm's, and what training one block at 1536 × 1536 pixels takes of memory.

Tiny, windows of 8, one image of 256 × 256, float32, the same weights in all. ``snnkit`` is the model as it is built,
``snnkit deployed`` what ``deploy`` makes of it. Memory is that of a process that runs one step through the last block
of the first stage of tiny (96 channels, a map of 384 × 384 tokens, shifted windows of 24), above what the process held
before; ``kept`` is what lies between forward and backward, ``peak`` the most at any time.
"""

from __future__ import annotations

import multiprocessing
import resource
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from snnkit.bench.harness import compare
from snnkit.bench.row import figure, rows
from snnkit.checkpoints import load_weights
from snnkit.deploy import deploy
from snnkit.layers.recompute import recompute
from snnkit.layers.shifted_windows import Windows
from snnkit.models import create_model
from snnkit.models.swin_v2 import SwinBlock

_NAME = "swinv2_tiny_window8_256"
_BAR = 1.5
_TOKENS, _WINDOW, _SHARE = 384, 24, 8  # 1536 / 4; windows computed at a time
_WAYS = {
    "plain": (False, 0),
    "checkpointed": (True, 0),
    "windows in shares of 8": (False, _SHARE),
    "checkpointed, windows in shares of 8": (True, _SHARE),
}


def run(repeats: int) -> list[dict[str, Any]]:
    """Measure; needs timm."""
    return [*_inference(repeats), *_memory()]


def _inference(repeats: int) -> list[dict[str, Any]]:
    import timm

    torch.manual_seed(0)
    peer = timm.create_model(_NAME).eval()
    for part in peer.modules():
        if isinstance(part, nn.LayerNorm):  # the norms of the branches begin at zero, which would hide the branches
            nn.init.uniform_(part.weight, 0.5, 1.0)
    ours = create_model(_NAME).eval()
    load_weights(ours, peer.state_dict())
    x = torch.randn(1, 3, 256, 256)
    models = {"timm": peer, "snnkit": ours, "snnkit deployed": deploy(ours)}

    def quiet(model: Callable[[Tensor], Tensor]) -> Callable[[], None]:
        def run_once() -> None:
            with torch.inference_mode():
                model(x)

        return run_once

    case = "SwinV2-T inference, 256 × 256, windows of 8"
    timings = compare({name: quiet(model) for name, model in models.items()}, repeats)
    found = rows(case, timings, "timm", {"snnkit deployed": _BAR})
    with torch.inference_mode():
        exact = peer.double()(x.double())
        peer.float()
        for name, model in models.items():
            error = ((model(x) - exact).abs().max() / exact.abs().max()).item()
            found.append(figure(case, f"{name}: error against timm in float64", error, "of the largest logit", 1e-5))
    return found


def _memory() -> list[dict[str, Any]]:
    found, spawn = [], multiprocessing.get_context("spawn")
    case = "SwinV2-T training, one block at 1536 × 1536"
    for name, (again, sequential) in _WAYS.items():
        with ProcessPoolExecutor(1, spawn) as pool:  # a process of its own: peaks cannot be set back
            kept, peak = pool.submit(_block_bytes, again, sequential).result()
        for what, value in (("kept", kept), ("peak", peak)):
            found.append({"case": case, "variant": f"{name}: {what}", "value": round(value / 2**20), "unit": "MiB"})
    return found


def _block_bytes(again: bool, sequential: int) -> tuple[int, int]:
    """(bytes between forward and backward, most bytes at any time) of one step, above those before it."""
    torch.set_num_threads(1)
    windows = Windows((_TOKENS, _TOKENS), (_WINDOW, _WINDOW), (_WINDOW // 2, _WINDOW // 2))
    block = SwinBlock(96, 3, windows, (_WINDOW, _WINDOW), 4.0, 0.0, sequential).train()
    x = torch.randn(1, _TOKENS**2, 96, requires_grad=True)
    before = _resident()
    y = recompute(block, x) if again else block(x)
    kept = _resident() - before
    y.mean().backward()
    return kept, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before


def _resident() -> int:
    """Bytes of this process in memory (Linux)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
