"""The step in parts is the step of the whole batch.

Would break it: losses of parts instead of the loss of all, a temperature's gradient once a part, numbers drawn anew in
the second pass, statistics counted twice, neurons that do not start at rest, a matrix that is held whole.
"""

import copy

import pytest
import torch
import torch.nn.functional as F
from support.golden import Golden
from torch import nn

import snnkit
from snnkit.encoders import Poisson
from snnkit.errors import InvalidArgumentError
from snnkit.layers.drop_path import DropPath
from snnkit.tasks.pairs.losses import Exchange, contrastive_loss, pull
from snnkit.tasks.pairs.two_pass import TwoPass, contrastive_step

NAME = "contrastive_gradcache"
LOSSES = ("clip", "siglip")


class Linear(nn.Module):
    """The golden file's towers: one product each."""

    def __init__(self, found, loss):
        super().__init__()
        self.wi, self.wt = (nn.Parameter(found[f"in_{name}"].clone()) for name in ("wi", "wt"))
        self.log = nn.Parameter(found["in_logit_scale_log"].clone())
        self.b = nn.Parameter(found["in_siglip_bias"].clone()) if loss == "siglip" else None

    def forward(self, x, y):
        return F.normalize(x @ self.wi.t()), F.normalize(y @ self.wt.t())

    def scale(self):
        return self.log.exp()

    def bias(self):
        return self.b


class Towers(nn.Module):
    """Any two networks, and a scale."""

    def __init__(self, image, text, dtype=torch.float64):
        super().__init__()
        self.image, self.text = image, text
        self.log = nn.Parameter(torch.tensor(2.0))
        self.to(dtype)

    def forward(self, x, y):
        return F.normalize(self.image(x)), F.normalize(self.text(y))

    def scale(self):
        return self.log.exp()

    def bias(self):
        return None


def gradients(model):
    return {name: p.grad.clone() for name, p in model.named_parameters()}


def whole_step(model, x, y, loss="clip"):
    """The same in one pass, by torch alone."""
    f, g = model(x, y)
    z = model.scale() * f @ g.t()
    n = torch.arange(len(z))
    if loss == "clip":
        found = (F.cross_entropy(z, n) + F.cross_entropy(z.t(), n)) / 2
    else:
        sign = 2 * torch.eye(len(z), dtype=z.dtype) - 1
        found = -F.logsigmoid(sign * (z + model.bias())).sum() / len(z)
    found.backward()
    return found.detach()


@pytest.mark.parametrize("micro", ["published", 1, 5, 10**6])
@pytest.mark.parametrize("loss", LOSSES)
def test_published_numbers(loss, micro):
    """Loss and every gradient, whatever the size of the parts."""
    golden = Golden(NAME)
    model = Linear(golden, loss)
    micro = golden.config["microbatch"] if micro == "published" else micro
    found = contrastive_step(model, golden["in_x"], golden["in_y"], micro, loss=loss, chunk=37)
    close = {"rtol": golden.rtol, "atol": golden.rtol}
    torch.testing.assert_close(found, golden[f"out_{loss}_loss"], **close)
    wanted = {"wi": model.wi, "wt": model.wt, "logit_scale_log": model.log} | ({"bias": model.b} if model.b else {})
    for name, parameter in wanted.items():
        torch.testing.assert_close(parameter.grad, golden[f"out_{loss}_grad_{name}"], **close)


def test_published_pulls():
    golden = Golden(NAME)
    f, g = golden["out_features_image"], golden["out_features_text"]
    found = pull(f, g, golden["in_logit_scale_log"].exp())
    close = {"rtol": golden.rtol, "atol": golden.rtol}
    torch.testing.assert_close(found.images, golden["out_clip_cache_image"], **close)
    torch.testing.assert_close(found.texts, golden["out_clip_cache_text"], **close)


