"""E-SpikeFormer's base models against the published code, and what makes them differ from their predecessors.

Would break it: a divided head, values as narrow as keys, another scale of the attention, a depthwise
convolution without its own norm or neuron, a neuron that remembers.
"""

import pytest
import torch
from parity import Reference, close

import snnkit
from snnkit.errors import InvalidArgumentError
from snnkit.neurons import MultiSpike


@pytest.fixture(scope="module")
def golden():
    reference = Reference("e_spikeformer_small")
    model = snnkit.create_model(
        "e_spikeformer_t", embed_dim=reference.config["embed_dim"], num_classes=10, img_size=64
    ).double()
    report = snnkit.load_weights(model, reference.state())
    assert report.complete
    assert "E-SpikeFormer" in report.source
    return reference, model.eval()


def run(model, x):
    with torch.no_grad(), snnkit.record(model) as tape:
        return model(x), [layer.spikes for layer in tape.layers.values()]


def test_logits_and_rates_of_the_published_code(golden):
    reference, model = golden
    logits, spikes = run(model, reference.input)
    close(logits, reference["logits"], 1e-9)
    close(torch.stack([s.mean() for s in spikes]), reference["rates"], 1e-12)
    assert sum(p.numel() for p in model.parameters()) == reference.config["params"]


@pytest.mark.parametrize("mutation", ["divided head", "scale", "levels"])
def test_a_wrong_detail_shows(golden, mutation):
    """Change one thing; the logits must leave the published ones."""
    reference, model = golden
    neurons = [m for m in model.modules() if isinstance(m, MultiSpike)]
    attentions = [block.attention.attend for block in (*model.stage3, *model.stage4)]
    changes = {
        "divided head": [(model.head_neuron, "divisor", 4.0)],
        "scale": [(a, "scale", a.scale / 2) for a in attentions],
        "levels": [(n, "levels", 5) for n in neurons],
    }[mutation]
    before = [getattr(module, name) for module, name, _ in changes]
    for module, name, value in changes:
        setattr(module, name, value)
    try:
        logits, _ = run(model, reference.input)
    finally:
        for (module, name, _), value in zip(changes, before, strict=True):
            setattr(module, name, value)
    assert (logits - reference["logits"]).abs().max() > 1e-3


def test_every_weight_but_the_first_meets_small_integers(golden):
    """What a chip sees: counts of spikes from 0 to 4, over 4; the head's undivided."""
    reference, model = golden
    _, spikes = run(model, reference.input)
    *inner, head = spikes
    assert not any(m.half_up for m in model.modules() if isinstance(m, MultiSpike))  # no current here lies on a half
    for values in inner:
        assert set((values * 4).unique().tolist()) <= {0.0, 1.0, 2.0, 3.0, 4.0}
    assert set(head.unique().tolist()) <= {0.0, 1.0, 2.0, 3.0, 4.0}
    assert max(values.max() for values in inner) == 1
    assert head.max() > 1


def test_steps_know_nothing_of_each_other(golden):
    reference, model = golden
    x = torch.stack([reference.input, -reference.input])
    with torch.no_grad():
        whole = model.forward_sequence(x)
        alone = torch.cat([model.forward_sequence(x_t[None]) for x_t in x])
    assert torch.allclose(whole, alone, rtol=0, atol=1e-12)


def test_another_image_size_and_a_rectangle():
    model = snnkit.create_model("e_spikeformer_t", embed_dim=(8, 8, 16, 16), depths=(1, 1), in_chans=1).eval()
    assert model(torch.rand(1, 1, 64, 96)).shape == (1, 1000)


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"embed_dim": (8, 8, 12, 16)}, "num_heads=8"),
        ({"embed_dim": (7, 8, 16, 16)}, "even"),
        ({"levels": 0}, "levels"),
    ],
)
def test_bad_sizes_are_named(settings, word):
    with pytest.raises(InvalidArgumentError, match=word):
        snnkit.create_model("e_spikeformer_t", **settings)
