"""A published network as snnkit captures one: a function of one time step, with its state outside.

Such a network repeats its input T times inside of ``forward`` and runs neurons on (T, B, …), or calls them once for
each of T steps. Where T lies is seen by running it on two batches: the axis of a neuron's input that stays as it is, or
the number of calls. Then T is set to 1, in the attribute that holds it and in the call that repeats the input, neurons
become snnkit's own, and the network is called once a step. That this does the same is not assumed: both are run on the
same samples in float64 and compared.

    published   forward(x) = readout over t of step(x, t)     T inside
    here        forward_sequence(x_T) = [step(x_1), …, step(x_T)],  readout: mean, sum, or none
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from compiler.auditing.comparing import compare
from compiler.auditing.feeding import Feed, Seen, find_feed, observe
from compiler.auditing.stepped import Alone, Stepped, Written, part_of, reset, run
from compiler.errors import CaptureError
from snnkit.errors import SnnkitError
from snnkit.importers import from_snntorch, from_spikingjelly
from snnkit.importers.clock_driven.base import MemoryModule
from snnkit.importers.clock_driven.neuron import BaseNode
from snnkit.importers.clock_driven.surrogate import Sigmoid
from snnkit.importers.foreign import copied, library_class
from snnkit.importers.loops import OverSteps
from snnkit.importers.snntorch import neurons_of, with_handed
from snnkit.neurons import Neuron

_TIME_NAMES = frozenset(
    (
        *("t", "time", "steps", "step", "timestep", "timesteps", "time_step", "time_steps", "num_steps", "n_steps"),
        *("num_step", "nb_steps", "time_window", "timewindow", "win", "sim_len", "simulation_length", "total_timestep"),
    )
)
"""What an attribute that holds T is called, in lower case."""


@dataclass(frozen=True)
class Found:
    """A network in steps, and what was found on the way."""

    model: nn.Module
    notes: tuple[str, ...]
    difference: float | None = None
    unrolled: int = 1


def is_stateful(module: nn.Module) -> bool:
    """Whether a module holds a state, or runs one over a sequence."""
    if isinstance(module, (Neuron, BaseNode)):
        return True
    if isinstance(module, MemoryModule):
        return bool(module._memories) and "Dropout" not in type(module).__name__
    if library_class(module, "spikingjelly") is not None:
        return bool(getattr(module, "_memories", None)) and "Dropout" not in type(module).__name__
    return library_class(module, "snntorch") is not None


def in_steps(module: nn.Module, sample: Sequence[int], timesteps: int | None, time_axis: int | None = None) -> Found:
    """Return a network as one that runs in steps; an ordinary one as it is.

    Args:
        module: in eval mode.
        sample: shape of one sample (C, H, W).
        timesteps: T where the network does not say.
        time_axis: 0 or 1 for a network that takes (T, B, …) or (B, T, …); None: what it takes is found out.

    Raises:
        CaptureError: it cannot be run, or its steps cannot be told apart (``reasons`` says why).
    """
    stateful = {name: part for name, part in module.named_modules() if is_stateful(part)}
    if not stateful or hasattr(module, "forward_sequence"):
        return Found(module, ())
    theirs = neurons_of(module)
    if theirs and (type(module) is nn.Sequential or "" in theirs):
        return _imported(from_snntorch, module, sample, timesteps)
    stateful = theirs or stateful
    feed = find_feed(module, stateful, sample, timesteps, time_axis)
    seen = observe(module, stateful, sample, feed)
    inside, folded, notes = _time(seen)
    steps = inside if inside > 1 else timesteps
    if steps is None:
        if any(one.leading()[1] == 0 for one in seen.values()):
            steps = 1
        else:
            raise CaptureError(
                f"{type(module).__name__} runs one time step a call, and does not say how many there are: give "
                "--timesteps N."
            )
    if feed.steps not in (None, steps):
        raise CaptureError(
            f"{type(module).__name__} runs {steps} time steps and is fed {feed.steps}: give --timesteps {steps}."
        )
    notes = (*notes, *_said(module, feed, time_axis))
    network = _translated(module, folded)
    if inside > 1 and feed.steps is None:
        _set_to_one(network, inside)
    stepped = _stepped(module, network, sample, feed, steps, inside if theirs else 1, inside)
    unrolled = 1
    if feed.steps is None and not theirs and _still_loops(stepped, _in_loops(seen), sample):
        unrolled, stepped = steps, Stepped(_translated(module, folded), 1, sample, "", 1).eval()
        notes = (*notes, f"runs {steps} time steps in a loop of its own: its graph holds all of them and has no twin")
    written = [name for name in stateful if isinstance(_inner(part_of(stepped.network, name)), Written)]
    if written:
        more = f" and {len(written) - 1} more" if len(written) > 1 else ""
        notes = (*notes, f"{written[0]}{more}: neurons of the code's own, counted operation by operation as written")
    difference = compare(module, stepped, list(stateful), sample, alone=bool(folded))
    return Found(stepped, notes, difference, unrolled)


def _said(module: nn.Module, feed: Feed, time_axis: int | None) -> tuple[str, ...]:
    """Say what was found of the axes of a sequence, where nobody said it."""
    if feed.steps is None or time_axis is not None or not feed.axis:
        return ()
    return (f"takes (B, T, …): {type(module).__name__} runs along the second axis of a sequence (--time-axis 1)",)


def _stepped(
    module: nn.Module, network: nn.Module, sample: Sequence[int], feed: Feed, steps: int, laps: int, inside: int
) -> Stepped:
    """Return the network step by step, after a look at how what it returns lies."""
    if feed.steps is None and laps == 1:
        return Stepped(network, steps, sample, "", inside).eval()
    batch = 2 if steps != 2 else 3
    front = feed.front(batch)
    given = tuple(run(module, torch.zeros(*front, *sample)).shape)
    if feed.steps is not None and laps == 1 and given[:2] == front:
        return Stepped(network, steps, sample, "whole", 1, feed.axis).eval()
    stepped = Stepped(network, steps, sample, "" if feed.steps is None else "read", inside, feed.axis, laps).eval()
    stepped.recorded = _recorded(stepped, batch, sample, given)
    return stepped


def _recorded(stepped: Stepped, batch: int, sample: Sequence[int], given: tuple[int, ...]) -> int | None:
    """Return the axis of an output that has T values, and one where the network makes one step; None if there is none.

    Tutorials of snnTorch stack what every step gave.
    """
    try:
        with torch.no_grad():
            step = tuple(stepped.forward_sequence(torch.zeros(1, batch, *sample)).shape[1:])
    except Exception:
        return None  # said where it is compared
    one = [(*step[:axis], stepped.timesteps, *step[axis + 1 :]) for axis in range(len(step))]
    return next((axis for axis, shape in enumerate(one) if step[axis] == 1 and shape == given), None)


def _inner(part: nn.Module) -> nn.Module:
    return part.neuron if isinstance(part, Alone) else part


def _in_loops(seen: dict[str, Seen]) -> list[str]:
    """Neurons that are called with one step (B, …), several times."""
    return [name for name, one in seen.items() if one.calls > 1 and one.leading()[1]]


def _still_loops(stepped: Stepped, names: Iterable[str], sample: Sequence[int]) -> bool:
    """Whether a network calls its neurons several times, now that it is to make one step."""
    calls: dict[str, int] = {}
    hooks = [
        part_of(stepped.network, name).register_forward_pre_hook(
            lambda *_, name=name: calls.__setitem__(name, calls.get(name, 0) + 1)
        )
        for name in names
    ]
    try:
        with torch.no_grad():
            stepped.forward_sequence(torch.zeros(1, 1, *sample))
    except Exception:
        return False  # said where it is compared
    finally:
        for hook in hooks:
            hook.remove()
    return max(calls.values(), default=1) > 1


def _imported(
    importer: Callable[[nn.Module], nn.Module], module: nn.Module, sample: Sequence[int], timesteps: int | None
) -> Found:
    """A network on sequences by one of snnkit's importers."""
    try:
        network = importer(module)
    except SnnkitError as error:
        raise CaptureError(str(error)) from None
    if timesteps is None:
        raise CaptureError(f"{type(module).__name__} does not say how many time steps it runs: give --timesteps N.")
    return Found(Stepped(network, timesteps, sample, "whole", 1).eval(), (), None)


