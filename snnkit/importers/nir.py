"""NIR graphs → trainable snnkit networks. Nothing in the file is executed.

| NIR | snnkit |
|---|---|
| Affine, Linear, Conv1d, Conv2d, AvgPool2d, SumPool2d, Flatten, Scale | torch's layers over sequences |
| IF, LIF | ``IF``, ``LIF`` (decay_input) |
| CubaLIF | ``CuBaLIF``; ``LeakyIntegrator`` and ``LIF`` where it leaks above its threshold |
| LI, CubaLI, I | ``LeakyIntegrator``, two of them, a running sum |
| Delay | ``AxonalDelay``, of whole steps |
| Threshold | a step without a membrane |
| several edges into one node | their sum |
| a cycle | one edge of it carries what was sent a step before (``nir_network``) |
| a nested graph | its nodes |

Differential equations are read as Euler steps of length dt. With u = v − v_reset a LIF is
u + (dt/τ)(r·x + v_leak − v_reset − u): the membrane here is u, its threshold v_threshold − v_reset, and what it leaks
to comes in as a constant current, so that a neuron that leaks above its threshold fires by itself. NIR fires at
v > v_threshold; here that is v ≥ the next larger number of the dtype. NIR leaves the start open; membranes start at
v_reset, synaptic currents at 0. NIR knows no other reset than that to v_reset in the step of the spike: neurons that
subtract their threshold, or reset a step later, do so no more once they are in a file (snnTorch writes both as a plain
LIF). The report compares every neuron, and with an example the whole network, with a plain simulation of NIR's
equations in float64.

Weights keep their precision: a layer of a float64 file computes in float64 and returns what its input was.

``compiler`` reads the same files into its own graph, with fewer kinds of nodes, for chips.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from snnkit.decimals import shortest
from snnkit.errors import CorruptFileError, InvalidArgumentError, unknown_name
from snnkit.hdf5 import check_hdf5
from snnkit.importers.nir_network import NirNetwork, flat, memoryless, schedule, shape_between, sources_of
from snnkit.importers.report import Layer, Translation
from snnkit.layers.sequence import over_time
from snnkit.neurons import IF, LIF, AxonalDelay, CuBaLIF, LeakyIntegrator
from snnkit.neurons.carry import active_carry
from snnkit.surrogates import Sigmoid, spike

_EULER = "differential equations are read as Euler steps of length dt"
_STRICT = "fires strictly above the threshold (>): here at the next larger number"
_TO_VALUE = "resets to v_reset in the step of the spike: a file cannot say that its writer subtracted, or waited a step"
_LATE = "feedback arrives one step late, and nothing in the first step"
_ENDS = ("Input", "Output")
_REAL = ("LI", "CubaLI", "I")
_LONGEST_DELAY = 1000
_START = "every call starts at v_reset, synaptic currents at 0"


def from_nir(source: str | Path | Any, dt: float | None = None, example: Tensor | None = None) -> nn.Module:
    """Translate a NIR graph into a network on sequences (T, B, …) with trainable weights.

    Args:
        source: a NIR file, or a ``nir.NIRGraph``.
        dt: length of a time step, in the graph's unit of time; by default what its metadata says, else 1 where that can
            be.
        example: a sequence (T, B, …); with it the report compares the whole network with NIR's equations.

    Returns:
        A module with an ``import_report``; its output is that of the Output node, a tuple if there are several.

    Raises:
        CorruptFileError: the file is missing or damaged.
        UnknownNameError: a node type without a counterpart here.
        InvalidArgumentError: several inputs, nodes that nothing feeds, constants no neuron here has, a time step that
            matters and is not known, or ``nir`` is missing.
    """
    if dt is not None and not (math.isfinite(dt) and dt > 0):
        raise InvalidArgumentError(f"from_nir(dt={dt!r}): must be a finite number > 0.")
    network = _read(source)
    nodes, edges = flat(network)
    nodes = {name: _plain(node) for name, node in nodes.items()}
    dt = time_step(nodes, getattr(network, "metadata", None)) if dt is None else dt
    before = sources_of(nodes, edges)
    ends = {kind: [n for n, node in network.nodes.items() if type(node).__name__ == kind] for kind in _ENDS}
    if len(ends["Input"]) != 1 or not ends["Output"]:
        raise InvalidArgumentError(
            f"from_nir takes graphs with one Input and at least one Output node, this one has {len(ends['Input'])} and "
            f"{len(ends['Output'])}."
        )
    parts = schedule(before, ends["Input"], memoryless(nodes), delays=_late_delays(nodes, dt))
    between = {edge: shape_between(nodes[edge[0]], nodes[edge[1]]) for part in parts for edge in part.late}
    shapes = {edge: shape for edge, shape in between.items() if shape is not None}
    late = {end for part in parts for _, end in part.late}
    translation, translated, plain = Translation("NIR"), {}, {}
    for name in (name for part in parts for name in part.names):
        node = nodes[name]
        kind = type(node).__name__
        if kind not in _MAKERS:
            raise unknown_name("NIR node", kind, _MAKERS, f"It stands at {name!r}.")
        try:
            translated[name] = _made(name, node, dt, any(end == name for part in parts for _, end in part.late))
        except (ValueError, RuntimeError, AttributeError, TypeError) as error:
            if isinstance(error, InvalidArgumentError):
                named = str(error) if str(error).startswith(name) else f"{name} ({kind}): {error}"
                raise type(error)(named) from None
            raise CorruptFileError(f"NIR graph: {name} ({kind}) does not hold together: {error}.") from None
        plain[name] = _Equations(node, kind, dt) if kind in _Equations.KINDS else translated[name]
        if kind not in _ENDS:
            found = _mismatch(plain[name], translated[name], node) if kind in _Equations.KINDS else None
            translation.layers.append(_layer(name, kind, translated[name], found, name in late))
    made = NirNetwork(parts, before, ends["Output"], translated, shapes)
    reference = None if example is None else NirNetwork(parts, before, ends["Output"], plain, shapes)
    made.import_report = translation.report(_whole_mismatch(made, reference, example))
    return made


def _whole_mismatch(made: NirNetwork, reference: NirNetwork | None, example: Tensor | None) -> float | None:
    """Return the largest difference between a translated network and NIR's equations on an example."""
    if reference is None or example is None:
        return None
    exact = copy.deepcopy(reference).double()
    with torch.no_grad():
        pairs = zip(_outputs(made(example)), _outputs(exact(example.double())), strict=True)
        return max((a.double() - b).abs().max().item() for a, b in pairs)


