"""Reading and writing artifacts: both forms mean the same network, and every bad file gets one clear line."""

import io
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy.sparse import csr_array

from compiler.network import INPUT, Network, Population, Projection
from compiler.simulate.artifact import ArtifactError, load, save
from compiler.simulate.reference import replay, run
from snnkit import archives

GOLDEN = Path(__file__).parents[2] / "golden" / "lava"


def small_network():
    """Two populations (3 and 2 neurons), a skip from the input, a loop and a way back."""
    rng = np.random.default_rng(3)

    def pop(name, n):
        return Population(name, 300, 100, 9, rng.integers(-9, 9, n).astype(np.int32), np.full(n, 3, np.int32))

    def proj(source, target, shape, exponent):
        return Projection(source, target, csr_array(rng.integers(-90, 90, shape).astype(np.int32)), exponent, 7)

    projections = (
        proj(INPUT, 0, (3, 4), 0),
        proj(0, 1, (2, 3), 1),
        proj(INPUT, 1, (2, 4), -2),
        proj(1, 1, (2, 2), 0),
        proj(1, 0, (3, 2), 2),
    )
    return Network((pop("first", 3), pop("zweite Lage", 2)), projections, rng.integers(0, 2, (4, 12)).astype(np.uint8))


def graph_arrays(tmp_path):
    """The stored arrays of :func:`small_network`."""
    save(tmp_path / "good.npz", small_network())
    with np.load(tmp_path / "good.npz", allow_pickle=False) as archive:
        return {key: archive[key] for key in archive.files}


def chain_arrays():
    with np.load(GOLDEN / "w.npz", allow_pickle=False) as archive:
        return {key: archive[key] for key in archive.files}


@pytest.mark.parametrize("name", ["a", "b", "c", "w"])
def test_chain_read_and_written_as_graph_runs_the_same(tmp_path, name):
    """Breaks if any parameter, weight or the input is changed, dropped or attached elsewhere on the way."""
    save(tmp_path / "graph.npz", load(GOLDEN / f"{name}.npz"))
    chain, graph = replay(GOLDEN / f"{name}.npz"), replay(tmp_path / "graph.npz")
    assert chain.keys() == graph.keys()
    for key in chain:
        assert_array_equal(chain[key], graph[key])


def test_graph_round_trip(tmp_path):
    """Breaks if source, target, exponent, bits, names or a weight do not survive."""
    network = small_network()
    save(tmp_path / "net.npz", network)
    again = load(tmp_path / "net.npz")
    assert [p.name for p in again.populations] == ["first", "zweite Lage"]
    for ours, theirs in zip(network.projections, again.projections, strict=True):
        assert (ours.source, ours.target, ours.weight_exp, ours.weight_bits) == (
            theirs.source,
            theirs.target,
            theirs.weight_exp,
            theirs.weight_bits,
        )
        assert_array_equal(ours.weights.toarray(), theirs.weights.toarray())
    before, after = run(network), run(again)
    for key in before:
        assert_array_equal(before[key], after[key])
    assert sum(int(before[f"s{i}"].sum()) for i in range(2)) > 0


def test_written_file_holds_plain_arrays_only(tmp_path):
    """Breaks if something is pickled, stored as float, or a temporary file stays behind."""
    arrays = graph_arrays(tmp_path)
    assert {value.dtype.kind for key, value in arrays.items() if key != "names"} <= {"i", "u"}
    assert arrays["names"].dtype.kind == "U"
    assert [path.name for path in tmp_path.iterdir()] == ["good.npz"]


def test_no_input_lines(tmp_path):
    """A network that only its biases drive; breaks if an empty input is taken for a mistake."""
    pop = Population("p", 0, 0, 10, np.array([100], np.int32), np.array([3], np.int32))
    save(tmp_path / "net.npz", Network((pop,), (), np.zeros((0, 4), np.uint8)))
    assert replay(tmp_path / "net.npz")["s0"].tolist() == [[1, 1, 1, 1]]


