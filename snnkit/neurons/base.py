"""The interfaces of neurons, and the checks they share."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable
from numbers import Real
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from snnkit.checks import finite
from snnkit.errors import InvalidArgumentError
from snnkit.kernels import Operator
from snnkit.kernels.call import Prepared, state_dtype
from snnkit.kernels.charge_fire_reset import is_no_reset
from snnkit.kernels.operator import check_save
from snnkit.neurons.carry import active_carry
from snnkit.surrogates import Surrogate, name_of

State = tuple[Tensor, ...]


class Neuron(nn.Module, ABC):
    """Anything that maps a current sequence (T, B, …) to an event sequence of the same shape."""

    causal: ClassVar[bool] = True
    """Whether a step depends on earlier input only, so that the neuron can run in a stream."""

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Currents (T, B, …) → events (T, B, …), same dtype, from rest (or from the stream's state)."""

    def sends(self) -> tuple[str, float, float, float | Tensor]:
        """Return what it sends: the kind, the lowest and the highest level, and what one level is worth (the scale).

        The kinds are those of ``Operator``. Spikes of 0 and 1, unless a class says otherwise; a neuron around another
        sends what that one sends.
        """
        inner = getattr(self, "neuron", None)
        return inner.sends() if isinstance(inner, Neuron) else ("binary", 0, 1, 1.0)

    def events_in(self, sent: Tensor) -> Tensor:
        """Return how many unit events each output is: |sent| / scale, whole numbers, of the shape of ``sent``.

        Args:
            sent: what the neuron returned, (T, B, …).

        Raises:
            InvalidArgumentError: the neuron sends real values, which are no events.
        """
        kind, _, _, scale = self.sends()
        if kind == "real":
            raise InvalidArgumentError(f"{type(self).__name__} sends real values, which are no events to be counted.")
        if isinstance(scale, Tensor):
            scale = scale.detach()
            scale = scale.view(-1, *[1] * (sent.ndim - 3)) if scale.ndim else scale
        return (sent.detach().to(state_dtype(sent)).abs() / scale).round()


