"""MAE, SimMIM and ConvMAE against the numbers of the published code, each at the tolerance its file states.

Would break it: another order of patches, tokens or decoder, a mask token in the wrong place or before the positions,
windows normalised by the wrong count, a convolution that sees hidden places, stages that are not fused or fused behind
the norm, a mimic loss at hidden places, gradients that take another way.
"""

import ast
import json

import numpy as np
import pytest
import torch
from parity import Reference, close, draw
from support.golden import Golden

import snnkit
from snnkit.layers.masked import mask_from_noise, patchify
from snnkit.layers.pixel_targets import hidden_l1, hide_cells, local_statistics
from snnkit.layers.sparse import spread
from snnkit.tasks import MRMAE


class Method(Golden):
    """A file of a method, with the published weights by their keys."""

    def state(self):
        """The published state dict, float64; what the model computes itself is zero."""
        computed = ("relative_position_index", "attn_mask", "relative_coords", "pos_embed")
        return {
            key: torch.zeros(shape, dtype=torch.float64) if any(part in key for part in computed) else draw(key, shape)
            for key, shape in self.about["state_keys"]
        }


def load(model, state, kept=()):
    """Load published weights; buffers of positions stay the model's own."""
    own = {key: model.state_dict()[key].clone() for key in kept}
    report = snnkit.load_weights(model, {"model": state})
    assert report.complete
    assert report.source != "own"
    model.load_state_dict(own, strict=False)
    return model.eval()


@pytest.fixture(scope="module")
def mae():
    golden = Method("mae")
    config = golden.config
    sizes = {key: config[key] for key in ("img_size", "patch_size", "embed_dim", "depth", "num_heads", "mlp_ratio")}
    model = snnkit.create_model(
        "mae:timm:vit_tiny_patch16_224",
        **sizes,
        in_chans=golden["in_imgs"].shape[1],
        mask_ratio=config["mask_ratio"],
        normalise=False,
        decoder_dim=config["decoder_embed_dim"],
        decoder_depth=config["decoder_depth"],
        decoder_heads=config["decoder_num_heads"],
        decoder_mlp_ratio=config["mlp_ratio"],
    ).double()
    return golden, load(model, golden.state(), ("encoder.pos_embed",))


def test_mae(mae):
    golden, model = mae
    images, noise = golden["in_imgs"], golden["in_noise"]
    masking = mask_from_noise(noise, model.mask_ratio)
    latent, restore = model.encode(images, masking)
    close(latent, golden["out_latent"], golden.rtol)
    assert torch.equal(restore, golden["out_ids_restore"])
    found = model(images, noise)
    close(found.painted, golden["out_pred"], golden.rtol)
    assert torch.equal(found.removed, golden["out_mask"])
    close(found.loss, golden["out_loss_pix"], golden.rtol)
    close(found.latent, golden["out_latent"][:, 1:], golden.rtol)
    model.normalise = True
    try:
        close(model(images, noise).loss, golden["out_loss_normpix"], golden.rtol)
    finally:
        model.normalise = False


def test_mae_gradients(mae):
    golden, model = mae
    model.zero_grad()
    model(golden["in_imgs"], golden["in_noise"]).loss.backward()
    close(model.decoder.mask_token.grad, golden["out_grad_mask_token"], golden.rtol)
    close(model.encoder.patch_embed.proj.weight.grad, golden["out_grad_patch_proj"], golden.rtol)
    assert model.encoder.pos_embed.grad is None


@pytest.fixture(scope="module")
def simmim():
    golden = Method("simmim")
    config = golden.config
    names = ("img_size", "patch_size", "embed_dim", "window_size", "mlp_ratio")
    model = snnkit.create_model(
        "simmim:timm:swin_tiny_patch4_window7_224",
        **{key: config[key] for key in names},
        depths=tuple(config["depths"]),
        num_heads=tuple(config["num_heads"]),
        in_chans=config["in_chans"],
        mask_ratio=config["mask_ratio"],
        mask_patch_size=config["mask_patch_size"],
    ).double()
    return golden, load(model, golden.state())


def exact_images(golden):
    """The stored float32 images; the published run had those of the seed that the file names."""
    from_seed = torch.as_tensor(np.random.default_rng(int(golden["in_np_seed"])).standard_normal(golden["in_x"].shape))
    assert torch.equal(from_seed.float(), golden["in_x"])
    return from_seed


def test_simmim(simmim):
    golden, model = simmim
    x, mask = exact_images(golden), golden["in_mask"]
    model.zero_grad()
    found = model.paint(x, mask)
    found.loss.backward()
    close(found.latent.transpose(1, 2).reshape(golden["out_z"].shape), golden["out_z"], golden.rtol)
    close(found.painted, patchify(golden["out_rec"].double(), model.patch_size), golden.rtol)
    close(found.loss, golden["out_loss"], golden.rtol)
    close(model.mask_token.grad, golden["out_grad_mask_token"], golden.rtol)


def test_simmim_loss_alone(simmim):
    golden, _ = simmim
    hidden = spread(golden["in_mask"], *golden["in_x"].shape[2:]).unsqueeze(1)
    close(hidden_l1(golden["out_rec"].double(), exact_images(golden), hidden), golden["out_loss"], golden.rtol)


