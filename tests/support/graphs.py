"""Small graphs made by hand, and their comparison."""

from __future__ import annotations

import torch
from torch import Tensor

from compiler.graph import BINARY, Graph, GraphBuilder, Node


def small(**settings: object) -> Graph:
    """x (2,) → ·w → IF → sum with a constant, one hidden copy of the spikes: T = 4."""
    b = GraphBuilder("small", **{"timesteps": 4, **settings})
    x = b.input("x", (2,))
    weight = torch.tensor([[0.5, 0.0], [0.0, 1.0]], dtype=torch.float64)
    fc = b.add("linear", (x,), parameters={"weight": weight, "bias": torch.tensor([0.0, 0.25]).double()}, name="fc")
    constants = {"v_threshold": 1.0, "v_reset": 0.0, "detach_reset": True}
    return b.finish([b.neuron("integrate_fire", fc, constants, states=[("v", 0.0)], name="n")])


def wide() -> Graph:
    """Two inputs, two outputs, every kind of state and attribute, a node that two read, types that are not real."""
    b = GraphBuilder("wide", timesteps=3)
    x, y = b.input("x", (2, 4, 4), BINARY), b.input("y", (2,))
    generator = torch.Generator().manual_seed(0)

    def numbers(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    conv = b.add(
        "conv",
        (x,),
        {"stride": (1, 1), "padding": (1, 1), "dilation": (1, 1), "groups": 2},
        {"weight": numbers(4, 1, 3, 3), "bias": numbers(4)},
        name="stem.conv",
        scope="stem",
    )
    pool = b.add(
        "avg_pool",
        (conv,),
        {
            "kernel_size": (2, 2),
            "stride": (2, 2),
            "padding": (0, 0),
            "ceil_mode": False,
            "count_include_pad": True,
            "divisor": 0,
        },
        scope="stem",
    )
    flat = b.reshape(pool, (16,))
    last = b.state("memory", (16,), numbers(16))
    total = b.add("add", (flat, last))
    constants = {"tau": 2.0, "decay_input": True, "v_threshold": 0.3, "v_reset": None, "detach_reset": False}
    spikes = b.neuron("lif", total, constants, states=[("v", -0.25)], name="stem.lif", role="readout")
    b.carry(last, total)
    head = b.add("linear", (spikes,), parameters={"weight": numbers(2, 16)}, name="head", scope="head")
    return b.finish([b.add("add", (head, y)), spikes])


def chain(length: int) -> Graph:
    """``length`` relus one after the other."""
    b = GraphBuilder("chain")
    signal = b.input("x", (3,))
    for index in range(length):
        signal = b.add("relu", (signal,), name=f"relu{index}")
    return b.finish([signal])


def assert_same(a: Graph, b: Graph) -> None:
    """Two graphs are the same in every field, value and type."""
    for field in ("inputs", "outputs", "timesteps", "static_input", "name"):
        assert getattr(a, field) == getattr(b, field), field
    assert list(a.signals.items()) == list(b.signals.items())
    assert len(a.states) == len(b.states)
    for one, two in zip(a.states, b.states, strict=True):
        assert (one.read, one.written) == (two.read, two.written)
        assert type(one.initial) is type(two.initial)
        if isinstance(one.initial, Tensor):
            assert one.initial.dtype == two.initial.dtype
            assert torch.equal(one.initial, two.initial)
        else:
            assert one.initial == two.initial
    assert len(a.nodes) == len(b.nodes)
    for one, two in zip(a, b, strict=True):
        assert_same_node(one, two)


def assert_same_node(one: Node, two: Node) -> None:
    """The same of two nodes."""
    for field in ("name", "op", "inputs", "outputs", "scope", "role"):
        assert getattr(one, field) == getattr(two, field), field
    assert dict(one.attributes) == dict(two.attributes)
    assert {k: type(v) for k, v in one.attributes.items()} == {k: type(v) for k, v in two.attributes.items()}
    assert set(one.parameters) == set(two.parameters)
    for key, value in one.parameters.items():
        assert value.dtype == two.parameters[key].dtype
        assert torch.equal(value, two.parameters[key])
