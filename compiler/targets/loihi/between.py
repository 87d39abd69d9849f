"""Between the steps: what the host, or a chip's multipliers, make of spikes, and send back as events.

At step t of the chip a unit of depth d does what its nodes of the quantised graph do at the graph's step t − d, on the
spikes that its sources sent for that step; what it makes enters the chip on input lines at step t.

Shapes: B images, T steps of the network, S steps of the chip, N values of a signal.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from compiler.graph import Graph, Node, is_neuron
from compiler.graph.operation import run_node
from compiler.interpreting import start_of
from compiler.mapping.engine import Session, Tables
from compiler.network import Lowered, Unit
from compiler.targets.loihi.timing import UNIT_ROLES


@dataclass
class Between:
    """The units of one batch on its way through the chip."""

    graph: Graph
    lowered: Lowered
    session: Session
    tables: Tables
    x: Tensor

    def __post_init__(self) -> None:
        graph, images = self.graph, len(self.session.lines)
        self.images = images
        self.sequence = self.x.ndim == len(graph.shape(graph.inputs[0])) + 2
        self.states = start_of(graph, images, self.x)
        self.values: dict[tuple[str, int], Tensor] = {}
        self.nodes = {node.name: node for node in graph}
        self.places = {p.signal: index for index, p in enumerate(self.lowered.placed) if p.kind in ("neuron", "gate")}
        self.fixed: dict[str, Tensor] = {}
        self.written = {state.written: state.read for state in graph.states}
        self.said = {node.output: [] for node in self._host_neurons()}  # type: dict[str, list[NDArray[np.int32]]]
        self.made_by = {signal: node for node in graph for signal in node.outputs}
        self.crossed: set[tuple[str, int]] = set()
        self.sent = self.received = self.multiplied = self.written_biases = 0

    def _host_neurons(self) -> list[Node]:
        return [node for node in self.graph if node.role == "host" and is_neuron(node)]

    def before(self, t: int) -> None:
        """Do what comes before step t of the chip."""
        for unit in self.lowered.units:
            if 0 <= t - unit.depth < self.lowered.timesteps:
                self._run(unit, t - unit.depth)

    def _run(self, unit: Unit, step: int) -> None:
        for name in unit.nodes:
            node = self.nodes[name]
            results = run_node(node, *(self._value(signal, step) for signal in node.inputs))
            self._count_crossing(node, step)
            for signal, result in zip(node.outputs, results, strict=True):
                self.values[signal, step] = result
                if signal in self.written:
                    self.states[self.written[signal]] = result
            if node.output in self.said:
                self.said[node.output].append(self._flat(results[0]).astype(np.int32))
            if node.role == "product" and node.op in ("mul", "matmul"):
                width = node_width(self.graph, node) if node.op == "matmul" else 1
                self.multiplied += results[0].expand(self.images, *results[0].shape[1:]).numel() * width
        for signal, first in zip(unit.made, unit.first, strict=True):
            events = self._flat(self.values[signal, step])
            self.session.lines[:, first : first + events.shape[1], step + unit.depth] = events
            if self.made_by[signal].role == "host" and (signal, step) not in self.crossed:
                self.crossed.add((signal, step))
                self.sent += int(np.count_nonzero(events))
        for signal, index in unit.drives:
            start, size = int(self.tables.neuron_start[index]), self.lowered.placed[index].population.size
            self.session.biases[:, step, start : start + size] = self._flat(self.values[signal, step])
            self.written_biases += size * self.images

    def _count_crossing(self, node: Node, step: int) -> None:
        """Count the events that come from the other side for a node: each once, however many nodes read it."""
        waiting, hosted = list(node.inputs), node.role == "host"
        while waiting:
            signal = waiting.pop()
            maker = self.made_by.get(signal)
            if maker is None or (signal, step) in self.crossed or maker.role == node.role or signal in self.states:
                continue
            if signal in self.places or maker.role in UNIT_ROLES:
                if hosted or maker.role == "host":
                    self.crossed.add((signal, step))
                    count = int(np.count_nonzero(self._value(signal, step).numpy()))
                    self.received, self.sent = self.received + count * hosted, self.sent + count * (not hosted)
            else:
                waiting.extend(maker.inputs)

    def _flat(self, value: Tensor) -> NDArray[np.int64]:
        whole: NDArray[np.int64] = value.expand(self.images, *value.shape[1:]).flatten(1).round().long().numpy()
        return whole

    def _value(self, signal: str, step: int) -> Tensor:
        """A signal at a step of the graph: of a unit, of the chip, of the input, or stored."""
        if signal in self.states:
            return self.states[signal]
        key = (signal, step)
        if key not in self.values:
            self.values[key] = self._found(signal, step)
        return self.values[key]

    def _found(self, signal: str, step: int) -> Tensor:
        if signal in self.graph.inputs:
            return self.x[step] if self.sequence else self.x
        if signal in self.places:
            placed = self.lowered.placed[self.places[signal]]
            start = int(self.tables.neuron_start[self.places[signal]])
            spikes = self.session.spikes[:, step + placed.depth, start : start + placed.population.size]
            return torch.from_numpy(spikes).double().reshape(-1, *placed.shape)
        node = self.graph.producer(signal)
        assert node is not None
        results = run_node(node, *(self._value(name, step) for name in node.inputs))
        return results[node.outputs.index(signal)]

    def spikes(self) -> dict[str, NDArray[np.int32]]:
        """Return what the neurons of the host sent, by signal, (T, B, N)."""
        return {signal: np.stack(steps) for signal, steps in self.said.items() if steps}

    def counters(self) -> dict[str, int]:
        """Return what crossed the border, and what was multiplied on the chip."""
        return {
            "spikes_to_host": self.received,
            "spikes_from_host": self.sent,
            "biases_from_host": self.written_biases,
            "products": self.multiplied,
        }


def node_width(graph: Graph, node: Node) -> int:
    """Return how many pairs of values one value of a product of matrices adds up."""
    return graph.shape(node.inputs[0])[-1]
