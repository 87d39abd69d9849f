"""Each MLP against its formula in plain torch. Would break it: a norm or neuron at the wrong place, a lost bias."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import snnkit
from snnkit.deploy import deploy
from snnkit.layers.spiking_mlp import MembraneMLP, SpikingMLP
from snnkit.neurons import IF, LIF


def made(mlp, **settings):
    torch.manual_seed(0)
    model = mlp(3, 7, **settings).double().eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.running_mean, module.running_var, module.weight, module.bias):
                nn.init.uniform_(tensor, 0.3, 1.2)
        elif isinstance(module, nn.Conv2d):
            nn.init.normal_(module.weight)  # strong enough to fire
    return model, 4 * torch.rand(3, 2, 3, 4, 5, dtype=torch.float64)


def layer(convbn, x):
    """W·x and the norm, written out: tokens are rows."""
    rows = F.linear(x.movedim(2, -1), convbn.conv.weight[:, :, 0, 0], convbn.conv.bias)
    norm = convbn.bn
    rows = (rows - norm.running_mean) / (norm.running_var + norm.eps).sqrt() * norm.weight + norm.bias
    return rows.movedim(-1, 2)


@pytest.mark.parametrize("settings", [{}, {"out_channels": 4}, {"bias": False}, {"neuron": lambda: IF(0.7)}])
def test_both_are_their_formulas(settings):
    fires = settings.get("neuron", LIF)()
    model, x = made(SpikingMLP, **settings)
    expected = fires(layer(model.fc2, fires(layer(model.fc1, x))))
    torch.testing.assert_close(model(x), expected, rtol=0, atol=0)
    assert set(model(x).unique().tolist()) == {0.0, 1.0}

    model, x = made(MembraneMLP, **settings)
    torch.testing.assert_close(model(x), layer(model.fc2, fires(layer(model.fc1, fires(x)))), rtol=0, atol=1e-12)
    assert model(x).shape[2] == settings.get("out_channels", 3)


@pytest.mark.parametrize("mlp", [SpikingMLP, MembraneMLP])
def test_norms_fold_and_neurons_are_seen_in_order(mlp):
    model, x = made(mlp)
    torch.testing.assert_close(deploy(model)(x), model(x), rtol=0, atol=1e-12)
    with snnkit.record(model) as tape:
        model(x)
    assert list(tape) == ["neuron1", "neuron2"]
