"""Train a small spiking network without batch norm, so that one process and several compute the same.

python train_plain_net.py FOLDER KEY=VALUE …      (or through torchrun)
python train_plain_net.py --resume FOLDER KEY=VALUE …
"""

import json
import sys
from pathlib import Path

from torch import Tensor, nn

from snnkit.engine import RunConfig, override, resume, train
from snnkit.layers import over_time
from snnkit.models.classifier import Feature, FeatureInfo, SpikingClassifier
from snnkit.models.family import Family
from snnkit.models.registry import register_variant
from snnkit.neurons import LIF


class PlainNet(SpikingClassifier):
    """Two linear layers, each with a LIF behind it; ``smooth`` puts GELU there, which no rounding can flip."""

    def __init__(self, num_classes: int, in_chans: int, img_size: int, timesteps: int, smooth: bool):
        super().__init__(timesteps)
        self.in_chans, self.num_classes, self.num_features = in_chans, num_classes, 161
        width = in_chans * img_size**2
        self.stages = nn.ModuleList([nn.Linear(width, 161), nn.Linear(161, 161)])
        self.lifs = nn.ModuleList([nn.GELU() if smooth else LIF() for _ in range(2)])
        self.head = nn.Linear(161, num_classes)
        self.feature_info = FeatureInfo([Feature(161, 1, "lifs.1")])

    def forward_stem(self, x_TBCHW: Tensor) -> Tensor:
        return over_time(lambda y: self.stages[0](y.flatten(1)), x_TBCHW)

    def forward_stages(self, current_TBCHW: Tensor) -> list[Tensor]:
        return [self.lifs[1](over_time(self.stages[1], self.lifs[0](3 * current_TBCHW)) * 3)]

    def forward_head(self, features_TBCHW: Tensor, pre_logits: bool = False) -> Tensor:
        return features_TBCHW if pre_logits else over_time(self.head, features_TBCHW)


def build(
    num_classes: int = 10, in_chans: int = 1, img_size: int = 28, timesteps: int = 3, smooth: bool = False
) -> nn.Module:
    """The registered form."""
    return PlainNet(num_classes, in_chans, img_size, timesteps, smooth)


FAMILY = Family("plain_net", "Plain net", "snn", "none", "a test", {"name": "plain_net"})
register_variant(FAMILY, "plain_net", build, params=0, summary="for tests")


def configuration() -> RunConfig:
    """Small; float64 and plain SGD unless the caller says otherwise."""
    config = RunConfig(recipe="plain", epochs=2, threads=1)
    config.model.name = "plain_net"
    config.data.source, config.data.batch_size = "vendored", 32
    config.data.train_limit, config.data.test_limit = 192, 64
    config.optim.name, config.optim.lr, config.optim.weight_decay = "sgd", 0.05, 0.0
    config.optim.options = {"momentum": 0.9}
    config.schedule.name, config.runtime.precision = "cosine", "64-true"
    return config


def main() -> None:
    """Train or go on."""
    arguments = sys.argv[1:]
    going_on = arguments[0] == "--resume"
    folder = Path(arguments[1 if going_on else 0])
    config = configuration()
    if going_on:
        config = RunConfig.from_dict(json.loads((folder / "config.json").read_text()))
    for setting in arguments[2 if going_on else 1 :]:
        if setting.startswith("optim.name="):
            config.optim.options = {}  # those above are SGD's
        override(config, *setting.split("=", 1))
    if going_on:
        resume(folder, config)
    else:
        train(config, folder)


if __name__ == "__main__":
    main()
