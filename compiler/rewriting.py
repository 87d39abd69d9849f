"""Rewriting: rules as data, applied to a graph until none applies.

A rule is a pattern and what takes its place. A pattern is a tree of operations, from the node whose result is replaced
(the root) back to what it reads:

    pattern("batch_norm", pattern("conv", name="layer", alone=True, through=MOVES))

is a batch norm that reads a convolution through any number of moves, and nobody else reads any of them. What takes its
place is made in a ``Draft``, which finds out shapes and types itself, as ``GraphBuilder`` does, and drops what nobody
reads any more. Names stay where a node stays; outputs and states follow what replaced them.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from compiler.analysis.types import infer_signals
from compiler.errors import GraphError
from compiler.graph import Graph, Node, Signal, SignalType, operation, operations
from compiler.graph.builder import unique
from compiler.graph.verify import check_node, infer

_MOST = 200  # rewrites for each node of a graph, after which rules are taken to undo one another


@dataclass(frozen=True)
class Pattern:
    """A node and what it reads; see ``pattern``."""

    ops: frozenset[str]
    inputs: tuple[Pattern, ...] = ()
    name: str = ""
    where: Callable[[Node], bool] | None = None
    alone: bool = False
    through: frozenset[str] = frozenset()
    either: bool = False


ANYTHING = Pattern(frozenset())
"""Any signal, inputs of the graph and states included."""


def pattern(
    ops: str | Iterable[str],
    *inputs: Pattern,
    name: str = "",
    where: Callable[[Node], bool] | None = None,
    alone: bool = False,
    through: Iterable[str] = (),
    either: bool = False,
) -> Pattern:
    """Return the pattern of a node.

    Args:
        ops: names of the operations it may be.
        inputs: what its first inputs come from; those not given may be anything.
        name: under which the match holds the node.
        where: what else must be true of the node.
        alone: nothing but the node above it in the pattern reads it, and that once.
        through: names of operations with one input of which any number may stand between it and the node above it,
            each read by the next alone.
        either: its two inputs may come in either order.

    Raises:
        GraphError: an operation does not exist.
    """
    names = frozenset((ops,) if isinstance(ops, str) else ops)
    between = frozenset(through)
    unknown = sorted((names | between) - set(operations()))
    if unknown:
        raise GraphError(f"a pattern names the operation {unknown[0]!r}, which does not exist.")
    return Pattern(names, inputs, name, where, alone, between, either)


@dataclass(frozen=True)
class Match:
    """Where a pattern was found: its ``root``, the named nodes, and what lies between them and their readers."""

    root: Node
    nodes: Mapping[str, Node]
    paths: Mapping[str, tuple[Node, ...]]

    def __getitem__(self, name: str) -> Node:
        return self.nodes[name]

    def path(self, name: str) -> tuple[Node, ...]:
        """Return the nodes between a named node and its reader in the pattern, in order."""
        return self.paths.get(name, ())

    def other(self, signal: str) -> str:
        """Return the root's input that is not ``signal``."""
        first, second = self.root.inputs
        return second if first == signal else first


Replace = Callable[[Match, "Draft"], str | None]
"""Make what takes the root's place and return its signal; None, before anything was made, where the rule does not
apply after all."""


@dataclass(frozen=True)
class Rule:
    """Replace what ``match`` finds by what ``replace`` makes of it."""

    name: str
    match: Pattern
    replace: Replace


