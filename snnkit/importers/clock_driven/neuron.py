"""Neurons under their old names, single-step, multi-step, or switched by ``step_mode``.

They compute with snnkit's operators and keep ``v`` between calls until ``reset``. Multi-step ones keep ``v_seq``, the
membrane after every step, where ``store_v_seq`` asks for it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from snnkit.importers.clock_driven.base import MemoryModule, check_step_mode
from snnkit.neurons import IF, LIF, ParametricLIF, PointNeuron
from snnkit.surrogates import Sigmoid, Surrogate


def _constant(name: str) -> property:
    """A constant of the neuron, read and set under its old name on the node."""

    def get(node: BaseNode) -> Any:
        return getattr(node.neuron, name)

    def set_(node: BaseNode, value: Any) -> None:
        setattr(node.neuron, name, value)

    return property(get, set_)


class BaseNode(MemoryModule):
    """What the nodes share: they hold one of snnkit's neurons as ``neuron`` and its membrane as ``v``."""

    def __init__(self, neuron: PointNeuron, v_reset: float | None, step_mode: str, store_v_seq: bool):
        super().__init__()
        # Not registered as a submodule: state_dict keys are those of the original nodes.
        self.__dict__["neuron"] = neuron
        self.step_mode = check_step_mode(step_mode)
        self.store_v_seq = store_v_seq
        self.register_memory("v", 0.0 if v_reset is None else float(v_reset))

    v_threshold = _constant("v_threshold")
    v_reset = _constant("v_reset")
    detach_reset = _constant("detach_reset")
    decay_input = _constant("decay_input")
    tau = _constant("tau")
    surrogate_function = _constant("surrogate")

    @property
    def supported_backends(self) -> tuple[str, ...]:
        """Every name is accepted."""
        return ("torch", "cupy")

    def forward(self, x: Tensor) -> Tensor:
        """(B, …) → (B, …) in single-step mode, (T, B, …) → (T, B, …) in multi-step mode."""
        sequence = x if self.step_mode == "m" else x.unsqueeze(0)
        neuron = self.neuron
        state = (self.v,) if isinstance(self.v, Tensor) and self.v.shape == sequence.shape[1:] else None
        if self.store_v_seq:
            self.v_seq = neuron.membranes(sequence, state)
        spikes, (self.v,) = neuron.operator(sequence, state, neuron.constants(), neuron.surrogate)
        return spikes if self.step_mode == "m" else spikes[0]

    def extra_repr(self) -> str:
        """Show the constants."""
        return f"{self.neuron.extra_repr()}, step_mode={self.step_mode}"


def _surrogate(given: Any) -> Surrogate:
    return Sigmoid(4.0) if given is None else given


class IFNode(BaseNode):
    """Integrate-and-fire; arguments as in 0.0.0.0.14."""

    def __init__(
        self, v_threshold: float = 1.0, v_reset: float | None = 0.0, surrogate_function: Any = None,
        detach_reset: bool = False, step_mode: str = "s", backend: str = "torch", store_v_seq: bool = False,
        cupy_fp32_inference: bool = False,
    ):  # fmt: skip
        neuron = IF(v_threshold, v_reset, _surrogate(surrogate_function), detach_reset)
        super().__init__(neuron, v_reset, step_mode, store_v_seq)


class LIFNode(BaseNode):
    """Leaky integrate-and-fire; arguments as in 0.0.0.0.14."""

    def __init__(
        self, tau: float = 2.0, decay_input: bool = True, v_threshold: float = 1.0, v_reset: float | None = 0.0,
        surrogate_function: Any = None, detach_reset: bool = False, step_mode: str = "s", backend: str = "torch",
        store_v_seq: bool = False, cupy_fp32_inference: bool = False,
    ):  # fmt: skip
        neuron = LIF(tau, v_threshold, v_reset, decay_input, _surrogate(surrogate_function), detach_reset)
        super().__init__(neuron, v_reset, step_mode, store_v_seq)


class ParametricLIFNode(BaseNode):
    """LIF with a trained time constant, 1/τ = σ(w); the key of the parameter is ``w``."""

    def __init__(
        self, init_tau: float = 2.0, decay_input: bool = True, v_threshold: float = 1.0,
        v_reset: float | None = 0.0, surrogate_function: Any = None, detach_reset: bool = False,
        step_mode: str = "s", backend: str = "torch", store_v_seq: bool = False, cupy_fp32_inference: bool = False,
    ):  # fmt: skip
        neuron = ParametricLIF(
            init_tau, v_threshold, v_reset, decay_input, _surrogate(surrogate_function), detach_reset
        )
        super().__init__(neuron, v_reset, step_mode, store_v_seq)
        self.w = neuron.w

    def forward(self, x: Tensor) -> Tensor:
        """As ``BaseNode``, with the parameter as it is now (it may have been moved, copied or loaded)."""
        self.neuron._parameters["w"] = self.w
        return super().forward(x)


class _MultiStep:
    """0.0.0.0.12's separate multi-step classes; ``backend`` stands last, as there."""

    def __init__(self, *arguments: Any, backend: str = "torch", **named: Any):
        super().__init__(*arguments, step_mode="m", **named)


class MultiStepIFNode(_MultiStep, IFNode):
    """Integrate-and-fire on sequences."""


class MultiStepLIFNode(_MultiStep, LIFNode):
    """Leaky integrate-and-fire on sequences."""


class MultiStepParametricLIFNode(_MultiStep, ParametricLIFNode):
    """Parametric LIF on sequences."""


__all__ = [
    "BaseNode",
    "IFNode",
    "LIFNode",
    "MultiStepIFNode",
    "MultiStepLIFNode",
    "MultiStepParametricLIFNode",
    "ParametricLIFNode",
    "torch",
]
