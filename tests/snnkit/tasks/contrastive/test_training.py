"""MoCo v2, SwAV and DINO through the engine: the same numbers however a run is cut up, weights that go on, clear words.

Would break it: a queue, pointer, centre or follower that a resumed run starts anew, keys that come back in another
order, assignments made by each process for itself, a follower whose statistics are the trained network's, frozen layers
that move, an encoder with parameters that no loss reaches, a collapse that nobody is told.
"""

import json
import shutil

import pytest
import torch
from PIL import Image
from processes.train_views import OPTIONS, VIT, configured
from safetensors.torch import load_file
from support.processes import launched
from torch import nn

import snnkit
from snnkit.checkpoints import build_model
from snnkit.engine import resume, train
from snnkit.engine.config import ModelConfig, TaskConfig
from snnkit.errors import InvalidArgumentError, SnnkitError
from snnkit.models.image_features import features
from snnkit.tasks import TASKS, Classification, build_task
from snnkit.tasks.contrastive.average import Follower
from snnkit.tasks.contrastive.from_views import spread_of_assignments
from snnkit.tasks.contrastive.sinkhorn import SINKHORN
from snnkit.tasks.task import Plan

every = pytest.mark.parametrize("method", OPTIONS)
SPIKING = {"embed_dim": 16, "depth": 1, "num_heads": 2, "stem_ratio": 1, "timesteps": 2, "img_size": 32}
SWIN = {"img_size": 32, "window_size": 4, "embed_dim": 8, "depths": (1, 1, 1, 1), "num_heads": (1, 2, 2, 4)}
ENCODERS = {
    "timm:resnet10t": {},
    "timm:vit_tiny_patch16_224": {"patch_size": 8, "embed_dim": 16, "depth": 1, "num_heads": 2, "img_size": 32},
    "swinv2_tiny_window8_256": {**SWIN, "pretrained_window_size": 0},
    "uniformer_xxs": {},
    "spikformer_v2_8_384": SPIKING,
    "spiking_cnn_small": {"img_size": 32, "timesteps": 2},
}


def lines(folder, name="metrics.jsonl"):
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


