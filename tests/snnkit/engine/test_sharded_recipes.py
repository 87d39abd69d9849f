"""Every shipped recipe that trains on the vendored images starts with FSDP2, and computes as with copies (DDP).

Copies compute what one process does (``test_processes``), but for batch norms, whose statistics are a process's own.
Losses, accuracies and parameters are compared, each recipe by bars of its own: the two ways add gradients up in another
order, and a bar is ten times what that rounding came to. For meta_spikeformer only the losses of the first epoch are
held equal: then a rounding of a weight flips spikes, of which deep layers have few, so that later losses and
parameters show that both ways train alike, not that they compute the same numbers.

Would break it: parameters in another memory order, blocks inside of blocks, single numbers, running statistics that
differ from process to process.
"""

import json

import pytest
import torch
from safetensors.torch import load_file
from support.processes import launched
from torch import nn

from snnkit.recipes import RECIPES, get_recipe
from snnkit.tasks import TASKS

# Tasks that learn from views keep a network beside the trained one, and refuse shards; pairs of images and texts are
# compared with one process in tests/snnkit/tasks/pairs.
NAMES = sorted(
    name
    for name in RECIPES
    if name.endswith("fashion_mnist")
    and not TASKS[get_recipe(name).task.name].takes_views
    and get_recipe(name).task.name != "pairs"
)
BARS = {
    "resnet_fashion_mnist": (0.0, 0.0),
    "swinv2_fashion_mnist": (1e-6, 1e-6),
    "fashion_mnist": (1e-4, 5e-4),
    "meta_spikeformer_fashion_mnist": (5e-3, 5e-4),
    "mae_fashion_mnist": (1e-6, 1e-6),
    "vit_fashion_mnist": (1e-6, 1e-6),
    "convmae_fashion_mnist": (1e-6, 1e-6),
    "simmim_fashion_mnist": (1e-6, 1e-6),
    "spikformer_v2_mae_fashion_mnist": (5e-3, 5e-4),
    "spikformer_v2_fashion_mnist": (5e-3, 5e-4),
}
"""Largest relative difference of a loss; largest difference of a parameter, as much as a few steps at a rate of 1e-4
move one whose gradient is nothing but rounding or changes with a spike."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recipes")
    launched("train_recipes.py", folder, *NAMES, timeout=600)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_shards_train_as_copies_do(folder, name):
    losses, results, weights = [], [], []
    for strategy in ("ddp", "fsdp2"):
        run = folder / f"{name}-{strategy}"
        losses.append([json.loads(line)["loss"] for line in (run / "steps.jsonl").read_text().splitlines()])
        results.append([json.loads(line)["test"] for line in (run / "metrics.jsonl").read_text().splitlines()])
        weights.append(load_file(run / "checkpoints" / "last.safetensors"))
    assert len(losses[0]) == 4
    of_loss, of_parameter = BARS[name]
    assert losses[1][:2] == pytest.approx(losses[0][:2], rel=min(of_loss, 1e-6), abs=0)
    assert losses[1] == pytest.approx(losses[0], rel=of_loss, abs=0)
    if TASKS[get_recipe(name).task.name].labels:
        right = [[round(line["accuracy"] * 20) for line in result] for result in results]
        assert right[1] == pytest.approx(right[0], abs=1 if of_loss > 1e-5 else 0)
    else:
        tested = [[line["loss"] for line in result] for result in results]
        assert tested[1] == pytest.approx(tested[0], rel=of_loss)
    for key, value in weights[0].items():
        if "running_" not in key or of_loss < 5e-3:  # statistics of a few spikes follow every flip
            torch.testing.assert_close(weights[1][key], value, rtol=0, atol=of_parameter, msg=key)


class WithSingles(nn.Module):
    """A block within a block, channels last, and a parameter that is a single number."""

    def __init__(self):
        super().__init__()
        inner = nn.ModuleList([nn.Sequential(nn.Conv2d(128, 128, 3), nn.ReLU())])
        self.blocks = nn.ModuleList([nn.ModuleDict({"inner": inner})])
        self.scale = nn.Parameter(torch.tensor(2.0))
        self.to(memory_format=torch.channels_last)

    def forward(self, x):
        return self.scale * self.blocks[0]["inner"][0](x)


def test_single_numbers_stay_whole_and_blocks_within_blocks_are_sharded(tmp_path):
    from torch import distributed
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import DTensor

    from snnkit.engine.fabric import shard

    distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    try:
        torch.manual_seed(0)
        module, plain = WithSingles(), WithSingles()
        plain.load_state_dict(module.state_dict())
        shard(module, init_device_mesh("cpu", (1,), mesh_dim_names=("data_parallel",)))
        x = torch.randn(2, 128, 6, 6)
        for net in (module, plain):
            net(x).square().mean().backward()
        assert not isinstance(module.scale, DTensor)
        assert isinstance(module.blocks[0]["inner"][0][0].weight, DTensor)
        torch.testing.assert_close(module.scale.grad, plain.scale.grad)
        theirs = plain.blocks[0]["inner"][0][0].weight.grad
        torch.testing.assert_close(module.blocks[0]["inner"][0][0].weight.grad.full_tensor(), theirs)
    finally:
        distributed.destroy_process_group()