def time_step(nodes: Mapping[str, Any], metadata: Any) -> float:
    """Return the step that a file's metadata gives, else 1, where no node says that this cannot be.

    Raises:
        InvalidArgumentError: an integrate-and-fire neuron of r > 1: mostly one over the step that it was made for.
    """
    try:
        given = float((metadata or {})["dt"])
    except (KeyError, TypeError, ValueError):
        given = math.nan
    if math.isfinite(given) and given > 0:
        return given
    for name, node in nodes.items():
        r = np.max(np.asarray(node.r, np.float64)) if type(node).__name__ in ("IF", "I") and np.size(node.r) else 0.0
        if r > 1.0:
            raise InvalidArgumentError(
                f"{name} ({type(node).__name__}): r={r:g} makes {r:g} of a current of 1 in a step of dt=1, and the "
                f"file does not say how long a step is. Give it: dt={1.0 / r:g} if a step adds its input once, dt=1 if "
                "the factor is meant."
            )
    return 1.0


def _plain(node: Any) -> Any:
    """Return a node whose numbers are numpy's: graphs from memory hold torch's tensors too."""
    found = {key: v.detach().cpu().numpy() for key, v in vars(node).items() if isinstance(v, Tensor)}
    if not found:
        return node
    made = copy.copy(node)
    made.__dict__.update(found)
    return made


def _made(name: str, node: Any, dt: float, is_late: bool) -> nn.Module:
    if type(node).__name__ == "Delay":
        return _delay(name, node, dt, is_late)
    made: nn.Module = _MAKERS[type(node).__name__](name, node, dt)
    return made


def _late_delays(nodes: Mapping[str, Any], dt: float) -> set[str]:
    """Return the delays of a step and more: what they send was sent before, so no edge out of them closes a cycle."""
    found = {name: node for name, node in nodes.items() if type(node).__name__ == "Delay" and np.size(node.delay)}
    return {name for name, node in found.items() if np.min(np.asarray(node.delay, np.float64)) > 0.5 * dt}


