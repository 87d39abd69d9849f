"""Weights of networks for images in networks for clips: a still clip gives what its image gave; what is refused.

Would break it: a kernel that is repeated and not divided, positions that are divided, a head of other classes that is
taken or lost without a word, weights for images that are taken for a network's own since the keys are the same.
"""

import pytest
import torch
from parity import Reference, close

import snnkit
from snnkit.checkpoints import save_weights
from snnkit.errors import InvalidArgumentError
from snnkit.models.inflation import inflated
from snnkit.models.uniformer_video import inflate, over_frames

LOOKUP = {"embed_dim": 24, "depth": 2, "num_heads": 3, "num_classes": 5, "img_size": 64}
UNIFORMER = {"depths": (1, 1, 1, 1), "dims": (8, 8, 16, 16), "head_dim": 8, "num_classes": 5, "img_size": 64}


def made(name, **settings):
    torch.manual_seed(0)
    model = snnkit.create_model(name, **settings).double().eval()
    for part in model.parameters():  # biases and norms begin where they could be left out unseen
        torch.nn.init.normal_(part, std=0.2)
    return model


def lookups(grid, **changes):
    image = made("lookupvit_small", lookup_grid=(2, 2), **LOOKUP)
    clips = made("lookupvit_small", lookup_grid=grid, num_frames=6, **{**LOOKUP, **changes})
    for part in clips.parameters():
        torch.nn.init.normal_(part)
    return image, clips