BAD_GRAPHS = {
    "missing key": ({"vth1": None}, "key 'vth1' is missing"),
    "missing projection key": ({"pwbits2": None}, "key 'pwbits2' is missing"),
    "more populations than stored": ({"L": 3, "names": None}, "key 'du2' is missing"),
    "no populations": ({"L": 0}, "key 'L' = 0 is outside 1"),
    "negative count": ({"P": -1}, "key 'P' = -1 is outside 0"),
    "decay": ({"du0": 4096}, "key 'du0' = 4096 is outside 0..4095"),
    "negative decay": ({"dv1": -1}, "key 'dv1' = -1 is outside 0..4095"),
    "threshold": ({"vth0": 131072}, "key 'vth0' = 131072 is outside 0..131071"),
    "bias": ({"bm1": np.array([0, 4096])}, "key 'bm1' = 4096 is outside -4096..4095"),
    "bias exponent": ({"be1": np.array([0, -1])}, "key 'be1' = -1 is outside 0..7"),
    "bias lengths": ({"be1": np.array([0, 1, 2])}, "keys 'bm1' and 'be1' have shapes (2,) and (3,)"),
    "weight": ({"pval1": np.array([1, 2, 3, 4, 5, 256])}, "projection 1: weight = 256 is outside -256..255"),
    "weight that int32 would hide": ({"pval1": np.array([1, 2, 3, 4, 5, 2**32 + 1])}, "key 'pval1' = 4294967297"),
    "weight exponent": ({"pwexp1": 8}, "projection 1: weight exponent = 8 is outside -8..7"),
    "weight bits": ({"pwbits1": 9}, "projection 1: weight bits = 9 is outside 1..8"),
    "input value": ({"inp": np.full((4, 12), 2, np.uint8)}, "key 'inp' = 2 is outside 0..1"),
    "input shape": ({"inp": np.zeros(12, np.uint8)}, "key 'inp' has shape (12,), wanted 2 axes"),
    "steps": ({"T": 13}, "key 'inp' has 12 steps (second axis), key 'T' says 13"),
    "no steps": ({"T": 0, "inp": np.zeros((4, 0), np.uint8)}, "key 'T' = 0 is outside 1"),
    "floats": ({"du0": 0.5}, "key 'du0' holds float64, wanted integers"),
    "array for a scalar": ({"du0": np.array([1, 2])}, "key 'du0' has shape (2,), wanted 0 axes"),
    "unknown source": ({"psrc3": 2}, "projection 3 goes from 2 to 1; there are 0..1, and -1 is the input"),
    "input as target": ({"pdst3": -1}, "projection 3 goes from 1 to -1"),
    "target neuron": ({"prow3": np.array([0, 0, 2, 1])}, "key 'prow3' = 2 is outside 0..1"),
    "source neuron": ({"pcol3": np.array([0, 1, -1, 1])}, "key 'pcol3' = -1 is outside 0..1"),
    "coordinates": ({"pcol3": np.array([0, 1])}, "keys 'prow3', 'pcol3' and 'pval3' differ in length"),
    "synapse twice": ({"prow3": np.array([0, 0, 1, 1]), "pcol3": np.array([0, 0, 0, 1])}, "the same pair of neurons"),
    "names": ({"names": np.array(["one"])}, "key 'names' does not hold 2 unicode strings"),
}


@pytest.mark.parametrize("case", BAD_GRAPHS)
def test_bad_graph(tmp_path, case):
    """Each wrong entry is named with its key and what is allowed; breaks if it is let through or only crashes."""
    changes, message = BAD_GRAPHS[case]
    arrays = graph_arrays(tmp_path) | {key: value for key, value in changes.items() if value is not None}
    np.savez(tmp_path / "bad.npz", **{key: arrays[key] for key in arrays if changes.get(key, 0) is not None})
    with pytest.raises(ArtifactError) as caught:
        load(tmp_path / "bad.npz")
    assert message in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path / "bad.npz"))
    assert "\n" not in str(caught.value)
    assert caught.value.user_error


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"W0": np.zeros((3, 2), np.int32)}, "weights of shape (3, 2), wanted (out, in) = (2, 2)"),
        ({"W0": np.zeros((2, 5), np.int32)}, "weights of shape (2, 5), wanted (out, in) = (2, 2)"),
        ({"W0": np.full((2, 2), -257)}, "projection 0: weight = -257 is outside -256..255"),
        ({"wexp0": -9}, "weight exponent = -9 is outside -8..7"),
    ],
)
def test_bad_chain(tmp_path, changes, message):
    """The chain form passes through the same checks."""
    np.savez(tmp_path / "bad.npz", **(chain_arrays() | changes))
    with pytest.raises(ArtifactError) as caught:
        load(tmp_path / "bad.npz")
    assert message in str(caught.value)