class _OverTime(nn.Module):
    """A layer without memory on sequences; in the precision of its weights, where that is the higher one."""

    def __init__(self, layer: nn.Module):
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        weight = getattr(self.layer, "weight", x)
        if weight.dtype == torch.float64 and x.dtype == torch.float32:
            return over_time(self.layer, x.double()).to(x.dtype)
        return over_time(self.layer, x)


class _Times(nn.Module):
    """x·weight + shift, for Scale nodes and for what neurons here do not do themselves."""

    def __init__(self, weight: float | Tensor, shift: float | Tensor = 0.0):
        super().__init__()
        for name, value in (("weight", weight), ("shift", shift)):
            if isinstance(value, Tensor) and name == "weight":
                self.weight = nn.Parameter(value)
            elif isinstance(value, Tensor):
                self.register_buffer(name, value)
            else:
                setattr(self, name, value)

    def forward(self, x: Tensor) -> Tensor:
        return x * _channels(self.weight, x) + _channels(self.shift, x)


class _SumPool(nn.Module):
    """Sums of windows: average pooling, where padded zeros count, times the window's size."""

    def __init__(self, node: Any):
        super().__init__()
        self.size, self.stride, self.padding = (_pair(getattr(node, k)) for k in ("kernel_size", "stride", "padding"))

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.avg_pool2d(x, self.size, self.stride, self.padding, divisor_override=1)


class _RunningSum(nn.Module):
    """I: the integral of its input."""

    def __init__(self, gain: float | Tensor):
        super().__init__()
        self.gain = _Times(gain)
        self.integrator = LeakyIntegrator(tau=1e30, decay_input=False)  # a leak of one part in 10³⁰

    def forward(self, x: Tensor) -> Tensor:
        return self.integrator(self.gain(x))


class _Equations(nn.Module):
    """NIR's differential equations as they are written, by Euler steps: what the neurons are compared with."""

    KINDS = ("IF", "LIF", "CubaLIF", "LI", "CubaLI", "I", "Threshold")
    state_count = 2

    def __init__(self, node: Any, kind: str, dt: float):
        super().__init__()
        self.kind, self.dt = kind, dt
        for key in ("tau", "tau_mem", "tau_syn", "r", "v_leak", "v_threshold", "threshold", "v_reset", "w_in"):
            if getattr(node, key, None) is not None:
                self.register_buffer(key, torch.as_tensor(np.asarray(getattr(node, key), dtype=np.float64)))

    def forward(self, x: Tensor) -> Tensor:
        reset = getattr(self, "v_reset", torch.zeros(()))
        carry, out = active_carry(), []
        key, carried = (None, None) if carry is None else carry.start(self, x)
        v, i = carried or (torch.zeros_like(x[0]) + reset, torch.zeros_like(x[0]))
        dt, kind = self.dt, self.kind
        for x_t in x:
            if kind in ("IF", "I"):
                v = v + dt * self.r * x_t
            elif kind in ("LIF", "LI"):
                v = v + dt / self.tau * (self.v_leak - v + self.r * x_t)
            elif kind in ("CubaLIF", "CubaLI"):
                i = i + dt / self.tau_syn * (self.w_in * x_t - i)
                v = v + dt / self.tau_mem * (self.v_leak - v + self.r * i)
            elif kind == "Threshold":
                v = x_t
            if kind in _REAL:
                out.append(v)
                continue
            fired = v > (self.threshold if kind == "Threshold" else self.v_threshold)
            v = torch.where(fired, reset, v)
            out.append(fired.to(x.dtype))
        if carry is not None:
            carry.leave(key, (v, i))
        return torch.stack(out)


def _read(source: Any) -> Any:
    try:
        import nir
    except ModuleNotFoundError:
        raise InvalidArgumentError("from_nir needs the package nir: pip install 'snnkit[nir]'.") from None
    if isinstance(source, nir.NIRGraph):
        return source
    path = Path(source)
    if not path.exists():
        raise CorruptFileError(f"{path} does not exist.")
    check_hdf5(path)
    try:
        found = nir.read(str(path), type_check=False)
    except Exception as error:  # h5py and nir raise many kinds; each means the same here
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CorruptFileError(f"{path} is damaged, or no NIR graph: {reason}.") from None
    if not isinstance(found, nir.NIRGraph):
        raise CorruptFileError(f"{path} holds a single {type(found).__name__}, not a NIR graph.")
    return found


