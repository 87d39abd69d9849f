"""LookupViT by its properties: one product of queries and keys, used twice; any grid with one set of weights; its cost.

Would break it: a second softmax or a second product for the way back, a resize that is not the identity at the stored
size, a stream that no gradient reaches, weights that depend on the grid.
"""

import math

import pytest
import torch
from parity import close
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

import snnkit
from snnkit.errors import InvalidArgumentError
from snnkit.models.lookupvit import resize

SMALL = {"embed_dim": 24, "depth": 2, "num_heads": 3, "num_classes": 5, "img_size": 96}


def tiny(name="lookupvit_small", **settings):
    torch.manual_seed(0)
    model = snnkit.create_model(name, **{**SMALL, "lookup_grid": (4, 4), **settings}).double().eval()
    for part in model.parameters():  # biases and norms begin where they could be left out unseen
        torch.nn.init.normal_(part, std=0.2)
    return model


def images(*lead, side=96):
    return torch.randn(*lead, 3, side, side, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def test_a_block_by_hand():
    """Written out head by head: the lookup tokens get Aᵀ v, of the A that the compressed tokens read with."""
    model = tiny()
    block, exchange = model.blocks[0], model.blocks[0].exchange
    generator = torch.Generator().manual_seed(2)
    short, lookup = (torch.randn(2, n, 24, dtype=torch.float64, generator=generator) for n in (16, 36))
    with torch.no_grad():
        got_short, got_lookup = block(short, lookup)
        query = exchange.norm_query(exchange.query(exchange.norm_short(short)))
        key = exchange.norm_key(exchange.key(exchange.norm_lookup(lookup)))
        value = exchange.value_lookup(exchange.norm_lookup(lookup))
        heads = [slice(8 * h, 8 * h + 8) for h in range(3)]
        weights = [(query[..., h] @ key[..., h].transpose(1, 2) / math.sqrt(8)).softmax(2) for h in heads]
        z = short + torch.cat([a @ value[..., h] for a, h in zip(weights, heads, strict=True)], 2)
        z = z + block.proj(block.attn(block.norm1(z)))
        z = z + block.mlp(block.norm2(z))
        back = exchange.value_short(exchange.norm_back(z))
        written = torch.cat([a.transpose(1, 2) @ back[..., h] for a, h in zip(weights, heads, strict=True)], 2)
        y = lookup + written
        y = y + block.lookup_mlp(block.norm3(y))
    close(got_short, z, 1e-12)
    close(got_lookup, y, 1e-12)


def test_the_way_back_is_the_transposed_attention_exactly():
    exchange = tiny().blocks[0].exchange
    short, lookup = torch.randn(1, 16, 24, dtype=torch.float64), torch.randn(1, 36, 24, dtype=torch.float64)
    with torch.no_grad():
        _, attention = exchange(short, lookup)
        value = exchange.value_short(exchange.norm_back(short)).unflatten(2, (3, 8)).transpose(1, 2)
        expected = (attention.transpose(2, 3) @ value).transpose(1, 2).flatten(2)
        assert torch.equal(exchange.write(short, attention), expected)
    torch.testing.assert_close(attention.sum(3), torch.ones(1, 3, 16, dtype=torch.float64))
    assert (attention.sum(2) - 1).abs().max() > 0.1  # over the compressed tokens it does not sum to 1


class Products(TorchDispatchMode):
    """Collects the shapes of all batched products."""

    def __init__(self):
        super().__init__()
        self.shapes = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function is torch.ops.aten.bmm.default:
            self.shapes.append((args[0].shape[1], args[0].shape[2], args[1].shape[2]))
        return function(*args, **(kwargs or {}))


def test_one_product_of_queries_and_keys_in_a_block():
    """M = 16 queries, N = 36 keys, heads of 8 channels: M×8×N once; the values twice."""
    model = tiny(depth=3)
    with torch.no_grad(), Products() as products:
        model(images(1))
    assert products.shapes.count((16, 8, 36)) == 3
    assert products.shapes.count((36, 8, 16)) == 0
    assert products.shapes.count((16, 36, 8)) == products.shapes.count((36, 16, 8)) == 3


GRIDS = [(3, 3), (4, 4), (5, 5), (6, 6), (10, 10), (2, 7)]


def test_one_set_of_weights_serves_every_grid():
    """Built so or set later: the same network, and another one for each grid."""
    model, x = tiny(), images(2)
    seen = []
    for grid in GRIDS:
        other = tiny(lookup_grid=grid)
        assert snnkit.load_weights(other, model.state_dict()).complete
        model.lookup_grid = grid
        with torch.no_grad():
            y = model(x)
            assert torch.equal(y, other(x))
        assert all(not torch.allclose(y, before) for before in seen)
        seen.append(y)


def test_resizing_is_exact_at_the_stored_size():
    """Positions at 10 × 10 are used as they are, and patches where the grid is theirs."""
    model, x = tiny(img_size=160, lookup_grid=(10, 10)), images(1, side=160)
    entered = []
    model.blocks[0].register_forward_pre_hook(lambda m, inputs: entered.append(inputs))
    with torch.no_grad():
        model(x)
        patches = model.patch_embed(x)
        expected = (patches + model.short_positions).flatten(2).transpose(1, 2)
    assert torch.equal(entered[0][0], expected)
    assert torch.equal(entered[0][1], (patches + model.lookup_positions).flatten(2).transpose(1, 2))
    ramp = torch.arange(6.0).view(1, 1, 1, 6).expand(1, 1, 4, 6)
    assert torch.equal(resize(ramp, (2, 3))[0, 0, 0], torch.tensor([0.5, 2.5, 4.5]))


@pytest.mark.parametrize(("grid", "most"), [(3, 0.45), (5, 0.5), (7, 0.6)])
def test_operations_against_a_vit(grid, most):
    pytest.importorskip("timm")
    counts = []
    for name in (f"lookupvit_base_{grid}x{grid}", "timm:vit_base_patch16_224"):
        with torch.device("meta"):
            model = snnkit.create_model(name).eval()
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model(torch.zeros(1, 3, 224, 224, device="meta"))
        counts.append(counter.get_total_flops())
    assert 0.2 < counts[0] / counts[1] <= most, counts[0] / counts[1]


@pytest.mark.parametrize("which", [0, 1])
def test_each_of_the_two_losses_reaches_both_streams(which):
    """Through the exchange: the loss of one stream alone trains the other's layers too."""
    model = tiny().train()
    model(images(2))[which].square().sum().backward()
    block = model.blocks[0]
    for part in (block.mlp.fc1, block.lookup_mlp.fc1, block.exchange.query, block.exchange.value_short):
        assert part.weight.grad.abs().max() > 0
    assert model.short_positions.grad.abs().max() > 0
    assert model.lookup_positions.grad.abs().max() > 0


def test_tokens_for_a_captioner():
    model = tiny()
    with torch.no_grad():
        short, lookup = model.forward_tokens(images(2))
        assert short.shape == (2, 16, 24)
        assert lookup.shape == (2, 36, 24)
        torch.testing.assert_close(model.head(short.mean(1)), model(images(2)))


# Clips.


def clip_model(**settings):
    return tiny("lookupvit_video_base", num_frames=8, **settings)


@pytest.mark.parametrize(("grid", "tokens"), [((2, 3, 3), 18), ((3, 3), 36)])
def test_clips(grid, tokens):
    """Time is compressed where the grid says so, else kept: 8 frames are 4 tubelets."""
    model = clip_model(lookup_grid=grid)
    x = torch.randn(2, 3, 8, 96, 96, dtype=torch.float64)
    with torch.no_grad():
        short, lookup = model.forward_tokens(x)
        assert short.shape == (2, tokens, 24)
        assert lookup.shape == (2, 4 * 36, 24)
        assert model(x).shape == (2, 5)
        assert not torch.allclose(model(x), model(x.flip(2)))
    assert [y.shape for y in clip_model(lookup_grid=(2, 3, 3), features_only=True)(x)] == [
        (2, 24, 4, 6, 6),
        (2, 24, 2, 3, 3),
    ]


def test_a_clip_trains():
    model = clip_model(lookup_grid=(2, 2, 2)).train()
    model.set_grad_checkpointing()
    sum(y.square().sum() for y in model(torch.randn(1, 3, 8, 96, 96, dtype=torch.float64))).backward()
    assert all(part.grad is not None and part.grad.abs().max() > 0 for part in model.parameters())


# Bad input.


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"img_size": 100}, "96 or 112"),
        ({"lookup_grid": (0, 3)}, "lookup_grid"),
        ({"lookup_grid": (2, 3, 3)}, r"lookup_grid=\(2, 3, 3\)"),
        ({"lookup_grid": 7}, "lookup_grid=7"),
        ({"num_heads": 5}, "num_heads=5|multiple of 5"),
        ({"num_frames": 7}, "num_frames=7"),
    ],
    ids=repr,
)
def test_sizes_that_do_not_fit_are_named(settings, words):
    with pytest.raises(InvalidArgumentError, match=words):
        tiny(**settings)


def test_images_that_patches_do_not_divide_are_refused():
    with pytest.raises(InvalidArgumentError, match="96 or 112"):
        tiny()(images(1, side=100))
    with pytest.raises(InvalidArgumentError, match="clips"):
        clip_model()(images(1))
    with pytest.raises(InvalidArgumentError, match="frames"):
        clip_model()(torch.zeros(1, 3, 7, 96, 96, dtype=torch.float64))


def test_a_grid_set_later_is_checked():
    model = tiny()
    with pytest.raises(InvalidArgumentError, match="lookup_grid"):
        model.lookup_grid = (3, 0)
    assert model.lookup_grid == (4, 4)


def test_weights_of_another_width_are_refused():
    with pytest.raises(InvalidArgumentError, match="sizes it was trained with"):
        snnkit.load_weights(tiny(), tiny(embed_dim=48).state_dict())
