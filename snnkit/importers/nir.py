"""NIR graphs → trainable snnkit networks. Nothing in the file is executed.

| NIR | snnkit |
|---|---|
| Affine, Linear, Conv1d, Conv2d, AvgPool2d, SumPool2d, Flatten, Scale | torch's layers over sequences |
| IF, LIF | ``IF``, ``LIF`` (decay_input) |
| CubaLIF | ``CuBaLIF`` |
| LI, I | ``LeakyIntegrator``, a running sum |
| Threshold | a step without a membrane |
| several edges into one node | their sum |
| a cycle | one edge of it carries what was sent a step before (``nir_network``) |
| a nested graph | its nodes |

Differential equations are read as Euler steps of length dt. With u = v − v_leak a LIF is u + (dt/τ)(r·x − u): the
membrane here is u, its threshold v_threshold − v_leak. NIR fires at v > v_threshold; here that is v ≥ the next larger
number of the dtype. NIR leaves the start open; membranes start at v_reset, synaptic currents at 0. The report compares
every neuron, and with an example the whole network, with a plain simulation of NIR's equations in float64.

``compiler`` reads the same files into its own graph, with fewer kinds of nodes, for chips.
"""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from snnkit.errors import CorruptFileError, InvalidArgumentError, unknown_name
from snnkit.importers.nir_network import NirNetwork, flat, schedule, sources_of
from snnkit.importers.report import Layer, Translation
from snnkit.layers.sequence import over_time
from snnkit.neurons import IF, LIF, CuBaLIF, LeakyIntegrator
from snnkit.neurons.carry import active_carry
from snnkit.surrogates import Sigmoid, spike

_EULER = "differential equations are read as Euler steps of length dt"
_STRICT = "fires strictly above the threshold (>): here at the next larger number"
_LATE = "feedback arrives one step late, and nothing in the first step"
_ENDS = ("Input", "Output")
_START = "every call starts at v_reset, synaptic currents at 0"


def from_nir(source: str | Path | Any, dt: float = 1.0, example: Tensor | None = None) -> nn.Module:
    """Translate a NIR graph into a network on sequences (T, B, …) with trainable weights.

    Args:
        source: a NIR file, or a ``nir.NIRGraph``.
        dt: length of a time step, in the graph's unit of time.
        example: a sequence (T, B, …); with it the report compares the whole network with NIR's equations.

    Returns:
        A module with an ``import_report``; its output is that of the Output node, a tuple if there are several.

    Raises:
        CorruptFileError: the file is missing or damaged.
        UnknownNameError: a node type without a counterpart here.
        InvalidArgumentError: several inputs, nodes that nothing feeds, constants no neuron here has, or ``nir`` is
            missing.
    """
    if not (math.isfinite(dt) and dt > 0):
        raise InvalidArgumentError(f"from_nir(dt={dt!r}): must be a finite number > 0.")
    network = _read(source)
    nodes, edges = flat(network)
    before = sources_of(nodes, edges)
    ends = {kind: [n for n, node in network.nodes.items() if type(node).__name__ == kind] for kind in _ENDS}
    if len(ends["Input"]) != 1 or not ends["Output"]:
        raise InvalidArgumentError(
            f"from_nir takes graphs with one Input and at least one Output node, this one has {len(ends['Input'])} and "
            f"{len(ends['Output'])}."
        )
    parts = schedule(before, ends["Input"])
    late = {end for part in parts for _, end in part.late}
    translation, translated, plain = Translation("NIR"), {}, {}
    for name in (name for part in parts for name in part.names):
        node = nodes[name]
        kind = type(node).__name__
        if kind not in _MAKERS:
            raise unknown_name("NIR node", kind, _MAKERS, f"It stands at {name!r}.")
        try:
            translated[name] = _MAKERS[kind](name, node, dt)
        except (ValueError, RuntimeError, AttributeError, TypeError) as error:
            if isinstance(error, InvalidArgumentError):
                raise
            raise CorruptFileError(f"NIR graph: {name} ({kind}) does not hold together: {error}.") from None
        plain[name] = _Equations(node, kind, dt) if kind in _Equations.KINDS else translated[name]
        if kind not in _ENDS:
            found = _mismatch(plain[name], translated[name], node) if kind in _Equations.KINDS else None
            translation.layers.append(_layer(name, kind, translated[name], found, name in late))
    made = NirNetwork(parts, before, ends["Output"], translated)
    whole = None
    if example is not None:
        reference = copy.deepcopy(NirNetwork(parts, before, ends["Output"], plain)).double()
        with torch.no_grad():
            pairs = zip(_outputs(made(example)), _outputs(reference(example.double())), strict=True)
            whole = max((a.double() - b).abs().max().item() for a, b in pairs)
    made.import_report = translation.report(whole)
    return made


