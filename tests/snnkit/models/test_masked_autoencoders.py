"""What holds for every masked autoencoder: hidden patches stay hidden, and the loss asks for them alone.

Would break it: a value that crosses into a hidden patch and back, statistics over hidden places, a bias that fills
them, a loss over visible patches, a parameter nothing reaches, an encoder that is not the classifier's.
"""

import copy

import pytest
import torch

import snnkit
from snnkit.checkpoints import save_weights
from snnkit.errors import InvalidArgumentError
from snnkit.layers.masked import mask_from_noise, reconstruction_loss

DECODER = {"decoder_dim": 8, "decoder_depth": 1, "decoder_heads": 2}
E_SPIKEFORMER = {"embed_dim": (8, 8, 16), "depth": 1, "num_heads": 1, "levels": 2}
SPIKFORMER_V2 = {"embed_dim": 16, "depth": 1, "num_heads": 2, "stem_ratio": 2}
MODELS = {
    "e_spikeformer_mae_12_512": ("e_spikeformer_12_512", E_SPIKEFORMER, {"layer_scale": 0.0}),
    "spikformer_v2_mae_8_384": ("spikformer_v2_8_384", SPIKFORMER_V2, {}),
}
every = pytest.mark.parametrize("name", MODELS)
# What must not leak, with further settings: also over several time steps, and with blocks on visible tokens.
FORMS = [
    *((name, {}) for name in MODELS),
    *((name, {"timesteps": 3}) for name in MODELS),
    ("e_spikeformer_mae_12_512", {"visible_only": True}),
    ("e_spikeformer_mae_12_512", {"visible_only": True, "timesteps": 3, "choice": "large"}),
]


def build(name, **settings):
    torch.manual_seed(0)
    sizes = {"in_chans": 2, "img_size": 64, **MODELS[name][1], **DECODER, **settings}
    model = snnkit.create_model(name, **sizes).double()
    for norm in [m for m in model.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)]:
        torch.nn.init.uniform_(norm.weight, 1, 3)  # so that neurons fire
        torch.nn.init.uniform_(norm.bias, 0.2, 0.9)
        norm.momentum = 1.0
    with torch.no_grad():
        model.train()(torch.rand(2, 2, *model.img_size).double())
    return model


def images(batch=2, seed=1):
    return torch.rand(batch, 2, 64, 64, generator=torch.Generator().manual_seed(seed)).double() * 3


def noise(batch=2, seed=2):
    return torch.rand(batch, 16, generator=torch.Generator().manual_seed(seed))


def pixels(removed):
    """A mask of patches as one of pixels (B, 1, H, W)."""
    return removed.unflatten(1, (4, 4)).repeat_interleave(16, 1).repeat_interleave(16, 2).unsqueeze(1).bool()


@pytest.mark.parametrize(("name", "settings"), FORMS, ids=repr)
@pytest.mark.parametrize("training", [False, True])
def test_hidden_pixels_have_no_influence(name, settings, training):
    """Neither on features nor on statistics, not by a bit; visible ones have."""
    model, x = build(name, **settings), images()
    masking = mask_from_noise(noise(), 0.5)
    other = torch.where(pixels(masking.removed), images(seed=7) * 100, x)
    results = []
    for given in (x, other, torch.where(pixels(masking.removed), x, images(seed=7))):
        copied = copy.deepcopy(model).train(training)
        latent, _ = copied.encode(given, masking)
        results.append([latent, *copied.buffers()])
    for a, b in zip(results[0], results[1], strict=True):
        assert torch.equal(a, b)
    assert not torch.allclose(results[0][0], results[2][0])


@every
def test_convolutions_leave_hidden_places_at_zero(name):
    model = build(name).train()
    masking = mask_from_noise(noise(), 0.5)
    x = images() * ~pixels(masking.removed)
    seen = {}

    def keep(module, _inputs, output):
        seen[module] = output

    names = [key for key, _ in model.named_modules() if key.startswith("encoder.") and key.endswith("neuron")]
    stem = [key for key in names if not any(part in key for part in ("stage3", "blocks", "head"))]
    handles = [model.get_submodule(key).register_forward_hook(keep) for key in stem]
    model.encode(x, masking)
    for handle in handles:
        handle.remove()
    assert len(seen) >= 8
    for spikes in seen.values():
        scale = spikes.shape[-1] // 4
        hidden = masking.removed.unflatten(1, (4, 4)).repeat_interleave(scale, 1).repeat_interleave(scale, 2).bool()
        at = spikes[0].movedim(1, -1)
        assert (at[hidden] == 0).all()
        assert (at[~hidden] != 0).any()


