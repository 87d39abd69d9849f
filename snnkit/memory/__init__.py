"""Memory of backpropagation through time: predicted before it is used, and fitted into a budget of bytes.

    plan = snnkit.memory.plan(model, example, budget="2GiB")   # nothing is allocated: the run is simulated
    print(plan)                                                # per layer, and what was chosen
    trainable = plan.apply(model)                              # same outputs, same gradients, less memory

What a plan may choose, cheapest first: save tiers of neurons that are exact (``rect``), spikes kept as bits, batch
norms computed again from their input, then convolutions and other layers too, whole blocks, chunks of time;
with ``allow_approximate`` also one byte per neuron and step instead of its input (``code8``).
"""

from snnkit.memory.measure import measure
from snnkit.memory.plan import Plan, PlannedLayer, Step, plan, within_budget
from snnkit.memory.planned import Choice, Planned
from snnkit.memory.simulate import LayerMemory, Simulation, simulate
from snnkit.memory.size import parse_bytes, show_bytes
from snnkit.renamed import old_module

__all__ = [
    "Choice",
    "LayerMemory",
    "Plan",
    "Planned",
    "PlannedLayer",
    "Simulation",
    "Step",
    "measure",
    "parse_bytes",
    "plan",
    "show_bytes",
    "simulate",
    "within_budget",
]

old_module("snnkit.memory.again", {"again": "snnkit.memory.recompute.recompute"})
old_module("snnkit.memory.scratch", {"scratch": "snnkit.memory.workspace.workspace"})