def still(frames, side=64):
    image = torch.randn(2, 3, side, side, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return image, image.unsqueeze(2).expand(-1, -1, frames, -1, -1)


def test_a_kernel_over_frames_sums_up_to_that_of_images():
    kernel = torch.randn(4, 3, 5, 5)
    torch.testing.assert_close(over_frames(kernel, 3).sum(2), kernel)
    torch.testing.assert_close(over_frames(kernel, 3)[:, :, 0], kernel / 3)
    centred = over_frames(kernel, 3, center=True)
    assert torch.equal(centred[:, :, 1], kernel)
    assert centred[:, :, [0, 2]].abs().max() == 0


@pytest.mark.parametrize("frames", [6, 8])
def test_lookupvit_sees_a_still_clip_as_its_image(frames):
    """The whole network, for any number of frames: positions are the same at every step and stay so when resized."""
    image, clips = lookups((2, 2))
    report = snnkit.load_weights(clips, image.state_dict())
    assert report.complete
    assert report.widened == 3  # patches, and the positions of both kinds of tokens
    assert "3 of them are a network's for images, widened over time" in str(report)
    x, clip = still(frames)
    with torch.no_grad():
        close(clips(clip), image(x), 1e-9)
        moving = clip.clone()
        moving[:, :, 0] = 0
        assert (clips(moving) - image(x)).abs().max() > 1e-4


def test_a_grid_that_shrinks_time_tells_lookup_tokens_less():
    """They are written to by t of T′ times as many tokens: here by one instead of three."""
    image, clips = lookups((1, 2, 2))
    snnkit.load_weights(clips, image.state_dict())
    short, lookup = torch.randn(1, 4, 24, dtype=torch.float64), torch.randn(1, 16, 24, dtype=torch.float64)
    exchange, other = image.blocks[0].exchange, clips.blocks[0].exchange
    with torch.no_grad():
        read, attention = exchange(short, lookup)
        read_of_clip, attention_of_clip = other(short, lookup.repeat(1, 3, 1))
        close(read_of_clip, read, 1e-12)
        told = other.write(short, attention_of_clip)
        close(told[:, :16], exchange.write(short, attention) / 3, 1e-12)


@pytest.mark.parametrize("published", [False, True])
def test_uniformer_takes_weights_for_images_from_a_file_or_a_dictionary(published, tmp_path):
    if published:
        state = Reference("uniformer_image").state()
        sizes = {**UNIFORMER, "depths": Reference("uniformer_image").config["depth"], "num_classes": 10}
        sizes |= {"dims": Reference("uniformer_image").config["embed_dim"]}
        sizes |= {"head_dim": Reference("uniformer_image").config["head_dim"]}
        sizes = {key: tuple(value) if isinstance(value, list) else value for key, value in sizes.items()}
    else:
        sizes, state = UNIFORMER, made("uniformer_small", **UNIFORMER).state_dict()
    clips = made("uniformer_video_small", num_frames=4, **sizes)
    expected = inflate(state, clips)
    if published:
        torch.save(state, tmp_path / "weights.pth")
        report = snnkit.load_weights(clips, tmp_path / "weights.pth")
    else:
        image = made("uniformer_small", **UNIFORMER)
        save_weights(image, tmp_path / "weights.safetensors", {"name": "uniformer_small"})
        report = snnkit.load_weights(clips, tmp_path / "weights.safetensors")
    assert report.complete
    assert report.widened > 10
    own = clips.state_dict()
    assert expected.keys() == own.keys()
    for key, value in expected.items():
        torch.testing.assert_close(own[key], value.to(own[key].dtype), rtol=0, atol=0)


def test_uniformer_s_attention_sees_a_still_clip_as_its_image():
    """Without the positions, whose kernels reach over the ends of a clip, stages of attention do so everywhere."""
    image, clips = made("uniformer_small", **UNIFORMER), made("uniformer_video_small", num_frames=4, **UNIFORMER)
    snnkit.load_weights(clips, image.state_dict())
    x = torch.randn(2, 3, 3, 16, dtype=torch.float64)
    with torch.no_grad():
        for stage in (2, 3):
            a, b = image.stages[stage][0], clips.stages[stage][0]
            expected = x + a.mix(x)
            got = x.unsqueeze(1).expand(-1, 5, -1, -1, -1)
            got = got + b.mix(got)
            close(got[:, 3], expected, 1e-10)
            close(got[:, 0], expected, 1e-10)
        first = image.patch_embeds[0](still(4)[0])
    padded = clips.patch_embeds[0](still(40)[1])
    close(padded[:, :, 10].detach(), first, 1e-9)


def test_another_head_is_an_error_or_starts_anew():
    image = made("uniformer_small", **{**UNIFORMER, "num_classes": 7})
    clips = made("uniformer_video_small", num_frames=4, **UNIFORMER)
    before = clips.head.weight.clone()
    with pytest.raises(InvalidArgumentError, match=r"head\.weight has shape \(7, 16\).*strict=False"):
        snnkit.load_weights(clips, image.state_dict())
    report = snnkit.load_weights(clips, image.state_dict(), strict=False)
    assert set(report.left) == {"head.weight", "head.bias"}
    assert torch.equal(clips.head.weight, before)


def test_attention_over_time_starts_as_the_model_has_it():
    image = made("uniformer_small", **UNIFORMER)
    clips = made("uniformer_video_small", num_frames=4, attention="divided", **UNIFORMER)
    with pytest.raises(InvalidArgumentError, match=r"missing.*\.time\..*strict=False"):
        snnkit.load_weights(clips, image.state_dict())
    report = snnkit.load_weights(clips, image.state_dict(), strict=False)
    assert report.missing
    assert all(".time." in key for key in report.missing)


@pytest.mark.parametrize("form", [{"layer_scale": True}, {"overlapping_stem": True}])
def test_forms_that_clips_do_not_have_are_refused_in_a_line(form):
    image = made("uniformer_small", **UNIFORMER, **form)
    clips = made("uniformer_video_small", num_frames=4, **UNIFORMER)
    before = {key: value.clone() for key, value in clips.state_dict().items()}
    with pytest.raises(InvalidArgumentError, match="neither overlapping stem nor layer scale") as caught:
        snnkit.load_weights(clips, image.state_dict())
    assert "\n" not in str(caught.value)
    assert all(torch.equal(value, before[key]) for key, value in clips.state_dict().items())


def test_other_loads_are_left_alone():
    """Clips to clips, images to images; and clips to images is refused as before."""
    clips, image = made("uniformer_video_small", num_frames=4, **UNIFORMER), made("uniformer_small", **UNIFORMER)
    for model in (clips, image):
        state = model.state_dict()
        same, widened = inflated(model, state, state)
        assert widened == 0
        assert all(same[key] is state[key] for key in state)
    with pytest.raises(InvalidArgumentError, match=r"has shape \(8, 3, 3, 4, 4\) in the file"):
        snnkit.load_weights(image, clips.state_dict())


def test_spiking_networks_have_one_set_of_weights_for_images_and_frames():
    """A still sequence of as many steps gives what the image gave."""
    sizes = {"num_classes": 5, "in_chans": 3, "img_size": 16, "width": 4}
    image = made("spiking_cnn_small", timesteps=6, **sizes)
    frames = snnkit.create_model("spiking_cnn_small", timesteps=2, **sizes).double().eval()
    assert snnkit.load_weights(frames, image.state_dict()).complete
    x = torch.randn(2, 3, 16, 16, dtype=torch.float64)
    with torch.no_grad():
        close(frames(x.expand(6, -1, -1, -1, -1)), image(x), 1e-12)
