"""E-SpikeFormer's large models and their masked autoencoder against the published code; hidden patches stay hidden.

Would break it: a value that crosses into a hidden patch and back, statistics over hidden places, halves rounded to
even, latents at other places than they belong to, a loss that asks for visible patches.
"""

import copy

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
TINY_DECODER = {"decoder_dim": 8, "decoder_depth": 1, "decoder_heads": 2}


def tiny_mae(**settings):
    torch.manual_seed(0)
    model = snnkit.create_model("e_spikeformer_mae_12_512", **{**TINY, **TINY_DECODER, **settings}).double()
    for norm in [m for m in model.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)]:
        torch.nn.init.uniform_(norm.weight, 1, 3)  # so that eval mode fires
        torch.nn.init.uniform_(norm.bias, 0.2, 0.9)
    return model


def tiny(**settings):
    torch.manual_seed(0)
    return snnkit.create_model("e_spikeformer_12_512", **{**TINY, "num_classes": 3, **settings}).double()


def images(batch=2, seed=1):
    return torch.rand(batch, 2, 64, 64, generator=torch.Generator().manual_seed(seed)).double() * 3


def noise(batch=2, seed=2):
    return torch.rand(batch, 16, generator=torch.Generator().manual_seed(seed))


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


@pytest.mark.parametrize("training", [False, True])
def test_hidden_pixels_have_no_influence(training):
    """Neither on features nor on statistics; a visible pixel has."""
    model, x, given = tiny_mae(), images(), noise()
    masking = mask_from_noise(given, 0.5)
    removed = masking.removed.unflatten(1, (4, 4)).repeat_interleave(16, 1).repeat_interleave(16, 2).bool()
    other = torch.where(removed.unsqueeze(1), images(seed=7) * 100, x)
    results = []
    for given_images in (x, other, images(seed=7)):
        copied = copy.deepcopy(model).train(training)
        latent, _ = copied.encode(given_images, masking)
        results.append([latent, *copied.buffers()])
    for a, b in zip(results[0], results[1], strict=True):
        assert torch.equal(a, b)
    assert not torch.allclose(results[0][0], results[2][0])


def test_feature_maps_are_zero_where_hidden():
    model, x = tiny_mae().eval(), images()
    masking = mask_from_noise(noise(), 0.5)
    active = model.active(masking, x)
    for y in model.encoder.forward_stages(model.encoder.stem(x.unsqueeze(0)) * 0, active)[:3]:
        scale = y.shape[-1] // 4
        hidden = active.repeat_interleave(scale, 1).repeat_interleave(scale, 2) == 0
        assert (y[0].movedim(1, -1)[hidden] == 0).all()
        assert (y[0].movedim(1, -1)[~hidden] != 0).any()


def test_loss_is_over_hidden_patches_and_noise_decides():
    model, x = tiny_mae().eval(), images()
    first, again, other = model(x, noise()), model(x, noise()), model(x, noise(seed=3))
    assert torch.equal(first.loss, again.loss)
    assert not torch.equal(first.removed, other.removed)
    assert (first.removed.sum(1) == 8).all()
    torch.manual_seed(5)
    a = model(x)
    torch.manual_seed(5)
    assert torch.equal(a.removed, model(x).removed)


def test_every_parameter_learns_and_checkpointing_changes_nothing():
    results = []
    for checkpointed in (False, True):
        model = tiny_mae().train()
        model.set_grad_checkpointing(checkpointed)
        out = model(images(), noise())
        out.loss.backward()
        head = [key for key, p in model.named_parameters() if p.grad is None]
        assert head == []
        results.append([out.loss, *(p.grad for p in model.parameters()), *model.buffers()])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


def test_compiled_and_exported():
    torch._dynamo.reset()
    model, x, given = tiny_mae().eval(), images(), noise()
    expected = model(x, given)
    for run in (
        torch.compile(model, fullgraph=True, backend="aot_eager"),
        torch.export.export(model, (x, given)).module(),
    ):
        for a, b in zip(run(x, given), expected, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-10)


def test_bfloat16():
    out = tiny_mae().bfloat16().train()(images().bfloat16(), noise())
    assert out.loss.dtype == torch.bfloat16
    assert out.loss.isfinite()


def test_pretrained_weights_go_into_the_classifier(tmp_path):
    from snnkit.checkpoints import save_weights

    model, classifier = tiny_mae().train(), tiny(layer_scale=0.0)
    model(images(), noise())  # statistics move
    save_weights(model, tmp_path / "mae.safetensors")
    report = snnkit.load_weights(classifier, tmp_path / "mae.safetensors", strict=False)
    assert report.missing == ("head.weight", "head.bias")
    assert report.unused == ()
    for key, value in model.encoder.state_dict().items():
        assert torch.equal(classifier.state_dict()[key], value)


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
        (lambda: tiny_mae(img_size=40), "multiple of 16"),
        (lambda: tiny_mae(mask_ratio=1.0), "mask_ratio=1.0"),
        (lambda: tiny_mae()(images()[:, :1]), "takes images"),
        (lambda: tiny_mae()(images(), noise()[:, :3]), "one number a patch"),
    ],
)
def test_bad_input_is_named(make, word):
    with pytest.raises(InvalidArgumentError, match=word):
        make()
    with pytest.raises(UnknownNameError, match="base"):
        tiny(choice="bas")
