"""Methods of pre-training around encoders by name: ``mae:NAME``, ``simmim:NAME``.

Would break it: an argument that goes to the wrong one of the two, a size that only one of them gets, an encoder that
cannot be taken and is, a file that has timm open or download something, published weights that do not find their place.
"""

import pytest
import torch

import snnkit
from snnkit.checkpoints import build_model, save_weights
from snnkit.errors import CorruptFileError, SnnkitError
from snnkit.models import convmae, family_of, mae, simmim
from snnkit.models.registry import accepts, method_arguments, pretrains, register_method

VIT = {"patch_size": 8, "embed_dim": 16, "depth": 1, "num_heads": 2}
SMALL = {**VIT, "decoder_dim": 8, "decoder_depth": 1, "decoder_heads": 2}
NAME = "mae:timm:vit_tiny_patch16_224"


def test_arguments_find_the_one_that_takes_them():
    model = snnkit.create_model(NAME, **SMALL, img_size=(16, 32), in_chans=2, mask_ratio=0.5)
    assert (model.img_size, model.grid, model.in_chans) == ((16, 32), (2, 4), 2)
    assert model.encoder.patch_embed.proj.in_channels == 2
    assert model.encoder.patch_embed.img_size == (16, 32)
    assert (model.encoder.embed_dim, model.decoder.embed.out_features) == (16, 8)
    assert model(torch.rand(3, 2, 16, 32)).painted.shape == (3, 8, 128)


def test_sizes_are_the_encoders_unless_given():
    assert snnkit.create_model("mae:timm:vit_tiny_patch16_384", depth=1).img_size == (384, 384)
    assert snnkit.create_model("simmim:swinv2_tiny_window8_256", depths=(1, 1, 1, 1)).img_size == (256, 256)
    assert snnkit.create_model("mae:convvit_base", img_size=64, depths=(1, 1, 1)).encoder.grid == (4, 4)


def test_what_is_known_of_a_name():
    assert family_of(snnkit.create_model(NAME, **SMALL)) is mae.FAMILY
    assert family_of(snnkit.create_model(NAME, **SMALL).encoder) is None
    assert snnkit.model_info("mae:convvit_base").params == 114_941_056
    assert snnkit.list_models("mae:convvit_*") == ["mae:convvit_base"]
    assert "simmim:swinv2_base_window12_192" in snnkit.list_models("simmim:swinv2_*")
    assert not accepts("mae:convvit_base", "num_classes")
    assert accepts("mae:convvit_base", "img_size")
    assert not accepts("mae:convvit_base", "timesteps")
    assert "mask_patch_size" in method_arguments("simmim:swinv2_tiny_window8_256")
    assert method_arguments("swinv2_tiny_window8_256") == set()
    found = {name for name in snnkit.list_models() if pretrains(name)}
    assert found == {name for name in snnkit.list_models() if "_mae_" in name}
    assert pretrains(NAME)
    assert not pretrains("timm:vit_tiny_patch16_224")
    families = {family.name for family in snnkit.models.families()}
    assert convmae.FAMILY.name in families
    assert families.isdisjoint({mae.FAMILY.name, simmim.FAMILY.name})
    with pytest.raises(ValueError, match="two methods"):
        register_method("mae", mae.build, mae.FAMILY)


@pytest.mark.parametrize(
    ("name", "sizes", "words"),
    [
        ("mea:convvit_base", {}, "unknown method 'mea'.*'mae'"),
        ("mae:convvit_bass", {}, "'convvit_base'"),
        ("mae:timm:vit_tiny_patch16_2244", {}, "vit_tiny_patch16_224"),
        ("mae:convvit_base", {"decoder_width": 8}, "decoder_width"),
        ("mae:convvit_base", {"num_classes": 5}, "has no classes"),
        ("mae:convvit_base", {"mask_ratio": 1.0, "img_size": 64}, "mask_ratio"),
        ("mae:convvit_base", {"mlp_ratio": (4, 4), "img_size": 64}, "mlp_ratio"),
        ("mae:convvit_base", {"decoder_dim": 30, "img_size": 64}, "multiple of 4|num_heads"),
        ("mae:spikformer_v2_8_384", {}, "spikformer_v2_mae_"),
        ("mae:swinv2_tiny_window8_256", {}, "simmim:NAME"),
        ("simmim:convvit_base", {}, "mae:NAME"),
        ("simmim:swinv2_tiny_window8_256", {"mask_patch_size": 6}, "multiple of 4"),
        ("simmim:swinv2_tiny_window8_256", {"mask_patch_size": 96}, r"img_size=256.*192 or 288"),
        ("simmim:swinv2_tiny_window8_256", {"mask_patch_size": 256}, "hides all 1 cells"),
        ("simmim:swinv2_tiny_window8_256", {"norm_window": 46}, "odd number"),
        (NAME, {"dynamic_img_size": True}, "square patches and positions"),
    ],
)
def test_what_cannot_be_is_said_in_a_line(name, sizes, words):
    with pytest.raises(SnnkitError, match=words) as caught:
        snnkit.create_model(name, **sizes)
    assert "\n" not in str(caught.value)


def test_a_file_sets_sizes_and_nothing_else(tmp_path):
    """A checkpoint's own words are not trusted with what timm would open or download."""
    model, path = snnkit.create_model(NAME, **SMALL, img_size=16), tmp_path / "w.safetensors"
    save_weights(model, path, {"name": NAME, **SMALL, "img_size": 16})
    other, _ = build_model(path)
    for key, value in model.state_dict().items():
        assert torch.equal(other.state_dict()[key], value)
    for key, value in (("pretrained", True), ("checkpoint_path", "/etc/passwd"), ("global_pool", ["x"])):
        save_weights(model, path, {"name": NAME, **SMALL, "img_size": 16, key: value})
        with pytest.raises(SnnkitError):
            build_model(path)
    save_weights(model, path, {"name": NAME, **SMALL, "img_size": 16, "pretrained": True})
    with pytest.raises(CorruptFileError, match="only sizes are taken"):
        build_model(path)


def test_published_weights_of_another_method_are_refused():
    state = {key: torch.zeros(1) for key in ("encoder.mask_token", "decoder.0.weight", "encoder.norm.weight")}
    with pytest.raises(SnnkitError):
        snnkit.load_weights(snnkit.create_model(NAME, **SMALL), state)
