"""A network as its chip computes it, as a module that trains.

Parameters are the float network's weights and biases, batch norms folded into them. Each forward pass writes them in
the chip's integers by the text that compiles programs (``Target.quantise``) and runs the graph that comes out, whose
every spike is the chip's (``interpret``). Nothing is simulated by floats that are only near:

    what trains     weights, biases and stored numbers, in float
    forward         weights in mantissas and exponents, thresholds, decays, whole membranes: the chip's
    backward        straight through every rounding; a surrogate for every spike (``targets.loihi.differentiable``)
    gates           products and maxima of spikes: the operations themselves, which have the same values
    not trained     scales, exponents, thresholds, decays: chosen from the weights as compiling chooses them

Scales follow the weights: while testing they are those that ``compile`` finds, while training they are kept for some
steps. So the accuracy that training reports is that of the program, and nothing beside the weights has to be kept.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from compiler.capturing import graph_of
from compiler.converting.trainable import GraphNumbers
from compiler.errors import CompileError
from compiler.graph import Graph, Node, is_neuron
from compiler.interpreting import evaluate
from compiler.passes import simplify
from compiler.program import Program, assemble
from compiler.targets import Options, target_of
from compiler.targets.loihi.differentiable import surrogate_gradient
from hw import get_chip
from hw.chip import Chip
from snnkit.errors import InvalidArgumentError
from snnkit.surrogates import Sigmoid, Surrogate

KEPT = 10
"""Steps for which training keeps the scales; finding them takes about a tenth of a step."""


class ChipNetwork(GraphNumbers):
    """Images (B, …), or spikes (T, B, …), → logits (B, K): the mean over time, as the chip's program gives them.

    Args:
        network: a spiking classifier, captured with ``example``, or its graph.
        example: one input of the right shape (needed for a module).
        chip: name of a chip, or one with other numbers, such as fewer bits a weight.
        input_type: "real" for images (the first layers run on the host, in float64), "binary" for spikes.
        options: what is granted to the compiler beyond what is lossless and on the chip.
        surrogate: derivative of a spike, of the distance to the threshold in the float network's unit.
        keep_scales: for how many training steps scales stay as they were found.

    Raises:
        CompileError: the network does not fit the chip; ``violations`` say why.
        CaptureError: the module holds an operator that graphs do not have.
        InvalidArgumentError: keep_scales < 1, or a chip whose arithmetic has no gradients.
    """

    def __init__(
        self,
        network: nn.Module | Graph,
        example: Tensor | None = None,
        chip: str | Chip = "loihi1",
        input_type: str = "real",
        *,
        options: Options | None = None,
        surrogate: Surrogate | None = None,
        keep_scales: int = KEPT,
    ):
        graph = simplify(graph_of(network, example, input_type))
        silicon = get_chip(chip) if isinstance(chip, str) else chip
        target = target_of(silicon)
        if not target.trains:
            raise InvalidArgumentError(f"{silicon.name}: the arithmetic {target.semantics!r} has no gradients yet.")
        granted = options or Options()
        violations = target.legal(graph, silicon, granted)
        if violations:
            raise CompileError(*violations)
        if keep_scales < 1:
            raise InvalidArgumentError(f"keep_scales={keep_scales}: must be ≥ 1.")
        super().__init__(graph)
        self.chip, self.options, self._unit = silicon, granted, target.unit
        self._quantise: Any = target.quantise
        default: Any = Sigmoid()
        self.surrogate: Surrogate = surrogate or default
        self.keep_scales = keep_scales
        self._scales: dict[str, float] = {}
        self._age = 0

    def again(self, graph: Graph) -> ChipNetwork:
        """Return a network of another graph of this form, for the same chip and with the same settings."""
        kept: dict[str, Any] = {"surrogate": self.surrogate, "keep_scales": self.keep_scales}
        return ChipNetwork(graph, chip=self.chip, options=self.options, **kept)

    def train(self, mode: bool = True) -> ChipNetwork:
        """Switch between training and testing; scales are found anew."""
        self._scales, self._age = {}, 0
        super().train(mode)
        return self

    def quantised(self) -> Graph:
        """Return the network with its present numbers in the chip's integers, with gradients to them."""
        if self._age >= self.keep_scales or not self.training:
            self._scales, self._age = {}, 0
        given = {"scales": self._scales, "gates": not self.training}
        graph: Graph = self._quantise(self.live_graph(), self.chip, self.options, **given)
        self._scales = {n.attributes["layer"]: n.attributes["scale"] for n in populations(graph)}
        self._age += 1
        return graph

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (B, K), of the type of ``x``."""
        return self.run(x)[0].to(x.dtype if x.is_floating_point() else torch.get_default_dtype())

    def run(self, x: Tensor, spikes: bool = False) -> tuple[Tensor, dict[str, Tensor]]:
        """Return logits (B, K), float64, and where asked for the spikes (T, B, …) of each layer of the float network.

        Raises:
            InvalidArgumentError: the input does not fit the network.
        """
        graph = self.quantised()
        layers = {n.attributes["layer"]: n.output for n in populations(graph) if n.attributes["layer"]}
        with surrogate_gradient(self.surrogate):
            membrane, probes = evaluate(graph, x.double(), probes=list(layers.values()) if spikes else ())
        assert isinstance(membrane, Tensor)
        found = {layer: probes[signal] for layer, signal in layers.items()} if spikes else {}
        scale = next(node for node in graph if node.role == "readout").attributes["scale"]
        return membrane[-1] / float(self._unit * scale * graph.timesteps), found

    def program(self) -> Program:
        """Return the present network compiled for the chip.

        Raises:
            CompileError: it no longer fits.
        """
        graph = self.graph()
        return assemble(graph, self._quantise(graph, self.chip, self.options), self.chip, self.options)


def populations(graph: Graph) -> tuple[Node, ...]:
    """Return the integer neurons of a quantised graph; those that the host runs stay float neurons."""
    return tuple(node for node in graph if is_neuron(node) and "layer" in node.attributes)
