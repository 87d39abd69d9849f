"""Energy as a training aim: the penalty of every task, its metrics, its target, costs of messages, bad settings.

Would break it: a task that forgets the penalty, metrics per batch instead of per sample, a target that is held by each
process for itself, a run that goes on with other numbers, a setting that does nothing without a word.
"""

import copy
import json
import shutil

import pytest
import torch
from safetensors.torch import load_file
from support.processes import launched
from torch import nn

import compiler
import snnkit
from snnkit.data.tokens import Bytes
from snnkit.engine import RunConfig, evaluate, override, resume, train
from snnkit.engine.checkpoint import find_states
from snnkit.errors import InvalidArgumentError, UnknownNameError
from snnkit.recipes import get_recipe
from snnkit.synapses import Meter
from snnkit.tasks import TASKS, EnergyPenalty, build_task
from snnkit.tasks.classification import Classification
from snnkit.tasks.energy_penalty import parse_target, samples_in
from snnkit.tasks.task import Plan

TAUGHT = ("distillation", "feature_distillation", "meal_v2")
VIEWS = {"moco": 1, "swav": 2, "dino": 2}
"""How many of two views the trained network reads; moco's other is read by the one that follows it."""
AUTOENCODERS = {
    "masked": ("spikformer_v2_mae_8_384", {"embed_dim": 16, "depth": 1, "num_heads": 2, "stem_ratio": 1}),
    "mr_mae": ("e_spikeformer_mae_12_512", {"embed_dim": (8, 8, 16), "depth": 1, "num_heads": 1}),
}
POINTS = {
    "points": torch.tensor([[[8.0, 8.0, 2.0], [20.0, 20.0, 2.0], [9.0, 25.0, 2.0]]]).expand(3, -1, -1),
    "back": torch.eye(3)[:2].expand(3, -1, -1),
    "box": torch.tensor([[0.0, 0.0, 32.0, 32.0]]).expand(3, -1),
    "area": torch.full((3,), 900.0),
    "image": torch.arange(3),
    "sigmas": torch.full((3, 3), 0.05),
    "mirror": torch.arange(3).expand(3, -1),
}
BEYOND = {
    "segmentation": ("semantic_fpn", {"num_classes": 3, "fpn_channels": 8, "head_channels": 8, "dropout": 0.0},
                     (torch.zeros(3, 32, 32, dtype=torch.long),)),
    "pose": ("pose", {"num_classes": 3, "head_channels": 8}, (POINTS,)),
    "captioning": ("captioner", {"text_width": 16, "text_depth": 1, "text_heads": 2, "frozen": False, "context": 8},
                   (torch.ones(3, 8, dtype=torch.long), [("a",), ("b",), ("c",)])),
}  # fmt: skip
HEADS = {
    "moco": {"queue": 12, "dim": 8},
    "swav": {"prototypes": 6, "hidden": 8, "dim": 8},
    "dino": {"out_dim": 6, "hidden": 8, "bottleneck": 4},
}


def network(**sizes):
    torch.manual_seed(0)
    return snnkit.create_model(
        "spiking_cnn_small", width=4, img_size=16, num_classes=4, timesteps=2, dropout=0.0, **sizes
    )


def task_of(name, model):
    if name not in TAUGHT:
        return build_task(name, model, 4, HEADS.get(name, {}))
    teacher = snnkit.create_model("spiking_cnn_small", width=2, img_size=16, num_classes=4, timesteps=1)
    return build_task(name, model, 4, {"teachers": teacher})


@pytest.fixture
def batch():
    torch.manual_seed(1)
    return torch.randn(6, 1, 16, 16), torch.tensor([0, 1, 2, 3, 0, 1])


def test_these_are_all_tasks():
    assert {"classification", *TAUGHT, *VIEWS, *AUTOENCODERS, *BEYOND, "pairs", "detection"} == set(TASKS)


