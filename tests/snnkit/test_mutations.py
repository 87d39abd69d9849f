"""Every reader is given thousands of damaged files: a clear error or the same meaning, nothing else.

A damaged file is a whole one with bits flipped, bytes written over, cut, doubled, or filled with extreme numbers, and
for JSON with values exchanged. A reader answers with an error of ours in one line, or with what it read. Where the
format has a checksum, what it read must be what was written. ``--mutations N`` tries N of each kind.

Would break it: a traceback of zipfile, struct, Pillow or h5py, a header that is believed, a checksum that is not kept.
"""

import gzip
import itertools
import json
import struct
import tarfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.sparse import csr_array
from support import data as written

import snnkit
from compiler.compiling import compile as compiled
from compiler.exchange import nir as nir_format
from compiler.graph import Graph, GraphBuilder
from compiler.network import INPUT, Network, Population, Projection
from compiler.program import Program
from compiler.simulate import artifact
from snnkit.checkpoints import build_model, read_any, save_weights
from snnkit.data import DataConfig, fashion_mnist, image_folder, load_images
from snnkit.data.events import read_events
from snnkit.engine import RunConfig
from snnkit.engine.checkpoint import damage
from snnkit.files import read_json, write_json
from snnkit.importers import from_nir
from snnkit.report.read import read_run

