"""SEW ResNet, MS-ResNet and spiking VGG against SpikingJelly's, through the key maps, in float64.

Would break it: a shortcut before its neuron, a stride at the wrong convolution, another neuron, a lost bias, an index
that is off by one in a key map.
"""

import functools

import pytest
import torch
from spikingjelly.activation_based import functional, neuron, surrogate
from spikingjelly.activation_based.model import ms_resnet, sew_resnet, spiking_vgg
from torch import nn

import snnkit
from snnkit.errors import InvalidArgumentError, UnknownNameError
from snnkit.models.classifier import FeatureInfo

JELLY_IF = {"detach_reset": True, "surrogate_function": surrogate.ATan()}


def randomised(peer):
    """Random statistics, so that norms matter, and weights strong enough that every layer fires."""
    torch.manual_seed(0)
    for module in peer.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.8, 1.4)
            nn.init.uniform_(module.bias, 0.0, 0.4)
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.0)
        elif isinstance(module, nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    functional.set_step_mode(peer, "m")
    return peer.double().eval()


@functools.cache
def sew_peer(name, connect="ADD"):
    return randomised(getattr(sew_resnet, name)(cnf=connect, spiking_neuron=neuron.IFNode, num_classes=10, **JELLY_IF))


def images(timesteps, side, chans=3):
    return torch.rand(timesteps, 2, chans, side, side, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def assert_all_fire(model, x):
    with snnkit.record(model) as tape:
        model(x)
    assert all(rate > 0 for rate in tape.rates.values()), tape.rates


@pytest.mark.parametrize(
    ("name", "connect"),
    [
        ("sew_resnet18", "add"),
        ("sew_resnet18", "and"),
        ("sew_resnet18", "iand"),
        ("sew_resnet34", "add"),
        ("sew_resnet50", "add"),
    ],
)
@torch.no_grad()
def test_sew_resnet_is_spikingjellys(name, connect):
    peer = sew_peer(name, connect.upper())
    model = snnkit.create_model(name, num_classes=10, connect=connect).double().eval()
    report = snnkit.load_weights(model, peer.state_dict())
    assert report.source == "published (SEW ResNet)"
    x = images(3, 33)
    functional.reset_net(peer)
    torch.testing.assert_close(model.forward_sequence(x), peer(x), rtol=0, atol=1e-10)
    assert model.forward_features(x).any()
    if connect != "and":  # conjunctions run dry here and there
        assert_all_fire(model, x)


@torch.no_grad()
def test_sew_gradients_are_spikingjellys():
    peer = sew_peer("sew_resnet18")
    model = snnkit.create_model("sew_resnet18", num_classes=10).double().eval()
    snnkit.load_weights(model, peer.state_dict())
    x = images(2, 33)
    with torch.enable_grad():
        functional.reset_net(peer)
        peer.zero_grad()
        peer(x).square().mean().backward()
        model.forward_sequence(x).square().mean().backward()
    for ours, theirs in (
        (model.stem.conv, peer.conv1),
        (model.stages[1][0].shortcut.conv, peer.layer2[0].downsample[0]),
    ):
        torch.testing.assert_close(ours.weight.grad, theirs.weight.grad, rtol=1e-9, atol=1e-12)


def contained(state, inner="module."):
    """The same weights under the keys of the authors' repository: SeqToANNContainer around convolution and norm.

    In the first SpikingJelly the container keeps its layers in ``module``; in later ones it is a Sequential itself.
    """
    made = {}
    for key, value in state.items():
        parts = key.split(".")
        if key.startswith("layer"):
            if parts[2] == "downsample":
                parts[3:4] = ["0", f"{inner}{parts[3]}"]
            else:
                kind, number = parts[2][:-1], parts[2][-1]
                parts[2:3] = [f"conv{number}", f"{inner}{'0' if kind == 'conv' else '1'}"]
        made[".".join(parts)] = value
    return made


@pytest.mark.parametrize("inner", ["module.", ""])
@pytest.mark.parametrize("name", ["sew_resnet18", "sew_resnet50"])
@torch.no_grad()
def test_sew_weights_of_the_authors_repository(name, inner):
    state = sew_peer(name).state_dict()
    model = snnkit.create_model(name, num_classes=10).double()
    snnkit.load_weights(model, state)
    other = snnkit.create_model(name, num_classes=10).double()
    given = contained(state, inner)
    assert len(given) == len(state)
    assert {"layer1.0.conv1.0.weight", "layer2.0.downsample.0.0.weight"} <= {k.replace("module.", "") for k in given}
    snnkit.load_weights(other, {"model": given, "epoch": 319})
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), other.state_dict().values(), strict=True))


