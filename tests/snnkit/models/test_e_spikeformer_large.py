"""E-SpikeFormer's large models and their masked autoencoder against the published code.

Would break it: statistics over hidden places, halves rounded to even, latents at other places than they belong to, a
norm of a projection that is left out. What holds for every masked autoencoder is in ``test_masked_autoencoders``.
"""

import numpy as np
import pytest
import torch
from parity import Reference, close

import snnkit
from snnkit.deploy import deploy
from snnkit.errors import InvalidArgumentError, UnknownNameError
from snnkit.layers.masked import mask_from_noise
from snnkit.models.e_spikeformer_large import PointwisePair

TINY = {"embed_dim": (8, 8, 16), "depth": 1, "num_heads": 1, "levels": 2, "in_chans": 2, "img_size": 64}


def tiny(**settings):
    torch.manual_seed(0)
    return snnkit.create_model("e_spikeformer_12_512", **{**TINY, "num_classes": 3, **settings}).double()


def images(batch=2, seed=1):
    return torch.rand(batch, 2, 64, 64, generator=torch.Generator().manual_seed(seed)).double() * 3


@pytest.fixture(scope="module")
def golden():
    reference = Reference("e_spikeformer_mae_small")
    config = reference.config
    model = snnkit.create_model(
        "e_spikeformer_mae_12_512",
        embed_dim=config["embed_dim"],
        depth=config["depths"],
        decoder_dim=config["decoder_embed_dim"],
        decoder_depth=config["decoder_depth"],
        decoder_heads=config["decoder_num_heads"],
        mask_ratio=config["mask_ratio"],
        reshuffle=True,
    ).double()
    report = snnkit.load_weights(model, reference.state())
    assert report.complete
    assert set(report.ignored) == {"pos_embed", "mask_token", "decoder_pos_embed"}
    given = torch.as_tensor(np.random.default_rng(99).random((2, 196)))
    with torch.no_grad(), snnkit.record(model.eval()) as tape:
        out = model(reference.input, given)
    return reference, model, given, out, [layer.spikes for layer in tape.layers.values()]


def test_masked_autoencoder_of_the_published_code(golden):
    reference, model, given, out, spikes = golden
    masking = mask_from_noise(given, 0.5)
    assert torch.equal(1 - out.removed, reference["active"])
    assert torch.equal(masking.restore, reference["ids_restore"])
    with torch.no_grad():
        latent, _ = model.encode(reference.input, masking)
    assert torch.equal(latent.float(), reference["latent"])
    close(out.painted[:, :16], reference["pred_first16"], 1e-9)
    close(out.loss, reference["loss"], 1e-9)
    close(torch.stack([s.mean() for s in spikes]), reference["rates"], 1e-12)


def test_reshuffling_is_the_only_difference_to_the_default(golden):
    reference, model, given, *_ = golden
    model.reshuffle = False
    try:
        with torch.no_grad():
            painted = model(reference.input, given).painted
    finally:
        model.reshuffle = True
    assert (painted[:, :16] - reference["pred_first16"]).abs().max() > 0.1


@pytest.mark.parametrize("name", ["12_512", "12_768"])
def test_counts_with_the_second_head(name):
    with torch.device("meta"):
        model = snnkit.create_model(f"e_spikeformer_{name}", distilled=True)
    assert sum(p.numel() for p in model.parameters()) == {"12_512": 83_015_952, "12_768": 171_740_714}[name]


def test_neurons_of_the_large_models_round_halves_up():
    neurons = [m for m in tiny().modules() if isinstance(m, snnkit.neurons.MultiSpike)]
    assert all(neuron.half_up for neuron in neurons)
    assert [neuron.divisor for neuron in neurons].count(1) == 1


def test_a_fine_tuned_checkpoint_loads(golden):
    """The classifier's published keys: the encoder's, two heads, layer scales; in a container, whole or refused."""
    reference = golden[0]
    encoder = ("downsample", "ConvBlock", "block3")
    state = {key: value for key, value in reference.state().items() if key.startswith(encoder)}
    generator = torch.Generator().manual_seed(0)
    for key in ("head", "head_kd"):
        state |= {f"{key}.weight": torch.randn(5, 64, generator=generator), f"{key}.bias": torch.ones(5)}
    scales = {f"block3.{i}.layer_scale{j}": torch.full((64,), 10.0 * i + j) for i in range(2) for j in (1, 2)}

    def tiny_of(**settings):
        sizes = {"embed_dim": (16, 32, 64), "depth": 2, "num_classes": 5, "img_size": 64}
        return snnkit.create_model("e_spikeformer_12_512", distilled=True, **sizes, **settings).double()

    model = tiny_of()
    assert snnkit.load_weights(model, {"model": {**state, **scales}}).complete
    assert model.stage3[1].scale2.gamma.eq(12).all()
    assert torch.equal(model.head_dist.weight, state["head_kd.weight"].double())
    assert model.head_reads_spikes is False  # the released code's first head reads membranes
    report = snnkit.load_weights(tiny_of(head_reads_spikes=True), {**state, **scales})
    assert (report.form, report.untold) == ({}, ("num_heads=8", "timesteps=1", "levels=4"))
    x = torch.rand(1, 3, 64, 64, dtype=torch.float64)
    assert model.eval()(x).isfinite().all()
    with pytest.raises(InvalidArgumentError, match="scale1"):
        snnkit.load_weights(model, state)


def test_two_heads():
    model, x = tiny(distilled=True), images(4)
    first, second = model.train()(x)
    assert first.shape == second.shape == (4, 3)
    model.eval()
    features = model.forward_features(x.unsqueeze(0))
    spikes = model.forward_head(features, pre_logits=True)
    torch.testing.assert_close(model(x), (model.head(spikes) + model.head_dist(spikes))[0] / 2)
    model.reset_classifier(5)
    assert model(x).shape == (4, 5)


def test_released_code_reads_membranes_in_its_first_head():
    spiking, released = tiny(), tiny(head_reads_spikes=False)
    for model in (spiking, released):
        read = model.eval().forward_head(model.forward_features(images().unsqueeze(0)), pre_logits=True)
        assert bool((read == read.round()).all()) == (model is spiking)


def test_merged_pair_is_one_convolution():
    torch.manual_seed(0)
    for outer in (False, True):
        pair = PointwisePair(6, 8, 10, outer).double().eval()
        for norm in [m for m in pair.modules() if isinstance(m, torch.nn.BatchNorm2d)]:
            for value in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
                torch.nn.init.uniform_(value, 0.5, 1.5)
        x = torch.randn(2, 3, 6, 4, 5, dtype=torch.float64)
        torch.testing.assert_close(pair.merged()(x), pair(x), rtol=1e-11, atol=1e-11)


def test_deployed_is_equal():
    model = tiny().eval()
    assert torch.allclose(deploy(model)(images()), model(images()), rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda: tiny(embed_dim=(7, 8, 16)), "even"),
        (lambda: tiny(num_heads=3), "num_heads=3"),
    ],
)
def test_bad_input_is_named(make, word):
    with pytest.raises(InvalidArgumentError, match=word):
        make()
    with pytest.raises(UnknownNameError, match="base"):
        tiny(choice="bas")
