"""Processes and precision by Lightning Fabric: one process, data parallel (DDP), or sharded data parallel (FSDP2).

    snnkit train RECIPE --set runtime.devices=2                          # one machine; starts the second process itself
    torchrun --nproc-per-node 8 --nnodes 4 … -m snnkit train RECIPE \
        --set runtime.devices=8 --set runtime.nodes=4 --set runtime.strategy=fsdp2
"""

from __future__ import annotations

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies import DDPStrategy, ModelParallelStrategy, Strategy
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard

from snnkit.engine.config import RuntimeConfig
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
    except (ValueError, RuntimeError) as error:
        given = f"runtime.strategy={config.strategy!r}, precision={config.precision!r}, devices={config.devices}"
        raise InvalidArgumentError(f"{given}: {str(error).splitlines()[0]}") from None
    return fabric


def shard(module: nn.Module, mesh: DeviceMesh) -> nn.Module:
    """Shard the large blocks of a network one by one, then what is left.

    Raises:
        InvalidArgumentError: a parameter is a single number, which cannot be shared out.
    """
    for name, parameter in module.named_parameters():
        if parameter.ndim == 0:
            raise InvalidArgumentError(
                f"runtime.strategy='fsdp2': {name} is a single number and cannot be sharded. Give it one value per "
                "channel, or use strategy='ddp'."
            )
    mesh = mesh["data_parallel"]
    for part in list(module.modules()):
        if isinstance(part, (nn.ModuleList, nn.Sequential)):
            for block in part:
                if sum(p.numel() for p in block.parameters()) >= _SMALLEST_SHARD:
                    fully_shard(block, mesh=mesh)
    fully_shard(module, mesh=mesh)
    return module