@pytest.mark.parametrize("name", BEYOND)
def test_every_task_beyond_classes_has_it(name):
    """As many operations an image as the meter counts, in training and in tests, whatever the batch's targets are."""
    torch.manual_seed(0)
    method, sizes, targets = BEYOND[name]
    sizes = {**sizes, "widths": (8, 8), "depths": (1, 1), "stem_stride": 1, "timesteps": 2}
    model, images = snnkit.create_model(f"{method}:ms_resnet18", **sizes), torch.rand(3, 3, 32, 32)
    task = build_task(name, model, 3, {"flip_test": False} if name == "pose" else {}).train()
    task.begin(Plan(1, 1, 3, tokens=Bytes()))
    task.energy = EnergyPenalty(model, weight=2.0)
    batch = (images, *targets)
    for training in (True, False):
        task.train(training)
        with Meter(model) as meter:
            model(images, targets[0]) if name == "captioning" else model(images)
        share = float(meter.total().detach()) / meter.dense
        assert 0 < share < 1
        loss = task(batch)
        found = task.results()
        assert found["synaptic_operations"] == pytest.approx(float(meter.total().detach()) / 3, rel=1e-6)
        if training:
            loss.backward()
            assert found["energy_penalty"] == pytest.approx(2 * share, rel=1e-6)


def test_a_detector_whose_heads_run_twice_refuses_it():
    model = snnkit.create_model("retinanet:ms_resnet18", widths=(8, 8), depths=(1, 1), fpn_channels=8, num_classes=3)
    task = build_task("detection", model, 3, {})
    task.energy = EnergyPenalty(model, weight=1.0)
    with pytest.raises(InvalidArgumentError, match=r"task\.energy: heads of a detector.*snnkit energy RUN"):
        task.begin(Plan(1, 1, 3))


def test_pairs_whose_steps_run_twice_refuse_it(tmp_path):
    config = get_recipe("pairs_fashion_mnist")
    config.model.name, config.model.sizes = "basic:spiking_cnn_small", {"text_width": 16, "text_depth": 1, "dim": 8}
    config.data.source, config.data.train_limit, config.data.test_limit = "vendored", 512, 20
    config.task.energy.measure = True
    with pytest.raises(InvalidArgumentError, match=r"task\.energy: a step of task pairs runs its images twice"):
        train(config, tmp_path / "run")


@pytest.mark.parametrize("name", VIEWS)
def test_every_task_of_views_has_it(name, batch):
    """S is a mean over the views that the network reads, all of it but its classifier; of who follows it, nothing."""
    model, (images, labels) = network(), batch
    views = [images, images.flip(-1)]
    read = torch.cat(views[: VIEWS[name]])
    task = task_of(name, model)
    task.energy = EnergyPenalty(model, weight=2.0)
    with Meter(model) as meter:
        model.train().forward_head(model.forward_stages(model.forward_currents(read))[-1], pre_logits=True)
    share = float(meter.total().detach()) / meter.dense
    assert 0 < share < 1
    task.train()((views, labels)).backward()
    assert model.stem.conv.weight.grad.abs().sum() > 0
    found = task.results()
    assert found["synaptic_operations"] == pytest.approx(float(meter.total().detach()) / len(read), rel=1e-6)
    assert found["energy_penalty"] == pytest.approx(2 * share, rel=1e-6)
    task.eval()(views)  # without labels
    model.reset_classifier(0)
    counted = compiler.count(model.eval(), [read]).total("synaptic_events")
    assert task.results()["synaptic_operations"] == pytest.approx(counted, rel=1e-6)


def test_views_of_other_sizes_are_images_too():
    """DINO's small views: four images of each, all of them read."""
    torch.manual_seed(0)
    model = snnkit.create_model("sew_resnet18", widths=(4, 4, 8, 8), img_size=32, num_classes=4, timesteps=2)
    task = task_of("dino", model)
    task.energy = EnergyPenalty(model)
    views = [torch.randn(3, 3, side, side) for side in (32, 32, 16, 16)]
    task.eval()(views)
    model.reset_classifier(0)
    large, small = (compiler.count(model.eval(), [torch.cat(v)]) for v in (views[:2], views[2:]))
    wanted = (large.total("synaptic_events") + small.total("synaptic_events")) / 2
    assert large.total("synaptic_events") > small.total("synaptic_events") > 0
    assert task.results()["synaptic_operations"] == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize("name", AUTOENCODERS)
