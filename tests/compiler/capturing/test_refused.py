"""What has no graph is refused by name, in one line for each reason, all reasons at once.

Would break it: samples that see each other and are captured all the same (the worst that can happen: right for one
sample, wrong for two), a refusal without the module's path, only the first of several reasons, a traceback.
"""

import pytest
import torch
import torch.nn.functional as F
from support.captured import Code, noise
from torch import nn

import snnkit
from compiler.capturing import capture
from compiler.errors import CaptureError
from compiler.interpreting import interpret
from snnkit.errors import InvalidArgumentError, SnnkitError
from snnkit.layers import over_time
from snnkit.neurons import LIF, PSN, FewSpikes, GatedLIF, MaskedPSN


def windows_first(x):
    """(B, 4, 6) → (4·B, 6), samples next to one another."""
    return x.transpose(0, 1).reshape(-1, 6)


def windows_last(x):
    """(B, 4, 6) → (B·4, 6), samples apart."""
    return x.reshape(-1, 6)


# Samples that see each other. ``x`` is (B, 4, 6).
MIXED = {
    "mean": lambda p, x: x - x.mean(0),
    "mean of all": lambda p, x: x - x.mean(),
    "sum that keeps its axis": lambda p, x: x / x.sum(0, keepdim=True),
    "largest of all": lambda p, x: x / x.abs().max(),
    "largest sample": lambda p, x: x / x.amax(0),
    "norm of all": lambda p, x: x / x.norm(),
    "norm along the batch": lambda p, x: F.normalize(x, dim=0),
    "variance": lambda p, x: x / (x.var(0) + 1),
    "softmax": lambda p, x: x.softmax(0),
    "softmax of a row of all": lambda p, x: x.flatten().softmax(0).view(x.shape),
    "softmax over windows": lambda p, x: windows_last(x).softmax(0),
    "cumulative sum": lambda p, x: x.cumsum(0),
    "sorted samples": lambda p, x: x.argsort(0).to(x.dtype),
    "flipped samples": lambda p, x: x.flip(0),
    "rolled samples": lambda p, x: x.roll(1, 0),
    "rolled values": lambda p, x: x.roll(1),
    "first sample": lambda p, x: x + x[:1],
    "one sample": lambda p, x: x + x[0],
    "last sample": lambda p, x: x - x[-1],
    "every second sample": lambda p, x: x[::2],
    "without the first": lambda p, x: x[1:],
    "chosen samples": lambda p, x: x[[1, 0]],
    "chosen by index": lambda p, x: x.index_select(0, torch.tensor([0])),
    "unbound samples": lambda p, x: torch.stack(x.unbind(0), 1),
    "chunks of samples": lambda p, x: torch.cat(x.chunk(2, 0)[::-1], 0),
    "joined samples": lambda p, x: torch.cat([x, x], 0),
    "padded samples": lambda p, x: F.pad(x, (0, 0, 0, 0, 1, 1)),
    "product of samples": lambda p, x: x[:, 0] @ x[:, 0].T,
    "contrast of two towers": lambda p, x: F.normalize(x[:, 0], dim=-1) @ F.normalize(x[:, 1], dim=-1).T,
    "einsum of samples": lambda p, x: torch.einsum("btc,dtc->bd", x, x),
    "einsum over the batch": lambda p, x: torch.einsum("btc->tc", x),
    "covariance": lambda p, x: x[:, 0] @ (x[:, 0].T @ x[:, 0]),
    "distances of samples": lambda p, x: torch.cdist(x[:, 0], x[:, 0]),
    "difference of samples": lambda p, x: x.unsqueeze(0) - x.unsqueeze(1),
    "numbered samples": lambda p, x: x + torch.arange(x.shape[0]).view(-1, 1, 1),
    "as many as samples": lambda p, x: x + torch.linspace(0, 1, x.shape[0]).view(-1, 1, 1),
    "identity of samples": lambda p, x: torch.eye(x.shape[0], dtype=x.dtype) @ x[:, 0],
    "triangle of samples": lambda p, x: x[:, 0].tril(),
    "upper triangle of samples": lambda p, x: x.transpose(0, 1).triu(),
    "diagonal of samples": lambda p, x: x[:, 0].diagonal(),
    "reshape": lambda p, x: x.reshape(2, -1),
    "reshape into features": lambda p, x: x.reshape(4, -1).softmax(-1),
    "view with transposition": lambda p, x: x.transpose(0, 1).reshape(x.shape[0], -1),
    "convolution over samples": lambda p, x: F.conv2d(
        x[:, :1].transpose(0, 1).unsqueeze(0), p.w[:1, :3].view(1, 1, 1, 3).expand(1, 1, 3, 3), padding=1
    ),
    "convolution along samples": lambda p, x: F.conv1d(
        x[:, 0].T.unsqueeze(0), p.w.unsqueeze(-1).expand(6, 6, 3), padding=1
    ),
    "average along samples": lambda p, x: F.avg_pool1d(x[:, 0].T.unsqueeze(0), 3, 1, 1),
    "maximum along samples": lambda p, x: F.max_pool1d(x[:, 0].T.unsqueeze(0), 3, 1, 1),
    "resized along samples": lambda p, x: F.interpolate(x[:, 0].T.unsqueeze(0), scale_factor=2, mode="linear"),
    "adaptive average of samples": lambda p, x: F.adaptive_avg_pool2d(x.transpose(0, 1), (x.shape[0], 2)),
    "attention between samples": lambda p, x: F.scaled_dot_product_attention(*[x[:, 0].unsqueeze(0)] * 3),
    "attention between samples in front": lambda p, x: F.scaled_dot_product_attention(*[x.transpose(0, 1)] * 3),
    "group norm of samples": lambda p, x: F.group_norm(x.flatten(1).unsqueeze(0), 1),
    "instance norm of samples": lambda p, x: F.instance_norm(x.flatten(1).unsqueeze(0).transpose(1, 2)),
    "layer norm of samples": lambda p, x: F.layer_norm(x[:, 0].T, (x.shape[0],)),
    "unfold along samples": lambda p, x: x.unfold(0, 2, 1),
    "repeated and read by sample": lambda p, x: x.repeat(2, 1, 1).view(-1, 2, 4, 6).sum(1),
}


