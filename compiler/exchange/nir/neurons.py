"""Neurons in NIR, both ways.

**Time.** NIR writes τₙ·dv/dt = (v_leak − v) + r·x. One Euler step of length dt is v + (dt/τₙ)·(v_leak − v + r·x); with
τₙ = τ·dt and v_leak = v_reset this is

    r = 1:  v + (x − (v − v_reset)) / τ        decay_input = True
    r = τ:  v − (v − v_reset) / τ + x          decay_input = False

and dv/dt = r·x with r = 1/dt is v + x. A synaptic current obeys τₛ·di/dt = w·x − i and drives the membrane in the step
in which it is made; with the shares lost per step dᵢ = dt/τₛ, dᵥ = dt/τₙ, and with w = 1/dᵢ, r = 1/dᵥ, v_leak = 0,

    i ← (1 − dᵢ)·i + x,    v ← (1 − dᵥ)·v + i

A membrane starts at v_reset, a synaptic current at 0: NIR itself does not say where they start, which scheme integrates
them, or how long a step is.

**Threshold.** NIR fires where v > v_threshold, snnkit where v ≥ v_threshold. A file holds the next smaller number of
the parameters' dtype: no number of that dtype lies between the two, so both rules agree on every membrane.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from torch import Tensor

from compiler.exchange.nir.context import Constant, Reading, Writing
from compiler.exchange.nir.numbers import close, constant, gain_or_one, next_above, next_below
from compiler.exchange.nir.package import Array, NirError
from compiler.graph import Node
from snnkit.decimals import shortest


def write_lif(w: Writing, node: Node) -> None:
    """lif → LIF."""
    fire = _fire_and_reset(w, node)
    _membranes(w, node, w.plain(node, "v_reset"))
    tau = w.plain(node, "tau")
    gain = _gain(w, node, tau)
    made = w.package.LIF(
        tau=_times(w, node, tau, w.dt, 1 / w.dt), r=w.spread(node, gain), v_leak=fire["v_reset"].copy(), **fire
    )
    w.put(node, made)


def write_parametric_lif(w: Writing, node: Node) -> None:
    """parametric_lif → LIF with τ = 1/decay."""
    fire = _fire_and_reset(w, node)
    _membranes(w, node, w.plain(node, "v_reset"))
    tau = 1.0 / w.plain(node, "decay")
    gain = _gain(w, node, tau)
    made = w.package.LIF(
        tau=w.spread(node, tau * w.dt, np.dtype(np.float64)),
        r=w.spread(node, gain),
        v_leak=fire["v_reset"].copy(),
        **fire,
    )
    w.put(node, made)
    w.notes.append(f"{node.name} multiplies by 1/τ; who reads it as a LIF divides by τ, which may round differently")


def write_integrate_fire(w: Writing, node: Node) -> None:
    """integrate_fire → IF."""
    fire = _fire_and_reset(w, node)
    _membranes(w, node, w.plain(node, "v_reset"))
    w.put(node, w.package.IF(r=w.spread(node, 1.0 / w.dt), **fire))


def write_cuba_lif(w: Writing, node: Node) -> None:
    """cuba_lif → CubaLIF."""
    fire = _fire_and_reset(w, node)
    _membranes(w, node, w.plain(node, "v_reset"), 0.0)
    made: dict[str, Array] = {}
    for key, tau, gain in (("current_decay", "tau_syn", "w_in"), ("voltage_decay", "tau_mem", "r")):
        decay = w.plain(node, key)
        if np.any(np.asarray(decay) == 0):
            raise NirError(f"{node.name} (cuba_lif) has {key}=0, a time constant without end; NIR's are finite.")
        made[tau] = _share(w, node, decay)
        made[gain] = w.spread(node, 1.0 / np.asarray(decay))
    w.put(node, w.package.CubaLIF(v_leak=np.zeros(w.shape(node.output), w.dtype), **made, **fire))
    w.notes.append(f"{node.name}: its synaptic current drives the membrane in the step in which it is made")


def write_leaky_integrator(w: Writing, node: Node) -> None:
    """leaky_integrator → LI; its output is its membrane."""
    _membranes(w, node, 0.0)
    tau = w.plain(node, "tau")
    gain = 1.0 if node.attributes["decay_input"] else tau
    zero = np.zeros(w.shape(node.output), w.dtype)
    w.put(node, w.package.LI(tau=_times(w, node, tau, w.dt, 1 / w.dt), r=w.spread(node, gain), v_leak=zero))
    w.sources[node.outputs[1]] = w.sources[node.output]


def _gain(w: Writing, node: Node, tau: Any) -> Any:
    """Return r: what the input is multiplied by before τ divides it."""
    gain = 1.0 if node.attributes["decay_input"] else tau
    if not w.portable:
        return gain
    w.into_weights(node, gain)
    return 1.0


def _times(w: Writing, node: Node, value: Any, factor: float, back: float) -> Array:
    """Return a time constant in the file's unit, in float64 where fewer digits would not give it back."""
    return _kept(w, node, value, lambda v: v * factor, lambda stored: stored / factor)


