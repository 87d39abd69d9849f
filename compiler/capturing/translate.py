"""Translate: an exported program → nodes of a graph, every refusal collected."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode
from torch.utils import _pytree as pytree

from compiler.capturing.axes import MixesSamplesError, find, in_words
from compiler.capturing.call import ExportedCall, base_name, bound, holds_batch
from compiler.capturing.refused import REFUSED
from compiler.capturing.step import WRAPPED
from compiler.capturing.values import Value
from compiler.errors import CaptureError, GraphError
from compiler.graph import GraphBuilder, operations
from snnkit.errors import nearest


def captures() -> Mapping[str, Any]:
    """Return the table of ATen overloads (and snnkit's neurons) that graphs know, each with what translates a call."""
    return {name: handler for one in operations().values() for name, handler in one.captures.items()}


def functional(name: str, table: Mapping[str, Any]) -> str | None:
    """Return the overload that computes what the in-place overload ``name`` does: aten.relu for aten.relu_.

    In an exported program whoever reads the argument later reads the result: the two do the same.
    """
    namespace, base, *rest = name.split(".")
    if not base.endswith("_") or base.endswith("__"):
        return None
    candidate = ".".join((namespace, base[:-1], *rest))
    return candidate if candidate in table else None


_SPREAD = (
    *("expand", "expand_as", "broadcast_to", "repeat", "tile", "repeat_interleave"),
    *("zeros", "ones", "full", "new_zeros", "new_ones", "new_full"),
)
"""Calls that give every sample the same stored numbers."""


class Translation:
    """A translation in progress.

    Args:
        builder: where the nodes go.
        prime: the batch that was exported.
        model: whose module paths name nodes.
        timesteps: T of the network; more than 1 where steps differ.
    """

    def __init__(self, builder: GraphBuilder, prime: int, model: nn.Module, timesteps: int):
        self.builder, self.prime, self.model, self.timesteps = builder, prime, model, timesteps
        self.table = captures()
        self.reasons: list[str] = []
        self._leaves: dict[str, bool] = {}

    def run(self, graph: fx.Graph, values: dict[fx.Node, Value], owner: nn.Module) -> list[Value]:
        """Translate every node; ``values`` holds the placeholders. Returns the outputs."""
        for node in graph.nodes:
            if node.op == "placeholder":
                continue
            if node.op == "output":
                return [values[n] if isinstance(n, fx.Node) else Value() for n in pytree.tree_leaves(node.args[0])]
            if node.op == "get_attr":
                values[node] = _attribute(owner, str(node.target))
                continue
            try:
                values[node] = self._call(node, values, owner)
            except (CaptureError, GraphError) as error:
                self._note(node, str(error))
                values[node] = self._unknown(node)
        return []

    def _note(self, node: fx.Node, reason: str) -> None:
        reason = in_words(reason)
        if reason not in self.reasons:
            self.reasons.append(reason)

    def _unknown(self, node: fx.Node) -> Value:
        """Return a signal of the right shape for a refused call, where there is one: others are still looked at."""
        try:
            metas = pytree.tree_leaves(node.meta.get("val"))
            parts = []
            for meta in metas:
                layout = find(tuple(meta.shape), self.prime)
                hole = self.builder.constant(torch.zeros(layout.sample), "refused")
                parts.append(Value(meta.dtype, signal=hole, layout=layout))
        except (MixesSamplesError, AttributeError, GraphError, GuardOnDataDependentSymNode):
            return Value()
        if not isinstance(node.meta.get("val"), (tuple, list)):
            return parts[0] if parts else Value()
        return Value(parts=parts)

    def _call(self, node: fx.Node, values: dict[fx.Node, Value], owner: nn.Module) -> Value:
        sources = [values[source] for source in node.all_input_nodes]
        if node.target is operator.getitem:
            return self._item(sources[0], node)
        if isinstance(node.target, torch._ops.HigherOrderOperator):
            return self._inlined(node, values, owner)
        name = str(node.target)
        if name in ("aten._assert_tensor_metadata.default", "aten._assert_async.msg"):
            return Value()
        if any(not source.known for source in sources):
            return self._unknown(node)  # what it reads was refused already
        if name in REFUSED and not self._depends_on_weights(node, sources):
            raise self._refused(node, REFUSED[name])
        if draws(node):
            raise self._refused(node, REFUSED["aten.rand.default"])
        if all(source.tensor is not None for source in sources):
            if not holds_batch(node, self.prime):
                return self._folded(node, values)
            if base_name(node.target) in _SPREAD:
                return self._of_one_sample(node, values)
        call = ExportedCall(
            node, values, self.builder, self.prime, scope_of(node), self._is_leaf(scope_of(node)), self.timesteps
        )
        plain = functional(name, self.table)
        handler = self.table.get(name) or (self.table[plain] if plain else None)
        if handler is None:
            raise self._unknown_operator(call, name)
        if _same_type(node, sources, name):
            return sources[0]
        handler(call)
        return call.result

    def _item(self, source: Value, node: fx.Node) -> Value:
        index = node.args[1]
        if source.parts and isinstance(index, int) and index < len(source.parts):
            return source.parts[index]
        return Value()

    def _folded(self, node: fx.Node, values: Mapping[fx.Node, Value]) -> Value:
        """Compute what depends on weights alone."""
        args, kwargs = fx.node.map_arg((node.args, node.kwargs), lambda source: _owned(values[source]))
        with torch.no_grad():
            made = node.target(*args, **kwargs)  # type: ignore[operator]
        if isinstance(made, (tuple, list)):
            return Value(parts=[Value(part.dtype, tensor=part) for part in made])
        return Value(made.dtype, tensor=made)

    def _of_one_sample(self, node: fx.Node, values: Mapping[fx.Node, Value]) -> Value:
        """Stored numbers spread over the batch: the same call for one sample."""

        def divided(value: Any) -> Any:
            if isinstance(value, (list, tuple)):
                return type(value)(divided(one) for one in value)
            whole = isinstance(value, int) and not isinstance(value, bool)
            return value // self.prime if whole and value and value % self.prime == 0 else value

        args, kwargs = fx.node.map_arg((node.args, node.kwargs), lambda source: _owned(values[source]))
        meta = node.meta["val"]
        layout = find(tuple(meta.shape), self.prime)
        with torch.no_grad():
            made = node.target(*divided(list(args)), **kwargs)  # type: ignore[operator]
        scope = scope_of(node)
        name = self.builder.constant(made.reshape(layout.sample), scope=scope)
        return Value(meta.dtype, signal=name, layout=layout)

    def _inlined(self, node: fx.Node, values: dict[fx.Node, Value], owner: nn.Module) -> Value:
        """Translate the body of a block such as ``torch.autocast(enabled=False)`` in place."""
        bodies = [a for a in node.args if isinstance(a, fx.Node) and a.op == "get_attr"]
        if not str(node.target).startswith("wrap_with_") or len(bodies) != 1:
            raise CaptureError(
                f"{where_of(node)} holds control flow ({node.target}), which a graph does not: it is one fixed order "
                "of operations."
            )
        body = getattr(owner, str(bodies[0].target))
        given = [values[a] for a in node.args[node.args.index(bodies[0]) + 1 :]]  # type: ignore[index]
        inner = dict(zip((n for n in body.graph.nodes if n.op == "placeholder"), given, strict=True))
        return Value(parts=self.run(body.graph, inner, body))

    def _depends_on_weights(self, node: fx.Node, sources: list[Value]) -> bool:
        """Whether a call is one of fixed numbers, which is folded, as an arange of fixed length is."""
        return (
            not holds_batch(node, self.prime)
            and all(source.tensor is not None for source in sources)
            and not draws(node)
        )

    def _refused(self, node: fx.Node, why: str) -> CaptureError:
        return CaptureError(f"{where_of(node)} uses {base_name(node.target)!r}, which {why}.")

    def _unknown_operator(self, call: ExportedCall, name: str) -> CaptureError:
        given = base_name(call.node.target)
        known = {key.split(".")[1] for key in self.table}
        same = sorted(key for key in self.table if key.split(".")[1] == given.rstrip("_"))
        hint = f" Known of it: {', '.join(same)}." if same else nearest(given, known)
        return CaptureError(f"{call.where} uses the operator {name!r}, which graphs do not have.{hint}")

    def _is_leaf(self, scope: str) -> bool:
        if scope not in self._leaves:
            try:
                module = self.model.get_submodule(scope)
                self._leaves[scope] = bool(scope) and not any(True for _ in module.children())
            except AttributeError:
                self._leaves[scope] = False
        return self._leaves[scope]


def draws(node: fx.Node) -> bool:
    """Whether a call draws random numbers; dropout and attention do only where they are told to."""
    if torch.Tag.nondeterministic_seeded not in node.target.tags:  # type: ignore[union-attr]
        return False
    given = bound(node)
    for name in ("train", "training", "dropout_p"):
        if name in given:
            return bool(given[name])
    return True


def _owned(value: Value) -> Any:
    if value.parts:
        return [part.tensor for part in value.parts]
    return value.tensor


def _attribute(owner: nn.Module, target: str) -> Value:
    found: Any = owner
    for part in target.split("."):
        found = getattr(found, part)
    return Value(found.dtype, tensor=found) if isinstance(found, Tensor) else Value()


def _same_type(node: fx.Node, sources: list[Value], name: str) -> bool:
    """Whether a conversion converts nothing: same type, only another device or layout."""
    casts = ("aten.to.", "aten.type_as.", "aten._to_copy.")
    if not name.startswith(casts) or not sources[0].signal:
        return False
    meta = node.meta["val"]
    return bool(sources[0].dtype == meta.dtype)


def scope_of(node: fx.Node) -> str:
    """Return the path of the innermost module that made ``node``."""
    stack = node.meta.get("nn_module_stack") or {}
    path: str = list(stack.values())[-1][0] if stack else ""
    return path.removeprefix(WRAPPED).lstrip(".")


def where_of(node: fx.Node) -> str:
    """Return the module in words."""
    return f"module {scope_of(node)!r}" if scope_of(node) else "the model itself"


def mutates_views(graph: fx.Graph) -> bool:
    """Whether something writes into a view of another tensor, so that the order of names does not tell what is read."""
    for node in graph.nodes:
        schema = getattr(node.target, "_schema", None)
        if node.op != "call_function" or schema is None or not schema.is_mutable:
            continue
        if base_name(node.target) in ("dropout_", "feature_dropout_", "alpha_dropout_"):
            continue
        target = node.args[0]
        if not isinstance(target, fx.Node):
            continue
        if target.op in ("placeholder", "get_attr") or _is_view(target):
            return True
        if any(_is_view(user) and user is not node and _before(user, node) for user in target.users):
            return True
    return False


def _is_view(node: fx.Node) -> bool:
    """Whether a node may share memory with what it reads."""
    schema = getattr(node.target, "_schema", None)
    if node.op != "call_function" or schema is None:
        return node.op == "call_function" and node.target is operator.getitem and _is_view(node.args[0])  # type: ignore[arg-type]
    names = ("reshape", "contiguous", "flatten", "to", "expand_as", "view_as", "reshape_as", "unflatten", "dropout")
    if base_name(node.target) in names:
        return True
    return any(argument.alias_info is not None and not argument.alias_info.is_write for argument in schema.arguments)


def _before(first: fx.Node, second: fx.Node) -> bool:
    for node in first.graph.nodes:
        if node is first:
            return True
        if node is second:
            return False
    return False
