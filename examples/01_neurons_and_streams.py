"""Neurons over whole sequences, and the same neurons step by step with the state outside of them."""

import torch

import snnkit
from snnkit.neurons import LIF

torch.manual_seed(0)
currents = 2 * torch.rand(8, 1, 5)  # 8 time steps, a batch of 1, 5 neurons
lif = LIF(tau=2.0)

spikes = lif(currents)  # a call is a whole sequence, and starts at rest
print("whole sequence\n", spikes[:, 0].int())

stream = snnkit.Stream(lif)
stepped = torch.stack([stream.step(current) for current in currents])
print("step by step is the same:", torch.equal(spikes, stepped))
print("membranes in the stream:", stream.state)

model = snnkit.create_model("spiking_cnn_small").eval()
with snnkit.record(model) as tape, torch.no_grad():
    model(torch.rand(2, 1, 28, 28))
print("firing rates by layer:", {name: round(rate, 3) for name, rate in tape.rates.items()})
