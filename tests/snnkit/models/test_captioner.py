"""Captioner: a causal decoder over image tokens, around ordinary and spiking image models, frozen or trained.

Would break it: tokens that see later ones, kept keys that give other texts than computing all anew, images that make
no difference, frozen models that move all the same or are missing in the checkpoint, parameters that wait for
gradients that never come, time steps that are not averaged, weights that land in another place.
"""

import pytest
import torch
import torch.nn.functional as F

import snnkit
from snnkit.checkpoints import build_model, save_weights
from snnkit.engine.start import start_from
from snnkit.errors import SnnkitError
from snnkit.layers.text_decoder import TextDecoder, as_inputs, as_targets
from snnkit.models.captioner import Captioner
from snnkit.models.registry import accepts
from snnkit.optim import parameter_groups

NARROW = {"stem_type": "", "stem_width": 8, "channels": (8, 8, 16, 16)}
TEXT = {"vocabulary": 11, "context": 6, "text_width": 16, "text_depth": 2, "text_heads": 2, "text_dropout": 0.0}
RESNET = {"name": "captioner:timm:resnet10t", **NARROW, **TEXT}
LOOKUP = {
    "name": "captioner:lookupvit_small",
    "img_size": 32,
    "depth": 2,
    "embed_dim": 16,
    "num_heads": 2,
    "lookup_grid": (2, 3),
    **TEXT,
}
SPIKING = {
    "name": "captioner:meta_spikeformer_15m",
    "timesteps": 2,
    "embed_dim": (8, 8, 16, 16),
    "num_heads": 2,
    "depths": (1, 1, 1, 1, 1),
    **TEXT,
}
MOAT = {"name": "captioner:moat_0", "stem_dim": 8, "dims": (8, 16, 32, 32), "depths": (1, 1, 1, 1), **TEXT}


def made(sizes, **changes):
    torch.manual_seed(0)
    return snnkit.create_model(**{**sizes, **changes})


def pairs(count=3, side=32):
    torch.manual_seed(1)
    return torch.randn(count, 3, side, side), torch.randint(1, 11, (count, 6))


def test_a_later_token_changes_nothing_before_it():
    model = made(RESNET).eval()
    images, tokens = pairs()
    whole = model(images, tokens)
    for place in range(6):
        other = tokens.clone()
        other[:, place] = tokens[:, place] % 10 + 1
        changed = (model(images, other) - whole).abs().amax((0, 2))
        assert changed[: place + 1].max() == 0  # a token is predicted from those before it alone
        assert place == 5 or changed[place + 1 :].min() > 0
    assert (model(images.flip(0), tokens) - whole).abs()[0].max() > 1e-4  # the image is read


def test_kept_keys_give_what_computing_all_anew_gives():
    model = made(RESNET, text_depth=3).eval()
    images, tokens = pairs()
    seen = model.forward_images(images)
    whole, kept = model.forward_texts(seen, tokens), model.decoder.keeping()
    inputs = as_inputs(tokens)
    parts = [model.decoder(inputs[:, a:b], seen, kept) for a, b in ((0, 1), (1, 2), (2, 5), (5, 6))]
    torch.testing.assert_close(torch.cat(parts, 1), whole)
    with pytest.raises(SnnkitError, match="behind 6"):
        model.decoder(inputs[:, :1], seen, kept)


@pytest.mark.parametrize("beam", [1, 3])
def test_texts_are_the_same_with_and_without_kept_keys(beam):
    model = made(RESNET).eval()
    for layer in (model.decoder.embedding, model.decoder.head, *(block.read for block in model.decoder.blocks)):
        torch.nn.init.normal_(layer.weight)  # texts of several lengths that depend on the image
    seen = torch.randn(16, 5, 16) * 3
    fast, slow = (model.write(seen, beam, 0.5, keep=keep) for keep in (True, False))
    assert torch.equal(fast.tokens, slow.tokens)
    torch.testing.assert_close(fast.scores, slow.scores)
    assert len({tuple(row) for row in fast.tokens.tolist()}) > 1
    one = model.write(seen[5:6], beam, 0.5)
    assert torch.equal(one.tokens[0], fast.tokens[5])
    if beam == 1:
        row = fast.tokens[:1]
        steps = model.forward_texts(seen[:1], row)[0].log_softmax(-1)
        length = min(int((row != 0).sum()) + 1, 6)
        assert steps[:length].argmax(-1).tolist() == row[0, :length].tolist()
        score = steps[:length].gather(1, row[0, :length, None]).sum() / length**0.5
        torch.testing.assert_close(fast.scores[0], score)