LONGEST_SECONDS = 5.0
EXTREMES = [b"\xff" * 4, b"\x00" * 4, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x00\x00\x00\x80", b"\xff" * 8]


@dataclass(frozen=True)
class Kind:
    """How a file is written, and what a reader makes of it.

    ``same`` says whether a file that is read must mean what was written: the format has a checksum.
    """

    name: str
    write: Callable[[Path], Any]
    read: Callable[[Path], Any]
    count: int = 100
    same: bool = False
    json: bool = False


def model():
    torch.manual_seed(0)
    return snnkit.create_model("spiking_cnn_small", width=2, num_classes=3, img_size=8)


CONFIG = {"name": "spiking_cnn_small", "width": 2, "num_classes": 3, "img_size": 8}


def graph():
    b = GraphBuilder("small", timesteps=2)
    x = b.input("x", (3,))
    generator = torch.Generator().manual_seed(0)
    y = b.add("linear", (x,), parameters={"weight": torch.randn(4, 3, generator=generator)}, name="layer")
    return b.finish([b.add("clamp", (y,), {"low": -1.0, "high": 1.0}, name="clamp")])


def weights_of(found):
    return {key: value.tolist() for key, value in found.state_dict().items()}


def shards(path):
    with tarfile.open(path.parent / "val-0.tar", "w") as tar:
        written.add(tar, "a.png", written.png(9))
        written.add(tar, "a.cls", b"0")
    with tarfile.open(path, "w") as tar:
        for number in range(3):
            written.add(tar, f"s{number}.png", written.png(10 * number))
            written.add(tar, f"s{number}.cls", str(number % 2).encode())


def all_images(folder):
    (folder / "train.index.npz").unlink(missing_ok=True)
    return indexed_images(folder)


def indexed_images(folder):
    config = DataConfig(dataset="tar_shards", source=str(folder), img_size=8, on_corrupt="skip", batch_size=2)
    config.flip, config.shift_pixels = False, 0
    dataset = load_images(config, seed=0).train.dataset
    return [dataset[n] for n in range(len(dataset))]


def image(kind, mode="RGB"):
    def write(path):
        pixels = np.random.default_rng(0).integers(0, 255, (9, 7, 3)).astype(np.uint8)
        made = Image.fromarray(pixels) if mode == "RGB" else Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
        made.save(path, kind)

    return write


def idx(path, opened=open):
    images = np.arange(60, dtype=np.uint8).reshape(3, 4, 5)
    with opened(path, "wb") as file:
        file.write(struct.pack(">4I", 0x803, *images.shape) + images.tobytes())


def subset(path):
    images = np.arange(40, dtype=np.uint8).reshape(2, 4, 5)
    labels = np.array([3, 7], np.uint8)
    np.savez(path, x_train=images, y_train=labels, x_test=images + 1, y_test=labels[::-1])


def network():
    generator = np.random.default_rng(0)
    population = Population("a", 100, 200, 64, generator.integers(-5, 5, 3).astype(np.int32), np.zeros(3, np.int32))
    weights = csr_array(generator.integers(-20, 20, (3, 4)).astype(np.int32))
    inputs = generator.integers(0, 2, (4, 6)).astype(np.uint8)
    return Network((population,), (Projection(INPUT, 0, weights, 0, 8),), inputs)


def network_of(found):
    pop, proj = found.populations[0], found.projections[0]
    return [pop.name, pop.du, pop.dv, pop.vth, pop.bias_mant.tolist(), pop.bias_exp.tolist(), proj.source, proj.target,
            proj.weight_exp, proj.weight_bits, proj.weights.toarray().tolist(), found.inputs.tolist()]  # fmt: skip


def graph_of(found):
    nodes = [(n.name, n.op, n.inputs, n.outputs, str(n.attributes), n.scope, n.role) for n in found]
    numbers = [{k: p.tolist() for k, p in n.parameters.items()} for n in found]
    texts = str(found.signals), str(found.states)
    return nodes, numbers, found.inputs, found.outputs, found.timesteps, found.name, texts


def nir_file(path):
    nir = pytest.importorskip("nir")
    nodes = {
        "input": nir.Input({"input": np.array([4])}),
        "layer": nir.Affine(np.eye(4, dtype=np.float32), np.zeros(4, np.float32)),
        "lif": nir.LIF(*(np.full(4, value) for value in (2.0, 1.0, 0.0, 1.0, 0.0))),
        "output": nir.Output({"output": np.array([4])}),
    }
    order = list(nodes)
    nir.write(path, nir.NIRGraph(nodes, list(itertools.pairwise(order)), metadata={"dt": 1.0}))


def program(path):
    torch.manual_seed(0)
    compiled(model().eval(), torch.zeros(1, 1, 8, 8), chip="loihi1").save(path)


def run_folder(path):
    write_json(path.parent / "environment.json", {"created": "now", "packages": {}})
    write_json(path.parent / "config.json", {"recipe": "demo", "model": {"name": "a", "timesteps": 4}, "epochs": 2})
    lines = [{"epoch": n, "train": {"loss": 1.0}, "test": {"accuracy": 0.5}, "seconds": 2.0} for n in range(3)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def state_files(path):
    (path.parent / "state.json").write_text("{}")
    write_json(path, {"state.json": [2, 2745614147]})


def files_of(path):
    """A damaged list of files is damage that is told, or the whole list."""
    problem = damage(path.parent)
    assert isinstance(problem, str)
    return problem


EVENTS = {
    "events.bin": written.nmnist_bytes,
    "events.dat": written.dat_bytes,
    "evt2.raw": written.evt2_bytes,
    "evt21.raw": written.evt21_bytes,
    "evt3.raw": written.evt3_bytes,
    "events.aedat4": written.aedat4_bytes,
}
KINDS = [
    *(
        Kind(name, lambda path, w=w: path.write_bytes(w(*written.random_events(40))), read_events, 120)
        for name, w in EVENTS.items()
    ),
    Kind("a.png", image("PNG"), image_folder.read_image),
    Kind("deep.png", image("PNG", "I;16"), image_folder.read_image),
    Kind("a.jpg", image("JPEG"), image_folder.read_image),
    Kind("a.tiff", image("TIFF"), image_folder.read_image),
    Kind("a.bmp", image("BMP"), image_folder.read_image),
    Kind("a.webp", image("WEBP"), image_folder.read_image),
    Kind("a.gif", image("GIF"), image_folder.read_image),
    Kind("train-images-idx3-ubyte", idx, lambda path: fashion_mnist.read_idx(path, 0x803), 150),
    Kind("idx.gz", lambda path: idx(path, gzip.open),
         lambda path: fashion_mnist.read_idx(path, 0x803).tolist(), 150, True),
    Kind("subset.npz", subset, lambda path: str(fashion_mnist.read_subset(path)), 150, True),
    Kind("train-0.tar", shards, lambda path: all_images(path.parent), 60),
    Kind("train.index.npz", lambda path: (shards(path.parent / "train-0.tar"), indexed_images(path.parent)),
         lambda path: str(indexed_images(path.parent)), 40, True),
    Kind("w.safetensors", lambda path: save_weights(model(), path, CONFIG),
         lambda path: weights_of(build_model(path)[0]), 80, True),
    Kind("w.pth", lambda path: torch.save(model().state_dict(), path),
         lambda path: snnkit.load_weights(model(), path), 80),
    Kind("old.pth", lambda path: torch.save(model().state_dict(), path, _use_new_zipfile_serialization=False),
         lambda path: read_any(path), 60),
    Kind("a.graph", lambda path: graph().save(path), lambda path: graph_of(Graph.load(path)), 150, True),
    Kind("a.program", program, lambda path: graph_of(Program.load(path).graph), 60, True),
    Kind("net.npz", lambda path: artifact.save(path, network()),
         lambda path: network_of(artifact.load(path)), 120, True),
    Kind("a.nir", nir_file, lambda path: nir_format.read(path), 60),
    Kind("b.nir", nir_file, lambda path: from_nir(path), 40),
    Kind("a.json", lambda path: write_json(path, {"a": [1, 2.5, "x"], "b": {"c": None}}), read_json, 60, json=True),
    Kind("metrics.jsonl", run_folder, lambda path: read_run(path.parent), 80, json=True),
    Kind("config.json", lambda path: write_json(path, RunConfig(recipe="demo").to_dict()),
         lambda path: RunConfig.from_dict(read_json(path)), 60, json=True),
    Kind("files.json", state_files, files_of, 60, json=True),
]  # fmt: skip


def damaged(content, generator):
    """One change, or up to three."""
    content = bytearray(content)
    for _ in range(int(generator.integers(1, 4))):
        size = max(len(content), 1)
        # Headers are short and decide most: half of all changes are made there.
        at = int(generator.integers(min(size, 200) if generator.random() < 0.5 else size))
        match int(generator.integers(7)):
            case 0:
                content[at : at + 1] = bytes([content[at] ^ 1 << int(generator.integers(8))]) if content else b"\0"
            case 1:
                content[at : at + 4] = generator.bytes(4)
            case 2:
                content = content[:at]
            case 3:
                content[at:at] = content[max(at - 40, 0) : at + 40]
            case 4:
                extreme = EXTREMES[int(generator.integers(len(EXTREMES)))]
                content[at : at + len(extreme)] = extreme
            case 5:
                del content[at : at + int(generator.integers(1, 40))]
            case 6:
                content[at : at + 16] = bytes(len(content[at : at + 16]))
    return bytes(content)


WORDS = [None, True, -1, 0, 1e308, 10**30, "", "x", [], {}, [[]], {"a": 1}, "../../x", [1, 2, 3], float("nan")]


def exchanged(text, generator):
    """A line of JSON with one of its values exchanged, taken out, or under another name."""
    lines = text.splitlines() or ["{}"]
    number = int(generator.integers(len(lines)))
    if text.lstrip().startswith("{\n"):
        lines, number = [text], 0
    value = json.loads(lines[number])
    places = []

    def walk(item):
        for key in item if isinstance(item, dict) else range(len(item)):
            places.append((item, key))
            if isinstance(item[key], (dict, list)):
                walk(item[key])

    walk(value)
    word = WORDS[int(generator.integers(len(WORDS)))]
    if not places or generator.random() < 0.1:
        value = word
    else:
        item, key = places[int(generator.integers(len(places)))]
        if generator.random() < 0.2:
            del item[key]
        else:
            item[key] = word
    lines[number] = json.dumps(value)
    return "\n".join(lines).encode()


def assert_one_line(told):
    assert "\n" not in told, told
    assert 0 < len(told) < 1000, told


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_damaged_file_gives_one_clear_line_or_what_it_means(kind, tmp_path, request):
    path = tmp_path / kind.name
    kind.write(path)
    whole, meaning = path.read_bytes(), kind.read(path)
    generator = np.random.default_rng(sum(kind.name.encode()))
    refused = 0
    count = request.config.getoption("--mutations") or kind.count
    for number in range(count):
        by_value = kind.json and generator.random() < 0.7
        content = exchanged(whole.decode(), generator) if by_value else damaged(whole, generator)
        path.write_bytes(content)
        started = time.perf_counter()
        try:
            found = kind.read(path)
        except Exception as error:  # whatever it is
            if not getattr(error, "user_error", False):
                (tmp_path / f"bad-{number}-{kind.name}").write_bytes(content)
                raise AssertionError(f"change {number} of {kind.name}: {type(error).__name__}: {error}") from error
            refused += 1
            assert_one_line(str(error))
        else:
            if kind.same:
                assert found == meaning, f"change {number} of {kind.name} means something else"
        assert time.perf_counter() - started < LONGEST_SECONDS, f"change {number} of {kind.name} took too long"
    # An index that is damaged is made anew, and a list of files that is damaged is what its reader is asked for.
    assert refused or kind.name in ("files.json", "train.index.npz")


def test_there_are_two_thousand():
    assert sum(kind.count for kind in KINDS) >= 2000
