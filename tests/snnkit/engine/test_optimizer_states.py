"""Every optimizer that can be named goes on from a saved state as if it had never stopped.

Would break it: a state, or a count in a parameter group, that is not written; a setting that JSON does not take.
"""

import pytest
import torch
from lightning_fabric import Fabric
from timm.optim import list_optimizers
from torch import nn

from snnkit.engine.checkpoint import TrainState, load_state, save_state
from snnkit.optim import OPTIMIZERS, build_optimizer

_REFUSED = ("adahessian", "kron")
NAMES = [*OPTIMIZERS, *(n for n in list_optimizers(exclude_filters=["bnb*", "fused*"]) if not n.startswith(_REFUSED))]


def made(name):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    groups = [
        {"params": [p for p in model.parameters() if (p.ndim > 1) == matrix], "weight_decay": 0.01 * matrix}
        for matrix in (True, False)
    ]
    return model, build_optimizer(name, groups, 1e-2, {"min_8bit_size": 8} if name.endswith("8bit") else {})


def steps(model, optimizer, numbers):
    for number in numbers:
        optimizer.zero_grad()
        model(torch.randn(4, 6, generator=torch.Generator().manual_seed(number))).square().sum().backward()
        optimizer.step()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
def test_it_goes_on_bit_for_bit(name, tmp_path):
    whole, optimizer = made(name)
    steps(whole, optimizer, range(6))
    first, optimizer = made(name)
    steps(first, optimizer, range(3))
    fabric = Fabric(accelerator="cpu", devices=1)
    path = save_state(fabric, tmp_path, TrainState(first, optimizer, None, {"step": 3}), keep=1)
    second, optimizer = made(name)
    load_state(fabric, path, TrainState(second, optimizer, None, {"step": 0}))
    steps(second, optimizer, range(3, 6))
    for a, b in zip(whole.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)
