"""Any network is one graph: an ordinary one of timm, and a spiking transformer, captured, typed, simplified, run."""

from collections import Counter

import torch
from torch import nn

import compiler
import snnkit
from compiler.analysis.readings import readings
from compiler.analysis.spike_driven import spike_driven
from compiler.graph.picture import describe
from compiler.passes import simplify


def show(name: str, model: nn.Module, images: torch.Tensor, expected: torch.Tensor) -> compiler.Graph:
    """Capture and simplify a model in float64, say what it is made of, and compare it with the model itself."""
    graph = compiler.capture(model, images)
    simple = simplify(graph)
    does = Counter(node.op for node in simple)
    print(f"{name}: {len(graph)} operations, {len(simple)} simplified, {len(simple.states)} states")
    print(f"  most of them {', '.join(f'{count} {op}' for op, count in does.most_common(5))}")
    types = Counter(str(reading.type) for reading in readings(simple))
    print(f"  weights and products read {', '.join(f'{count} {kind}' for kind, count in types.most_common())}")
    print(f"  {spike_driven(simple)}")
    for title, one in (("as captured", graph), ("simplified", simple)):
        outputs, _ = compiler.interpret(one, images)  # (T, B, K); one step for an ordinary network
        difference = float((outputs - expected).abs().max())
        print(f"  {title}, its outputs differ by {difference:.1e} from the model's")
        assert difference < 1e-9
    return simple


torch.manual_seed(0)
torch.set_default_dtype(torch.float64)
with torch.no_grad():
    model = snnkit.create_model("timm:resnet18", num_classes=10).eval()
    images = torch.randn(2, 3, 64, 64)
    show("ResNet-18 of timm", model, images, model(images))

    model = snnkit.create_model("meta_spikeformer_tiny").eval()
    images = torch.randn(2, 1, 28, 28)
    graph = show("Meta-SpikeFormer", model, images, model.forward_sequence(model.encoder(images)))

# What a reader that is not torch sees: lines of text, blocks for a picture.
print(str(graph).splitlines()[0])
for block in describe(graph)["blocks"][:4]:
    print(f"  {block['label']:20} {', '.join(block['operations'])}")
