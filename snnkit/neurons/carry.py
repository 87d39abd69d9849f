"""Where membranes live between calls, when the caller asked for that: a ``Carry``, and never the neuron itself.

``with carry.active():`` makes every neuron called inside read its starting state from the carry and leave its last
state there. Without an active carry a neuron starts at rest and forgets, so models can be copied, pickled and averaged
at any time.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from torch import Tensor, nn

from snnkit.errors import InvalidArgumentError

_active: ContextVar[Carry | None] = ContextVar("snnkit_carry", default=None)


class Carry:
    """States of all neurons of one model, keyed by neuron and by the how-manieth call of it within a step."""

    def __init__(self) -> None:
        self.states: dict[tuple[nn.Module, int], Tensor] = {}
        self.steps = 0
        self._calls: dict[nn.Module, int] = {}

    @contextmanager
    def active(self) -> Iterator[None]:
        """Let the neurons called inside this block start from, and leave, their states here.

        The states change only if the block succeeds: a step that fails leaves them as they were.
        """
        before, self._calls = dict(self.states), {}
        self.steps += 1
        token = _active.set(self)
        try:
            yield
        except BaseException:
            self.states = before
            raise
        finally:
            _active.reset(token)

    def start(self, neuron: nn.Module, rest: Tensor) -> tuple[tuple[nn.Module, int], Tensor]:
        """Return (key, starting state): ``rest`` at the first call, afterwards what was left.

        Raises:
            InvalidArgumentError: the batch shape, dtype or device is not that of the state (names both).
        """
        call = self._calls.get(neuron, 0)
        self._calls[neuron] = call + 1
        key = (neuron, call)
        state = self.states.get(key)
        if state is None:
            return key, rest
        for what, had, got in (
            ("shape", tuple(state.shape), tuple(rest.shape)),
            ("dtype", state.dtype, rest.dtype),
            ("device", state.device, rest.device),
        ):
            if had != got:
                raise InvalidArgumentError(
                    f"this stream holds {type(neuron).__name__} state of {what} {had}, but the input has {what} {got}. "
                    "Feed the same kind of input, or call stream.reset() before starting another sequence."
                )
        return key, state

    def peek(self, neuron: nn.Module) -> Tensor | None:
        """Return the state the next call of ``neuron`` within this step will start from (None: at rest)."""
        return self.states.get((neuron, self._calls.get(neuron, 0)))

    def leave(self, key: tuple[nn.Module, int], state: Tensor) -> None:
        """Keep ``state`` for the next call."""
        self.states[key] = state


def active_carry() -> Carry | None:
    """Return the carry of the enclosing ``active`` block, or None."""
    return _active.get()
