"""Running a model step by step, with its state held outside of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from torch import Tensor, nn

from snnkit.errors import InvalidArgumentError
from snnkit.neurons import PointNeuron
from snnkit.neurons.carry import Carry


class Stream:
    """State of one running sequence: ``y_t = stream.step(x_t)``.

    The model itself keeps nothing; two streams of one model do not disturb each other. A step with another batch size,
    dtype or device than the state's is an error, and an error leaves the state as it was.

    Activation checkpointing (``torch.utils.checkpoint``) inside a stream is not supported: the recomputation during
    backward runs outside of the step and would start at rest. Whole-sequence calls may be checkpointed.

    Args:
        model: a spiking classifier (its ``forward_sequence`` is stepped) or any module on sequences (T, B, …).
        check_finite: raise NonFiniteError, naming the layer, as soon as a membrane holds NaN or infinity; a spiking
            layer hides it otherwise, because NaN never reaches the threshold.

    Raises:
        InvalidArgumentError: ``model`` is no module.
    """

    def __init__(self, model: nn.Module, check_finite: bool = True):
        if not isinstance(model, nn.Module):
            raise InvalidArgumentError(f"Stream(model={model!r}): must be a module on sequences (T, B, …).")
        self.model = model
        self.check_finite = check_finite
        self._names = {module: name for name, module in model.named_modules()}
        self._run = getattr(model, "forward_sequence", model)
        self._carry = Carry(self._names, check_finite)
        self._kind: dict[str, object] | None = None

    def step(self, x_t: Tensor) -> Tensor:
        """Advance by one time step: input (B, …) → output (B, …) of that step."""
        if not isinstance(x_t, Tensor):
            raise InvalidArgumentError(f"a step is a tensor (B, …), got {type(x_t).__name__}.")
        return self._advance(x_t.unsqueeze(0))[0]

    def run(self, x: Tensor) -> Tensor:
        """Advance by a chunk: (T, B, …) → (T, B, …), the same as T single steps."""
        if not isinstance(x, Tensor) or x.ndim < 2 or x.shape[0] == 0:
            given = f"shape {tuple(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
            raise InvalidArgumentError(f"a chunk is a tensor (T, B, …) with T ≥ 1, got {given}.")
        return self._advance(x)

    def _advance(self, x: Tensor) -> Tensor:
        kind = {"batch size": x.shape[1], "dtype": x.dtype, "device": x.device} if x.ndim > 1 else {}
        for what, had in (self._kind or {}).items():
            if had != kind.get(what):
                raise InvalidArgumentError(
                    f"this stream runs on input of {what} {had}, but this input, a sequence (T, B, …) of shape "
                    f"{tuple(x.shape)}, has {what} {kind.get(what)}. Feed the same kind of input, or call "
                    "stream.reset() before another sequence."
                )
        with self._carry.active():
            out = self._run(x)
        self._kind = kind
        return out

    def reset(self) -> None:
        """Forget: the next step starts at rest, with any batch size."""
        self._carry, self._kind = Carry(self._names, self.check_finite), None

    def detach(self) -> None:
        """Cut the backward graph here (truncated backpropagation through time), keeping the values."""
        self._carry.states = {
            key: tuple(value.detach() for value in state) for key, state in self._carry.states.items()
        }

    @property
    def state(self) -> dict[str, Tensor]:
        """State variables by module and name: ``stem.lif.v``; a neuron's second call within a step is ``lif#1.v``."""
        found = {}
        for (module, call), values in self._carry.states.items():
            layer = self._names.get(module, "") + (f"#{call}" if call else "")
            names = module.operator.state_names if isinstance(module, PointNeuron) else map(str, range(len(values)))
            found |= {f"{layer}.{name}".lstrip("."): value for name, value in zip(names, values, strict=True)}
        return found


@contextmanager
def detect_nan(model: nn.Module) -> Iterator[None]:
    """Raise NonFiniteError, naming the layer, when a membrane of ``model`` becomes NaN or infinite inside the block.

    Slower than a plain call: every neuron's last state is looked at.
    """
    names = {module: name for name, module in model.named_modules()}
    carries: list[Carry] = []
    blocks: list[ExitStack] = []

    def before(*_: object) -> None:
        blocks.append(ExitStack())
        carries.append(Carry(names, check_finite=True, whole=True))
        blocks[-1].enter_context(carries[-1].active())

    def after(*_: object) -> None:
        carries.pop()
        blocks.pop().close()

    handles = [model.register_forward_pre_hook(before), model.register_forward_hook(after, always_call=True)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