def _time(seen: dict[str, Seen]) -> tuple[int, tuple[str, ...], tuple[str, ...]]:
    """Return T, the neurons that run on time and batch in one axis, and what to say about them."""
    steps: list[int] = []
    for one in seen.values():
        constant, per_sample = one.leading()
        if per_sample == 0:
            steps.append(constant)  # (T, B, …)
        elif one.calls > 1:
            steps.append(one.calls)  # (B, …), once a step
    inside = max(set(steps), key=steps.count) if steps else 1
    folded = tuple(name for name, one in seen.items() if inside > 1 and one.leading() == (0, inside) and one.calls == 1)
    notes: tuple[str, ...] = ()
    if folded:
        more = f" and {len(folded) - 1} more" if len(folded) > 1 else ""
        notes = (
            f"{folded[0]}{more} runs on time and batch in one axis (T·B, …): as published its membrane goes from "
            "sample to sample, and results depend on the batch. Counted is each sample alone, as with a batch of 1.",
        )
    return inside, folded, notes


def _translated(module: nn.Module, folded: Sequence[str]) -> nn.Module:
    """Return a copy whose neurons are snnkit's.

    Raises:
        CaptureError: what has no counterpart, all of it.
    """
    reset(module)
    if neurons_of(module):
        try:
            return with_handed(module)
        except SnnkitError as error:
            raise CaptureError(str(error)) from None
    if any(library_class(part, "spikingjelly") is not None for part in module.modules()):
        try:
            network = from_spikingjelly(module)
        except SnnkitError as error:
            raise CaptureError(str(error)) from None
        return _wrapped(network.module if isinstance(network, OverSteps) else network, folded, {})
    network, reasons = copied(module), list[str]()
    made: dict[str, nn.Module] = {}
    for name, part in network.named_modules():
        if isinstance(part, BaseNode):
            neuron = _neuron(part)
            made[name] = Alone(neuron) if part.step_mode == "s" else neuron
        elif isinstance(part, MemoryModule) and is_stateful(part):
            reasons.append(f"{name or 'the network'} ({type(part).__name__}) has a state that graphs do not know.")
        elif type(part).__name__ in _SAME:
            made[name] = _SAME[type(part).__name__](part)
    if reasons:
        raise CaptureError(reasons[0], tuple(reasons))
    return _wrapped(network, folded, made)