def state(folder):
    """Tensors of the newest state of a run, by key."""
    newest = sorted((folder / "checkpoints").glob("step-*"))[-1]
    return {key: value for path in newest.glob("*.safetensors") for key, value in load_file(path).items()}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A short run of each method that keeps the state of every third step."""
    root, found = tmp_path_factory.mktemp("runs"), {}
    for method in OPTIONS:
        config = configured(method)
        config.checkpoint.every_steps, config.checkpoint.keep = 3, 9
        found[method] = train(config, root / method)
    return found


@every
def test_a_run_tells_losses_and_keeps_records(runs, method):
    folder = runs[method].folder
    parts = {"matched"} if method == "moco" else {"assignment_entropy", "assignment_information"}
    for line in lines(folder):
        for split in ("train", "test"):
            assert parts <= line[split].keys()
            assert "accuracy" not in line[split]
            assert 0 < line[split]["feature_spread"] <= 1
            assert all(0 <= line[split][part] <= 1 for part in parts)
    record = json.loads((folder / "pretraining.json").read_text())
    assert (record["task"], record["collapsed"]) == (method, False)
    with Image.open(folder / record["epochs"][-1]["pictures"]) as picture:
        assert picture.size[0] > 64


@every
def test_a_run_goes_on_bit_for_bit(runs, method, tmp_path):
    whole, cut = runs[method].folder, tmp_path / "cut"
    shutil.copytree(whole, cut)
    for path in sorted((cut / "checkpoints").glob("step-*"))[2:]:  # two and three steps are left
        shutil.rmtree(path)
    resume(cut)
    assert [line["loss"] for line in lines(cut, "steps.jsonl")] == [
        line["loss"] for line in lines(whole, "steps.jsonl")
    ]
    first, again = state(whole), state(cut)
    assert first.keys() == again.keys()
    assert all(torch.equal(again[key], value) for key, value in first.items())
    own = {
        "moco": ("task.queue", "task.pointer", "task.keys.model.cls_token"),
        "swav": ("task.queue", "task.filled", "task.prototypes.weight"),
        "dino": ("task.centre", "task.teacher.head.last_layer.weight_v"),
    }[method]
    assert {"task.steps", *own} <= first.keys()
    assert int(first["task.steps"]) == 6


@every
def test_what_is_kept_is_an_encoder_that_goes_on(runs, method, tmp_path):
    """Loaded by one option; DINO keeps its teacher."""
    saved = load_file(runs[method].checkpoint)
    inside = {key: value for key, value in state(runs[method].folder).items() if key.startswith("task.")}
    place = "task.teacher.model." if method == "dino" else "task.model."
    assert all(torch.equal(inside[place + key], value) for key, value in saved.items())
    if method == "dino":
        assert not torch.equal(inside["task.model.cls_token"], saved["cls_token"])
    model, _ = build_model(runs[method].checkpoint)
    assert model.num_classes == 0
    config = configured(method)
    config.model.sizes = {key: value for key, value in VIT.items() if key != "num_classes"}
    config.model.weights, config.task = str(runs[method].folder), TaskConfig()
    config.data.views, config.data.local_crops, config.epochs = "", 0, 1
    config.optim.lr, config.schedule.min_lr = 1e-12, 0.0
    after = load_file(train(config, tmp_path / "run").checkpoint)
    assert {key for key in after if key not in saved} == {"head.weight", "head.bias"}
    assert all(torch.allclose(after[key], value, atol=1e-9) for key, value in saved.items())


def test_an_encoder_gets_no_head_that_nothing_teaches(tmp_path, call):
    """Its accuracy would be that of numbers drawn at random."""
    config = configured("moco")
    del config.model.sizes["num_classes"]
    config.epochs = 1
    run = train(config, tmp_path / "run")
    assert not any(key.startswith("head.") for key in load_file(run.checkpoint))
    code, out, err = call("eval", run.folder)
    assert code == 2
    assert "accuracy" not in out
    assert "an encoder without classes" in err


@pytest.mark.slow
def test_two_processes_train_as_one(tmp_path):
    """Keys are shuffled among the processes, assignments and centres made of all: weights, queue and centre agree."""
    launched("train_views.py", tmp_path)
    for method in OPTIONS:
        config = configured(method)
        if method == "swav":
            config.task.options["head_norm"] = False
        one = state(train(config, tmp_path / f"one-{method}").folder)
        two = state(tmp_path / method)
        drawn = int(two.pop("task.shuffle.drawn", torch.zeros(())))
        assert drawn == (6 if method == "moco" else 0)
        one.pop("task.shuffle.drawn", None)
        assert one.keys() == two.keys()
        for key, value in one.items():
            difference = (two[key] - value).abs().max()
            # timm resamples positions in float32; all else agrees to 1e-13.
            assert difference <= 1e-9 * value.abs().max(), f"{method} {key}: {difference}"


def task_of(method, encoder, **options):
    torch.manual_seed(0)
    model = snnkit.create_model(encoder, num_classes=3, in_chans=3, **ENCODERS[encoder])
    return build_task(method, model, 3, {**OPTIONS[method], **options}).train()


@every
@pytest.mark.parametrize("encoder", ENCODERS)
def test_every_encoder_learns_from_views(method, encoder):
    """A step reaches every parameter, and a test tells how much a spiking encoder fires."""
    task = task_of(method, encoder)
    side = 16 if encoder == "timm:resnet10t" else 32
    views = [torch.randn(4, 3, 32, 32), torch.randn(4, 3, 32, 32)]
    views += [] if method == "moco" else [torch.randn(4, 3, side, side)]
    task.begin(Plan(2, 3, 4, shapes=tuple(tuple(view.shape[1:]) for view in views)))
    assert task.training
    task((views, torch.zeros(4))).backward()
    missing = [name for name, p in task.named_parameters() if p.requires_grad and p.grad is None]
    assert not missing
    assert any(p.requires_grad for p in task.model.parameters())
    task.before_step()
    task.after_step()
    task.compute()
    task.eval()((views, torch.zeros(4)))
    found = task.compute()
    assert found["loss"] > 0
    assert ("firing_rate" in found) == encoder.startswith("spik")


@pytest.mark.parametrize("encoder", ["timm:resnet10t", "spikformer_v2_8_384"])
def test_a_follower_averages_weights_and_has_its_own_statistics(encoder):
    task = task_of("moco", encoder)
    follower = task.keys
    assert all(torch.equal(a, b) for a, b in zip(task.model.parameters(), follower.model.parameters(), strict=True))
    before = [p.clone() for p in follower.model.parameters()]
    with torch.no_grad():
        for p in task.model.parameters():
            p.add_(1.0)
    task(([torch.randn(4, 3, 32, 32), 3 * torch.rand(4, 3, 32, 32)], None))
    for a, b in zip(before, follower.model.parameters(), strict=True):
        torch.testing.assert_close(b, a + 0.1, rtol=1e-5, atol=1e-6)
    norms = [
        (a, b)
        for a, b in zip(task.model.modules(), follower.model.modules(), strict=True)
        if isinstance(a, nn.modules.batchnorm._BatchNorm)
    ]
    for own, followed in norms:
        assert int(followed.num_batches_tracked) == 1
        assert not torch.equal(own.running_var, followed.running_var)


def test_a_follower_drops_nothing():
    model = snnkit.create_model(
        "timm:vit_tiny_patch16_224", **{**VIT, "drop_path_rate": 0.5, "depth": 2, "in_chans": 1}
    )
    task = build_task("dino", model, 0, OPTIONS["dino"]).train()
    dropping = [m for m in task.teacher.modules() if "Drop" in type(m).__name__]
    assert dropping
    assert not any(m.training for m in dropping)
    assert any(m.training for m in task.model.modules() if "Drop" in type(m).__name__)


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("timm:resnet10t", {"drop_rate": 0.5}),
        ("timm:vit_tiny_patch16_224", {**VIT, "img_size": 32, "depth": 2, "attn_drop_rate": 0.5}),
        ("timm:efficientnet_b0", {"drop_rate": 0.5}),
    ],
)
def test_a_follower_does_not_drop_what_is_no_module(name, sizes):
    """Dropout by ``F.dropout(x, p, self.training)``; norms go on with the statistics of batches."""
    follower = Follower(snnkit.create_model(name, **sizes), nn.Identity()).train()
    x = torch.rand(2, 3, 32, 32)
    first, second = features(follower.model, x), features(follower.model, x)
    assert torch.equal(first, second)
    norms = [m for m in follower.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    assert all(m.training and int(m.num_batches_tracked) == 2 for m in norms)
    assert name.startswith("timm:vit") or norms


def test_what_is_frozen_stays_until_its_time():
    """SwAV's prototypes by steps, DINO's last layer by epochs."""
    for method, weight in (("swav", lambda t: t.prototypes.weight), ("dino", lambda t: t.head.last_layer.weight_v)):
        task = task_of(method, "timm:vit_tiny_patch16_224")
        task.begin(Plan(3, 2, 4, shapes=((3, 32, 32),) * 3))
        moved = []
        for _ in range(4):
            task(([torch.randn(4, 3, 32, 32) for _ in range(3)], None)).backward()
            task.before_step()
            moved.append(weight(task).grad is not None)
            task.zero_grad()
            task.after_step()
        assert moved == [False, False, True, True]


def test_the_queue_of_swav_waits_for_its_epoch_and_until_full():
    task = task_of("swav", "timm:vit_tiny_patch16_224", queue=8, queue_from=1)
    task.begin(Plan(4, 1, 4, shapes=((3, 32, 32),) * 2))
    sizes, inner = [], task._sinkhorn
    task._sinkhorn = lambda rows, *rest, **more: sizes.append(len(rows)) or inner(rows, *rest, **more)
    for _ in range(4):
        task(([torch.randn(4, 3, 32, 32) for _ in range(2)], None))
        task.after_step()
    assert sizes[::2] == [4, 4, 4, 12]


def test_scores_are_not_rounded_under_autocast():
    """Divided by 0.04, eight bits of a cosine would be a tenth of an e-fold."""
    torch.manual_seed(0)
    moco, swav, dino = (task_of(method, "timm:vit_tiny_patch16_224") for method in ("moco", "swav", "dino"))
    unit = nn.functional.normalize(torch.randn(8, 8), dim=1)
    layer, x = dino.head.last_layer, nn.functional.normalize(torch.randn(4, 8), dim=1)

    def found():
        return [moco.contrast(unit, unit), layer(x), swav.swap(unit, torch.randn(8, 16), 4)]

    plain = found()
    with torch.autocast("cpu", torch.bfloat16):
        cast = found()
    for a, b in zip(plain, cast, strict=True):
        assert b.dtype == torch.float32
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("form", SINKHORN)
def test_assignments_are_even(form):
    torch.manual_seed(0)
    q = SINKHORN[form](torch.randn(12, 4).double(), 0.5, 200)
    torch.testing.assert_close(q.sum(1), torch.ones(12).double())
    torch.testing.assert_close(q.sum(0), torch.full((4,), 3.0).double(), rtol=1e-4, atol=1e-4)


def test_assignments_in_logarithms_do_not_overflow():
    scores = torch.tensor([[1.0, -1.0], [-1.0, 1.0]])
    torch.testing.assert_close(SINKHORN["log"](scores, 0.001, 3), torch.eye(2))
    assert not torch.isfinite(SINKHORN["published"](scores, 0.001, 3)).all()


def test_spread_of_assignments():
    entropy, information = spread_of_assignments(torch.eye(4))
    assert (float(entropy), float(information)) == pytest.approx((1.0, 1.0))
    entropy, information = spread_of_assignments(torch.full((5, 4), 0.25))  # uniform: no image differs
    assert (float(entropy), float(information)) == pytest.approx((1.0, 0.0), abs=1e-6)
    one = torch.zeros(5, 4)
    one[:, 2] = 1
    entropy, information = spread_of_assignments(one)
    assert (float(entropy), float(information)) == pytest.approx((0.0, 0.0), abs=1e-6)


@pytest.mark.parametrize(("uniform", "word"), [(True, "uniform"), (False, "one output takes all")])
def test_assignments_that_are_all_the_same_are_told_once(uniform, word):
    task = task_of("dino", "timm:vit_tiny_patch16_224")
    same = torch.full((4, 24), 1 / 24) if uniform else torch.eye(24)[:1].expand(4, -1)
    told = []
    for step in range(60):
        p = same if 10 <= step < 50 else torch.eye(24)[torch.randperm(24)[:4]]
        task.note(torch.randn(4, 16), torch.ones(()), p)
        told += [(step, text) for text in task.remarks()]
    assert [step for step, _ in told] == [29]
    assert word in told[0][1]


def set_(config, key, value):
    target = config
    *path, last = key.split(".")
    for part in path:
        target = getattr(target, part)
    if isinstance(target, dict):
        target[last] = value
    else:
        setattr(target, last, value)


@pytest.mark.parametrize(
    ("method", "changes", "words"),
    [
        ("moco", {"task.options": {"queue": 40}}, r"queue=40: must be a multiple of the 16 .*32 or 48 would"),
        ("moco", {"task.options": {"queue": 10}}, r"queue=10.*; 16 would"),
        ("swav", {"task.options": {"queue": 40}}, r"queue=40: must be a multiple of the 16"),
        ("moco", {"data.batch_size": 64}, r"data\.batch_size=64.*there are 32; give at most 32"),
        ("dino", {"data.img_size": 20, "model.sizes.img_size": 24}, r"data\.img_size=20.*16 or 24 would do"),
        ("dino", {"data.local_size": 12}, r"data\.local_size=12.*8 or 16 would do"),
        ("dino", {"model.sizes.dynamic_img_size": False}, r"one size only: set data\.local_size=16.*dynamic_img_size"),
        ("moco", {"data.views": ""}, r"data\.views=''.*learns from views"),
        ("moco", {"data.local_crops": 2}, "moco_v2 has two views"),
        ("moco", {"data.local_crops": 2, "data.views": "swav"}, "compares two views"),
        ("moco", {"data.views": "moco"}, "moco_v2"),
        ("moco", {"data.shift_pixels": 2}, r"set data\.shift_pixels=0"),
        ("dino", {"data.local_scale": 0.5}, r"local_scale=0\.5"),
        ("moco", {"task": TaskConfig()}, "sees one view"),
        ("dino", {"optim.ema": 0.9}, "an average of its own"),
        ("dino", {"runtime.precision": "bf16-true"}, "bf16-mixed"),
        ("dino", {"runtime.strategy": "fsdp2", "runtime.precision": "32-true"}, "take ddp"),
        ("swav", {"task.options": {"sinkhorn": "logs"}}, "'log'"),
        ("swav", {"task.options": {"sinkhorn": "published", "epsilon": 0.01}}, "sinkhorn=log"),
        ("dino", {"task.options": {"momentum": 1.0}}, r"momentum=1\.0: must be at least 0 and below 1"),
        ("moco", {"task.options": {"temperature": 0.0}}, r"temperature=0\.0: must be above 0"),
        ("moco", {"data.mixup": 0.2}, "mixes labels"),
        (
            "moco",
            {"model": ModelConfig("timm:resnet10t"), "data.batch_size": 1, "runtime.precision": "32-true"},
            r"data\.batch_size=1: batch norms find no variance in one image; give at least 2",
        ),
    ],
)
def test_what_cannot_be_is_said_in_a_line(method, changes, words, tmp_path):
    config = configured(method)
    for key, value in changes.items():
        set_(config, key, value)
    with pytest.raises(SnnkitError, match=words) as caught:
        train(config, tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_model_without_features_is_refused():
    with pytest.raises(InvalidArgumentError, match="no forward_features"):
        build_task("moco", nn.Linear(2, 2), 0, {})


def test_images_instead_of_views_are_refused():
    with pytest.raises(InvalidArgumentError, match=r"set data\.views"):
        task_of("moco", "timm:resnet10t")((torch.zeros(4, 3, 32, 32), None))


def test_images_of_one_channel_are_told(tmp_path, capsys):
    config = configured("moco")
    config.epochs = 1
    train(config, tmp_path / "run")
    assert "images of one channel" in capsys.readouterr().out


def test_other_tasks_are_told_their_plan_and_keep_their_model():
    assert not Classification.takes_views
    assert {name for name, task in TASKS.items() if task.takes_views} == {"moco", "swav", "dino"}


def test_a_spiking_run_says_how_much_fires(tmp_path):
    config = configured("moco")
    sizes = {key: value for key, value in SPIKING.items() if key not in ("timesteps", "img_size")}
    config.model = ModelConfig("spikformer_v2_8_384", timesteps=2, sizes={**sizes, "num_classes": 0})
    config.data.img_size, config.epochs, config.runtime.precision = 32, 1, "32-true"
    run = train(config, tmp_path / "run")
    assert lines(run.folder)[0]["firing_rate"] >= 0