class Draft:
    """A graph while it is rewritten."""

    def __init__(self, graph: Graph):
        self.graph = graph
        self.signals: dict[str, Signal] = dict(graph.signals)
        self.nodes: dict[str, Node] = {}
        self.outputs = list(graph.outputs)
        self.written = {state.read: state.written for state in graph.states}
        self.rewrites = 0
        self._producers: dict[str, str] = {}
        self._readers: dict[str, dict[str, int]] = {}
        self._positions: dict[str, tuple[int, int]] = {}
        self._numbers: dict[str, int] = {}
        self._kept = {*self.outputs, *self.written.values(), *graph.inputs}
        self._touched: dict[str, None] = {}
        self._moved: dict[str, None] = {}
        self._left: list[str] = []
        self._count = 0
        self._root: tuple[int, int] = (0, 0)
        for position, node in enumerate(graph.nodes):
            self._positions[node.name] = (position, 0)
            self._enter(node)

    # Looking at it.

    def producer(self, signal: str) -> Node | None:
        """Return the node that writes ``signal``."""
        name = self._producers.get(signal)
        return None if name is None else self.nodes[name]

    def readers(self, signal: str) -> tuple[Node, ...]:
        """Return the nodes that read ``signal``."""
        return tuple(self.nodes[name] for name in self._readers.get(signal, ()))

    def kept(self, signal: str) -> bool:
        """Whether a signal is an input, an output, or carries over to the next step."""
        return signal in self._kept

    def alone(self, signal: str) -> bool:
        """Whether exactly one node reads ``signal``, once, and nobody outside of the step does."""
        readers = self._readers.get(signal, {})
        return len(readers) == 1 and next(iter(readers.values())) == 1 and signal not in self._kept

    def shape(self, signal: str) -> tuple[int, ...]:
        """Return the shape of one sample of a signal."""
        return self.signals[signal].shape

    def type(self, signal: str) -> SignalType:
        """Return a signal's type."""
        return self.signals[signal].type

    def position(self, signal: str) -> tuple[int, int]:
        """Return where in the order of nodes a signal is written; inputs and states come first."""
        name = self._producers.get(signal)
        return (-1, 0) if name is None else self._positions[name]

    def value(self, signal: str) -> Tensor | None:
        """Return the stored numbers that a signal is, None where it is computed."""
        node = self.producer(signal)
        return node.parameters["value"] if node is not None and node.op == "constant" else None

    # Changing it.

    def add(
        self,
        op: str,
        inputs: Sequence[str],
        attributes: Mapping[str, Any] | None = None,
        parameters: Mapping[str, Tensor] | None = None,
        *,
        name: str = "",
        like: Node | None = None,
    ) -> str:
        """Add a node with one output and return its signal; ``like`` gives it a scope, and a name where none is given.

        Raises:
            GraphError: the inputs, attributes or parameters do not fit the operation.
        """
        scope = like.scope if like is not None else ""
        name = unique(name or (f"{scope}.{op}" if scope else op), self._numbers, self.signals, self.nodes)
        node = Node(name, op, tuple(inputs), (name,), dict(attributes or {}), dict(parameters or {}), scope)
        self._count += 1
        self._positions[name] = (self._root[0], self._count)
        self._make(node)
        return name

    def store(self, value: Tensor, like: Node, name: str = "") -> str:
        """Add stored numbers of one sample's shape and return their signal."""
        return self.add("constant", (), parameters={"value": value.detach()}, name=name, like=like)

    def change(
        self,
        node: Node,
        *,
        op: str = "",
        inputs: Sequence[str] | None = None,
        attributes: Mapping[str, Any] | None = None,
        parameters: Mapping[str, Tensor] | None = None,
        resized: bool = False,
    ) -> str:
        """Give a node another operation, inputs, attributes or parameters under its name and return its (first) signal.

        ``resized``: its result may change its shape, since whoever reads it is replaced too.

        Raises:
            GraphError: they do not fit, or its outputs would change their shape.
        """
        changed = replace(
            node,
            op=op or node.op,
            inputs=node.inputs if inputs is None else tuple(inputs),
            attributes=node.attributes if attributes is None else attributes,
            parameters=node.parameters if parameters is None else parameters,
        )
        shapes = [self.shape(signal) for signal in node.outputs]
        self._forget(node)
        self._make(changed)
        if not resized and [self.shape(signal) for signal in node.outputs] != shapes:
            raise GraphError(f"{node.name} ({node.op}) would change the shape of what it writes when it is rewritten.")
        return changed.output

    def settle(self, root: Node, result: str) -> list[str]:
        """Let everyone who read ``root`` read ``result``, drop what is read no more; return nodes to look at again."""
        self.rewrites += 1
        if result != root.output:
            self._substitute(root.output, result)
            self._left.append(root.output)
        self._drop()
        self._retype()
        again = dict.fromkeys(name for name in self._touched if name in self.nodes)
        for name in list(again):
            again.update(dict.fromkeys(self._after(self.nodes[name])))
        again.update(dict.fromkeys(self._readers.get(result, {})))
        self._touched = {}
        return list(again)

    def begin(self, root: Node) -> None:
        """Say which node is being replaced: new nodes stand where it stood."""
        self._root = self._positions[root.name]

    def order(self) -> list[Node]:
        """Return the nodes, each behind those that it reads, else as they stood."""
        ready: list[tuple[tuple[int, int], str]] = []
        waiting: dict[str, int] = {}
        for name, node in self.nodes.items():
            before = {self._producers[signal] for signal in node.inputs if signal in self._producers}
            waiting[name] = len(before)
            if not before:
                heapq.heappush(ready, (self._positions[name], name))
        found: list[Node] = []
        while ready:
            _, name = heapq.heappop(ready)
            found.append(self.nodes[name])
            for reader in self._after(self.nodes[name]):
                waiting[reader] -= 1
                if not waiting[reader]:
                    heapq.heappush(ready, (self._positions[reader], reader))
        return found

    def finish(self) -> Graph:
        """Return the graph, typed anew; the one that came in where nothing was rewritten."""
        if not self.rewrites:
            return self.graph
        states = tuple(replace(s, written=self.written[s.read]) for s in self.graph.states)
        graph = replace(self.graph, outputs=tuple(self.outputs), states=states)
        return infer_signals(graph.with_nodes(tuple(self.order()), self.signals))

    # Within.

    def _make(self, node: Node) -> None:
        check_node(node)
        for signal in infer(node, [self.signals[name] for name in node.inputs]):
            self.signals[signal.name] = signal
        self._enter(node)
        self._touched[node.name] = None

    def _enter(self, node: Node) -> None:
        self.nodes[node.name] = node
        for signal in node.outputs:
            self._producers[signal] = node.name
        for signal in node.inputs:
            readers = self._readers.setdefault(signal, {})
            readers[node.name] = readers.get(node.name, 0) + 1

    def _forget(self, node: Node) -> None:
        for signal in node.inputs:
            self._readers[signal].pop(node.name, None)
            self._left.append(signal)

    def _substitute(self, old: str, new: str) -> None:
        for name in list(self._readers.get(old, ())):
            reader = self.nodes[name]
            if name in self._touched and old in reader.inputs:
                continue  # made just now: it reads what it replaces
            self._forget(reader)
            self._enter(replace(reader, inputs=tuple(new if signal == old else signal for signal in reader.inputs)))
            self._moved[name] = None
        if old in self._kept:
            self.outputs = [new if name == old else name for name in self.outputs]
            self.written = {read: new if name == old else name for read, name in self.written.items()}
            self._kept = {*self.outputs, *self.written.values(), *self.graph.inputs}

    def _retype(self) -> None:
        """Let types follow what was changed."""
        changed = [self.nodes[name] for name in self._touched if name in self.nodes]
        waiting = deque([*(name for node in changed for name in self._after(node)), *self._moved])
        self._moved = {}
        while waiting:
            node = self.nodes[waiting.popleft()]
            op, inputs = operation(node.op), [self.signals[signal] for signal in node.inputs]
            kind = op.type_rule(node, [s.type for s in inputs], [s.shape for s in inputs])
            if self.type(node.output) == kind:
                continue
            for signal in node.outputs:
                if signal == node.output or op.same_types:
                    self.signals[signal] = replace(self.signals[signal], type=kind)
            self._touched[node.name] = None
            waiting.extend(self._after(node))

    def _after(self, node: Node) -> list[str]:
        return list(dict.fromkeys(name for signal in node.outputs for name in self._readers.get(signal, ())))

    def _drop(self) -> None:
        while self._left:
            name = self._producers.get(self._left.pop())
            if name is None:
                continue
            node = self.nodes[name]
            if any(self._readers.get(signal) or signal in self._kept for signal in node.outputs):
                continue
            self._forget(node)
            del self.nodes[name]
            for signal in node.outputs:
                del self._producers[signal], self.signals[signal]


