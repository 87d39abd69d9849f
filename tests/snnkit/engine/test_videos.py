"""Videos from ``snnkit train`` to ``snnkit eval``: clips for ordinary networks, time steps for spiking ones.

Would break it: time taken for images or images for time, views that eval forgets, a network made for other frames than
its data have, an eval that gives another figure than the training's last test.
"""

import re

import pytest
from support.data import recordings, video_lists

import snnkit
from snnkit.checkpoints import save_weights
from snnkit.data import DataConfig, load_images
from snnkit.engine import RunConfig, evaluate, framed, train
from snnkit.engine.config import ModelConfig
from snnkit.errors import InvalidArgumentError
from snnkit.files import read_json

UNIFORMER = {"depths": (1, 1, 1, 1), "dims": (4, 4, 8, 8), "head_dim": 4}
LOOKUP = {"embed_dim": 16, "depth": 1, "num_heads": 2, "lookup_grid": (1, 1)}
CNN = {"width": 4}
NETWORKS = {
    "uniformer_video_small": (UNIFORMER, False),
    "lookupvit_video_base": (LOOKUP, False),
    "spiking_cnn_small": (CNN, True),
}
VIEWS = {"dense": {"test_clips": 2, "test_crops": 3}, "segment": {"sampling": "segment", "test_clips": 2}}


@pytest.fixture(scope="module")
def listed(tmp_path_factory):
    return video_lists(tmp_path_factory.mktemp("lists"))


def settings(folder, time_first, **changes):
    given = {"dataset": "video_lists", "source": str(folder), "frames": 4, "frame_stride": 2, "batch_size": 2}
    return DataConfig(**{**given, "img_size": 32, "shift_pixels": 0, "time_first": time_first, **changes})


@pytest.mark.parametrize("views", VIEWS)
@pytest.mark.parametrize("name", NETWORKS)
def test_eval_gives_what_the_training_s_last_test_gave(name, views, listed, tmp_path, call):
    sizes, time_first = NETWORKS[name]
    data = settings(listed, time_first, **VIEWS[views])
    run = train(RunConfig(model=ModelConfig(name, sizes=sizes), data=data, epochs=1, threads=1), tmp_path / "run")
    last = run.folder / "checkpoints" / "last.safetensors"
    code, out, err = call("eval", last)
    assert code == 0, err
    shown = re.search(r"accuracy ([\d.]+)%, loss ([\d.]+).* on 4 test", re.sub(r"\s+", " ", out))
    assert float(shown[1]) == pytest.approx(100 * run.final_score)
    final = read_json(run.folder / "summary.json")["final"]
    assert final["accuracy"] == run.final_score
    model, made = snnkit.checkpoints.build_model(last)
    assert (made["timesteps"] if time_first else made["num_frames"]) == 4
    several = load_images(data, seed=0)
    batch, labels = next(iter(several.test))
    assert batch.shape[1 if time_first else 0] == several.views * len(labels)
    assert evaluate(model, several)["loss"] == pytest.approx(float(shown[2]), abs=6e-5)


def test_weights_for_images_start_a_training_on_clips(listed, tmp_path, capsys):
    image = snnkit.create_model("uniformer_small", num_classes=2, img_size=32, **UNIFORMER)
    save_weights(image, tmp_path / "image.safetensors", {"name": "uniformer_small", "num_classes": 2, "img_size": 32})
    model = ModelConfig("uniformer_video_small", sizes=UNIFORMER, weights=str(tmp_path / "image.safetensors"))
    train(RunConfig(model=model, data=settings(listed, False), epochs=1, threads=1), tmp_path / "run")
    said = " ".join(capsys.readouterr().out.split())
    assert "of them are a network's for images, widened over time" in said


# Networks that would take time for images.


@pytest.mark.parametrize("batch", [2, 3])
@pytest.mark.parametrize("name", ["uniformer_video_small", "lookupvit_video_base", "timm:resnet10t"])
def test_recordings_are_for_spiking_networks(name, batch, tmp_path):
    """A batch of two is as large as events have channels: nothing but the data says what (T, 2, 2, H, W) is."""
    recordings(tmp_path / "events")
    data = DataConfig("event_folder", str(tmp_path / "events"), img_size=32, frames=4, batch_size=batch)
    sizes = {"uniformer_video_small": UNIFORMER, "lookupvit_video_base": LOOKUP}.get(name, {})
    with pytest.raises(InvalidArgumentError, match=rf"^{name} has no time steps.*--kind snn") as caught:
        train(RunConfig(model=ModelConfig(name, sizes=sizes), data=data, epochs=1), tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert ("data.time_first=false" in str(caught.value)) == (not name.startswith("timm"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("name", "said"), [("spiking_cnn_small", "set data.time_first=true"), ("timm:resnet10t", "give uniformer_video_s")]
)
def test_clips_are_for_networks_that_read_clips(name, said, listed, tmp_path):
    """Clips of as many frames as images have channels are no sequences of such images."""
    data = settings(listed, False, frames=3, batch_size=2)
    with pytest.raises(InvalidArgumentError, match=rf"^{name} reads no clips.*{said}"):
        train(RunConfig(model=ModelConfig(name), data=data, epochs=1), tmp_path / "run")


def test_eval_refuses_other_frames_than_a_network_reads(listed):
    clips = load_images(settings(listed, False), seed=0)
    network = snnkit.create_model("spiking_cnn_small", num_classes=2, in_chans=3, img_size=32, timesteps=4, **CNN)
    with pytest.raises(InvalidArgumentError, match="reads no clips"):
        evaluate(network, clips)
    framed.check_frames("spiking_cnn_small", load_images(settings(listed, True), seed=0))
    framed.check_frames("uniformer_video_small", clips)
    framed.check_frames("timm:resnet10t", load_images(DataConfig(source="vendored"), seed=0))