def test_what_a_text_is_learned_as():
    tokens = torch.tensor([[3, 2, 0, 0], [1, 1, 4, 2], [0, 0, 0, 0]])
    assert as_inputs(tokens).tolist() == [[0, 3, 2, 0], [0, 1, 1, 4], [0, 0, 0, 0]]
    assert as_targets(tokens).tolist() == [[3, 2, 0, -100], [1, 1, 4, 2], [0, -100, -100, -100]]


def test_spiking_maps_are_averaged_over_time():
    model = made(SPIKING).eval()
    images, _ = pairs()
    sequence = torch.stack([images, images.flip(0)])
    maps = model.backbone(sequence)[-1]
    assert maps.shape == (2, 3, 16, 2, 2)
    seen = model.forward_images(sequence)
    assert seen.shape == (3, 4, 16)
    plain = model.project(model.norm(maps.mean(0).flatten(2).transpose(1, 2)))
    moved = seen - plain  # positions: the same for every image
    torch.testing.assert_close(moved[0], moved[2], atol=1e-5, rtol=0)
    assert moved.abs().max() > 0.5
    assert model.timesteps == 2


def test_lookupvit_is_read_by_its_compressed_tokens():
    model = made(LOOKUP).eval()
    images, tokens = pairs()
    assert model.forward_images(images).shape == (3, 6, 16)
    torch.testing.assert_close(
        model.forward_images(images), model.project(model.norm(model.backbone.encoder.forward_tokens(images)[0]))
    )
    assert model(images, tokens).shape == (3, 6, 11)


@pytest.mark.parametrize("sizes", [RESNET, LOOKUP, SPIKING, MOAT], ids=lambda sizes: sizes["name"])
def test_all_that_is_trained_gets_a_gradient(sizes):
    model = made(sizes, frozen=False).train()
    images, tokens = pairs()
    F.cross_entropy(model(images, tokens).flatten(0, 1), tokens.flatten()).backward()
    trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    assert not [name for name, p in trained if p.grad is None]
    assert any(name.startswith("backbone.") for name, _ in trained)
    assert sizes is not LOOKUP or "backbone.encoder.norm.weight" in dict(trained)


@pytest.mark.parametrize("sizes", [RESNET, SPIKING], ids=lambda sizes: sizes["name"])
def test_a_frozen_image_model_stays_to_the_bit(sizes, tmp_path):
    model = made(sizes).train()
    assert not any(module.training for module in model.backbone.modules())
    before = {key: value.clone() for key, value in model.state_dict().items()}
    groups = parameter_groups(model, 0.1)
    held = {id(p) for group in groups for p in group["params"]}
    assert held.isdisjoint(map(id, model.backbone.parameters()))
    optimizer = torch.optim.AdamW(groups, lr=0.01)
    images, tokens = pairs()
    for _ in range(3):
        F.cross_entropy(model(images, tokens).flatten(0, 1), tokens.flatten()).backward()
        optimizer.step()
        optimizer.zero_grad()
    after = model.state_dict()
    moved = {key for key in before if not torch.equal(before[key], after[key])}
    assert not {key for key in moved if key.startswith("backbone.")}
    assert any("running_mean" in key for key in before)
    assert {"decoder.head.weight", "project.weight", "norm.weight"} <= moved
    config = {**sizes, "channels": list(NARROW["channels"])} if "channels" in sizes else sizes
    save_weights(model, tmp_path / "w.safetensors", config)
    again, _ = build_model(tmp_path / "w.safetensors")
    assert again.frozen
    torch.testing.assert_close(again(images, tokens), model.eval()(images, tokens), rtol=0, atol=0)