@pytest.mark.parametrize("loss", LOSSES)
def test_losses_of_parts_added_up_are_something_else(loss):
    """What ordinary accumulation would do is the published wrong number, and not the batch's gradient."""
    golden = Golden(NAME)
    model, size = Linear(golden, loss), golden.config["microbatch"]
    parts = list(zip(golden["in_x"].split(size), golden["in_y"].split(size), strict=True))
    for x, y in parts:
        (contrastive_loss(*model(x, y), model.scale(), model.bias(), loss=loss) / len(parts)).backward()
    torch.testing.assert_close(model.wi.grad, golden[f"out_{loss}_naive_accum_grad_wi"], rtol=1e-10, atol=1e-10)
    right = golden[f"out_{loss}_grad_wi"]
    assert F.cosine_similarity(model.wi.grad.flatten(), right.flatten(), dim=0) < 0.995


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("chunk", [1, 100, 10**6])
def test_chunks_change_nothing(loss, chunk):
    """Large scales too: sums of columns go on over chunks without overflow."""
    torch.manual_seed(0)
    f, g = (F.normalize(torch.randn(23, 5, dtype=torch.float64)).requires_grad_() for _ in range(2))
    scale, bias = (torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (90.0, -10.0))
    bias = bias if loss == "siglip" else None
    given = [t for t in (f, g, scale, bias) if t is not None]
    found = contrastive_loss(f, g, scale, bias, loss=loss, chunk=chunk)
    z, n = scale * f @ g.t(), torch.arange(23)
    sign = 2 * torch.eye(23, dtype=z.dtype) - 1
    plain = (
        (F.cross_entropy(z, n) + F.cross_entropy(z.t(), n)) / 2
        if bias is None
        else -F.logsigmoid(sign * (z + bias)).sum() / 23
    )
    torch.testing.assert_close(found, plain, rtol=1e-12, atol=1e-12)
    own, others = torch.autograd.grad(found * 3, given), torch.autograd.grad(plain * 3, given)
    for one, other in zip(own, others, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-12)


def spiking(**sizes):
    return snnkit.create_model(
        "spikformer_v2_8_384",
        embed_dim=16,
        depth=1,
        num_heads=2,
        mlp_ratio=2.0,
        stem_ratio=2,
        img_size=32,
        **{"in_chans": 1, "num_classes": 6, "timesteps": 2, **sizes},
    )


def image_tower(kind):
    if kind == "dropout":
        return nn.Sequential(nn.Flatten(), nn.Linear(1024, 12), nn.GELU(), nn.Dropout(0.5), nn.Linear(12, 6))
    if kind == "poisson":
        generator = torch.Generator().manual_seed(5)
        return Rates(Poisson(4, generator=generator))
    if kind == "stochastic depth":
        return Deep()
    return spiking().eval()  # norms with stored statistics


class Rates(nn.Module):
    """Spikes drawn for every pixel, a layer of neurons, a mean over time."""

    def __init__(self, encoder):
        super().__init__()
        self.encoder, self.body, self.neuron = encoder, nn.Linear(1024, 6), snnkit.neurons.LIF(v_threshold=0.1)

    def forward(self, x):
        return self.neuron(self.body(self.encoder(x.sigmoid().flatten(1)))).mean(0) + 0.1


class Deep(nn.Module):
    """Residual layers that are left out at random, sample by sample."""

    def __init__(self):
        super().__init__()
        self.first, self.drop = nn.Linear(1024, 6), DropPath(0.5)
        self.blocks = nn.ModuleList(nn.Linear(6, 6) for _ in range(4))

    def forward(self, x):
        x = self.first(x.flatten(1))
        for block in self.blocks:
            x = x + self.drop(block(x).tanh())
        return x


@pytest.mark.parametrize("kind", ["dropout", "poisson", "stochastic depth", "spiking"])
def test_both_passes_draw_the_same_numbers(kind):
    """The gradient is that of the features that were compared: of one draw of the noise, from neurons at rest."""
    torch.manual_seed(0)
    model = Towers(image_tower(kind), nn.Sequential(nn.Linear(9, 8), nn.Dropout(0.3), nn.Linear(8, 6)))
    x, y = torch.rand(10, 1, 32, 32, dtype=torch.float64), torch.randn(10, 9, dtype=torch.float64)
    step = TwoPass(model)
    parts = list(zip(x.split(4), y.split(4), strict=True))
    for part in parts:
        step.look(*part)
    drawn = torch.get_rng_state()
    step.compare()
    for part in parts:
        step.pull_back(*part).backward()
    assert step.differs < 1e-12
    assert torch.equal(torch.get_rng_state(), drawn), "a step draws its numbers once"
    second = TwoPass(model)
    second.look(x[:4], y[:4])
    assert kind == "spiking" or not torch.equal(second._features[0][0], model(x[:4], y[:4])[0]), "the noise is real"


