"""Files for readers that know neither r nor v_reset: Norse and snnTorch give the spikes of the network written.

Would break it: a gain that stays in r, a bias that is not multiplied with its weights, a reset that is not where a
membrane is counted from, axes counted as NIR does and these readers do not.
"""

import pytest
import torch
from torch import nn

import compiler
from compiler.exchange.nir import NirError, read, write
from snnkit.layers import sequence
from snnkit.neurons import LIF, CuBaLIF, ParametricLIF

nir = pytest.importorskip("nir")
X = torch.rand(12, 3, 5, generator=torch.Generator().manual_seed(0)) * 1.5
NEURONS = {
    "plain": lambda: LIF(2.0, v_threshold=0.5),
    "decay_input=False": lambda: LIF(2.0, v_threshold=0.8, decay_input=False),
    "v_reset=.1": lambda: LIF(2.0, v_threshold=0.5, v_reset=0.1),
    "both": lambda: LIF(1.7, v_threshold=0.8, v_reset=-0.2, decay_input=False),
    "parametric": lambda: ParametricLIF(2.5, v_threshold=0.7, v_reset=0.1, decay_input=False),
}


def network(made):
    torch.manual_seed(0)
    layers = [sequence.Linear(5, 8), made(), sequence.Linear(8, 4), made()]
    for layer in layers[::2]:
        nn.init.normal_(layer.weight, 0.1, 0.6)
    return nn.Sequential(*layers).eval()


def norse(path):
    pytest.importorskip("norse.torch")
    from norse.torch.utils.import_nir import from_nir

    return from_nir(nir.read(path), ignore_warnings=True, dt=1e-3)


def snntorch(path):
    from snntorch.import_nir import import_from_nir

    return import_from_nir(nir.read(path))


def spikes(theirs, x):
    state, out = None, []
    for x_t in x:
        sent, state = theirs(x_t, state)
        out.append(sent)
    return torch.stack(out)


READERS = pytest.mark.parametrize(("reader", "dt"), [(norse, 1e-3), (snntorch, 1e-4)])


@READERS
@pytest.mark.parametrize("case", NEURONS)
def test_peers_read_what_was_written(case, reader, dt, tmp_path):
    net = network(NEURONS[case])
    expected = net(X)
    assert 0.05 < expected.mean() < 0.95
    graph = compiler.capture(net, X)
    report = write(graph, tmp_path / "a.nir", dt=dt, portable=True)
    assert any("went into the weights" in note for note in report.notes) == (case not in ("plain", "v_reset=.1"))
    assert torch.equal(spikes(reader(tmp_path / "a.nir"), X), expected)
    back = compiler.interpret(read(tmp_path / "a.nir"), X)[0]
    assert torch.equal(back.to(expected.dtype), expected), "and so does the reader here"


@READERS
@pytest.mark.parametrize("pooled", [False, True])
def test_peers_read_convolutions(pooled, reader, dt, tmp_path):
    torch.manual_seed(0)
    layers = [
        sequence.Conv2d(2, 6, 3, padding=1),
        NEURONS["plain"](),
        *([sequence.AvgPool2d(2)] if pooled else []),
        sequence.Conv2d(6, 8, 3, stride=2, padding=1),
        NEURONS["both"](),
        nn.Flatten(2),
        sequence.Linear(8 * (2 if pooled else 4) ** 2, 10),
        NEURONS["plain"](),
    ]
    for layer in layers:
        if isinstance(layer, (sequence.Conv2d, sequence.Linear)):
            nn.init.normal_(layer.weight, 0.05, 0.3)
    net = nn.Sequential(*layers).eval()
    x = torch.rand(12, 3, 2, 8, 8) * 1.5
    expected = net(x)
    assert 0.05 < expected.mean() < 0.95
    report = write(compiler.capture(net, x), tmp_path / "a.nir", dt=dt, portable=True)
    assert any("which Norse 1.1 does not read" in note for note in report.notes) == pooled
    if not (pooled and reader is norse):
        assert torch.equal(spikes(reader(tmp_path / "a.nir"), x), expected)


def test_what_has_no_portable_form(tmp_path):
    alone = nn.Sequential(LIF(2.0, decay_input=False))
    with pytest.raises(NirError, match="multiplies its input, which portable files have in weights only"):
        write(compiler.capture(alone, X), tmp_path / "a.nir", portable=True)
    current = nn.Sequential(sequence.Linear(5, 5), CuBaLIF(0.5, 0.5, v_reset=0.1))
    with pytest.raises(NirError, match="resets elsewhere"):
        write(compiler.capture(current, X), tmp_path / "a.nir", portable=True)
    assert list(tmp_path.iterdir()) == []
