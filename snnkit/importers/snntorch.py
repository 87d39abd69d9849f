"""snnTorch neurons and ``nn.Sequential`` networks → snnkit.

snnTorch fires strictly above the threshold and resets one step later; ``DelayedResetLIF`` and ``AlphaLIF`` do the same,
so spikes are equal and not merely close. A recurrent neuron becomes one of them inside of ``Recurrent``, which adds the
feedback to the input before the membrane does: equal but for rounding. A network whose ``forward`` loops over time
itself and hands membranes around cannot be translated as a whole: translate its neurons one by one. ``with_handed``
puts them into such a network, for whoever checks that it does nothing else with its membranes.

What snnTorch clamps at every step (alpha and beta to 0 … 1) is clamped here at every step, so that training cannot
leave the range. A subclass that does as its parent is translated as that; one with a behaviour of its own runs as it is
inside of ``nn.Sequential``, with its state held outside of it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from snnkit import surrogates
from snnkit.errors import InvalidArgumentError, UnknownNameError, unknown_name
from snnkit.importers.foreign import copied, library_class, own_behaviour
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
    original = copied(module)
    rest(original)
    translation = _Network("snnTorch")
    if _is_neuron(module):
        translated = _alone(copied(original), translation)
    elif type(module) is nn.Sequential:
        inner = _row(copied(original), "", translation)
        translated = OverSteps(inner, translation.stateful)
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


@dataclass
class _Network(Translation):
    """The report under construction, and what the modules of one network share.

    Attributes:
        made: neurons and their translations, by identity: one that stands in two places stays one.
        stateful: foreign modules that run as they are.
    """

    made: dict[int, nn.Module] = field(default_factory=dict)
    stateful: list[nn.Module] = field(default_factory=list)


class Spikes(nn.Module):
    """A foreign neuron that runs as it is: of what it returns, the spikes."""

    def __init__(self, module: nn.Module):
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        """(B, …) → (B, …)."""
        return _spikes(self.module(x))


class Handed(nn.Module):
    """A translated neuron for a ``forward`` that hands membranes around: it takes them and keeps its own.

    What it hands back in their place are NaNs, so that whatever is computed of them shows.

    Args:
        neuron: on one step (B, …).
        states: how many tensors the original gives beside its spikes; 0 where it gives the spikes alone.
        start: how many it starts from.
    """

    def __init__(self, neuron: nn.Module, states: int, start: int):
        super().__init__()
        self.neuron, self.states, self.start = neuron, states, start

    def forward(self, x: Tensor, *_: Tensor, **__: Tensor) -> Any:
        """(B, …) → spikes (B, …), with the states that the original gives."""
        spikes = self.neuron(x)
        return (spikes, *(torch.full_like(spikes, torch.nan) for _ in range(self.states))) if self.states else spikes

    def reset_mem(self) -> Any:
        """Return as many tensors as the original starts from; nobody reads them."""
        states = tuple(torch.zeros(0) for _ in range(self.start))
        return states if self.start > 1 else states[0]

    init_leaky = init_synaptic = init_lapicque = init_alpha = init_rleaky = init_rsynaptic = reset_mem


_STATES = {"Leaky": 1, "Synaptic": 2, "Lapicque": 1, "Alpha": 3, "RLeaky": 2, "RSynaptic": 3}


def neurons_of(module: nn.Module) -> dict[str, nn.Module]:
    """Return the snnTorch neurons of a module, by path."""
    return {
        name: part
        for name, part in module.named_modules()
        if _is_neuron(part) and type(part).__name__ != "RecurrentOneToOne"
    }


def with_handed(module: nn.Module) -> nn.Module:
    """Return a copy of a network whose neurons are ``Handed``: for a ``forward`` that calls them once a step.

    Whoever uses it runs both beside one another: only then is known that the network keeps every membrane to its
    neuron. Within ``snnkit.importers.loops.over_steps`` the neurons go on from step to step.

    Raises:
        UnknownNameError, InvalidArgumentError: a neuron that cannot be translated.
    """
    network = copied(module)
    rest(network)
    translation, made = _Network("snnTorch"), dict[int, nn.Module]()
    for name, part in neurons_of(network).items():
        kind = _check(part, name)
        why = own_behaviour(part, library_class(part, "snntorch"))  # type: ignore[arg-type]
        if why:
            raise InvalidArgumentError(f"{name}: {type(part).__name__} {why}, so that it cannot be translated.")
        given = _STATES[kind] if not part.init_hidden or part.output else 0
        recurrent = kind.startswith("R")  # its spikes are a state, and given once
        neuron = OneStep(_neuron(part, kind, name, translation))
        made[id(part)] = Handed(neuron, given - recurrent if given else 0, _STATES[kind])
    for part in list(network.modules()):
        for child_name, child in part._modules.items():
            if id(child) in made:
                part._modules[child_name] = made[id(child)]
    return network


def _is_neuron(module: nn.Module) -> bool:
    return library_class(module, "snntorch") is not None


def _alone(module: nn.Module, translation: _Network) -> nn.Module:
    """Translate a neuron that is a network of its own."""
    made = _placed(module, "", translation)
    return made.module if isinstance(made, OneStep) else OverSteps(made, translation.stateful)


def _row(row: nn.Sequential, name: str, translation: _Network) -> nn.Sequential:
    for child_name, child in row._modules.items():
        path = f"{name}.{child_name}".lstrip(".")
        if _is_neuron(child):
            if not child.init_hidden:
                raise InvalidArgumentError(f"{path}: a neuron inside nn.Sequential must have init_hidden=True.")
            if id(child) not in translation.made:
                translation.made[id(child)] = _placed(child, path, translation)
            row._modules[child_name] = translation.made[id(child)]
        elif type(child) is nn.Sequential:
            row._modules[child_name] = _row(child, path, translation)
        else:
            inside = [inner for inner, part in child.named_modules() if _is_neuron(part)]
            if inside:
                raise InvalidArgumentError(
                    f"{path} ({type(child).__name__}) has a forward of its own and holds the neuron "
                    f"{path}.{inside[0]}: what it does with its membrane is not known. Write it as nn.Sequential."
                )
    return row


def _placed(module: Any, name: str, translation: _Network) -> nn.Module:
    """Return what stands for a neuron in a network of steps."""
    base = library_class(module, "snntorch")
    why = own_behaviour(module, base)
    if not why:
        return OneStep(_neuron(module, base.__name__, name, translation))
    kind = type(module).__name__
    if not module.init_hidden:
        raise InvalidArgumentError(
            f"{name or kind}: {kind} {why}, so that it cannot be translated; with init_hidden=True it runs as it is."
        )
    translation.kept.append(kind)
    translation.stateful.append(module)
    text = f"{kind} {why}: it runs as it is, with its state held outside of it"
    translation.layers.append(Layer(name, f"kept.{kind}", kind, None, (text,)))
    return Spikes(module)


def _check(module: Any, name: str) -> str:
    """Return the kind of a neuron, or raise where it cannot be translated."""
    kind = library_class(module, "snntorch").__name__
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
    return str(kind)


def _neuron(module: Any, kind: str, name: str, translation: Translation) -> nn.Module:
    try:
        made, conventions, shape = _KINDS[kind](module, name or kind)
    except (InvalidArgumentError, UnknownNameError) as error:
        named = str(error) if str(error).startswith(name or kind) else f"{name or 'the root'} ({kind}): {error}"
        raise type(error)(named) from None
    conventions = ["fires strictly above the threshold (>)", *conventions]
    if getattr(module, "reset_delay", True):
        conventions.append("the reset follows one step after the spike, and is detached")
    channels = max((p.numel() for p in (*made.parameters(False), *made.buffers(False)) if p.ndim), default=16)
    shape = shape or (channels,)
    pair = _run(copied(module).float()), copy.deepcopy(made).float()
    found = mismatch(*pair, channels=shape[0], size=shape[1:])
    result = type(made).__name__ + (f" of {type(made.neuron).__name__}" if isinstance(made, Recurrent) else "")
    translation.layers.append(Layer(name, f"snntorch.{kind}", result, found, tuple(conventions)))
    return made


class ClampedDelayedResetLIF(DelayedResetLIF):
    """``DelayedResetLIF`` whose trained shares are clamped to 0 … 1 whenever it runs, as in snnTorch."""

    def constants(self) -> Any:
        """Return the operator's constants."""
        p = super().constants()
        return replace(p, decay=_clamped(p.decay), synapse_decay=_clamped(p.synapse_decay))


