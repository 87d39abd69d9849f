"""The light UniFormer against a loop over images and tokens, and that a call keeps nothing.

Would break it: tokens that come back in another order, a merged token weighted by its new score, dropped tokens that
are not updated, scores left over from the image before.
"""

import pytest
import torch
from support.macs import gmacs

import snnkit
from snnkit.errors import InvalidArgumentError
from snnkit.models.uniformer_light import PruningBlock, _halved


def tiny(**settings):
    torch.manual_seed(0)
    given = {
        "depths": (1, 1, 4, 3),
        "dims": (8, 8, 16, 24),
        "head_dim": 8,
        "img_size": 64,
        "num_classes": 5,
        **settings,
    }
    model = snnkit.create_model("uniformer_xxs", **given).double().eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model


def by_hand(block, tokens, cls, scores):
    """One image: tokens (N, C) after the position convolution, class token (C), scores (N)."""
    count = int(len(tokens) * block.keep)
    ranking = sorted(range(len(tokens)), key=lambda i: -scores[i].item())
    kept, dropped = ranking[:count], ranking[count:]
    total = sum(scores[i] for i in dropped)
    merged = sum(scores[i] / total * tokens[i] for i in dropped)
    y = torch.stack([cls, *(tokens[i] for i in kept), merged])
    heads, dim = block.mix.attention.heads, y.shape[1]
    width = dim // heads
    qkv = block.mix.attention.qkv(block.mix.norm(y))
    mixed, seen = [], torch.zeros(len(y), dtype=y.dtype)
    for head in range(heads):
        q, k, v = (qkv[:, part * dim + head * width : part * dim + (head + 1) * width] for part in range(3))
        attention = (q @ k.T / width**0.5).softmax(-1)
        mixed.append(attention @ v)
        seen += attention[0] / heads
    first = block.mix.project(torch.cat(mixed, 1))
    second = block.mlp(y + first)
    z = y + first + second
    new_tokens, new_scores = tokens.clone(), scores.clone()
    for place, i in enumerate(kept):
        new_tokens[i] = z[1 + place]
        new_scores[i] = (1 - block.trade) * scores[i] + block.trade * seen[1 + place]
    for i in dropped:
        new_tokens[i] = tokens[i] + first[-1] + second[-1]
    return new_tokens, z[0], new_scores


