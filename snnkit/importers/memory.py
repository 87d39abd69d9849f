"""State of imported networks, which are written for neurons that keep theirs from call to call.

Such a network may call one neuron several times: in a loop over time of its own, or because the neuron stands in two
places. Each call goes on where the last one stopped. ``remembering`` does the same while the network runs once, and
everything is at rest again afterwards; in a stream it goes on where the stream was.

A network whose neurons run once each needs none of this. ``Once`` watches that it stays so.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from snnkit.errors import InvalidArgumentError
from snnkit.importers import foreign
from snnkit.neurons.carry import Carry, Key, State, active_carry


class Memory(Carry):
    """One state for each module, however often it is called; what it starts from and leaves is the outer carry's."""

    def __init__(self, outer: Carry | None, sequences: bool = False):
        whole = outer is None or outer.whole
        super().__init__(outer.names if outer else None, outer is not None and outer.check_finite, whole)
        self.outer = outer
        self.sequences = sequences  # modules get whole sequences, not steps
        self._outside: dict[nn.Module, Key] = {}

    def start(self, neuron: nn.Module, x: Tensor) -> tuple[Key, State | None]:
        """Return (key, starting state); another shape than before starts at rest, as it does in the originals.

        Raises:
            InvalidArgumentError: a second call on a part of a sequence, which would need the rest of it first.
        """
        key = (neuron, 0)
        if neuron not in self._outside:
            self._outside[neuron], state = key, None
            if self.outer is not None:
                self._outside[neuron], state = self.outer.start(neuron, x)
            return key, state or None
        if self.sequences and not self.whole:
            name = self.names.get(neuron, "")
            raise InvalidArgumentError(
                f"{name or type(neuron).__name__} is called twice in one call of the network, and the second call goes "
                "on where the first one stopped, at the end of the sequence: it cannot run in a stream. Give the "
                "network whole sequences (T, B, …)."
            )
        state = self.states.get(key)
        same = bool(state) and state[0].shape == x.shape[1:]
        return key, state if same else None

    def leave(self, key: Key, state: State) -> None:
        """Keep ``state`` for the next call, here and outside."""
        self.check(key[0], state)
        self.states[key] = state
        if self.outer is not None:
            self.outer.leave(self._outside[key[0]], state)

    def peek(self, neuron: nn.Module) -> State | None:
        """Return the state that the next call of ``neuron`` starts from."""
        if neuron in self._outside or self.outer is None:
            return self.states.get((neuron, 0))
        return self.outer.peek(neuron)

    def forget(self, neuron: nn.Module) -> None:
        """Let the next call of ``neuron`` start at rest."""
        if neuron not in self._outside:
            self._outside[neuron] = (neuron, 0)
            if self.outer is not None:
                self._outside[neuron], _ = self.outer.start(neuron, torch.zeros(1, 1))
        self.states.pop((neuron, 0), None)
        if self.outer is not None:
            self.outer.states.pop(self._outside[neuron], None)


@contextmanager
def remembering(kept: Sequence[nn.Module] = (), sequences: bool = False) -> Iterator[Memory]:
    """Let neurons go on from call to call inside of the block.

    Args:
        kept: foreign modules that hold their state themselves; they get theirs and are left as they were.
        sequences: modules are called with whole sequences (T, B, …), and not with steps.
    """
    outer = active_carry()
    if isinstance(outer, Memory):  # within another imported network
        yield outer
        return
    memory = Memory(outer, sequences)
    with memory.active(), foreign.lent(kept, outer):
        yield memory


@contextmanager
def stepping(kept: Sequence[nn.Module] = ()) -> Iterator[Memory]:
    """``remembering``, while modules are called with one step after the other."""
    with remembering(kept) as memory:
        before, memory.sequences = memory.sequences, False
        try:
            yield memory
        finally:
            memory.sequences = before


class Remember:
    """Hooks that let a network run in ``remembering``.

    Args:
        kept: see ``remembering``.
    """

    def __init__(self, kept: Sequence[nn.Module] = ()):
        self.kept = tuple(kept)
        self._open: list[ExitStack] = []

    def watch(self, network: nn.Module) -> None:
        """Attach to a network."""
        network.register_forward_pre_hook(self.enter)
        network.register_forward_hook(self.leave, always_call=True)

    @torch.compiler.disable
    def enter(self, *_: Any) -> None:
        """Before the network runs."""
        self._open.append(ExitStack())
        self._open[-1].enter_context(remembering(self.kept, sequences=True))

    @torch.compiler.disable
    def leave(self, *_: Any) -> None:
        """After it, whether it failed or not."""
        self._open.pop().close()


class CalledAgainError(InvalidArgumentError):
    """A neuron ran a second time in one call of its network."""


class Once:
    """Hooks that refuse a second call of a neuron while its network runs once."""

    def __init__(self) -> None:
        self.called: set[str] = set()
        self.running = False
        self.hooks: list[Any] = []

    def watch(self, network: nn.Module, neurons: dict[str, nn.Module]) -> None:
        """Attach to a network and its neurons, by path."""
        self.hooks = [
            network.register_forward_pre_hook(self.begin),
            network.register_forward_hook(self.end, always_call=True),
            *(neuron.register_forward_pre_hook(_Call(self, path)) for path, neuron in neurons.items()),
        ]

    def remove(self) -> None:
        """Detach."""
        for hook in self.hooks:
            hook.remove()

    def begin(self, *_: Any) -> None:
        """Before the network runs."""
        self.called.clear()
        self.running = True

    def end(self, *_: Any) -> None:
        """After it, whether it failed or not: whoever runs a part of it again for a backward is not meant."""
        self.running = False


class _Call:
    def __init__(self, once: Once, path: str):
        self.once, self.path = once, path

    def __call__(self, *_: Any) -> None:
        once = self.once
        if once.running and self.path in once.called:
            raise CalledAgainError(
                f"{self.path} is called a second time in one call of the network. In SpikingJelly the second call goes "
                "on from the membrane of the first: give from_spikingjelly an example, so that it sees this."
            )
        once.called.add(self.path)