class ClampedAlphaLIF(AlphaLIF):
    """``AlphaLIF`` whose trained shares are clamped to 0 … 1 whenever it runs, as in snnTorch."""

    def constants(self) -> Any:
        """Return the operator's constants."""
        p = super().constants()
        return replace(p, alpha=_clamped(p.alpha), beta=_clamped(p.beta))


def _clamped(value: float | Tensor) -> float | Tensor:
    return value.clamp(0.0, 1.0) if isinstance(value, Tensor) else min(max(value, 0.0), 1.0)


def _shares(plain: type, clamped: type, shares: dict[str, float | Tensor], **others: Any) -> Any:
    """Make a neuron: trained shares keep the value that they have, also one that is clamped when the neuron runs."""
    trained = {name: value for name, value in shares.items() if isinstance(value, nn.Parameter)}
    inside = {name: _clamped(value.detach() if name in trained else value) for name, value in shares.items()}
    made = (clamped if trained else plain)(**inside, **others)
    for name, value in trained.items():
        delattr(made, name)
        setattr(made, name, value)
    return made


_Made = tuple[Neuron, list[str], tuple[int, ...]]  # the neuron, conventions, the shape of its inputs if it has one


def _leaky(module: Any, where: str) -> _Made:
    kind = library_class(module, "snntorch").__name__
    shares = {"decay": _number(module.beta), "synapse_decay": _number(getattr(module, "alpha", torch.zeros(())))}
    made = _shares(
        DelayedResetLIF,
        ClampedDelayedResetLIF,
        shares,
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
        weight = _tensor(module.V.detach())
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
    shares = {name: _tensor(getattr(module, name)) for name in ("alpha", "beta")}
    options = {"v_threshold": _number(module.threshold), "v_reset": _RESETS[int(module.reset_mechanism_val)]}
    made = _shares(AlphaLIF, ClampedAlphaLIF, shares, surrogate=_surrogate(module.spike_grad), **options)
    return made, ["the membrane is the difference of two exponentials"], ()


_KINDS: dict[str, Callable[[Any, str], _Made]] = {
    "Leaky": _leaky,
    "Synaptic": _leaky,
    "Lapicque": _lapicque,
    "Alpha": _alpha,
    "RLeaky": _recurrent,
    "RSynaptic": _recurrent,
}


def _tensor(value: Tensor) -> Tensor:
    """Return a copy, a Parameter of a Parameter; whole numbers become float."""
    copied_ = value.detach().clone()
    copied_ = copied_ if copied_.is_floating_point() else copied_.float()
    return nn.Parameter(copied_) if isinstance(value, nn.Parameter) else copied_


def _number(value: Tensor) -> float | Tensor:
    """Return a fixed scalar as a number, anything trained or per neuron as the tensor it is."""
    return float(value) if value.numel() == 1 and not isinstance(value, nn.Parameter) else _tensor(value)


def _spikes(out: Any) -> Tensor:
    return out[0] if isinstance(out, tuple) else out


def rest(module: nn.Module) -> None:
    """Let snnTorch's neurons forget what earlier calls left."""
    for part in module.modules():
        if _is_neuron(part):
            for state in ("mem", "syn", "spk", "syn_exc", "syn_inh"):
                if hasattr(part, state):
                    setattr(part, state, torch.zeros(0))


def _run(module: nn.Module) -> Callable[[Tensor], Tensor]:
    """Return a foreign neuron or network as a function of a whole sequence, from rest."""

    def run(x: Tensor) -> Tensor:
        rest(module)
        return torch.stack([_spikes(module(x_t)) for x_t in x])

    return run


def _surrogate(gradient: Callable[..., Any]) -> surrogates.Surrogate:
    """Recognise ``snntorch.surrogate``'s functions by their name, and read their steepness."""
    name = getattr(gradient, "__qualname__", type(gradient).__name__).split(".")[0]
    if name not in _SURROGATES or not getattr(gradient, "__module__", "").startswith("snntorch."):
        raise unknown_name("snnTorch surrogate", name, _SURROGATES)
    closure = gradient.__closure__ or ()
    cells = dict(zip(gradient.__code__.co_freevars, (cell.cell_contents for cell in closure), strict=True))
    numbers = {key: float(value) for key, value in cells.items() if isinstance(value, (int, float))}
    return _SURROGATES[name](*(numbers[key] for key in _ARGUMENTS.get(name, numbers)))
