"""Program: a network compiled for a chip, ready to be simulated, saved and handed on."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from compiler import run
from compiler.errors import CompileError, Violation
from compiler.graph import Graph, Node, is_synapse
from compiler.graph.file import check_numbers, read_graphs, write_graphs
from compiler.mapping import Mapping
from compiler.network import Network
from compiler.run import Equality, Trace
from compiler.targets import Image, Options, target_of
from compiler.targets.loihi.image import MappedImage
from hw import get_chip
from hw.chip import Chip
from hw.describing import dumps, loads
from snnkit.archives import BAD_ARCHIVE, first_line
from snnkit.errors import CorruptFileError

__all__ = ["Equality", "Program", "Trace", "assemble"]


@dataclass(frozen=True)
class Program:
    """A network on a chip.

    ``source_graph`` is the floating-point graph it came from, ``graph`` the quantised one whose meaning it has,
    ``image`` what the chip is loaded with, ``options`` what was granted to the compiler.
    """

    source_graph: Graph
    graph: Graph
    image: Image
    options: Options = field(default_factory=Options)

    @property
    def chip(self) -> Chip:
        """The chip it was compiled for."""
        return self.image.chip

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

    @property
    def _mapped(self) -> MappedImage:
        if isinstance(self.image, MappedImage):
            return self.image
        limit = f"a program for {self.chip.name} is its memories; it has `image` and `to_dict()`"
        raise CompileError(Violation(self.graph.name, "populations and axons", limit))

    @property
    def mapping(self) -> Mapping:
        """Where everything lies (chips of equal cores with axons).

        Raises:
            CompileError: a program for this chip has another form.
        """
        return self._mapped.mapping

    def to_dict(self) -> dict[str, Any]:
        """Return the mapping as plain data for JSON."""
        return self.image.to_dict()

    @property
    def host_graph(self) -> Graph | None:
        """The part that runs on the host, from the input to the bias currents; None where spikes come in directly."""
        found: Graph | None = getattr(self.image, "host_graph", None)
        return found

    @property
    def host_layers(self) -> tuple[str, ...]:
        """Names of the layers with weights that the host computes before the chip starts."""
        return tuple(node.name for node in self.host_graph or () if is_synapse(node))

    @property
    def host_operations(self) -> tuple[str, ...]:
        """Names of the operations that the host does between the chip's steps."""
        found: tuple[str, ...] = getattr(self.image, "host_operations", ())
        return found

    def inputs(self, x: Tensor) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Return what enters the chip for B images: input lines (B, lines, steps) and biases (B, steps, all neurons).

        The biases have one step where they are the same at all.

        Raises:
            InvalidArgumentError: the input does not fit the network (shape, or values other than 0 and 1 for spikes).
        """
        return self._mapped.inputs(x)

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

        Raises:
            InvalidArgumentError: the input does not fit the network; the trace is of another chip, other samples, or a
                network of other layers or sizes.
        """
        return run.verify(self, x, self.simulate(x) if trace is None else trace)

    def network(self, x: Tensor) -> Network:
        """Return the integer network with the input of **one** image (1, …): what lava and the reference run.

        Raises:
            CompileError: the host takes part between the steps, or a program for this chip has another form.
        """
        return self._mapped.network(x)

    def save(self, path: str | Path) -> None:
        """Write both graphs, the chip's name and what was granted; ``load`` maps them again, which is deterministic."""
        graphs = {"source": self.source_graph, "quantised": self.graph}
        granted = {"host": "\n".join(self.options.host), "allow": "\n".join(self.options.allow)}
        granted["headroom"] = str(self.options.headroom) if self.options != Options() else ""
        own = dumps(self.chip) if self.chip.name.endswith(".toml") else ""  # that file may change, or go
        named = {"chip": self.chip.name, "description": own, **granted}
        extra = {name: text for name, text in named.items() if text}
        write_graphs(path, graphs, extra)

    @staticmethod
    def load(path: str | Path) -> Program:
        """Read what ``save`` wrote.

        Raises:
            CorruptFileError: missing, damaged, changed, or not a program.
            NonFiniteError: it holds weights that are no numbers.
            UnknownNameError: it is for a chip that is not known.
            ChipError: the chip that it describes contradicts itself.
            CompileError: it does not fit its chip.
        """
        graphs, extra = read_graphs(path)
        if set(graphs) != {"source", "quantised"} or "chip" not in extra:
            raise CorruptFileError(f"{path} holds no compiled program; `snnkit compile` writes one.")
        if sum(node.role == "readout" for node in graphs["quantised"]) != 1:
            raise CorruptFileError(f"{path} holds a program without a readout; `snnkit compile` writes one.")
        source, quantised = (check_numbers(graphs[key], path) for key in ("source", "quantised"))
        name = extra["chip"]
        chip = loads(extra["description"], name) if "description" in extra else get_chip(name)
        try:
            host, allow = (tuple(extra.get(key, "").splitlines()) for key in ("host", "allow"))
            options = Options(host, allow, int(extra.get("headroom", Options().headroom)))
            return assemble(source, quantised, chip, options)
        except (*BAD_ARCHIVE, ArithmeticError, AssertionError, NotImplementedError, StopIteration) as error:
            if getattr(error, "user_error", False):
                raise
            raise CorruptFileError(
                f"{path} holds a program that cannot be mapped ({type(error).__name__} {first_line(error)}): its "
                "graphs are not what `snnkit compile` writes."
            ) from None


def assemble(source: Graph, quantised: Graph, chip: Chip, options: Options | None = None) -> Program:
    """Build a quantised graph for a chip; ``source`` is the floating-point graph it came from.

    Raises:
        CompileError: it does not fit the chip.
    """
    granted = options or Options()
    return Program(source, quantised, target_of(chip).build(quantised, chip, granted), granted)
