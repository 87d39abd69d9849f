"""Capture: any torch module → Graph, through ``torch.export`` of one time step.

A spiking model is exported with T = 1; its encoder and readout stay outside. Neurons arrive as the single nodes they
are registered as; views that only fold time into the batch disappear. The example batch is brought to two items, so
that a leading 1 is always time and a leading 2 always the batch.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx, nn

from compiler.errors import CaptureError
from compiler.graph import BINARY, REAL, Graph, Node, Signal, SignalType, State
from compiler.operations import events_of
from snnkit.errors import InvalidArgumentError, nearest
from snnkit.neurons import OPERATORS, Neuron

_BATCH = 2
_WRAPPED = "_snnkit_wrapped"  # no user's module is called like this
_INPUT_TYPES: dict[str, SignalType] = {"real": REAL, "binary": BINARY}
aten = torch.ops.aten
_Handler = Callable[["_Building", dict[fx.Node, "_Value"], fx.Node], "_Value"]


@dataclass
class _Value:
    """What an fx node stands for: a signal, or a tensor that is stored or computed from stored ones."""

    signal: str = ""
    tensor: Tensor | None = None


@dataclass
class _Building:
    """A graph under construction."""

    nodes: list[Node] = field(default_factory=list)
    signals: dict[str, Signal] = field(default_factory=dict)
    states: list[State] = field(default_factory=list)
    names: dict[str, int] = field(default_factory=dict)

    def name(self, wanted: str) -> str:
        count = self.names.get(wanted, 0)
        self.names[wanted] = count + 1
        return f"{wanted}#{count}" if count else wanted

    def add(self, fx_node: fx.Node, op: str, inputs: tuple[str, ...], shape: tuple[int, ...], **content: Any) -> _Value:
        scope = _scope(fx_node)
        if "" in inputs:
            raise CaptureError(
                f"{scope or 'the model'}: reads part of a sequence or a state, which graphs do not have."
            )
        name = self.name(scope if scope and op in _NAMED_BY_MODULE else f"{scope}.{op}".lstrip("."))
        self.signals[name] = Signal(name, shape)
        self.nodes.append(Node(name, op, inputs, (name,), scope=scope, **content))
        return _Value(name)


_NAMED_BY_MODULE = {"conv2d", "linear", "batch_norm", "relu"}


def capture(model: nn.Module, example: Tensor, input_type: str = "real") -> Graph:
    """Return the graph of one time step of ``model``.

    Args:
        model: a spiking classifier (anything with ``forward_sequence``), a module on sequences that holds neurons, or
        an ordinary module on batches.
        example: an input of the right shape: (B, …) for a classifier or an ordinary module, (T, B, …) for sequences,
            whose T becomes the graph's (otherwise the encoder says).
        input_type: "real", or "binary" where the input consists of spikes.

    Raises:
        CaptureError: the model holds an operator that graphs do not have (names module and operator).
        InvalidArgumentError: the example does not fit the model.
    """
    if input_type not in _INPUT_TYPES:
        raise InvalidArgumentError(f"input_type={input_type!r}: allowed are {', '.join(_INPUT_TYPES)}.")
    spiking = any(isinstance(module, Neuron) for module in model.modules())
    step = _one_step(model, example, spiking)
    run = _Sequence(model) if hasattr(model, "forward_sequence") else model
    modes = {module: module.training for module in model.modules()}
    try:
        run.eval()
        program = torch.export.export(run, (step,))
    except InvalidArgumentError:
        raise
    except Exception as error:
        raise CaptureError(
            f"torch.export could not trace {type(model).__name__}: {str(error).splitlines()[0]}"
        ) from error
    finally:
        for module, training in modes.items():
            module.training = training
    encoder = getattr(model, "encoder", None)
    sequence = example.ndim == 5 if hasattr(model, "forward_sequence") else spiking
    return _translate(
        program,
        name=type(model).__name__,
        input_type=_INPUT_TYPES[input_type],
        timesteps=len(example) if sequence else int(getattr(encoder, "timesteps", 1)),
        static_input=not sequence and bool(getattr(encoder, "static", False)) and input_type == "real",
    )


def graph_of(model_or_graph: nn.Module | Graph, example: Tensor | None, input_type: str = "real") -> Graph:
    """Return a graph as it is, and a module captured with ``example``.

    Raises:
        InvalidArgumentError: a module without an example.
        CaptureError: as ``capture``.
    """
    if isinstance(model_or_graph, Graph):
        return model_or_graph
    if example is None:
        raise InvalidArgumentError("a module is captured with an example input, such as a batch of images; give one.")
    return capture(model_or_graph, example, input_type)


class _Sequence(nn.Module):
    """``forward_sequence`` as ``forward``, so that encoder and readout stay outside."""

    def __init__(self, model: nn.Module):
        super().__init__()
        setattr(self, _WRAPPED, model)

    def forward(self, x: Tensor) -> Tensor:
        return getattr(self, _WRAPPED).forward_sequence(x)  # type: ignore[no-any-return]


def _one_step(model: nn.Module, example: Tensor, spiking: bool) -> Tensor:
    """Return one time step of the example with a batch of two."""
    if hasattr(model, "forward_sequence"):
        batch = example[0] if example.ndim == 5 else example
    else:
        batch = example[0] if spiking else example
    batch = batch[:1].expand(_BATCH, *batch.shape[1:]).contiguous()
    return batch.unsqueeze(0) if spiking else batch


def _translate(
    program: torch.export.ExportedProgram, name: str, input_type: SignalType, timesteps: int, static_input: bool
) -> Graph:
    stored = {
        **dict(program.named_parameters()),
        **dict(program.named_buffers()),
        **{k: v for k, v in program.constants.items() if isinstance(v, Tensor)},
    }
    signature = program.graph_signature
    targets = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    targets |= signature.inputs_to_lifted_tensor_constants
    building, values, inputs, outputs = _Building(), {}, [], []
    for node in program.graph.nodes:
        if node.op == "placeholder":
            if node.name in targets:
                values[node] = _Value(tensor=stored[targets[node.name]].detach())
            else:
                signal = building.name("input")
                building.signals[signal] = Signal(signal, _shape(node), input_type)
                values[node] = _Value(signal)
                inputs.append(signal)
        elif node.op == "output":
            outputs = [values[n].signal for n in node.args[0]]
        else:
            values[node] = _call(building, values, node)
    graph = Graph(
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        nodes=tuple(building.nodes),
        signals=building.signals,
        states=tuple(building.states),
        timesteps=timesteps,
        static_input=static_input,
        name=name,
    )
    return graph.with_nodes(graph.nodes, graph.signals)


def _call(building: _Building, values: dict[fx.Node, _Value], node: fx.Node) -> _Value:
    sources = [values[source].tensor for source in node.all_input_nodes]
    if sources and all(source is not None for source in sources):
        # Computed from weights alone, such as 1/τ = σ(w): a weight itself.
        args, kwargs = fx.node.map_arg((node.args, node.kwargs), lambda source: values[source].tensor)
        return _Value(tensor=node.target(*args, **kwargs))  # type: ignore[operator]
    handler = _HANDLERS.get(node.target)
    if handler is None:
        known = {str(target).split(".")[1] for target in _HANDLERS if "aten" in str(target)}
        given = str(node.target).removeprefix("aten.").removesuffix(".default")
        where = f"module {_scope(node)!r}" if _scope(node) else "the model itself"
        raise CaptureError(
            f"{where} uses the operator {given!r}, which graphs do not have.{nearest(given, known)} "
            f"Known: {', '.join(sorted(known))}, and snnkit's neurons."
        )
    return handler(building, values, node)


def _tensor_shape(node: fx.Node) -> tuple[int, ...]:
    value = node.meta["val"]
    value = value[0] if isinstance(value, (tuple, list)) else value
    return tuple(int(size) for size in value.shape)


def _shape(node: fx.Node) -> tuple[int, ...]:
    """Shape without the leading (1, batch) of a sequence or the leading batch."""
    shape = _tensor_shape(node)
    lead = 2 if shape[:2] == (1, _BATCH) else 1
    if lead == 1 and shape[:1] != (_BATCH,):
        raise CaptureError(f"{_scope(node) or node.name} mixes batch and features: a tensor of shape {shape}.")
    return shape[lead:]


def _scope(node: fx.Node) -> str:
    """Path of the innermost module that made ``node``."""
    stack = node.meta.get("nn_module_stack") or {}
    path = list(stack.values())[-1][0] if stack else ""
    return path.removeprefix(_WRAPPED).lstrip(".")


def _conv2d(building: _Building, values: dict[fx.Node, _Value], node: fx.Node) -> _Value:
    x, weight, bias, stride, padding, dilation, groups = _arguments(node, (None, None, None, [1, 1], [0, 0], [1, 1], 1))
    if isinstance(padding, str):
        raise CaptureError(f"{_scope(node)}: padding={padding!r} is not known; give numbers.")
    attributes = {
        "stride": _pair(stride),
        "padding": _pair(padding),
        "dilation": _pair(dilation),
        "groups": groups,
    }
    parameters = _stored(values, weight=weight, bias=bias)
    return building.add(node, "conv2d", (values[x].signal,), _shape(node), attributes=attributes, parameters=parameters)


def _linear(building: _Building, values: dict[fx.Node, _Value], node: fx.Node) -> _Value:
    x, weight, bias = _arguments(node, (None, None, None))
    return building.add(
        node, "linear", (values[x].signal,), _shape(node), parameters=_stored(values, weight=weight, bias=bias)
    )


def _batch_norm(building: _Building, values: dict[fx.Node, _Value], node: fx.Node) -> _Value:
    x, weight, bias, mean, variance, training, _, eps, _ = _arguments(node, (None,) * 9)
    if training:
        raise CaptureError(f"{_scope(node)}: batch norm without stored statistics; graphs hold networks in eval mode.")
    parameters = _stored(values, weight=weight, bias=bias, mean=mean, variance=variance)
    return building.add(
        node, "batch_norm", (values[x].signal,), _shape(node), attributes={"eps": eps}, parameters=parameters
    )


def _add(building: _Building, values: dict[fx.Node, _Value], node: fx.Node) -> _Value:
    x, y, *_ = _any(node)
    if node.kwargs.get("alpha", 1) != 1 or not isinstance(y, fx.Node) or _shape(x) != _shape(y):
        raise CaptureError(f"{_scope(node) or 'the model'}: only sums of two signals of equal shape are known.")
    return building.add(node, "add", (values[x].signal, values[y].signal), _shape(node))


def _avg_pool2d(building: _Building, values: dict[fx.Node, _Value], node: fx.Node) -> _Value:
    x, kernel, stride, padding, ceil_mode, include_pad, divisor = _arguments(
        node, (None, None, None, [0, 0], False, True, None)
    )
    if ceil_mode or not include_pad or divisor is not None:
        raise CaptureError(
            f"{_scope(node)}: average pooling with ceil_mode, divisor or uncounted padding is not known."
        )
    attributes = {"kernel_size": _pair(kernel), "stride": _pair(stride or kernel), "padding": _pair(padding)}
    return building.add(node, "avg_pool2d", (values[x].signal,), _shape(node), attributes=attributes)


def _reshape(building: _Building, values: dict[fx.Node, _Value], node: fx.Node) -> _Value:
    """Folding time is no operation; flattening all features is one; anything else is refused."""
    (x, *_) = _any(node)
    before, after = _shape(x), _shape(node)
    if before == after:
        return values[x]
    if len(after) == 1:
        return building.add(node, "flatten", (values[x].signal,), after)
    raise CaptureError(f"{_scope(node) or 'the model'}: reshaping {before} to {after} is not known, only flattening.")


def _same(building: _Building, values: dict[fx.Node, _Value], node: fx.Node) -> _Value:
    return values[_any(node)[0]]


def _in_place(handler: _Handler) -> _Handler:
    """The same operation for its in-place form: whoever reads the argument afterwards reads the result."""

    def run(building: _Building, values: dict[fx.Node, _Value], node: fx.Node) -> _Value:
        values[_any(node)[0]] = result = handler(building, values, node)
        return result

    return run


def _relu(building: _Building, values: dict[fx.Node, _Value], node: fx.Node) -> _Value:
    return building.add(node, "relu", (values[_any(node)[0]].signal,), _shape(node))


def _getitem(building: _Building, values: dict[fx.Node, _Value], node: fx.Node) -> _Value:
    of, which = _any(node)
    return values[of] if which == 0 else _Value()


def _neuron(op: str) -> _Handler:
    operator_ = OPERATORS[op]

    def handler(building: _Building, values: dict[fx.Node, _Value], node: fx.Node) -> _Value:
        x, *arguments = _any(node)
        count, fixed = len(operator_.state_names), len(operator_.parameter_names)
        state, constants, (tensors, names, *_) = (
            arguments[:count],
            arguments[count : count + fixed],
            arguments[count + fixed :],
        )
        if any(v is not None for v in state):
            raise CaptureError(f"{_scope(node)}: a neuron must start at rest in a graph.")
        attributes = dict(zip(operator_.parameter_names, constants, strict=True))
        parameters = _stored(values, **dict(zip(names.split(",") if names else (), tensors, strict=True)))
        rest = operator_.rest(operator_.parameters(**{**attributes, **parameters}))
        if any(isinstance(value, Tensor) for value in rest):
            raise CaptureError(f"{_scope(node)}: every neuron of a layer must rest at the same value in a graph.")
        shape = _shape(node)
        name = building.name(_scope(node) or op)
        kind = events_of(op, attributes)
        building.signals[name] = Signal(name, shape, kind)
        reads, writes = (
            [f"{name}.{v}" for v in operator_.state_names],
            [f"{name}.{v}_next" for v in operator_.state_names],
        )
        building.signals |= {s: Signal(s, shape) for s in (*reads, *writes)}
        building.states += [State(*pair) for pair in zip(reads, writes, map(float, rest), strict=True)]
        inputs, outputs = (values[x].signal, *reads), (name, *writes)
        building.nodes.append(
            Node(name, op, inputs, outputs, attributes=attributes, parameters=parameters, scope=_scope(node))
        )
        return _Value(name)

    return handler


def _arguments(node: fx.Node, defaults: tuple[Any, ...]) -> list[Any]:
    given = _any(node)
    return [*given, *defaults[len(given) :]]


def _any(node: fx.Node) -> list[Any]:
    """Positional arguments, whose types only the operator's schema knows."""
    return list(node.args)


