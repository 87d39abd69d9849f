"""Axonal delay: the spikes of each channel arrive some steps later.

    y[t, c] = x[t − d_c, c]                                          d_c a whole number
    y[t, c] = (1 − w)·x[t − k, c] + w·x[t − k − 1, c],   k = ⌊d_c⌋, w = d_c − k        d_c a real number (trainable)

x is 0 before the sequence. With real delays a spike arrives in two parts at neighbouring steps (weights 1 − w and w),
and the gradient to the delay is ∂y[t, c]/∂d_c = x[t − k − 1, c] − x[t − k, c], the derivative from the right at whole
numbers (from the left at d_c = D). ``round_`` makes the delays whole: then the output is made of spikes again.

| symbol | unit | default |
|---|---|---|
| d_c ``delay`` | time steps, 0 … D | random, uniform |
| D ``max_delay`` | time steps, ≥ 1 | |
| C ``channels`` | count; axis 2 of (T, B, C, …) | |

Source: axonal delays of SLAYER, Shrestha & Orchard, arXiv 1810.08646, and lava-dl ``slayer.axon.Delay`` (shifts by the
whole part, and takes a difference of neighbouring steps for the gradient); linear interpolation after
Khalfaoui-Hassani et al., "Dilated convolution with learnable spacings", arXiv 2112.03740, which Hammouamri et al.,
arXiv 2306.17670, use for delays.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from snnkit.errors import InvalidArgumentError
from snnkit.kernels.call import state_dtype
from snnkit.neurons.base import check_sequence
from snnkit.neurons.carry import active_carry


class AxonalDelay(nn.Module):
    """Delay of every channel by a number of its own: (T, B, C, …) → (T, B, C, …), same dtype.

    Inside a stream the last D steps are carried.

    A trainable delay is kept between 0 and D: outside it counts as the nearer end, and only gradients that lead back
    reach it.

    Args:
        channels: C ≥ 1.
        max_delay: D, time steps, ≥ 1.
        trainable: learn the delays, which then are real numbers.
        delay: delays at the start, a number or a tensor (C,), in 0 … D, whole where they are not trainable; None draws
            them uniformly with torch's global generator.

    Raises:
        InvalidArgumentError: an argument outside its range.
    """

    def __init__(self, channels: int, max_delay: int, trainable: bool = False, delay: float | Tensor | None = None):
        super().__init__()
        for name, value in (("channels", channels), ("max_delay", max_delay)):
            if not isinstance(value, int) or value < 1:
                raise InvalidArgumentError(f"AxonalDelay({name}={value!r}): must be a whole number ≥ 1.")
        self.channels, self.max_delay = channels, max_delay
        start = _start(channels, max_delay, trainable, delay)
        if trainable:
            self.delay = nn.Parameter(start)
        else:
            self.register_buffer("delay", start.long())

    def forward(self, x: Tensor) -> Tensor:
        """Return the delayed sequence (T, B, C, …).

        Raises:
            InvalidArgumentError: ``x`` is not a floating-point sequence with C channels on axis 2.
        """
        check_sequence(self, x)
        if x.ndim < 3 or x.shape[2] != self.channels:
            raise InvalidArgumentError(
                f"AxonalDelay(channels={self.channels}) takes (T, B, {self.channels}, …), got shape {tuple(x.shape)}."
            )
        carry = active_carry()
        key, carried = (None, None) if carry is None else carry.start(self, x)
        before = x.new_zeros(self.max_delay, *x.shape[1:]) if carried is None else carried[1].to(x.dtype)
        known = torch.cat([before, x])
        if carry is not None:
            last = known[len(x) :].to(state_dtype(x))
            carry.leave(key, (last[-1], last))  # the first is what the stream checks the shape of the next input by
        if not self.delay.is_floating_point():
            return self._shifted(known, self.delay.clamp(0, self.max_delay))
        delay = _Bounded.apply(self.delay, float(self.max_delay))
        whole = delay.detach().floor().long().clamp_(max=self.max_delay - 1)
        part = (delay - whole).to(x.dtype).view(-1, *[1] * (x.ndim - 3))
        return (1.0 - part) * self._shifted(known, whole) + part * self._shifted(known, whole + 1)

    def _shifted(self, known: Tensor, delay: Tensor) -> Tensor:
        """Take (T, B, C, …) out of the (D + T, B, C, …) steps known, ``delay`` (C,) whole steps late."""
        time = torch.arange(self.max_delay, len(known), device=known.device)
        by_channel = known.movedim(2, 1)[time.unsqueeze(1) - delay, torch.arange(self.channels, device=known.device)]
        return by_channel.movedim(1, 2)

    @torch.no_grad()
    def round_(self) -> AxonalDelay:
        """Make the delays whole numbers in 0 … D, halves to the even one, and return the module."""
        self.delay.copy_(self.delay.clamp(0, self.max_delay).round())
        return self

    def extra_repr(self) -> str:
        """Show the arguments in ``print(model)``."""
        return f"channels={self.channels}, max_delay={self.max_delay}, trainable={self.delay.is_floating_point()}"


def _start(channels: int, max_delay: int, trainable: bool, delay: float | Tensor | None) -> Tensor:
    """Return the delays at the start, float (C,), checked."""
    if delay is None:
        return torch.rand(channels) * max_delay if trainable else torch.randint(max_delay + 1, (channels,)).float()
    start = torch.as_tensor(delay, dtype=torch.get_default_dtype()).detach().clone()
    if start.ndim and tuple(start.shape) != (channels,):
        raise InvalidArgumentError(
            f"AxonalDelay(delay=…): a tensor is of shape () or ({channels},), got {tuple(start.shape)}."
        )
    if not (start.min() >= 0 and start.max() <= max_delay):
        raise InvalidArgumentError(
            f"AxonalDelay(delay= {start.min():g} … {start.max():g}): must lie in 0 … max_delay={max_delay}."
        )
    if not trainable and not torch.equal(start, start.round()):
        raise InvalidArgumentError(
            "AxonalDelay(delay=…): delays that are not trainable are whole numbers of steps; round them, or give "
            "trainable=True."
        )
    return start.expand(channels).clone()


class _Bounded(torch.autograd.Function):
    """Clamp to 0 … high; a gradient whose descent leads further out is dropped, one that leads back is kept."""

    @staticmethod
    def forward(ctx, delay: Tensor, high: float) -> Tensor:
        ctx.save_for_backward(delay)
        ctx.high = high
        return delay.clamp(0.0, high)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad: Tensor):
        (delay,) = ctx.saved_tensors
        outwards = ((delay < 0.0) & (grad > 0.0)) | ((delay > ctx.high) & (grad < 0.0))
        return grad.masked_fill(outwards, 0.0), None