def _share(w: Writing, node: Node, value: Any) -> Array:
    """Return the time constant of a share lost per step, in float64 where fewer digits would not give it back."""
    return _kept(w, node, value, lambda v: w.dt / v, lambda stored: w.dt / stored)


def _kept(w: Writing, node: Node, value: Any, stored_as: Callable[[Any], Any], back: Callable[[float], float]) -> Array:
    exact = np.dtype(np.float64)
    if np.ndim(value):
        return w.spread(node, stored_as(value), exact)
    stored = np.asarray(stored_as(value), w.dtype)
    given_back = shortest(stored, stored_as, back(float(stored)))
    return w.spread(node, stored_as(value), w.dtype if given_back == value else exact)


def _fire_and_reset(w: Writing, node: Node) -> dict[str, Array]:
    v_reset = w.plain(node, "v_reset")
    if v_reset is None:
        raise NirError(
            f"{node.name} ({node.op}) subtracts its threshold when it fires, NIR knows only a reset to a number; "
            "build it with v_reset=0.0."
        )
    if not np.isfinite(v_reset).all():
        raise NirError(f"{node.name} ({node.op}) has no reset, NIR's neurons have one; build it with v_reset=0.0.")
    threshold = w.plain(node, "v_threshold")
    if w.portable and np.any(np.asarray(v_reset) != 0):
        if node.op == "cuba_lif":
            raise NirError(f"{node.name} (cuba_lif) leaks to 0 and resets elsewhere, which portable files cannot say.")
        # u = v − v_reset leaks and resets to 0
        threshold, v_reset = np.asarray(threshold) - np.asarray(v_reset), 0.0
        w.notes.append(f"{node.name}: its membrane is counted from its v_reset")
    return {"v_threshold": next_below(w.spread(node, threshold)), "v_reset": w.spread(node, v_reset)}


def _membranes(w: Writing, node: Node, *rest: Any) -> None:
    """Check that a neuron's states are its own and start where NIR's do."""
    for signal, written, start in zip(node.inputs[1:], node.outputs[1:], rest, strict=True):
        state = w.states.get(signal)
        if state is None or state.written != written:
            raise NirError(f"{node.name} ({node.op}) has a state {signal!r} that is not its own; NIR's neurons are.")
        initial = state.initial.double().numpy() if isinstance(state.initial, Tensor) else np.asarray(state.initial)
        if (initial != np.asarray(start)).any():
            shown = f"{float(initial):g}" if initial.ndim == 0 else "other numbers"
            wanted = f"{start:g}" if np.ndim(start) == 0 else "the like"
            raise NirError(
                f"{node.name} ({node.op}) starts at {shown}, not at its v_reset={wanted}; NIR cannot say so."
            )


def read_lif(r: Reading, name: str, node: Any, x: str) -> str:
    """LIF → lif: r = 1 is ``decay_input``, r = τ its opposite, any other r is a scale before the neuron."""
    x, tau, decay_input = _leak(r, name, node, x, "tau", "r", "")
    fire = _read_fire(r, name, node, r.shape(x))
    leak, reset = (constant(key, getattr(node, key), r.shape(x)) for key in ("v_leak", "v_reset"))
    if (leak.astype(np.float64) != reset.astype(np.float64)).any():
        first, second = (float(value.reshape(-1)[0]) for value in (leak, reset))
        raise NirError(
            f"{name} (LIF) leaks to {first:g} and resets to {second:g}; in graphs both are one number. "
            "Shift the membrane, or move the difference into the bias before it."
        )
    return r.neuron(name, "lif", x, {"tau": tau, "decay_input": decay_input, **fire}, {"v": fire["v_reset"]})


def _leak(
    r: Reading, name: str, node: Any, x: str, tau_key: str, gain_key: str, part: str
) -> tuple[str, float | Tensor, bool]:
    """Return the input of a leaky membrane, its τ in steps, and whether τ divides the input too."""
    shape, kind = r.shape(x), type(node).__name__
    tau_nir, gain = (constant(key, getattr(node, key), shape) for key in (tau_key, gain_key))
    steps = tau_nir.astype(np.float64) / r.dt
    tau: float | Tensor
    if tau_nir.ndim == 0:
        tau = shortest(tau_nir, lambda v: v * r.dt, float(steps))
        steps = np.asarray(tau)
    else:
        tau = r.tensor(steps)
    if not (steps > 1).all():
        raise NirError(
            f"{name} ({kind}): {tau_key}={float(tau_nir.min()):g} is {float(steps.min()):.3g} time steps of "
            f"dt={r.dt:g}, which must be > 1; give the step the network was made for: read(path, dt=…)."
        )
    plain = close(gain, steps)
    if not plain and not close(gain, 1.0):
        x = r.scaled(r.new(f"{name}{part}.gain"), x, gain)
    return x, tau, not plain


