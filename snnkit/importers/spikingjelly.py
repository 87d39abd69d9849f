"""SpikingJelly 2.0 modules and whole networks → snnkit.

Neurons become snnkit's, step-mode layers and containers become ``snnkit.layers.sequence``; parameters and state_dict
keys stay as they are. A network in multi-step mode is translated layer by layer; one in single-step mode is wrapped
so that it, too, takes a whole sequence (T, B, …). Modules that hold others keep their own ``forward``. A stateful
module that has no counterpart here (a user's neuron with a ``neuronal_charge`` of its own, ``SynapseFilter``, a neuron
whose membrane was set by hand) runs as it is; its state, too, begins anew with every call, and goes with a stream.

Conventions that differ: SpikingJelly keeps membranes between calls until ``reset_net``; here every call starts at rest.
Its neurons do not detach the reset unless told to; the translated ones do as the original did.

A network in single-step mode is called once for every step of the sequence. One that loops over time in its own
``forward`` takes a sequence of length 1, whose only step is what it took before.

To add a neuron: a function from the foreign module to ours, and its line in ``_NEURONS``.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from numbers import Real
from typing import Any

import torch
from torch import Tensor, nn

from snnkit import neurons, surrogates
from snnkit.errors import InvalidArgumentError, UnknownNameError, unknown_name
from snnkit.importers.foreign import copied, is_a, library_class, own_behaviour
from snnkit.importers.loops import HeldDropout, OneStep, OverSteps, SequentialOverSteps
from snnkit.importers.memory import CalledAgainError, Once, Remember
from snnkit.importers.report import Layer, Translation, mismatch
from snnkit.layers import sequence
from snnkit.learning import Momentary

_LIBRARY = "spikingjelly"
_REST = "every call starts at rest; SpikingJelly keeps membranes until reset_net"
_LEFT = "what earlier calls had left in the membranes is dropped, as reset_net does"
_SEQUENCE = {layer.__name__: layer for layer in sequence.SEQUENCE_LAYERS}
_MULTI = {"SeqToANNContainer": sequence.Folded, "MultiStepContainer": SequentialOverSteps}
_ROWS = (nn.Sequential, *_MULTI.values())


def from_spikingjelly(module: nn.Module, example: Tensor | None = None) -> nn.Module:
    """Translate a SpikingJelly 2.0 module or network; the original is left as it was.

    Args:
        module: a neuron, layer or network; all of its step-mode modules must be in the same mode.
        example: a sequence (T, B, …); with it the report compares the two networks' outputs on it. A network in
            multi-step mode that calls one neuron several times needs it: it is seen by running.

    Returns:
        A module on sequences (T, B, …) that shares no tensors with the original. Its ``import_report`` says per neuron
        the largest mismatch on random input, which conventions were translated, and what runs as it is.

    Raises:
        InvalidArgumentError: single-step and multi-step modules are mixed outside of containers that bridge them, an
            option has no counterpart, or ``module`` is no module.
    """
    if not isinstance(module, nn.Module):
        raise InvalidArgumentError(f"from_spikingjelly({type(module).__name__}): must be a SpikingJelly module.")
    original = copied(module)
    translation = _Network("SpikingJelly")
    for part in original.modules():
        _settle(part, translation)
    single = _mode(original) == "s"
    translated = _translate(copied(original), "", translation, single)
    if single:
        # A lone neuron stands for itself; anything else is looped over.
        alone = isinstance(translated, OneStep)
        translated = translated.module if alone else OverSteps(translated, translation.stateful)
    elif translation.stateful or (translation.again and not isinstance(translated, neurons.Neuron)):
        Remember(translation.stateful).watch(translated)
    whole = _whole(original, translated, example, single, translation)
    translated.import_report = translation.report(whole)
    return translated


@dataclass
class _Network(Translation):
    """The report under construction, and what the modules of one network share.

    Attributes:
        made: modules and their translations, by identity: one that stands in two places stays one.
        stateful: foreign modules that run as they are.
        again: whether a neuron stands in two places.
        left: whether earlier calls had left something in membranes.
    """

    made: dict[int, tuple[nn.Module, nn.Module]] = field(default_factory=dict)
    stateful: list[nn.Module] = field(default_factory=list)
    again: bool = False
    left: bool = False


def _whole(
    original: nn.Module, translated: nn.Module, example: Tensor | None, single: bool, translation: _Network
) -> float | None:
    """Compare the networks on the example, and find out whether neurons of a sequence network run once each."""
    once = None
    if not single and not translation.stateful and not translation.again and not _is_row(translated):
        once = Once()
        named = {name: part for name, part in translated.named_modules() if isinstance(part, neurons.Neuron)}
        once.watch(translated, named)
    if example is None:
        return None
    try:
        return _compare(original, translated, example, single)
    except CalledAgainError:
        if once is None:
            raise
        once.remove()
        Remember().watch(translated)
        return _compare(original, translated, example, single)


def _is_row(module: nn.Module) -> bool:
    """Whether each part of a network runs once because its forward says no more than one after the other."""
    if type(module) in _ROWS:
        return all(_is_row(child) for child in module.children())
    return type(module).__module__.partition(".")[0] in ("torch", "snnkit")


def _is_foreign(module: nn.Module) -> bool:
    return type(module).__module__.startswith(f"{_LIBRARY}.")


def _mode(module: nn.Module) -> str:
    """Return the step mode of the outermost modules that have one ("m" for those that only know sequences)."""
    if is_a(module, _LIBRARY, "MultiStepModule"):
        return "m"
    if is_a(module, _LIBRARY, "StepModule") and hasattr(module, "step_mode"):
        return str(module.step_mode)
    modes = {_mode(child) for child in module.children()} - {""}
    if len(modes) > 1:
        raise InvalidArgumentError(
            f"{type(module).__name__} mixes single-step and multi-step modules. Call "
            "functional.set_step_mode(net, 'm') (or 's') first."
        )
    return modes.pop() if modes else ""


def _settle(module: Any, translation: _Network) -> None:
    """Drop what a call left in a module, and make what it starts from what ``reset`` gives.

    Numbers are where it starts: 0.75 where someone set ``v = 0.75``. Tensors and lists come from calls.
    """
    if not is_a(module, _LIBRARY, "MemoryModule"):
        return
    module.__dict__["_preset"] = ""
    for name, value in module._memories.items():
        rest = module._memories_rv[name]
        if isinstance(value, Real):
            if value != rest:
                module.__dict__["_preset"] = f"its {name} starts at {value:g}"
            module._memories_rv[name] = value
        else:
            translation.left |= isinstance(value, Tensor)
            module._memories[name] = copy.deepcopy(rest)
    if hasattr(module, "v_seq"):
        module.v_seq = None
    start = 0.0 if getattr(module, "v_reset", None) is None else module.v_reset
    at = module._memories.get("v")
    if isinstance(at, Real) and isinstance(start, Real) and at != start:
        module.__dict__["_preset"] = f"its v starts at {at:g}"


def _translate(module: nn.Module, name: str, translation: _Network, single: bool) -> nn.Module:
    _, known = translation.made.get(id(module), (module, None))
    if known is None:
        known = _translated(module, name, translation, single)
        translation.made |= {id(part): (part, known) for part in (module, known)}
    elif isinstance(known, (OneStep, neurons.Neuron)):
        translation.again = True
    return known


def _translated(module: nn.Module, name: str, translation: _Network, single: bool) -> nn.Module:
    base = library_class(module, _LIBRARY)
    kind = "" if base is None else base.__name__
    if base is not None and (kind in _NEURONS or _holds_state(module)):
        if type(module) is base and kind in ("Dropout", "Dropout2d"):
            return _layer(module, name, translation, single)
        why = own_behaviour(module, base) or module.__dict__.pop("_preset", "")
        if kind in _NEURONS and not why:
            return _neuron(module, kind, name, translation, single)
        return _keep(module, name, translation, why or "has no counterpart here")
    single_inside = single or kind == "MultiStepContainer"
    for child_name, child in module._modules.items():
        if child is not None:
            path = f"{name}.{child_name}".lstrip(".")
            module._modules[child_name] = _translate(child, path, translation, single_inside)
    return _layer(module, name, translation, single) if _is_foreign(module) else module


def _holds_state(module: Any) -> bool:
    if is_a(module, _LIBRARY, "MemoryModule"):
        return bool(module._memories)
    return any(cls.__module__.startswith("spikingjelly.activation_based.neuron") for cls in type(module).__mro__)


def _keep(module: nn.Module, name: str, translation: _Network, why: str) -> nn.Module:
    """Leave a stateful module what it is; whoever runs the network holds its state."""
    kind = type(module).__name__
    translation.kept.append(kind)
    translation.stateful.append(module)
    text = f"{kind} {why}: it runs as it is, with its state held outside of it"
    translation.layers.append(Layer(name, f"kept.{kind}", kind, None, (_REST, text)))
    return module


def _layer(module: nn.Module, name: str, translation: Translation, single: bool) -> nn.Module:
    """Translate a layer or container without memory; whatever is not known stays."""
    kind = type(module).__name__
    if kind in ("Dropout", "Dropout2d"):
        made: nn.Module = HeldDropout(module.p, kind == "Dropout2d") if single else getattr(sequence, kind)(module.p)
        made.train(module.training)
    elif kind in _MULTI:
        made = _adopt(_MULTI[kind], module)
    elif kind in _SEQUENCE:
        plain = getattr(nn, kind)
        made = _adopt(plain if single else _SEQUENCE[kind], module)
    else:
        translation.kept.append(kind)
        return module
    if kind not in _MULTI:
        made.step_mode = "s" if single else "m"  # published forwards ask their layers for it
    translation.layers.append(Layer(name, f"layer.{kind}", type(made).__name__))
    return made


def _adopt(cls: type[nn.Module], module: nn.Module) -> nn.Module:
    """Return a ``cls`` with the content of ``module``, which is of the same torch class but for its step mode."""
    made = cls.__new__(cls)
    made.__dict__.update({key: value for key, value in module.__dict__.items() if key != "_step_mode"})
    return made


def _neuron(module: nn.Module, kind: str, name: str, translation: _Network, single: bool) -> nn.Module:
    try:
        made, conventions = _NEURONS[kind](module)
    except (InvalidArgumentError, UnknownNameError) as error:
        raise type(error)(f"{name or 'the root'} ({kind}): {error}") from None
    made.train(module.training)
    channels = next((len(p) for p in made.parameters() if p.ndim == 1), 16)
    timesteps = int(getattr(module, "T", 8))
    pair = _neuron_runner(copy.deepcopy(module).float()), copy.deepcopy(made).float()
    found = mismatch(*pair, timesteps, channels)
    said = (_REST, *((_LEFT,) if translation.left else ()), *conventions)
    translation.layers.append(Layer(name, f"neuron.{kind}", type(made).__name__, found, said))
    whole = OneStep(made) if single else made
    whole.step_mode = "s" if single else "m"
    return whole


def _runner(module: nn.Module) -> Callable[[Tensor], Tensor]:
    """Return the foreign module as a function of a whole sequence, from rest."""

    def run(x: Tensor) -> Tensor:
        _reset(module)
        if _mode(module) == "s":
            return torch.stack([module(x_t) for x_t in x])
        return module(x)

    return run


def _neuron_runner(module: nn.Module) -> Callable[[Tensor], Tensor]:
    """The same for one neuron: some want images (T, B, C, H, W), some return a list of steps."""
    run = _runner(module)

    def run_neuron(x: Tensor) -> Tensor:
        out = run(x[..., None, None])
        return (torch.stack(out) if isinstance(out, list) else out).reshape(x.shape)

    return run_neuron


def _reset(module: nn.Module) -> None:
    for part in module.modules():
        reset = getattr(part, "reset", None)
        if is_a(part, _LIBRARY, "MemoryModule") and callable(reset):
            reset()


def _compare(original: nn.Module, translated: nn.Module, example: Tensor, single: bool) -> float:
    """Both in eval mode: batch statistics and dropout are not the subject."""
    modes = {part: part.training for part in translated.modules()}
    with torch.no_grad():
        a, b = _runner(original.eval())(example), translated.eval()(example)
    for part, training in modes.items():
        part.training = training
    return (a - b).abs().max().item()


def _surrogate(module: nn.Module) -> surrogates.Surrogate:
    """Translate a surrogate by its class name and its float attributes, in the order of ours."""
    foreign = module.surrogate_function
    kind = type(foreign).__name__
    known = {cls.__name__: cls for cls in surrogates.SURROGATES.values()}
    known["DeterministicPass"] = surrogates.StraightThrough
    if kind not in known or not _is_foreign(foreign):
        own = "" if kind not in known else f"This one is {type(foreign).__module__}'s own."
        raise unknown_name("SpikingJelly surrogate", kind, known, own)
    if not getattr(foreign, "spiking", True):
        raise InvalidArgumentError(f"surrogate {kind}(spiking=False) is the smooth primitive, not a spike.")
    names = known[kind].__dataclass_fields__
    given = {name: float(getattr(foreign, name)) for name in names if hasattr(foreign, name)}
    return known[kind](**given)


_Made = tuple[nn.Module, tuple[str, ...]]


def _common(module: Any) -> dict[str, Any]:
    return {
        "v_threshold": module.v_threshold,
        "v_reset": module.v_reset,
        "surrogate": _surrogate(module),
        "detach_reset": module.detach_reset,
    }


def _if(module: Any) -> _Made:
    return neurons.IF(**_common(module)), ()


def _lif(module: Any) -> _Made:
    return neurons.LIF(tau=module.tau, decay_input=module.decay_input, **_common(module)), ()


def _momentary_lif(module: Any) -> _Made:
    made, _ = _lif(module)
    return Momentary(made), ("the membrane passes on values and no gradients (SLTT)",)


def _parametric_lif(module: Any) -> _Made:
    made = neurons.ParametricLIF(decay_input=module.decay_input, **_common(module))
    made.w.data.copy_(module.w.data)
    return made, ()


def _quadratic(module: Any) -> _Made:
    fixed = {"tau": module.tau, "v_critical": module.v_c, "a0": module.a0, "v_rest": module.v_rest}
    return neurons.QIF(**fixed, **_common(module)), ()


def _exponential(module: Any) -> _Made:
    fixed = {"tau": module.tau, "delta": module.delta_T, "rheobase": module.theta_rh, "v_rest": module.v_rest}
    return neurons.EIF(**fixed, **_common(module)), ()


def _izhikevich(module: Any) -> _Made:
    names = ("tau", "a0", "v_rest", "w_rest", "tau_w", "a", "b")
    fixed = {name: getattr(module, name) for name in names}
    return neurons.Izhikevich(v_critical=module.v_c, **fixed, **_common(module)), ()


def _k_lif(module: Any) -> _Made:
    kinds = {"decay_input": module.decay_input, "scale_reset": module.scale_reset}
    return _loaded(neurons.KLIF(tau=module.tau, **kinds, **_common(module)), module)


def _cuba_lif(module: Any) -> _Made:
    return neurons.CuBaLIF(1.0 - module.c_decay, 1.0 - module.v_decay, **_common(module)), ()


def _integer_lif(module: Any) -> _Made:
    counts = module.surrogate_function
    levels, window = counts.max_spike_count, (counts.grad_min, counts.grad_max)
    if window != (0.0, float(levels)):
        raise InvalidArgumentError(
            f"ILIFNode(surrogate_function=MultiLevelSpikeCount({levels}, grad_window={window})): here the gradient's "
            f"window is 0 … {levels}. Leave grad_window out."
        )
    return neurons.ILIF(module.tau, module.v_threshold, levels, detach_reset=module.detach_reset), ()


def _complementary_lif(module: Any) -> _Made:
    return neurons.ComplementaryLIF(module.tau, module.v_threshold, _surrogate(module)), ()


def _ternary_if(module: Any) -> _Made:
    return neurons.TernaryIF(**_common(module)), ()


def _ternary_lif(module: Any) -> _Made:
    return neurons.TernaryLIF(tau=module.tau, decay_input=module.decay_input, **_common(module)), ()


def _psn(module: Any) -> _Made:
    return _loaded(neurons.PSN(module.T, _surrogate(module)), module)


def _masked_psn(module: Any) -> _Made:
    return _loaded(neurons.MaskedPSN(module.k, module.T, surrogate=_surrogate(module)), module)


def _sliding_psn(module: Any) -> _Made:
    return _loaded(neurons.SlidingPSN(module.k, surrogate=_surrogate(module)), module)


def _gated_lif(module: Any) -> _Made:
    channels = module.alpha.numel() if module.alpha.ndim else None
    return _loaded(neurons.GatedLIF(module.T, channels, surrogate=_surrogate(module)), module)


def _leaky_integrator(module: Any) -> _Made:
    if module.decode is not None:
        raise InvalidArgumentError(
            f"NonSpikingLIFNode(decode={module.decode!r}) reads its membranes itself: import it with decode=None and "
            "put one of snnkit.readouts behind it."
        )
    return neurons.LeakyIntegrator(module.tau), ()


def _tracer(module: Any) -> _Made:
    scale, low, high = (float(value) for value in (module.q_threshold, module.neg_min, module.pos_max))
    return neurons.Tracer(scale, int(low), int(high)), ()


def _loaded(made: nn.Module, module: Any) -> _Made:
    """The parameters have the same names there."""
    made.load_state_dict(module.state_dict())
    return made, ()


_NEURONS: dict[str, Callable[[Any], _Made]] = {
    "IFNode": _if,
    "LIFNode": _lif,
    "ParametricLIFNode": _parametric_lif,
    "SLTTLIFNode": _momentary_lif,
    "QIFNode": _quadratic,
    "EIFNode": _exponential,
    "IzhikevichNode": _izhikevich,
    "KLIFNode": _k_lif,
    "CUBALIFNode": _cuba_lif,
    "ILIFNode": _integer_lif,
    "ComplementaryLIFNode": _complementary_lif,
    "TernaryIFNode": _ternary_if,
    "TernaryLIFNode": _ternary_lif,
    "PSN": _psn,
    "MaskedPSN": _masked_psn,
    "SlidingPSN": _sliding_psn,
    "GatedLIFNode": _gated_lif,
    "NonSpikingLIFNode": _leaky_integrator,
    "STBIFNode": _tracer,
}
