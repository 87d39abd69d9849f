"""The benchmark of conversions: what its figures are made of, right by hand; the whole on a few images.

Would break it: a bar that is reached by the wrong side, steps counted from 0, prices of the wrong numbers, zeros that
are charged, rows of other settings taken for those asked for, a peer's refusal that ends the rest.
"""

import math

import pytest
import torch
from torch import nn

from compiler.bench import convert
from compiler.bench.convert_baselines import accuracies, met_halfway, peer_rows, rate_rows, refused
from compiler.bench.convert_networks import NETWORKS, Amounts, arguments, run_of, settings
from compiler.bench.convert_prices import energy_uj, fair_bits, nonzero_macs, price_rows
from compiler.bench.convert_table import tables
from compiler.converting import convert as to_spiking
from compiler.converting.comparing import Comparison, FormResult
from hw.counts import Counts, LayerCounts
from snnkit.bench import about, modules
from snnkit.files import read_json
from snnkit.models import create_model


def test_the_command_finds_it():
    assert modules()["convert"] == "compiler.bench.convert"
    assert "Fashion-MNIST" in about("convert")


@pytest.mark.parametrize(("timesteps", "bits"), [(1, 1), (2, 2), (3, 2), (4, 3), (7, 3), (8, 4), (15, 4), (16, 5)])
def test_as_many_bits_as_tell_the_counts_of_spikes_apart(timesteps, bits):
    assert fair_bits(timesteps) == bits


@pytest.mark.parametrize(
    ("macs", "acs", "numbers", "value"),
    [(1e6, 0, "32-bit floats", 4.6), (0, 1e6, "32-bit floats", 0.9), (2e6, 1e6, "8-bit integers", 0.49)],
)
def test_energies_by_hand(macs, acs, numbers, value):
    assert energy_uj(macs, acs, numbers) == pytest.approx(value)


def _counts(**numbers):
    return Counts((LayerCounts("layer", "linear", "synapse", "real", "real", **numbers),), 1, 1)


def test_accelerators_pay_for_all_and_spikes_for_what_happens():
    counts = {
        "float": _counts(dense_macs=100.0, mac=100.0),
        "quantised": _counts(dense_macs=100.0, mac=20.0, ac=300.0),
        "spiking": _counts(dense_macs=600.0, mac=20.0, ac=150.0),
    }
    rows = {row["variant"]: row for row in price_rows("net", counts, 50.0, images=3)}
    executed = {name.partition(", energy")[0]: (row["macs"], row["acs"]) for name, row in rows.items()}
    assert executed == {
        "float": (100.0, 0.0),
        "quantised": (100.0, 0.0),
        "quantised, zeros skipped": (50.0, 0.0),
        "spiking until rest": (20.0, 150.0),
    }
    assert len(rows) == 8
    assert all(row["images"] == 3 for row in rows.values())


