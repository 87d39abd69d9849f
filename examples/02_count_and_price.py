"""From a model to exact counts and an energy interval, beside its ordinary twin. Weights are untrained here."""

import torch

import compiler
import hw
import snnkit
from compiler.analysis.spike_driven import spike_driven
from compiler.converting import relu_twin
from compiler.passes import simplify

torch.manual_seed(0)
model = snnkit.create_model("spiking_cnn_small").eval()
images = torch.randn(20, 1, 28, 28)

graph = simplify(compiler.capture(model, images[:1]))
print(spike_driven(graph))

counts = compiler.count(graph, [images])
for layer in counts.per_layer:
    if layer.kind == "synapse":
        print(f"{layer.name:16} reads {layer.input_type:22} AC {layer.ac:10,.0f}   MAC {layer.mac:8,.0f}")

for name, what in (("spiking", counts), ("ordinary", compiler.count(relu_twin(graph), [images]))):
    energy = hw.energy.estimate(what, model="45nm").total
    print(f"{name:9} {energy.low:.3f} … {energy.nominal:.3f} … {energy.high:.3f} {energy.unit}")