class _OverTime(nn.Module):
    """A layer without memory on sequences."""

    def __init__(self, layer: nn.Module):
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
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

    KINDS = ("IF", "LIF", "CubaLIF", "LI", "I", "Threshold")
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
            elif kind == "CubaLIF":
                i = i + dt / self.tau_syn * (self.w_in * x_t - i)
                v = v + dt / self.tau_mem * (self.v_leak - v + self.r * i)
            elif kind == "Threshold":
                v = x_t
            if kind in ("LI", "I"):
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
        conventions += (_STRICT,) if kind not in ("LI", "I") else ()
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
    """The next larger number, so that ≥ is what > was."""
    if isinstance(threshold, Tensor):
        return torch.nextafter(threshold, torch.full_like(threshold, math.inf))
    return float(np.nextafter(np.float32(threshold), np.float32(math.inf)))


def _reset(name: str, kind: str, node: Any) -> float | Tensor:
    return _number(name, "v_reset", 0.0 if getattr(node, "v_reset", None) is None else node.v_reset)


def _steps(name: str, key: str, tau: float | Tensor, dt: float) -> float | Tensor:
    """A time constant in steps, more than one."""
    shortest = tau.min().item() if isinstance(tau, Tensor) else tau
    if not shortest > dt:
        raise InvalidArgumentError(
            f"{name}: {key}={shortest:g} is {shortest / dt:.3g} time steps of dt={dt:g}, which must be > 1. Give the "
            "step the network was made for: from_nir(…, dt=…). (Norse 1.1 writes constants too small by its own dt.)"
        )
    return tau / dt


def _shifted(name: str, node: Any, kind: str) -> tuple[Any, Any]:
    """Threshold and reset of u = v − v_leak."""
    leak, below = _constants(name, node, "v_leak", "v_threshold")
    return _above(below - leak), _reset(name, kind, node) - leak


def _lif(name: str, node: Any, dt: float) -> nn.Module:
    tau, r = _constants(name, node, "tau", "r")
    threshold, reset = _shifted(name, node, "LIF")
    # LIF leaks to its v_reset: what is missing to a leak to 0 comes in with the input.
    return nn.Sequential(_Times(r, -reset), LIF(_steps(name, "tau", tau, dt), threshold, reset))


def _integrate_fire(name: str, node: Any, dt: float) -> nn.Module:
    r, below = _constants(name, node, "r", "v_threshold")
    return nn.Sequential(_Times(r * dt), IF(_above(below), _reset(name, "IF", node)))


def _cuba_lif(name: str, node: Any, dt: float) -> nn.Module:
    tau_mem, tau_syn, r, w = _constants(name, node, "tau_mem", "tau_syn", "r", "w_in")
    threshold, reset = _shifted(name, node, "CubaLIF")
    current, voltage = 1.0 / _steps(name, "tau_syn", tau_syn, dt), 1.0 / _steps(name, "tau_mem", tau_mem, dt)
    return nn.Sequential(_Times(w * r * current * voltage), CuBaLIF(current, voltage, threshold, reset))


def _leaky(name: str, node: Any, dt: float) -> nn.Module:
    tau, r, leak = _constants(name, node, "tau", "r", "v_leak")
    if isinstance(leak, Tensor) or leak != 0.0:
        raise InvalidArgumentError(f"{name} (LI): v_leak={leak!r}; a LeakyIntegrator leaks to 0.")
    return nn.Sequential(_Times(r), LeakyIntegrator(_steps(name, "tau", tau, dt)))


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
    "I": _integrator,
    "Threshold": _threshold,
}