@every
def test_the_loss_asks_for_hidden_patches(name):
    """It is the mean over them; what is painted at visible places does not count, and noise decides which these are."""
    model, x = build(name).eval(), images()
    first, again, other = model(x, noise()), model(x, noise()), model(x, noise(seed=3))
    assert torch.equal(first.loss, again.loss)
    assert not torch.equal(first.removed, other.removed)
    kept = int(16 * (1 - model.mask_ratio))
    assert (first.removed.sum(1) == 16 - kept).all()
    assert torch.equal(first.removed, (noise().argsort(1).argsort(1) >= kept).float())
    nonsense = torch.where(first.removed.unsqueeze(2).bool(), first.painted, 1e6)
    loss = reconstruction_loss(nonsense, x, first.removed, 16, model.normalise)
    assert torch.equal(loss, first.loss)
    torch.manual_seed(5)
    drawn = model(x)
    torch.manual_seed(5)
    assert torch.equal(drawn.removed, model(x).removed)
    assert not torch.equal(drawn.removed, model(x).removed)


@every
def test_painting_is_learned(name):
    """Ramps, level in one image and upright in the other: which is which follows from visible patches alone."""
    model = build(name, decoder_dim=32, mask_ratio=0.5).train()
    ramp = torch.linspace(0, 1, 16, dtype=torch.float64).repeat(4)
    x = torch.stack([ramp.expand(64, 64), ramp.unsqueeze(1).expand(64, 64)]).unsqueeze(1).expand(2, 2, 64, 64)
    optimiser = torch.optim.AdamW(model.parameters(), 1e-2)
    torch.manual_seed(0)
    losses = []
    for _ in range(30):
        loss = model(x).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 < 0.8 < losses[0], losses[::5]  # without looking, painting the mean costs 0.5


@every
def test_every_parameter_gets_a_gradient_and_checkpointing_changes_nothing(name):
    results = []
    for checkpointed in (False, True):
        model = build(name).train()
        model.set_grad_checkpointing(checkpointed)
        out = model(images(), noise())
        out.loss.backward()
        assert [key for key, p in model.named_parameters() if p.grad is None] == []
        results.append([out.loss, *(p.grad for p in model.parameters()), *model.buffers()])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


@pytest.mark.slow
@every
def test_exported_and_compiled(name):
    torch._dynamo.reset()
    model, x, given = build(name).eval(), images(), noise()
    exported = torch.export.export(model, (x, given)).module()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    with torch.no_grad():
        for run in (exported, compiled):
            for a, b in zip(run(x, given), model(x, given), strict=True):
                torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-10)


@every
def test_bfloat16(name):
    out = build(name).bfloat16().train()(images().bfloat16(), noise())
    assert out.loss.dtype == torch.bfloat16
    assert out.loss.isfinite()


@every
def test_pretrained_weights_go_into_the_classifier(name, tmp_path):
    classifier, sizes, settings = MODELS[name]
    model = build(name).train()
    model(images(), noise())  # statistics move
    save_weights(model, tmp_path / "mae.safetensors")
    classifier = snnkit.create_model(classifier, in_chans=2, num_classes=3, **sizes, **settings).double()
    report = snnkit.load_weights(classifier, tmp_path / "mae.safetensors", strict=False)
    assert report.missing == ("head.weight", "head.bias")
    assert report.unused == ()
    for key, value in model.encoder.state_dict().items():
        assert torch.equal(classifier.state_dict()[key], value)


@every
def test_weights_round_trip(name, tmp_path):
    from snnkit.checkpoints import build_model

    model = build(name).float().eval()
    config = {"name": name, "in_chans": 2, "img_size": 64, **MODELS[name][1], **DECODER}
    save_weights(model, tmp_path / "mae.safetensors", config)
    other, _ = build_model(tmp_path / "mae.safetensors")
    assert torch.equal(other(images().float(), noise()).loss, model(images().float(), noise()).loss)


@every
def test_a_rectangle(name):
    model = build(name, img_size=(32, 64)).eval()
    out = model(images()[:, :, :32], noise()[:, :8])
    assert out.painted.shape == (2, 8, 512)


@every
def test_bad_input_is_named(name):
    model = build(name)
    for make, word in (
        (lambda: build(name, img_size=40), "multiple of 16"),
        (lambda: build(name, mask_ratio=1.0), "mask_ratio=1.0"),
        (lambda: model(images()[:, :1]), "takes images"),
        (lambda: model(images(), noise()[:, :3]), "one number a patch"),
    ):
        with pytest.raises(InvalidArgumentError, match=word):
            make()


