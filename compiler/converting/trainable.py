"""A graph as a module that trains: its nodes' numbers are parameters, and come back as a graph.

What is trained are weights, biases, and stored tensors that take part in sums and products (position embeddings, class
tokens, biases of attention). What stays as it is: whole numbers and truths, infinite masks, single numbers such as
1/√d, the constants of neurons, and the statistics of batch norms. The scale of a ``fake_quantise`` node is s = s₀·e^θ
with θ = 0 at the start, so that it stays above 0 and a step of an optimizer changes all scales by a like share; its
gradient is that of learned step size quantisation, times 1/√(N·n), where N is the number of values of *one sample* that
have this scale and n the largest code (Esser et al., arXiv 1902.08153, section 2.2: N is the number of features of the
layer).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from compiler.analysis.types import infer_signals
from compiler.graph import Graph, Node, is_neuron, operation
from compiler.interpreting import last_reads, read_inputs
from compiler.operations.rules import folded
from snnkit.errors import InvalidArgumentError

MOMENTUM = 0.1
"""Share of a batch in the running statistics of batch norms, as torch has it."""

_STATISTICS = ("mean", "variance")
_SINGLE_NUMBERS = ("scale", "constant")


class GraphNumbers(nn.Module):
    """The numbers of a graph as the parameters of a module; what a subclass does with them is its ``forward``.

    Modules inside are called as the nodes are, so that ``state_dict`` has the keys of the network that was captured.
    What several nodes share is one parameter.

    Args:
        graph: any graph.
        batch_statistics: as for ``GraphModule``.
    """

    def __init__(self, graph: Graph, batch_statistics: bool = False):
        super().__init__()
        self._graph = graph
        shared: dict[tuple[object, ...], nn.Parameter] = {}
        self._applied: list[_Applied] = []
        for node in graph:
            if node.op == "fake_quantise":
                applied: _Applied = _Rounded(node, graph.signals[node.inputs[0]].size)
            elif node.op == "batch_norm" and batch_statistics:
                applied = _BatchNorm(node, shared)
            else:
                applied = _Applied(node, shared)
            self._place(node.name, applied)
            self._applied.append(applied)

    def _place(self, path: str, applied: _Applied) -> None:
        """Put a node's module where its name says, under another last name where that is taken."""
        *scope, last = [part or "_" for part in path.split(".")]
        parent: nn.Module = self
        for part in scope:
            while not isinstance(getattr(parent, part, nn.Module()), nn.Module):
                part += "_"
            if part not in parent._modules:
                parent.add_module(part, nn.Module())
            parent = parent.get_submodule(part)
        before = parent._modules.get(last)
        if type(before) is nn.Module:  # made on the way to a node inside
            for name, child in before._modules.items():
                applied.add_module(_free(applied, name), child)
            parent._modules[last] = applied
        else:
            parent.add_module(_free(parent, last), applied)

    def no_weight_decay(self) -> set[str]:
        """Return the names of parameters that decay would spoil: stored tensors and scales."""
        return {name for name, _ in self.named_parameters() if name.endswith((".value", ".log_scale"))}

    def graph(self) -> Graph:
        """Return the graph with the present numbers, on the CPU, typed anew; what was shared is shared again."""
        copies: dict[int, Tensor] = {}
        nodes = tuple(
            replace(node, parameters={name: _copy(value, copies) for name, value in applied.numbers()})
            for node, applied in zip(self._graph, self._applied, strict=True)
        )
        return infer_signals(replace(self._graph, nodes=nodes))

    def live_graph(self) -> Graph:
        """Return the graph with the parameters themselves, to which gradients flow."""
        pairs = zip(self._graph, self._applied, strict=True)
        return replace(
            self._graph, nodes=tuple(replace(node, parameters=dict(applied.numbers())) for node, applied in pairs)
        )