def test_every_task_of_masks_has_it(name):
    torch.manual_seed(0)
    of, sizes = AUTOENCODERS[name]
    decoder = {"decoder_dim": 16, "decoder_depth": 1, "decoder_heads": 2}
    model, images = snnkit.create_model(of, **sizes, **decoder, img_size=64), torch.rand(2, 3, 64, 64)
    teacher = snnkit.create_model("spiking_cnn_small", width=2, img_size=64, in_chans=3, timesteps=1)
    options = {"teacher": teacher, "resample": True} if name == "mr_mae" else {}
    task = TASKS[name](model, **options).train()
    drawn = copy.deepcopy(task.noise)
    with Meter(model) as meter:
        model(images, drawn.for_training(images, model.cells))
    share = float(meter.total().detach()) / meter.dense
    assert 0 < share < 1
    task.energy = EnergyPenalty(model, weight=2.0)
    task(images).backward()
    found = task.results()
    assert found["synaptic_operations"] == pytest.approx(float(meter.total().detach()) / 2, rel=1e-6)
    assert found["energy_penalty"] == pytest.approx(2 * share, rel=1e-6)
    task.eval()(images)
    with Meter(model) as meter:
        model(images, drawn.for_testing(images, model.cells))
    assert task.results()["synaptic_operations"] == pytest.approx(float(meter.total().detach()) / 2, rel=1e-6)


@pytest.mark.parametrize("name", ["classification", *TAUGHT])
def test_every_task_has_it(name, batch):
    """The loss of the task alone plus w·S/E₁, and S as the counter has it in eval mode; of teachers nothing."""
    model = network()
    task = task_of(name, model)
    alone = task.train()(batch)
    task.compute()
    with Meter(model) as meter:
        model(batch[0])
    task.energy = EnergyPenalty(model, weight=2.0)
    loss = task(batch)
    share = float(meter.total().detach()) / meter.dense
    assert 0 < share < 1
    assert float(loss.detach()) == pytest.approx(float(alone.detach()) + 2 * share, rel=1e-6)
    found = task.results()
    assert found["synaptic_operations"] == pytest.approx(float(meter.total().detach()) / 6)
    assert found["energy_penalty"] == pytest.approx(2 * share)
    assert found["loss"] == pytest.approx(float(alone.detach()), rel=1e-6)  # the task's own
    task.eval()(batch)
    counted = compiler.count(model.eval(), [batch[0]]).total("synaptic_events")
    found = task.results()
    assert found["synaptic_operations"] == pytest.approx(counted, rel=1e-6)
    assert "energy_penalty" not in found


def test_its_gradient_lowers_the_synaptic_operations(batch):
    model = network()
    task = build_task("classification", model, 4, {})
    task.energy = EnergyPenalty(model, weight=100.0)
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    seen = []
    for _ in range(15):
        optimizer.zero_grad()
        task.train()(batch).backward()
        optimizer.step()
        seen.append(task.results()["synaptic_operations"])
    assert seen[-1] < 0.6 * seen[0]


@pytest.mark.parametrize(("times", "wanted"), [(0.5, 3.0), (2.0, 0.0)])
def test_a_target_is_paid_for_above_it_alone(times, wanted, batch):
    model = network()
    task = build_task("classification", model, 4, {})
    task.energy = EnergyPenalty(
        model, measure_only(model, batch) * 0 + 3.0, f"{times * measure_only(model, batch)} SOP"
    )
    task.train()(batch).backward()
    assert task.results()["energy_penalty"] == pytest.approx(wanted, abs=1e-4)


def measure_only(model, batch):
    with Meter(model) as meter:
        model.train()(batch[0])
    return float(meter.total().detach()) / len(batch[0])


def test_messages_have_costs_of_their_own(batch):
    """Two layers with invented costs: E = S + Σ c·messages, and E₁ likewise."""
    model, costs = network(), {"stem_lif": 40.0, "mix_lif": 0.5}
    with snnkit.record(model) as tape, Meter(model) as meter:
        model.train()(batch[0])
    task = build_task("classification", model, 4, {})
    task.energy = EnergyPenalty(model, 1.0, per_layer=costs)
    task.train()(batch).backward()
    sent = sum(cost * tape.message_counts[name] for name, cost in costs.items())
    most = sum(cost * tape[name].spikes.numel() for name, cost in costs.items())
    assert sent > 0
    found, works = task.results(), float(meter.total().detach())
    assert found["synaptic_operations"] == pytest.approx(works / 6)
    assert found["energy"] == pytest.approx((works + sent) / 6)
    assert found["energy_penalty"] == pytest.approx((works + sent) / (meter.dense + most), rel=1e-5)


def small(**energy):
    config = get_recipe("demo")
    config.epochs, config.data.train_limit, config.data.test_limit, config.data.batch_size = 2, 96, 40, 16
    config.model.sizes, config.model.timesteps, config.threads = {"width": 4}, 2, 1
    for key, value in energy.items():
        override(config, f"task.energy.{key}", value)
    return config