class PointNeuron(Neuron):
    """A neuron whose state variables are shaped like its input; a subclass is final: it names operator and constants.

    A constant may be a number, or a tensor: of shape () or (C,) for one value per channel (axis 2 of (T, B, C, …)),
    trainable where it is an ``nn.Parameter``.

    Args:
        surrogate: derivative used in the backward pass.
        kernel: ``"auto"`` or the name of one of the operator's kernels.
        save: what the forward keeps for the backward: ``"exact"`` (the input), ``"code8"``, ``"rect"``.
    """

    operator: Operator

    def __init__(self, surrogate: Surrogate, kernel: str, save: str = "exact"):
        super().__init__()
        name_of(surrogate)
        self.operator.check_kernel(kernel)
        self.surrogate = surrogate
        self.kernel = kernel
        self.save = check_save(save)

    @abstractmethod
    def constants(self) -> Any:
        """Return the operator's frozen dataclass of constants."""

    def sends(self) -> tuple[str, float, float, float | Tensor]:
        """Return what the operator says that it sends: kind, lowest and highest level, scale."""
        kind, low, high, *scale = self.operator.events(self.constants())
        return kind, low, high, scale[0] if scale else 1.0

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """One time step in plain torch: current (B, …), state variables (B, …) → (spike, state)."""
        return self.operator.step(x, state, _broadcast(self.constants(), x.ndim), self.surrogate)

    def forward(self, x: Tensor) -> Tensor:
        """Return the spikes (T, B, …) for the current ``x`` (T, B, …), same dtype.

        Raises:
            InvalidArgumentError: ``x`` has no time axis, no time steps, or is not of floating-point type.
        """
        check_sequence(self, x)
        given, carry = self._prepare(x.ndim - 1), active_carry()
        if given.tensors:
            self._check_channels(x)
        if carry is None:
            return self.operator.run(x, None, given, False)[0]
        key, state = carry.start(self, x)
        spikes, last = self.operator.run(x, state, given)
        if not last:
            carry.check(self, (x,))
        carry.leave(key, last)
        return spikes

    def _check_channels(self, x: Tensor) -> None:
        """Raise InvalidArgumentError where a constant has another number of channels than a step (B, C, …) of x."""
        for name, value in _by_name(self.constants()).items():
            if isinstance(value, Tensor) and value.numel() > 1:
                check_channels(self, name, len(value), x)

    def _prepare(self, ndim: int) -> Prepared:
        """Return the constants as the operator wants them, for steps of ``ndim`` axes; numbers are prepared once."""
        given = self.__dict__.get("_prepared")
        if given is None or torch.compiler.is_compiling():
            p = _broadcast(self.constants(), ndim)
            given = self.operator.prepare(p, self.surrogate, self.kernel, self.save)
            if not given.tensors and not torch.compiler.is_compiling():
                self.__dict__["_prepared"] = given
        return given

    def __setattr__(self, name: str, value: Any) -> None:
        self.__dict__.pop("_prepared", None)  # a constant may have changed
        super().__setattr__(name, value)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_prepared"}

    def rest(self, x: Tensor) -> State:
        """Return the state variables at rest (B, …) for a sequence ``x`` (T, B, …)."""
        p = _broadcast(self.constants(), x.ndim - 1)
        return tuple(torch.zeros_like(x[0]) + value for value in self.operator.rest(p))

    def states(self, x: Tensor, start: State | None = None) -> dict[str, Tensor]:
        """Return every state variable after each step (T, B, …), from ``start`` or from rest; slow, for looking."""
        state, history = self.rest(x) if start is None else start, []
        for x_t in x:
            _, state = self.step(x_t, state)
            history.append(state)
        sequences = map(torch.stack, zip(*history, strict=True))
        return dict(zip(self.operator.state_names, sequences, strict=True))

    def membranes(self, x: Tensor, start: State | None = None) -> Tensor:
        """Return the first state variable, the membrane, after each step (T, B, …); slow, for looking.

        Raises:
            InvalidArgumentError: the neuron has no state.
        """
        if not self.operator.state_names:
            raise InvalidArgumentError(f"{type(self).__name__} has no state, so it has no membrane to look at.")
        return next(iter(self.states(x, start).values()))

    def extra_repr(self) -> str:
        """Show the constants in ``print(model)``."""
        p = self.constants()
        return ", ".join(f"{name}={_shown(getattr(p, name))}" for name in self.operator.parameter_names)


def event_neurons(neurons: Iterable[Neuron]) -> list[Neuron]:
    """Return those whose outputs are to be counted, so that each spike counts once.

    Left out are neurons that send real values, and those that another of ``neurons`` is built around.
    """
    neurons = list(neurons)
    inside = [getattr(neuron, "neuron", None) for neuron in neurons]
    return [neuron for neuron in neurons if neuron not in inside and neuron.sends()[0] != "real"]


def check_sequence(neuron: nn.Module, x: Tensor) -> None:
    """Raise InvalidArgumentError unless ``x`` is a floating-point sequence (T, B, …) with T ≥ 1."""
    if not isinstance(x, Tensor):
        raise InvalidArgumentError(
            f"{type(neuron).__name__} takes a tensor (T, B, …) of floating-point currents, got {type(x).__name__}."
        )
    if x.ndim < 2 or x.shape[0] == 0:
        raise InvalidArgumentError(
            f"{type(neuron).__name__} takes a sequence (T, B, …) with T ≥ 1, got shape {tuple(x.shape)}."
        )
    if not x.is_floating_point():
        raise InvalidArgumentError(f"{type(neuron).__name__} takes floating-point currents, got {x.dtype}.")


def check_channels(neuron: nn.Module, name: str, channels: int, x: Tensor) -> None:
    """Raise InvalidArgumentError unless ``x`` is (T, B, C, …) with as many channels as the constant ``name`` has."""
    if x.ndim < 3 or x.shape[2] != channels:
        has = "has none" if x.ndim < 3 else f"has {x.shape[2]}"
        raise InvalidArgumentError(
            f"{type(neuron).__name__}({name}=…) has {channels} channels, but the input (T, B, C, …) of shape "
            f"{tuple(x.shape)} {has}."
        )


