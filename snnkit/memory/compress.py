"""What autograd keeps, made smaller without loss: spikes as bits, outputs of layers not at all.

A spike is kept in memory as a float and saved by whatever multiplies it: one bit is enough. A neuron saves its input,
which mostly is the output of a batch norm, which saves its own input, the output of a convolution of spikes: each
follows from the one before. All is done by hooks on what autograd saves, so no layer has to know.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from snnkit.errors import InvalidArgumentError
from snnkit.events.bits import MAX_LEVELS
from snnkit.layers.recompute import frozen_statistics
from snnkit.layers.sequence import SEQUENCE_LAYERS
from snnkit.memory.spikes import levels_of, pack_spikes, unpack_spikes

_COPIES = frozenset(
    {"reshape", "contiguous", "clone", "flatten", "max_pool1d", "max_pool2d", "max_pool3d", "boolean_dispatch", "fn"}
)
"""Functions whose result holds spikes if their input does (the last two are what torch calls its pooling functions)."""
_PRODUCTS = frozenset({"matmul", "__matmul__", "__rmatmul__", "bmm"})
"""Functions that save copies of their two factors."""
_LAYERS = frozenset(
    {
        *(nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d, nn.Linear),
        *(nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d),
        *(nn.LayerNorm, nn.GroupNorm),
        *(layer for layer in SEQUENCE_LAYERS if layer.__name__ not in ("Flatten", "Upsample")),
    }
)
"""Layers of one input without memory and chance: what they return can be computed again."""


@dataclass(frozen=True, slots=True)
class _View:
    """Where in a storage a tensor lies."""

    size: torch.Size
    stride: tuple[int, ...]
    offset: int

    @classmethod
    def of(cls, tensor: Tensor) -> _View:
        return cls(tensor.size(), tensor.stride(), tensor.storage_offset())

    def into(self, whole: Tensor) -> Tensor:
        return whole.as_strided(self.size, self.stride, self.offset)


class _Spikes:
    """A storage that holds spikes: its bits, once something saved it."""

    def __init__(self, levels: int) -> None:
        self.levels, self.words = levels, None
        self.like: Tensor | None = None
        self.count = 0

    def keep(self, tensor: Tensor) -> None:
        if self.words is None:
            self.count = tensor.untyped_storage().nbytes() // tensor.element_size()
            self.like = tensor.new_empty(0)
            self.words = pack_spikes(tensor.as_strided((self.count,), (1,), 0), self.levels)

    def whole(self, direct: bool) -> Tensor:
        return unpack_spikes(self.words, self.like, self.count, self.levels)


class _Made:
    """A storage that a layer made: the layer and its input, itself as it is kept."""

    def __init__(self, module: nn.Module, source: Any, device: str) -> None:
        self.module, self.source, self.device = module, source, device
        self.autocast = (torch.get_autocast_dtype(device), torch.is_autocast_enabled(device))
        self.saved = 0
        self.held: Tensor | None = None

    def keep(self, tensor: Tensor) -> None:
        self.saved += 1

    def whole(self, direct: bool) -> Tensor:
        """Compute it; where another layer asks first, it is held for whoever saved it: that layer's own backward."""
        out = self.held
        if out is None:
            dtype, enabled = self.autocast
            with torch.no_grad(), frozen_statistics(self.module), torch.autocast(self.device, dtype, enabled):
                out = self.module.forward(rebuild(self.source, direct=False))
        self.saved -= direct
        self.held = out if not direct and self.saved > 0 else None
        return out


@dataclass(frozen=True, slots=True)
class _Plain:
    """A source that is kept as it is; it must not change."""

    tensor: Tensor
    version: int


@dataclass(frozen=True, slots=True)
class _Kept:
    """What autograd holds in place of a tensor."""

    record: _Spikes | _Made
    view: _View


def rebuild(kept: Any, direct: bool = True) -> Tensor:
    """Return the tensor that was saved."""
    if isinstance(kept, Tensor):
        return kept
    if isinstance(kept, _Plain):
        if kept.tensor._version != kept.version:
            raise InvalidArgumentError(
                "the input of a layer that a memory plan computes again was modified in place after the layer read it. "
                "Use the operation that returns a new tensor, or a larger budget."
            )
        return kept.tensor
    return kept.view.into(kept.record.whole(direct))


