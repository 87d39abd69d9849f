"""Recurrent: a neuron that also receives its own layer's last output.

    out[t], state[t] = neuron.step(x[t] + F(out[t−1]), state[t−1]),   out[−1] = 0

F is any module on one time step: element-wise by default, F(out) = w·out, or a linear or convolutional layer. F may
have a bias, which then acts from the first step on.

| symbol | unit | default |
|---|---|---|
| x, F(out) | that of the neuron's current | |
| w ``SelfFeedback.weight`` | current per spike | 0: the neuron without feedback |

Source: SpikingJelly 2.0 ``layer.ElementWiseRecurrentContainer`` (with the function x + w·y), snnTorch ``RLeaky``
(``all_to_all``: F linear, else element-wise; its own neuron resets one step later).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from snnkit.errors import InvalidArgumentError
from snnkit.kernels.call import state_dtype
from snnkit.neurons.base import Neuron, PointNeuron, check_sequence
from snnkit.neurons.carry import active_carry


class SelfFeedback(nn.Module):
    """Element-wise trainable feedback of one time step: (B, C, …) → (B, C, …).

    Args:
        channels: one weight for each of C channels (axis 1), or None for one weight for all.
        value: weight at the start, current per spike.

    Raises:
        InvalidArgumentError: ``channels`` is not a whole number ≥ 1.
    """

    def __init__(self, channels: int | None = None, value: float = 0.0):
        super().__init__()
        if channels is not None and (not isinstance(channels, int) or channels < 1):
            raise InvalidArgumentError(f"SelfFeedback(channels={channels!r}): must be None or a whole number ≥ 1.")
        self.weight = nn.Parameter(torch.full(() if channels is None else (channels,), float(value)))

    def forward(self, out: Tensor) -> Tensor:
        """Multiply by the weight of the channel.

        Raises:
            InvalidArgumentError: ``out`` has another number of channels.
        """
        if self.weight.ndim and (out.ndim < 2 or out.shape[1] != len(self.weight)):
            raise InvalidArgumentError(
                f"SelfFeedback(channels={len(self.weight)}) takes a step (B, {len(self.weight)}, …), got shape "
                f"{tuple(out.shape)}."
            )
        return out * (self.weight if self.weight.ndim == 0 else self.weight.view(-1, *[1] * (out.ndim - 2)))

    def extra_repr(self) -> str:
        """Show the number of channels in ``print(model)``."""
        return f"channels={self.weight.numel() if self.weight.ndim else None}"


class Recurrent(Neuron):
    """A point neuron with feedback from its own output: currents (T, B, …) → events (T, B, …), same dtype.

    Time steps follow one another in Python; a neuron without feedback runs its sequence in one kernel instead.
    Inside a stream the last output is carried with the neuron's state.

    Args:
        neuron: any point neuron, such as ``LIF()``.
        feedback: module on one time step, (B, …) → (B, …) of the same shape, such as ``torch.nn.Linear(F, F)`` or
            ``torch.nn.Conv2d(C, C, 3, padding=1)``; ``SelfFeedback()`` if None.

    Raises:
        InvalidArgumentError: ``neuron`` is not a point neuron, or ``feedback`` no module.
    """

    def __init__(self, neuron: PointNeuron, feedback: nn.Module | None = None):
        super().__init__()
        if not isinstance(neuron, PointNeuron):
            raise InvalidArgumentError(
                f"Recurrent(neuron={type(neuron).__name__}): must be a point neuron (LIF(), IF(), …), which has a step."
            )
        if feedback is not None and not isinstance(feedback, nn.Module):
            raise InvalidArgumentError(f"Recurrent(feedback={feedback!r}): must be a module, such as torch.nn.Linear.")
        self.neuron = neuron
        self.feedback = SelfFeedback() if feedback is None else feedback

    def _step(self, current: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """One step of the neuron; as one operator where an exported program is to show it as such."""
        if not torch.compiler.is_exporting() or "forward" in vars(self.neuron):  # the latter: spelled out for a graph
            return self.neuron.step(current, state)
        given = self.neuron._prepare(current.ndim)
        out, after = self.neuron.operator.run(current.unsqueeze(0), state, given)
        return out[0], after or ()

    def rest(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the last output and the neuron's state variables at rest, (B, …) each, for a sequence (T, B, …)."""
        currents = x.to(state_dtype(x))
        return (torch.zeros_like(currents[0]), *self.neuron.rest(currents))

    def forward(self, x: Tensor) -> Tensor:
        """Return the events (T, B, …) for the current ``x`` (T, B, …), same dtype.

        Raises:
            InvalidArgumentError: ``x`` is not a floating-point sequence, or the feedback has another shape than it.
        """
        check_sequence(self, x)
        currents = x.to(state_dtype(x))
        carry = active_carry()
        key, carried = (None, None) if carry is None else carry.start(self, x)
        out, *rest = self.rest(x) if carried is None else carried
        state, outs = tuple(rest), []
        for current in currents:
            back = self.feedback(out.to(x.dtype))
            if back.shape != current.shape:
                raise InvalidArgumentError(
                    f"Recurrent: the feedback turns {tuple(out.shape)} into {tuple(back.shape)}, but is added to "
                    f"currents of shape {tuple(current.shape)}."
                )
            out, state = self._step(current + back.to(current.dtype), state)
            outs.append(out)
        if carry is not None:
            carry.leave(key, (out, *state))
        return torch.stack(outs).to(x.dtype)
