"""Types of whole networks on data: no signal leaves what is claimed of it, and where spikes go, nothing is real.

Would break it: a residual sum with too narrow an interval, attention whose products lose their step, a pool or an
upsampling that forgets its border, a scaled threshold whose factor is compared as a float.
"""

import pytest
import torch
from torch import nn

import compiler
from compiler.analysis.types import infer_signals
from compiler.graph import BINARY, REAL, is_neuron
from compiler.graph.signals import integer
from snnkit.layers import over_time
from snnkit.neurons import ILIF, LIF

from ..operations.cases import lies_in
from .networks import TINY, network


@pytest.mark.parametrize("name", TINY)
def test_no_signal_leaves_its_type(name):
    graph, x = network(name)
    typed = [signal for signal, held in graph.signals.items() if held.type.is_event]
    _, records = compiler.interpret(graph, x, probes=typed)
    for signal in typed:
        assert lies_in(records[signal], graph.type(signal), 1e-3), f"{signal}: {graph.type(signal)}"
    sent = [node.output for node in graph if is_neuron(node)]
    assert set(sent) <= set(typed)
    assert sum(bool(records[signal].any()) for signal in sent) > len(sent) / 2, "too few neurons fire to say anything"


@pytest.mark.parametrize("name", TINY)
def test_what_events_are_made_into_stays_typed(name):
    """Behind a neuron, only layers with weights, and what reads a membrane, make signals real."""
    graph, _ = network(name)
    states = {state.read for state in graph.states}
    for node in graph:
        given = [name for name in node.inputs if name not in states]
        if given and all(graph.type(name).is_event for name in given) and node.op not in ("conv", "linear", "scale"):
            assert graph.type(node.output).is_event, f"{node.name} ({node.op})"


def test_products_of_attention():
    """E-SpikeFormer sends [0,4]×1/4: its products are sixteenths, as many as meet."""
    graph, _ = network("e_spikeformer")
    products = {str(graph.type(node.output)) for node in graph if node.op == "matmul"}
    assert products
    assert all("real" not in kind for kind in products)
    first = next(node for node in graph if node.op == "matmul")
    a, b = (graph.type(name) for name in first.inputs)
    depth = graph.shape(first.inputs[0])[-1]
    assert graph.type(first.output) == a.product(b).times(depth)
    assert str(a.scale * b.scale) == "1/16"


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv, self.out = nn.Linear(8, 24, bias=False), nn.Linear(8, 8, bias=False)
        self.send, self.gate = ILIF(levels=4), LIF(v_threshold=0.5)

    def forward(self, x):
        q, k, v = (self.send(over_time(self.qkv, x)) * 0.25).chunk(3, -1)
        mixed = q @ (k.transpose(-1, -2) @ v) * 0.125
        return over_time(self.out, self.gate(mixed))


def test_types_of_attention_by_hand():
    graph = infer_signals(compiler.capture(Attention().eval(), torch.zeros(2, 1, 6, 8), "binary"))
    kinds = [graph.type(node.output) for node in graph if node.op == "matmul"]
    quarters = integer(0, 4).scaled(0.25)
    assert kinds[0] == quarters.product(quarters).times(6)
    assert kinds[1] == quarters.product(kinds[0]).times(8)
    assert [graph.type(node.output) for node in graph if is_neuron(node)] == [integer(0, 4), BINARY]
    assert graph.type(graph.outputs[0]) == REAL