@pytest.mark.parametrize(("keep", "trade", "side"), [(0.5, 0.5, 4), (0.3, 0.8, 3), (0.5, 0.5, 1)])
def test_a_block_equals_the_loop(keep, trade, side):
    torch.manual_seed(1)
    block = PruningBlock(16, 2, 3.0, 0.0, keep, trade).double().eval()
    x, cls, scores = torch.randn(3, 16, side, side), torch.randn(3, 1, 16), torch.rand(3, side * side)
    x, cls, scores = x.double(), cls.double(), scores.double()
    with torch.no_grad():
        y, cls_after, scores_after = block(x, cls, scores)
        tokens = block.position(x).flatten(2).transpose(1, 2)
        for image in range(3):
            expected = by_hand(block, tokens[image], cls[image, 0], scores[image])
            got = (y[image].flatten(1).T, cls_after[image, 0], scores_after[image])
            for a, b in zip(got, expected, strict=True):
                torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_a_block_that_keeps_all_is_plain_attention():
    torch.manual_seed(1)
    block = PruningBlock(16, 2, 3.0, 0.0, 1.0, 0.25).double().eval()
    x, cls, scores = torch.randn(2, 16, 4, 4).double(), torch.randn(2, 1, 16).double(), torch.rand(2, 16).double()
    with torch.no_grad():
        y, _, first = block(x, cls, None)
        again, _, mixed = block(x, cls, scores)
        z = torch.cat([cls, block.position(x).flatten(2).transpose(1, 2)], 1)
        normed = block.mix.norm(z)
        q, k, v = block.mix.attention.qkv(normed).view(2, 17, 3, 2, 8).permute(2, 0, 3, 1, 4)
        attention = (q @ k.transpose(-1, -2) / 8**0.5).softmax(-1)
        z = z + block.mix.project((attention @ v).transpose(1, 2).reshape(2, 17, 16))
        z = z + block.mlp(z)
    torch.testing.assert_close(y.flatten(2).transpose(1, 2), z[:, 1:], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(first, attention[:, :, 0, 1:].mean(1), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(mixed, 0.75 * scores + 0.25 * first, rtol=1e-12, atol=1e-12)
    assert torch.equal(y, again)


def test_scores_are_halved_and_keep_their_sum():
    scores = torch.arange(16.0).reshape(1, 16)
    small = _halved(scores, torch.zeros(1, 1, 2, 8))
    expected = torch.tensor([[0 + 1 + 8 + 9, 2 + 3 + 10 + 11, 4 + 5 + 12 + 13, 6 + 7 + 14 + 15]]) / 4 * 4.0
    torch.testing.assert_close(small, expected)
    assert small.sum() == scores.sum()


def test_calls_keep_nothing():
    """Other images and sizes in between, and two calls at once."""
    model, x = tiny(), torch.rand(2, 3, 64, 64).double()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with torch.no_grad():
        first = model(x)
        model(torch.rand(3, 3, 96, 64).double())
        assert torch.equal(model(x), first)
        handle = model.stages[2][1].register_forward_hook(lambda *_: inside.append(twin(x.flip(0))))
        inside, twin = [], tiny()
        assert torch.equal(model(x), first)
        handle.remove()
        torch.testing.assert_close(inside[0], first.flip(0))
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert set(vars(model)) == set(vars(tiny()))


def test_training_answers_twice_and_eval_once():
    model, x = tiny(), torch.rand(4, 3, 64, 64).double()
    assert model(x).shape == (4, 5)
    of_map, of_cls = model.train()(x)
    assert of_map.shape == of_cls.shape == (4, 5)
    model.reset_classifier(3)
    assert [y.shape for y in model(x)] == [(4, 3), (4, 3)]
    assert "cls_token" in model.no_weight_decay()


PUBLISHED = {  # key: shape, of the published XXS
    "patch_embed1.proj.0.weight": (28, 3, 3, 3),
    "patch_embed1.proj.4.running_var": (56,),
    "patch_embed2.norm.weight": (112,),
    "patch_embed4.proj.weight": (448, 224, 2, 2),
    "cls_token": (1, 1, 224),
    "cls_upsample.weight": (448, 224),
    "blocks2.4.attn.weight": (112, 1, 5, 5),
    "blocks3.7.attn.qkv.weight": (672, 224),
    "blocks4.1.mlp.fc1.weight": (1344, 448),
    "norm.running_mean": (448,),
    "norm_cls.bias": (448,),
    "head_cls.weight": (1000, 448),
}


def test_published_keys_find_their_place():
    model = snnkit.create_model("uniformer_xxs")
    given = {key: torch.zeros(shape) for key, shape in PUBLISHED.items()}
    given["blocks1.0.pos_embed.bias"] = torch.zeros(56)
    report = snnkit.load_weights(model, {"model": given}, strict=False)
    assert len(report.loaded) == len(given)
    assert not report.unused
    assert report.source == "published (UniFormer light)"


@pytest.mark.parametrize(("name", "side", "expected"), [("uniformer_xxs", 128, 0.43), ("uniformer_xxs", 224, 1.3)])
def test_macs(name, side, expected):
    """Published to two digits; XS says 2.0 at 224, where the products are 1.93."""
    assert gmacs(name, 3, side, side) == pytest.approx(expected, abs=0.005)


def test_refused():
    for key, wrong in (("keep", 0), ("keep", 1.5), ("trade", -0.1)):
        with pytest.raises(InvalidArgumentError, match=key):
            tiny(**{key: wrong})
    light = {key: torch.zeros(shape) for key, shape in PUBLISHED.items()} | {
        "blocks1.0.pos_embed.bias": torch.zeros(56)
    }
    with torch.device("meta"):
        plain = snnkit.create_model("uniformer_small_plus")
    with pytest.raises(InvalidArgumentError, match=r"class token.*uniformer_xxs"):
        snnkit.load_weights(plain, light)