# The same windows in another order: the shapes agree, the samples do not. Results lead back to (B, 4, …).
WINDOWS = {
    "sum": lambda a, b: a + b,
    "product": lambda a, b: a * b,
    "quotient": lambda a, b: a / (b * b + 1),
    "maximum": torch.maximum,
    "joined": lambda a, b: torch.cat([a, b], 1),
    "stacked": lambda a, b: torch.stack([a, b], 1),
    "chosen": lambda a, b: torch.where(a > 0, b, 0.0),
    "filled": lambda a, b: a.masked_fill(b > 0, 0.0),
    "matmul": lambda a, b: a.unsqueeze(1) @ b.unsqueeze(2),
    "einsum": lambda a, b: torch.einsum("bc,bc->b", a, b),
    "outer products": lambda a, b: torch.einsum("bc,bd->bcd", a, b),
    "attention": lambda a, b: F.scaled_dot_product_attention(a.unsqueeze(1), b.unsqueeze(1), b.unsqueeze(1)),
    "attention to other values": lambda a, b: F.scaled_dot_product_attention(
        a.unsqueeze(1), a.unsqueeze(1), b.unsqueeze(1)
    ),
    "bmm": lambda a, b: torch.bmm(a.unsqueeze(1), b.unsqueeze(2)),
    "baddbmm": lambda a, b: torch.baddbmm(a.unsqueeze(1), b.unsqueeze(1), torch.eye(6).double().expand(len(a), 6, 6)),
    "gathered": lambda a, b: a.gather(1, b.argsort(1)),
    "scattered": lambda a, b: a.scatter(1, b.argsort(1), a),
    "added with a factor": lambda a, b: torch.addcmul(a, b, b),
    "interpolated": lambda a, b: torch.lerp(a, b, 0.3),
    "copied": lambda a, b: (a * 1.0).copy_(b) + a,
    "a part written": lambda a, b: torch.slice_scatter(a, b[:, :2], 1, 0, 2),
    "a column written": lambda a, b: torch.select_scatter(a, b[:, 0], 1, 0),
    "distances": lambda a, b: (a - b).norm(dim=-1),
}


