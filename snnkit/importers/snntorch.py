"""snnTorch neurons and ``nn.Sequential`` networks → snnkit.

snnTorch fires strictly above the threshold and resets one step later; ``DelayedResetLIF`` and ``AlphaLIF`` do the same,
so spikes are equal and not merely close. A recurrent neuron becomes one of them inside of ``Recurrent``, which adds the
feedback to the input before the membrane does: equal but for rounding. A network whose ``forward`` loops over time
itself and hands membranes around cannot be translated as a whole: translate its neurons one by one.
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
from snnkit.neurons import AlphaLIF, DelayedResetLIF, Neuron, Recurrent, SelfFeedback

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
    """Translate a snnTorch neuron, or an ``nn.Sequential`` of neurons and torch layers.

    Neurons: ``Leaky``, ``Synaptic``, ``Lapicque``, ``Alpha``, ``RLeaky``, ``RSynaptic``.

    Args:
        module: a neuron, or a sequential network whose neurons have ``init_hidden=True``.
        example: a sequence (T, B, …); with it the report compares the two networks' outputs on it.

    Returns:
        A module on sequences (T, B, …) whose ``import_report`` says what was translated and how equal it is.

    Raises:
        UnknownNameError: a neuron or surrogate without a counterpart here.
        InvalidArgumentError: a network with a ``forward`` of its own, an option that has no counterpart, or ``module``
            is no module.
    """
    if not isinstance(module, nn.Module):
        raise InvalidArgumentError(f"from_snntorch({type(module).__name__}): must be a snnTorch module.")
    for name, part in module.named_modules():
        if _is_neuron(part) and type(part).__name__ != "RecurrentOneToOne":
            _check(part, name)
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


def _check(module: Any, name: str) -> None:
    """Raise for a neuron that cannot be translated."""
    kind = type(module).__name__
    where = name or kind
    if kind not in _KINDS:
        raise unknown_name("snnTorch neuron", kind, _KINDS, f"It stands at {name or 'the root'!r}.")
    for option in ("state_quant", "inhibition"):
        if getattr(module, option, False):
            raise InvalidArgumentError(f"{where}: {option}= has no counterpart here.")
    if float(module.graded_spikes_factor) != 1.0:
        raise InvalidArgumentError(f"{where}: graded_spikes_factor must be 1, got {module.graded_spikes_factor}.")
    if kind == "Lapicque" and isinstance(module.beta, nn.Parameter):
        raise InvalidArgumentError(
            f"{where}: Lapicque(learn_beta=True) computes its membrane from beta once, so that training beta changes "
            "nothing. Translate it without, or as Leaky."
        )
    if kind == "RSynaptic" and not module.reset_delay:
        raise InvalidArgumentError(
            f"{where}: RSynaptic(reset_delay=False) does not run in snnTorch itself; build it with reset_delay=True."
        )


def _neuron(module: Any, name: str, translation: Translation) -> nn.Module:
    kind = type(module).__name__
    made, conventions, shape = _KINDS[kind](module, name or kind)
    conventions = ["fires strictly above the threshold (>)", *conventions]
    if getattr(module, "reset_delay", True):
        conventions.append("the reset follows one step after the spike, and is detached")
    channels = max((p.numel() for p in (*made.parameters(False), *made.buffers(False)) if p.ndim), default=16)
    shape = shape or (channels,)
    found = mismatch(_run(copy.deepcopy(module)), made, channels=shape[0], size=shape[1:])
    result = type(made).__name__ + (f" of {type(made.neuron).__name__}" if isinstance(made, Recurrent) else "")
    translation.layers.append(Layer(name, f"snntorch.{kind}", result, found, tuple(conventions)))
    return made


_Made = tuple[Neuron, list[str], tuple[int, ...]]  # the neuron, conventions, the shape of its inputs if it has one


def _leaky(module: Any, where: str) -> _Made:
    kind = type(module).__name__
    synapse = hasattr(module, "alpha")
    made = DelayedResetLIF(
        decay=_number(module.beta),
        synapse_decay=_number(module.alpha) if synapse else 0.0,
        v_threshold=_number(module.threshold),
        v_reset=_RESETS[int(module.reset_mechanism_val)],
        delay_reset=module.reset_delay,
        reset_input=kind != "Leaky",
        surrogate=_surrogate(module.spike_grad),
    )
    return made, ["the input is not divided by the time constant"], ()


def _recurrent(module: Any, where: str) -> _Made:
    neuron, conventions, _ = _leaky(module, where)
    if module.all_to_all:
        feedback, shape = copy.deepcopy(module.recurrent), (module.linear_features,)
        if module.linear_features is None:
            shape = (module.conv2d_channels, 8, 8)
    else:
        weight = module.V.detach().clone().float()
        if weight.ndim > 1:
            raise InvalidArgumentError(
                f"{where}: V has the shape {tuple(weight.shape)}; feedback of single neurons is one weight, or (C,)."
            )
        feedback, shape = SelfFeedback(weight.numel() if weight.ndim else None), tuple(weight.shape)
        feedback.weight = nn.Parameter(weight, requires_grad=module.V.requires_grad)
    conventions = [*conventions, "feedback of the last spikes is added to the input first (rounds differently)"]
    return Recurrent(neuron, feedback), conventions, shape


def _lapicque(module: Any, where: str) -> _Made:
    resistance, capacity, step = (v.detach() for v in (module.R, module.C, module.time_step))
    taken = step / (resistance * capacity)
    if float(taken.max()) > 1.0:
        raise InvalidArgumentError(
            f"{where}: time_step/(R·C) = {float(taken.max()):g} > 1 turns the membrane's sign in every step; take "
            "beta ≥ 1/e, or a shorter time_step."
        )
    made = DelayedResetLIF(
        decay=_number(1 - taken),
        input_gain=_number(resistance.double() * (1 / (resistance * capacity)) * step),
        v_threshold=_number(module.threshold),
        v_reset=_RESETS[int(module.reset_mechanism_val)],
        reset_input=True,
        surrogate=_surrogate(module.spike_grad),
    )
    return made, ["an RC circuit: the input is multiplied by time_step/C, the membrane by 1 − time_step/(R·C)"], ()


def _alpha(module: Any, where: str) -> _Made:
    # Tensors and not numbers: κ is then computed in the precision in which snnTorch does it.
    alpha, beta = (
        nn.Parameter(v.detach().clone().float()) if isinstance(v, nn.Parameter) else v.detach().clone().float()
        for v in (module.alpha, module.beta)
    )
    reset = _RESETS[int(module.reset_mechanism_val)]
    made = AlphaLIF(alpha, beta, _number(module.threshold), reset, _surrogate(module.spike_grad))
    return made, ["the membrane is the difference of two exponentials"], ()


_KINDS: dict[str, Callable[[Any, str], _Made]] = {
    "Leaky": _leaky,
    "Synaptic": _leaky,
    "Lapicque": _lapicque,
    "Alpha": _alpha,
    "RLeaky": _recurrent,
    "RSynaptic": _recurrent,
}


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
                for state in ("mem", "syn", "spk", "syn_exc", "syn_inh"):
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