def test_simmim_masks(simmim):
    """The published generator hides the first cells of a permutation."""
    golden, model = simmim
    expected, config = golden["out_mask_192_seed"], golden.config
    side = expected.shape[0] * config["patch_size"] // config["mask_patch_size"]
    np.random.seed(int(golden["in_np_seed"]))
    noise = np.argsort(np.random.permutation(side**2))
    cells = hide_cells(torch.as_tensor(noise).double().unsqueeze(0), config["mask_ratio"]).view(1, side, side)
    assert torch.equal(spread(cells, *expected.shape)[0].long(), expected)
    counts = [int(hide_cells(torch.rand(1, n), config["mask_ratio"]).sum()) for n in (model.cells, side**2)]
    assert counts == golden["out_mask_count"].tolist()


@pytest.fixture(scope="module")
def swin_v2():
    golden = Reference("simmim_swinv2")
    config = golden.config["encoder"]
    model = snnkit.create_model(
        "simmim:swinv2_tiny_window8_256",
        img_size=config["img_size"],
        in_chans=config["in_chans"],
        embed_dim=config["embed_dim"],
        depths=tuple(config["depths"]),
        num_heads=tuple(config["num_heads"]),
        window_size=config["window_size"],
        pretrained_window_size=0,
        norm_window=golden.config["norm_target_patch"],
    ).double()
    state = {key: value for key, value in golden.state().items() if "relative_coords_table" not in key}
    return golden, load(model, state)


def test_simmim_of_swin_v2(swin_v2):
    golden, model = swin_v2
    x, mask = golden.input, golden["mask"]
    assert model.normalise
    mean, deviation = local_statistics(x, model.norm_window)
    close((x - mean) / deviation, golden["feat_norm_target"], 1e-8)
    found = model.paint(x, mask)
    close(found.latent.transpose(1, 2).reshape(golden["feat_z"].shape), golden["feat_z"], 1e-6)
    close(found.painted, patchify(golden["logits"], model.patch_size), 1e-6)
    close(found.loss, golden["loss_norm_target"], 1e-6)
    model.normalise = False
    try:
        close(model.paint(x, mask).loss, golden["loss_raw"], 1e-6)
    finally:
        model.normalise = True


@pytest.fixture(scope="module")
def convmae():
    golden = Method("convmae_mrmae")
    config = golden.config
    model = snnkit.create_model(
        "mae:convvit_base",
        img_size=config["img_size"][0],
        embed_dim=tuple(config["embed_dim"]),
        depths=tuple(config["depth"]),
        num_heads=config["num_heads"],
        mlp_ratio=tuple(config["mlp_ratio"]),
        mask_ratio=config["mask_ratio"],
        normalise=config["norm_pix_loss"],
        decoder_dim=config["decoder_embed_dim"],
        decoder_depth=config["decoder_depth"],
        decoder_heads=config["decoder_num_heads"],
        decoder_mlp_ratio=config["mlp_ratio"][0],
    ).double()
    return golden, load(model, golden.state(), ("encoder.token_positions",))


def seeded_images(golden):
    """The images that the file names by their seed."""
    about = json.loads(str(golden.arrays["json"]))["how"]
    shape, seed = ast.literal_eval(about.split("make_input")[1].split(";")[0])
    return torch.as_tensor(np.random.default_rng(seed).standard_normal(shape))


def test_convmae(convmae):
    golden, model = convmae
    images = seeded_images(golden)
    model.zero_grad()
    found = model(images, golden["in_noise"])
    found.loss.backward()
    close(found.latent, golden["out_latent"], golden.rtol)
    assert torch.equal(found.visible, golden["out_ids_keep"])
    assert torch.equal(found.removed, golden["out_mask"])
    close(found.painted[:, : golden["out_pred_first8"].shape[1]], golden["out_pred_first8"], golden.rtol)
    close(found.painted.sum(2), golden["out_pred_sum"], golden.rtol)
    close(found.loss, golden["out_loss"], golden.rtol)
    close(model.decoder.mask_token.grad, golden["out_grad_mask_token"], golden.rtol)
    close(model.encoder.patch_embeds[0].proj.weight.grad, golden["out_grad_stage1_proj"], golden.rtol)


class Given(torch.nn.Module):
    """A teacher whose features are those of the file."""

    def __init__(self, features_BLF):
        super().__init__()
        self.features, self.num_features = features_BLF, features_BLF.shape[2]

    def forward_features(self, images):
        return self.features[: len(images)]


@pytest.mark.parametrize(("distance", "key"), [("mse", "out_mimic_mse"), ("cosine", "out_mimic_cos")])
def test_mr_mae(convmae, distance, key):
    golden, model = convmae
    images = seeded_images(golden)
    task = MRMAE(model, teacher=Given(golden["in_teacher_feats"]), distance=distance)
    task.head.double().load_state_dict({"weight": golden["in_mimic_w"], "bias": golden["in_mimic_b"]})
    found = model(images, golden["in_noise"])
    close(task.mimic(found, images), golden[key], golden.rtol)
    if distance == "mse":
        task.noise.for_training = lambda images, numbers: golden["in_noise"]
        close(task.train()((images, None)), golden["out_total_mse"], golden.rtol)
