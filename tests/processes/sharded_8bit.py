"""Two processes with shards of a small network, and the same computed without them; run through torchrun.

The last layer has one row, so that one of the shards is empty.
"""

import copy

import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from snnkit.engine.fabric import leave_group
from snnkit.optim import OPTIMIZERS


def train(name, options, steps=4):
    """Yield after training: sharded parameters, local copies trained on local gradients, whole ones on whole ones."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(60, 161), nn.GELU(), nn.Linear(161, 1))
    single = copy.deepcopy(model)
    fully_shard(model, mesh=init_device_mesh("cpu", (2,)))
    sharded = list(model.parameters())
    local = [nn.Parameter(p.to_local().detach().clone()) for p in sharded]
    whole = list(single.parameters())
    optimizers = [OPTIMIZERS[name](list(p), lr=0.01, **options) for p in (sharded, local, whole)]
    generator = torch.Generator().manual_seed(torch.distributed.get_rank())
    for _ in range(steps):
        model(torch.randn(16, 60, generator=generator)).square().mean().backward()
        for p, part, all_ in zip(sharded, local, whole, strict=True):
            part.grad, all_.grad = p.grad.to_local().clone(), p.grad.full_tensor()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
    return optimizers[0], optimizers[1], sharded, local, whole


def main():
    """Assert; an error in any process fails the run."""
    torch.distributed.init_process_group("gloo")
    torch.set_num_threads(1)
    optimizer, other, sharded, local, _ = train("adamw8bit", {"min_8bit_size": 0})
    for p, part in zip(sharded, local, strict=True):
        assert torch.equal(p.to_local(), part)
        for key in ("exp_avg", "exp_avg_sq"):
            codes = optimizer.state[p][key]
            assert codes.shape == p.shape
            assert codes.dtype == torch.uint8
            assert torch.equal(codes.to_local(), other.state[part][key])
    assert len(optimizer.state[sharded[0]]["exp_avg"].to_local().unique()) > 50
    for name, options in {
        "lamb8bit": {"weight_decay": 0.1},
        "lars8bit": {"weight_decay": 0.1},
        "sgd8bit": {"percentile_clipping": 30},
    }.items():
        _, _, sharded, local, whole = train(name, {"optim_bits": 32, **options})
        for p, all_ in zip(sharded, whole, strict=True):
            torch.testing.assert_close(p.full_tensor(), all_.detach(), rtol=1e-6, atol=1e-7)
        assert any(not torch.equal(p.to_local(), part) for p, part in zip(sharded, local, strict=True)), name
    _, _, sharded, local, whole = train("adafactorw", {"weight_decay": 0.1, "clipping_threshold": 1.0})
    for p, all_ in zip(sharded, whole, strict=True):
        torch.testing.assert_close(p.full_tensor(), all_.detach(), rtol=1e-5, atol=1e-6)
    assert any(not torch.equal(p.to_local(), part) for p, part in zip(sharded, local, strict=True))
    leave_group()


if __name__ == "__main__":
    main()
