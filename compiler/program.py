"""Program: a network compiled for a chip, ready to be simulated, saved and handed on."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from compiler.graph import Graph, read_graphs, write_graphs
from compiler.interpret import interpret
from compiler.lower import lower
from compiler.mapping import Mapping, place
from compiler.operations import OPERATIONS
from compiler.passes.quantise import READOUT
from compiler.simulate import engine
from compiler.simulate.artifact import Network
from hw import get_chip
from hw.chip import Chip
from snnkit.errors import CorruptFileError, InvalidArgumentError

_BATCH = 50


@dataclass(frozen=True)
class Trace:
    """What the chip did with B images. Shapes: T the network's time steps, N neurons, K outputs.

    ``spikes``: by neuron layer, uint8 (T, B, N), aligned in time with the graph (each layer's delay removed);
    ``logits``: float64 (B, K), the mean over time as the float network would report it;
    ``events_per_core`` and ``packets``: totals over the images, see ``compiler.simulate.engine.Trace``.
    """

    spikes: dict[str, NDArray[np.uint8]]
    logits: Tensor
    events_per_core: NDArray[np.int64]
    packets: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Equality:
    """Integer program against the quantised graph, whose ``quantised_logits`` are (B, K), on the same images."""

    images: int
    spikes: int
    compared: int
    mismatches: int
    membrane_mismatches: int
    quantised_logits: Tensor

    @property
    def verdict(self) -> str:
        """ "exact" where every spike and every output membrane agrees, else "approximate"."""
        return "exact" if self.mismatches == self.membrane_mismatches == 0 else "approximate"


@dataclass(frozen=True)
class Program:
    """A network on a chip.

    ``source_graph`` is the floating-point graph it came from, ``graph`` the quantised one whose meaning it has,
    ``mapping`` where everything lies.
    """

    source_graph: Graph
    graph: Graph
    mapping: Mapping

    @property
    def chip(self) -> Chip:
        """The chip it was compiled for."""
        return self.mapping.chip

    @cached_property
    def _tables(self) -> engine.Tables:
        return engine.flatten(self.mapping)

    @cached_property
    def host_graph(self) -> Graph | None:
        """The part that runs on the host, from the input to the bias currents; None where spikes come in directly."""
        biases = tuple(node.output for node in self.graph if node.op == "bias_current")
        if not biases:
            return None
        wanted, kept = set(biases), []
        for node in reversed(self.graph.nodes):
            if wanted & set(node.outputs):
                kept.append(node)
                wanted.update(node.inputs)
        host = replace(self.graph, outputs=biases[:1], states=(), timesteps=1)
        return host.with_nodes(tuple(kept[::-1]), self.graph.signals)

    @property
    def host_layers(self) -> tuple[str, ...]:
        """Names of the layers with weights that the host computes."""
        host = self.host_graph
        return tuple(n.name for n in host if OPERATIONS[n.op].kind == "synapse") if host else ()

    def inputs(self, x: Tensor) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
        """Return what enters the chip for B images: input lines (B, lines, steps) and biases (B, all neurons).

        Raises:
            InvalidArgumentError: the input does not fit the network (shape, or values other than 0 and 1 for spikes).
        """
        lowered = self.mapping.lowered
        shape = self.graph.shape(self.graph.inputs[0])
        sequence = tuple(x.shape[2:]) == shape and x.ndim == len(shape) + 2
        if not sequence and tuple(x.shape[1:]) != shape:
            raise InvalidArgumentError(
                f"the program takes (B, {', '.join(map(str, shape))}) or (T, B, …) of spikes, got {tuple(x.shape)}."
            )
        images = x.shape[1] if sequence else x.shape[0]
        lines = np.zeros((images, lowered.lines, lowered.steps), np.uint8)
        lines[:, lowered.external :] = lowered.clock_lines()
        if lowered.external:
            spikes = x if sequence else x.expand(lowered.timesteps, *x.shape)
            if not bool(((spikes == 0) | (spikes == 1)).all()) or len(spikes) != lowered.timesteps:
                raise InvalidArgumentError(
                    f"this program takes {lowered.timesteps} steps of spikes (0 or 1); got {len(spikes)} steps with "
                    f"values from {float(spikes.min()):g} to {float(spikes.max()):g}."
                )
            lines[:, : lowered.external, : lowered.timesteps] = spikes.flatten(2).permute(1, 2, 0).byte().numpy()
        elif sequence:
            raise InvalidArgumentError("this program takes images (B, …), the same at every step, not a sequence.")
        biases = np.zeros((images, sum(p.population.size for p in lowered.placed)), np.int32)
        self._fill_biases(x, biases)
        return lines, biases

    def _fill_biases(self, x: Tensor, biases: NDArray[np.int32]) -> None:
        host = self.host_graph
        if host is None:
            return
        drives = {node.inputs[0]: node.output for node in self.graph if node.op == "lif_fixed"}
        names = [node.output for node in host if node.op == "bias_current"]
        _, records = interpret(host, x.double(), timesteps=1, probes=names)
        start = 0
        for placed in self.mapping.lowered.placed:
            name = next((bias for bias in names if drives[bias] == placed.signal and placed.host_driven), None)
            if name is not None:
                biases[:, start : start + placed.population.size] = records[name][0].flatten(1).numpy()
            start += placed.population.size

    def simulate(self, x: Tensor) -> Trace:
        """Run images (B, …), or spikes (T, B, …), through the mapped integer program.

        Raises:
            InvalidArgumentError: the input does not fit the network.
        """
        lines, biases = self.inputs(x)
        tables, starts = self._tables, range(0, len(lines), _BATCH)

        def run(start: int) -> engine.Trace:
            batch = slice(start, start + _BATCH)
            return engine.run(self.mapping, tables, lines[batch], biases[batch])

        # The inner loop holds no lock: one thread for each core that torch would use.
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:
            traces = list(pool.map(run, starts))
        lowered = self.mapping.lowered
        spikes = {}
        for index, placed in enumerate(lowered.placed):
            if placed.kind == "neuron":
                whole = np.concatenate([t.spikes[index] for t in traces])
                spikes[placed.signal] = whole[:, placed.depth : placed.depth + lowered.timesteps].transpose(1, 0, 2)
        return Trace(
            spikes=spikes,
            logits=self.logits(self._readout(traces)),
            events_per_core=np.sum([t.events_per_core for t in traces], axis=0),
            packets=np.sum([t.packets for t in traces], axis=0),
        )

    def _readout(self, traces: list[engine.Trace]) -> Tensor:
        parts = [
            np.sum([t.voltages[index].astype(np.int64) for index in self.mapping.lowered.readouts], axis=0)
            for t in traces
        ]
        return torch.from_numpy(np.concatenate(parts)).double()

    def logits(self, membrane: Tensor) -> Tensor:
        """Turn the readout's last membrane (B, K) into the float network's units: mean logits over time."""
        scale = next(node.attributes["scale"] for node in self.graph if node.name == READOUT)
        shift = self.chip.arithmetic.threshold_shift
        return membrane / float(2**shift * scale * self.graph.timesteps)

    def verify(self, x: Tensor, trace: Trace | None = None) -> Equality:
        """Compare the mapped program with ``interpret`` of the quantised graph: every spike, every output membrane.

        ``trace`` is what ``simulate(x)`` returned, where it has been run already.
        """
        trace = self.simulate(x) if trace is None else trace
        batch_axis = x.ndim - 1 - len(self.graph.shape(self.graph.inputs[0]))
        mismatches = compared = total = differing = start = 0
        logits = []
        for part in torch.split(x.double(), _BATCH, dim=batch_axis):
            images = slice(start, start + part.shape[batch_axis])
            start = images.stop
            outputs, records = interpret(self.graph, part, probes=list(trace.spikes))
            for name, spikes in trace.spikes.items():
                expected = records[name].flatten(2).byte().numpy()
                mismatches += int((expected != spikes[:, images]).sum())
                compared += expected.size
                total += int(spikes[:, images].sum())
            logits.append(self.logits(outputs[-1]))
            differing += int((logits[-1] != trace.logits[images]).sum())
        return Equality(trace.logits.shape[0], total, compared, mismatches, differing, torch.cat(logits))

    def network(self, x: Tensor) -> Network:
        """Return the integer network with the input of **one** image (1, …): what lava and the reference run."""
        lines, biases = self.inputs(x)
        if len(lines) != 1:
            raise InvalidArgumentError(f"an artifact holds the input of one image, got {len(lines)}.")
        populations, start = [], 0
        exponent = _bias_exponent(self.graph)
        for placed in self.mapping.lowered.placed:
            p = placed.population
            if placed.host_driven:
                mantissa = biases[0, start : start + p.size] >> exponent
                p = replace(p, bias_mant=mantissa, bias_exp=np.full(p.size, exponent, np.int32))
            populations.append(p)
            start += p.size
        return Network(tuple(populations), self.mapping.lowered.projections, lines[0])

    def save(self, path: str | Path) -> None:
        """Write both graphs and the chip's name; ``Program.load`` maps them again, which is deterministic."""
        graphs = {"source": self.source_graph, "quantised": self.graph}
        write_graphs(path, graphs, {"chip": self.chip.name})

    @staticmethod
    def load(path: str | Path) -> Program:
        """Read what ``save`` wrote.

        Raises:
            CorruptFileError: missing, damaged, or not a program.
        """
        graphs, extra = read_graphs(path)
        if set(graphs) != {"source", "quantised"} or "chip" not in extra:
            raise CorruptFileError(f"{path} holds no compiled program; `snnkit compile` writes one.")
        return assemble(graphs["source"], graphs["quantised"], get_chip(extra["chip"]))


def assemble(source: Graph, quantised: Graph, chip: Chip) -> Program:
    """Lower a quantised graph and map it; ``source`` is the floating-point graph it came from.

    Raises:
        CompileError: it does not fit the chip.
    """
    return Program(source, quantised, place(lower(quantised, chip), chip))


def _bias_exponent(graph: Graph) -> int:
    return next((int(n.attributes["exponent"]) for n in graph if n.op == "bias_current"), 0)