def _layer(name: str, kind: str, made: nn.Module, found: float | None, late: bool) -> Layer:
    conventions: tuple[str, ...] = (_LATE,) if late else ()
    if kind in _Equations.KINDS:
        conventions += (_START, *(() if kind == "Threshold" else (_EULER,)))
        conventions += (_STRICT,) if kind not in _REAL else ()
        conventions += (_TO_VALUE,) if kind in ("IF", "LIF", "CubaLIF") else ()
    inner = made[-1] if isinstance(made, nn.Sequential) else made
    shown = type(inner.layer if isinstance(inner, _OverTime) else inner).__name__.lstrip("_")
    return Layer(name, f"nir.{kind}", shown, found, conventions)


def _mismatch(equations: nn.Module, made: nn.Module, node: Any) -> float:
    """Largest difference of a neuron from its equations on random currents (8, 4, …), in float64."""
    sizes = [np.asarray(v).shape for v in vars(node).values() if isinstance(v, np.ndarray) and np.asarray(v).ndim]
    shape = max(sizes, key=len, default=(16,))
    x = torch.randn(16, 4, *shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    threshold = np.asarray(getattr(node, "v_threshold", getattr(node, "threshold", 1.0)), dtype=np.float64)
    x = (x * 1.5 + 0.5) * float(np.abs(threshold).mean())
    dtypes = {p.dtype for p in (*made.parameters(), *made.buffers())}
    with torch.no_grad():
        found = (equations(x) - made.double()(x)).abs().max().item()
    made.to(next(iter(dtypes), torch.float32))
    return found


def _outputs(out: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return out if isinstance(out, tuple) else (out,)


def _number(name: str, key: str, value: Any) -> float | Tensor:
    """A constant as a number, or one per channel (C,)."""
    array = np.asarray(value)
    array = array.astype(np.float64) if array.dtype.kind != "f" else array
    if not array.size or not np.isfinite(array).all():
        raise InvalidArgumentError(f"{name}: {key} must be finite, got {value!r}.")
    first = array.reshape(-1)[0]
    if (array == first).all():
        return float(first)
    by_channel = array.reshape(len(array), -1)
    if (by_channel != by_channel[:, :1]).any():
        raise InvalidArgumentError(f"{name}: {key} differs within a channel; neurons here have one value per channel.")
    return torch.from_numpy(by_channel[:, 0].copy())


def _constants(name: str, node: Any, *keys: str) -> tuple[Any, ...]:
    return tuple(_number(name, key, getattr(node, key)) for key in keys)


def _above(threshold: float | Tensor) -> float | Tensor:
    """The next larger number of those networks compute in, float32, so that ≥ is what > was."""
    if isinstance(threshold, Tensor):
        below = threshold.to(torch.float32)  # the next of float64 would be rounded back to the threshold
        return torch.nextafter(below, torch.full_like(below, math.inf)).to(threshold.dtype)
    return float(np.nextafter(np.float32(threshold), np.float32(math.inf)))


def _reset(name: str, kind: str, node: Any) -> float | Tensor:
    return _number(name, "v_reset", 0.0 if getattr(node, "v_reset", None) is None else node.v_reset)


def _steps(name: str, key: str, tau: float | Tensor, dt: float) -> float | Tensor:
    """A time constant in steps, more than one."""
    least = tau.min().item() if isinstance(tau, Tensor) else tau
    if not least > dt:
        raise InvalidArgumentError(
            f"{name}: {key}={least:g} is {least / dt:.3g} time steps of dt={dt:g}, which must be > 1. Give the "
            "step the network was made for: from_nir(…, dt=…). (Norse 1.1 writes constants too small by its own dt.)"
        )
    return tau / dt if isinstance(tau, Tensor) else shortest(_as_stored(tau), lambda steps: steps * dt, tau / dt)


def _decay(name: str, key: str, tau: float | Tensor, dt: float) -> float | Tensor:
    """What a state loses in a step, dt / τ, as who wrote τ had it: a last digit too much moves ties."""
    _steps(name, key, tau, dt)
    return dt / tau if isinstance(tau, Tensor) else shortest(_as_stored(tau), lambda share: dt / share, dt / tau)


def _as_stored(number: float) -> Any:
    """A constant in the narrower of the types that it may have been stored in."""
    narrow = np.float32(number)
    return narrow if float(narrow) == number else np.float64(number)


def _lif(name: str, node: Any, dt: float) -> nn.Module:
    tau, r, leak, below = _constants(name, node, "tau", "r", "v_leak", "v_threshold")
    reset = _reset(name, "LIF", node)
    # LIF leaks to its v_reset, 0 here: what is missing to a leak elsewhere comes in with the input.
    return nn.Sequential(_Times(r, leak - reset), LIF(_steps(name, "tau", tau, dt), _over(below, reset), 0.0))


def _over(below: float | Tensor, reset: float | Tensor) -> float | Tensor:
    """Return the threshold of u = v − v_reset.

    Raises:
        InvalidArgumentError: the reset is not below.
    """
    above = _above(below - reset)
    lowest = above.min().item() if isinstance(above, Tensor) else above
    if not lowest > 0:
        raise InvalidArgumentError(
            f"v_reset lies {-lowest:g} above v_threshold, so that it fires for ever once it has fired; it must lie "
            "below."
        )
    return above


def _integrate_fire(name: str, node: Any, dt: float) -> nn.Module:
    r, below = _constants(name, node, "r", "v_threshold")
    return nn.Sequential(_Times(r * dt), IF(_above(below), _reset(name, "IF", node)))


def _cuba_lif(name: str, node: Any, dt: float) -> nn.Module:
    tau_mem, tau_syn, r, w = _constants(name, node, "tau_mem", "tau_syn", "r", "w_in")
    leak, below, reset = *_constants(name, node, "v_leak", "v_threshold"), _reset(name, "CubaLIF", node)
    if bool((torch.as_tensor(below) <= torch.as_tensor(leak)).any()):
        synapse = nn.Sequential(_Times(w), LeakyIntegrator(_steps(name, "tau_syn", tau_syn, dt)))
        membrane = LIF(_steps(name, "tau_mem", tau_mem, dt), _over(below, reset), 0.0)
        return nn.Sequential(synapse, _Times(r, leak - reset), membrane)
    threshold, reset = _above(below - leak), reset - leak
    current, voltage = _decay(name, "tau_syn", tau_syn, dt), _decay(name, "tau_mem", tau_mem, dt)
    gain = _one_or(w * r * current * voltage, node.r)
    return nn.Sequential(_Times(gain), CuBaLIF(current, voltage, threshold, reset))


def _one_or(gain: float | Tensor, stored: Any) -> float | Tensor:
    """A gain, exactly 1 where it is that up to the rounding of what was stored: else no sum would meet a threshold."""
    kind = np.asarray(stored).dtype
    eps = 4 * float(np.finfo(kind if kind.kind == "f" else np.float64).eps)
    return 1.0 if bool((torch.as_tensor(gain, dtype=torch.float64) - 1.0).abs().max() <= eps) else gain


def _leaky(name: str, node: Any, dt: float) -> nn.Module:
    tau, r, leak = _constants(name, node, "tau", "r", "v_leak")
    return nn.Sequential(_Times(r, leak), LeakyIntegrator(_steps(name, "tau", tau, dt)))


def _cuba_leaky(name: str, node: Any, dt: float) -> nn.Module:
    tau_mem, tau_syn, r, leak, w = _constants(name, node, "tau_mem", "tau_syn", "r", "v_leak", "w_in")
    synapse = nn.Sequential(_Times(w), LeakyIntegrator(_steps(name, "tau_syn", tau_syn, dt)))
    return nn.Sequential(synapse, _Times(r, leak), LeakyIntegrator(_steps(name, "tau_mem", tau_mem, dt)))


def _delay(name: str, node: Any, dt: float, is_late: bool) -> nn.Module:
    """A delay of whole steps; in a cycle the edge into it is a step late already."""
    delay = _number(name, "delay", node.delay)
    steps = torch.as_tensor(delay, dtype=torch.float64) / dt
    whole = steps.round()
    fits = ((steps - whole).abs() <= 1e-6 * steps.clamp(min=1.0)).all() and bool((whole >= 0).all())
    if not fits or whole.max() > _LONGEST_DELAY:
        raise InvalidArgumentError(
            f"{name} (Delay): {float(torch.as_tensor(delay).max()):g} is {float(steps.max()):.6g} time steps of "
            f"dt={dt:g}; delays are 0 to {_LONGEST_DELAY} whole steps. Give the step the network was made for: "
            "from_nir(…, dt=…)."
        )
    whole -= 1.0 if is_late else 0.0
    longest = int(whole.max())
    if longest == 0:
        return nn.Identity()
    size = np.shape(node.delay)
    return AxonalDelay(int(size[0]) if size else 1, longest, delay=whole.float())


def _integrator(name: str, node: Any, dt: float) -> nn.Module:
    (r,) = _constants(name, node, "r")
    return _RunningSum(r * dt)


class _Step(nn.Module):
    """Threshold: 1 where the input reaches it, with the surrogate gradient of ``IF``; no membrane, so no state."""

    def __init__(self, threshold: float | Tensor):
        super().__init__()
        self.shift = _Times(1.0, -threshold)

    def forward(self, x: Tensor) -> Tensor:
        return spike(self.shift(x), Sigmoid(4.0))


def _threshold(name: str, node: Any, dt: float) -> nn.Module:
    (below,) = _constants(name, node, "threshold")
    return _Step(_above(below))


def _tensor(value: Any) -> Tensor:
    array = np.asarray(value)
    return torch.from_numpy(array.astype(np.float64 if array.dtype == np.float64 else np.float32))


def _filled(layer: nn.Module, weight: Any, bias: Any = None) -> nn.Module:
    layer.weight = nn.Parameter(_tensor(weight))
    layer.bias = None if bias is None else nn.Parameter(_tensor(bias))
    return _OverTime(layer)


def _linear(name: str, node: Any, dt: float) -> nn.Module:
    weight = np.asarray(node.weight)
    if weight.ndim != 2:
        raise InvalidArgumentError(f"{name}: weights of shape {weight.shape}; a linear layer has a matrix.")
    outputs, inputs = weight.shape
    return _filled(nn.Linear(inputs, outputs), weight, getattr(node, "bias", None))


def _conv(cls: type[nn.Module]) -> Any:
    def make(name: str, node: Any, dt: float) -> nn.Module:
        weight = np.asarray(node.weight)
        groups, kernel = int(node.groups), weight.shape[2:]
        sizes = {key: _numbers(getattr(node, key), len(kernel)) for key in ("stride", "dilation")}
        padding = node.padding if isinstance(node.padding, str) else _numbers(node.padding, len(kernel))
        layer = cls(weight.shape[1] * groups, weight.shape[0], kernel, padding=padding, groups=groups, **sizes)
        return _filled(layer, weight, node.bias)

    return make


def _numbers(value: Any, count: int) -> tuple[int, ...]:
    given = [int(v) for v in np.atleast_1d(value)]
    return tuple(given * count if len(given) == 1 else given)


def _pair(value: Any) -> tuple[int, int]:
    first, second = _numbers(value, 2)
    return first, second


def _pool(name: str, node: Any, dt: float) -> nn.Module:
    return _OverTime(nn.AvgPool2d(*(_pair(getattr(node, k)) for k in ("kernel_size", "stride", "padding"))))


def _sum_pool(name: str, node: Any, dt: float) -> nn.Module:
    return _OverTime(_SumPool(node))


def _flatten(name: str, node: Any, dt: float) -> nn.Module:
    """NIR's shapes have no batch axis: axis 0 there is axis 1 of (N, …) here."""
    start, end = int(node.start_dim), int(node.end_dim)
    return _OverTime(nn.Flatten(start + 1 if start >= 0 else start, end + 1 if end >= 0 else end))


def _scale(name: str, node: Any, dt: float) -> nn.Module:
    return _Times(_number(name, "scale", node.scale))


def _identity(name: str, node: Any, dt: float) -> nn.Module:
    return nn.Identity()


def _channels(value: float | Tensor, x: Tensor) -> float | Tensor:
    """Give (C,) the shape that meets (T, B, C, …)."""
    if not isinstance(value, Tensor) or value.ndim == 0:
        return value
    return value.to(x.dtype).reshape(-1, *[1] * (x.ndim - 3))


_MAKERS = {
    "Input": _identity,
    "Output": _identity,
    "Affine": _linear,
    "Linear": _linear,
    "Conv1d": _conv(nn.Conv1d),
    "Conv2d": _conv(nn.Conv2d),
    "AvgPool2d": _pool,
    "SumPool2d": _sum_pool,
    "Flatten": _flatten,
    "Scale": _scale,
    "IF": _integrate_fire,
    "LIF": _lif,
    "CubaLIF": _cuba_lif,
    "LI": _leaky,
    "CubaLI": _cuba_leaky,
    "Delay": _delay,
    "I": _integrator,
    "Threshold": _threshold,
}