def find(rule: Pattern, root: Node, draft: Draft) -> Match | None:
    """Return where a pattern matches with this root, None where it does not."""
    return _node(rule, root, draft, Match(root, {}, {}))


def _node(wanted: Pattern, node: Node, draft: Draft, so_far: Match) -> Match | None:
    if node.op not in wanted.ops or (wanted.where is not None and not wanted.where(node)):
        return None
    if wanted.name:
        so_far = replace(so_far, nodes={**so_far.nodes, wanted.name: node})
    if len(node.inputs) < len(wanted.inputs):
        return None
    orders = [node.inputs, node.inputs[::-1]] if wanted.either else [node.inputs]
    for order in orders:
        match: Match | None = so_far
        for part, signal in zip(wanted.inputs, order, strict=False):
            match = _signal(part, signal, draft, match) if match is not None else None
        if match is not None:
            return match
    return None


def _signal(wanted: Pattern, signal: str, draft: Draft, so_far: Match) -> Match | None:
    if not wanted.ops:
        return so_far
    passed: list[Node] = []
    while True:
        node = draft.producer(signal)
        if node is None or node.output != signal or ((wanted.alone or passed) and not draft.alone(signal)):
            return None
        if node.op in wanted.ops:
            match = _node(wanted, node, draft, so_far)
            if match is not None:
                paths = {**match.paths, wanted.name: tuple(reversed(passed))}
                return replace(match, paths=paths) if wanted.name else match
        if node.op not in wanted.through or len(node.inputs) != 1 or not draft.alone(signal):
            return None
        passed.append(node)
        signal = node.inputs[0]


