"""Compile your own network for a chip and prove the mapping. The network is any module built from snnkit's neurons."""

import torch
from torch import nn

import compiler
from snnkit.encoders import Direct
from snnkit.layers import ConvBN, over_time
from snnkit.neurons import LIF
from snnkit.readouts import Mean


class Net(nn.Module):
    """image → conv → LIF → (depthwise conv → LIF → conv) + shortcut → LIF → linear."""

    def __init__(self):
        super().__init__()
        self.encoder, self.readout = Direct(timesteps=4), Mean()
        self.stem, self.a, self.b, self.head = (
            ConvBN(1, 8, 3, stride=2),
            ConvBN(8, 8, 3, groups=8),
            ConvBN(8, 8, 1),
            nn.Linear(512, 10),
        )
        self.lif1, self.lif2, self.lif3 = LIF(), LIF(), LIF()

    def forward_sequence(self, x):
        """Logits of every step, (T, B, 10)."""
        stem = self.lif1(self.stem(x))
        y = self.lif3(self.b(self.lif2(self.a(stem))) + stem)
        return over_time(lambda z: self.head(z.flatten(1)), y)

    def forward(self, x):
        """Logits, (B, 10)."""
        return self.readout(self.forward_sequence(self.encoder(x)))


torch.manual_seed(0)
net, images = Net(), 3 * torch.rand(32, 1, 16, 16)
net.train()
for _ in range(20):
    net(images)  # lets batch norm see some data; train it for real with `snnkit train`
net.eval()

print("violations:", compiler.check(net, "loihi1", images[:1]))
program = compiler.compile(net, images[:1], chip="loihi1")
print(f"{len(program.mapping.cores)} cores; on the host: {program.host_layers}")
equality = program.verify(images)
print(f"float graph → quantised graph: {equality.float_mismatches:,} of {equality.float_compared:,} spikes differ")
print(f"  logits by up to {equality.float_logit_error:.3g}: {equality.float_verdict}")
print(f"quantised graph → integer program: {equality.mismatches} of {equality.compared:,} spikes differ")
print(f"  ({equality.spikes:,} fired): {equality.verdict}")
assert equality.mismatches == 0
assert equality.spikes > 0
