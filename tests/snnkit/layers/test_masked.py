"""The pieces of masked pre-training against the published MAE code.

Would break it: patches cut in another order, rows taken for columns, the biased variance, visible patches in the loss,
a mask token in the wrong gap, a class token that gets a position or pixels.
"""

import numpy as np
import pytest
import torch
from parity import FOLDER, close, draw

from snnkit.errors import InvalidArgumentError
from snnkit.layers.masked import MaskedDecoder, mask_from_noise, patchify, reconstruction_loss, sin_cos_positions
from snnkit.layers.transformer_block import TransformerBlock


@pytest.fixture(scope="module")
def mae():
    return {
        key: torch.as_tensor(value) for key, value in np.load(FOLDER / "mae.npz").items() if value.dtype.kind in "fi"
    }


def test_mask(mae):
    masking = mask_from_noise(mae["in_noise"], 0.75)
    assert torch.equal(masking.restore, mae["out_ids_restore"])
    assert torch.equal(masking.removed, mae["out_mask"])
    visible = torch.zeros_like(masking.removed).scatter(1, masking.visible, 1)
    assert torch.equal(visible, 1 - masking.removed)


def test_patches_and_positions(mae):
    assert torch.equal(patchify(mae["in_imgs"], 8), mae["out_patchify"])
    for key, dim in (("out_pos_embed", 32), ("out_decoder_pos_embed", 24)):
        assert torch.equal(sin_cos_positions(dim, 4, 4).double(), mae[key][0, 1:].float().double())


def test_positions_of_a_rectangle_tell_rows_from_columns():
    table = sin_cos_positions(8, 2, 3).unflatten(0, (2, 3))
    assert torch.equal(table[0, :, :4], table[1, :, :4])
    assert torch.equal(table[:, 0, 4:], table[:, 2, 4:])
    assert not torch.equal(table[0, :, 4:], table[1, :, 4:])


@pytest.mark.parametrize(("key", "normalise"), [("out_loss_pix", False), ("out_loss_normpix", True)])
def test_loss(mae, key, normalise):
    loss = reconstruction_loss(mae["out_pred"], mae["in_imgs"], mae["out_mask"], 8, normalise)
    close(loss, mae[key], 1e-8)


def test_loss_asks_only_what_was_hidden(mae):
    """Another picture at visible places changes nothing, at hidden ones it does."""
    painted, removed = mae["out_pred"], mae["out_mask"]
    for where, changes in ((1 - removed, False), (removed, True)):
        other = painted + where.unsqueeze(2)
        loss = reconstruction_loss(other, mae["in_imgs"], removed, 8, False)
        assert bool((loss - mae["out_loss_pix"]).abs() > 1e-6) == changes


def test_decoder(mae):
    """Pixels from the published encoder's latents, with its class token in front."""
    decoder = MaskedDecoder(32, 192, (4, 4), 24, 1, 4, prefix_tokens=1).double()
    published = {
        "embed": "decoder_embed",
        "pred": "decoder_pred",
        "norm": "decoder_norm",
        "blocks.0": "decoder_blocks.0",
    }
    inside = {"attention.qkv": "attn.qkv", "proj": "attn.proj", "fc1": "mlp.fc1", "fc2": "mlp.fc2"}

    def key_of(own):
        if own == "mask_token":
            return own
        layer, _, kind = own.rpartition(".")
        for ours, theirs in published.items():
            if layer == ours or layer.startswith(ours + "."):
                rest = layer[len(ours) + 1 :]
                return ".".join(part for part in (theirs, inside.get(rest, rest), kind) if part)
        raise KeyError(own)

    state = {own: draw(key_of(own), tuple(value.shape)) for own, value in decoder.state_dict().items()}
    decoder.load_state_dict(state)
    close(decoder(mae["out_latent"], mae["out_ids_restore"]), mae["out_pred"], 1e-8)


def test_decoder_takes_latents_of_all_patches_in_order():
    torch.manual_seed(0)
    decoder = MaskedDecoder(6, 12, (2, 2), 8, 1, 2, mask_token=False)
    latent = torch.randn(1, 4, 6)
    in_order = torch.arange(4).unsqueeze(0)
    assert torch.equal(decoder(latent), decoder(latent, in_order))
    assert not torch.allclose(decoder(latent), decoder(latent, in_order.flip(1)))
    assert "mask_token" not in dict(decoder.named_parameters())


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda: mask_from_noise(torch.rand(1, 4), 0.9), "leaves 0 of 4"),
        (lambda: mask_from_noise(torch.rand(1, 4), 0.0), "mask_ratio=0.0: must be above 0"),
        (lambda: mask_from_noise(torch.rand(1, 4), 1.5), "mask_ratio=1.5"),
        (lambda: patchify(torch.rand(1, 3, 8, 9), 4), "8×9"),
        (lambda: sin_cos_positions(10, 2, 2), "multiple of 4"),
        (lambda: TransformerBlock(10, 4), "num_heads=4"),
    ],
)
def test_bad_input_is_named(make, word):
    with pytest.raises(InvalidArgumentError, match=word):
        make()
