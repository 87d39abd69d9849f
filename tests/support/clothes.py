"""The Fashion-MNIST subset at 12×12 pixels, and small networks trained on it in seconds."""

from __future__ import annotations

from functools import cache, lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import TensorDataset, default_collate

from snnkit.data import ImageData, fashion_mnist
from snnkit.data.batches import Batches, OrderedBatches
from snnkit.data.order import EpochOrder

SIDE = 12


@lru_cache(maxsize=1)
def clothes() -> dict[str, tuple[Tensor, Tensor]]:
    """Return images (N, 1, 12, 12), about standardised, and labels (N,): 4,000 of "train" and 1,000 of "test"."""
    arrays = fashion_mnist.load("vendored")
    found = {}
    for split, x, y in (("train", arrays.x_train, arrays.y_train), ("test", arrays.x_test, arrays.y_test)):
        images = (torch.tensor(x)[:, None] / 255 - fashion_mnist.MEAN) / fashion_mnist.STD
        found[split] = F.interpolate(images, SIDE, mode="area"), torch.tensor(y).long()
    return found


def clothes_data(train: int = 2000, batch_size: int = 64, seed: int = 0) -> ImageData:
    """Return the batches of both splits."""
    splits = {split: TensorDataset(*tensors) for split, tensors in clothes().items()}
    kept = TensorDataset(*(tensor[:train] for tensor in splits["train"].tensors))
    batches = OrderedBatches(splits["test"], 500, default_collate)
    return ImageData(
        Batches(kept, EpochOrder(len(kept), batch_size, seed)), batches, fashion_mnist.CLASSES, "Fashion-MNIST, 12×12"
    )


class SmallConv(nn.Module):
    """Three convolutions with batch norm and ReLU, a residual add between them, average pooling."""

    def __init__(self, width: int = 12):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, width, 3, padding=1), nn.BatchNorm2d(width))
        self.block = nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width))
        self.down = nn.Sequential(nn.Conv2d(width, 2 * width, 3, 2, 1), nn.BatchNorm2d(2 * width))
        self.head = nn.Linear(2 * width, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, 10)."""
        x = torch.relu(self.stem(x))
        x = torch.relu(self.block(x) + x)
        return self.head(torch.relu(self.down(x)).mean((2, 3)))


class Attention(nn.Module):
    """Blocks of attention and MLP on 16 tokens of 3×3 pixels: LayerNorm, softmax, GELU."""

    def __init__(self, width: int = 24, depth: int = 2, heads: int = 3):
        super().__init__()
        self.embed = nn.Conv2d(1, width, 3, 3)
        self.position = nn.Parameter(0.1 * torch.randn(1, 16, width))
        self.blocks = nn.ModuleList(_Block(width, heads) for _ in range(depth))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, 10)."""
        x = self.embed(x).flatten(2).transpose(1, 2) + self.position
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x).mean(1))


class _Block(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        b, n, d = x.shape
        q, k, v = self.qkv(self.norm1(x)).reshape(b, n, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        x = x + self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, n, d))
        return x + self.mlp(self.norm2(x))


NETWORKS = {"conv": SmallConv, "attention": Attention}


@cache
def trained(name: str, epochs: int = 15) -> nn.Module:
    """Return a network trained on clothes, in eval mode; callers must not change it."""
    torch.manual_seed(0)
    return learned(NETWORKS[name](), epochs, 3e-3)


def learned(model: nn.Module, epochs: int, rate: float) -> nn.Module:
    """Train ``model`` on clothes, and return it in eval mode."""
    data = clothes_data()
    optimizer = torch.optim.AdamW(model.parameters(), rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, epochs * len(data.train))
    for epoch in range(epochs):
        for x, y in data.train.epoch(epoch):
            loss = F.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return model.eval()


def accuracy(network) -> float:
    """Return the share of the test images that a network, or any function (B, 1, 12, 12) → (B, 10), gets right."""
    images, labels = clothes()["test"]
    with torch.no_grad():
        return (network(images).argmax(1) == labels).double().mean().item()


def same_codes(converted, x: Tensor) -> bool:
    """Return whether what a converted network starts with and its events are, at rest, its quantised form's codes."""
    sums: dict[str, Tensor] = dict(converted.start or {})

    def watch(node, facts) -> None:
        if node.op == "trace":
            sums[node.output] = sums.get(node.output, 0) + facts.results[0]

    converted.run(x, watch=watch)
    codes = converted.codes(x)
    assert set(sums) == {f"{signal}.code" for signal in codes}
    return all(
        torch.equal(sums[f"{signal}.code"].to(code.dtype).expand_as(code), code) for signal, code in codes.items()
    )
