"""Running a model step by step, with its state held outside of it."""

from __future__ import annotations

from torch import Tensor, nn

from snnkit.errors import InvalidArgumentError
from snnkit.neurons.carry import Carry


class Stream:
    """State of one running sequence: ``y_t = stream.step(x_t)``.

    The model itself keeps nothing; two streams of one model do not disturb each other. A step with another batch size,
    dtype or device than the state's is an error, and an error leaves the state as it was.

    Activation checkpointing (``torch.utils.checkpoint``) inside a stream is not supported: the recomputation during
    backward runs outside of the step and would start at rest. Whole-sequence calls may be checkpointed.

    Args:
        model: a spiking classifier (its ``forward_sequence`` is stepped) or any module on sequences (T, B, …).
    """

    def __init__(self, model: nn.Module):
        self.model = model
        self._carry = Carry()
        self._run = getattr(model, "forward_sequence", model)

    def step(self, x_t: Tensor) -> Tensor:
        """Advance by one time step: input (B, …) → output (B, …) of that step."""
        with self._carry.active():
            return self._run(x_t.unsqueeze(0))[0]

    def run(self, x: Tensor) -> Tensor:
        """Advance by a chunk: (T, B, …) → (T, B, …), the same as T single steps."""
        if x.ndim < 2 or x.shape[0] == 0:
            raise InvalidArgumentError(f"a chunk is (T, B, …) with T ≥ 1, got shape {tuple(x.shape)}.")
        with self._carry.active():
            return self._run(x)

    def reset(self) -> None:
        """Forget: the next step starts at rest, with any batch size."""
        self._carry = Carry()

    def detach(self) -> None:
        """Cut the backward graph here (truncated backpropagation through time), keeping the values."""
        self._carry.states = {key: state.detach() for key, state in self._carry.states.items()}

    @property
    def state(self) -> dict[str, Tensor]:
        """Membranes by module name (a second call of the same neuron within a step is ``name#1``)."""
        names = {module: name for name, module in self.model.named_modules()}
        return {
            names.get(module, type(module).__name__) + (f"#{call}" if call else ""): value
            for (module, call), value in self._carry.states.items()
        }