def read_integrate_fire(r: Reading, name: str, node: Any, x: str) -> str:
    """IF → integrate_fire; r·dt ≠ 1 is a scale before the neuron."""
    fire = _read_fire(r, name, node, r.shape(x))
    stored = constant("r", node.r, r.shape(x))
    x = r.scaled(r.new(f"{name}.gain"), x, gain_or_one(stored, stored.astype(np.float64) * r.dt))
    return r.neuron(name, "integrate_fire", x, fire, {"v": fire["v_reset"]})


def read_cuba_lif(r: Reading, name: str, node: Any, x: str) -> str:
    """CubaLIF → cuba_lif; w·r·dᵢ·dᵥ ≠ 1 is a scale before the neuron."""
    shape = r.shape(x)
    fire = _read_fire(r, name, node, shape)
    _no_leak(name, node, shape)
    decays: dict[str, Constant] = {}
    gain = np.ones(())
    for key, tau_key, gain_key in (("current_decay", "tau_syn", "w_in"), ("voltage_decay", "tau_mem", "r")):
        tau, factor = (constant(k, getattr(node, k), shape) for k in (tau_key, gain_key))
        if not (tau.astype(np.float64) >= r.dt * (1 - 1e-6)).all():
            raise NirError(
                f"{name} (CubaLIF): {tau_key}={float(tau.min()):g} is {float(tau.min()) / r.dt:.3g} time steps of "
                f"dt={r.dt:g}, which must be ≥ 1; give the step the network was made for: read(path, dt=…)."
            )
        share = np.minimum(r.dt / tau.astype(np.float64), 1.0)
        gain = gain * factor * share
        if tau.ndim == 0:
            decays[key] = min(shortest(tau, lambda v: r.dt / v, float(share)), 1.0)
        else:
            decays[key] = r.tensor(share)
    stored = constant("r", node.r, shape)
    x = r.scaled(r.new(f"{name}.gain"), x, gain_or_one(stored, np.asarray(gain)))
    return r.neuron(name, "cuba_lif", x, {**decays, **fire}, {"v": fire["v_reset"], "i": 0.0})


def read_leaky_integrator(r: Reading, name: str, node: Any, x: str) -> str:
    """LI → leaky_integrator."""
    _no_leak(name, node, r.shape(x))
    x, tau, decay_input = _leak(r, name, node, x, "tau", "r", "")
    return r.neuron(name, "leaky_integrator", x, {"tau": tau, "decay_input": decay_input}, {"v": 0.0})


def read_cuba_li(r: Reading, name: str, node: Any, x: str) -> str:
    """CubaLI → leaky_integrator twice: the synaptic current, and the membrane that it drives in the same step."""
    _no_leak(name, node, r.shape(x))
    for part, tau_key, gain_key in ((".i", "tau_syn", "w_in"), ("", "tau_mem", "r")):
        x, tau, decay_input = _leak(r, name, node, x, tau_key, gain_key, part)
        own = r.new(f"{name}{part}") if part else name
        x = r.neuron(own, "leaky_integrator", x, {"tau": tau, "decay_input": decay_input}, {"v": 0.0})
    return x


def _no_leak(name: str, node: Any, shape: tuple[int, ...]) -> None:
    leak = constant("v_leak", node.v_leak, shape)
    if (leak != 0).any():
        raise NirError(
            f"{name} ({type(node).__name__}) leaks to {float(leak.reshape(-1)[0]):g}; in graphs it leaks to 0. Shift "
            "the membrane."
        )


def _read_fire(r: Reading, name: str, node: Any, shape: tuple[int, ...]) -> dict[str, Constant]:
    below = constant("v_threshold", node.v_threshold, shape)
    reset = constant("v_reset", node.v_reset, shape)
    threshold = next_above(below, r.dtype)
    if not (reset.astype(r.dtype) < threshold).all():
        raise NirError(
            f"{name} ({type(node).__name__}): v_reset={float(reset.max()):g} must lie below "
            f"v_threshold={float(below.min()):g}."
        )
    return {"v_threshold": _one(r, threshold), "v_reset": _one(r, reset), "detach_reset": True}


def _one(r: Reading, value: Array) -> float | Tensor:
    """Return a constant as the shortest decimal where it is one number, else as a tensor."""
    return shortest(value, float, float(value)) if value.ndim == 0 else r.tensor(value)