def refuse_stream(neuron: nn.Module) -> None:
    """Raise InvalidArgumentError inside of a stream: for neurons that need the whole sequence at once."""
    carry = active_carry()
    if carry is not None and not carry.whole:
        raise InvalidArgumentError(
            f"{type(neuron).__name__} needs the whole sequence at once and cannot run in a stream. Call the model on "
            "the sequence (T, B, …), or use a neuron whose steps depend on earlier ones only."
        )


def look(neuron: nn.Module, *values: Tensor) -> None:
    """Let whoever looks for NaN see what decides the spikes of a neuron that leaves no such state.

    Raises:
        NonFiniteError: there is NaN or infinity, and somebody looks.
    """
    carry = active_carry()
    if carry is not None:
        carry.check(neuron, values)


def constant(
    module: nn.Module, name: str, value: float | Tensor, low: float = -math.inf, *, open_: bool = True
) -> None:
    """Set ``module.name``: a number as float, a Parameter as such, another tensor as a buffer; check the range.

    Raises:
        InvalidArgumentError: not finite, not above ``low`` (``open_=False``: below it), or of another shape.
    """
    if not isinstance(value, Tensor):
        setattr(module, name, finite(module, name, value, low, open_=open_))
        return
    tensor = value.detach()
    if tensor.ndim > 1:
        raise InvalidArgumentError(
            f"{type(module).__name__}({name}=…): a tensor is of shape () or (C,), got {tuple(tensor.shape)}."
        )
    if not tensor.numel() or tensor.is_complex():
        raise InvalidArgumentError(
            f"{type(module).__name__}({name}=…): a tensor holds one real number or one per channel, got {tensor.dtype} "
            f"of shape {tuple(tensor.shape)}."
        )
    tensor = tensor if tensor.is_floating_point() else tensor.to(torch.get_default_dtype())
    lowest = tensor.min().item()
    if not torch.isfinite(tensor).all() or lowest < low or (open_ and lowest == low):
        bound = f" {'>' if open_ else '≥'} {low:g}" if low > -math.inf else ""
        raise InvalidArgumentError(f"{type(module).__name__}({name}=… {lowest:g} …): must be a finite number{bound}.")
    if isinstance(value, nn.Parameter):
        setattr(module, name, value)
    else:
        module.register_buffer(name, tensor.clone())


def threshold_and_reset(module: nn.Module, v_threshold: float | Tensor, v_reset: float | Tensor | None) -> None:
    """Set ``module.v_threshold`` and ``module.v_reset`` (None: soft reset; NO_RESET: none), checked.

    Raises:
        InvalidArgumentError: the threshold is not positive and finite, or the reset not below it.
    """
    constant(module, "v_threshold", v_threshold, 0.0)
    if v_reset is None or is_no_reset(v_reset):
        module.v_reset = v_reset
        return
    if not isinstance(v_reset, Tensor | Real):
        raise InvalidArgumentError(
            f"{type(module).__name__}(v_reset={v_reset!r}): must be a number below v_threshold, or None for a soft "
            "reset."
        )
    constant(module, "v_reset", v_reset)
    highest = v_reset.detach().max().item() if isinstance(v_reset, Tensor) else float(v_reset)
    lowest = v_threshold.detach().min().item() if isinstance(v_threshold, Tensor) else float(v_threshold)
    if not highest < lowest:
        raise InvalidArgumentError(
            f"{type(module).__name__}(v_reset={highest:g}): must lie below v_threshold={lowest:g}, or be None for a "
            "soft reset."
        )


def _by_name(p: Any) -> dict[str, Any]:
    """Return the fields of a data class; ``vars`` would be shorter, but torch.compile of 2.11 does not trace it."""
    return {name: getattr(p, name) for name in type(p).__dataclass_fields__}


def _broadcast(p: Any, ndim: int) -> Any:
    """Give per-channel constants (C,) the shape (C, 1, …) that meets a step (B, C, …) of ``ndim`` axes."""
    given = _by_name(p)
    changed = {
        name: value.reshape(-1, *[1] * (ndim - 2))
        for name, value in given.items()
        if isinstance(value, Tensor) and value.ndim == 1 and ndim > 2
    }
    return type(p)(**{**given, **changed}) if changed else p


def _shown(value: Any) -> str:
    return f"tensor{tuple(value.shape)}" if isinstance(value, Tensor) else str(value)
