"""The graph is the model: hundreds of networks, captured with one sample, run on one, two and five.

Would break it: an axis taken for the batch that is none, a constant of the example's batch, an attribute dropped, a
view that is written through, an operation whose interpretation differs from torch's, a state that is lost between
steps, one spike more or less in any neuron at any step.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

import snnkit
from compiler import Graph, capture, interpret, verify
from compiler.errors import CaptureError
from compiler.exchange.nir import read
from snnkit.importers import from_nir
from snnkit.models import families
from snnkit.neurons import NEURONS as CLASSES
from snnkit.neurons import Neuron

from .case import Case, constant
from .imported import nir_graph
from .networks import CASES
from .refused import REFUSED

BATCHES = (1, 2, 5)
CLOSE = 1e-10  # of the largest output, or of 1
SMALL = 2_000_000  # numbers in a graph that is written to disk and read again


def example(case: Case, model: nn.Module) -> Tensor | tuple[Tensor, ...]:
    """One sample, as the model is called: images for a classifier that encodes them itself, else a sequence."""
    inputs = case.inputs(1)
    if hasattr(model, "forward_sequence"):
        return inputs[0][0]
    return inputs if len(inputs) > 1 else inputs[0]


def run_model(model: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[list[Tensor], dict[str, Tensor]]:
    """The model's outputs, and the events (T, B, …) of every neuron by its path."""
    with torch.no_grad(), snnkit.record(model) as tape:
        outputs = getattr(model, "forward_sequence", model)(*inputs)
    return pytree.tree_leaves(outputs), {name: layer.spikes for name, layer in tape.layers.items()}


def events_of(graph: Graph, model: nn.Module, path: str) -> str:
    """The signal that holds a neuron's events: of the node that is named by its path, or of its only comparison."""
    if isinstance(model, Neuron):
        return graph.outputs[0]
    names = {node.name for node in graph}
    if path in names:
        return graph.node(path).output
    (cast,) = [node for node in graph if node.op == "cast" and node.scope == path]
    return cast.output


def run_graph(
    graph: Graph, inputs: tuple[Tensor, ...], probes: dict[str, str] | None = None, **settings: bool
) -> tuple[list[Tensor], dict[str, Tensor]]:
    """The same of the graph; ``probes``: path → signal."""
    probes = probes or {}
    outputs, records = interpret(graph, inputs, probes=[*probes.values()], **settings)
    found = [outputs] if isinstance(outputs, Tensor) else list(outputs)
    return found, {path: records[signal] for path, signal in probes.items()}


def assert_close(got: list[Tensor], wanted: list[Tensor], what: str) -> None:
    """Every output, (T, B, …) of the graph and (T, B, …) or (B, …) of the model, within ``CLOSE``."""
    assert len(got) == len(wanted), what
    for ours, theirs in zip(got, wanted, strict=True):
        if ours.shape[1:] == theirs.shape and len(ours) == 1:
            ours = ours[0]
        assert ours.shape == theirs.shape, what
        assert ours.dtype == theirs.dtype, what
        difference = (ours.double() - theirs.double()).abs().max().item()
        assert difference <= CLOSE * max(1.0, theirs.abs().max().item()), f"{what}: differs by {difference:.2e}"


def assert_spikes(got: dict[str, Tensor], wanted: dict[str, Tensor], what: str) -> None:
    """Every neuron's events at every step, without a mismatch."""
    for name, spikes in wanted.items():
        # A network that loops over its steps leaves the last one on the tape.
        mismatches = int((got[name][-len(spikes) :].reshape(spikes.shape) != spikes).sum())
        assert mismatches == 0, f"{what}: {mismatches} of {spikes.numel()} events of {name} differ"


