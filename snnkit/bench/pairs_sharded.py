"""Peak memory of a step of pairs in two processes, weights whole in each or sharded (FSDP2), against what is predicted.

The towers are so deep, and parts so small, that weights and gradients take more than activations do.

On CPU, gloo's threads let go of the tensors of a message some time after whoever waited for it went on: how many are
left differs from step to step, and grows with what else the machine does. ``peak`` is the least of several steps, which
is what FSDP2 itself holds; ``highest`` is the most of them.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed, multiprocessing, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor

from snnkit.engine.fabric import shard
from snnkit.memory.allocations import allocations, highest
from snnkit.models import create_model
from snnkit.tasks.classification import channels_last
from snnkit.tasks.pairs.losses import Exchange
from snnkit.tasks.pairs.predicted import predict
from snnkit.tasks.pairs.two_pass import TwoPass

PROCESSES, PARTS, PART, TOKENS, STEPS = 2, 4, 16, 24, 8
_IMAGES = {"patch_size": 7, "img_size": 28, "embed_dim": 192, "depth": 4, "num_heads": 3}
_TEXTS = {"text_width": 192, "text_depth": 4, "text_heads": 3, "dim": 64, "context": TOKENS}


def peaks(sharded: bool) -> list[dict[str, int]]:
    """Return of each process ``peak``, ``highest`` and ``predicted`` bytes of a step, and of ``weights`` it holds."""
    with tempfile.TemporaryDirectory() as folder:
        multiprocessing.spawn(_one, (folder, sharded), nprocs=PROCESSES)
        return [json.loads((Path(folder) / f"{rank}.json").read_text(encoding="utf-8")) for rank in range(PROCESSES)]


def _one(rank: int, folder: str, sharded: bool) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/met", rank=rank, world_size=PROCESSES)
    try:
        found = _measured(rank, sharded)
    finally:
        distributed.destroy_process_group()
    (Path(folder) / f"{rank}.json").write_text(json.dumps(found), encoding="utf-8")


def _measured(rank: int, sharded: bool) -> dict[str, int]:
    torch.manual_seed(0)
    towers: Any = create_model("basic:timm:vit_tiny_patch16_224", in_chans=1, **_IMAGES, **_TEXTS).train()
    predicted = predict(towers, (PART, 1, 28, 28), TOKENS, PARTS, PROCESSES, kept=False).peak
    if sharded:
        shard(towers, init_device_mesh("cpu", (PROCESSES,), mesh_dim_names=("data_parallel",)))
    _step(towers, rank)  # what is set up in the first step is no part of the others
    taken = []
    for _ in range(STEPS):
        towers.zero_grad(set_to_none=True)
        taken.append(highest(allocations(lambda: _step(towers, rank))))
    weights = sum(map(_held, towers.parameters()))
    return {"peak": min(taken), "highest": max(taken), "predicted": predicted, "weights": weights}


def _step(towers: nn.Module, rank: int) -> None:
    step = TwoPass(towers, exchange=Exchange())
    for pair in _pairs(rank):
        step.look(*pair)
    step.compare()
    for pair in _pairs(rank):
        step.pull_back(*pair).backward()


def _pairs(rank: int) -> Iterator[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(rank)
    for _ in range(PARTS):
        images = channels_last(torch.rand(PART, 1, 28, 28, generator=generator))
        yield images, torch.randint(1, 257, (PART, TOKENS), generator=generator)


def _held(parameter: Tensor) -> int:
    own = parameter.to_local() if isinstance(parameter, DTensor) else parameter
    return own.numel() * own.element_size()
