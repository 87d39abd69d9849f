"""One step of a network that was written for T: the module that makes it, and how published networks are run."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from compiler.auditing.running import first_line, line_of
from compiler.errors import CaptureError
from snnkit.encoders import Direct
from snnkit.errors import SnnkitError
from snnkit.importers.loops import over_steps
from snnkit.importers.snntorch import rest
from snnkit.neurons import Neuron
from snnkit.neurons.carry import active_carry


class Stepped(nn.Module):
    """A published network, one step after the other.

    Args:
        network: called with one step (B, …), or where ``sequences`` says so with (T, B, …).
        timesteps: T.
        sample: shape of one sample of a step.
        sequences: "whole" where the network takes and gives sequences itself, "read" where it takes them and reads
            them out, "" where it takes one step.
        inside: T as the network's own ``forward`` had it, 1 where it had none.
        time_axis: where time lies in the sequences that the network takes.
        laps: how often its own loop over time turns; it is to turn once.
    """

    def __init__(
        self,
        network: nn.Module,
        timesteps: int,
        sample: Sequence[int],
        sequences: str,
        inside: int,
        time_axis: int = 0,
        laps: int = 1,
    ):
        super().__init__()
        self.network, self.timesteps, self.sequences, self.inside = network, timesteps, sequences, inside
        self.time_axis, self.laps = time_axis, laps
        self.recorded: int | None = None  # where time lies in what the network gives
        self.encoder = None if sequences else Direct(timesteps)  # one image at every step
        self.in_chans, self.img_size = sample[0], tuple(sample[1:])
        self.readout = "mean"

    def forward_sequence(self, x: Tensor) -> Tensor:
        """(T, B, …) → (T, B, …)."""
        with _OneStep(self.inside), one_lap(self.network, self.laps):
            if self.sequences == "whole":
                return first_tensor(self.network(x.transpose(0, self.time_axis))).transpose(0, self.time_axis)
            return over_steps(self._step, x)

    def _step(self, x: Tensor) -> Tensor:
        out = first_tensor(self.network(x.unsqueeze(self.time_axis) if self.sequences else x))
        return out if self.recorded is None else out.squeeze(self.recorded)

    def as_published(self, x: Tensor) -> Tensor:
        """Return (T, B, …) or (B, …) as the published network takes it."""
        return x.transpose(0, self.time_axis) if self.sequences else x

    def time_first(self, out: Tensor) -> Tensor:
        """Return what the published network gives with time in front, where it has a time."""
        axis = self.time_axis if self.sequences == "whole" else self.recorded
        return out if axis is None else out.movedim(axis, 0)

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, …), or sequences (T, B, …) → what the published network returns for them."""
        out = self.forward_sequence(x if self.encoder is None else self.encoder(x))
        return out.sum(0) if self.readout == "sum" else out.mean(0) if self.readout == "mean" else out


class Alone(nn.Module):
    """A neuron on sequences, called with one step (B, …), or with time and batch in one axis while T is 1."""

    def __init__(self, neuron: nn.Module):
        super().__init__()
        self.neuron = neuron

    def forward(self, x: Tensor) -> Tensor:
        """(B, …) → (B, …)."""
        return first_tensor(self.neuron(x.unsqueeze(0))).squeeze(0)