@pytest.mark.parametrize("name", ["ms_resnet18", "ms_resnet34"])
@torch.no_grad()
def test_ms_resnet_is_spikingjellys(name):
    peer = randomised(getattr(ms_resnet, name)(T=3, num_classes=10))
    model = snnkit.create_model(name, num_classes=10, timesteps=3).double().eval()
    assert snnkit.load_weights(model, peer.state_dict()).source == "published (MS-ResNet)"
    x = images(3, 33)
    functional.reset_net(peer)
    torch.testing.assert_close(model(x), peer(x), rtol=0, atol=1e-10)
    functional.reset_net(peer)
    torch.testing.assert_close(model(x[0]), peer(x[0]), rtol=0, atol=1e-10)
    assert_all_fire(model, x)


@torch.no_grad()
def test_ms_weights_of_the_authors_repository():
    peer = randomised(ms_resnet.ms_resnet18(T=3, num_classes=10))
    names = {"stem.0": "conv1.0", "stem.1": "conv1.1.bn", "head": "fc"}
    inner = {"conv1": "residual_function.1", "bn1": "residual_function.2.bn"}
    inner |= {"conv2": "residual_function.4", "bn2": "residual_function.5.bn"}
    inner |= {"downsample.0": "shortcut.0", "downsample.1": "shortcut.1.bn"}
    state = {}
    for key, value in peer.state_dict().items():
        layer, _, rest = key.rpartition(".")
        if layer.startswith("layer"):
            stage, block, part = layer.split(".", 2)
            layer = f"conv{int(stage[-1]) + 1}_x.{block}.{inner[part]}"
        state[f"{names.get(layer, layer)}.{rest}"] = value
    model = snnkit.create_model("ms_resnet18", num_classes=10).double().eval()
    assert snnkit.load_weights(model, state).source == "published (MS-ResNet)"
    x = images(3, 33)
    functional.reset_net(peer)
    torch.testing.assert_close(model(x), peer(x), rtol=0, atol=1e-10)


class Deep104(nn.Module):
    """The authors' deep model, written from its description: its keys, and its currents step by step."""

    def __init__(self, depths, classes):
        super().__init__()

        def normed(channels):
            return nn.ModuleDict({"bn": nn.BatchNorm2d(channels)})

        self.conv1 = nn.ModuleList([nn.Conv2d(3, 64, 3, 2, 1), nn.Conv2d(64, 64, 3, 1, 1), nn.Conv2d(64, 64, 3, 1, 1)])
        self.conv1.append(normed(64))
        channels = 64
        for stage, (width, depth) in enumerate(zip((64, 128, 256, 512), depths, strict=True), start=2):
            blocks = nn.ModuleList()
            for number in range(depth):
                first = nn.Conv2d(channels, width, 3, 1 if number else 2, 1, bias=False)
                branch = [None, first, normed(width), None, nn.Conv2d(width, width, 3, 1, 1, bias=False), normed(width)]
                block = {"residual_function": nn.ModuleList(part or nn.Identity() for part in branch)}
                if not number:
                    shortcut = [nn.AvgPool2d(2), nn.Conv2d(channels, width, 1, bias=False), normed(width)]
                    block["shortcut"] = nn.ModuleList(shortcut)
                blocks.append(nn.ModuleDict(block))
                channels = width
            setattr(self, f"conv{stage}_x", blocks)
        self.fc = nn.Linear(512, classes)

    @staticmethod
    def fires(x):
        """Spikes above (here: at) .5; a quarter of what did not fire stays."""
        v, spikes = torch.zeros_like(x[0]), []
        for x_t in x:
            v = v + x_t
            spikes.append((v >= 0.5).to(x))
            v = 0.25 * v * (1 - spikes[-1])
        return torch.stack(spikes)

    def forward(self, x):
        def run(layers, y):
            for layer in layers:
                y = layer["bn"](y) if isinstance(layer, nn.ModuleDict) else layer(y)
            return y

        def over(layers, y):
            return torch.stack([run(layers, y_t) for y_t in y])

        y = over(self.conv1, x)
        for stage in range(2, 6):
            for block in getattr(self, f"conv{stage}_x"):
                f = block["residual_function"]
                branch = over(f[4:], self.fires(over(f[1:3], self.fires(y))))
                y = branch + (over(block["shortcut"], y) if "shortcut" in block else y)
        return self.fc(self.fires(y).mean((0, 3, 4)))