def assert_same(one: Graph, other: Graph) -> None:
    """Nodes, attributes and every stored number."""
    for key in ("inputs", "outputs", "timesteps", "static_input", "name"):
        assert getattr(one, key) == getattr(other, key)
    assert [(s.read, s.written) for s in one.states] == [(s.read, s.written) for s in other.states]
    assert one.signals == other.signals
    for a, b in zip(one, other, strict=True):
        assert (a.name, a.op, a.inputs, a.outputs, a.attributes) == (b.name, b.op, b.inputs, b.outputs, b.attributes)
        assert a.parameters.keys() == b.parameters.keys()
        assert all(torch.equal(value, b.parameters[key]) for key, value in a.parameters.items())


def often(number: int, case: Case) -> bool:
    """Whether a network is tried whenever tests run: all of ours, and of the libraries' hundreds every twentieth."""
    return number % 20 == 0 or case.name.partition(" ")[0] not in ("timm", "torchvision")


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=case.name, marks=() if often(number, case) else pytest.mark.slow)
        for number, case in enumerate(CASES)
    ],
)
def test_the_graph_is_the_model(case, tmp_path):
    model = case.model()
    graph = verify(capture(model, example(case, model)))
    assert graph.timesteps == (getattr(model, "timesteps", case.steps) or 1)
    for batch in BATCHES:
        inputs = case.inputs(batch)
        wanted, spikes = run_model(model, inputs)
        got, events = run_graph(graph, inputs, {path: events_of(graph, model, path) for path in spikes})
        assert_close(got, wanted, f"batch of {batch}")
        assert_spikes(events, spikes, f"batch of {batch}")
    assert not any(map(constant, wanted)), "nothing is shown"
    asleep = [name for name, fired in events.items() if constant(fired)]
    assert not asleep, f"{asleep} never fire, or always do"
    if case.steps:
        assert_close(run_graph(graph, inputs, stepwise=True)[0], wanted, "step by step")
    if case.steps and hasattr(model, "encoder") and hasattr(model, "forward_sequence"):
        images = inputs[0][0]
        encoded = model.forward_sequence(model.encoder(images)).detach()
        assert graph.static_input == model.encoder.static
        assert_close(run_graph(graph, (images,))[0], [encoded], "images")
    if sum(p.numel() for node in graph for p in node.parameters.values()) < SMALL:
        graph.save(tmp_path / "graph")
        again = verify(Graph.load(tmp_path / "graph"))
        assert_same(again, graph)
        assert_close(run_graph(again, inputs)[0], wanted, "read again")


@pytest.mark.parametrize("recurrent", [False, True], ids=["feed-forward", "recurrent"])
def test_a_nir_file_is_the_same_network_both_ways(recurrent, tmp_path):
    """Read as a graph, and read as a torch network."""
    nir = pytest.importorskip("nir")
    nir.write(tmp_path / "net.nir", nir_graph(recurrent))
    graph, model = verify(read(tmp_path / "net.nir")).double(), from_nir(tmp_path / "net.nir").double()
    x = torch.randn(6, 3, 6, generator=torch.Generator().manual_seed(0)).double() + 0.4
    wanted = model(x).detach()
    assert 0.05 < wanted.mean() < 0.95
    assert torch.equal(interpret(graph, x)[0], wanted)


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_graph_is_refused(name):
    build, inputs, words = REFUSED[name]
    torch.manual_seed(0)
    with pytest.raises(CaptureError, match=words):
        capture(build().eval(), inputs())


def test_the_zoo_is_complete():
    """Every family of this project and every neuron, and timm as promised."""
    counted = {case.family for case in CASES}
    assert {family.name for family in families()} <= counted
    alone = {case.name.removeprefix("neuron ").split("-")[0] for case in CASES if case.family == "neurons"}
    refused = {name.removeprefix("neuron ").split("-")[0] for name in REFUSED if name.startswith("neuron ")}
    assert alone | refused == {cls.__name__ for cls in CLASSES}
    assert len([case for case in CASES if case.family.startswith("timm ")]) >= 65
    assert len([family for family in counted if family.startswith("timm ")]) >= 32
    assert len({case.name for case in CASES}) == len(CASES)
