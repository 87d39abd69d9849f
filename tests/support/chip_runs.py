"""Networks whose weights are multiples of 1/8, and a run on a chip compared with the float network, spike by spike."""

import numpy as np
import torch
from torch import nn

import compiler
from snnkit.layers import over_time
from snnkit.neurons import IF


def eighths(model, seed=0, low=-8, high=9):
    """Weights that every chip holds without rounding."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            parameter.data = torch.randint(low, high, parameter.shape, generator=generator) / 8
    return model.double()


def spikes(*shape, rate=0.5, seed=1):
    return (torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < rate).double()


def levels(*shape, most=4, seed=1):
    return torch.randint(0, most + 1, shape, generator=torch.Generator().manual_seed(seed)).double()


def run(model, x, chip, input_type="binary", **granted):
    """Compile, run and verify; the program does what the quantised graph says. Returns program, trace, equality."""
    program = compiler.compile(model, x, chip, input_type, **granted)
    trace = program.simulate(x)
    equality = program.verify(x, trace)
    assert (equality.mismatches, equality.membrane_mismatches) == (0, 0), str(equality)
    return program, trace, equality


def same(model, x, chip, input_type="binary", rate=0.02, **granted):
    """As ``run``; every spike is the float network's, of every neuron that it has, and there are spikes to compare."""
    program, trace, equality = run(model, x, chip, input_type, **granted)
    floating = program.source_graph.double()
    _, wanted = compiler.interpret(floating, x.double(), probes=list(trace.spikes))
    for name, sent in wanted.items():
        step = float(floating.type(name).scale)
        np.testing.assert_array_equal(trace.spikes[name] * step, sent.flatten(2).numpy(), err_msg=name)
    total = sum(int(np.abs(sent).sum()) for sent in trace.spikes.values())
    assert total >= rate * sum(sent.size for sent in trace.spikes.values()), "hardly a spike to compare"
    assert equality.float_mismatches == 0
    return program, trace, equality


class Heads(nn.Module):
    """Spikes → one layer and neuron a head, each shaped (…) → ``between`` → layer → neuron → layer."""

    def __init__(self, between, shapes, inputs=6, neuron=IF, last=IF, width=6):
        super().__init__()
        self.between, self.shapes = between, shapes
        sizes = [int(np.prod(shape)) for shape in shapes]
        self.layers = nn.ModuleList(nn.Linear(inputs, size, bias=False) for size in sizes)
        self.neurons = nn.ModuleList(neuron() for _ in shapes)
        with torch.no_grad():
            between_size = between(*(torch.zeros(1, 1, *shape) for shape in shapes)).numel()
        self.mix, self.last = nn.Linear(between_size, width, bias=False), last()
        self.out = nn.Linear(width, 3, bias=False)

    def forward(self, x):
        heads = [
            neuron(over_time(layer, x)).reshape(*x.shape[:2], *shape)
            for layer, neuron, shape in zip(self.layers, self.neurons, self.shapes, strict=True)
        ]
        y = self.between(*heads).reshape(*x.shape[:2], -1)
        return over_time(self.out, self.last(over_time(self.mix, y)))