def test_blocks_on_visible_tokens_alone():
    """Fewer tokens go through them, the decoder fills the gaps by its mask token, and that one learns."""
    model = build("e_spikeformer_mae_12_512", visible_only=True).train()
    seen = []
    model.encoder.stage3[0].register_forward_pre_hook(lambda _, given: seen.append(given[0].shape[3:]))
    found = model(images(), noise())
    found.loss.backward()
    assert seen == [(8, 1)]
    assert found.latent.shape[:2] == (2, 8)
    assert model.decoder.mask_token.grad.abs().max() > 0
    with pytest.raises(InvalidArgumentError, match="reshuffle"):
        build("e_spikeformer_mae_12_512", visible_only=True, reshuffle=True)


CONVMAE = {"embed_dim": (4, 8, 16), "depths": (2, 1, 1), "num_heads": 2, **DECODER}
VIT = {"patch_size": 16, "embed_dim": 32, "depth": 2, "num_heads": 2, **DECODER}


@pytest.mark.parametrize(
    ("name", "sizes", "tokens"),
    [
        ("mae:timm:vit_tiny_patch16_224", VIT, 5),
        ("mae:timm:vit_tiny_patch16_224", {**VIT, "class_token": False, "global_pool": "avg"}, 4),
        ("mae:convvit_base", CONVMAE, 4),
        ("mae:convvit_base", {**CONVMAE, "class_token": True}, 5),
    ],
)
@pytest.mark.parametrize("training", [False, True])
def test_ordinary_encoders_do_not_see_hidden_pixels(name, sizes, tokens, training):
    """Through patches, masked convolutions, fusion and attention, not by a bit; blocks see visible tokens alone."""
    torch.manual_seed(0)
    model = snnkit.create_model(name, **sizes, img_size=64, in_chans=2).double().train(training)
    seen = []
    blocks = model.encoder.blocks if hasattr(model.encoder, "blocks") else model.encoder.stages[2]
    blocks[0].register_forward_pre_hook(lambda _, given: seen.append(given[0].shape[1]))
    masking = mask_from_noise(noise(), 0.75)
    x, other = images(), images(seed=7)
    hidden = pixels(masking.removed)
    latents = [
        model.encode(given, masking)[0]
        for given in (x, torch.where(hidden, other * 100, x), torch.where(hidden, x, other))
    ]
    assert seen == [tokens] * 3
    assert torch.equal(latents[0], latents[1])
    assert not torch.allclose(latents[0], latents[2])


@pytest.mark.parametrize("name", ["mae:timm:vit_tiny_patch16_224", "mae:convvit_base", "simmim"])
def test_checkpointing_ordinary_encoders_changes_nothing(name):
    sizes = {"mae:convvit_base": CONVMAE}.get(name, VIT)
    if name == "simmim":
        name, sizes = "simmim:timm:vit_tiny_patch16_224", {**VIT, "mask_patch_size": 16}
        sizes = {key: value for key, value in sizes.items() if key not in DECODER}
    results = []
    for again in (False, True):
        torch.manual_seed(0)
        model = snnkit.create_model(name, **sizes, img_size=64, in_chans=2).double().train()
        model.set_grad_checkpointing(again)
        loss = model(images(), noise()).loss
        loss.backward()
        trained = [p for p in model.parameters() if p.requires_grad]
        assert all(p.grad is not None for p in trained)
        results.append([loss, *(p.grad for p in trained)])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


def test_simmim_hides_by_a_token_before_the_encoder():
    """Hidden pixels reach the loss's target alone; the encoder runs on all tokens."""
    torch.manual_seed(0)
    sizes = {"embed_dim": 8, "depths": (1, 1, 1, 1), "num_heads": (1, 2, 2, 4), "pretrained_window_size": 0}
    name = "simmim:swinv2_tiny_window8_256"
    model = snnkit.create_model(name, **sizes, img_size=64, in_chans=2, mask_patch_size=16, window_size=4).double()
    found = model(images(), noise())
    hidden = found.removed.unflatten(1, (16, 16)).repeat_interleave(4, 1).repeat_interleave(4, 2).unsqueeze(1).bool()
    assert (found.removed.sum(1) == 10 * 16).all()  # ⌈16 · 0.6⌉ cells of 16 patches
    changed = model(torch.where(hidden, images(seed=7), images()), noise())
    assert torch.equal(changed.painted, found.painted)
    assert not torch.equal(changed.loss, found.loss)
    assert found.latent.shape[1] == 4


def test_targets_far_from_zero_keep_their_digits():
    """Mean and deviation of windows in float32, for pixels around a thousand."""
    from snnkit.layers.pixel_targets import local_statistics

    x = images().float() + 1000
    for a, b in zip(local_statistics(x, 5), local_statistics(x.double(), 5), strict=True):
        torch.testing.assert_close(a.double(), b, rtol=1e-4, atol=1e-4)
