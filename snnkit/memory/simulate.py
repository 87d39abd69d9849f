"""Predict the memory of a training step without running it: shapes flow, storages are counted, nothing is allocated.

The step runs on fake tensors (``torch._subclasses.FakeTensorMode``: shapes, strides and dtypes without data). Every
storage that an operator returns is counted until it is freed; what was there before (parameters, input) is not. The
workspace of operators is known from ``workspace.py`` on the CPU, and not on CUDA.
"""

from __future__ import annotations

import copy
import weakref
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from snnkit.errors import InvalidArgumentError
from snnkit.memory.stand_in import stand_in
from snnkit.memory.workspace import workspace

_CUDA_BLOCK = 512
"""The CUDA allocator hands out multiples of this many bytes."""


@dataclass(frozen=True)
class LayerMemory:
    """One layer: bytes it leaves behind for the backward, and the most bytes that lived while it ran."""

    name: str
    kept: int
    peak: int


@dataclass(frozen=True)
class Simulation:
    """A simulated training step; bytes above what parameters, buffers and the input take.

    Attributes:
        peak: most bytes alive at any time, gradients of parameters included.
        where: the layer and phase in which that was.
        kept: bytes alive between forward and backward.
        layers: in the order of their first call.
        random: layers that drew random numbers.
    """

    peak: int
    where: str
    kept: int
    layers: tuple[LayerMemory, ...]
    random: tuple[str, ...] = ()


@dataclass
class _Ledger(TorchDispatchMode):
    """Counts storages as operators make them and as they are freed."""

    live: int = 0
    peak: int = 0
    where: str = ""
    layer: str = ""
    phase: str = "forward"
    peaks: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    random: dict[str, None] = field(default_factory=dict)
    owners: dict[int, tuple[str, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__init__()
        self.seen: dict[int, Any] = {}

    __hash__ = object.__hash__

    def know(self, tensors: Any, count: bool = False) -> None:
        """Take these as given: they cost nothing, or what they take where they ``count``."""
        for tensor in tensors:
            self._register(tensor, _taken(tensor) if count else 0)

    def _register(self, tensor: Tensor, size: int) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self.seen:
            return

        def freed(_: Any, key: int = key, size: int = size) -> None:
            self.live -= size
            self.seen.pop(key, None)
            self.owners.pop(key, None)

        self.seen[key] = weakref.ref(storage, freed)
        self.owners[key] = (self.current(), size)
        self.live += size

    def current(self) -> str:
        """Name of the layer that runs: by module in the forward, by autograd node in the backward."""
        node = torch._C._current_autograd_node() if self.phase == "backward" else None
        return node.metadata.get(_TAG, "") if node is not None else self.layer

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operator, then count what it returned."""
        if torch.Tag.nondeterministic_seeded in func.tags:
            self.random[self.layer] = None
        before = self.live + workspace(func, args, kwargs)
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor):
                self._register(leaf, _taken(leaf))
        layer, highest = self.current(), max(before, self.live)
        self.peaks[layer] = max(self.peaks[layer], highest)
        if highest > self.peak:
            self.peak, self.where = highest, f"{layer or 'outside of layers'} ({self.phase})"
        return out


def _taken(tensor: Tensor) -> int:
    """Return the bytes that the allocator gives out for a tensor."""
    size = tensor.untyped_storage().nbytes()
    return -(-size // _CUDA_BLOCK) * _CUDA_BLOCK if tensor.device.type == "cuda" else size


_TAG = "snnkit_layer"


def simulate(
    model: nn.Module,
    example: Tensor,
    loss: Callable[[Any], Tensor] | None = None,
    prepare: Callable[[nn.Module], nn.Module] = lambda model: model,
    gradients: bool = True,
    accumulated: bool = False,
) -> Simulation:
    """Simulate forward and backward of ``loss(prepare(model)(example))``.

    Args:
        model: in the mode (train or eval) it will run in; neither it nor its gradients are touched.
        example: an input of the real shape; its values do not matter.
        loss: from the model's output to a number; the mean of squares if not given.
        prepare: makes what is run of the copy that is simulated.
        gradients: whether the parameters' gradients count; if not they are there before.
        accumulated: whether gradients of earlier batches of the step are there before, and count: those of this batch
            are made beside them.

    Raises:
        InvalidArgumentError: no parameter asks for a gradient. Else whatever the model raises on such an input.
    """
    loss = loss or mean_square
    with FakeTensorMode(allow_non_fake_inputs=True) as fake:
        twin = _fake_copy(model, fake)
        stand_in(twin)
        runner = prepare(twin)
        x = fake.from_tensor(example.detach())
        ledger = _Ledger()
        ledger.know([*twin.parameters(), *twin.buffers(), x])
        if accumulated or not gradients:
            for parameter in twin.parameters():
                parameter.grad = torch.zeros_like(parameter) if parameter.requires_grad else None
            before = [parameter.grad for parameter in twin.parameters() if parameter.grad is not None]
            ledger.know(before, count=gradients)
        with _layers(twin, ledger), ledger:
            value = loss(runner(x))
            if not value.requires_grad:
                raise InvalidArgumentError(
                    f"{type(model).__name__} has nothing to train: no parameter asks for a gradient."
                )
            kept = ledger.live
            by_layer: dict[str, int] = defaultdict(int)
            for name, size in ledger.owners.values():
                by_layer[name] += size
            ledger.phase = "backward"
            value.backward()
    names = dict.fromkeys([*by_layer, *ledger.peaks])
    layers = tuple(LayerMemory(name, by_layer.get(name, 0), ledger.peaks.get(name, 0)) for name in names if name)
    return Simulation(ledger.peak, ledger.where, kept, layers, tuple(ledger.random))


def _fake_copy(model: nn.Module, fake: FakeTensorMode) -> nn.Module:
    """Return a copy whose parameters and buffers are fake, and have no gradients; nothing large is allocated."""
    given = {id(tensor): tensor for tensor in [*model.parameters(), *model.buffers()]}
    return copy.deepcopy(model, {key: fake.from_tensor(tensor) for key, tensor in given.items()})


def mean_square(out: Any) -> Tensor:
    """Return a stand-in for a loss: the mean of squares of every tensor in ``out``."""
    return sum(leaf.square().mean() for leaf in tree_leaves(out))


@contextmanager
def _layers(model: nn.Module, ledger: _Ledger) -> Iterator[None]:
    """Tell the ledger which layer runs: those without children, and neurons."""
    handles, before = [], []

    def enter(name: str) -> Callable[..., None]:
        def hook(*_: Any) -> None:
            before.append(ledger.layer)
            ledger.layer = name

        return hook

    def leave(name: str) -> Callable[..., None]:
        def hook(_module: nn.Module, _inputs: Any, out: Any) -> None:
            ledger.layer = before.pop()
            _tag([leaf.grad_fn for leaf in tree_leaves(out) if isinstance(leaf, Tensor)], name)

        return hook

    for name, module in model.named_modules():
        if not list(module.children()) or hasattr(module, "operator"):
            handles += [
                module.register_forward_pre_hook(enter(name)),
                module.register_forward_hook(leave(name), always_call=True),
            ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _tag(nodes: list[Any], name: str) -> None:
    """Write the layer's name on the autograd nodes it made: those not written on before."""
    while nodes:
        node = nodes.pop()
        if node is not None and _TAG not in node.metadata:
            node.metadata[_TAG] = name
            nodes.extend(previous for previous, _ in node.next_functions)
