"""Settings of the optimizer and the runtime: each does what its name says, and those of the runtime change no numbers.

Would break it: a setting that is read and not used; rates that decay towards the head instead of away from it; a
compiled or checkpointed network that computes something else; half precision that reaches the weights.
"""

import json
import math

import pytest
import torch
from safetensors.torch import load_file

from snnkit.engine import DivergedError, RunConfig, override, train
from snnkit.engine.config import apply_toml
from snnkit.engine.ema import Ema
from snnkit.engine.schedule import Schedule
from snnkit.errors import CorruptFileError, InvalidArgumentError
from snnkit.models import create_model
from snnkit.optim import parameter_groups
from snnkit.recipes import get_recipe
from snnkit.tasks import Classification


def small():
    config = get_recipe("demo")
    config.epochs, config.data.train_limit, config.data.test_limit, config.data.batch_size = 1, 64, 40, 16
    config.model.sizes, config.threads = {"width": 4}, 1
    return config


def losses(run):
    return [json.loads(line)["loss"] for line in (run.folder / "steps.jsonl").read_text().splitlines()]


def weights(run):
    return load_file(run.folder / "checkpoints" / "last.safetensors")


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return train(small(), tmp_path_factory.mktemp("plain") / "run")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("seed", -1),
        ("task.label_smoothing", 2.0),
        ("task.label_smoothing", -0.1),
        ("schedule.decay_epochs", 0.0),
        ("schedule.decay_rate", -1.0),
        ("schedule.min_lr", -1.0),
        ("schedule.warmup_lr", -1.0),
        ("data.mixup", math.inf),
        ("optim.clip", math.inf),
        ("optim.lr", math.nan),
    ],
)
def test_settings_outside_their_range_are_named(key, value):
    config = small()
    override(config, key, value)
    with pytest.raises(InvalidArgumentError, match=f"{key}="):
        config.check()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"epochs": "many"}, "epochs='many': must be a whole number"),
        ({"optim": {"lr": None}}, "optim.lr=None: must be a number"),
        ({"optim": {"options": 3}}, "optim.options=3"),
        ({"optim": "adamw"}, "optim='adamw': must be a table"),
        ([], "must be a table"),
    ],
)
def test_a_configuration_that_was_edited_wrongly_is_one_line(given, words):
    with pytest.raises(InvalidArgumentError, match=words):
        RunConfig.from_dict(given)


@pytest.mark.parametrize("key", ["warmup_epochs", "warmup_lr", "min_lr"])
def test_onecycle_refuses_what_it_would_not_do(key, tmp_path):
    config = small()
    setattr(config.schedule, key, 1.0)
    with pytest.raises(InvalidArgumentError, match=f"schedule.{key}=1.0: onecycle"):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("options", "cycled"), [({}, True), ({"betas": (0.8, 0.99)}, False)])
def test_onecycle_leaves_a_momentum_alone_that_was_asked_for(options, cycled):
    config = small()
    config.optim.options = options
    made = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=1.0, **options)
    schedule = Schedule(made, config, steps_per_epoch=10)
    seen = set()
    for step in range(10):
        schedule.set(step)
        seen.add(made.param_groups[0]["betas"][0])
    assert (len(seen) > 1) == cycled
    assert cycled or seen == {0.8}


def test_more_batches_to_a_step_than_an_epoch_has(tmp_path):
    config = small()
    config.optim.accumulate = 5  # of 4 batches
    with pytest.raises(InvalidArgumentError, match="optim.accumulate=5: an epoch has only 4 batches"):
        train(config, tmp_path / "run")


def test_a_folder_is_no_configuration(tmp_path):
    with pytest.raises(CorruptFileError, match="cannot be read"):
        apply_toml(small(), tmp_path)


def test_a_test_loss_that_is_no_number_stops_the_run(tmp_path, monkeypatch):
    original = Classification.compute
    monkeypatch.setattr(Classification, "compute", lambda self: original(self) | {"loss": math.nan})
    with pytest.raises(DivergedError, match="the loss on the test split is nan after step 4"):
        train(small(), tmp_path / "run")