class GraphModule(GraphNumbers):
    """A graph without state as a module, (B, …) → (B, …), a tuple where it has several outputs.

    Args:
        graph: any graph without states.
        batch_statistics: whether batch norms that are still there take the statistics of the batch while training,
            and keep a running mean of them; else they hold those they have.

    Raises:
        InvalidArgumentError: the graph has states: it is a spiking network.
    """

    def __init__(self, graph: Graph, batch_statistics: bool = False):
        neuron = next((node for node in graph if is_neuron(node)), None)
        if neuron is not None or graph.states:
            name = f"{neuron.name} ({neuron.op}) is a neuron" if neuron is not None else "it has states"
            raise InvalidArgumentError(
                f"{graph.name} carries over state from step to step ({name}); train the quantised form, "
                "of which the spiking one is made."
            )
        super().__init__(graph, batch_statistics)
        self._done = last_reads(graph, set(graph.outputs))

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Evaluate the graph once.

        Raises:
            InvalidArgumentError: the inputs do not fit the graph.
        """
        given = read_inputs(self._graph, inputs, None)
        if not given.still:
            raise InvalidArgumentError(
                f"{self._graph.name} is evaluated on samples (B, …), got a sequence {tuple(inputs[0].shape)}."
            )
        values = dict(zip(self._graph.inputs, given.tensors, strict=True))
        for node, applied in zip(self._graph, self._applied, strict=True):
            results = applied(*(values[name] for name in node.inputs))
            values.update(zip(node.outputs, results, strict=True))
            for signal in self._done.get(node.name, ()):
                del values[signal]
        outputs = tuple(values[name].expand(given.batch, *self._graph.shape(name)) for name in self._graph.outputs)
        return outputs[0] if len(outputs) == 1 else outputs


class _Applied(nn.Module):
    """One node at work, with the numbers of this module."""

    def __init__(self, node: Node, shared: dict[tuple[object, ...], nn.Parameter]):
        super().__init__()
        self._node, self._names = replace(node, parameters={}), tuple(node.parameters)
        for name, value in node.parameters.items():
            value = value.detach()
            if not _trains(node, name, value):
                self.register_buffer(name, value.clone())
                continue
            key = (value.data_ptr(), value.shape, value.stride(), value.dtype)
            if key not in shared:
                shared[key] = nn.Parameter(value.clone())
            self.register_parameter(name, shared[key])

    def numbers(self) -> Iterator[tuple[str, Tensor]]:
        """Yield the node's parameters as they are now."""
        for name in self._names:
            yield name, getattr(self, name)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Run the operation."""
        return operation(self._node.op).run(replace(self._node, parameters=dict(self.numbers())), *inputs)


class _Rounded(_Applied):
    """fake_quantise, whose scale is learned by its logarithm."""

    def __init__(self, node: Node, size: int):
        nn.Module.__init__(self)
        self._node, self._names = replace(node, parameters={}), ("scale",)
        scale = node.parameters["scale"].detach()
        largest = max(abs(node.attributes["low"]), abs(node.attributes["high"]))
        self._factor = 1 / math.sqrt(max(size // scale.numel(), 1) * largest)
        self.register_buffer("start", scale.clone())
        # One axis at least: a single number cannot be shared out among processes.
        self.log_scale = nn.Parameter(scale.new_zeros(scale.numel()))

    def numbers(self) -> Iterator[tuple[str, Tensor]]:
        start = self.get_buffer("start")
        scale = start * self.log_scale.exp().reshape(start.shape)
        if scale.requires_grad:
            scale.register_hook(self._scaled)  # type: ignore[no-untyped-call]
        yield "scale", scale

    def _scaled(self, gradient: Tensor) -> Tensor:
        return gradient * self._factor


class _BatchNorm(_Applied):
    """batch_norm with the statistics of the batch while training."""

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        if not self.training:
            return super().forward(*inputs)
        p, (x,) = dict(self.numbers()), inputs
        axis, eps = self._node.attributes["axis"], self._node.attributes["eps"]

        def normed(z: Tensor) -> Tensor:
            return F.batch_norm(z, p["mean"], p["variance"], p.get("weight"), p.get("bias"), True, MOMENTUM, eps)

        if axis == -1:
            return (normed(x.reshape(-1, x.shape[-1])).reshape(x.shape),)
        return (folded(x, -axis, normed),)


def _trains(node: Node, name: str, value: Tensor) -> bool:
    if not value.is_floating_point() or not bool(torch.isfinite(value).all()) or is_neuron(node):
        return False
    if node.op in _SINGLE_NUMBERS and value.numel() == 1:
        return False
    return not (node.op == "batch_norm" and name in _STATISTICS)


def _free(module: nn.Module, name: str) -> str:
    """Return a name under which a module can take a child."""
    while hasattr(module, name):
        name += "_"
    return name


def _copy(value: Tensor, copies: dict[int, Tensor]) -> Tensor:
    if id(value) not in copies or not isinstance(value, nn.Parameter):
        own = value.detach().cpu().clone(memory_format=torch.contiguous_format)
        if not isinstance(value, nn.Parameter):
            return own
        copies[id(value)] = own
    return copies[id(value)]
