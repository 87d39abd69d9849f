"""Where membranes live between calls, when the caller asked for that: a ``Carry``, and never the neuron itself.

``with carry.active():`` makes every neuron called inside read its starting state from the carry and leave its last
state there. Without an active carry a neuron starts at rest and forgets, so models can be copied, pickled and averaged
at any time.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar

import torch
from torch import Tensor, nn

from snnkit.errors import InvalidArgumentError, NonFiniteError
from snnkit.kernels.call import state_dtype

_active: ContextVar[Carry | None] = ContextVar("snnkit_carry", default=None)


State = tuple[Tensor, ...]
Key = tuple[nn.Module, int]


class Carry:
    """States of all neurons of one model, keyed by neuron and by the how-manieth call of it within a step.

    Args:
        names: names of modules, to say where something went wrong.
        check_finite: raise as soon as a state holds NaN or infinity.
        whole: calls are whole sequences and this carry only looks; neurons without steps may run then too.
    """

    def __init__(
        self, names: dict[nn.Module, str] | None = None, check_finite: bool = False, whole: bool = False
    ) -> None:
        self.whole = whole
        self.states: dict[Key, State] = {}
        self.steps = 0
        self.names = names or {}
        self.check_finite = check_finite
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
            with as_written():
                yield
        except BaseException:
            self.states = before
            raise
        finally:
            _active.reset(token)

    def inside(self) -> Carry:
        """Return an empty carry for a loop inside of this one's step."""
        return Carry(self.names, self.check_finite)

    def start(self, neuron: nn.Module, x: Tensor) -> tuple[Key, State | None]:
        """Return (key, starting state) for a sequence ``x`` (T, B, …): None at the first call, then what was left.

        Raises:
            InvalidArgumentError: the batch shape, dtype or device is not that of the state (names both).
        """
        call = self._calls.get(neuron, 0)
        self._calls[neuron] = call + 1
        key = (neuron, call)
        state = self.states.get(key)
        if state is not None and state:
            self._check_same(neuron, state[0], x)
        return key, state

    def peek(self, neuron: nn.Module) -> State | None:
        """Return the state the next call of ``neuron`` within this step will start from (None: at rest)."""
        return self.states.get((neuron, self._calls.get(neuron, 0)))

    def leave(self, key: Key, state: State) -> None:
        """Keep ``state`` for the next call.

        Raises:
            NonFiniteError: it holds NaN or infinity and this carry checks that.
        """
        self.check(key[0], state)
        self.states[key] = state

    def check(self, neuron: nn.Module, values: State) -> None:
        """Look at what decides whether ``neuron`` fires.

        Raises:
            NonFiniteError: it holds NaN or infinity and this carry checks that.
        """
        if self.check_finite and not all(torch.isfinite(v).all() for v in values):
            name = self.names.get(neuron, "")
            raise NonFiniteError(
                f"layer {name!r} ({type(neuron).__name__}) holds NaN or infinity after call {self.steps}. "
                "Look at its input there: the layers before it are finite, or they would have been named."
            )

    def _check_same(self, neuron: nn.Module, state: Tensor, x: Tensor) -> None:
        # Some keep their state in the input's own half format, most in that of the arithmetic.
        dtype = x.dtype if state.dtype == x.dtype else state_dtype(x)
        for what, had, got in (
            ("shape", tuple(state.shape), tuple(x.shape[1:])),
            ("dtype", state.dtype, dtype),
            ("device", state.device, x.device),
        ):
            if had != got:
                name = self.names.get(neuron, "")
                raise InvalidArgumentError(
                    f"this stream holds {type(neuron).__name__} {name!r} state of {what} {had}, but the input has "
                    f"{what} {got}. Feed the same kind of input, or call stream.reset() before another sequence."
                )


@contextmanager
def within() -> Iterator[Carry]:
    """A carry for a module that loops over the steps of a sequence itself: activate it once for every step.

    Its states start from the active carry's and are left there when the block succeeds, under the same neurons, so that
    a stream goes on where it was. Without an active carry they start at rest and are forgotten.
    """
    outer = _active.get()
    if outer is None:
        yield Carry()
        return
    inner, before = outer.inside(), outer._calls
    # What was called in this step of the outer carry already, such as this loop itself, has states of its own.
    inner.states = {(neuron, call - before.get(neuron, 0)): state for (neuron, call), state in outer.states.items()}
    yield inner
    called = inner._calls  # in its last step, which calls what each of its steps does
    for neuron, count in called.items():
        first = before.get(neuron, 0)
        outer.states |= {
            (neuron, first + call): inner.states[(neuron, call)]
            for call in range(count)
            if (neuron, call) in inner.states
        }
        before[neuron] = first + count


def active_carry() -> Carry | None:
    """Return the carry of the enclosing ``active`` block, or None."""
    return _active.get()


if torch.__version__ < "2.14":
    # Older compilers do not trace context variables: the graph breaks here, and the carry is the one there is.
    active_carry = torch.compiler.disable(active_carry)


def as_written() -> AbstractContextManager[None]:
    """Run what torch.compile made as it was written: compiled code knows of no carry and would start at rest.

    Raises:
        InvalidArgumentError: the block itself is within a compiled function, whose calls would be compiled as well.
    """
    if "torch._dynamo" not in sys.modules or torch.compiler.is_exporting():
        return nullcontext()
    if torch.compiler.is_dynamo_compiling() or callable(torch._C._dynamo.eval_frame.get_eval_frame_callback()):
        raise InvalidArgumentError(
            "a step of a stream, or a recording, within what torch.compile compiles: leave it outside."
        )
    return torch.compiler.set_stance("force_eager")
