"""Every kernel of a neuron's operator against plain autograd through its written step."""

from __future__ import annotations

import torch
from torch import Tensor

from snnkit.neurons import PointNeuron
from snnkit.neurons.base import _broadcast

LAYOUTS = ("contiguous", "channels_last", "transposed", "expanded", "every_second")
TOLERANCE = {torch.float32: 2e-6, torch.float64: 1e-12}


def laid_out(x: Tensor, layout: str) -> Tensor:
    """Return the numbers of ``x`` (T, B, C, H, W) in another order of memory; ``expanded`` repeats the first step."""
    if layout == "channels_last":
        return x.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)
    if layout == "transposed":  # batch before time
        return x.transpose(0, 1).contiguous().transpose(0, 1)
    if layout == "expanded":
        return x[:1].expand_as(x)
    return torch.stack([x, x], -1).flatten(-2)[..., ::2] if layout == "every_second" else x


def assert_kernels_agree(neuron: PointNeuron, x: Tensor, start: tuple[Tensor, ...]) -> Tensor:
    """Outputs and last states bit for bit, gradients to input and starting states within ``TOLERANCE``."""
    torch.manual_seed(7)
    weight, weights = torch.randn_like(x), [torch.randn_like(v) for v in start]

    def run(whole):
        given = (x.detach().requires_grad_(), *(v.detach().requires_grad_() for v in start))
        out, last = whole(given[0], given[1:])
        loss = (out * weight).sum() + sum((v * w).sum() for v, w in zip(last, weights, strict=True))
        return [out.detach(), *(v.detach() for v in last)], torch.autograd.grad(loss, given)

    def by_steps(x, state):
        outputs = []
        for x_t in x:
            out, state = neuron.step(x_t, state)
            outputs.append(out)
        return torch.stack(outputs), state

    values, gradients = run(by_steps)
    for kernel in neuron.operator.kernels:
        if kernel == "triton":  # needs a GPU, or the interpreter in a process of its own: tests/interpreted
            continue
        p = neuron.constants()
        got = run(lambda x, v, k=kernel, p=p: neuron.operator(x, v, p, neuron.surrogate, kernel=k))
        assert all(map(torch.equal, got[0], values)), kernel
        for a, b in zip(got[1], gradients, strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=TOLERANCE[x.dtype], msg=lambda m, k=kernel: f"{k}: {m}")
    return values[0]


def spoiled(x: Tensor) -> Tensor:
    """Return a copy of ``x`` (T, …) with NaN and infinities at the start, in between and at the end, one row each."""
    x, infinity = x.clone(), float("inf")
    rows = x.flatten(1)
    for column, (step, value) in enumerate(
        (step, value) for step in (0, 1, len(x) - 1) for value in (infinity, -infinity, float("nan"))
    ):
        rows[step, column] = value
    rows[0, 9], rows[2, 9] = infinity, -infinity
    rows[0, 10], rows[1, 10] = -infinity, infinity
    return rows.view(x.shape)


def gradients_of(neuron: PointNeuron, kernel: str, x: Tensor, start: tuple[Tensor, ...]) -> list[Tensor]:
    """Return output, last states and gradients to input, starting states and parameters, by one kernel."""
    p = _broadcast(neuron.constants(), x.ndim - 1)
    given = [value.detach().requires_grad_() for value in (x, *start)]
    out, last = neuron.operator(given[0], tuple(given[1:]), p, neuron.surrogate, kernel=kernel)
    generator = torch.Generator().manual_seed(3)
    weights = [torch.randn(v.shape, generator=generator, dtype=v.dtype) for v in (out, *last)]
    # The weights are gradients, not factors: 0·∞ in a loss would spoil what is to be compared.
    grads = torch.autograd.grad((out, *last), [*given, *neuron.parameters()], weights)
    return [out.detach(), *(v.detach() for v in last), *grads]
