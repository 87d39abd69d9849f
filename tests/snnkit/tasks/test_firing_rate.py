"""The firing rate of a test: spikes per neuron and step, by level, whatever their sign and scale.

Would break it: values that are averaged, real membranes or one neuron's spikes counted twice.
"""

import pytest
import torch
from torch import nn

from snnkit.neurons import IF, LeakyIntegrator, MultiSpike, Noisy, TernaryIF
from snnkit.tasks.classification import ClassificationMetrics


class Alternating(nn.Module):
    """Neurons driven by (+2, −2, 0, 0) in every pixel; the logits are 0."""

    def __init__(self, *layers):
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, images):
        x = torch.tensor([2.0, -2.0, 0.0, 0.0]).view(4, 1, 1).expand(4, *images.flatten(1).shape)
        for layer in self.layers:
            layer(x)
        return torch.zeros(len(images), 3)


@pytest.mark.parametrize(
    ("layers", "rate"),
    [
        ([TernaryIF()], 2 / 4),
        ([MultiSpike(levels=4)], 2 / 4),
        ([TernaryIF(), IF()], (2 / 4 + 1 / 4) / 2),
        ([TernaryIF(), LeakyIntegrator()], 2 / 4),
        ([Noisy(TernaryIF(), std=0.0), IF()], (2 / 4 + 1 / 4) / 2),
    ],
    ids=["ternary", "multi-level", "mean over layers", "without membranes", "each once"],
)
def test_firing_rate(layers, rate):
    model = Alternating(*layers).eval()
    metrics = ClassificationMetrics(model, 3)
    for size in (1, 3):
        metrics.test(model, torch.zeros(size, 1, 5, 5), torch.zeros(size, dtype=torch.long))
    assert metrics.compute()["firing_rate"] == pytest.approx(rate)


def test_a_model_of_membranes_alone_has_no_firing_rate():
    model = Alternating(LeakyIntegrator())
    metrics = ClassificationMetrics(model, 3)
    metrics.test(model, torch.zeros(1, 1, 5, 5), torch.zeros(1, dtype=torch.long))
    assert "firing_rate" not in metrics.compute()