def _neuron(node: BaseNode) -> Neuron:
    """Return snnkit's neuron of a node; one of the published code's own runs step by step as it is written."""
    try:
        return node.neuron
    except SnnkitError:
        surrogate, node.surrogate_function = node.surrogate_function, Sigmoid(4.0)
    try:
        return node.neuron  # forward, surrogates do not differ
    except SnnkitError:
        node.surrogate_function = surrogate
        return Written(node)


def _padded_norm(part: Any) -> nn.Module:
    """A batch norm whose border is what it makes of 0, as if the input had been padded: Meta-SpikeFormer's RepConv."""
    return nn.Sequential(nn.ZeroPad2d(part.pad_pixels), part.bn)


_SAME: dict[str, Callable[[Any], nn.Module]] = {"BNAndPadLayer": _padded_norm}
"""Published layers that write into slices, and what computes the same in one piece; the comparison tries it."""


def _wrapped(network: nn.Module, folded: Sequence[str], made: dict[str, nn.Module]) -> nn.Module:
    for name in folded:
        made[name] = Alone(made[name] if name in made else network.get_submodule(name))
    places = {id(network.get_submodule(name)): one for name, one in made.items()}
    if id(network) in places:
        return places[id(network)]
    for part in list(network.modules()):
        for child_name, child in part._modules.items():
            if child is not None and id(child) in places and not isinstance(part, Alone):
                part._modules[child_name] = places[id(child)]
    return network


def _set_to_one(network: nn.Module, inside: int) -> None:
    """Set the attributes that hold T to 1."""
    for part in network.modules():
        for key, value in vars(part).items():
            if key.lower() in _TIME_NAMES and type(value) is int and value == inside:
                part.__dict__[key] = 1
