"""A trial run for neurons that snnkit does not know: the graph must do what the model does.

A neuron class of the user's own may keep its state where a graph cannot see it. Where a model holds such a class, the
captured graph and the model run the same few steps, and a difference is refused.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from compiler.errors import CaptureError
from compiler.graph import Graph
from compiler.interpreting import interpret
from snnkit.neurons import Neuron

STEPS = 3


def own_neurons(model: nn.Module) -> list[str]:
    """Return the paths of neurons whose class is not snnkit's."""
    return [
        name or type(module).__name__
        for name, module in model.named_modules()
        if isinstance(module, Neuron) and not type(module).__module__.startswith("snnkit.")
    ]


def check_own_neurons(model: nn.Module, graph: Graph, inputs: tuple[Tensor, ...], sequence: bool) -> None:
    """Run model and graph for a few steps where the model holds neurons of the user's own.

    Raises:
        CaptureError: they differ (names the neurons).
    """
    names = own_neurons(model)
    if not names or len(inputs) != 1:
        return
    shape = inputs[0].shape[2:] if sequence else inputs[0].shape[1:]
    generator = torch.Generator().manual_seed(0)
    x = 2 * torch.rand(STEPS, 1, *shape, generator=generator).to(inputs[0].dtype)
    run = getattr(model, "forward_sequence", model)
    with torch.no_grad():
        wanted = pytree.tree_leaves(run(x))[0]
        got, _ = interpret(graph, x)
    assert isinstance(got, Tensor)
    if wanted.shape != got.shape or not torch.allclose(wanted, got, rtol=1e-4, atol=1e-5):
        raise CaptureError(
            f"the neurons {', '.join(names)} do not do step by step what they do on a sequence: the graph differs from "
            "the model. Derive them from snnkit.neurons.PointNeuron with an operator, or keep their state in the "
            "active carry as snnkit.neurons.Recurrent does."
        )
