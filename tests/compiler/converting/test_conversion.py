"""Converted networks: at rest every sum of events is the quantised network's code, in every layer, for every family.

Would break it: a scale that is left out, a bias that enters twice, sums that round, a product that forgets one of its
three terms, a quantiser on one side of a move only, a rest that is declared too early, a bound that does not hold.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import compiler
import snnkit
from compiler.converting import compare, convert
from compiler.converting.conversion import prepared
from compiler.converting.forms import trained_form
from compiler.converting.places import Places
from compiler.converting.rest import steps_needed
from compiler.converting.running import Stepper
from compiler.decisions import Classes
from compiler.errors import CaptureError
from compiler.graph import Graph, GraphBuilder
from compiler.graph.operation import STEADY, run_node
from compiler.interpreting import interpret
from snnkit.errors import InvalidArgumentError, NonFiniteError, UnknownNameError
from snnkit.models import families

GOLDEN = Path(__file__).parents[2] / "golden"


class Mixed(nn.Module):
    """Grouped, depthwise, strided, transposed, one-dimensional layers, gates, pools, norms, resizing, concatenation."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.grouped = nn.Conv2d(8, 8, 3, padding=1, groups=2)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False)
        self.down = nn.Conv2d(8, 12, 2, stride=2)
        self.up = nn.ConvTranspose2d(12, 8, 2, stride=2, groups=2)
        self.gate = nn.Linear(8, 8)
        self.norm = nn.GroupNorm(2, 8)
        self.row = nn.Conv1d(8, 4, 3, padding=1)
        self.head = nn.Linear(12, 5)

    def forward(self, x):
        x = F.relu(self.stem(x))
        x = x + F.silu(self.grouped(x))
        x = F.hardswish(self.depthwise(F.max_pool2d(x, 3, 1, 1)))
        y = self.up(F.relu6(self.down(x)))
        y = y * torch.sigmoid(self.gate(y.mean((2, 3))))[:, :, None, None]
        y = self.norm(torch.cat([y[:, :4], x[:, 4:]], 1).roll((1, 2), (2, 3)))
        y = F.interpolate(F.avg_pool2d(y, 2), scale_factor=2, mode="bilinear")
        z = torch.tanh(self.row(y.mean(3)))
        return self.head(torch.cat([z.amax(2), F.gelu(y).mean((2, 3))], 1))