def test_zeros_are_skipped_and_other_codes_cost_the_same():
    """Behind the first layer, which reads real numbers, a code counts once for each weight it meets."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4)).eval()
    x = torch.randn(7, 6)
    converted = to_spiking(model, [x], 16, 2)
    (codes,) = converted.codes(x).values()
    assert 0 < int((codes == 0).sum()) < codes.numel()
    assert int(codes.max()) > 2
    expected = 6 * 5 + float((codes != 0).sum()) * 4 / len(x)
    assert nonzero_macs(converted.qann_graph, x) == pytest.approx(expected)


def _comparison(accuracies, quantised=0.9, differ=0):
    """A comparison whose spiking form has these accuracies after T = 1, 2, …; the last is at rest."""
    forms = [FormResult("float", 0.92, 0.95), FormResult("quantised", quantised, 1.0)]
    forms += [FormResult(f"spiking, T = {t}", a, 0.5, 0.1 * t) for t, a in enumerate(accuracies[:-1], start=1)]
    forms.append(FormResult("spiking, at rest", accuracies[-1], 1.0, 9.0))
    rest = len(accuracies) - 1
    return Comparison(1000, tuple(forms), 50, differ, 0.0, 0.1, rest, 30, rest, {})


@pytest.mark.parametrize(
    ("accuracies", "first"),
    [
        ((0.5, 0.9, 0.9, 0.9), 2),
        ((0.9, 0.9, 0.9), 1),
        ((0.895, 0.5, 0.895, 0.9), 3),  # it fell below again
        ((0.1, 0.2, 0.3, 0.9), 4),  # at rest only
        ((0.1, 0.8901, 0.9), 2),
        ((0.1, 0.8899, 0.9), 3),
    ],
)
def test_the_first_step_from_which_on_it_stays_within_a_point(accuracies, first):
    assert convert.first_within(_comparison(accuracies), 0.89) == first


@pytest.mark.parametrize(("convolutional", "bar", "reached"), [(True, 4, False), (False, 8, True)])
def test_rows_of_the_spiking_form(convolutional, bar, reached):
    found = _comparison((0.1, 0.2, 0.3, 0.4, 0.9, 0.9, 0.9), differ=3)
    rows = {row["variant"]: row for row in convert.spiking_rows("net", found, convolutional)}
    assert [rows[f"spiking, K = 2, T = {t}"]["value"] for t in (1, 2, 4, 8)] == [10.0, 20.0, 40.0, 90.0]
    assert rows["spiking, K = 2, T = 4"]["events_per_neuron"] == 0.4
    assert rows["spiking, K = 2, T = 8"]["events_per_neuron"] == 9.0  # at rest before
    differ = rows["codes that differ at rest"]
    assert (differ["value"], differ["unit"], differ["reached"]) == (3, "of 50", False)
    first = rows["K = 2: first T within a point of the quantised"]
    assert (first["value"], first["bar"], first["reached"]) == (5, bar, reached)


def test_decisions_are_read_after_every_step():
    """Two batches of 3 and 1; right are 1, 2, 4 of the 4 samples after 1, 2, 3 steps."""
    labels = [torch.tensor([0, 1, 1]), torch.tensor([1])]
    decided = [torch.tensor([[0, 0, 0], [0, 0, 1], [0, 1, 1]]), torch.tensor([[0], [0], [1]])]
    outputs = iter(nn.functional.one_hot(one, 2).float() for one in decided)
    pairs = [(torch.zeros(len(y), 1), y) for y in labels]
    assert accuracies(lambda x: next(outputs), pairs, (1, 2, 3)) == {1: 0.25, 2: 0.5, 3: 1.0}


def test_a_refusal_is_its_first_line():
    row = refused("net", "peer", ValueError("\n no such layer \n second line"))
    assert (row["value"], row["why"]) == (0.0, "ValueError: no such layer")
    assert refused("net", "peer", KeyError())["why"] == "KeyError"


class Relu(nn.Module):
    """A network that rate coding can carry."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(54, 3))

    def forward(self, x):
        return self.layers(x)


def _labelled(model, count=20):
    x = torch.randn(count, 1, 8, 8, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        return [(x, model(x).argmax(1))]


def test_rates_come_near_the_network_that_labels_the_images():
    torch.manual_seed(1)
    model = Relu().eval()
    pairs = _labelled(model)
    rows = {row["variant"]: row for row in rate_rows("net", model, [pairs[0][0]], pairs)}
    assert len(rows) == 4 * 6
    for name in ("rate coding, maximum", "rate coding, 99.9 %", "calibrated rate coding"):
        assert rows[f"{name}, T = 32"]["value"] >= 90.0
        assert rows[f"{name}, T = 32"]["images"] == 20


def test_peers_convert_or_say_why_not():
    pytest.importorskip("spikingjelly.activation_based.ann2snn")
    torch.manual_seed(1)
    model = Relu().eval()
    pairs = _labelled(model)
    before = [p.clone() for p in model.parameters()]
    rows = {row["variant"]: row for row in peer_rows("net", model, [pairs[0][0]], pairs)}
    assert rows["SpikingJelly, RateCodingRecipe, maximum, T = 32"]["value"] >= 90.0
    mine = {row["variant"]: row for row in rate_rows("net", model, [pairs[0][0]], pairs)}
    for t in (1, 2, 4, 8, 16, 32):
        theirs = rows[f"SpikingJelly, RateCodingRecipe, maximum of channels, from half, T = {t}"]["value"]
        assert theirs == pytest.approx(mine[f"rate coding, maximum of channels, from half, T = {t}"]["value"], abs=5)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))

    vit = create_model("timm:vit_tiny_patch16_224", num_classes=3, in_chans=1, **_VIT).eval()
    rows = peer_rows("net", vit, [pairs[0][0]], pairs)
    refusals = [row["why"] for row in rows if row["variant"].startswith("SpikingJelly, RateCodingRecipe, maximum")]
    assert all(refusals)
    assert len(refusals) == 2


@pytest.mark.parametrize("name", NETWORKS)
def test_peers_are_given_a_network_that_computes_the_same(name):
    network = NETWORKS[name]
    model = create_model(network.name, num_classes=10, in_chans=1, **arguments(network)).eval()
    x = torch.randn(2, 1, network.side, network.side)
    with torch.no_grad():
        torch.testing.assert_close(met_halfway(model)(x), model(x), atol=0, rtol=0)
    kinds = {type(part).__name__ + type(part).__module__ for part in met_halfway(model).modules()}
    assert not any(kind.startswith("LayerNormtimm") for kind in kinds)