@pytest.mark.parametrize("first", [True, False], ids=["samples next to one another first", "samples apart first"])
@pytest.mark.parametrize("name", WINDOWS)
def test_windows_in_another_order_are_refused(name, first):
    def run(p, x):
        if first:
            y = WINDOWS[name](windows_first(x), windows_last(x))
            return y.view(4, -1, *y.shape[1:]).transpose(0, 1)
        y = WINDOWS[name](windows_last(x), windows_first(x))
        return y.view(-1, 4, *y.shape[1:])

    def same(p, x):
        """The control: windows in one order are captured, and equal."""
        y = WINDOWS[name](windows_last(x), 2 * windows_last(x))
        return y.view(-1, 4, *y.shape[1:])

    with pytest.raises(CaptureError) as caught:
        capture(Code(run).double(), noise(1, 4, 6))
    assert "output 0" not in str(caught.value), "refused for its output only"
    assert_readable(caught.value)
    graph, x = capture(Code(same).double(), noise(1, 4, 6)), noise(3, 4, 6)
    torch.testing.assert_close(interpret(graph, x)[0][0], same(None, x), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", MIXED)
def test_samples_that_see_each_other_are_refused(name):
    model = Code(MIXED[name], w=noise(6, 6)).double()
    with pytest.raises(CaptureError) as caught:
        graph = capture(model, noise(1, 4, 6))
        x = noise(3, 4, 6)

        got, wanted = interpret(graph, x)[0][0], model(x)
        same = got.shape == wanted.shape and torch.allclose(got, wanted)
        pytest.fail(f"captured, and {'equal' if same else 'WRONG'}")
    assert_readable(caught.value)


def assert_readable(error):
    """One line for every reason, and no words of the machinery."""
    assert error.user_error
    for reason in error.reasons:
        assert "\n" not in reason, reason
        assert len(reason) < 400, reason
        assert "1009" not in reason, f"the example's batch is not the user's: {reason}"
    if len(error.reasons) == 1:
        assert "\n" not in str(error)


# What is no fixed function of one sample, or no graph for another reason; each with words of its reason.


class Counter(nn.Module):
    """A buffer that changes while the model runs."""

    def __init__(self):
        super().__init__()
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x):
        self.seen += 1
        return x * self.seen


class InBatchFirst(nn.Module):
    """Attention that takes the batch for the sequence, a common slip."""

    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(6, 2)

    def forward(self, x):
        return self.attention(x, x, x, need_weights=False)[0]


