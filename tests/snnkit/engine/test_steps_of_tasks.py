"""What the engine offers tasks that freeze, average and schedule: rates, weight decay, clipping, groups, a plan."""

import json
from dataclasses import replace

import pytest
import torch
from torch import nn

from snnkit.data import fashion_mnist, load_images
from snnkit.engine import evaluate, train_task
from snnkit.engine.config import OptimConfig, RunConfig, ScheduleConfig
from snnkit.engine.fabric import clip_each, make_fabric
from snnkit.engine.feeding import fed_as
from snnkit.engine.schedule import Schedule
from snnkit.errors import InvalidArgumentError
from snnkit.optim import build_optimizer, parameter_groups
from snnkit.optim.build import apart
from snnkit.recipes import get_recipe
from snnkit.tasks import Classification
from snnkit.tasks.task import Plan


def test_rates_and_weight_decay_by_the_published_cosine():
    """Four epochs of two steps, one epoch of warm-up; by hand."""
    layer = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(
        [{"params": [layer.weight], "weight_decay": 0.1}, {"params": [layer.bias], "weight_decay": 0.0}], lr=1.0
    )
    given = ScheduleConfig("warmup_cosine", warmup_epochs=1, warmup_lr=0.5, min_lr=0.2, weight_decay_end=0.3)
    schedule = Schedule(optimizer, RunConfig(schedule=given, epochs=4), 2)
    rates, decays = [], []
    for step in range(8):
        schedule.set(step)
        assert optimizer.param_groups[1]["weight_decay"] == 0
        rates.append(optimizer.param_groups[0]["lr"])
        decays.append(optimizer.param_groups[0]["weight_decay"])
    assert rates[:3] == [0.5, 1.0, 1.0]
    assert rates[5] == pytest.approx(0.6)  # half way
    assert decays[0] == pytest.approx(0.1)
    assert decays[4] == pytest.approx(0.2)
    schedule.set(3)  # of the step alone
    assert optimizer.param_groups[0]["lr"] == rates[3]


def test_gradients_are_clipped_each_for_itself():
    fabric = make_fabric(RunConfig().runtime)
    layer = nn.Linear(2, 1)
    layer.weight.grad, layer.bias.grad = torch.tensor([[3.0, 4.0]]), torch.tensor([0.5])
    clip_each(fabric, torch.optim.SGD(layer.parameters(), 0.1), layer.parameters(), 1.0)
    torch.testing.assert_close(layer.weight.grad, torch.tensor([[0.6, 0.8]]), rtol=1e-5, atol=1e-6)
    assert layer.bias.grad == 0.5


def test_everything_decays_where_asked():
    layers = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    frozen = nn.Linear(2, 2).requires_grad_(False)
    groups = parameter_groups(layers, 0.1, others=(nn.Linear(2, 1), frozen), decay_all=True)
    assert [(len(group["params"]), group["weight_decay"]) for group in groups] == [(6, 0.1)]
    with pytest.raises(InvalidArgumentError, match="decay_all"):
        parameter_groups(layers, 0.1, 0.5, decay_all=True)


def test_parameters_that_come_late_are_apart():
    """torch's one-pass SGD stops where a group has parameters with and without momentum."""
    first, late = (nn.Parameter(torch.ones(2)) for _ in range(2))
    groups = apart([{"params": [first, late], "weight_decay": 0.1}], [late])
    assert [group["params"] for group in groups] == [[first], [late]]
    optimizer = build_optimizer("sgd", groups, 0.1, {"momentum": 0.9})
    for step in range(3):
        first.grad, late.grad = torch.ones(2), torch.ones(2) if step else None
        optimizer.step()
        assert bool((late == 1).all()) == (step == 0)


class Counting(Classification):
    """Writes down what the engine tells it, and has a twin kept in its place."""

    def __init__(self, model, twin):
        super().__init__(model, 10)
        self.told, self._twin = [], (twin,)

    @property
    def kept(self):
        return self._twin[0]

    def begin(self, plan):
        self.told.append(plan)

    def before_step(self):
        self.told.append("before" if next(self.model.parameters()).grad is not None else "without gradient")

    def after_step(self):
        self.told.append("after" if next(self.model.parameters()).grad is None else "with gradient")


def test_a_task_is_told_its_plan_and_every_step_once(tmp_path):
    torch.manual_seed(0)
    model, twin = (nn.Sequential(nn.Flatten(), nn.Linear(784, 10)) for _ in range(2))
    config = get_recipe("demo")
    config.data = replace(config.data, train_limit=16, test_limit=8, batch_size=4, mixup=0.0)
    config.epochs, config.optim = 1, OptimConfig(accumulate=2)
    task = Counting(model, twin)
    run = train_task(task, config, load_images(config.data, 0), tmp_path / "run")
    plan = Plan(1, 2, 4, accumulate=2, classes=fashion_mnist.CLASSES)
    assert task.told == [plan, "before", "after", "before", "after"]
    from safetensors.torch import load_file

    assert torch.equal(load_file(run.checkpoint)["1.weight"], twin[1].weight)


def test_whoever_tests_a_run_of_views_sees_an_image_once(tmp_path):
    config = get_recipe("dino_fashion_mnist")
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "config.json").write_text(json.dumps(config.to_dict()))
    data = fed_as(tmp_path / "checkpoints" / "last.safetensors", None)
    assert (data.views, data.local_crops, data.img_size) == ("", 0, 32)
    data.check()


def test_an_encoder_without_classes_has_no_accuracy():
    model = nn.Linear(2, 2)
    model.num_classes = 0
    with pytest.raises(InvalidArgumentError, match="snnkit probe"):
        evaluate(model, load_images(get_recipe("demo").data, 0))
