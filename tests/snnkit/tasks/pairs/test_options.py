"""What task pairs holds fixed, bounds and refuses.

Would break it: a frozen tower that moves, by its gradients or by the statistics of its norms; a temperature that goes
on beyond its bound; a budget of memory that towers are not held to.
"""

import copy
import math
import re

import pytest
import torch

import snnkit
from snnkit.engine import RunConfig, train
from snnkit.engine.config import ModelConfig, OptimConfig, TaskConfig
from snnkit.errors import InvalidArgumentError, SnnkitError
from snnkit.memory.size import parse_bytes
from snnkit.models.two_towers import LARGEST_SCALE
from snnkit.recipes.basic import captioned
from snnkit.tasks import build_task

TEXT = {"text_width": 16, "text_depth": 1, "text_heads": 2, "dim": 8}
SIZES = {**TEXT, "width": 4}
RESNET = {"stem_type": "", "stem_width": 8, "channels": (8, 8, 8, 8)}
TOWERS = {"image": "encoder", "text": "text"}


def towers(**sizes):
    torch.manual_seed(0)
    return snnkit.create_model("basic:spiking_cnn_small", img_size=16, timesteps=2, **SIZES, **sizes)


def batch():
    torch.manual_seed(1)
    return torch.rand(6, 1, 16, 16), torch.randint(1, 257, (6, 12))


@pytest.mark.parametrize("freeze", TOWERS)
def test_a_frozen_tower_stays_to_the_bit_and_the_rest_moves(freeze):
    torch.manual_seed(0)
    model = snnkit.create_model("basic:timm:resnet10t", in_chans=1, **RESNET, **TEXT)  # with batch norms
    task = build_task("pairs", model, 0, {"freeze": freeze}).train()
    before = {name: value.clone() for name, value in task.model.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in task.parameters() if p.requires_grad], 0.1)
    for _ in range(2):
        optimizer.zero_grad()
        task.loss(batch()).backward()
        optimizer.step()
    moved = {name for name, value in task.model.state_dict().items() if not torch.equal(value, before[name])}
    assert not {name for name in moved if name.startswith(f"{TOWERS[freeze]}.")}
    other = next(tower for name, tower in TOWERS.items() if name != freeze)
    assert {"image_projection.weight", "text_projection.weight", "logit_scale"} <= moved
    assert any(name.startswith(f"{other}.") for name in moved)


def test_the_temperature_is_held_at_its_bound():
    task = build_task("pairs", towers(), 0, {})
    with torch.no_grad():
        task.model.logit_scale.fill_(50.0)  # e^50: in float32 products of it overflow before long
    task.after_step()
    assert float(task.model.scale().detach()) == pytest.approx(LARGEST_SCALE, rel=1e-6)
    with torch.no_grad():
        task.model.logit_scale.fill_(math.log(3.0))
    task.after_step()
    assert float(task.model.scale().detach()) == pytest.approx(3.0)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"freeze": "images"}, "value of task.options.freeze 'images'.*'image'"),
        ({"loss": "clop"}, "task.options.loss 'clop'.*'clip'"),
        ({"loss": "siglip"}, "needs a bias: set model.sizes.bias=-10"),
        ({"batch_norm": "freeze"}, "'frozen'"),
        ({"chunk": 0}, "task.options.chunk=0"),
    ],
)
def test_options_that_cannot_be(options, words):
    with pytest.raises(SnnkitError, match=f"(?i){words}"):
        build_task("pairs", towers(), 0, options)


def test_one_tower_is_refused():
    model = snnkit.create_model("spiking_cnn_small", width=4, img_size=16, timesteps=1)
    with pytest.raises(InvalidArgumentError, match="has one tower.*basic:NAME"):
        build_task("pairs", model, 10, {})


def configured(budget):
    config = RunConfig("custom", ModelConfig("basic:spiking_cnn_small", 2, dict(SIZES)), captioned("vendored"))
    config.task = TaskConfig("pairs", options={"batch_norm": "frozen"})
    config.data.batch_size, config.data.train_limit, config.data.test_limit = 8, 16, 20
    config.optim, config.epochs, config.threads = OptimConfig(lr=1e-3, accumulate=2), 1, 1
    config.runtime.memory_budget = budget
    return config