def test_a_trained_image_model_moves_its_norms():
    model = made(RESNET, frozen=False).train()
    before = {key: value.clone() for key, value in model.state_dict().items() if "running_mean" in key}
    model(*pairs())
    assert not any(torch.equal(value, model.state_dict()[key]) for key, value in before.items())


@pytest.mark.parametrize("sizes", [RESNET, LOOKUP], ids=lambda sizes: sizes["name"])
def test_a_classifier_is_where_the_image_model_begins(sizes, tmp_path):
    inner = {key: value for key, value in sizes.items() if key not in TEXT}
    classifier = snnkit.create_model(**{**inner, "name": sizes["name"].partition(":")[2], "num_classes": 5})
    save_weights(classifier, tmp_path / "c.safetensors", {"name": inner["name"].partition(":")[2], "num_classes": 5})
    model = made(sizes)
    decoder = model.decoder.head.weight.clone()
    report = start_from(model, tmp_path / "c.safetensors", strict=True)
    given = classifier.state_dict()
    assert report.loaded
    shared = [k for k in model.backbone.encoder.state_dict() if not k.startswith("head")]
    assert all(torch.equal(model.backbone.encoder.state_dict()[k], given[k]) for k in shared)
    assert torch.equal(model.decoder.head.weight, decoder)
    save_weights(model, tmp_path / "m.safetensors", {"name": sizes["name"]})
    other = made(sizes)
    torch.nn.init.zeros_(other.decoder.head.weight)
    start_from(other, tmp_path / "m.safetensors", strict=True)
    assert torch.equal(other.decoder.head.weight, decoder)
    wider = made({**sizes, "embed_dim": 32} if "embed_dim" in sizes else {**sizes, "channels": (16, 16, 16, 16)})
    with pytest.raises(SnnkitError, match="does not hold the encoder|none of these"):
        start_from(wider, tmp_path / "c.safetensors", strict=True)


def test_recomputed_blocks_give_the_same_gradients():
    found = []
    for recomputed in (False, True):
        model = made(RESNET).train()
        if recomputed:
            model.set_grad_checkpointing()
        images, tokens = pairs()
        F.cross_entropy(model(images, tokens).flatten(0, 1), tokens.flatten()).backward()
        found.append(model.decoder.blocks[0].qkv.weight.grad)
    torch.testing.assert_close(*found)


def test_what_is_known_of_a_name():
    assert accepts("captioner:timm:resnet10t", "vocabulary")
    assert not accepts("captioner:timm:resnet10t", "num_classes")
    assert isinstance(made(RESNET), Captioner)
    assert {"decoder.position", "decoder.embedding.weight"} <= made(RESNET).no_weight_decay()
    assert {"backbone.encoder.lookup_positions"} <= made(LOOKUP).no_weight_decay()
    assert not hasattr(made(RESNET), "timesteps")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "captioner:spiking_cnn_small"}, "feature maps"),
        ({"name": "captionner:timm:resnet10t"}, "unknown method 'captionner'.*'captioner'"),
        ({"text_heads": 3}, "3 heads do not divide the width 16"),
        ({"text_width": 6, "text_heads": 1}, "text_width=6.*multiple of 4.*4 or 8"),
        ({"vocabulary": 1}, "vocabulary=1.*≥ 2"),
        ({"context": 0}, "context=0"),
        ({"text_dropout": 1.0}, "dropout=1.0"),
        ({"text_widht": 8}, "text_widht"),
    ],
)
def test_what_cannot_be_is_said_in_a_line(changes, words):
    sizes = {**RESNET, **changes}
    if "spiking" in sizes["name"]:
        sizes = {"name": sizes["name"], **TEXT}
    with pytest.raises(SnnkitError, match=words) as caught:
        snnkit.create_model(**sizes)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "tokens", [torch.ones(3, 7, dtype=torch.int64), torch.ones(3, 6), torch.ones(6, dtype=torch.int64)]
)
def test_what_no_text_is(tokens):
    decoder = TextDecoder(11, 6, 16, 1, 2)
    with pytest.raises(SnnkitError, match=r"whole numbers \(B, up to 6\)"):
        decoder(tokens, torch.zeros(3, 2, 16))
