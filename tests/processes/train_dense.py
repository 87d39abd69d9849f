"""Train a task beyond classes in two processes: FOLDER TASK [KEY=VALUE …] through torchrun.

With copies (DDP) and with shards (FSDP2), each
    plain-<strategy>    a network without batch norm, by SGD: what one process computes
    whole-<strategy>    a spiking network by 8-bit AdamW, whose average is kept
    again-<strategy>    the same, killed after the first epoch, and continued
"""

import shutil
import sys
from pathlib import Path

import torch.nn.functional as F
from torch import Tensor, distributed, nn

from snnkit.engine import RunConfig, override, resume, train
from snnkit.models.family import Family
from snnkit.models.registry import register_variant

CONVNEXT = {"depths": (1, 1, 1, 1), "dims": (8, 8, 16, 16)}
SPIKES = {"embed_dim": (8, 8, 16, 16), "depths": (1, 1, 1, 1, 1), "num_heads": 1, "mlp_ratio": 2}
REGIONS = {"box_channels": 16, "mask_channels": 8, "mask_layers": 1, "regions": 8, "proposals": 16}
MAPS = {"fpn_channels": 8, "head_channels": 8, "dropout": 0.0}
TEXT = {"text_width": 16, "text_depth": 1, "text_heads": 2, "text_dropout": 0.0, "frozen": False}
SMOOTH = {
    "segmentation": ("semantic_fpn:timm:convnext_atto", CONVNEXT | MAPS),
    "detection": ("retinanet:timm:convnext_atto", CONVNEXT | {"fpn_channels": 8, "score_threshold": 0.0}),
    "pose": ("smooth_pose", {}),
    "captioning": ("captioner:timm:convnext_atto", CONVNEXT | TEXT),
}
"""No batch norm, whose statistics are a process's own, no spikes, which rounding flips, and nothing that is drawn."""
SPIKING = {
    "segmentation": ("semantic_fpn:meta_spikeformer_15m", SPIKES | MAPS | {"dropout": 0.1}),
    "detection": (
        "mask_rcnn:meta_spikeformer_15m",
        SPIKES | REGIONS | {"fpn_channels": 8, "score_threshold": 0.0, "detections": 5},
    ),
    "pose": ("pose:meta_spikeformer_15m", SPIKES | {"head_channels": 8}),
    "captioning": ("captioner:meta_spikeformer_15m", SPIKES | TEXT | {"text_dropout": 0.1}),
}


class SmoothPose(nn.Module):
    """Heat maps at a stride of 4 by two convolutions."""

    def __init__(self, num_classes: int, in_chans: int):
        super().__init__()
        self.first, self.second = nn.Conv2d(in_chans, 16, 4, 4), nn.Conv2d(16, num_classes, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(F.gelu(self.first(x)))


def build(num_classes: int = 4, in_chans: int = 3) -> nn.Module:
    """The registered form."""
    return SmoothPose(num_classes, in_chans)


FAMILY = Family("smooth_pose", "Smooth pose", "ann", "none", "a test", {"name": "smooth_pose"})


def register() -> None:
    """Make the network known; whoever asks in the process of other tests takes it back."""
    register_variant(FAMILY, "smooth_pose", build, params=0, summary="for tests")


def configuration(task: str, settings: list[str], spiking: bool = False) -> RunConfig:
    """Two epochs of three steps of four images, for one process."""
    config = RunConfig(recipe="dense", epochs=2, threads=1)
    config.model.name, sizes = (SPIKING if spiking else SMOOTH)[task]
    config.model.sizes = dict(sizes)
    if spiking:
        config.model.timesteps = 1
        config.optim.name, config.optim.lr, config.optim.ema = "adamw8bit", 2e-3, 0.8
        config.optim.options = {"min_8bit_size": 64}
    else:
        config.optim.name, config.optim.lr, config.optim.options = "sgd", 0.01, {"momentum": 0.9}
    config.optim.weight_decay, config.schedule.name, config.checkpoint.keep = 0.0, "constant", 9
    config.task.name = task
    config.data.dataset, config.data.source, config.data.img_size = "scenes", "vendored", 32
    config.data.batch_size, config.data.train_limit, config.data.test_limit = 4, 12, 7
    config.data.shift_pixels, config.data.crop_scale = 0, 1.0  # the class of every pixel is known
    if task == "pose":
        config.data.img_size, config.data.crop_height, config.data.crop_width = 48, 32, 32
    if task == "captioning":
        config.data.dataset, config.data.context, config.data.flip = "coco_captions", 24, False
    for setting in settings:
        override(config, *setting.split("=", 1))
    return config


def main() -> None:
    """Train with both strategies."""
    register()
    folder, task, settings = Path(sys.argv[1]), sys.argv[2], sys.argv[3:]
    for strategy in ("ddp", "fsdp2"):
        shared = [*settings, f"runtime.strategy={strategy}", "runtime.devices=2", "data.batch_size=2"]
        train(configuration(task, shared), folder / f"plain-{strategy}")
        whole, again = (folder / f"{name}-{strategy}" for name in ("whole", "again"))
        config = configuration(task, shared, spiking=True)
        train(config, whole)
        if distributed.get_rank() == 0:
            shutil.copytree(whole, again)
            (again / "checkpoints" / "last.safetensors").unlink()
            for state in sorted((again / "checkpoints").glob("step-*"))[1:]:
                shutil.rmtree(state)
        distributed.barrier()
        resume(again, config)


if __name__ == "__main__":
    main()