_VIT = {"img_size": 8, "patch_size": 4, "embed_dim": 12, "depth": 1, "num_heads": 2}
TINY = Amounts("vendored", epochs=1, train_limit=100, tuned=100, calibration=20, test=20, counted=2)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_is_built_from_its_settings(name):
    config = settings(NETWORKS[name], TINY)
    assert config.data.img_size == NETWORKS[name].side
    assert config.epochs == 1
    model = create_model(config.model.name, num_classes=10, in_chans=1, **arguments(NETWORKS[name])).eval()
    assert model(torch.zeros(2, 1, NETWORKS[name].side, NETWORKS[name].side)).shape == (2, 10)
    assert sum(p.numel() for p in model.parameters()) < 1_500_000


def test_runs_with_other_settings_have_other_folders(tmp_path):
    folders = {
        run_of("vit", TINY, tmp_path),
        run_of("vit", Amounts(epochs=2), tmp_path),
        run_of("vit", Amounts(epochs=3), tmp_path),
        run_of("moat", TINY, tmp_path),
        run_of("vit", TINY, tmp_path, tuned=True),
    }
    assert len(folders) == 5
    fewer = Amounts("vendored", epochs=1, train_limit=100, tuned=50, calibration=20, test=20, counted=2)
    assert run_of("vit", fewer, tmp_path) == run_of("vit", TINY, tmp_path)  # trained alike
    assert run_of("vit", fewer, tmp_path, tuned=True) != run_of("vit", TINY, tmp_path, tuned=True)


@pytest.mark.slow
def test_a_network_is_trained_converted_and_kept(tmp_path, monkeypatch):
    """The whole on a few images: every row is there, what was measured is not measured again, unless it was another."""
    (rows,) = convert.measured(TINY, tmp_path, ("vit",), others=False)
    named = {row["variant"]: row for row in rows}
    assert named["codes that differ at rest"]["value"] == 0
    assert named["codes that differ at rest"]["logit_error"] == 0.0
    assert named["float"]["images"] == 1000
    assert named["float"]["value"] - named["quantised, L = 16, fine-tuned"]["value"] == pytest.approx(
        named["L = 16, fine-tuned: below float"]["value"], abs=0.01
    )
    same = named["quantised, on the images of the spiking form"]
    assert named["spiking, K = 2, at rest"]["value"] == same["value"]
    assert all(math.isfinite(row["value"]) for row in rows)
    assert read_json(tmp_path / "rows" / "forms-vit.json")["rows"] == rows

    monkeypatch.setattr(convert, "form_rows", lambda *given: pytest.fail("measured again"))
    assert list(convert.measured(TINY, tmp_path, ("vit",), others=False)) == [rows]
    monkeypatch.setattr(convert, "form_rows", lambda *given: [{"case": "another"}])
    others = Amounts("vendored", epochs=1, train_limit=100, tuned=100, calibration=20, test=21, counted=2)
    assert convert.kept(TINY, tmp_path) == rows
    assert convert.kept(others, tmp_path) == []
    assert list(convert.measured(others, tmp_path, ("vit",), others=False)) == [[{"case": "another"}]]


def test_all_parts_are_measured_in_order(tmp_path):
    found = [(kind, name) for kind, name, _ in convert.parts(TINY, tmp_path, tuple(NETWORKS), others=True)]
    assert found[: len(NETWORKS)] == [("forms", name) for name in NETWORKS]
    assert found[len(NETWORKS)] == ("rate", "resnet18")
    assert found[-1] == ("direct", "resnet18")
    assert [name for kind, name in found if kind == "peers"] == list(NETWORKS)
    assert all(kind == "forms" for kind, _, _ in convert.parts(TINY, tmp_path, ("vit",), others=False))


def test_tables_show_what_was_measured_and_dashes_for_the_rest():
    found = _comparison((0.1, 0.2, 0.3, 0.4, 0.9, 0.9, 0.9))
    rows = [
        {"case": "net", "variant": "float", "value": 92.0, "unit": "%", "parameters": 1234},
        *convert.spiking_rows("net", found, convolutional=True),
        {"case": "net", "variant": "rate coding, maximum, T = 4", "value": 33.3, "unit": "%"},
        {"case": "small, T = 2", "variant": "taught by net", "value": 88.8, "unit": "%"},
        refused("other", "peer", ValueError("no | such layer")),
    ]
    shown = tables(rows)
    assert (
        "| net | 1,234 | 92.00 | – | – | 90.00 | 10.00 | 20.00 | 40.00 | 90.00 | 90.00 | 6 | 9.00 | 0 of 50 | "
        "T = 5 (NOT reached: 4) |"
    ) in shown
    assert "| net | rate coding, maximum | – | – | 33.30 | – | – | – |" in shown
    assert "| small, T = 2 | taught by net | – | 88.80 | – | – | – | – |" in shown
    assert "| other | peer | ValueError: no / such layer |" in shown
    assert tables([]) == ""
