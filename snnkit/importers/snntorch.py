"""snnTorch neurons and ``nn.Sequential`` networks → snnkit.

snnTorch fires strictly above the threshold and resets one step later; ``DelayedResetLIF`` does the same, so spikes are
equal and not merely close. A network whose ``forward`` loops over time itself and hands membranes around cannot be
translated as a whole: translate its neurons one by one.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from snnkit import surrogates
from snnkit.errors import InvalidArgumentError, unknown_name
from snnkit.importers.loops import OneStep, OverSteps
from snnkit.importers.report import Layer, Translation, mismatch
from snnkit.kernels.charge_fire_reset import NO_RESET
from snnkit.neurons import DelayedResetLIF

_RESETS = {0: None, 1: 0.0, 2: NO_RESET}
_SURROGATES = {
    "atan": surrogates.ATan,
    "fast_sigmoid": surrogates.FastSigmoid,
    "sigmoid": surrogates.Sigmoid,
    "triangular": surrogates.Triangular,
    "spike_rate_escape": surrogates.SpikeRateEscape,
    "SSO": surrogates.StochasticSpikeOperator,
    "SFS": surrogates.SparseFastSigmoid,
    "straight_through_estimator": surrogates.StraightThrough,
    "heaviside": partial(surrogates.LeakyKReLU, 0.0, 1.0),
    "LSO": surrogates.LeakyKReLU,
}
_ARGUMENTS = {"spike_rate_escape": ("beta", "slope"), "SSO": ("mean", "variance"), "SFS": ("slope", "B")}


def from_snntorch(module: nn.Module, example: Tensor | None = None) -> nn.Module:
    """Translate a snnTorch ``Leaky`` or ``Synaptic``, or an ``nn.Sequential`` of such neurons and torch layers.

    Args:
        module: a neuron, or a sequential network whose neurons have ``init_hidden=True``.
        example: a sequence (T, B, …); with it the report compares the two networks' outputs on it.

    Returns:
        A module on sequences (T, B, …) whose ``import_report`` says what was translated and how equal it is.

    Raises:
        UnknownNameError: a neuron or surrogate without a counterpart here.
        InvalidArgumentError: a network with a ``forward`` of its own, or an option that has no counterpart.
    """
    original = copy.deepcopy(module)
    translation = Translation("snnTorch")
    if _is_neuron(module):
        translated: nn.Module = _neuron(module, "", translation)
    elif type(module) is nn.Sequential:
        inner = _row(copy.deepcopy(module), "", translation)
        translated = OverSteps(inner)
    else:
        raise InvalidArgumentError(
            f"{type(module).__name__} has a forward of its own, which may hand membranes around. Translate its neurons "
            "one by one, or write it as nn.Sequential with init_hidden=True."
        )
    whole = None
    if example is not None:
        with torch.no_grad():
            whole = (_run(original.eval())(example) - copy.deepcopy(translated).eval()(example)).abs().max().item()
    translated.import_report = translation.report(whole)
    return translated


def _is_neuron(module: nn.Module) -> bool:
    return type(module).__module__.startswith("snntorch.")


def _row(row: nn.Sequential, name: str, translation: Translation) -> nn.Sequential:
    for child_name, child in list(row.named_children()):
        path = f"{name}.{child_name}".lstrip(".")
        if _is_neuron(child):
            if not child.init_hidden:
                raise InvalidArgumentError(f"{path}: a neuron inside nn.Sequential must have init_hidden=True.")
            row._modules[child_name] = OneStep(_neuron(child, path, translation))
        elif type(child) is nn.Sequential:
            row._modules[child_name] = _row(child, path, translation)
    return row


def _neuron(module: Any, name: str, translation: Translation) -> nn.Module:
    kind = type(module).__name__
    if kind not in ("Leaky", "Synaptic"):
        raise unknown_name("snnTorch neuron", kind, ["Leaky", "Synaptic"], f"It stands at {name or 'the root'!r}.")
    for option in ("state_quant", "inhibition"):
        if getattr(module, option, False):
            raise InvalidArgumentError(f"{name or kind}: {option}= has no counterpart here.")
    if float(module.graded_spikes_factor) != 1.0:
        raise InvalidArgumentError(
            f"{name or kind}: graded_spikes_factor must be 1, got {module.graded_spikes_factor}."
        )
    made = DelayedResetLIF(
        decay=_number(module.beta),
        synapse_decay=_number(module.alpha) if kind == "Synaptic" else 0.0,
        v_threshold=_number(module.threshold),
        v_reset=_RESETS[int(module.reset_mechanism_val)],
        delay_reset=module.reset_delay,
        reset_input=kind == "Synaptic",
        surrogate=_surrogate(module.spike_grad),
    )
    conventions = ["fires strictly above the threshold (>)", "the input is not divided by the time constant"]
    if module.reset_delay:
        conventions.append("the reset follows one step after the spike, and is detached")
    channels = max((p.numel() for p in (*made.parameters(), *made.buffers()) if p.ndim), default=16)
    found = mismatch(_run(copy.deepcopy(module)), made, channels=channels)
    translation.layers.append(Layer(name, f"snntorch.{kind}", "DelayedResetLIF", found, tuple(conventions)))
    return made


def _number(value: Tensor) -> float | Tensor:
    """Return a fixed scalar as a number, anything trained or per neuron as the tensor it is."""
    if isinstance(value, nn.Parameter):
        return nn.Parameter(value.detach().clone().float())
    return float(value) if value.numel() == 1 else value.detach().clone().float()


def _run(module: Any) -> Callable[[Tensor], Tensor]:
    """Return a foreign neuron or network as a function of a whole sequence, from rest."""

    def step(x_t: Tensor) -> Tensor:
        out = module(x_t)
        return out[0] if isinstance(out, tuple) else out

    def run(x: Tensor) -> Tensor:
        for part in module.modules():
            if _is_neuron(part):
                for state in ("mem", "syn"):
                    if hasattr(part, state):
                        setattr(part, state, torch.zeros(0))
        return torch.stack([step(x_t) for x_t in x])

    return run


def _surrogate(gradient: Callable[..., Any]) -> surrogates.Surrogate:
    """Recognise ``snntorch.surrogate``'s functions by their name, and read their steepness."""
    name = getattr(gradient, "__qualname__", type(gradient).__name__).split(".")[0]
    if name not in _SURROGATES:
        raise unknown_name("snnTorch surrogate", name, _SURROGATES)
    closure = gradient.__closure__ or ()
    cells = dict(zip(gradient.__code__.co_freevars, (cell.cell_contents for cell in closure), strict=True))
    numbers = {key: float(value) for key, value in cells.items() if isinstance(value, (int, float))}
    return _SURROGATES[name](*(numbers[key] for key in _ARGUMENTS.get(name, numbers)))
