"""Another model in a recipe: constants of the model before do not stay, those of the recipe do.

Would break it: images of a size that the other model does not take, arguments that it does not have, four steps for a
recipe of one.
"""

import pytest
import torch

from snnkit.cli.train import apply_settings
from snnkit.engine.config import apply_toml
from snnkit.models import create_model
from snnkit.models.registry import accepts
from snnkit.recipes import RECIPES, get_recipe

OTHERS = {  # recipe, model → timesteps, names of sizes, side
    ("swinv2_imagenet", "swinv2_base_window12_192"): (0, {"drop_path_rate"}, 192),
    ("swinv2_imagenet", "spikformer_8_384"): (0, set(), 224),
    ("swinv2_imagenet", "timm:resnet18"): (0, set(), 256),
    ("meta_spikeformer_t1", "meta_spikeformer_15m"): (1, set(), 224),
    ("meta_spikeformer_t4", "meta_spikeformer_15m"): (4, {"distilled"}, 224),
    ("meta_spikeformer_t4", "ms_resnet18"): (0, set(), 224),
    ("demo", "spiking_vgg11"): (0, set(), 0),
}


@pytest.mark.parametrize(("recipe", "name"), OTHERS)
def test_what_belongs_to_a_model_follows(recipe, name, capsys):
    config = get_recipe(recipe)
    old = config.model.name
    apply_settings(config, [f"model.name={name}"])
    assert (config.model.timesteps, set(config.model.sizes), config.data.img_size) == OTHERS[recipe, name]
    before = get_recipe(recipe)
    unchanged = (before.model.timesteps, before.model.sizes, before.data.img_size)
    said = " ".join(capsys.readouterr().out.split())
    assert (f"model.name={name} in place of {old}:" in said) == (
        unchanged != (config.model.timesteps, config.model.sizes, config.data.img_size)
    )


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_model_of_another_family_is_made_with_what_remains(recipe):
    config = get_recipe(recipe)
    other = "uniformer_xxs" if config.model.name.startswith("spik") else "spiking_cnn_small"
    apply_settings(config, [f"model.name={other}"])
    assert not set(config.model.sizes)
    with torch.device("meta"):
        size = {"img_size": config.data.img_size} if config.data.img_size and accepts(other, "img_size") else {}
        create_model(other, **config.model.sizes, **size)


def test_what_is_set_beside_the_name_stays_in_any_order(tmp_path):
    settings = [
        "model.sizes.drop_path_rate=0.3",
        "model.timesteps=2",
        "data.img_size=96",
        "model.name=spikformer_8_384",
    ]
    for order in (settings, settings[::-1]):
        config = get_recipe("swinv2_imagenet")
        apply_settings(config, order)
        assert (config.model.timesteps, config.model.sizes, config.data.img_size) == (2, {"drop_path_rate": 0.3}, 96)
    path = tmp_path / "r.toml"
    path.write_text('[data]\nimg_size = 96\n[model]\ntimesteps = 2\nname = "spikformer_8_384"\n')
    config = get_recipe("swinv2_imagenet")
    apply_toml(config, path)
    assert (config.model.timesteps, config.model.sizes, config.data.img_size) == (2, {}, 96)


def test_the_same_name_changes_nothing(capsys):
    config, before = get_recipe("meta_spikeformer_t4"), get_recipe("meta_spikeformer_t4")
    apply_settings(config, [f"model.name={config.model.name}"])
    assert config == before
    assert not capsys.readouterr().out