class Compression(TorchFunctionMode):
    """While active, autograd keeps spikes as bits and outputs of layers not at all.

    Args:
        model: whose neurons and layers are watched.
        spikes: whether spikes become bits.
        norms: whether outputs of batch norms are computed again in the backward.
        layers: whether those of convolutions, linear layers, poolings and other norms are.
    """

    def __init__(self, model: nn.Module, spikes: bool, norms: bool, layers: bool = False):
        super().__init__()
        self._model, self._spikes, self._norms, self._layers = model, spikes, norms, layers
        self._known: dict[int, tuple[weakref.ref[Any], int, _Spikes | _Made]] = {}
        self._factors: tuple[tuple[int, int], ...] = ()

    @contextmanager
    def active(self) -> Iterator[None]:
        """Compress what is saved inside this block; it may be read at any time later."""
        handles = []
        for module in self._model.modules():
            levels = levels_of(module) if self._spikes else 0
            if levels:
                handles.append(module.register_forward_hook(self._after_neuron(levels)))
            if self._made_again(module):
                handles.append(module.register_forward_hook(self._after_layer))
        try:
            with self, torch.autograd.graph.saved_tensors_hooks(self._pack, rebuild):
                yield
        finally:
            self._known.clear()
            for handle in handles:
                handle.remove()

    def _made_again(self, module: nn.Module) -> bool:
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            return self._norms and not isinstance(module, nn.SyncBatchNorm)
        return self._layers and type(module) in _LAYERS

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the function; a copy of spikes holds spikes, and so does a sum of them."""
        name = getattr(func, "__name__", "") if self._spikes else ""
        if name in _PRODUCTS:
            self._factors = tuple((a.numel(), self._levels(a)) for a in args if isinstance(a, Tensor))
            try:
                return func(*args, **(kwargs or {}))
            finally:
                self._factors = ()
        out = func(*args, **(kwargs or {}))
        if isinstance(out, Tensor) and args:
            if name in _COPIES:
                levels = self._levels(args[0])
            elif name in ("add", "__add__") and not kwargs and len(args) == 2:
                one, two = (self._levels(a) for a in args)
                levels = one + two if one and two else 0
            else:
                return out
            if 0 < levels <= MAX_LEVELS and self._find(out) is None:
                self._know(out, _Spikes(levels))
        return out

    def _after_neuron(self, levels: int) -> Callable[..., None]:
        def hook(_module: nn.Module, _inputs: Any, out: Tensor) -> None:
            self._know(out, _Spikes(levels))

        return hook

    def _after_layer(self, module: nn.Module, inputs: tuple[Any, ...], out: Any) -> None:
        if torch.is_grad_enabled() and len(inputs) == 1 and isinstance(out, Tensor) and out.requires_grad:
            x = inputs[0].detach()
            kept = self._keep(x)
            self._know(out, _Made(module, _Plain(x, x._version) if kept is None else kept, x.device.type))

    def _know(self, out: Tensor, record: _Spikes | _Made) -> None:
        """Remember what a storage holds, as long as it lives; only where the tensor covers it."""
        storage = out.untyped_storage()
        if storage.nbytes() != out.numel() * out.element_size():
            return
        key = storage._cdata

        def freed(ref: Any, key: int = key) -> None:
            if key in self._known and self._known[key][0] is ref:
                del self._known[key]

        self._known[key] = (weakref.ref(storage, freed), out._version, record)

    def _find(self, tensor: Any) -> _Spikes | _Made | None:
        """What is known of a tensor's storage, unless it has been written to since."""
        if not isinstance(tensor, Tensor) or tensor.layout != torch.strided:
            return None
        known = self._known.get(tensor.untyped_storage()._cdata)
        return known[2] if known is not None and known[1] == tensor._version else None

    def _levels(self, tensor: Any) -> int:
        found = self._find(tensor)
        return found.levels if isinstance(found, _Spikes) else 0

    def _keep(self, tensor: Tensor) -> _Kept | None:
        """Return what stands for a tensor, if anything smaller does."""
        record = self._find(tensor)
        if record is None:
            alike = [levels for numel, levels in self._factors if numel == tensor.numel()]
            if (
                not alike
                or not all(alike)
                or tensor.untyped_storage().nbytes() != tensor.numel() * tensor.element_size()
            ):
                return None
            record = _Spikes(max(alike))  # a copy that a product made of a factor
            self._know(tensor, record)
        if isinstance(record, _Spikes):
            record.keep(tensor)
        return _Kept(record, _View.of(tensor))

    def _pack(self, tensor: Tensor) -> Any:
        kept = self._keep(tensor)
        if kept is not None and isinstance(kept.record, _Made):
            kept.record.keep(tensor)
        return tensor if kept is None else kept
