"""Program: a network compiled for a chip, ready to be simulated, saved and handed on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from compiler import run
from compiler.graph import Graph, Node, is_synapse
from compiler.graph.file import check_numbers, read_graphs, write_graphs
from compiler.mapping import Mapping, place
from compiler.network import Network
from compiler.run import Equality, Trace
from compiler.simulate import engine
from compiler.targets import target_of
from hw import get_chip
from hw.chip import Chip
from snnkit.archives import BAD_ARCHIVE, first_line
from snnkit.errors import CorruptFileError

__all__ = ["Equality", "Program", "Trace", "assemble"]


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

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one sample of its input."""
        return self.graph.shape(self.graph.inputs[0])

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Shape of one sample of its output."""
        return self.graph.shape(self.readout.output)

    @cached_property
    def readout(self) -> Node:
        """The node whose last membrane is the output."""
        return next(node for node in self.graph if node.role == "readout")

    @cached_property
    def tables(self) -> engine.Tables:
        """The mapping laid out for the engine."""
        return engine.flatten(self.mapping)

    @cached_property
    def host_graph(self) -> Graph | None:
        """The part that runs on the host, from the input to the bias currents; None where spikes come in directly."""
        drives = tuple(p.drive for p in self.mapping.lowered.placed if p.host_driven)
        if not drives:
            return None
        host = replace(self.graph, outputs=drives, states=(), timesteps=1)
        return host.with_nodes(self.graph.ancestors(drives), self.graph.signals)

    @property
    def host_layers(self) -> tuple[str, ...]:
        """Names of the layers with weights that the host computes."""
        return tuple(node.name for node in self.host_graph or () if is_synapse(node))

    def inputs(self, x: Tensor) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
        """Return what enters the chip for B images: input lines (B, lines, steps) and biases (B, all neurons).

        Raises:
            InvalidArgumentError: the input does not fit the network (shape, or values other than 0 and 1 for spikes).
        """
        return run.pack(self, x)

    def simulate(self, x: Tensor) -> Trace:
        """Run images (B, …), or spikes (T, B, …), through the mapped integer program.

        Raises:
            InvalidArgumentError: the input does not fit the network.
        """
        return run.simulate(self, x)

    def logits(self, membrane: Tensor) -> Tensor:
        """Turn the readout's last membrane (B, K) into the float network's units: mean logits over time."""
        return run.logits(self, membrane)

    def verify(self, x: Tensor, trace: Trace | None = None) -> Equality:
        """Compare float network, quantised graph and integer program: every spike and every output.

        ``trace`` is what ``simulate(x)`` returned, where it has been run already.
        """
        return run.verify(self, x, self.simulate(x) if trace is None else trace)

    def network(self, x: Tensor) -> Network:
        """Return the integer network with the input of **one** image (1, …): what lava and the reference run."""
        return run.network(self, x)

    def save(self, path: str | Path) -> None:
        """Write both graphs and the chip's name; ``Program.load`` maps them again, which is deterministic."""
        graphs = {"source": self.source_graph, "quantised": self.graph}
        write_graphs(path, graphs, {"chip": self.chip.name})

    @staticmethod
    def load(path: str | Path) -> Program:
        """Read what ``save`` wrote.

        Raises:
            CorruptFileError: missing, damaged, changed, or not a program.
            NonFiniteError: it holds weights that are no numbers.
            UnknownNameError: it is for a chip that is not known.
            CompileError: it does not fit its chip.
        """
        graphs, extra = read_graphs(path)
        if set(graphs) != {"source", "quantised"} or "chip" not in extra:
            raise CorruptFileError(f"{path} holds no compiled program; `snnkit compile` writes one.")
        if sum(node.role == "readout" for node in graphs["quantised"]) != 1:
            raise CorruptFileError(f"{path} holds a program without a readout; `snnkit compile` writes one.")
        source, quantised = (check_numbers(graphs[key], path) for key in ("source", "quantised"))
        chip = get_chip(extra["chip"])
        try:
            return assemble(source, quantised, chip)
        except (*BAD_ARCHIVE, ArithmeticError, AssertionError, NotImplementedError, StopIteration) as error:
            if getattr(error, "user_error", False):
                raise
            raise CorruptFileError(
                f"{path} holds a program that cannot be mapped ({type(error).__name__} {first_line(error)}): its "
                "graphs are not what `snnkit compile` writes."
            ) from None


def assemble(source: Graph, quantised: Graph, chip: Chip) -> Program:
    """Lower a quantised graph and map it; ``source`` is the floating-point graph it came from.

    Raises:
        CompileError: it does not fit the chip.
    """
    return Program(source, quantised, place(target_of(chip).lower(quantised, chip), chip))