def _stored(values: dict[fx.Node, _Value], **parameters: fx.Node | None) -> dict[str, Tensor]:
    stored = {}
    for name, node in parameters.items():
        if node is not None:
            tensor = values[node].tensor
            if tensor is None:
                raise CaptureError(f"{name} of {node.name} is computed, not stored: graphs hold fixed weights.")
            stored[name] = tensor
    return stored


def _pair(value: Any) -> tuple[int, int]:
    values = list(value) if isinstance(value, (list, tuple)) else [value]
    return (int(values[0]), int(values[-1]))


_HANDLERS: dict[Any, _Handler] = {
    aten.conv2d.default: _conv2d,
    aten.linear.default: _linear,
    aten.batch_norm.default: _batch_norm,
    aten.add.Tensor: _add,
    aten.avg_pool2d.default: _avg_pool2d,
    aten.add_.Tensor: _in_place(_add),
    aten.relu.default: _relu,
    aten.relu_.default: _in_place(_relu),
    aten.flatten.using_ints: _reshape,
    aten.unflatten.int: _reshape,
    aten.view.default: _reshape,
    aten.reshape.default: _reshape,
    aten.dropout.default: _same,
    aten.contiguous.default: _same,
    operator.getitem: _getitem,
    **{getattr(torch.ops.snnkit, name).default: _neuron(name) for name in OPERATORS},
}