class Written(Neuron):
    """A node of the published code's own, under SpikingJelly's old names: its steps as they are written.

    Its membrane is the state; a graph holds what it does operation by operation.
    """

    def __init__(self, node: Any):
        super().__init__()
        self.node = node

    def rest(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the membrane at rest for a sequence (T, B, …)."""
        self.node.reset()
        return (torch.full_like(x[0], float(self.node.v)),)

    def step(self, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """One step: (B, …) → (B, …) and the next membrane."""
        self.node.__dict__["_ran"] = None
        (self.node.v,) = state
        try:
            spikes = self.node.single_step_forward(x)
            return spikes, (self.node.v,)
        finally:
            self.node.reset()

    def forward(self, x: Tensor) -> Tensor:
        """(T, B, …) → (T, B, …)."""
        carry = active_carry()
        key, state = (None, None) if carry is None else carry.start(self, x)
        state, sent = state or self.rest(x), []
        for x_t in x:
            spikes, state = self.step(x_t, state)
            sent.append(spikes)
        if carry is not None and key is not None:
            carry.leave(key, state)
        return torch.stack(sent)


def run(module: nn.Module, x: Tensor) -> Tensor:
    """Run a published network from rest.

    Raises:
        CaptureError: it fails, with the line of its code.
    """
    reset(module)
    try:
        with torch.no_grad():
            return first_tensor(module(x))
    except SnnkitError as error:
        raise CaptureError(str(error)) from error
    except Exception as error:
        raise CaptureError(
            f"{type(module).__name__} cannot run on an input of shape {tuple(x.shape)}{line_of(error)}: "
            f"{first_line(error)}. Give its sample's shape with --input C,H,W."
        ) from error
    finally:
        reset(module)


def reset(module: nn.Module) -> None:
    """Let every module that keeps a state forget it, as ``functional.reset_net`` does."""
    rest(module)
    for part in module.modules():
        again = getattr(part, "reset", None)
        if callable(again) and not isinstance(part, Neuron):
            again()


def first_tensor(out: Any) -> Tensor:
    """Return the first tensor of what a network returns: many give a tuple of logits and something else.

    Raises:
        CaptureError: there is none.
    """
    for leaf in pytree.tree_leaves(out):
        if isinstance(leaf, Tensor):
            return leaf
    raise CaptureError(f"the network returns a {type(out).__name__} without a tensor in it.")


def part_of(network: nn.Module, name: str) -> nn.Module:
    """Return a module by its path; "" is the network itself."""
    return network.get_submodule(name) if name else network


class _OneStep(TorchFunctionMode):
    """Makes one step of what repeats its input ``inside`` times: repeat, expand, a stack of the same, a mean."""

    def __init__(self, inside: int):
        super().__init__()
        self.inside = inside

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = getattr(func, "__name__", "")
        if self.inside > 1 and args:
            if name in ("repeat", "expand", "tile"):
                args = (args[0], *self._sizes(args[0], args[1:]))
            elif name == "stack" and isinstance(args[0], (list, tuple)) and len(args[0]) == self.inside:
                if all(one is args[0][0] for one in args[0]):
                    args = ([args[0][0]], *args[1:])
            elif name == "repeat_interleave" and len(args) > 1 and args[1] == self.inside and args[0].shape[0] == 1:
                args = (args[0], 1, *args[2:])
            elif name in ("mean", "sum") and _over_one_step(args, kwargs or {}):
                return args[0] if (kwargs or {}).get("keepdim") or True in args[2:3] else args[0].squeeze(0)
        return func(*args, **(kwargs or {}))

    def _sizes(self, x: Tensor, sizes: tuple[Any, ...]) -> tuple[Any, ...]:
        flat = list(sizes[0]) if len(sizes) == 1 and isinstance(sizes[0], (tuple, list, torch.Size)) else list(sizes)
        new_axis = len(flat) == x.ndim + 1 or (len(flat) == x.ndim and x.shape[0] == 1)
        if flat and flat[0] == self.inside and new_axis:
            flat[0] = 1
        return tuple(flat)


def _over_one_step(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether a mean or sum is one over the time axis alone, which has length 1."""
    axis = args[1] if len(args) > 1 else kwargs.get("dim", kwargs.get("axis"))
    return axis in (0, (0,), [0]) and axis is not False and args[0].ndim > 1 and args[0].shape[0] == 1


@contextmanager
def one_lap(network: nn.Module, laps: int) -> Iterator[None]:
    """Let loops of ``laps`` turns in the code of a network's own modules turn once while the block runs.

    Found as ``range(laps)``, however the code says how many there are; loops inside of such a loop turn as they do.
    """
    inside = [False]

    def turns(*bounds: int) -> Any:
        all_ = builtins.range(*bounds)
        return _Lap(all_[0], inside) if len(all_) == laps and not inside[0] else all_

    spaces = {id(space): space for part in network.modules() if (space := _globals(part)) is not None}
    kept = [(space, "range" in space, space.get("range")) for space in spaces.values()]
    for space in spaces.values() if laps > 1 else ():
        space["range"] = turns
    try:
        yield
    finally:
        for space, had, before in kept:
            if had:
                space["range"] = before
            else:
                space.pop("range", None)


class _Lap:
    """The first turn of a loop; ``inside`` is true while it lasts."""

    def __init__(self, first: int, inside: list[bool]):
        self.first, self.inside = first, inside

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[int]:
        self.inside[0] = True
        try:
            yield self.first
        finally:
            self.inside[0] = False


_NOT_THEIRS = ("torch", "snnkit", "snntorch", "spikingjelly", "compiler", "timm")


def _globals(part: nn.Module) -> dict[str, Any] | None:
    """Return the names that the code of a module's forward sees; None for modules of libraries."""
    if type(part).__module__.partition(".")[0] in _NOT_THEIRS:
        return None
    return getattr(type(part).forward, "__globals__", None)
