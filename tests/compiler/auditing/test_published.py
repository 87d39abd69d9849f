"""Published code, run one step at a time: the same network as its own forward, and as snnkit's model of that family.

Would break it: T left inside of a step or counted twice, a neuron's membrane lost between steps, a network accepted
whose steps differ from its forward (also where its outputs happen to be zeros), old names left behind in the process.
"""

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import snnkit
from compiler.auditing import running
from compiler.auditing.measuring import measure
from compiler.auditing.subject import Asked, subject
from compiler.counting import count
from compiler.errors import CaptureError
from compiler.interpreting import interpret
from snnkit.errors import InvalidArgumentError, UnknownNameError

PUBLISHED = Path(__file__).parents[2] / "published"
DEFINED = {
    "spikformer": "spikformer_published",
    "sdt_v1": "sdt_published",
    "sdt_v2": "metaspikformer_published",
    "qkformer": "qkformer_published",
    "spikingformer": "spikingformer_published",
    "sew_resnet": "sew_resnet_published",
}
_SMALL = {"img_size": 32, "num_classes": 10, "timesteps": 4}
_VIT = {"embed_dim": 64, "num_heads": 4, "mlp_ratio": 2.0, **_SMALL}
OWN = {
    "spikformer": ("spikformer_8_384", {**_VIT, "depth": 2}),
    "sdt_v1": ("sdt_v1_8_384", {**_VIT, "depth": 2}),
    "sdt_v2": (
        "meta_spikeformer_15m",
        {**_SMALL, "embed_dim": (8, 16, 16, 32), "num_heads": 4, "mlp_ratio": 2.0, "depths": (1, 1, 2, 1, 1)},
    ),
    "qkformer": ("qkformer_10_384", {**_VIT, "depths": (1, 2, 1), "official": False}),
    "sew_resnet": ("sew_resnet18", {**_SMALL, "widths": (16, 32), "depths": (1, 1)}),
}
COUNTS = ("dense_macs", "mac", "ac", "synaptic_events", "spikes", "neuron_updates", "bias_adds", "adds", "activations")


def built(name, **options):
    """A definition as its file gives it, with norms that let neurons fire."""
    place = running.place_of(str(PUBLISHED / f"{name}.py:{DEFINED[name]}"), None)
    with running.published_names(True):
        model = running.build(place, options)
    generator = torch.Generator().manual_seed(3)
    for part in model.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            part.weight.data.fill_(3.0)
            part.bias.data.copy_(torch.rand(part.bias.shape, generator=generator))
    return model.eval()


def audited(name, weights=None, **asked):
    return subject(Asked(str(PUBLISHED / f"{name}.py:{DEFINED[name]}"), sample=(3, 32, 32), weights=weights, **asked))


def saved(model, path):
    torch.save({"model": model.state_dict()}, path)
    return path


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    """A definition and its audit, made once for all tests."""
    made = {}

    def of(name):
        if name not in made:
            model = built(name)
            weights = saved(model, tmp_path_factory.mktemp("weights") / "w.pth")
            made[name] = model, audited(name, weights)
        return made[name]

    return of