class Volume(nn.Module):
    """Three dimensions."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv3d(3, 6, 3, stride=(1, 2, 2), padding=1), nn.Conv3d(6, 6, (3, 1, 1), padding=(1, 0, 0))
        self.head = nn.Linear(6, 4)

    def forward(self, x):
        return self.head(F.gelu(self.b(F.relu(self.a(x)))).mean((2, 3, 4)))


def ours(name, **sizes):
    return lambda: snnkit.create_model(name, num_classes=5, **sizes)


_TIMM = {
    "resnet18": 32,
    "vit_tiny_patch16_224": 32,
    "deit_tiny_patch16_224": 32,
    "swin_tiny_patch4_window7_224": 28,
    "convnext_atto": 32,
    "tf_efficientnet_lite0": 32,
    "efficientnet_b0": 32,
    "mobilenetv3_small_050": 32,
    "regnety_002": 32,
    "mixer_s32_224": 32,
    "poolformer_s12": 32,
    "coatnet_pico_rw_224": 32,
}
_SIZED = ("vit", "deit", "swin", "mixer", "coatnet")
_SHALLOW = {
    "vit_tiny_patch16_224": {"depth": 2, "embed_dim": 32, "num_heads": 2},
    "deit_tiny_patch16_224": {"depth": 2, "embed_dim": 32, "num_heads": 2},
    "swin_tiny_patch4_window7_224": {"depths": (2, 2), "embed_dim": 24, "num_heads": (2, 4)},
}


def of_timm(name, size):
    sizes = _SHALLOW.get(name, {}) | ({"img_size": size} if name.startswith(_SIZED) else {})
    return ours(f"timm:{name}", **sizes)


_FORMS = {
    "moat": {"global": {"window_size": None}},
    "uniformer_video": {"divided": {"attention": "divided"}},
    "lookupvit": {"video": {"name": "lookupvit_video_base", "num_frames": 4, "img_size": 32, "lookup_grid": (1, 2, 2)}},
}


def of_ours():
    """Every ordinary family of classifiers in its smallest size, and further published forms of some."""
    for family in families():
        if family.kind == "snn" or family.name == "uniformer_dense":
            continue
        for form, changes in {"": {}, **_FORMS.get(family.name, {})}.items():
            sizes = {**family.tiny, **changes}
            side = sizes["img_size"]
            frames = (sizes["num_frames"],) if "num_frames" in sizes else ()
            shape = sizes.pop("input_shape", (sizes["in_chans"], *frames, side, side))
            yield f"{family.name} {form}".strip(), (lambda sizes=sizes: snnkit.create_model(**sizes), shape)


FAMILIES = {
    "mixed": (Mixed, (3, 8, 8)),
    "volume": (Volume, (3, 4, 8, 8)),
    **dict(of_ours()),
    **{name: (of_timm(name, size), (3, size, size)) for name, size in _TIMM.items()},
}


def quiet(build, shape, seed=0, batch=3):
    """A model in eval mode whose parameters all matter, in float64 or float32, and inputs."""
    torch.manual_seed(seed)
    model = build().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.numel() > 1 and parameter.min() == parameter.max():
                parameter += 0.2 * torch.randn_like(parameter)
        for name, buffer in model.named_buffers():
            if name.endswith("running_mean"):
                buffer += 0.1 * torch.randn_like(buffer)
    return model, torch.randn(batch, *shape)


def differing(converted, x, plainly):
    """Codes that differ between the quantised form and the sums of events at rest, of how many, and the last output."""
    stepper = Stepper(converted.snn_graph, len(x), x, plainly=plainly)
    for _ in range(converted.bound):
        (y,) = stepper.step((x,))
        if stepper.silent:
            break
    assert stepper.silent
    codes, states = converted.codes(x), stepper.states
    traces = {node.output: node.inputs[1] for node in converted.snn_graph if node.op == "trace"}
    wrong = sum(int((states[traces[f"{name}.code"]] != code).sum()) for name, code in codes.items())
    return wrong, sum(code.numel() for code in codes.values()), y


@pytest.mark.parametrize("name", FAMILIES)
def test_at_rest_every_code_is_the_quantised_networks(name):
    model, x = quiet(*FAMILIES[name])
    converted = convert(model, [x], levels=16, max_exponent=2)
    q = converted.qann(x)
    wrong, compared, y = differing(converted, x, plainly=True)
    assert wrong == 0
    assert compared > 100
    assert torch.equal(y, q)
    # The quantised network is near the float one, and is not the float one.
    floating = model(x).detach()
    error = (q - floating).norm() / floating.norm()
    assert 1e-4 < error < 0.8
    # As many steps at once as the fast way takes: the same numbers.
    run = converted.run(x)
    assert torch.equal(run.logits[-1], q)
    assert torch.equal(converted.snn(x, len(run.logits)), run.logits)
    assert run.rest <= run.bound
    assert converted.run(x, until=run.rest + 1).rest == run.rest
    assert converted.run(x, until=run.rest).rest is None


@pytest.mark.parametrize("name", ["mixed", "vit_tiny_patch16_224"])
@pytest.mark.parametrize(
    "settings",
    [
        {"max_exponent": 0},
        {"max_exponent": None},
        {"levels": 2, "max_exponent": 1},
        {"levels": 64, "max_exponent": 3},
        {"per_channel": True},
        {"spike_input": True},
        {"start": "zero"},
        {"start": "zero", "spike_input": True, "max_exponent": 0},
    ],
    ids=str,
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_whatever_the_events_are(name, settings, dtype):
    model, x = quiet(*FAMILIES[name])
    model, x = model.to(dtype), x.to(dtype)
    converted = convert(model, [x], **{"levels": 8, **settings})
    wrong, _, y = differing(converted, x, plainly=True)
    assert wrong == 0
    assert y.dtype == dtype
    assert torch.equal(y, converted.qann(x))
    assert torch.equal(converted.run(x).logits[-1], y)
    if settings.get("max_exponent", 2) is None:
        assert converted.run(x).rest <= 1


def test_interpret_says_the_same_step_by_step_and_all_steps_at_once():
    model, x = quiet(*FAMILIES["mixed"])
    converted = convert(model, [x], levels=8)
    run = converted.run(x)
    steps = len(run.logits)
    at_once, _ = interpret(converted.snn_graph, x, steps)
    stepwise, _ = interpret(converted.snn_graph, x, steps, stepwise=True)
    assert torch.equal(stepwise, run.logits)
    torch.testing.assert_close(at_once, run.logits, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["mixed", "vit_tiny_patch16_224", "moat"])
def test_values_are_the_same_bits_wherever_they_lie(name):
    """Every value of the quantised form again with all tensors channels last, and with other samples around."""
    model, x = quiet(*FAMILIES[name], batch=5)
    graph = convert(model, [x], levels=8).qann_graph
    values = {"one": {}, "other": {}}
    for kind, lay in (("one", lambda t: t), ("other", lambda t: t.movedim(1, -1).contiguous().movedim(-1, 1))):
        held = {graph.inputs[0]: x if kind == "one" else x[2:]}
        for node in graph:
            inputs = [lay(held[n]) if held[n].ndim > 1 else held[n] for n in node.inputs]
            held.update(zip(node.outputs, run_node(node, *inputs), strict=True))
        values[kind] = held
    steady = [node for node in graph if node.role == STEADY]
    assert len(steady) > 3
    for node in steady:
        one = values["one"][node.output]
        assert torch.equal(one[2:] if len(one) == 5 else one, values["other"][node.output]), node.name


def test_a_changing_input_needs_no_reset():
    """Frames one after the other: at rest in each with the codes of that frame alone."""
    model, frames = quiet(*FAMILIES["mixed"], batch=4)
    converted = convert(model, [frames], levels=8)
    stepper = Stepper(converted.snn_graph, 1, frames[:1])
    for frame in frames:
        stepper.silent = False
        while not stepper.silent:
            (y,) = stepper.step((frame[None],))
        assert torch.equal(y, converted.qann(frame[None]))
    held = frames.unsqueeze(1).repeat_interleave(converted.bound, 0)
    run = converted.run(held)
    for index in range(4):
        assert torch.equal(run.logits[(index + 1) * converted.bound - 1], converted.qann(frames[index : index + 1]))


def test_a_stream_holds_the_state():
    model, frames = quiet(*FAMILIES["mixed"], batch=12)
    converted = convert(model, [frames], levels=8)
    frames = frames.reshape(6, 2, 3, 8, 8)
    whole = converted.run(frames, until=6).logits
    module = converted.module()
    assert torch.equal(module(frames), whole)
    one, other = snnkit.Stream(module), snnkit.Stream(module)
    for t, frame in enumerate(frames):
        assert torch.equal(one.step(frame), whole[t])
        if t < 3:
            other.step(frame.flip(0))
    assert torch.equal(other.run(frames[3:].flip(1)), whole[3:].flip(1))
    one.reset()
    assert torch.equal(one.run(frames[:2]), whole[:2])
    with pytest.raises(InvalidArgumentError, match="batch size"):
        one.step(frames[0, :1])
    with pytest.raises(InvalidArgumentError, match=r"takes \(T, B, 3, 8, 8\)"):
        module(frames[0])


def test_a_start_near_the_answer_sends_less():
    model, x = quiet(*FAMILIES["mixed"], batch=16)
    cold, warm = (convert(model, [x], levels=32, start=start) for start in ("zero", "mean"))
    assert warm.run(x).events < 0.95 * cold.run(x).events
    assert torch.equal(warm.run(x).logits[-1], cold.run(x).logits[-1])
    again = warm.with_exponent(0)
    assert torch.equal(again.run(x).logits[-1], cold.run(x).logits[-1])


# The neuron.


def golden(file):
    with np.load(GOLDEN / f"{file}.npz", allow_pickle=False) as data:
        return [pytest.param(file, case, id=case["key"]) for case in json.loads(str(data["meta"])) if "thr" in case]


@pytest.mark.parametrize(("file", "case"), [*golden("stbif"), *golden("stbif_mt")])
def test_the_graphs_neuron_sends_the_published_events(file, case):
    """Fed with what has come so far instead of with changes: the same events, and the same sums after every step."""
    with np.load(GOLDEN / f"{file}.npz", allow_pickle=False) as data:
        names = ("x", "spike" if file == "stbif" else "out", "S")
        x, events, levels = (torch.from_numpy(data[f"{case['key']}_{name}"]).double() for name in names)
    exponent = case.get("K", 0)
    builder = GraphBuilder()
    value = builder.input("y", x.shape[1:])
    attributes = {"low": case["lo"], "high": case["hi"], "max_exponent": None if exponent < 0 else exponent}
    scale = {"scale": torch.tensor(case["thr"], dtype=torch.float64)}
    out = builder.neuron("trace", value, attributes, scale, states=[("total", 0.0)], name="n")
    sent, _ = interpret(builder.finish([out]), x.cumsum(0)[:, None])
    assert torch.equal(sent[:, 0], events)
    assert torch.equal(sent[:, 0].cumsum(0), levels)


@pytest.mark.parametrize("exponent", [0, 1, 2, 3, None])
def test_the_steps_a_correction_takes_by_trying_all(exponent):
    def steps(c):
        count = 0
        while c:
            c -= c if exponent is None else 2 ** min(c.bit_length() - 1, exponent)
            count += 1
        return count

    for width in range(1, 70):
        assert steps_needed(width, exponent) == max(steps(c) for c in range(width + 1)), width


# Weights and scales.


def test_a_layer_by_hand():
    """Codes 0 … 3 of step ½ into y = 2x + 0.25: the code of 0.8 is ⌊1.6 + ½⌋ = 2, so y = 2·1 + 0.25."""
    model = nn.Sequential(nn.Identity(), nn.Linear(1, 1, bias=True)).double().eval()
    with torch.no_grad():
        model[1].weight.fill_(2.0)
        model[1].bias.fill_(0.25)
    x = torch.linspace(0, 1.5, 4, dtype=torch.float64)[:, None]
    converted = convert(model, [x], levels=4, spike_input=True, max_exponent=0, start="zero")
    (quantiser,) = converted.quantisers.values()
    assert quantiser.high - quantiser.low == 3
    near = torch.tensor([[0.8]], dtype=torch.float64)
    scale = float(quantiser.scale)
    code = min(max(int(0.8 / scale + 0.5), quantiser.low), quantiser.high)
    assert converted.qann(near).item() == pytest.approx(2 * code * scale + 0.25, abs=1e-12)
    run = converted.run(near)
    assert run.rest == code  # one level a step
    assert run.spikes == run.events == code
    assert run.logits.flatten().tolist() == pytest.approx(
        [2 * min(t, code) * scale + 0.25 for t in range(1, code + 2)], abs=1e-12
    )


def test_weights_lie_on_a_grid_on_which_sums_are_exact():
    model, x = quiet(*FAMILIES["mixed"])
    converted = convert(model, [x], levels=16)
    for node in converted.qann_graph:
        if node.op in ("conv", "linear") and node.inputs[0].endswith(".code"):
            weight = node.parameters["weight"].double().flatten(1)
            for row in weight:
                whole = next(w for k in range(60) if torch.equal((w := row * 2.0**k).round(), w))
                assert float(whole.abs().sum()) * 15 < 2**24


def test_the_trained_form_is_the_quantised_one_without_rounded_weights():
    model, x = quiet(*FAMILIES["mixed"])
    converted = convert(model.double(), [x.double()], levels=8)
    graph = trained_form(Places(converted.source), converted.quantisers, torch.float64)
    (y,), _ = interpret(graph, x.double(), 1)
    torch.testing.assert_close(y, converted.qann(x.double()), rtol=1e-9, atol=1e-9)


def test_files_hold_both_forms(tmp_path):
    model, x = quiet(*FAMILIES["mixed"])
    converted = convert(model, [x], levels=8, start="mean")
    converted.save(tmp_path)
    q, _ = interpret(Graph.load(tmp_path / "qann.graph"), x, 1)
    assert torch.equal(q[0], converted.qann(x))
    steps = converted.run(x).logits
    y, _ = interpret(Graph.load(tmp_path / "snn.graph"), x, len(steps), stepwise=True)
    assert torch.equal(y, steps)


# Comparing.


def test_a_comparison_says_what_each_form_decides():
    model, x = quiet(*FAMILIES["mixed"], batch=12)
    labels = model(x).argmax(1)
    converted = convert(model, [x], levels=32)
    found = compare(converted, [(x[:8], labels[:8]), (x[8:], labels[8:])], steps=(1, 2, 10**6))
    floating, quantised, *spiking = found.forms
    assert floating.accuracy == 1.0
    assert quantised.accuracy == float((converted.qann(x).argmax(1) == labels).double().mean())
    assert quantised.agreement == spiking[-1].agreement == 1.0
    assert [form.name for form in spiking] == ["spiking, T = 1", "spiking, T = 2", "spiking, at rest"]
    assert found.exact
    assert (found.codes_differ, found.logit_error) == (0, 0.0)
    run = [converted.run(part) for part in (x[:8], x[8:])]
    assert found.rest == max(one.rest for one in run)
    assert spiking[-1].events == pytest.approx(
        sum(one.events * n for one, n in zip(run, (8, 4), strict=True))
        / 12
        / sum(one.neurons for one in run[0].layers.values())
        * 8
    )
    # An event meets the weights it reaches; the float network multiplies all.
    assert found.counts["spiking"].total("ac") > 0
    assert found.counts["float"].total("mac") > found.counts["spiking"].total("mac") > 0


class FewSteps(Classes):
    """A judge that looks at the steps that are asked for alone, and is content with nothing but the codes at rest."""

    every_step = False

    def agreement(self, said, other):
        return float(said is other or all(torch.equal(a, b) for a, b in zip(said, other, strict=True)))

    def decide(self, outputs, x, truth):
        return outputs


def test_the_step_from_which_on_all_is_decided_is_no_later_than_rest():
    model, x = quiet(*FAMILIES["mixed"], batch=4)
    found = compare(convert(model, [x], levels=32), [x], steps=(1, 2), judge=FewSteps())
    assert [form.agreement for form in found.forms[2:]] == [0.0, 0.0, 1.0]
    assert found.settled == found.rest > 2


# What is refused.


def test_every_argument_out_of_range_is_named():
    model, x = quiet(*FAMILIES["mixed"])
    for levels in (1, 0, 2.5, True):
        with pytest.raises(InvalidArgumentError, match="levels="):
            convert(model, [x], levels=levels)
    for exponent in (-1, 31, 1.5):
        with pytest.raises(InvalidArgumentError, match="max_exponent="):
            convert(model, [x], max_exponent=exponent)
    with pytest.raises(UnknownNameError, match="start"):
        convert(model, [x], start="men")
    with pytest.raises(InvalidArgumentError, match="at least one batch"):
        convert(model, [])
    with pytest.raises(InvalidArgumentError, match="training mode"):
        convert(model.train(), [x])
    converted = convert(model.eval(), [x], levels=8)
    for until in ("never", 0, -1, 2.0):
        with pytest.raises(InvalidArgumentError, match="until="):
            converted.run(x, until=until)
    with pytest.raises(InvalidArgumentError, match=r"takes \(B, 3, 8, 8\)"):
        converted.run(x[:, :2])
    with pytest.raises(InvalidArgumentError, match="takes samples"):
        converted.qann(x[None])


def test_calibration_must_fit_and_be_finite():
    model, x = quiet(*FAMILIES["mixed"])
    with pytest.raises(InvalidArgumentError, match=r"takes \(B, 3, 8, 8\)"):
        convert(model, [x, x[:, :, :4]])
    bad = x.clone()
    bad[0, 0, 0, 0] = torch.nan
    with pytest.raises(NonFiniteError, match="not finite"):
        convert(model, [bad])
    converted = convert(model, [x], levels=8)
    with pytest.raises(NonFiniteError, match="not finite"):
        converted.run(bad)


def test_signals_that_never_vary_are_named():
    model, x = quiet(*FAMILIES["mixed"])
    with torch.no_grad():
        model.depthwise.weight[2].zero_()
        model.gate.weight.zero_()
    notes = convert(model, [x], per_channel=True).notes
    assert any("channel" in note for note in notes)
    assert any("never varies" in note or "channels of" in note for note in notes)


def test_a_spiking_network_is_refused_in_one_line():
    model = snnkit.create_model("spiking_cnn_small", num_classes=10, in_chans=1).eval()
    with pytest.raises(CaptureError) as caught:
        prepared(model, torch.zeros(1, 1, 28, 28))
    neurons = [
        node for node in compiler.capture(model, torch.zeros(1, 1, 28, 28)) if node.op in ("lif", "integrate_fire")
    ]
    (reason,) = caught.value.reasons
    assert reason.endswith(f"{neurons[0].name} ({neurons[0].op}) and {len(neurons) - 1} more")