def test_tensorboard_gets_what_the_metrics_file_gets(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    config = small()
    config.epochs, config.tensorboard = 2, True
    run = train(config, tmp_path / "run")
    events = accumulator.EventAccumulator(str(run.folder / "tensorboard"))
    events.Reload()
    lines = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
    for split, name in (("train", "loss"), ("train", "accuracy"), ("test", "loss"), ("test", "firing_rate")):
        found = [(event.step, event.value) for event in events.Scalars(f"{split}/{name}")]
        assert [step for step, _ in found] == [1, 2]
        assert [value for _, value in found] == pytest.approx([line[split][name] for line in lines], rel=1e-6)


@pytest.mark.slow
def test_a_compiled_task_trains_the_same(tmp_path):
    """In float64, where no rounding flips a spike, and without dropout, which a compiled graph draws otherwise."""
    runs = []
    for enabled in (False, True):
        config = small()
        config.data.train_limit, config.runtime.precision, config.runtime.compile = 32, "64-true", enabled
        config.model.sizes["dropout"] = 0.0
        runs.append(train(config, tmp_path / str(enabled)))
    assert losses(runs[1]) == pytest.approx(losses(runs[0]), rel=1e-6)
    for key, value in weights(runs[0]).items():
        torch.testing.assert_close(weights(runs[1])[key], value, rtol=1e-6, atol=1e-7)


def test_mixed_precision_computes_in_bfloat16_and_keeps_the_weights(plain, tmp_path, monkeypatch):
    seen = set()
    original = torch.nn.Linear.forward

    def watched(self, x):
        out = original(self, x)
        seen.add(out.dtype)
        return out

    monkeypatch.setattr(torch.nn.Linear, "forward", watched)
    config = small()
    config.runtime.precision = "bf16-mixed"
    run = train(config, tmp_path / "run")
    assert torch.bfloat16 in seen
    assert all(value.dtype == torch.float32 for key, value in weights(run).items() if "num_batches" not in key)
    assert losses(run) == pytest.approx(losses(plain), rel=0.1)
    assert losses(run) != losses(plain)


@pytest.mark.parametrize("name", ["meta_spikeformer_tiny", "spikformer_cifar_2_384"])
def test_activation_checkpointing_changes_no_number(tmp_path, name):
    runs = []
    for enabled in (False, True):
        config = small()
        config.data.train_limit, config.data.batch_size, config.data.img_size = 16, 4, 32
        config.model.name, config.model.sizes, config.model.timesteps = name, {}, 2
        config.optim.lr, config.runtime.grad_checkpointing = 1e-3, enabled
        runs.append(train(config, tmp_path / str(enabled)))
    assert losses(runs[1]) == losses(runs[0])
    for key, value in weights(runs[0]).items():
        assert torch.equal(weights(runs[1])[key], value), key


def test_clipping_bounds_the_step(tmp_path):
    """Plain SGD with rate 1 moves the weights by the gradient: four steps of norm 0.01 at most."""
    moved = []
    for clip in (0.0, 0.01):
        config = small()
        config.optim.name, config.optim.lr, config.optim.clip, config.optim.weight_decay = "sgd", 1.0, clip, 0.0
        config.optim.options, config.schedule.name = {"momentum": 0.0, "nesterov": False}, "constant"
        run = train(config, tmp_path / str(clip))
        torch.manual_seed(config.seed)
        start = dict(create_model("spiking_cnn_small", timesteps=4, width=4).named_parameters())
        moved.append(math.sqrt(sum(float((weights(run)[k] - v.detach()).square().sum()) for k, v in start.items())))
    assert moved[0] > 0.2
    assert 0.01 < moved[1] <= 0.0401


def test_rates_decay_from_the_head_to_the_stem():
    model = create_model("swinv2_tiny_window8_256", embed_dim=8, depths=(1, 1, 2, 1), num_heads=(1, 1, 1, 1))
    groups = parameter_groups(model, 0.05, 0.5)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    scales = {names[id(p)]: group["lr_scale"] for group in groups for p in group["params"]}
    assert scales.keys() == set(names.values())
    order = ["patch_embed.proj.weight", "stages.0.blocks.0.mlp.fc1.weight", "stages.2.blocks.1.mlp.fc1.weight"]
    order.append("head.weight")
    found = [scales[name] for name in order]
    assert found == sorted(found)
    assert found[-1] == 1.0
    assert all(math.log2(scale) == round(math.log2(scale)) for scale in scales.values())
    assert found[0] < found[1] < found[2] < found[3]


def test_the_average_by_hand():
    model = torch.nn.BatchNorm1d(2)
    ema = Ema(model, 0.9)
    with torch.no_grad():
        model.weight.fill_(3.0)
        model.num_batches_tracked.fill_(7)
    ema.update()
    ema.update()
    assert ema.average["weight"].tolist() == pytest.approx([3 - 2 * 0.9**2] * 2)  # from 1 towards 3, twice
    assert ema.average["num_batches_tracked"] == 7
    with ema.applied():
        assert model.weight.tolist() == pytest.approx([3 - 2 * 0.9**2] * 2)
    assert model.weight.tolist() == [3.0, 3.0]