def test_not_a_file(tmp_path):
    """Missing files, folders, other formats and damaged archives are refused in one line."""
    with pytest.raises(ArtifactError, match="no such file"):
        load(tmp_path / "absent.npz")
    with pytest.raises(ArtifactError, match="no such file"):
        load(tmp_path)
    (tmp_path / "text.npz").write_text("hello")
    np.save(tmp_path / "array.npy", np.zeros(3))
    for name in ("text.npz", "array.npy"):
        with pytest.raises(ArtifactError, match="not an npz archive"):
            load(tmp_path / name)
    graph_arrays(tmp_path)
    content = (tmp_path / "good.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(content[: len(content) // 2])
    with pytest.raises(ArtifactError, match="not an npz archive"):
        load(tmp_path / "cut.npz")
    (tmp_path / "flipped.npz").write_bytes(content[:200] + bytes(b ^ 0xFF for b in content[200:260]) + content[260:])
    with pytest.raises(ArtifactError):
        load(tmp_path / "flipped.npz")


def test_an_archive_that_claims_more_than_it_may_fills_no_memory(tmp_path, monkeypatch):
    """As a small zip of gigabytes of zeros would, at a thousandth of the limit: refused before a member is unpacked."""
    assert archives.MOST_BYTES == 1 << 30
    monkeypatch.setattr(archives, "MOST_BYTES", 1 << 20)
    np.savez_compressed(tmp_path / "bomb.npz", **(chain_arrays() | {"inp": np.zeros((2, 1 << 21), np.uint8)}))
    monkeypatch.setattr(zipfile.ZipExtFile, "read", _not_called_for_all(zipfile.ZipExtFile.read))
    with pytest.raises(ArtifactError, match=r"claims to unpack to 0\.0 GiB; at most 0\.0 GiB"):
        load(tmp_path / "bomb.npz")


def _not_called_for_all(read):
    def few(self, n=-1):
        assert n is not None
        assert 0 <= n < 1 << 20
        return read(self, n)

    return few


@pytest.mark.parametrize("shape", [(10,), (1,), (1 << 40,), (1 << 62, 1 << 62), (-2,)])
def test_an_array_that_claims_another_size_than_it_has_is_refused(tmp_path, shape):
    np.savez(tmp_path / "bad.npz", **chain_arrays())
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "<i4", "fortran_order": False, "shape": shape})
    with zipfile.ZipFile(tmp_path / "bad.npz", "a") as archive:
        archive.writestr("more.npy", head.getvalue() + bytes(8))
    with pytest.raises(ArtifactError, match=r"more\.npy claims .* bytes and holds 8"):
        load(tmp_path / "bad.npz")


class Trap:
    """Leaves a mark if it is ever unpickled."""

    sprung = False

    def __reduce__(self):
        return (_spring, ())


def _spring():
    Trap.sprung = True


def test_nothing_is_unpickled(tmp_path):
    """Breaks if pickled content, bare or inside an archive, is executed: the trap would spring."""
    (tmp_path / "bare.npz").write_bytes(pickle.dumps(Trap()))
    np.savez(tmp_path / "inside.npz", **(chain_arrays() | {"extra": np.array([Trap()], dtype=object)}))
    with pytest.raises(ArtifactError, match="not an npz archive"):
        load(tmp_path / "bare.npz")
    with pytest.raises(ArtifactError, match="pickled objects, which are never loaded"):
        load(tmp_path / "inside.npz")
    assert not Trap.sprung


def test_save_refuses_what_load_would(tmp_path):
    """Breaks if an invalid network reaches the disk."""
    network = small_network()
    wrong = Projection(0, 1, csr_array(np.full((2, 3), 300, np.int32)), 0, 8)
    with pytest.raises(ArtifactError, match=r"projection 0: weight = 300 is outside -256\.\.255"):
        save(tmp_path / "net.npz", Network(network.populations, (wrong,), network.inputs))
    halves = Projection(0, 1, csr_array(np.full((2, 3), 0.5)), 0, 8)
    with pytest.raises(ArtifactError, match="projection 0: weight holds float64, wanted integers"):
        save(tmp_path / "net.npz", Network(network.populations, (halves,), network.inputs))
    assert list(tmp_path.iterdir()) == []
