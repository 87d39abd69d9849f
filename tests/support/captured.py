"""A model beside its graph: the small modules that capture is tested with, and what equal means."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

import snnkit
from compiler.capturing import capture
from compiler.graph import Graph, is_neuron, verify
from compiler.interpreting import interpret
from snnkit.layers import over_time


class Code(nn.Module):
    """A function ``f(p, *inputs)`` of the parameters and buffers ``p`` and the inputs."""

    def __init__(self, function: Callable[..., Any], buffers: tuple[str, ...] = (), **tensors: Any):
        super().__init__()
        self.function = function
        for name, value in tensors.items():
            if isinstance(value, nn.Module):
                setattr(self, name, value)
            elif name in buffers or not value.is_floating_point():
                self.register_buffer(name, value)
            else:
                setattr(self, name, nn.Parameter(value))

    def forward(self, *inputs: Tensor) -> Any:
        """Whatever the function makes of the inputs."""
        return self.function(self, *inputs)


class OverTime(nn.Module):
    """Layers without memory on a sequence."""

    def __init__(self, *layers: nn.Module):
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Run every step, (T, B, …)."""
        return over_time(self.layers, x)


class Around(nn.Module):
    """A branch around a body."""

    def __init__(self, body: nn.Module):
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        """The body's output plus its input."""
        return self.body(x) + x


def noise(*shape: int, seed: int = 0, scale: float = 1.5) -> Tensor:
    """Normal numbers in float64."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * scale


def randomise(model: nn.Module, seed: int = 0) -> nn.Module:
    """Random weights and statistics in float64 and eval mode, so that no layer is an identity."""
    generator = torch.Generator().manual_seed(seed)
    model.double().eval()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                module.weight.copy_(torch.randn(module.weight.shape, generator=generator, dtype=torch.float64) * 0.6)
                if module.bias is not None:
                    module.bias.copy_(torch.rand(module.bias.shape, generator=generator, dtype=torch.float64) * 0.2)
            if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
                module.running_mean.copy_(torch.randn(module.num_features, generator=generator) * 0.2)
                module.running_var.copy_(torch.rand(module.num_features, generator=generator) + 0.5)
                if module.affine:
                    module.weight.copy_(torch.rand(module.num_features, generator=generator) + 0.5)
                    module.bias.copy_(torch.rand(module.num_features, generator=generator))
    return model


def streamed(model: nn.Module, x: Tensor) -> Tensor:
    """The model on a sequence (T, B, …), one step after the other."""
    stream = snnkit.Stream(model)
    return torch.stack([stream.step(x_t) for x_t in x]).detach()


def assert_firing(graph: Graph, x: Tensor) -> None:
    """Every neuron whose output is events fires, and not always: else equality shows nothing."""
    for node in graph:
        if is_neuron(node) and graph.type(node.output).is_event:
            events = interpret(graph, x, probes=[node.output])[1][node.output]
            rate = float((events != 0).double().mean())
            assert 0.02 < rate < 0.98, f"{node.name} fires at {rate:.3f}: nothing is shown"


def assert_runs_as(model: nn.Module, graph: Graph, x: Tensor) -> None:
    """The graph gives what a stream gives: step by step bit by bit, all steps at once to 1e-12 with equal events."""
    wanted = streamed(model, x)
    stepwise, _ = interpret(graph, x, stepwise=True)
    assert torch.equal(stepwise, wanted)
    events = [n.output for n in graph if is_neuron(n) and graph.type(n.output).is_event]
    at_once, together = interpret(graph, x, probes=events)
    torch.testing.assert_close(at_once, wanted, rtol=0, atol=1e-12)
    _, one_by_one = interpret(graph, x, probes=events, stepwise=True)
    for name in events:
        assert torch.equal(together[name], one_by_one[name]), name


def check_spiking(model: nn.Module, *shape: int, steps: int = 4, batch: int = 3, exact: bool = True) -> Graph:
    """Capture a spiking model on one sample and compare it with itself over ``steps`` steps on ``batch`` others."""
    graph = verify(capture(model, noise(1, 1, *shape)))
    x = noise(steps, batch, *shape)
    assert_firing(graph, x)
    if exact:
        assert_runs_as(model, graph, x)
    else:
        for stepwise in (True, False):
            got, _ = interpret(graph, x, stepwise=stepwise)
            torch.testing.assert_close(got, streamed(model, x), rtol=0, atol=1e-12)
    return graph


def check_plain(model: nn.Module, *shapes: tuple[int, ...], batch: int = 3, examples: int = 1) -> Graph:
    """Capture a model without state on ``examples`` samples and compare it with itself on ``batch`` others.

    Neither sees the other's input: inputs may be written to.
    """
    model.double().eval()
    given = tuple(noise(examples, *shape, seed=9) for shape in shapes)
    graph = verify(capture(model, given if len(given) > 1 else given[0]))
    assert graph.timesteps == 1
    assert not graph.states
    x = tuple(noise(batch, *shape, seed=index) for index, shape in enumerate(shapes))
    with torch.no_grad():
        wanted = model(*(value.clone() for value in x))
    wanted = list(wanted.values()) if isinstance(wanted, dict) else wanted
    wanted = list(wanted) if isinstance(wanted, (tuple, list)) else [wanted]
    for stepwise in (True, False):
        got, _ = interpret(graph, tuple(value.clone() for value in x), stepwise=stepwise)
        got = [got] if isinstance(got, Tensor) else list(got)
        assert len(got) == len(wanted)
        for ours, theirs in zip(got, wanted, strict=True):
            assert ours.shape == (1, *theirs.shape)
            assert ours.dtype == theirs.dtype
            torch.testing.assert_close(ours[0], theirs, rtol=0, atol=1e-12)
    return graph


def operations_of(graph: Graph) -> list[str]:
    """The names of a graph's operations, in order."""
    return [node.op for node in graph]