@torch.no_grad()
def test_ms_resnet104_is_the_authors_deep_model():
    depths = (2, 1, 2, 1)
    peer = randomised(Deep104(depths, 10))
    model = snnkit.create_model("ms_resnet104", num_classes=10, timesteps=3, depths=depths).double().eval()
    report = snnkit.load_weights(model, {f"module.{key}": value for key, value in peer.state_dict().items()})
    assert report.source == "published (MS-ResNet)"
    x = images(3, 64)
    torch.testing.assert_close(model(x), peer(x), rtol=0, atol=1e-10)
    assert_all_fire(model, x)
    assert model(images(3, 37)).isfinite().all()


def test_the_deep_models_have_as_many_layers_as_they_say():
    with torch.device("meta"):
        for name, layers, shortcuts in (("sew_resnet101", 101, 4), ("sew_resnet152", 152, 4), ("ms_resnet104", 104, 4)):
            model = snnkit.create_model(name)
            found = [m for m in model.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
            assert len(found) - shortcuts == layers + (2 if name == "ms_resnet104" else 0)  # a stem of three for one


def test_ms_blocks_begin_as_their_shortcuts():
    model = snnkit.create_model("ms_resnet18", widths=(4, 6), depths=(2, 2), img_size=16)
    for stage in model.stages:
        for block in stage:
            assert not block.convs[-1].bn.weight.any()
            assert (block.convs[0].bn.weight == 0.5).all()


@pytest.mark.parametrize("name", ["spiking_vgg11", "spiking_vgg16"])
@torch.no_grad()
def test_spiking_vgg_is_spikingjellys(name):
    """Without the two large linear layers of 120 million weights: narrower ones in their places."""
    with torch.device("meta"):
        peer = getattr(spiking_vgg, f"{name}_bn")(spiking_neuron=neuron.IFNode, **JELLY_IF)
    peer.avgpool.output_size = (2, 2)
    for i, sizes in ((0, (2048, 64)), (3, (64, 64)), (6, (64, 10))):
        peer.classifier[i] = type(peer.classifier[i])(*sizes)
    peer = randomised(peer.to_empty(device="cpu"))
    for module in peer.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.uniform_(module.bias, 0.0, 0.3)
        if isinstance(module, nn.BatchNorm2d):
            module.num_batches_tracked.zero_()
    functional.reset_net(peer)
    model = snnkit.create_model(name, num_classes=10, pool_size=2, hidden=64).double().eval()
    assert snnkit.load_weights(model, peer.state_dict()).source == "published (Spiking VGG)"
    x = images(3, 64)
    torch.testing.assert_close(model.forward_sequence(x), peer(x), rtol=0, atol=1e-10)
    assert_all_fire(model, x)


def small(name, **settings):
    sizes = {"widths": (4, 6), "depths": (1, 1), "num_classes": 3, "timesteps": 2}
    if "vgg" in name:
        sizes |= {"pool_size": 2, "hidden": 8}
    return snnkit.create_model(name, **{**sizes, **settings})


@pytest.mark.parametrize("name", ["sew_resnet18", "ms_resnet50"])
@pytest.mark.parametrize("side", [(17, 32), (1, 9)])
def test_any_image_size_serves(name, side):
    model = small(name, features_only=True).eval()
    info: FeatureInfo = model.feature_info
    for y, reduction in zip(model(torch.rand(2, 3, *side)), info.reduction(), strict=True):
        assert y.shape[-2:] == tuple(-(-s // reduction) for s in side)


def test_bad_input_of_the_residual_networks():
    with pytest.raises(UnknownNameError, match="'sew_resnet18'"):
        snnkit.create_model("sew_resnet_18")
    with pytest.raises(UnknownNameError, match="connect 'ad'.*(?:'add'|'and')"):
        small("sew_resnet18", connect="ad")
    with pytest.raises(InvalidArgumentError, match="a dropped branch is no identity"):
        small("sew_resnet18", connect="iand", drop_path_rate=0.1)
    with pytest.raises(InvalidArgumentError, match="one number per stage"):
        small("ms_resnet18", depths=(1, 1, 1))
    with pytest.raises(InvalidArgumentError, match="widths"):
        small("sew_resnet34", widths=(4, 0))
    with pytest.raises(InvalidArgumentError, match="drop_rate=1"):
        small("spiking_vgg11", drop_rate=1.0)
    with pytest.raises(InvalidArgumentError, match="at least 4"):
        small("spiking_vgg11")(torch.rand(1, 3, 3, 64))
    with pytest.raises(InvalidArgumentError, match="at least 32"):
        snnkit.create_model("spiking_vgg11", img_size=28)
    foreign = dict.fromkeys(["conv2_x.0.residual_function.1.weight", "conv1.0.weight"], torch.ones(1))
    with pytest.raises(InvalidArgumentError, match="MS-ResNet"):
        snnkit.load_weights(small("sew_resnet18"), foreign)