@pytest.mark.parametrize("name", DEFINED)
def test_every_definition_gives_a_verdict_counts_and_energies(name, case):
    model, found = case(name)
    assert found.graph.timesteps == 4
    assert found.steps_equal == 0 or found.steps_equal < 1e-12
    measured = measure(found, models=("45nm", "loihi1"))
    assert measured.network.total("ac") > 0
    assert measured.network.total("mac") > 0, "the image is real"
    assert measured.network.per_layer[0].static, "the first layer reads the same image at every step"
    assert all(one.nominal("network") > 0 for one in measured.estimates)
    assert not any("network." in layer.name for layer in measured.network.per_layer), "names are the published ones"
    out, _ = interpret(found.graph, found.samples)
    with torch.no_grad():
        alone = []
        for sample in found.samples:  # one by one: QKFormer's published neuron runs across a batch
            for part in model.modules():
                getattr(part, "reset", lambda: None)()
            wanted = model(sample[None])
            alone.append(wanted[0] if isinstance(wanted, tuple) else wanted)
    torch.testing.assert_close(out.mean(0), torch.cat(alone), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", OWN)
def test_published_code_counts_as_our_own_model_of_the_family_does(name, case):
    """The same weights in two codes that share nothing: every count is equal."""
    model, found = case(name)
    own_name, sizes = OWN[name]
    own = snnkit.create_model(own_name, **sizes)
    snnkit.load_weights(own, model.state_dict())
    ours, theirs = count(own.eval(), [found.samples]), count(found.graph, [found.samples])
    assert {what: theirs.total(what) for what in COUNTS} == {what: ours.total(what) for what in COUNTS}
    assert theirs.total("spikes") > 100


def test_t_is_a_parameter_of_the_factory():
    small = ("embed_dims=16", "num_heads=2", "depths=1")
    assert audited("sdt_v1", options=("T=3", *small)).graph.timesteps == 3
    assert audited("sdt_v1", options=("T=1", *small)).graph.timesteps == 1


def test_a_neuron_across_the_batch_is_named(case):
    (note,) = [note for note in case("qkformer")[1].notes if "batch" in note and "axis" in note]
    assert note.startswith("stage3.0.attn.proj_lif ")


def test_old_names_leave_nothing_behind():
    before = {name: module for name, module in sys.modules.items() if name.startswith("spikingjelly")}
    path, finders = list(sys.path), list(sys.meta_path)
    audited("sew_resnet")
    assert {name: module for name, module in sys.modules.items() if name.startswith("spikingjelly")} == before
    assert (sys.path, sys.meta_path) == (path, finders)
    assert not {"sew_resnet", "cupy"} & set(sys.modules)


CODE = """
import torch
from torch import nn
from spikingjelly.clock_driven.neuron import MultiStepLIFNode, LIFNode

class Net(nn.Module):
    def __init__(self, neuron=MultiStepLIFNode):
        super().__init__()
        self.T = 4
        self.conv = nn.Conv2d(3, 6, 3, padding=1)
        self.bn = nn.BatchNorm2d(6)
        self.lif = neuron(tau=2.0)
        self.head = nn.Linear(6, 5)

    def features(self, x):
        return self.bn(self.conv(x))

    def forward(self, x):
        x = self.features(x)
        x = self.{repeat}
        return self.read(self.lif(x).mean((3, 4)))

    def read(self, x):
        return self.head(x).mean(0)

class {name}(Net):
{body}
"""
REPEATS = {
    "repeat": "repeated(x)\n\n    def repeated(self, x):\n        return x.unsqueeze(0).repeat(self.T, 1, 1, 1, 1)",
    "expand": "repeated(x)\n\n    def repeated(self, x):\n        return x.expand(self.T, *x.shape)",
    "stack": "repeated(x)\n\n    def repeated(self, x):\n        return torch.stack([x] * self.T)",
    "interleave": "repeated(x)\n\n    def repeated(self, x):\n        return x[None].repeat_interleave(4, 0)",
}
PLAIN = "    pass"


def own_file(tmp_path, body=PLAIN, repeat="repeat", name="Own"):
    text = CODE.replace("{repeat}", REPEATS[repeat].replace("return self.read", "")).replace("{name}", name)
    head, tail = text.split("x = self.repeated(x)", 1)
    method, rest = tail.split("\n        return self.read", 1)
    text = f"{head}x = self.repeated(x)\n        return self.read{rest.split('class', 1)[0]}"
    text += f"{method}\n\nclass{rest.split('class', 1)[1]}"
    path = tmp_path / "own.py"
    path.write_text(text.replace("{body}", body))
    return f"{path}:{name}"


@pytest.mark.parametrize("repeat", REPEATS)
def test_however_the_input_is_repeated(repeat, tmp_path):
    found = subject(Asked(own_file(tmp_path, repeat=repeat), sample=(3, 8, 8)))
    assert found.graph.timesteps == 4
    assert [node.name for node in found.graph if node.op == "lif"] == ["lif"]


LOOP = """
    def __init__(self):
        super().__init__(LIFNode)

    def forward(self, x):
        return sum(self.head(self.lif(self.features(x)).mean((2, 3))) for _ in range({times})){less}
"""


@pytest.mark.parametrize("less", ["", " / self.T"])
def test_a_loop_over_time_is_one_step_of_the_graph(less, tmp_path):
    found = subject(Asked(own_file(tmp_path, LOOP.format(times="self.T", less=less)), sample=(3, 8, 8)))
    assert (found.graph.timesteps, found.unrolled) == (4, 1)


SEQUENCES = """
import torch
from torch import nn
from spikingjelly.clock_driven.neuron import MultiStepLIFNode
class Whole(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.lif, self.fc = nn.Conv2d(2, 4, 3), MultiStepLIFNode(tau=2.0), nn.Linear(144, 3)
    def forward(self, x):
        return self.fc(self.lif(self.conv(x.flatten(0, 1)).unflatten(0, x.shape[:2])).flatten(2))
class Read(Whole):
    def forward(self, x):
        return super().forward(x).mean(0)
"""


@pytest.mark.parametrize("factory", ["Whole", "Read"])
@pytest.mark.parametrize("kind", ["real", "binary"])
def test_networks_of_sequences(factory, kind, tmp_path):
    (tmp_path / "seq.py").write_text(SEQUENCES)
    asked = Asked(f"{tmp_path / 'seq.py'}:{factory}", sample=(2, 8, 8), timesteps=5, input_type=kind)
    found = subject(asked)
    assert (found.graph.timesteps, found.graph.static_input) == (5, False)
    assert found.samples.shape == (5, 4, 2, 8, 8)
    counts = count(found.graph, [found.samples])
    assert counts.total("neuron_updates") == 5 * 144
    (conv,) = [layer for layer in counts.per_layer if layer.op == "conv"]
    assert (conv.mac, conv.dense_macs) == ((conv.dense_macs, 5 * 36 * 72) if kind == "real" else (0, 5 * 36 * 72))
    with pytest.raises(CaptureError, match="--timesteps"):
        subject(Asked(asked.what, sample=(2, 8, 8)))


def test_a_loop_of_fixed_length_is_unrolled_and_said(tmp_path):
    looped = subject(Asked(own_file(tmp_path, LOOP.format(times="4", less="")), sample=(3, 8, 8)))
    stepped = subject(Asked(own_file(tmp_path, LOOP.format(times="self.T", less="")), sample=(3, 8, 8)))
    assert (looped.graph.timesteps, looped.unrolled) == (1, 4)
    assert any("loop" in note for note in looped.notes)
    a, b = (count(one.graph, [stepped.samples]) for one in (looped, stepped))
    assert a.total("neuron_updates") == b.total("neuron_updates") == 4 * 6 * 64
    assert measure(looped, models=("45nm",)).twin is None


MIXES = {
    "twice": "    def forward(self, x):\n        x = self.lif(self.repeated(self.features(x)))\n"
    "        return self.read(self.lif(2 * x).mean((3, 4)))",
    "over time": "    def read(self, x):\n        return self.head(x.cumsum(0)).mean(0)",
    "not linear": "    def read(self, x):\n        return self.head(x).mean(0).square()",
    "last step": "    def read(self, x):\n        return self.head(x)[-1]",
}


@pytest.mark.parametrize("body", MIXES.values(), ids=list(MIXES))
def test_what_mixes_steps_is_refused(body, tmp_path):
    with pytest.raises(CaptureError, match="time steps"):
        subject(Asked(own_file(tmp_path, body), sample=(3, 8, 8)))


def test_zeros_prove_nothing(tmp_path):
    """Outputs are zeros in both; the neurons before them tell that the second step is not like the first."""
    body = (
        "    def read(self, x):\n        return 0 * super().read(x)\n\n"
        "    def forward(self, x):\n        x = self.repeated(self.features(x)).clone()\n"
        "        x[1:] = 0\n        return self.read(self.lif(x).mean((3, 4)))"
    )
    with pytest.raises(CaptureError, match="lif"):
        subject(Asked(own_file(tmp_path, body), sample=(3, 8, 8)))


OLD = "from spikingjelly.clock_driven.neuron import BaseNode, LIFNode, MultiStepLIFNode\n"
OWN_NEURON = f"""{OLD}
import torch
from torch import nn

class Half(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return (x >= 0).to(x)

    @staticmethod
    def backward(ctx, grad):
        return grad

class Odd(BaseNode):
    def neuronal_charge(self, x):
        self.v = self.v * 0.5 + x.abs()

class Net(nn.Sequential):
    def forward(self, x):
        return super().forward(x[None].repeat(3, *[1] * x.ndim)).mean(0)

def odd(): return Net(Odd(step_mode="m"), nn.Linear(5, 2))
def own_surrogate(): return Net(MultiStepLIFNode(tau=2.0, surrogate_function=Half.apply), nn.Linear(5, 2))
def known(): return Net(MultiStepLIFNode(tau=2.0), nn.Linear(5, 2))
"""


def test_neurons_of_the_code_s_own(tmp_path):
    """One with dynamics of its own is counted by what it does; one with a surrogate of its own as what it is."""
    (tmp_path / "odd.py").write_text(OWN_NEURON)
    x = torch.randn(4, 5)
    done = {}
    for name in ("odd", "own_surrogate", "known"):
        found = subject(Asked(f"{tmp_path / 'odd.py'}:{name}", sample=(5,)))
        assert found.graph.timesteps == 3
        done[name] = count(found.graph, [x])
        assert any("as written" in note for note in found.notes) == (name == "odd")
    assert done["own_surrogate"].total("neuron_updates") == done["known"].total("neuron_updates") == 15
    odd = done["odd"]
    v, sent = torch.zeros(4, 5), 0.0
    for _ in range(3):
        v = v * 0.5 + x.abs()
        spikes = (v >= 1).float()
        v, sent = v * (1 - spikes), sent + spikes.sum().item()
    (head,) = [layer for layer in odd.per_layer if layer.op == "linear"]
    assert head.ac == sent * 2 / 4 > 0
    assert odd.total("adds") + odd.total("multiplies") > 0


FILTER = f"""{OLD}
from spikingjelly.clock_driven.layer import SynapseFilter
from torch import nn
def net(): return nn.Sequential(SynapseFilter(step_mode="m"), MultiStepLIFNode(), SynapseFilter(step_mode="m"))
"""


def test_all_that_has_no_counterpart_is_listed(tmp_path):
    (tmp_path / "odd.py").write_text(FILTER)
    with pytest.raises(CaptureError) as caught:
        subject(Asked(f"{tmp_path / 'odd.py'}:net", sample=(5,), timesteps=3))
    assert [reason.split()[0] for reason in caught.value.reasons] == ["0", "2"]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["a=1", "b=(1, 2)", "c=x"], {"a": 1, "b": (1, 2), "c": "x"}),
        (["a=None", "b=True", "c=1e-3"], {"a": None, "b": True, "c": 1e-3}),
    ],
)
def test_options(words, found):
    assert running.options_of(words) == found