def epochs(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("energy") / "run"
    config = small(weight="0.5", **{"per_layer.stem_lif": "2"})
    config.checkpoint.every_steps, config.checkpoint.keep = 2, 20
    return train(config, folder).folder


def test_a_run_says_what_it_spends(run):
    last = epochs(run)[-1]
    assert {"synaptic_operations", "energy", "energy_penalty"} <= set(last["train"])
    assert {"synaptic_operations", "energy"} <= set(last["test"])
    assert json.loads((run / "summary.json").read_text())["final"]["synaptic_operations"] > 0
    energy = RunConfig.load(run / "config.json").task.energy
    assert (energy.weight, energy.per_layer) == (0.5, {"stem_lif": 2})
    model = snnkit.checkpoints.build_model(run / "checkpoints" / "last.safetensors")[0].eval()
    data = snnkit.data.load_images(RunConfig.load(run / "config.json").data, 0)
    counted = compiler.count(model, data.test).total("synaptic_events")
    assert last["test"]["synaptic_operations"] == pytest.approx(counted, rel=1e-6)


def test_a_run_that_stopped_goes_on_with_the_same_numbers(run, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    for path in find_states(copy / "checkpoints")[:-2]:  # all but the first two: within the first epoch
        shutil.rmtree(path)
    resume(copy)
    drop = ("seconds", "images_per_second")
    one, other = ([{k: v for k, v in e.items() if k not in drop} for e in epochs(f)] for f in (run, copy))
    assert one == other
    for key, value in load_file(run / "checkpoints" / "last.safetensors").items():
        assert torch.equal(load_file(copy / "checkpoints" / "last.safetensors")[key], value), key


def test_measuring_changes_nothing(tmp_path):
    plain, measured = (
        train(small(), tmp_path / "plain").folder,
        train(small(measure="true"), tmp_path / "measured").folder,
    )
    for one, other in zip(epochs(plain), epochs(measured), strict=True):
        assert "synaptic_operations" not in one["train"]
        assert other["train"].pop("synaptic_operations") > 0
        assert other["test"].pop("synaptic_operations") > 0
        assert (one["train"], one["test"]) == (other["train"], other["test"])


@pytest.mark.parametrize(("mine", "others", "paid"), [(120.0, 60.0, 0.0), (120.0, 100.0, 0.1), (60.0, 160.0, 0.1)])
def test_a_target_is_held_by_all_processes_together(mine, others, paid, monkeypatch):
    """The penalty of the mean of both, with the gradient of the own share: DDP averages the gradients of the two."""
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda value: value.add_(others))
    energy = torch.tensor(mine, requires_grad=True)
    penalty = EnergyPenalty(network(), 1.0, "100 SOP").penalty(energy, 1000.0)
    penalty.backward()
    assert float(penalty.detach()) == pytest.approx(paid)
    assert float(energy.grad) == pytest.approx(0.01 if paid else 0.0)


@pytest.mark.slow
def test_a_target_means_the_same_in_two_processes(tmp_path):
    """A target amid what the batches do: one process would pay for its half where both together do not."""
    found = {}
    for processes in (1, 2):
        folder = tmp_path / str(processes)
        settings = [f"runtime.devices={processes}", f"data.batch_size={32 // processes}"]
        aim = ["task.energy.weight=30", "task.energy.target=12.8 kSOP", "epochs=1", "data.train_limit=96"]
        launched("train_plain_net.py", folder, *settings, *aim, processes=processes)
        found[processes] = load_file(folder / "checkpoints" / "last.safetensors"), epochs(folder)[-1]
    for key, value in found[1][0].items():
        torch.testing.assert_close(found[2][0][key], value, rtol=1e-6, atol=1e-8)
    one, two = found[1][1], found[2][1]
    assert one["train"]["energy_penalty"] > 0
    for split in ("train", "test"):
        for name in {"synaptic_operations", "energy_penalty"} & set(one[split]):
            assert two[split][name] == pytest.approx(one[split][name], rel=1e-6), (split, name)


@pytest.mark.parametrize(
    ("text", "number"),
    [("", 0.0), ("200 kSOP", 2e5), ("1.5MSOP", 1.5e6), (" 3e2 SOP ", 300.0), ("0.002 GSOP", 2e6)],
)
def test_targets(text, number):
    assert parse_target(text) == pytest.approx(number)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"weight": "-1"}, r"task.energy.weight=-1.0: must be a number ≥ 0"),
        ({"weight": "nan"}, "task.energy.weight=nan"),
        ({"weight": "1", "target": "200000"}, "has no unit; give .* such as '200000 SOP'"),
        ({"weight": "1", "target": "200 kJ"}, "kJ is no unit here"),
        ({"weight": "1", "target": "0 SOP"}, "must be a number above 0"),
        ({"weight": "1", "target": "-3 kSOP"}, "must be a number above 0"),
        ({"weight": "1", "target": "half"}, "must be a number above 0 with its unit"),
        ({"target": "2 kSOP"}, "with weight=0 penalises nothing"),
        ({"weight": "1", "per_layer.stem_lif": "-2"}, "per_layer.stem_lif=-2: must be a number ≥ 0"),
        ({"weight": "1", "per_layer.stem_lif": "much"}, "per_layer.stem_lif='much'"),
        ({"weight": "1", "per_layer.stem_lfi": "2"}, "unknown neuron layer 'stem_lfi'. Did you mean 'stem_lif'"),
        ({"weight": "1", "input_type": "bynary"}, "unknown signal type 'bynary'. Did you mean 'binary'"),
        ({"wieght": "1"}, "Did you mean 'task.energy.weight'"),
        ({"per_layer": "3"}, "give one at a time, as task.energy.per_layer.NAME=VALUE"),
    ],
)
def test_bad_settings_are_refused_before_anything_is_written(settings, message, tmp_path):
    with pytest.raises((InvalidArgumentError, UnknownNameError), match=message):
        train(small(**settings), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_compiled_task_is_refused(tmp_path):
    config = small(weight="1")
    config.runtime.compile = True
    with pytest.raises(InvalidArgumentError, match=r"task.energy with runtime.compile=true"):
        train(config, tmp_path / "run")


def test_a_network_without_spikes_is_refused(tmp_path):
    config = small(weight="1")
    config.model.name, config.model.timesteps = "timm:resnet10t", 0
    config.model.sizes = {"stem_type": "", "stem_width": 8, "channels": (8, 8, 8, 8)}
    with pytest.raises(InvalidArgumentError, match="ResNet has no neuron that sends spikes"):
        train(config, tmp_path / "run")


class Elsewhere(Classification):
    """Runs its network by none of the methods that are listened to."""

    def loss(self, batch):
        return self.model.stem_lif(self.model.stem(batch[0][None])).mean()


def test_a_network_that_is_run_by_its_parts_is_told(batch):
    model = network()
    task = Elsewhere(model, 4)
    task.energy = EnergyPenalty(model, 1.0)
    with pytest.raises(
        InvalidArgumentError, match="Elsewhere runs SpikingCNN by none of its methods forward"
    ) as caught:
        task.train()(batch)
    assert "\n" not in str(caught.value)


class Unread(nn.Module):
    """Its spikes are the output: no weight reads them."""

    def __init__(self):
        super().__init__()
        self.head, self.lif = nn.Linear(256, 4), snnkit.neurons.LIF()

    def forward(self, images):
        return self.lif(self.head(images.flatten(1)).unsqueeze(0))[0]


def test_spikes_that_no_weight_reads_are_told(batch):
    model = Unread()
    task = build_task("classification", model, 4, {})
    task.energy = EnergyPenalty(model, 1.0)
    with pytest.raises(InvalidArgumentError, match="no spike of Unread meets a weight"):
        task.train()(batch)


def test_spikes_without_a_gradient_are_told(batch):
    """Nothing before the neurons is trained."""
    model = network()
    model.requires_grad_(False)
    model.head.requires_grad_(True)
    task = build_task("classification", model, 4, {})
    task.energy = EnergyPenalty(model, 1.0)
    with pytest.raises(InvalidArgumentError, match="the spikes have no gradient here"):
        task.train()(batch)


def test_eval_of_a_network_that_was_trained_with_it(run):
    """Loading and testing ask for no penalty."""
    config = RunConfig.load(run / "config.json")
    model = snnkit.checkpoints.build_model(run / "checkpoints" / "last.safetensors")[0]
    found = evaluate(model, snnkit.data.load_images(config.data, 0))
    assert found["accuracy"] == pytest.approx(epochs(run)[-1]["test"]["accuracy"])


def test_samples_are_labels_where_there_are_any():
    images, clips = torch.zeros(6, 1, 4, 4), torch.zeros(3, 5, 1, 4, 4)
    assert samples_in((images, torch.zeros(2))) == 2  # three views of each
    assert samples_in((images, torch.zeros(6, 10))) == 6
    assert samples_in(images) == samples_in((images,)) == 6
    assert samples_in(clips) == 5