REFUSED = {
    "batch norm without statistics": (nn.BatchNorm1d(4, track_running_stats=False), "statistics"),
    "a loss": (Code(lambda p, x: F.cross_entropy(x.flatten(1), x.flatten(1).softmax(-1))), "loss"),
    "a loss of errors": (Code(lambda p, x: F.mse_loss(x, x + 1)), "loss"),
    "random numbers": (Code(lambda p, x: x + torch.rand(4, 6)), "random"),
    "noise like the input": (Code(lambda p, x: x + torch.randn_like(x)), "random"),
    "dropout that stays on": (Code(lambda p, x: F.dropout(x, 0.5, True)), "random|drop"),
    "a permutation": (Code(lambda p, x: x[:, torch.randperm(4)]), "random"),
    "drawn from probabilities": (Code(lambda p, x: torch.bernoulli(x.sigmoid())), "random"),
    "lstm": (Code(lambda p, x: p.lstm(x)[0], lstm=nn.LSTM(6, 6, batch_first=True)), "recurrent"),
    "gru": (Code(lambda p, x: p.gru(x)[0], gru=nn.GRU(6, 6, batch_first=True)), "recurrent"),
    "attention over the batch": (InBatchFirst(), "sample|batch"),
    "a branch on data": (Code(lambda p, x: x if x.sum() > 0 else -x), "data.*torch.where"),
    "a loop on data": (Code(lambda p, x: [x * i for i in range(int(x.sum().item()))][-1]), "data"),
    "a size that depends on data": (Code(lambda p, x: x[x > 0]), "data"),
    "a size that depends on a stored mask": (Code(lambda p, x: x[:, p.m], m=noise(4) > 0), None),
    "where things are": (Code(lambda p, x: x.nonzero()), "data"),
    "the largest values": (Code(lambda p, x: x.topk(2, 1).values), "argsort"),
    "sorted values": (Code(lambda p, x: x.sort(1).values), "argsort"),
    "a Fourier transform": (Code(lambda p, x: torch.fft.fft2(x).abs()), "Fourier|complex"),
    "complex numbers": (Code(lambda p, x: torch.view_as_complex(x.view(-1, 4, 3, 2)).real), "view_as_complex|complex"),
    "a number of Python": (Code(lambda p, x: x * x.mean().item()), "data|sample"),
    "numpy": (Code(lambda p, x: torch.from_numpy(x.numpy() * 2)), "numpy|run"),
    "an operator that nobody knows": (
        Code(lambda p, x: torch.special.bessel_j0(x)),
        "'aten.special_bessel_j0.default'",
    ),
    "a buffer that changes": (Counter(), "'seen'.*changes"),
    "the weights alone": (Code(lambda p, x: p.w, w=noise(3)), "output 0 depends on weights alone"),
    "one of two is the weights alone": (Code(lambda p, x: (x, p.w), w=noise(3)), "output 1 depends on weights alone"),
    "no tensor": (Code(lambda p, x: 3), "output 0"),
    "nothing": (Code(lambda p, x: None), "output 0"),
    "a tensor and no tensor": (Code(lambda p, x: (x, 3.5)), "output 1"),
    "indices of a maximum": (Code(lambda p, x: tuple(x.max(-1))), "output 1"),
    "weights from the input": (Code(lambda p, x: F.conv1d(x.mT, x[0].unsqueeze(-1))), "mixes samples"),
    "a computed weight": (Code(lambda p, x: F.linear(x, x.mean(0).mean(0).expand(6, 6))), "sample|weight"),
    "a shape that does not fit": (nn.Linear(5, 3), "torch could not run Linear on samples of shape .4, 6."),
    "what the model raises": (Code(lambda p, x: int("seven")), "seven"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_graph_is_refused(name):
    model, words = REFUSED[name]
    with pytest.raises(CaptureError, match=words) as caught:
        capture(model.double().eval(), noise(1, 4, 6))
    assert_readable(caught.value)


def test_a_choice_by_shapes_is_made_when_it_is_captured():
    """No control flow is left of it."""
    model = Code(lambda p, x: torch.cond(x.shape[1] > 2, lambda y: y + 1, lambda y: y - 1, (x,)))
    x = noise(3, 4, 6)
    assert torch.equal(interpret(capture(model, x[:1]), x)[0][0], x + 1)


class Holder(nn.Module):
    """A module at a path of its own."""

    def __init__(self, **layers):
        super().__init__()
        self.stem = nn.Identity()
        self.stages = nn.ModuleList([nn.ModuleDict(layers)])

    def forward(self, x):
        for layer in self.stages[0].values():
            x = layer(self.stem(x))
        return x


@pytest.mark.parametrize(
    "layer",
    [
        Code(lambda p, x: x - x.mean(0)),
        Code(lambda p, x: x + torch.randn_like(x)),
        Code(lambda p, x: x.sort(1).values),
        Code(lambda p, x: torch.special.bessel_j0(x)),
        Code(lambda p, x: x.reshape(2, -1)),
        Code(lambda p, x: F.linear(x, x[0].mean(0).expand(6, 6))),
        Code(lambda p, x: x.masked_fill(x.softmax(0) > 0.5, 0)),
        nn.BatchNorm1d(4, track_running_stats=False),
    ],
    ids=["mean", "random", "sort", "unknown", "reshape", "weight", "softmax", "batch norm"],
)
def test_a_refusal_names_the_module(layer):
    with pytest.raises(CaptureError, match=r"module 'stages\.0\.inner'") as caught:
        capture(Holder(inner=layer).double().eval(), noise(1, 4, 6))
    assert_readable(caught.value)


def test_all_reasons_are_listed_at_once():
    model = Holder(
        one=Code(lambda p, x: x - x.mean(0)),
        two=Code(lambda p, x: x + torch.randn_like(x)),
        three=Code(lambda p, x: torch.special.bessel_j0(x)),
        four=Code(lambda p, x: x * 2),
        five=Code(lambda p, x: x.sort(1).values),
    ).double()
    with pytest.raises(CaptureError) as caught:
        capture(model, noise(1, 4, 6))
    reasons = caught.value.reasons
    assert len(reasons) == 4
    for name, reason in zip(("one", "two", "three", "five"), reasons, strict=True):
        assert f"'stages.0.{name}'" in reason
        assert reason in str(caught.value)
    assert "4 things" in str(caught.value).splitlines()[0]
    assert len(str(caught.value).splitlines()) == 5
    assert_readable(caught.value)


def test_a_reason_is_given_once_and_nothing_follows_from_it():
    """The same slip at two places of one module is one reason; what reads a refused result is not refused too."""
    model = Holder(one=Code(lambda p, x: F.relu(x - x.mean(0)) - x.mean(0) + 1)).double()
    with pytest.raises(CaptureError) as caught:
        capture(model, noise(1, 4, 6))
    assert len(caught.value.reasons) == 1


def test_an_unknown_operator_names_the_nearest():
    with pytest.raises(CaptureError, match=r"'aten\.special_log_softmax|Known of it|Did you mean"):
        capture(Code(lambda p, x: torch.nanmean(x, -1)).double(), noise(1, 4, 6))


# Time.


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("mean", lambda p, x: p.lif(x).mean(0)),
        ("sum", lambda p, x: p.lif(x).sum(0)),
        ("maximum", lambda p, x: p.lif(x).amax(0)),
        ("joined", lambda p, x: torch.cat([p.lif(x), p.lif(x)], 0)),
        ("softmax", lambda p, x: p.lif(x) * x.softmax(0)),
        ("last", lambda p, x: p.lif(x)[-1]),
        ("all but the first", lambda p, x: p.lif(x)[1:]),
        ("turned around", lambda p, x: p.lif(x.flip(0))),
        ("cumulative", lambda p, x: p.lif(x.cumsum(0))),
        ("difference", lambda p, x: p.lif(x - x.roll(1, 0))),
        ("all steps as features", lambda p, x: p.lif(x).transpose(0, 1).flatten(1)),
        ("mean that is kept", lambda p, x: p.lif(x - x.mean(0, keepdim=True))),
        ("numbered steps", lambda p, x: p.lif(x * torch.arange(len(x)).view(-1, 1, 1))),
        ("a weight for each step", lambda p, x: p.lif(x * p.w[: len(x), None, None])),
        ("delayed by hand", lambda p, x: p.lif(F.pad(x, (0, 0, 0, 0, 1, 0))[:-1])),
        ("convolution over time", lambda p, x: F.conv1d(p.lif(x).permute(1, 2, 0), torch.ones(3, 3, 1).double())),
        ("norm over time", lambda p, x: F.normalize(p.lif(x), dim=0)),
        ("layer norm over time", lambda p, x: F.layer_norm(p.lif(x).permute(1, 2, 0), (len(x),))),
        ("samples of a step", lambda p, x: p.lif(x - x.mean(1, keepdim=True))),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_steps_that_see_each_other_are_refused(name, function):
    """With T = 4 every one of these differs from what one step can say."""

    model = Code(function, lif=LIF(v_threshold=0.3), w=noise(4)).double()
    try:
        graph = capture(model, noise(4, 1, 3))
    except CaptureError as error:
        assert_readable(error)
        return
    x = noise(4, 2, 3)
    got, wanted = interpret(graph, x)[0], model(x)
    assert got.shape == wanted.shape, "captured, though the model has no output of every step"
    assert torch.allclose(got, wanted), "captured, and WRONG"


def test_a_mean_over_time_has_no_place_in_one_step():
    with pytest.raises(CaptureError, match="mean.*time steps"):
        capture(Code(lambda p, x: p.lif(x).mean(0), lif=LIF()), torch.zeros(4, 1, 3))


@pytest.mark.parametrize(
    "neuron", [PSN(4), MaskedPSN(2, 4), GatedLIF(4), FewSpikes.relu(4, 8.0)], ids=lambda n: type(n).__name__
)
def test_neurons_that_mix_time_steps_are_named(neuron):
    model = nn.Sequential(LIF(), neuron)
    with pytest.raises(CaptureError, match=rf"1 \({type(neuron).__name__}\) mixes time steps") as caught:
        capture(model, torch.zeros(4, 1, 3))
    assert_readable(caught.value)


# Examples.


@pytest.mark.parametrize(
    ("example", "words"),
    [
        (3, "example=int.*tensor"),
        (None, "example=NoneType.*tensor"),
        ([[1.0, 2.0]], "example=list.*tensor"),
        ("image", "example=str.*tensor"),
        (torch.zeros(1, 6).numpy(), "example=ndarray.*tensor"),
        (torch.zeros(0, 6), r"\(0, 6\) is empty"),
        (torch.zeros(1, 0), r"\(1, 0\) is empty"),
        ((), "empty"),
        (torch.tensor(1.0), "first axis must be the batch"),
    ],
    ids=lambda v: type(v).__name__ if not isinstance(v, str) else "",
)
def test_an_example_that_is_none_is_named(example, words):
    with pytest.raises(InvalidArgumentError, match=words) as caught:
        capture(nn.Linear(6, 6), example)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("model", "example", "words"),
    [
        (nn.Linear(6, 6), torch.zeros(1, 5), r"Linear on samples of shape \(5,\)"),
        (nn.Linear(6, 6), torch.zeros(1, 6, dtype=torch.long), "Linear"),
        (nn.Linear(6, 6), torch.zeros(1, 6, dtype=torch.float64), "Linear"),
        (nn.Linear(6, 6), (torch.zeros(1, 6), torch.zeros(1, 6)), "Linear"),
        (nn.Conv2d(3, 4, 3), torch.zeros(1, 3, 2, 2), "Conv2d"),
        (nn.Bilinear(6, 6, 2), torch.zeros(1, 6), "Bilinear"),
    ],
    ids=["size", "whole numbers", "precision", "one too many", "too small", "one too few"],
)
def test_an_example_that_the_model_cannot_take_is_one_line(model, example, words):
    with pytest.raises(CaptureError, match=words) as caught:
        capture(model, example)
    assert "\n" not in str(caught.value)
    assert "1009" not in str(caught.value)


def test_an_example_of_the_wrong_size_gets_the_models_own_message():
    model = snnkit.create_model("spiking_cnn_small", img_size=8)
    with pytest.raises(InvalidArgumentError, match="1, 8, 8"):
        capture(model, torch.zeros(1, 1, 12, 12))
    capture(model, torch.zeros(1, 1, 8, 8))  # and the model still works


@pytest.mark.parametrize("shape", [(3,), (1,)], ids=str)
def test_a_sequence_has_two_axes_at_least(shape):
    with pytest.raises(SnnkitError, match="sequence"):
        capture(nn.Sequential(LIF()), torch.zeros(shape))


def test_inputs_of_other_batches_are_captured_as_one():
    """Only the shapes of samples count: an example of 2 and one of 3 samples make the same graph."""
    model = Code(lambda p, x, y: x + y)
    one = capture(model, (torch.zeros(2, 6), torch.zeros(3, 6)))
    assert str(one) == str(capture(model, (torch.zeros(1, 6), torch.zeros(1, 6))))


def test_what_torch_cannot_trace_says_where():
    class Branches(nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else x + x

    with pytest.raises(CaptureError, match=r"Branches decides by its data.*test_refused\.py, line \d+") as caught:
        capture(Branches(), torch.zeros(1, 6))
    assert "\n" not in str(caught.value)


def test_what_is_no_module_is_refused():
    with pytest.raises((SnnkitError, TypeError, AttributeError)):
        capture(lambda x: x, torch.zeros(1, 6))


def test_over_time_with_the_batch_in_front_is_refused_or_right():
    """Layers without memory that fold time and batch wrongly around a neuron."""
    model = Code(
        lambda p, x: p.lif(over_time(p.fc, x.transpose(0, 1)).transpose(0, 1)),
        lif=LIF(v_threshold=0.2),
        fc=nn.Linear(3, 3),
    ).double()

    graph, x = capture(model, noise(4, 1, 3)), noise(4, 2, 3)
    assert torch.equal(interpret(graph, x, stepwise=True)[0], model(x))


def test_a_model_that_encodes_images_itself_is_told_what_to_capture():
    """The batch that it was tried with is not the user's, and is not in the message."""
    model = snnkit.create_model("spikformer_v2_mae_8_384", img_size=32)
    with pytest.raises(CaptureError, match="such as its encoder") as caught:
        capture(model, torch.zeros(1, model.in_chans, 32, 32))
    assert "1009" not in str(caught.value)