@pytest.mark.parametrize("words", [["a"], ["=1"], ["a b=1"], ["a=1", "a=2"]])
def test_options_that_are_none(words):
    with pytest.raises(InvalidArgumentError, match="--set"):
        running.options_of(words)


def test_a_folder_and_its_modules(tmp_path):
    """A repository: a model that imports its own modules, of a name that others have as well."""
    for name, width in (("one", 4), ("two", 6)):
        (tmp_path / name / "module").mkdir(parents=True)
        (tmp_path / name / "module" / "__init__.py").write_text(f"WIDTH = {width}\n")
        (tmp_path / name / "model.py").write_text(
            "import cupy, torchinfo\nfrom torch import nn\nfrom module import WIDTH\n"
            "from spikingjelly.clock_driven.neuron import MultiStepLIFNode\n"
            "def net(): return nn.Linear(3, WIDTH)\n"
        )
    for name, width in (("one", 4), ("two", 6)):
        found = subject(Asked(str(tmp_path / name), model="model:net", sample=(3,)))
        assert found.graph.shape(found.graph.outputs[0]) == (width,)
    assert "module" not in sys.modules


def test_what_the_factory_does_not_take(tmp_path):
    (tmp_path / "f.py").write_text("from torch import nn\ndef net(width=3): return nn.Linear(3, width)\n")
    with pytest.raises(UnknownNameError, match="'width'"):
        subject(Asked(f"{tmp_path / 'f.py'}:net", options=("widht=4",), sample=(3,)))


def test_weights_of_another_size_name_the_key(tmp_path):
    path = saved(built("sdt_v1", embed_dims=32), tmp_path / "w.pth")
    with pytest.raises(InvalidArgumentError, match=r"patch_embed\.proj_conv\.weight has shape"):
        audited("sdt_v1", path)
    torch.save({"model": {"patch_embed.proj_conv.weigth": torch.zeros(1)}}, tmp_path / "x.pth")
    with pytest.raises(InvalidArgumentError, match="are missing"):
        audited("sdt_v1", tmp_path / "x.pth")