def rewrite(graph: Graph, rules: Sequence[Rule]) -> Graph:
    """Apply rules until none applies and return the graph, typed anew; the same graph where none applied.

    Of several rules that fit one node the first is taken. The time grows with the number of nodes and rewrites.

    Raises:
        GraphError: a rule makes what does not fit, or rules undo one another without end.
    """
    draft, by_op = Draft(graph), _by_op(rules)
    limit = _MOST * (len(graph) + 1)
    changed = True
    while changed:
        before = draft.rewrites
        queue = deque(node.name for node in draft.order() if node.op in by_op)
        while queue:
            node = draft.nodes.get(queue.popleft())
            if node is None:
                continue
            rule, again = _apply(draft, node, by_op.get(node.op, ()))
            if draft.rewrites > limit:
                raise GraphError(f"rewriting {graph.name!r} does not come to an end; the last rule was {rule!r}.")
            queue.extend(again)
        changed = draft.rewrites > before
    return draft.finish()


def _by_op(rules: Sequence[Rule]) -> dict[str, list[Rule]]:
    table: dict[str, list[Rule]] = {}
    for rule in rules:
        for op in rule.match.ops:
            table.setdefault(op, []).append(rule)
    return table


def _apply(draft: Draft, node: Node, rules: Sequence[Rule]) -> tuple[str, list[str]]:
    for rule in rules:
        match = find(rule.match, node, draft)
        if match is None:
            continue
        draft.begin(node)
        result = rule.replace(match, draft)
        if result is not None:
            return rule.name, draft.settle(node, result)
    return "", []
