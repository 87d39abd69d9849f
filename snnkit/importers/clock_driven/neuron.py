"""Neurons under their old names, single-step, multi-step, or switched by ``step_mode``.

They keep ``v`` between calls until ``reset``, and go on from whatever ``v`` is: a number set by hand, one value per
channel, or what the last call left. With constants and surrogates that snnkit's operators know they run these; a
subclass with a ``neuronal_charge``, ``neuronal_fire``, ``neuronal_reset``, ``single_step_forward`` or
``multi_step_forward`` of its own, an own surrogate, a trained or infinite threshold run as they are written, in plain
torch. Multi-step ones keep ``v_seq``, the membrane after every step, where ``store_v_seq`` asks for it.

To add a neuron: a subclass with ``neuronal_charge``, and ``made`` where an operator computes the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from snnkit.errors import InvalidArgumentError
from snnkit.importers.clock_driven.base import MemoryModule, check_step_mode
from snnkit.importers.clock_driven.surrogate import Sigmoid
from snnkit.kernels.call import state_dtype
from snnkit.neurons import EIF, IF, LIF, QIF, ParametricLIF, PointNeuron

_STEPS = ("neuronal_charge", "neuronal_fire", "neuronal_reset", "single_step_forward", "multi_step_forward")


class BaseNode(MemoryModule):
    """What the nodes share; arguments as in 0.0.0.0.14. A subclass defines ``neuronal_charge`` at least.

    Args:
        v_threshold: a number, a tensor or a Parameter.
        v_reset: a number, or None for a soft reset.
        surrogate_function: any function of ``v − v_threshold``.
        detach_reset: whether the reset is left out of the gradient.
        step_mode: "s" (one step a call) or "m" (a sequence).
        backend: accepted, without effect.
        store_v_seq: keep the membranes of a sequence as ``v_seq``.
    """

    def __init__(
        self, v_threshold: Any = 1.0, v_reset: float | None = 0.0, surrogate_function: Any = None,
        detach_reset: bool = False, step_mode: str = "s", backend: str = "torch", store_v_seq: bool = False,
    ):  # fmt: skip
        super().__init__()
        self.register_memory("v", 0.0 if v_reset is None else float(v_reset))
        self.v_threshold, self.v_reset, self.detach_reset = v_threshold, v_reset, detach_reset
        self.surrogate_function = Sigmoid(4.0) if surrogate_function is None else surrogate_function
        self.step_mode, self.backend = check_step_mode(step_mode), backend
        self.store_v_seq = store_v_seq

    @property
    def v_seq(self) -> Tensor | None:
        """The membrane after every step (T, B, …) of the last call on a sequence; None where it is not kept."""
        seen = self.__dict__.get("_v_seq")
        return seen() if callable(seen) else seen

    @v_seq.setter
    def v_seq(self, value: Tensor | None) -> None:
        self.__dict__["_v_seq"] = value

    def reset(self) -> None:
        """Set the membrane back."""
        super().reset()
        self.v_seq = None

    def __getstate__(self) -> dict[str, Any]:
        """A copy has the membrane, and not the sequence that led there."""
        return {name: value for name, value in super().__getstate__().items() if name not in ("_v_seq", "_made")}

    def neuronal_charge(self, x: Tensor) -> None:
        """Let ``self.v`` take up the current ``x``."""
        raise NotImplementedError(f"{type(self).__name__} does not define neuronal_charge.")

    def neuronal_fire(self) -> Tensor:
        """Return the spikes of ``self.v``."""
        return self.surrogate_function(self.v - self.v_threshold)

    def neuronal_reset(self, spike: Tensor) -> None:
        """Reset ``self.v`` where there was a spike."""
        spike = spike.detach() if self.detach_reset else spike
        if self.v_reset is None:
            self.v = self.v - spike * self.v_threshold
        else:
            self.v = (1.0 - spike) * self.v + spike * self.v_reset

    def v_float_to_tensor(self, x: Tensor) -> None:
        """Make a membrane that is one number a tensor like ``x``.

        Raises:
            InvalidArgumentError: it is left from a call on another shape.
        """
        if not isinstance(self.v, Tensor):
            self.v = torch.full_like(x.detach(), float(self.v))
            return
        own = tuple(self.v.shape)
        try:
            fits = torch.broadcast_shapes(own, x.shape) == x.shape
        except RuntimeError:
            fits = False
        left = self.v.ndim == x.ndim and self.__dict__.get("_ran") == own and own != tuple(x.shape)
        if not fits or left:
            raise InvalidArgumentError(
                f"{type(self).__name__}: its membrane is of shape {own}, left from another call or set by hand, and "
                f"the input of shape {tuple(x.shape)}. Call functional.reset_net(net) before another batch size."
            )

    def single_step_forward(self, x: Tensor) -> Tensor:
        """(B, …) → (B, …)."""
        self.v_float_to_tensor(x)
        neuron = self._operable()
        if neuron is not None:
            return self._run(neuron, x.unsqueeze(0))[0]
        self.neuronal_charge(x)
        spike = self.neuronal_fire()
        self.neuronal_reset(spike)
        self._note()
        return spike

    def multi_step_forward(self, x_seq: Tensor) -> Tensor:
        """(T, B, …) → (T, B, …)."""
        if x_seq.ndim < 2 or not len(x_seq):
            raise InvalidArgumentError(f"{type(self).__name__} takes (T, B, …), got shape {tuple(x_seq.shape)}.")
        neuron = self._operable()
        if neuron is not None:
            self.v_float_to_tensor(x_seq[0])
            return self._run(neuron, x_seq)
        spikes, membranes = [], []
        for x in x_seq:
            spikes.append(self.single_step_forward(x))
            membranes.append(self.v)
        if self.store_v_seq:
            self.v_seq = torch.stack(membranes)
        return torch.stack(spikes)

    def made(self, common: dict[str, Any]) -> PointNeuron | None:
        """Return the snnkit neuron that computes the same; ``common`` are its threshold, reset and surrogate."""
        return None

    @property
    def neuron(self) -> PointNeuron:
        """The snnkit neuron that runs.

        Raises:
            InvalidArgumentError: there is none, the node runs in plain torch.
        """
        found = self._operable()
        if found is None:
            raise InvalidArgumentError(f"{type(self).__name__} runs as it is written: no operator computes the same.")
        return found

    def _operable(self) -> PointNeuron | None:
        known = next(cls for cls in type(self).__mro__ if cls.__module__ == __name__)
        if any(getattr(type(self), name) is not getattr(known, name) for name in _STEPS):
            return None
        if any(name in self.__dict__ for name in _STEPS) or type(self).made is not known.made:
            return None
        form = getattr(self.surrogate_function, "kernel_form", None)
        plain = all(isinstance(v, (int, float)) and math.isfinite(v) for v in (self.v_threshold, self.v_reset or 0.0))
        if form is None or not plain or not self.surrogate_function.spiking or not self.v_threshold > 0:
            return None
        if self.v_reset is not None and self.v_reset >= self.v_threshold:
            return None
        numbers = tuple(sorted((k, v) for k, v in vars(self).items() if isinstance(v, (int, float, type(None)))))
        surrogate = form()
        kept = self.__dict__.get("_made")
        if kept is None or kept[0] != (numbers, surrogate):
            common = {"v_threshold": float(self.v_threshold), "v_reset": self.v_reset, "surrogate": surrogate}
            neuron = self.made({**common, "detach_reset": bool(self.detach_reset)})
            kept = self.__dict__["_made"] = ((numbers, surrogate), neuron)
        return kept[1]

    def _run(self, neuron: PointNeuron, sequence: Tensor) -> Tensor:
        start = self.v.to(state_dtype(sequence)).expand(sequence.shape[1:]).contiguous()
        spikes, (self.v,) = neuron.operator(sequence, (start,), neuron.constants(), neuron.surrogate)
        if self.store_v_seq:
            self.__dict__["_v_seq"] = lambda: neuron.membranes(sequence, (start,))
        self._note()
        return spikes

    def _note(self) -> None:
        """Remember the shape of a membrane that a call left: another batch is refused, one value a channel is not."""
        self.__dict__["_ran"] = tuple(self.v.shape) if isinstance(self.v, Tensor) else None

    def extra_repr(self) -> str:
        """Show the constants."""
        shown = {n: getattr(self, n) for n in ("v_threshold", "v_reset", "detach_reset", "step_mode", "backend")}
        return ", ".join(f"{name}={value}" for name, value in shown.items())


class IFNode(BaseNode):
    """Integrate-and-fire; arguments as in 0.0.0.0.14."""

    def __init__(
        self, v_threshold: Any = 1.0, v_reset: float | None = 0.0, surrogate_function: Any = None,
        detach_reset: bool = False, step_mode: str = "s", backend: str = "torch", store_v_seq: bool = False,
        cupy_fp32_inference: bool = False,
    ):  # fmt: skip
        super().__init__(v_threshold, v_reset, surrogate_function, detach_reset, step_mode, backend, store_v_seq)

    def neuronal_charge(self, x: Tensor) -> None:
        """v + x."""
        self.v = self.v + x

    def made(self, common: dict[str, Any]) -> PointNeuron:
        """Return an ``IF``."""
        return IF(**common)


class LIFNode(BaseNode):
    """Leaky integrate-and-fire; arguments as in 0.0.0.0.14."""

    def __init__(
        self, tau: float = 2.0, decay_input: bool = True, v_threshold: Any = 1.0, v_reset: float | None = 0.0,
        surrogate_function: Any = None, detach_reset: bool = False, step_mode: str = "s", backend: str = "torch",
        store_v_seq: bool = False, cupy_fp32_inference: bool = False,
    ):  # fmt: skip
        super().__init__(v_threshold, v_reset, surrogate_function, detach_reset, step_mode, backend, store_v_seq)
        self.tau, self.decay_input = tau, decay_input
        if not tau > 1.0:
            raise InvalidArgumentError(f"{type(self).__name__}(tau={tau!r}): must be > 1.")

    def neuronal_charge(self, x: Tensor) -> None:
        """v + (x − (v − v_reset))/τ, or v − (v − v_reset)/τ + x."""
        above = self.v - (self.v_reset or 0.0)
        self.v = self.v + (x - above) / self.tau if self.decay_input else self.v - above / self.tau + x

    def made(self, common: dict[str, Any]) -> PointNeuron:
        """Return a ``LIF``."""
        return LIF(float(self.tau), decay_input=self.decay_input, **common)


class ParametricLIFNode(BaseNode):
    """LIF with a trained time constant, 1/τ = σ(w); the key of the parameter is ``w``."""

    def __init__(
        self, init_tau: float = 2.0, decay_input: bool = True, v_threshold: Any = 1.0,
        v_reset: float | None = 0.0, surrogate_function: Any = None, detach_reset: bool = False,
        step_mode: str = "s", backend: str = "torch", store_v_seq: bool = False, cupy_fp32_inference: bool = False,
    ):  # fmt: skip
        super().__init__(v_threshold, v_reset, surrogate_function, detach_reset, step_mode, backend, store_v_seq)
        self.decay_input = decay_input
        self.w = nn.Parameter(torch.as_tensor(-math.log(init_tau - 1.0)))

    @property
    def tau(self) -> float:
        """1/σ(w)."""
        return 1.0 / self.w.detach().sigmoid().item()

    def neuronal_charge(self, x: Tensor) -> None:
        """v + (x − (v − v_reset))·σ(w), or v − (v − v_reset)·σ(w) + x."""
        above, share = self.v - (self.v_reset or 0.0), self.w.sigmoid()
        self.v = self.v + (x - above) * share if self.decay_input else self.v - above * share + x

    def made(self, common: dict[str, Any]) -> PointNeuron:
        """Return a ``ParametricLIF``."""
        return ParametricLIF(decay_input=self.decay_input, **common)

    def _run(self, neuron: PointNeuron, sequence: Tensor) -> Tensor:
        neuron._parameters["w"] = self.w  # as it is now: it may have been moved, copied or loaded
        return super()._run(neuron, sequence)


class KLIFNode(BaseNode):
    """LIF whose membrane passes relu(k·v) before it fires, with a trained k."""

    def __init__(
        self, scale_reset: bool = False, tau: float = 2.0, decay_input: bool = True, v_threshold: Any = 1.0,
        v_reset: float | None = 0.0, surrogate_function: Any = None, detach_reset: bool = False,
        step_mode: str = "s", backend: str = "torch", store_v_seq: bool = False,
    ):  # fmt: skip
        super().__init__(v_threshold, v_reset, surrogate_function, detach_reset, step_mode, backend, store_v_seq)
        self.scale_reset, self.tau, self.decay_input = scale_reset, tau, decay_input
        self.k = nn.Parameter(torch.as_tensor(1.0))

    def neuronal_charge(self, x: Tensor) -> None:
        """relu(k·v) of what LIF charges to."""
        LIFNode.neuronal_charge(self, x)  # type: ignore[arg-type]
        self.v = torch.relu(self.k * self.v)

    def neuronal_reset(self, spike: Tensor) -> None:
        """Reset; divided by k where ``scale_reset`` says so."""
        spike = spike.detach() if self.detach_reset else spike
        scale = self.k if self.scale_reset else 1.0
        if self.v_reset is None:
            self.v = (self.v - spike * self.v_threshold) / scale
        else:
            self.v = (1.0 - spike) * self.v / scale + spike * self.v_reset


class QIFNode(BaseNode):
    """Quadratic integrate-and-fire; arguments as in 0.0.0.0.14."""

    def __init__(
        self, tau: float = 2.0, v_c: float = 0.8, a0: float = 1.0, v_threshold: Any = 1.0, v_rest: float = 0.0,
        v_reset: float | None = -0.1, surrogate_function: Any = None, detach_reset: bool = False,
        step_mode: str = "s", backend: str = "torch", store_v_seq: bool = False,
    ):  # fmt: skip
        super().__init__(v_threshold, v_reset, surrogate_function, detach_reset, step_mode, backend, store_v_seq)
        self.tau, self.v_c, self.a0, self.v_rest = tau, v_c, a0, v_rest

    def neuronal_charge(self, x: Tensor) -> None:
        """v + (x + a₀·(v − v_rest)·(v − v_c))/τ."""
        self.v = self.v + (x + self.a0 * (self.v - self.v_rest) * (self.v - self.v_c)) / self.tau

    def made(self, common: dict[str, Any]) -> PointNeuron:
        """Return a ``QIF``."""
        return QIF(tau=self.tau, v_critical=self.v_c, a0=self.a0, v_rest=self.v_rest, **common)


class EIFNode(BaseNode):
    """Exponential integrate-and-fire; arguments as in 0.0.0.0.14."""

    def __init__(
        self, tau: float = 2.0, delta_T: float = 1.0, theta_rh: float = 0.8, v_threshold: Any = 1.0,
        v_rest: float = 0.0, v_reset: float | None = -0.1, surrogate_function: Any = None, detach_reset: bool = False,
        step_mode: str = "s", backend: str = "torch", store_v_seq: bool = False,
    ):  # fmt: skip
        super().__init__(v_threshold, v_reset, surrogate_function, detach_reset, step_mode, backend, store_v_seq)
        self.tau, self.delta_T, self.theta_rh, self.v_rest = tau, delta_T, theta_rh, v_rest

    def neuronal_charge(self, x: Tensor) -> None:
        """v + (x + v_rest − v + Δ·exp((v − θ)/Δ))/τ."""
        rise = self.delta_T * torch.exp((self.v - self.theta_rh) / self.delta_T)
        self.v = self.v + (x + self.v_rest - self.v + rise) / self.tau

    def made(self, common: dict[str, Any]) -> PointNeuron:
        """Return an ``EIF``."""
        fixed = {"tau": self.tau, "delta": self.delta_T, "rheobase": self.theta_rh, "v_rest": self.v_rest}
        return EIF(**fixed, **common)


class LIAFNode(LIFNode):
    """LIF that sends ``act`` of its membrane (less the threshold, where ``threshold_related``) and not its spikes."""

    def __init__(self, act: Callable[[Tensor], Tensor], threshold_related: bool, *arguments: Any, **named: Any):
        super().__init__(*arguments, **named)
        self.act, self.threshold_related = act, threshold_related

    def single_step_forward(self, x: Tensor) -> Tensor:
        """(B, …) → (B, …)."""
        self.v_float_to_tensor(x)
        self.neuronal_charge(x)
        sent = self.act(self.v - self.v_threshold if self.threshold_related else self.v)
        self.neuronal_reset(self.neuronal_fire())
        self._note()
        return sent

    def made(self, common: dict[str, Any]) -> None:  # type: ignore[override]
        """No operator sends that."""
        return


class _MultiStep:
    """0.0.0.0.12's separate multi-step classes: they take sequences and keep ``v_seq``."""

    def __init__(self, arguments: tuple[Any, ...], named: dict[str, Any], count: int):
        """Take ``backend`` and ``lava_s_cale`` where they stand there: after ``count`` arguments."""
        late = dict(zip(("backend", "lava_s_cale"), arguments[count:], strict=False))
        backend = named.pop("backend", late.get("backend", "torch"))
        named.pop("lava_s_cale", None)
        super().__init__(*arguments[:count], backend=backend, step_mode="m", store_v_seq=True, **named)  # type: ignore[call-arg]


