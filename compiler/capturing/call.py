"""One exported call, as the capture of an operation sees it (the protocol ``compiler.operations.call.Call``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from compiler.capturing import shuffles
from compiler.capturing.axes import Layout, MixesSamplesError, aligned, find, reshaped
from compiler.capturing.values import Value
from compiler.errors import CaptureError
from compiler.graph import GraphBuilder, Node, operation
from snnkit.kernels import Operator

_KEEPS_ORDER = (
    "flatten",
    "unflatten",
    "view",
    "reshape",
    "unsqueeze",
    "squeeze",
    "view_as",
    "reshape_as",
    "_unsafe_view",
)


def base_name(target: Any) -> str:
    """Return ``relu`` for ``aten.relu.default``."""
    return str(target).split(".")[1] if "." in str(target) else str(target)


class ExportedCall:
    """A call of an overload with its arguments bound to the names of the schema.

    Args:
        node: the exported call.
        values: what the nodes before it stand for.
        builder: where nodes are added.
        prime: the batch it was exported with.
        scope: path of the module it belongs to; ``leaf`` says that this module holds no others.
        timesteps: T of the network; more than 1 where steps differ.
    """

    def __init__(
        self,
        node: fx.Node,
        values: Mapping[fx.Node, Value],
        builder: GraphBuilder,
        prime: int,
        scope: str,
        leaf: bool,
        timesteps: int,
    ):
        self.node, self.values, self.builder, self.prime = node, values, builder, prime
        self.scope, self.leaf, self.timesteps = scope, leaf, timesteps
        self.arguments = bound(node)
        self.result = Value()
        self.made_layout: Layout | None = None

    def __getitem__(self, name: str) -> Any:
        given = self.arguments[name]
        if isinstance(given, fx.Node):
            value = self.values[given]
            if value.tensor is not None and value.tensor.numel() == 1:
                return value.tensor.item()
            raise self.refuse(
                f"computes {name!r} of {base_name(self.node.target)} from the input: graphs hold fixed numbers there"
            )
        return given

    def has(self, name: str) -> bool:
        """Whether an optional argument was given."""
        return self.arguments[name] is not None

    def value(self, name: str) -> Value:
        """Return what an argument stands for; of a list, its first signal."""
        given = self.arguments[name]
        if isinstance(given, (list, tuple)):
            nodes = [self.values[one] for one in given if isinstance(one, fx.Node)]
            return next((value for value in nodes if value.signal), nodes[0])
        if isinstance(given, fx.Node):
            return self.values[given]
        return Value(tensor=self.number(given))

    def constant(self, value: Tensor) -> str:
        """Add stored numbers of a sample's shape in the call's scope and return their signal."""
        return self.builder.constant(value, scope=self.scope)

    def is_constant(self, name: str) -> bool:
        """Whether an argument is a number or stored."""
        return self.value(name).tensor is not None

    def tensor(self, name: str) -> Tensor:
        """Return a stored tensor."""
        tensor = self.value(name).tensor
        if tensor is None:
            raise self.refuse(
                f"computes {name!r} of {base_name(self.node.target)} from the input: graphs hold fixed weights"
            )
        return tensor

    def stored(self, **arguments: str) -> dict[str, Tensor]:
        """Return the given parameters."""
        return {key: self.tensor(name) for key, name in arguments.items() if self.has(name)}

    def number(self, value: float) -> Tensor:
        """Return a number as a stored tensor of the result's type."""
        if isinstance(value, bool) or (isinstance(value, int) and not self.out_dtype.is_floating_point):
            return torch.tensor(value)
        dtype = self.out_dtype if self.out_dtype.is_floating_point else torch.get_default_dtype()
        return torch.tensor(value, dtype=dtype)

    def signal(self, name: str) -> str:
        """Return an argument as a signal."""
        value = self.value(name)
        if value.signal:
            return value.signal
        raise self.refuse(f"reads a stored tensor where {base_name(self.node.target)} needs a signal")

    def signals(self, name: str) -> list[str]:
        """Return a list argument as signals."""
        found = []
        layout = self.value(name).layout
        for given in self.arguments[name]:
            value = self.values[given]
            if value.tensor is not None and layout is not None:
                shape = self._aligned(value.tensor, layout)
                found.append(self.constant(value.tensor.reshape(shape)))
            else:
                if value.layout is not None and layout is not None:
                    self.check_order(value.layout, layout)
                found.append(value.signal)
        return found

    def operand(self, name: str) -> str:
        """Return an argument as a signal that broadcasts against the result."""
        value = self.value(name)
        if value.tensor is not None:
            return self.constant(self.factor(name))
        layout, out = value.layout, self.out
        if layout is None:
            raise self.refuse("reads what is not known")
        if len(layout.shape) - layout.axis != len(out.shape) - out.axis:
            raise self.refuse("combines samples with other samples")
        self.check_order(layout, out)
        return value.signal

    def check_order(self, one: Layout, other: Layout) -> None:
        """Raise CaptureError where two merged batches hold their samples in another order."""
        if one.merged > 1 and other.merged > 1 and (one.outer, one.inner) != (other.outer, other.inner):
            raise self.refuse("combines samples with other samples")

    def beside(self, name: str, dim: int) -> str:
        """Return an argument that lacks the axis ``dim`` of ``self`` as a signal."""
        value, whole = self.value(name), self.layout("self")
        if value.tensor is None:
            if value.layout is not None:
                self.check_order(value.layout, whole)
            return value.signal
        dim %= len(whole.shape)
        rest = Layout(
            (*whole.shape[:dim], *whole.shape[dim + 1 :]), whole.axis - (dim < whole.axis), whole.outer, whole.inner
        )
        shape = self._aligned(value.tensor, rest) if value.tensor.ndim else ()
        spread = value.tensor.reshape(shape).expand(rest.sample)
        return self.constant(spread)

    def factor(self, name: str) -> Tensor:
        """Return a stored argument in the shape that meets a sample of the result."""
        tensor = self.tensor(name)
        return tensor.reshape(self._aligned(tensor, self.out)) if tensor.ndim else tensor

    def _aligned(self, tensor: Tensor, layout: Layout) -> tuple[int, ...]:
        try:
            return aligned(tuple(tensor.shape), layout)
        except MixesSamplesError as error:
            raise self.refuse(str(error)) from None

    def layout(self, name: str) -> Layout:
        """Return where the batch lies in an argument."""
        layout = self.value(name).layout
        if layout is None:
            tensor = self.value(name).tensor
            if tensor is not None:
                raise self.refuse(f"reads a stored tensor where {base_name(self.node.target)} needs a signal")
            raise self.refuse("reads what is not known")
        return layout

    def axis(self, name: str, dim: int) -> int | None:
        """Return an exported axis as a negative axis of the sample."""
        try:
            return self.layout(name).position(dim)
        except MixesSamplesError as error:
            raise self.refuse(f"{error}: {base_name(self.node.target)} along axis {dim} mixes samples") from None

    def apart(self, name: str, last: int) -> str:
        """Return an argument as a signal whose batch lies in front of the last so many exported axes."""
        layout = self.value(name).layout
        if layout is not None and layout.axis - len(layout.shape) >= -last:
            raise self.refuse(
                f"works along the batch: {base_name(self.node.target)} on {self._shown(layout.shape)} mixes samples"
            )
        return self.signal(name) if layout is not None else self.operand(name)

    def axes(self, name: str, dims: Sequence[int] | None) -> tuple[int, ...]:
        """Return exported axes as negative axes of the sample, without leading ones."""
        layout = self.layout(name)
        found = []
        for dim in dims if dims else range(len(layout.shape)):
            axis = self.axis(name, dim)
            if axis is not None:
                found.append(axis)
            elif self.timesteps > 1:
                raise self.refuse(
                    f"takes a {base_name(self.node.target)} over time steps in the middle of the network: a graph says "
                    "what happens in one step. Capture the parts before and after it on their own, or use timesteps=1"
                )
        return tuple(found)

    @property
    def out(self) -> Layout:
        """Where the batch lies in the (first) result."""
        if self.made_layout is None:
            self.made_layout = self._found(self._meta()[0])
        return self.made_layout

    @property
    def out_dtype(self) -> torch.dtype:
        """Type of the exported (first) result."""
        dtype: torch.dtype = self._meta()[0].dtype
        return dtype

    def dtype(self, name: str) -> torch.dtype:
        """Type of an exported argument."""
        dtype = self.value(name).dtype
        return torch.get_default_dtype() if dtype is None else dtype

    def _meta(self) -> list[Any]:
        value = self.node.meta["val"]
        return list(value) if isinstance(value, (tuple, list)) else [value]

    def _found(self, meta: Any) -> Layout:
        source = next((v.layout for v in self._inputs() if v.layout is not None), None)
        shape = tuple(meta.shape)
        try:
            if source is not None and base_name(self.node.target) in _KEEPS_ORDER:
                return reshaped(source, shape, self.prime)
            return find(shape, self.prime, source)
        except MixesSamplesError as error:
            raise self.refuse(f"{error}: {base_name(self.node.target)} gives {self._shown(shape)}") from None

    def _inputs(self) -> list[Value]:
        return [self.values[node] for node in self.node.all_input_nodes]

    def _shown(self, shape: tuple[int, ...]) -> str:
        """An exported shape with B for the batch."""
        sizes = [
            str(size)
            if not isinstance(size, int) or size % self.prime
            else "B"
            if size == self.prime
            else f"B·{size // self.prime}"
            for size in shape
        ]
        return f"({', '.join(sizes)})"

    def _name(self, op: str) -> str:
        kind = operation(op).kind
        whole = self.leaf and (kind in ("synapse", "activation", "norm", "pool") and op != "scale")
        return self.scope if whole and self.scope else f"{self.scope}.{op}".lstrip(".")

    def emit(
        self,
        op: str,
        inputs: Sequence[str],
        attributes: Mapping[str, Any] | None = None,
        parameters: Mapping[str, Tensor] | None = None,
    ) -> str:
        """Add a node and return its signal."""
        own = {key: value.detach() for key, value in (parameters or {}).items()}
        return self.builder.add(op, inputs, attributes, own, name=self._name(op), scope=self.scope)

    def shape_of(self, signal: str) -> tuple[int, ...]:
        """Return the sample shape of a signal."""
        return self.builder.signals[signal].shape

    def reshape(self, signal: str, shape: Sequence[int]) -> str:
        """Return a signal in another shape."""
        if self.shape_of(signal) == tuple(shape):
            return signal
        return self.builder.add(
            "reshape", (signal,), {"shape": tuple(shape)}, name=self._name("reshape"), scope=self.scope
        )

    def give(self, signal: str) -> None:
        """Make a signal the result."""
        self.result = self._as_value(signal, self.out, self._meta()[0].dtype)

    def give_many(self, signals: Sequence[str]) -> None:
        """Make signals the results; further results of the call stay unknown."""
        parts = []
        for index, meta in enumerate(self._meta()):
            known = index < len(signals)
            parts.append(self._as_value(signals[index], self._found(meta), meta.dtype) if known else Value())
        self.result = Value(parts=parts)

    def give_filled(self, number: float) -> None:
        """Make a tensor of one number the result: a stored one, or a signal where it has a batch."""
        if holds_batch(self.node, self.prime):
            self.give(self.constant(torch.full(self.out.sample, number, dtype=self.out_dtype)))
        else:
            meta = self._meta()[0]
            self.result = Value(meta.dtype, tensor=torch.full(tuple(meta.shape), number, dtype=meta.dtype))

    def _as_value(self, signal: str, layout: Layout, dtype: torch.dtype) -> Value:
        return Value(dtype, signal=self.reshape(signal, layout.sample), layout=layout)

    def refuse(self, why: str) -> CaptureError:
        """Return the error that names the module."""
        return CaptureError(f"{self.where} {why}.")

    @property
    def where(self) -> str:
        """The module, in words."""
        return f"module {self.scope!r}" if self.scope else "the model itself"

    def permuted(self, order: Sequence[int]) -> str:
        """Add ``self`` with its axes in another order."""
        return shuffles.permuted(self, order)

    def joined(self) -> str:
        """Add ``tensors`` one after the other."""
        return shuffles.joined(self)

    def stacked(self) -> str:
        """Add ``tensors`` along a new axis."""
        return shuffles.stacked(self)

    def repeated(self, counts: Sequence[int]) -> str:
        """Add ``self`` with its axes repeated."""
        return shuffles.repeated(self, counts)

    def interleaved(self, repeats: int, dim: int | None) -> str:
        """Add ``self`` with every value along an axis repeated."""
        return shuffles.interleaved(self, repeats, dim)

    def indexed(self) -> str:
        """Add ``self`` at ``indices``."""
        return shuffles.indexed(self)

    def matmul(self, left: str, right: str) -> str:
        """Add a product of two arguments."""
        return shuffles.matmul(self, left, right)

    def einsum(self) -> str:
        """Add an einsum without the batch's letter."""
        return shuffles.einsum(self)

    def neuron(self, operator: Operator) -> None:
        """Add a neuron with its states."""
        arguments = self.arguments
        names = arguments["names"].split(",") if arguments["names"] else []
        tensors = {name: self.values[node].tensor for name, node in zip(names, arguments["tensors"], strict=True)}
        if any(tensor is None for tensor in tensors.values()):
            raise self.refuse("computes a constant of its neuron from the input: graphs hold fixed numbers there")
        attributes = {key: arguments[key] for key in operator.parameter_names if key not in tensors}
        parameters = {key: tensor.detach() for key, tensor in tensors.items() if tensor is not None}
        states = []
        for state in operator.state_names:
            if not isinstance(arguments[state], fx.Node):
                raise self.refuse("calls a neuron outside of its module: its state is not known")
            states.append(self.values[arguments[state]].signal)
        x = self.signal("x")
        if states:
            x = self.reshape(x, self.shape_of(states[0]))
        name = self.builder.unique(self.scope or operator.name)
        writes = [self.builder.unique(f"{name}.{state}_next") for state in operator.state_names]
        self.builder.append(
            Node(name, operator.name, (x, *states), (name, *writes), attributes, parameters, self.scope)
        )
        self.give_many([name, *writes])


def holds_batch(node: fx.Node, prime: int) -> bool:
    """Whether a result holds the batch, or has a size that depends on the data."""
    metas = [meta for meta in pytree.tree_leaves(node.meta.get("val")) if isinstance(meta, Tensor)]
    sizes = [size for meta in metas for size in meta.shape]
    return any(not isinstance(size, int) or (size > 0 and size % prime == 0) for size in sizes)


def bound(node: fx.Node) -> dict[str, Any]:
    """Return the arguments of a call by the names of its schema, defaults included."""
    given = dict(node.kwargs)
    found: dict[str, Any] = {}
    for index, argument in enumerate(node.target._schema.arguments):  # type: ignore[union-attr]
        if index < len(node.args):
            found[argument.name] = node.args[index]
        elif argument.name in given:
            found[argument.name] = given[argument.name]
        else:
            found[argument.name] = argument.default_value if argument.has_default_value() else None
    return found
