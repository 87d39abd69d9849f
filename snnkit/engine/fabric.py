"""Processes and precision by Lightning Fabric: one process, data parallel (DDP), or sharded data parallel (FSDP2).

    snnkit train RECIPE --set runtime.devices=2                          # one machine; starts the second process itself
    torchrun --nproc-per-node 8 --nnodes 4 … -m snnkit train RECIPE \
        --set runtime.devices=8 --set runtime.nodes=4 --set runtime.strategy=fsdp2
"""

from __future__ import annotations

import atexit
import os
import time
from collections.abc import Iterable
from functools import partial

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies import DDPStrategy, ModelParallelStrategy, Strategy
from torch import Tensor, distributed, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor

from snnkit.engine.config import RuntimeConfig
from snnkit.engine.progress import console
from snnkit.errors import InvalidArgumentError, unknown_name

STRATEGIES = ("auto", "ddp", "fsdp2")
TRUE_DTYPES = {"64-true": torch.float64, "bf16-true": torch.bfloat16, "16-true": torch.float16}
PRECISIONS = ("32-true", "64-true", "bf16-mixed", "16-mixed", "bf16-true", "16-true")

# Blocks below this many parameters are left to the whole: a message of its own would cost more than it saves.
_SMALLEST_SHARD = 100_000


def make_fabric(config: RuntimeConfig) -> Fabric:
    """Return Fabric as configured, launched.

    Raises:
        UnknownNameError: no such strategy or precision (names the nearest).
        InvalidArgumentError: Fabric cannot have it on this machine (says why).
    """
    for key, known in (("strategy", STRATEGIES), ("precision", PRECISIONS)):
        if getattr(config, key) not in known:
            raise unknown_name(f"runtime.{key}", getattr(config, key), known)
    _cap_devices(config)
    world = config.devices * config.nodes
    strategy: str | Strategy = "auto"
    if config.strategy == "fsdp2":
        strategy = ModelParallelStrategy(shard, data_parallel_size=world, tensor_parallel_size=1)
    elif config.strategy == "ddp" or world > 1:
        strategy = DDPStrategy()
    try:
        fabric = Fabric(
            accelerator=config.accelerator,
            devices=config.devices,
            num_nodes=config.nodes,
            strategy=strategy,
            precision=config.precision,  # type: ignore[arg-type]
        )
        fabric.launch()
        atexit.register(leave_group)
    except (ValueError, RuntimeError) as error:
        given = f"runtime.strategy={config.strategy!r}, precision={config.precision!r}, devices={config.devices}"
        raise InvalidArgumentError(f"{given}: {str(error).splitlines()[0]}") from None
    return fabric


def leave_group() -> None:
    """Leave a gloo group in order.

    The threads of gloo let go of the tensors of their last message after whoever waited for it goes on, and need the
    interpreter for that. One that asks for it while the interpreter ends aborts the process ("terminate called without
    an active exception"), and nothing tells when they are through: they are given a quarter of a second.
    """
    if distributed.is_available() and distributed.is_initialized() and distributed.get_backend() == "gloo":
        distributed.destroy_process_group()
        time.sleep(0.25)


def _cap_devices(config: RuntimeConfig) -> None:
    """Set ``config.devices`` to what one machine has, and say so; where a launcher started the processes, it knows."""
    if config.nodes > 1 or {"TORCHELASTIC_RUN_ID", "SLURM_PROCID"} & set(os.environ):
        return
    accelerator = config.accelerator
    if accelerator == "auto":
        accelerator = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    there = {"cuda": torch.cuda.device_count(), "gpu": torch.cuda.device_count(), "mps": 1}.get(accelerator, cores())
    if 0 < there < config.devices:
        what = "CPU cores" if accelerator == "cpu" else f"{accelerator} devices"
        console.print(
            f"runtime.devices={config.devices}: this machine has {there} {what}; {there} processes train, and a step "
            f"has {there} batches. Add machines, or optim.accumulate, for a step of {config.devices}."
        )
        config.devices = there


def cores() -> int:
    """Return the CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def shard(module: nn.Module, mesh: DeviceMesh) -> nn.Module:
    """Shard the large blocks of a network one by one, from the inside out, then what is left.

    A parameter that is a single number cannot be shared out: every process keeps it whole, and its gradients are
    averaged as those of the others are.
    """
    mesh = mesh["data_parallel"]
    single = {parameter for parameter in module.parameters() if parameter.ndim == 0}
    for parameter in module.parameters():
        parameter.data = parameter.data.contiguous()  # others are not sharded; what is to be channels last is so again
    for part in reversed(list(module.modules())):
        if isinstance(part, (nn.ModuleList, nn.Sequential)):
            for block in part:
                left = sum(p.numel() for p in block.parameters() if not isinstance(p, DTensor))
                if left >= _SMALLEST_SHARD and not isinstance(block, FSDPModule):
                    fully_shard(block, mesh=mesh, ignored_params=single)
    fully_shard(module, mesh=mesh, ignored_params=single)
    for parameter in single:
        parameter.register_post_accumulate_grad_hook(partial(_average, mesh))
    return module


def _average(mesh: DeviceMesh, parameter: Tensor) -> None:
    """Average the gradient over the processes; what was averaged before, and is the same in all, stays as it is."""
    assert parameter.grad is not None
    distributed.all_reduce(parameter.grad, group=mesh.get_group())
    parameter.grad /= mesh.size()


def clip_each(fabric: Fabric, optimizer: object, parameters: Iterable[Tensor], bound: float) -> None:
    """Scale the gradient of every parameter to at most the norm ``bound``, each for itself."""
    fabric.strategy.precision.unscale_gradients(optimizer)  # type: ignore[arg-type]
    for parameter in parameters:
        if parameter.grad is not None:
            norm = parameter.grad.norm()
            parameter.grad.mul_((bound / (norm + 1e-6)).clamp(max=1.0))


def same_buffers(buffers: Iterable[Tensor]) -> None:
    """Give every process the buffers (running statistics) of the first: DDP does before a batch, sharding never."""
    for buffer in buffers:
        if not isinstance(buffer, DTensor):
            distributed.broadcast(buffer, 0)
