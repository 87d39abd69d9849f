"""One epoch of training, from the files of every kind of data set to a run folder.

Would break it: a network made for other channels, sides or frames than the data have, or laid out as if for images.
"""

import pytest
from support.data import small_source
from support.dense import BEYOND, dense_source

from snnkit.checkpoints import build_model
from snnkit.data import DATASETS, DataConfig
from snnkit.engine import RunConfig, train
from snnkit.engine.config import ModelConfig, TaskConfig
from snnkit.files import read_json

VIDEO = {"depths": (1, 1, 1, 1), "dims": (8, 8, 16, 16), "head_dim": 8}
VGG = {"widths": (6, 8), "depths": (1, 2), "pool_size": 2, "hidden": 32}
# Multiples of 8: torch 2.14's backward of 1×1 convolutions of stride 2, channels innermost, corrupts memory at 6.
MS = {"widths": (8, 16), "depths": (2, 1), "stem_kernel": 3, "stem_stride": 1}
MODELS = {
    "fashion_mnist": [("spiking_cnn_small", {"width": 4}, {})],
    "image_folder": [("spiking_cnn_small", {"width": 4}, {"mixup": 0.5})],
    "single_things": [("spiking_cnn_small", {"width": 4}, {})],
    "photographs": [("spiking_cnn_small", {"width": 4}, {})],
    "tar_shards": [("spiking_cnn_small", {"width": 4}, {"workers": 1})],
    "video_folder": [
        ("uniformer_video_small", VIDEO, {"mixup": 0.5, "cutmix": 1.0}),
        ("ms_resnet18", MS, {"time_first": True, "frames": 2}),
    ],
    "video_lists": [("uniformer_video_small", VIDEO, {"test_clips": 2})],
    "moving_things": [("uniformer_video_small", VIDEO, {}), ("spiking_cnn_small", {"width": 4}, {"time_first": True})],
    "event_folder": [("spiking_vgg11", VGG, {}), ("ms_resnet18", MS, {"cutmix": 1.0})],
}
PAIRS = ("captioned_fashion_mnist", "captioned_folder", "captioned_photographs", "pair_shards")
TOWERS = {"text_width": 16, "text_depth": 1, "text_heads": 2, "dim": 8, "width": 4}
NARROW = {"stem_type": "", "stem_width": 8, "channels": (8, 8, 16, 16)}
NECK = {"fpn_channels": 8, "finest": 8, "levels": 2}
TASKS = {
    "maps": ("segmentation", "semantic_fpn", {**NECK, "head_channels": 8}),
    "objects": ("detection", "retinanet", {**NECK, "anchor_scale": 2.0}),
    "keypoints": ("pose", "pose", {"head_channels": 8}),
    "captions": ("captioning", "captioner", {"text_width": 16, "text_depth": 1, "text_heads": 2, "frozen": False}),
}
"""By what a data set's images know."""
CASES = [(name, *case) for name, cases in MODELS.items() for case in cases]


def test_every_data_set_is_trained_on():
    assert {*MODELS, *PAIRS, *BEYOND} == set(DATASETS) - {"pass"}  # which has no labels


@pytest.mark.parametrize(("name", "model", "sizes", "changes"), CASES, ids=[f"{case[0]}-{case[1]}" for case in CASES])
def test_one_epoch(name, model, sizes, changes, tmp_path):
    data = DataConfig(**{**small_source(name, tmp_path), "batch_size": 2, **changes})
    config = RunConfig(model=ModelConfig(name=model, sizes=sizes), data=data, epochs=1, threads=1)
    run = train(config, tmp_path / "run")
    network, made = build_model(run.folder / "checkpoints" / "last.safetensors")
    channels = {"fashion_mnist": 1, "event_folder": 2}.get(name, 3)
    assert made["in_chans"] == channels
    assert made.get("img_size", 32) == (28 if name == "fashion_mnist" else 32)
    if name == "event_folder" or changes.get("time_first"):
        assert network.timesteps == data.frames
    elif data.frames:
        assert network.num_frames == data.frames
    assert read_json(run.folder / "summary.json")["final"]["accuracy"] == run.final_score
    assert 0 <= run.final_score <= 1


@pytest.mark.parametrize("name", PAIRS)
def test_one_epoch_of_pairs(name, tmp_path):
    data = DataConfig(**{**small_source(name, tmp_path), "batch_size": 3, "context": 32})
    model = ModelConfig(name="basic:spiking_cnn_small", sizes=TOWERS)
    config = RunConfig(model=model, task=TaskConfig(name="pairs"), data=data, epochs=1, threads=1)
    run = train(config, tmp_path / "run")
    network, made = build_model(run.folder / "checkpoints" / "last.safetensors")
    assert made["in_chans"] == (1 if name == "captioned_fashion_mnist" else 3)
    assert (made["context"], made["vocabulary"]) == (32, 257)
    assert network.text.embedding.weight.isfinite().all()
    assert read_json(run.folder / "summary.json")["final"]["loss"] == -run.final_score


@pytest.mark.parametrize("name", BEYOND)
def test_one_epoch_of_images_that_know_more(name, tmp_path):
    data = DataConfig(**dense_source(name, tmp_path))
    task, method, sizes = TASKS[data.targets]
    model = ModelConfig(name=f"{method}:timm:resnet10t", sizes={**NARROW, **sizes})
    config = RunConfig(model=model, task=TaskConfig(name=task), data=data, epochs=1, threads=1)
    run = train(config, tmp_path / "run")
    network, _ = build_model(run.folder / "checkpoints" / "last.safetensors")
    assert all(weight.isfinite().all() for weight in network.parameters())
    final = read_json(run.folder / "summary.json")["final"]
    assert final[run.measure] == run.final_score
