"""Listen to a network: which signals are spikes, and how many synaptic operations they make, with gradients.

    with Meter(model) as meter:
        logits = model(images)
    meter.total()        # scalar, all samples and steps; backward reaches the spikes through their surrogates
    meter.dense          # what it would be if every value that can be an event were one unit

Neurons say what they send; from there on every torch function says what becomes of it (``types``), and those that let
events meet weights are counted (``counts``). Nothing is read off names of layers or off data, so a sum of two spikes is
an integer signal of up to two units, an average over nine one of ninths, and currents are real. What happens inside of
a neuron is its own matter and not synaptic.

A network is listened to from a call of its ``forward``, or of a method whose name begins with ``forward_``, to that
call's end. What one of these returns keeps its types until another reads it, so ``forward_head(forward_features(x))``
counts what the network does as a whole does. Nothing else in the block is counted.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import wraps
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle
from torch.utils.weak import WeakTensorKeyDictionary

from snnkit.encoders import ENCODERS
from snnkit.errors import InvalidArgumentError, unknown_name
from snnkit.layers.drop_path import DropPath
from snnkit.neurons import Neuron, Recurrent
from snnkit.neurons.base import event_neurons
from snnkit.signals import REAL, SignalType, sent
from snnkit.synapses.call import Call, Known, tensors
from snnkit.synapses.counts import COUNTS, WEIGHTS, is_scale
from snnkit.synapses.types import ALWAYS, CONSTANTS, MOVES, POOLED, REALS, TYPES
from snnkit.synapses.units import counted, messages

_WRITES = frozenset({"setitem", "copy"})
_POOLS = frozenset({"sum", "mean", *(f"{kind}avg_pool{rank}d" for kind in ("", "adaptive_") for rank in (1, 2, 3))})
_KEEPS: tuple[type[nn.Module], ...] = (nn.modules.dropout._DropoutNd, DropPath, *ENCODERS)
"""Modules that hand on what comes in: on average over what they drop, or at every step."""

_VIEWS = {torch.Tensor.T.__get__: "T", torch.Tensor.mT.__get__: "mT"}  # type: ignore[attr-defined]


class Meter(TorchFunctionMode):
    """Counts while the block runs, each time that ``model``, or one of its methods ``forward_…``, is called in it.

    Args:
        model: a network with neurons that send events.
        messages_of: names of neuron layers, as ``model.named_modules()`` has them, whose messages (outputs ≠ 0) are
            counted too.
        input_type: what the network's input consists of, as for ``compiler.count``: "real", "binary", "signed",
            "integer[low,high]".

    Attributes:
        read: shape of the input of every call, such as (B, C, H, W), in order; calls that go on with what an earlier
            one returned have none.

    Raises:
        InvalidArgumentError: no neuron of the network sends events.
        UnknownNameError: no such neuron layer (names the nearest), or no such type.
    """

    def __init__(self, model: nn.Module, messages_of: Iterable[str] = (), input_type: str = "real"):
        super().__init__()
        self._model, self._input = model, SignalType.parse(input_type)
        self._messages_of = frozenset(messages_of)
        names = event_layers(model)
        for name in self._messages_of:
            if name not in names.values():
                raise unknown_name("neuron layer", name, names.values())
        self.messages: dict[str, Tensor] = {}
        self.outputs: dict[str, int] = {}
        self.read: list[tuple[int, ...]] = []
        self.blind = False
        self._counts: list[tuple[str, Tensor, float] | None] = []
        self._known: WeakTensorKeyDictionary = WeakTensorKeyDictionary()
        self._strange: set[str] = set()
        self._opaque = 0
        self._running = False
        self._inputs: WeakTensorKeyDictionary = WeakTensorKeyDictionary()
        self._replaced: dict[str, Callable[..., Any] | None] = {}
        self._on_layers: list[RemovableHandle] = []
        self._listens_to = [module for module in model.modules() if isinstance(module, (Neuron, *_KEEPS))]
        self._names = names

    # What was counted.

    def total(self) -> Tensor:
        """Return the synaptic operations of all samples and steps, a scalar in float32 (float64 where spikes are)."""
        found = [total for _, total, _ in filter(None, self._counts)]
        if not found:
            return torch.zeros((), device=next((p.device for p in self._model.parameters()), None))
        return torch.stack(found).sum()

    @property
    def dense(self) -> float:
        """Synaptic operations if every value that can be an event were one unit: their number at a rate of 1."""
        return sum(dense for _, _, dense in filter(None, self._counts))

    @property
    def functions(self) -> list[tuple[str, float]]:
        """Every function that was counted, in order, with its synaptic operations."""
        return [(name, float(total.detach())) for name, total, _ in filter(None, self._counts)]

    # The block.

    def __enter__(self) -> Meter:
        kind = type(self._model)
        own = vars(self._model)
        for name in dir(kind):
            if (name == "forward" or name.startswith("forward_")) and callable(getattr(kind, name)):
                self._replaced[name] = own.get(name)
                own[name] = self._entry(name, getattr(self._model, name))
        return self

    def __exit__(self, *error: object) -> None:
        own = vars(self._model)
        for name, before in self._replaced.items():
            if before is None:
                del own[name]
            else:
                own[name] = before
        self._replaced = {}
        self._known, self._inputs = WeakTensorKeyDictionary(), WeakTensorKeyDictionary()

    def _entry(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        """A method that listens, unless another of them that called it does."""

        @wraps(method)
        def entered(*args: Any, **kwargs: Any) -> Any:
            if self._running:
                return method(*args, **kwargs)
            self._begin(name, tensors([*args, *kwargs.values()]))
            try:
                return method(*args, **kwargs)
            finally:
                self._end()

        return entered

    def _begin(self, name: str, given: list[Tensor]) -> None:
        if given and (given[0] not in self._known or given[0] in self._inputs):
            self.read.append(tuple(given[0].shape))
            if name != "forward" and given[0].grad_fn is not None:
                warnings.warn(
                    f"{name} of {type(self._model).__name__} was given what was computed outside of the network, and "
                    f"it is taken for the network's input, {self._input}. Hand on what its methods return as it is.",
                    stacklevel=3,
                )
        for tensor in given:
            if tensor not in self._known:
                self._known[tensor], self._inputs[tensor] = Known(self._input), True
        # Now, and not before: of several who listen to a neuron the last is called last, and what the others do with
        # its spikes is no work of the network.
        for module in self._listens_to:
            self._watch(module, self._after_neuron if isinstance(module, Neuron) else self._after_keep)
            if isinstance(module, Recurrent):
                self._watch(module.feedback, self._close, self._before_feedback(module))
        self._opaque = 0
        self._running = True
        super().__enter__()  # type: ignore[no-untyped-call]

    def _watch(self, module: nn.Module, after: Callable[..., None], before: Callable[..., None] | None = None) -> None:
        self._on_layers.append(module.register_forward_pre_hook(before or self._close, prepend=True))
        self._on_layers.append(module.register_forward_hook(after))

    def _end(self) -> None:
        self._running = False
        super().__exit__(None, None, None)
        while self._on_layers:
            self._on_layers.pop().remove()
        for name in self._strange:
            warnings.warn(
                f"torch's {name} of spikes: what snnkit does not know makes real numbers of them, and what reads its "
                "result is not counted among the synaptic operations. Use functions that it knows, or a module of its "
                "own.",
                stacklevel=2,
            )
        self._strange.clear()

    # Modules that are looked at from outside.

    def _close(self, *_: object) -> None:
        self._opaque += 1

    def _after_neuron(self, neuron: Neuron, _inputs: Any, out: Tensor) -> None:
        kind = sent(*neuron.sends())
        name = self._names.get(neuron, "")
        if name in self._messages_of:
            found = counted(lambda x: messages(x, kind).sum(dtype=torch.promote_types(x.dtype, torch.float32)), out)
            self.messages[name] = self.messages[name] + found if name in self.messages else found
            self.outputs[name] = self.outputs.get(name, 0) + out.numel()
        self._known[out] = Known(kind)
        self._opaque -= 1

    def _after_keep(self, _module: nn.Module, inputs: tuple[Any, ...], out: Any) -> None:
        given = inputs[0] if inputs else None
        if isinstance(given, Tensor) and isinstance(out, Tensor) and given in self._known:
            self._known[out] = self._known[given]
        self._opaque -= 1

    def _before_feedback(self, neuron: Recurrent) -> Callable[..., None]:
        def before(_feedback: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            self._known[inputs[0]] = Known(sent(*neuron.sends()))
            self._opaque -= 1

        return before

    # Functions.

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run a function; count what it does to events, and note the type of its result."""
        kwargs = kwargs or {}
        if self._opaque:
            return func(*args, **kwargs)
        name = _VIEWS.get(func) or getattr(func, "__name__", "").strip("_")
        name = name[1:] if name[:1] == "i" and name[1:] in TYPES and name not in TYPES else name
        known = {} if name in CONSTANTS else self._look(args, kwargs)
        if not known:
            return func(*args, **kwargs)
        events = any(one.type.is_event for one in known.values())
        call = Call(name, args, kwargs, known, self._add, self._drop)
        before = len(self._counts)
        if events and name in COUNTS:
            COUNTS[name](call)
        source = self._source(func, call) if args else None
        target = args[0] if name in _WRITES else None
        kind = TYPES[name](call, None) if target is not None else None
        result = func(*args, **kwargs)
        made = [
            t for t in tensors(result if target is None else target) if t.is_floating_point() or t.dtype == torch.bool
        ]
        if made:
            kind = self._type(call, events, result) if kind is None else kind
            scaled = self._scaled(call, before) if events or source is not None else -1
            for tensor in made:
                self._known[tensor] = Known(kind, scaled, source)
        return result

    def _source(self, func: Any, call: Call) -> Tensor | None:
        """The events that a batch norm read, moved as its result is; the layer that reads that is counted with them."""
        x = call.args[0]
        source = x if call.name == "batch_norm" and call.is_event(x) else None
        known = call.known.get(id(x))
        if known is None or known.source is None:
            return source
        if call.name in WEIGHTS:
            events = {**call.known, id(known.source): Known(self._known[known.source].type, known.scaled)}
            COUNTS[call.name](replace(call, args=(known.source, *call.args[1:]), known=events))
        elif call.name in MOVES:
            moved = func(known.source, *call.args[1:], **call.kwargs)
            if isinstance(moved, Tensor):
                self._known[moved] = Known(self._known[known.source].type)
                return moved
        return None

    def _look(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[int, Known]:
        """What is known of the tensors that a function is given."""
        given = tensors(args)
        if kwargs:
            given += tensors(list(kwargs.values()))
        return {id(tensor): self._known[tensor] for tensor in given if tensor in self._known}

    def _type(self, call: Call, events: bool, result: Any) -> SignalType:
        if not events and call.name not in ALWAYS:
            return REAL
        if call.name in TYPES:
            return TYPES[call.name](call, result)
        if call.name not in REALS:
            self._strange.add(call.name)
        return REAL

    def _scaled(self, call: Call, before: int) -> int:
        """The number of the count that a layer behind this function takes back, or −1."""
        if len(self._counts) > before and (call.name == "batch_norm" or is_scale(call)):
            return before
        first = call.known.get(id(call.get(0, "input")))
        moved = call.name in MOVES or call.name in POOLED or call.name in _POOLS
        return first.scaled if moved and first is not None else -1

    def _add(self, name: str, values: Sequence[Tensor], evaluate: Callable[..., Tensor], dense: float) -> int:
        self.blind = self.blind or not torch.is_grad_enabled()
        self._counts.append((name, counted(evaluate, *values), dense))
        return len(self._counts) - 1

    def _drop(self, count: int) -> None:
        self._counts[count] = None


def event_layers(model: nn.Module) -> dict[Neuron, str]:
    """Return the neuron layers that send events, each with its name in ``model``.

    Raises:
        InvalidArgumentError: there are none.
    """
    neurons = {module: name for name, module in model.named_modules() if isinstance(module, Neuron)}
    found = {neuron: neurons[neuron] for neuron in event_neurons(neurons)}
    if not found:
        raise InvalidArgumentError(
            f"{type(model).__name__} has no neuron that sends spikes: it does no synaptic operations, and there is "
            "nothing to count or to penalise. Give a spiking network, or leave task.energy out."
        )
    return found
