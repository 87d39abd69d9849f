"""What event-driven layers share: weights, and the choice between events and a dense product at each call.

A call with spikes counts them while packing; the way that was fastest at that rate is taken. With int8 weights all
ways sum the same integers (exactly, up to 132 000 inputs) and round alike, so the choice never changes a result; with
float32 weights it changes rounding alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from snnkit.errors import InvalidArgumentError
from snnkit.events.bits import MAX_LEVELS, Packed
from snnkit.events.choice import EVENTS, Choice, race
from snnkit.events.library import why_not
from snnkit.events.quantise import quantise
from snnkit.events.sums import Panels, panels

WEIGHTS = ("float32", "int8")
DENSE, DENSE_INTEGERS = "dense", "dense int8"
_WATCH = 16  # a layer that computes densely looks at its input every so many calls


@dataclass(slots=True)
class _Now:
    """What a layer has measured, prepared and does; apart from the module, whose attributes are slow to set."""

    choices: dict[tuple, Choice] = field(default_factory=dict)
    prepared: dict[str, Any] = field(default_factory=dict)
    latest: Choice | None = None
    levels: int = 1
    rate: float = float("nan")
    chosen: str = DENSE
    reason: str = "not called yet"
    resting: tuple | None = None  # the kind of input that is computed densely without a look
    calls_left: int = 0

    def settle(self, way: str, reason: str, resting: tuple | None) -> None:
        """Note what is done now; an empty reason stands for the comparison of the times."""
        self.chosen, self.reason, self.resting = way, reason, resting
        self.calls_left = 0 if resting is None else _WATCH - 1


class EventLayer(nn.Module, ABC):
    """A layer of torch for inference that takes events where they are faster.

    Args:
        layer: whose weight (N, …) and bias are taken; it must pass ``unsupported``.
        weights: "float32", or "int8" for symmetric integers with one scale per output (``quantise``).

    Raises:
        InvalidArgumentError: the layer cannot be computed by events, or ``weights`` is neither of the two.
    """

    def __init__(self, layer: nn.Module, weights: str = "float32"):
        super().__init__()
        reason = self.unsupported(layer)
        if reason:
            raise InvalidArgumentError(f"{type(self).__name__} cannot stand in for {layer}: {reason}.")
        if weights not in WEIGHTS:
            raise InvalidArgumentError(f"weights={weights!r}: allowed are {' and '.join(map(repr, WEIGHTS))}.")
        weight, bias = layer.weight.detach(), layer.bias
        self.weights = weights
        if weights == "int8":
            q, scale = quantise(weight)
            self.register_buffer("weight", q)
            self.register_buffer("scale", scale)
        else:
            self.weight = nn.Parameter(weight, requires_grad=False)
            self.scale = None
        self.bias = None if bias is None else nn.Parameter(bias.detach(), requires_grad=False)
        self.forget()

    @staticmethod
    @abstractmethod
    def unsupported(layer: nn.Module) -> str:
        """Return why a layer cannot be computed by events, "" where it can."""

    @property
    def _has_integer_product(self) -> bool:
        """Whether there is a dense product of int8."""
        return True

    @abstractmethod
    def _pack(self, x: Tensor, levels: int) -> Packed | None:
        """Bits of ``x``, or None where it has other values than 0 … levels."""

    @abstractmethod
    def _events(self, packed: Packed, x: Tensor | None) -> Tensor:
        """The output by events; its leading dimensions are those of ``x``, if there is one."""

    @abstractmethod
    def _product(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """torch's own layer with ``_float_weight``."""

    @abstractmethod
    def _per_output(self, values: Tensor) -> Tensor:
        """``values`` (N,) in a shape that broadcasts to the output."""

    @abstractmethod
    def _integer_product(self, x: Tensor) -> Tensor:
        """The same by a dense product of int8, for spikes."""

    @abstractmethod
    def _from_packed(self, packed: Packed) -> Tensor:
        """The input that was packed."""

    @abstractmethod
    def _kind(self, x: Tensor) -> tuple:
        """Inputs of one kind take about the same time per row: shape, memory format."""

    def forget(self) -> None:
        """Drop all that was measured and prepared; call it after changing weights in place."""
        self._now = _Now()

    def forward(self, x: Tensor | Packed) -> Tensor:
        """Compute as torch's layer does; ``x`` may also be packed spikes."""
        now = self._now
        if isinstance(x, Packed):
            return self._on_bits(x)
        if torch.compiler.is_compiling():
            return self._dense(x)
        if now.calls_left and self._kind(x) == now.resting:
            now.calls_left -= 1
            return self._dense(x)
        reason = self._no_events_for(x)
        packed = None if reason else self._spikes(x)
        if packed is None:
            now.settle(DENSE, reason or _not_spikes(x), None if reason else self._kind(x))
            return self._dense(x)
        return self._choose(x, packed)

    def report(self) -> dict[str, Any]:
        """Return what the layer does now.

        Keys: ``kind``, ``weights``, ``rate`` (spikes per input value when last counted, else NaN), ``chosen``,
        ``reason``, ``times_ms`` (way → time when last compared).
        """
        now = self._now
        seconds = now.latest.seconds if now.latest else {}
        reason = now.reason or now.latest.reason(now.chosen)
        times = {name: round(taken * 1e3, 4) for name, taken in seconds.items()}
        return {
            "kind": type(self).__name__,
            "weights": self.weights,
            "rate": now.rate,
            "chosen": now.chosen,
            "reason": reason,
            "times_ms": times,
        }

    def extra_repr(self) -> str:
        """Shape and kind of the weights."""
        return f"{tuple(self.weight.shape)}, bias={self.bias is not None}, weights={self.weights!r}"

    def _apply(self, *args: Any, **kwargs: Any) -> EventLayer:
        super()._apply(*args, **kwargs)
        self.forget()
        return self

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self.forget()

    def _choose(self, x: Tensor, packed: Packed) -> Tensor:
        now = self._now
        kind = (*self._kind(x), now.levels, torch.get_num_threads())
        choice = now.latest = now.choices.setdefault(kind, Choice(DENSE))
        now.rate = packed.rate
        way = choice.at(now.rate) or choice.learn(now.rate, self._race(x))
        # A resting layer does not look whether its input still is spikes, which the integer product relies on.
        now.settle(way, "", self._kind(x) if way == DENSE else None)
        if way == EVENTS:
            return self._events(packed, x)
        return self._dense(x) if way == DENSE else self._integer_product(x)

    def _race(self, x: Tensor) -> dict[str, float]:
        ways: dict[str, Callable[[], Tensor]] = {
            EVENTS: lambda: self._events(self._pack(x, self._now.levels), x),
            DENSE: lambda: self._dense(x),
        }
        if self.weights == "int8" and self._has_integer_product and _integers_are_exact():
            ways[DENSE_INTEGERS] = lambda: self._integer_product(x)
        return race(ways)

    def _on_bits(self, packed: Packed) -> Tensor:
        now = self._now
        now.rate = packed.rate
        if why_not():
            now.settle(DENSE, why_not(), None)
            return self._dense(self._from_packed(packed))
        now.settle(EVENTS, "the input comes as bits", None)
        return self._events(packed, None)

    def _no_events_for(self, x: Tensor) -> str:
        if x.device.type != "cpu" or x.dtype != torch.float32:
            return f"events take float32 on the CPU, the input is {x.dtype} on {x.device}"
        numbers = self.weight if self.scale is None else self.scale
        if numbers.dtype != torch.float32:
            return f"events take float32 on the CPU, the weights are {numbers.dtype}"
        if x.requires_grad and torch.is_grad_enabled():
            return "a gradient is wanted, and events have none"
        if not x.numel() or x.dim() < 2:
            return "the input is empty" if not x.numel() else "the input is a single row"
        return why_not()

    def _spikes(self, x: Tensor) -> Packed | None:
        """Pack ``x``; where it has more levels than any input before, take as many."""
        now = self._now
        packed = self._pack(x, now.levels)
        if packed is None:
            levels = _levels_of(x)
            if levels > now.levels:
                now.levels = levels
                packed = self._pack(x, levels)
        return packed

    def _dense(self, x: Tensor) -> Tensor:
        if self.scale is None:
            return self._product(x, self.bias)
        sums = self._product(x, None).mul_(self._per_output(self.scale))
        return sums if self.bias is None else sums.add_(self._per_output(self.bias))

    def _keep(self, name: str, make: Callable[[], Any]) -> Any:
        """Return what ``make`` prepared from the weights once."""
        prepared = self._now.prepared
        if name not in prepared:
            prepared[name] = make()
        return prepared[name]

    def _float_weight(self) -> Tensor:
        if self.scale is None:
            return self.weight
        return self._keep("float", lambda: self.weight.to(self.scale.dtype))

    def _panels(self) -> Panels:
        return self._keep("panels", lambda: panels(self.weight, self.bias, self.scale))

    def _bias_or_zeros(self) -> Tensor:
        return self._keep("zeros", lambda: torch.zeros_like(self.scale)) if self.bias is None else self.bias


@cache
def _integers_are_exact() -> bool:
    """Some processors saturate inside their 8-bit products; ask with the largest numbers there are."""
    x = torch.full((64, 512), MAX_LEVELS, dtype=torch.int8)
    signs = torch.ones(512, 64, dtype=torch.int8)
    signs[:, ::2] = -1
    sums = torch._int_mm(x, signs * 127)
    return torch.equal(sums.long(), x.long() @ (signs.long() * 127))


def _levels_of(x: Tensor) -> int:
    """The largest value, if all are whole numbers from 0 to MAX_LEVELS; else 0."""
    low, high = torch.aminmax(x)
    if not (low >= 0 and high <= MAX_LEVELS and torch.equal(x, x.round())):
        return 0
    return int(high)


def _not_spikes(x: Tensor) -> str:
    wrong = x[(x != x.round()) | (x < 0) | (x > MAX_LEVELS)]
    return f"the input is not spikes: {wrong.numel() / x.numel():.0%} of it are values such as {wrong[0].item():.4g}"