def test_a_budget_of_memory_is_told_and_held(tmp_path, capsys):
    train(configured("2GiB"), tmp_path / "run")
    told = " ".join(capsys.readouterr().out.split())
    assert "memory of a step:" in told
    assert "while all are compared" in told
    with pytest.raises(InvalidArgumentError, match=r"memory_budget='100kB': a step of 2 parts of 8 pairs takes"):
        train(configured("100kB"), tmp_path / "other")
    assert not (tmp_path / "other").exists()


def told_memory(config, tmp_path):
    """The bytes that a refusal names."""
    config.runtime.memory_budget = "1kB"
    with pytest.raises(InvalidArgumentError) as error:
        train(config, tmp_path / "run")
    return parse_bytes(re.search(r"pairs takes ([\d.]+ \w+);", str(error.value))[1].replace(" ", ""))


def test_a_budget_of_memory_heeds_what_the_step_is(tmp_path):
    """Twice the bytes in float64, a larger chunk of the matrix, less where a tower is frozen."""
    plain = told_memory(configured(""), tmp_path)
    config = configured("")
    config.runtime.precision = "64-true"
    assert told_memory(config, tmp_path) == pytest.approx(2 * plain, rel=0.1)
    config = configured("")
    config.task.options["freeze"] = "image"
    assert told_memory(config, tmp_path) < 0.9 * plain
    config = configured("")
    config.optim.accumulate = 512
    narrow = told_memory(config, tmp_path)
    config.task.options["chunk"] = 1 << 24
    assert told_memory(config, tmp_path) > narrow + 100 * 2**20


def test_copies_of_a_pair_are_refused(tmp_path):
    config = configured("")
    config.data.repeats = 2
    with pytest.raises(InvalidArgumentError, match="data.repeats=2: copies of a pair"):
        train(config, tmp_path / "run")


class Parts:
    """Batches of one optimizer step."""

    def __init__(self, batches):
        self.batches, self.size = batches, len(batches)

    def __iter__(self):
        return iter(self.batches)

    again = __iter__


class Noisy(torch.nn.Module):
    """An encoder that draws numbers in tests too, as Poisson does."""

    static = False

    def __init__(self, encoder):
        super().__init__()
        self.encoder, self.timesteps = encoder, encoder.timesteps

    def forward(self, x):
        made = self.encoder(x)
        return made + torch.rand_like(made)


def gradients(task, parts, reread=False):
    torch.manual_seed(3)
    for part in task.parts(Parts(parts), task):
        (task(part) / len(parts)).backward()
    return {name: value.grad for name, value in task.model.named_parameters() if value.grad is not None}


@pytest.mark.parametrize("freeze", TOWERS)
def test_a_frozen_tower_runs_once_a_step_and_changes_no_gradient(freeze):
    """Against towers of which the same one is frozen without the task's knowing; the image tower draws numbers."""
    model = towers(text_dropout=0.2)
    model.encoder.encoder = Noisy(model.encoder.encoder)
    images, tokens = batch()
    parts = list(zip(images.split(2), tokens.split(2), strict=True))
    found, runs = [], []
    for options in ({"freeze": freeze}, {}):
        task = build_task("pairs", copy.deepcopy(model), 0, {"batch_norm": "frozen", **options}).train()
        tower = getattr(task.model, TOWERS[freeze])
        tower.eval().requires_grad_(False)
        calls = []
        first = next(module for module in tower.modules() if not list(module.children()) and list(module.parameters()))
        first.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        found.append(gradients(task, parts))
        runs.append(len(calls))
    assert runs == [len(parts), 2 * len(parts)]
    assert found[0].keys() == found[1].keys()
    assert {"image_projection.weight", "text_projection.weight", "logit_scale"} <= found[0].keys()
    for name, gradient in found[0].items():
        assert torch.equal(gradient, found[1][name]), name


def test_a_temperature_of_few_digits_is_told(tmp_path, capsys):
    config = configured("")
    config.runtime.precision = "bf16-true"
    train(config, tmp_path / "run")
    assert "the temperature is a single number in bf16" in " ".join(capsys.readouterr().out.split())
