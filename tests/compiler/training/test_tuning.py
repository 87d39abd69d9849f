"""Fine-tuning in a chip's integers: what coarse weights lost comes back, and training tells the chip's accuracy.

Margins are those of one seed, with room. Would break it: a run whose accuracy is another network's, weights that land
at another node, settings that are not taken, a run that cannot be taken up.
"""

from dataclasses import replace

import pytest
import torch
from support.clothes import clothes, clothes_data, learned
from support.nets import Residual
from torch import nn

from compiler.training import ChipNetwork, compare, fine_tuned, fine_tuning
from compiler.training.tuning import SpikingGraph
from hw import get_chip
from snnkit.engine.progress import console
from snnkit.errors import InvalidArgumentError


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    monkeypatch.setattr(console, "quiet", True)


@pytest.fixture(scope="module")
def trained():
    """A small spiking network that has learned to tell clothes apart, and what it is fed."""
    torch.manual_seed(0)
    model = Residual(width=12, timesteps=3, v_threshold=0.5)
    model.head = nn.Linear(24, 10)
    return learned(
        model, 12, 1e-2
    )  # after 8 coarse weights lose 4 points or 5, by the processor; after 12 they lose 30


def coarse(model, bits):
    chip = get_chip("loihi1")
    arithmetic = replace(chip.build.arithmetic, weight_bits=tuple(range(1, bits + 1)))
    return ChipNetwork(
        model, torch.zeros(1, 1, 12, 12), replace(chip, build=replace(chip.build, arithmetic=arithmetic))
    )


def accuracy(network):
    images, labels = clothes()["test"]
    with torch.no_grad():
        return float((network.eval()(images).argmax(1) == labels).double().mean())


@pytest.mark.slow
def test_it_recovers_what_coarse_weights_lost_and_training_tells_it(trained, tmp_path):
    network = coarse(trained, 3)
    whole, before = accuracy(trained), accuracy(network)
    assert before < whole - 0.05
    config = fine_tuning(2)
    config.optim.lr = 2e-3
    tuned = fine_tuned(network, clothes_data(), config=config, teacher=trained, folder=tmp_path)
    after = accuracy(tuned.network)
    assert after - before > 0.2 * (whole - before)
    assert accuracy(network) == before  # it stays as it is
    # The accuracy that the run reports, on the same images, is the program's.
    assert tuned.run.final_score == pytest.approx(after, abs=1e-6)
    images, labels = clothes()["test"]
    found = compare(tuned.network, tuned.program, [(images[:100], labels[:100])])
    assert found.exact, str(found)
    assert str(found).startswith("training accuracy = chip accuracy: 0 of 100 predictions, 0 of 1,000 logits, 0 of ")
    for file in ("config.json", "metrics.jsonl", "checkpoints/last.safetensors"):
        assert (tmp_path / file).is_file()


def test_a_difference_is_told(trained):
    network = coarse(trained, 8)
    program = coarse(trained, 3).program()
    images, labels = clothes()["test"]
    found = compare(network, program, [(images[:50], labels[:50])])
    assert not found.exact
    assert found.spikes_differ > 0 < found.logits_differ
    assert "training accuracy ≠ chip accuracy" in str(found)
    assert found.to_dict()["exact"] is False


def test_an_interrupted_run_goes_on(trained, tmp_path):
    """Two epochs at once are one epoch and one more."""
    network, data = coarse(trained, 4), clothes_data(320)
    config = fine_tuning(2)
    config.schedule.name = "constant"
    whole = fine_tuned(network, data, config=config, folder=tmp_path / "whole").network
    fine_tuned(network, data, config=replace(config, epochs=1), folder=tmp_path / "parts")
    parts = fine_tuned(network, data, config=config, folder=tmp_path / "parts", go_on=True).network
    for mine, right in zip(parts.parameters(), whole.parameters(), strict=True):
        assert torch.equal(mine, right)


def test_the_float_network_is_the_teacher_by_default(trained):
    graph = coarse(trained, 8).graph()
    x = clothes()["test"][0][:20]
    with torch.no_grad():
        torch.testing.assert_close(SpikingGraph(graph)(x), trained(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("epochs", [0, -1, 1.5, True])
def test_bad_epochs(epochs):
    with pytest.raises(InvalidArgumentError, match="epochs"):
        fine_tuning(epochs)


def test_images_that_do_not_fit(trained):
    network = ChipNetwork(Residual(size=24).eval(), torch.zeros(1, 1, 24, 24))
    with pytest.raises(InvalidArgumentError, match=r"takes images \(1, 24, 24\)"):
        fine_tuned(network, clothes_data(100), 1)
