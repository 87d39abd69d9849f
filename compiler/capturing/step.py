"""What is exported: one time step, as ``snnkit.Stream`` runs it: (inputs, states) → (outputs, next states).

States are found by running a step without data. Each starts where its module says that it rests (``rest``), or at 0; a
module that does not say is compared with a run from 0, and refused where that differs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils import _pytree as pytree

from compiler.errors import CaptureError
from snnkit.errors import InvalidArgumentError
from snnkit.neurons import AxonalDelay, Neuron, PointNeuron
from snnkit.neurons.carry import Carry, Key

WRAPPED = "_snnkit_wrapped"  # no user's module is called like this


def over_sequences(model: nn.Module) -> Callable[..., Any]:
    """Return what maps sequences (T, B, …) to sequences: ``forward_sequence``, so encoder and readout stay outside.

    A classifier made with ``features_only=True`` has no readout: its forward returns the maps of every step.
    """
    if getattr(model, "features_only", False):
        return model
    run: Callable[..., Any] = getattr(model, "forward_sequence", model)
    return run


class Recording(Carry):
    """A carry that remembers what every stateful module was given first."""

    def __init__(self, names: dict[nn.Module, str]):
        super().__init__(names)
        self.first: dict[Key, Tensor] = {}
        self.before: dict[nn.Module, int] = {}  # calls that came before this carry's, where it is that of a loop

    def inside(self) -> Recording:
        """Return a carry for a loop inside of the step, which remembers for this one."""
        inner = Recording(self.names)
        inner.first = self.first
        inner.before = {module: self.before.get(module, 0) + count for module, count in self._calls.items()}
        return inner

    def start(self, neuron: nn.Module, x: Tensor) -> tuple[Key, tuple[Tensor, ...] | None]:
        """Return (key, starting state), as ``Carry.start``."""
        key, state = super().start(neuron, x)
        self.first.setdefault((neuron, key[1] + self.before.get(neuron, 0)), x)
        return key, state


class Step(nn.Module):
    """One step of ``model`` as a function of inputs and states.

    Args:
        model: any module; see ``over_sequences``.
        keys: the stateful modules, in the order their states come in and go out.
    """

    def __init__(self, model: nn.Module, keys: Sequence[Key] = ()):
        super().__init__()
        setattr(self, WRAPPED, model)
        self.keys = tuple(keys)

    @property
    def run(self) -> Callable[..., Any]:
        """What is called with the inputs."""
        return over_sequences(getattr(self, WRAPPED))

    def forward(self, inputs: tuple[Tensor, ...], states: tuple[tuple[Tensor, ...], ...]) -> Any:
        """Return the outputs and the next states."""
        carry = Carry()
        carry.states = dict(zip(self.keys, states, strict=True))
        with carry.active():
            outputs = self.run(*inputs)
        return pytree.tree_leaves(outputs), [carry.states[key] for key in self.keys]


@dataclass(frozen=True)
class StateOf:
    """The states of one call of a stateful module: exported shapes, and the values at rest of one sample."""

    key: Key
    name: str
    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    dtypes: tuple[torch.dtype, ...]
    rest: tuple[Tensor, ...]


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put all modules into eval mode, and back."""
    modes = {module: module.training for module in model.modules()}
    try:
        model.eval()
        yield
    finally:
        for module, training in modes.items():
            module.training = training


def is_spiking(model: nn.Module) -> bool:
    """Whether a module takes sequences (T, B, …): it is a spiking classifier or holds neurons."""
    return hasattr(model, "forward_sequence") or any(
        isinstance(module, (Neuron, AxonalDelay)) for module in model.modules()
    )


def find_states(model: nn.Module, inputs: tuple[Tensor, ...], mode: FakeTensorMode, prime: int) -> list[StateOf]:
    """Run a step without data and return what it carries to the next.

    Raises:
        CaptureError: a module whose state at rest is not known.
    """
    names = {module: name for name, module in model.named_modules()}
    carry = Recording(names)
    with mode, torch.no_grad(), carry.active():
        Step(model).run(*inputs)
    found = []
    for key, state in carry.states.items():
        if not state:
            continue
        module, call = key
        name = names.get(module, type(module).__name__) + (f"#{call}" if call else "")
        state_names = module.operator.state_names if isinstance(module, PointNeuron) else _numbered(len(state))
        shapes = tuple(tuple(v.shape) for v in state)
        if not all(any(size and size % prime == 0 for size in shape) for shape in shapes):
            raise CaptureError(
                f"{name or 'the model'} ({type(module).__name__}) mixes time steps: it counts them, or has numbers of "
                "its own for each, so that no step is like another. Use a neuron whose steps are alike."
            )
        dtypes, given = tuple(v.dtype for v in state), carry.first.get(key)
        found.append(StateOf(key, name, tuple(state_names), shapes, dtypes, _rest(module, name, given, state, prime)))
    return found