def test_noise_of_parts_is_that_of_one_pass():
    """With the generators as they were before each part, torch's own gradient of the whole is the same."""
    torch.manual_seed(0)
    model = Towers(image_tower("dropout"), nn.Linear(9, 6))
    other = copy.deepcopy(model)
    x, y = torch.rand(8, 1, 32, 32, dtype=torch.float64), torch.randn(8, 9, dtype=torch.float64)
    torch.manual_seed(3)
    loss = contrastive_step(model, x, y, 4)
    torch.manual_seed(3)
    pieces = [other(x[rows], y[rows]) for rows in (slice(0, 4), slice(4, 8))]
    f, g = (torch.cat([pair[side] for pair in pieces]) for side in (0, 1))
    z, n = other.scale() * f @ g.t(), torch.arange(8)
    plain = (F.cross_entropy(z, n) + F.cross_entropy(z.t(), n)) / 2
    plain.backward()
    torch.testing.assert_close(loss, plain.detach(), rtol=1e-12, atol=0)
    for name, gradient in gradients(model).items():
        torch.testing.assert_close(gradient, gradients(other)[name], rtol=1e-10, atol=1e-12)


class Remembers(nn.Module):
    """A tower that does not start at rest."""

    def __init__(self):
        super().__init__()
        self.body, self.kept = nn.Linear(1024, 6), 0.0

    def forward(self, x):
        found = self.body(x.flatten(1)) + self.kept
        self.kept = found.detach().mean(0)
        return found


def test_a_state_between_calls_is_told():
    torch.manual_seed(0)
    model = Towers(Remembers(), nn.Linear(9, 6))
    x, y = torch.rand(8, 1, 32, 32, dtype=torch.float64), torch.randn(8, 9, dtype=torch.float64)
    with pytest.raises(InvalidArgumentError, match="other features in the second pass"):
        contrastive_step(model, x, y, 4)


def with_norm():
    return nn.Sequential(nn.Flatten(), nn.Linear(1024, 8), nn.BatchNorm1d(8), nn.Linear(8, 6))


def test_batch_norms():
    """Refused; frozen they are exact; of each part their statistics are counted once."""
    torch.manual_seed(0)
    model = Towers(with_norm(), nn.Linear(9, 6))
    x, y = torch.rand(8, 1, 32, 32, dtype=torch.float64), torch.randn(8, 9, dtype=torch.float64)
    with pytest.raises(InvalidArgumentError, match=r"1 batch norms \(image.2\), and a batch comes in 2 parts"):
        contrastive_step(model, x, y, 4)
    contrastive_step(copy.deepcopy(model), x, y, 8)  # one part is the batch
    frozen, plain = copy.deepcopy(model), copy.deepcopy(model)
    contrastive_step(frozen, x, y, 4, batch_norm="frozen")
    assert all(module.training for module in frozen.modules())
    plain.image[2].eval()
    whole_step(plain, x, y)
    for name, gradient in gradients(frozen).items():
        torch.testing.assert_close(gradient, gradients(plain)[name], rtol=1e-10, atol=1e-12)
    counted = copy.deepcopy(model)
    contrastive_step(counted, x, y, 4, batch_norm="each")
    once = copy.deepcopy(model)
    for part in x.split(4):
        once.image(part)
    assert int(counted.image[2].num_batches_tracked) == 2
    torch.testing.assert_close(counted.image[2].running_var, once.image[2].running_var)


def test_a_last_part_may_be_smaller():
    torch.manual_seed(0)
    model = Towers(nn.Sequential(nn.Flatten(), nn.Linear(1024, 6)), nn.Linear(9, 6))
    other = copy.deepcopy(model)
    x, y = torch.rand(7, 1, 32, 32, dtype=torch.float64), torch.randn(7, 9, dtype=torch.float64)
    torch.testing.assert_close(contrastive_step(model, x, y, 3), whole_step(other, x, y), rtol=1e-12, atol=0)
    for name, gradient in gradients(model).items():
        torch.testing.assert_close(gradient, gradients(other)[name], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"texts": torch.zeros(3, 5)}, "both must be"),
        ({"texts": torch.zeros(4, 6)}, "projections of one width"),
        ({"loss": "clap"}, "did you mean"),
        ({"loss": "siglip"}, "needs a bias"),
        ({"bias": torch.tensor(0.0)}, "has no bias"),
        ({"exchange": Exchange(True, False)}, "gather_gradient=true"),
    ],
)
def test_bad_features(given, words):
    arguments = {"texts": torch.zeros(4, 5), "bias": None, "loss": "clip", "exchange": Exchange()} | given
    with pytest.raises(snnkit.errors.SnnkitError, match=f"(?i){words}"):
        pull(
            torch.zeros(4, 5),
            arguments["texts"],
            torch.tensor(1.0),
            arguments["bias"],
            loss=arguments["loss"],
            exchange=arguments["exchange"],
        )
