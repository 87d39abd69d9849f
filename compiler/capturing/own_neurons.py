"""Neurons that snnkit does not know: the user's own classes, spelled out by their ``step`` and tried against the model.

A class with ``step(x_t, state) -> (out_t, state)`` and ``rest(x) -> state`` is exported as these say, operation by
operation, whatever kernel its ``forward`` would choose. Since a class may still keep its state where a graph cannot see
it, each runs a few steps both ways, at once and one by one, and a difference is refused.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from compiler.capturing.step import over_sequences
from compiler.errors import CaptureError
from compiler.graph import Graph
from compiler.interpreting import interpret
from snnkit.neurons import OPERATORS, Neuron, PointNeuron
from snnkit.neurons.carry import active_carry
from snnkit.stream import Stream

STEPS, DRIVES = 8, (0.3, 1.0, 4.0)


def is_own(module: nn.Module) -> bool:
    """Whether a neuron is of a class, or has an operator, that snnkit does not know."""
    if not isinstance(module, Neuron):
        return False
    if isinstance(module, PointNeuron):
        return OPERATORS.get(module.operator.name) is not module.operator
    return not type(module).__module__.startswith("snnkit.")


@contextmanager
def spelled_out(model: nn.Module) -> Iterator[None]:
    """Let own neurons with a ``step`` and a ``rest`` run by these inside the block."""
    changed = []
    for module in model.modules():
        if is_own(module) and callable(getattr(module, "step", None)) and callable(getattr(module, "rest", None)):
            module.__dict__["forward"] = _Spelled(module)
            changed.append(module)
    try:
        yield
    finally:
        for module in changed:
            del module.__dict__["forward"]


class _Spelled:
    """A neuron's forward by its step; states come from and go to the active carry."""

    def __init__(self, neuron: Any):
        self.neuron = neuron

    def __call__(self, x: Tensor) -> Tensor:
        carry, neuron = active_carry(), self.neuron
        key, state = (None, None) if carry is None else carry.start(neuron, x)
        state = neuron.rest(x) if state is None else state
        outputs = []
        for x_t in x:
            out, state = neuron.step(x_t, tuple(state))
            outputs.append(out)
        if carry is not None and key is not None:
            carry.leave(key, tuple(state))
        return torch.stack(outputs)


def check_own_neurons(model: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    """Let every neuron of the user's own run a sequence at once and step by step.

    Raises:
        CaptureError: the two differ (names the neuron).
    """
    own = {name: module for name, module in model.named_modules() if is_own(module)}
    shapes = _shapes(model, own, inputs) if own else {}
    for name, shape in shapes.items():
        neuron = own[name]
        generator = torch.Generator().manual_seed(0)
        noise = torch.randn(STEPS, *shape[1:], generator=generator, dtype=inputs[0].dtype)
        for drive in DRIVES:
            x = noise * drive + drive / 2
            with torch.no_grad():
                wanted = neuron(x)
                with spelled_out(neuron):
                    stream = Stream(neuron, check_finite=False)
                    got = torch.stack([stream.step(x_t) for x_t in x])
            if wanted.shape != got.shape or not torch.allclose(wanted, got, rtol=1e-4, atol=1e-5, equal_nan=True):
                raise CaptureError(
                    f"{name or 'the model'} ({type(neuron).__name__}) does not do step by step what it does on a "
                    "sequence, so a graph of one step would differ from the model. Give it step(x_t, state) -> (out_t, "
                    "state) and rest(x) -> state, or keep its state in the active carry as "
                    "snnkit.neurons.Recurrent does."
                )


def check_steps(model: nn.Module, graph: Graph, inputs: tuple[Tensor, ...], sequence: bool) -> None:
    """Let a network of the user's own and its graph run a few steps: code may look at the number of a step.

    What is not seen in one step, such as weights for each step by ``w[:len(x)]``, shows here. In float64, so that no
    rounding makes a spike.

    Raises:
        CaptureError: they differ.
    """
    if type(model).__module__.startswith(("snnkit.", "torch.nn.")) or len(inputs) != 1 or not sequence:
        return
    steps = max(2, graph.timesteps)
    generator = torch.Generator().manual_seed(0)
    x = 2 * torch.rand(steps, 1, *inputs[0].shape[2:], generator=generator, dtype=torch.float64)
    try:
        double = copy.deepcopy(model).double()
        with torch.no_grad():
            wanted = pytree.tree_leaves(over_sequences(double)(x))[0]
    except (RuntimeError, TypeError, ValueError):  # it cannot be copied, or takes another number of steps
        return
    found, _ = interpret(graph.double(), x)
    got = found if isinstance(found, Tensor) else found[0]
    if wanted.shape != got.shape or not torch.allclose(
        wanted.double(), got.double(), rtol=1e-6, atol=1e-8, equal_nan=True
    ):
        raise CaptureError(
            f"{type(model).__name__} does not do in every time step what it does in the first: over {steps} steps its "
            "graph gives something else. A graph says what happens in one step; take what depends on the step's "
            "number, or on other steps, out of the model."
        )


def _shapes(model: nn.Module, own: dict[str, Any], inputs: tuple[Tensor, ...]) -> dict[str, tuple[int, ...]]:
    """Return the shape (T, B, …) that each of the neurons is called with, found by a run."""
    found: dict[str, tuple[int, ...]] = {}

    def remember(name: str) -> Any:
        def hook(module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
            found.setdefault(name, tuple(arguments[0].shape))

        return hook

    hooks = [module.register_forward_pre_hook(remember(name)) for name, module in own.items()]
    try:
        with torch.no_grad():
            over_sequences(model)(*inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return found
