"""Spikformer V2: what is published of it, and what its spikes are.

Would break it: another stem than the one with the published counts, a neuron that sends more than one spike, a stride
other than 16, tokens that depend on their order.
"""

import pytest
import torch

import snnkit
from snnkit.errors import InvalidArgumentError

TINY = {"embed_dim": 32, "depth": 2, "num_heads": 1, "stem_ratio": 2, "in_chans": 2, "num_classes": 3}


def build(**settings):
    torch.manual_seed(0)
    model = snnkit.create_model("spikformer_v2_8_384", **{**TINY, **settings}).double()
    for norm in [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]:
        torch.nn.init.uniform_(norm.weight, 1, 3)  # so that neurons fire
        torch.nn.init.uniform_(norm.bias, 0.2, 0.9)
        norm.momentum = 1.0
    with torch.no_grad():
        model.train()(images())
    return model.eval()


def images(height=64, width=64):
    return torch.rand(2, 2, height, width, generator=torch.Generator().manual_seed(1)).double()


@pytest.mark.parametrize(("size", "published_m"), [("8_384", 29.11), ("8_512", 51.55), ("16_768", 172)])
def test_counts_are_the_published_ones(size, published_m):
    """To the digits printed; the counts themselves are registered, and counted elsewhere."""
    params = snnkit.model_info(f"spikformer_v2_{size}").params / 1e6
    assert abs(params - published_m) <= (0.005 if published_m != 172 else 0.5)


def test_spikes_are_binary_and_shortcuts_count_them():
    model = build()
    with torch.no_grad(), snnkit.record(model) as tape:
        maps = model.forward_stages(model.forward_stem(model.encoder(images())))
    assert len(tape) == 4 * 3 + 2 * 7
    for name in tape:
        assert set(tape[name].spikes.unique().tolist()) == {0.0, 1.0}, name
    for y in maps:
        assert torch.equal(y, y.round())
    assert maps[0].max() == 2
    assert 2 < maps[-1].max() <= 2 + 2 * 2


@pytest.mark.parametrize(("height", "width"), [(32, 32), (64, 48)])
def test_stride(height, width):
    features = build().forward_features(images(height, width).unsqueeze(0))
    assert features.shape == (1, 2, 32, height // 16, width // 16)


def test_blocks_do_not_know_the_order_of_tokens():
    """So that the masked form may gather the visible ones."""
    model = build()
    x = torch.randint(0, 3, (2, 1, 32, 2, 3), generator=torch.Generator().manual_seed(0)).double()
    order = torch.tensor([4, 0, 5, 2, 1, 3])
    row = x.flatten(3)[..., order].unsqueeze(4)
    torch.testing.assert_close(
        model.forward_blocks(row).squeeze(4), model.forward_blocks(x).flatten(3)[..., order], rtol=0, atol=1e-12
    )


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda: build(embed_dim=12), "multiple of 8"),
        (lambda: build(num_heads=3), "multiple of 3"),
        (lambda: build(depth=0), "depth"),
        (lambda: build(mlp_ratio=0), "mlp_ratio"),
        (lambda: build()(images(8, 32)), "needs 16"),
    ],
)
def test_bad_input_is_named(make, word):
    with pytest.raises(InvalidArgumentError, match=word):
        make()
