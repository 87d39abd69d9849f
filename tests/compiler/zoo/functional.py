"""Plain torch code: functions and operators of Python instead of modules, several inputs, several outputs."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .case import Case

_SEED = 11


class Code(nn.Module):
    """A function of the parameters ``w`` (6, 6), ``b`` (6,), ``k`` (4, 3, 3, 3) and the inputs."""

    def __init__(self, function: Callable):
        super().__init__()
        generator = torch.Generator().manual_seed(_SEED)
        self.w = nn.Parameter(torch.randn(6, 6, generator=generator))
        self.b = nn.Parameter(torch.randn(6, generator=generator))
        self.k = nn.Parameter(torch.randn(4, 3, 3, 3, generator=generator))
        self.register_buffer("m", torch.rand(6, generator=generator) > 0.5)
        self.function = function

    def forward(self, *inputs: Tensor) -> object:
        """Whatever the function makes of the inputs."""
        return self.function(self, *inputs)


def _attention(p: Code, x: Tensor) -> Tensor:
    q, k, v = x.unflatten(-1, (3, 2)).permute(2, 0, 1, 3).unbind(0)
    return torch.softmax(q @ k.transpose(-2, -1) * 2**-0.5, -1) @ v


def _in_place(p: Code, x: Tensor) -> Tensor:
    y = x * 2
    y += p.b
    y[..., 1:3].mul_(3.0)
    return F.relu_(y)


def _written(p: Code, x: Tensor) -> Tensor:
    y = torch.zeros_like(x)
    y[:, :3] = x[:, 3:]
    y[:, 4] = p.b[4]
    return y


def _loop(p: Code, x: Tensor) -> Tensor:
    state = torch.zeros_like(x[:, 0])
    for x_t in x.unbind(1):
        state = torch.tanh(x_t @ p.w + 0.5 * state)
    return state


def _choice(p: Code, x: Tensor) -> Tensor:
    return x.gather(1, x.argsort(1, descending=True)[:, :3])


_ONE: dict[str, tuple[Callable, tuple[int, ...]]] = {
    "relu": (lambda p, x: F.relu(x), (6,)),
    "product with a parameter": (lambda p, x: x @ p.w, (6,)),
    "product from the left": (lambda p, x: p.w @ x, (6, 5)),
    "product with itself": (lambda p, x: x @ x.mT, (4, 6)),
    "sum with a parameter": (lambda p, x: x + p.b, (6,)),
    "numbers": (lambda p, x: 1.0 - (2.0 * x + 0.5) / 3.0, (6,)),
    "divided by a parameter": (lambda p, x: 1.0 / (x.square() + p.b.abs() + 1.0), (6,)),
    "linear": (lambda p, x: F.linear(x, p.w, p.b), (3, 6)),
    "convolution": (lambda p, x: F.conv2d(x, p.k, stride=2, padding=1), (3, 9, 7)),
    "convolution same": (lambda p, x: F.conv2d(x, p.k, padding="same"), (3, 8, 8)),
    "transposed convolution": (lambda p, x: F.conv_transpose2d(x, p.k.transpose(0, 1), stride=2), (3, 4, 5)),
    "concatenation": (lambda p, x: torch.cat([x, 2 * x, p.b.expand(len(x), -1)], 1), (6,)),
    "stack": (lambda p, x: torch.stack([x, x.flip(-1)], 1), (6,)),
    "einsum": (lambda p, x: torch.einsum("bnc,dc->bdn", x, p.w), (4, 6)),
    "einsum of two": (lambda p, x: torch.einsum("bnc,bmc->bnm", x, F.relu(x)), (4, 6)),
    "unfold": (lambda p, x: F.unfold(x, 3, padding=1, stride=2), (2, 6, 6)),
    "fold": (lambda p, x: F.fold(F.unfold(x, 2, stride=2), (6, 6), 2, stride=2), (2, 6, 6)),
    "windows": (lambda p, x: x.unfold(1, 3, 1).sum(-1), (8,)),
    "chunk": (lambda p, x: torch.mul(*x.chunk(2, 1)), (6, 3)),
    "split": (lambda p, x: torch.cat(x.split([1, 2, 3], 1)[::-1], 1), (6, 3)),
    "unbind": (lambda p, x: sum(y * n for n, y in enumerate(x.unbind(2), 1)), (2, 4)),
    "index": (lambda p, x: x[:, [2, 0, 5]], (6,)),
    "steps": (lambda p, x: x[:, ::2, 1:-1] - x[:, 1::2, 1:-1], (6, 5)),
    "ellipsis": (lambda p, x: x[..., None, 0], (3, 4)),
    "attention": (_attention, (5, 6)),
    "scaled dot product": (
        lambda p, x: F.scaled_dot_product_attention(x, x, x @ p.w, is_causal=True),
        (2, 5, 6),
    ),
    "masked": (lambda p, x: x.masked_fill(p.m, -1.0), (6,)),
    "where": (lambda p, x: torch.where(x > 0.2, x, -x), (6,)),
    "comparison": (lambda p, x: (x >= p.b).to(x.dtype) * x, (6,)),
    "extremes": (lambda p, x: x.amax(1) - x.min(1).values, (6, 4)),
    "statistics": (lambda p, x: (x - x.mean(-1, keepdim=True)) * torch.rsqrt(x.var(-1, keepdim=True) + 1e-5), (3, 6)),
    "length": (lambda p, x: F.normalize(x, dim=-1), (3, 6)),
    "activations": (lambda p, x: F.gelu(x) + F.silu(x) * torch.sigmoid(x) - F.hardswish(x) + F.softplus(x), (6,)),
    "clamp": (lambda p, x: x.clamp(-0.5, 0.7).abs() ** 1.5, (6,)),
    "rounding": (lambda p, x: (4 * x).round() / 4 + x.floor(), (6,)),
    "trigonometry": (lambda p, x: torch.cat([x.sin(), x.cos()], -1).exp(), (3, 4)),
    "logarithms": (lambda p, x: (x.abs() + 1).log() - x.logsumexp(-1, keepdim=True), (3, 4)),
    "layer norm": (lambda p, x: F.layer_norm(x, (6,), p.b, None, 1e-3), (3, 6)),
    "group norm": (lambda p, x: F.group_norm(x, 3, p.b, p.b, 1e-3), (6, 4, 4)),
    "rms norm": (lambda p, x: F.rms_norm(x, (6,), p.b), (3, 6)),
    "pools": (
        lambda p, x: (
            F.avg_pool2d(x, 3, 2, 1, ceil_mode=True, count_include_pad=False) + F.max_pool2d(x, 3, 2, 1, 1, True)
        ),
        (2, 8, 8),
    ),
    "adaptive pools": (lambda p, x: F.adaptive_avg_pool2d(x, (3, 2)) - F.adaptive_max_pool2d(x, (3, 2)), (2, 7, 5)),
    "resize": (lambda p, x: F.interpolate(x, (7, 9), mode="bilinear") + F.interpolate(x, (7, 9)), (2, 4, 5)),
    "bicubic": (lambda p, x: F.interpolate(x, scale_factor=2, mode="bicubic", align_corners=True), (2, 4, 5)),
    "padding": (lambda p, x: F.pad(F.pad(x, (1, 2), value=0.3), (0, 0, 2, 2), mode="reflect"), (2, 4, 5)),
    "pixel shuffle": (lambda p, x: F.pixel_unshuffle(F.pixel_shuffle(x, 2), 2), (8, 3, 3)),
    "roll": (lambda p, x: x.roll((1, -2), (1, 2)), (4, 5)),
    "moves": (lambda p, x: x.movedim(1, -1).swapaxes(1, 2).flatten(1, 2).unsqueeze(1).squeeze(1), (2, 3, 4)),
    "repeat": (lambda p, x: x.repeat(1, 2, 1) + x.repeat_interleave(2, 1), (3, 4)),
    "cumulative": (lambda p, x: x.cumsum(1), (5, 2)),
    "triangles": (lambda p, x: x.tril() + x.triu(1).mT, (4, 4)),
    "in place": (_in_place, (6,)),
    "written into zeros": (_written, (6,)),
    "unrolled loop": (_loop, (3, 6)),
    "sorted": (_choice, (6,)),
    "bilinear form": (lambda p, x: ((x @ p.w) * x).sum(-1, keepdim=True), (6,)),
    "position": (lambda p, x: x + torch.arange(6, dtype=x.dtype) / 6, (6,)),
    "one dimension": (lambda p, x: F.conv1d(x, p.k[:, :, :, 0], padding=1, dilation=1), (3, 9)),
    "three dimensions": (lambda p, x: F.avg_pool3d(F.conv3d(x, p.k.unsqueeze(-1), padding=(1, 1, 0)), 2), (3, 4, 6, 4)),
    "batch in front twice": (lambda p, x: (x.flatten(0, 1) @ p.w).unflatten(0, (-1, 4)), (4, 6)),
    "nothing": (lambda p, x: x, (6,)),
}

_SEVERAL: dict[str, tuple[Callable, tuple[tuple[int, ...], ...]]] = {
    "two inputs": (lambda p, x, y: x @ p.w + y, ((6,), (6,))),
    "cross attention": (lambda p, x, y: torch.softmax(x @ y.mT, -1) @ y, ((4, 6), (3, 6))),
    "two outputs": (lambda p, x: (x @ p.w, F.relu(x)), ((6,),)),
    "a list of maps": (lambda p, x: [x, F.avg_pool2d(x, 2), F.avg_pool2d(x, 4)], ((3, 8, 8),)),
    "a dictionary": (lambda p, x, y: {"sum": x + y, "product": x * y}, ((6,), (6,))),
}

FUNCTIONAL = [
    *(Case(f"code {name}", "code", lambda f=f: Code(f), (shape,)) for name, (f, shape) in _ONE.items()),
    *(Case(f"code {name}", "code", lambda f=f: Code(f), shapes) for name, (f, shapes) in _SEVERAL.items()),
]
