"""NIR files that lead elsewhere or claim too much: refused by both readers before any of it is opened.

Would break it: a link that is followed, data that are taken from another file, a size that is believed.
"""

import numpy as np
import pytest
import torch

from compiler.exchange.nir import read
from snnkit import archives
from snnkit.errors import CorruptFileError, NonFiniteError
from snnkit.importers import from_nir

nir = pytest.importorskip("nir")
h5py = pytest.importorskip("h5py")

READERS = {"graph": read, "network": from_nir}
SECRET = np.full((4, 4), 7.0, np.float32)


@pytest.fixture
def paths(tmp_path):
    """A NIR file of one linear layer, and another file with numbers that are nobody's business."""
    nodes = {
        "input": nir.Input({"input": np.array([4])}),
        "layer": nir.Linear(np.eye(4, dtype=np.float32)),
        "output": nir.Output({"output": np.array([4])}),
    }
    nir.write(tmp_path / "net.nir", nir.NIRGraph(nodes, [("input", "layer"), ("layer", "output")]))
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["weight"] = SECRET
        file["group/weight"] = SECRET
    (tmp_path / "secret.raw").write_bytes(SECRET.tobytes())
    return tmp_path / "net.nir", tmp_path / "secret.h5", tmp_path / "secret.raw"


def external_link(layer, secret, raw):
    layer["weight"] = h5py.ExternalLink(str(secret), "/weight")


def external_group(layer, secret, raw):
    layer.parent["other"] = h5py.ExternalLink(str(secret), "/group")


def soft_link(layer, secret, raw):
    layer["weight"] = h5py.SoftLink("/version")


def soft_cycle(layer, secret, raw):
    layer["again"] = h5py.SoftLink("/")


def hard_cycle(layer, secret, raw):
    layer["again"] = layer.parent


def virtual(layer, secret, raw):
    layout = h5py.VirtualLayout((4, 4), np.float32)
    layout[:] = h5py.VirtualSource(str(secret), "weight", (4, 4))
    layer.create_virtual_dataset("weight", layout)


def raw_storage(layer, secret, raw):
    layer.create_dataset("weight", (4, 4), np.float32, external=[(str(raw), 0, h5py.h5f.UNLIMITED)])


def huge(layer, secret, raw):
    layer.create_dataset("weight", (1 << 20, 1 << 14), np.float32, chunks=(1, 1 << 14))


CASES = {
    external_link: "layer/weight is a link to elsewhere",
    external_group: "other is a link to elsewhere",
    soft_link: "layer/weight is a link to elsewhere",
    soft_cycle: "again is a link to elsewhere",
    hard_cycle: "is there twice, or holds itself",
    virtual: "data of .*layer/weight lie in other files",
    raw_storage: "data of .*layer/weight lie in other files",
    huge: "claims to unpack to 64.0 GiB; at most 1.0 GiB",
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("change", CASES, ids=lambda change: change.__name__)
def test_a_file_that_leads_elsewhere_or_claims_too_much(paths, reader, change):
    with h5py.File(paths[0], "a") as file:
        layer = file["node/nodes/layer"]
        if change not in (external_group, soft_cycle, hard_cycle):
            del layer["weight"]
        change(layer, *paths[1:])
    with pytest.raises(CorruptFileError, match=f"net.nir.*{CASES[change]}") as caught:
        READERS[reader](paths[0])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("reader", READERS)
def test_weights_that_are_no_numbers_are_named(paths, reader):
    with h5py.File(paths[0], "a") as file:
        file["node/nodes/layer/weight"][1, 2] = float("nan")
    with pytest.raises(NonFiniteError, match=r"net.nir: /node/nodes/layer/weight holds NaN \(1 of 16 values\)"):
        READERS[reader](paths[0])


def test_small_claims_add_up(paths, monkeypatch):
    with h5py.File(paths[0], "a") as file:
        for number in range(8):
            file.create_dataset(f"more/part{number}", (1 << 12,), np.float32, chunks=(16,))
    read(paths[0])
    monkeypatch.setattr(archives, "MOST_BYTES", 1 << 16)
    monkeypatch.setattr(archives, "MOST_TIMES", 0)
    with pytest.raises(CorruptFileError, match="claims to unpack to"):
        read(paths[0])


def test_a_plain_file_is_read_by_both(paths):
    x = torch.randn(3, 2, 4)
    assert torch.equal(from_nir(paths[0])(x), x)
    assert read(paths[0]).shape("layer") == (4,)