def _numbered(count: int) -> tuple[str, ...]:
    return ("state",) if count == 1 else tuple(f"state{index}" for index in range(count))


def _rest(
    module: nn.Module, name: str, given: Tensor | None, state: tuple[Tensor, ...], prime: int
) -> tuple[Tensor, ...]:
    """Return the states at rest for a batch of one; every axis as exported but for the batch, which is divided out."""
    if given is None:
        raise CaptureError(f"{name} ({type(module).__name__}) keeps a state that did not start in this step.")
    sizes = [_of_one(v.shape, prime) for v in state]
    x = torch.zeros(_of_one(given.shape, prime), dtype=given.dtype)
    own: Any = getattr(module, "rest", None)
    if own is not None:
        rest = own(x.double())  # a reset of −0.1 is to stay −0.1
    else:
        rest = tuple(torch.zeros(size, dtype=v.dtype) for size, v in zip(sizes, state, strict=True))
        if not getattr(module, "starts_at_zero", False):
            _check_rest(module, name, x, rest)
    return tuple(value.detach().expand(size) for value, size in zip(rest, sizes, strict=True))


def _of_one(shape: Sequence[int], prime: int) -> tuple[int, ...]:
    """Return a shape with the batch divided out."""
    return tuple(int(size) // prime if size and size % prime == 0 else int(size) for size in shape)


def _check_rest(module: nn.Module, name: str, x: Tensor, rest: tuple[Tensor, ...]) -> None:
    """Raise CaptureError unless a step from ``rest`` is a step from the beginning."""
    noise = torch.randn(x.shape, dtype=x.dtype, generator=torch.Generator().manual_seed(0))
    results = []
    for start in (None, rest):
        carry = Carry()
        if start is not None:
            carry.states = {(module, 0): start}
        with torch.no_grad(), carry.active():
            out = module(noise)
        results.append([out, *carry.states[(module, 0)]])
    if not all(torch.equal(a, b) for a, b in zip(*results, strict=True)):
        raise CaptureError(
            f"{name} ({type(module).__name__}) does not start at 0 and does not say where: give it a method "
            "rest(x) that returns its state variables at rest for a sequence x."
        )


def refuse_whole_sequences(model: nn.Module) -> None:
    """Raise CaptureError for neurons that mix time steps and so have no step.

    Raises:
        CaptureError: there is one (names it).
    """
    for name, module in model.named_modules():
        if isinstance(module, Neuron) and not module.causal:
            raise CaptureError(
                f"{name or 'the model'} ({type(module).__name__}) mixes time steps: it has no form that runs step by "
                "step, which a graph needs. Use a neuron whose steps depend on earlier ones only."
            )


def check_types(model: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    """Refuse an example whose type does not fit the weights, which a run without data would not see.

    Raises:
        CaptureError: another floating-point type than the weights', or whole numbers that it cannot take.
    """
    weights = {p.dtype for p in model.parameters() if p.is_floating_point()}
    for x in inputs:
        if x.is_floating_point():
            if len(weights) == 1 and x.dtype not in weights:
                (wanted,) = weights
                raise CaptureError(
                    f"the example is of {x.dtype}, the weights of {type(model).__name__} are of {wanted}: convert one."
                )
        elif weights:
            try:
                with torch.no_grad():
                    model(*inputs)
            except (RuntimeError, ValueError, InvalidArgumentError) as error:
                raise CaptureError(
                    f"{type(model).__name__} does not take an example of {x.dtype}: {str(error).splitlines()[0]}"
                ) from None
            return


def check_example(model: nn.Module, example: Any) -> tuple[Tensor, ...]:
    """Return the example as a tuple of tensors.

    Raises:
        InvalidArgumentError: it is none, or empty.
    """
    values = tuple(example) if isinstance(example, (tuple, list)) else (example,)
    for value in values:
        if not isinstance(value, Tensor):
            raise InvalidArgumentError(
                f"capture({type(model).__name__}, example={type(value).__name__}): must be a tensor, or a tuple of "
                "tensors for a model with several inputs."
            )
        if value.numel() == 0:
            raise InvalidArgumentError(f"the example of shape {tuple(value.shape)} is empty; give one sample at least.")
    if not values:
        raise InvalidArgumentError("the example is empty; give one input at least.")
    return values