class MultiStepIFNode(_MultiStep, IFNode):
    """Integrate-and-fire on sequences; arguments as in 0.0.0.0.12."""

    def __init__(self, *arguments: Any, **named: Any):
        super().__init__(arguments, named, 4)


class MultiStepLIFNode(_MultiStep, LIFNode):
    """Leaky integrate-and-fire on sequences; arguments as in 0.0.0.0.12."""

    def __init__(self, *arguments: Any, **named: Any):
        super().__init__(arguments, named, 6)


class MultiStepParametricLIFNode(_MultiStep, ParametricLIFNode):
    """Parametric LIF on sequences; arguments as in 0.0.0.0.12."""

    def __init__(self, *arguments: Any, **named: Any):
        super().__init__(arguments, named, 6)


class MultiStepEIFNode(_MultiStep, EIFNode):
    """Exponential integrate-and-fire on sequences; arguments as in 0.0.0.0.12."""

    def __init__(self, *arguments: Any, **named: Any):
        super().__init__(arguments, named, 8)


__all__ = [
    "BaseNode",
    "EIFNode",
    "IFNode",
    "KLIFNode",
    "LIAFNode",
    "LIFNode",
    "MultiStepEIFNode",
    "MultiStepIFNode",
    "MultiStepLIFNode",
    "MultiStepParametricLIFNode",
    "ParametricLIFNode",
    "QIFNode",
    "torch",
]
