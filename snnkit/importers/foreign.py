"""Modules of another library: whose they are, what is their own, and the state that they hold in themselves."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from snnkit.errors import InvalidArgumentError
from snnkit.neurons.carry import Carry, State

_MACHINERY = frozenset(nn.Module().__dict__) | {"_buffers"}
_HARMLESS = frozenset(
    (
        *("__init__", "__module__", "__qualname__", "__doc__", "__dict__", "__weakref__", "__annotations__"),
        *("__slots__", "__firstlineno__", "__static_attributes__", "__annotate__", "__annotate_func__"),
        *("__annotations_cache__", "__parameters__", "__orig_bases__", "__abstractmethods__", "_abc_impl"),
        *("extra_repr", "__repr__", "__str__"),
    )
)
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def library_class(module: nn.Module, library: str) -> type | None:
    """Return the first class of ``library`` that ``module`` is an instance of, None if there is none."""
    return next((cls for cls in type(module).__mro__ if cls.__module__.partition(".")[0] == library), None)


def is_a(module: nn.Module, library: str, name: str) -> bool:
    """Whether a class of ``library`` called ``name`` is among the bases."""
    return any(cls.__name__ == name and cls.__module__.startswith(f"{library}.") for cls in type(module).__mro__)


def own_behaviour(module: nn.Module, base: type) -> str:
    """Return what ``module`` does differently from ``base``, as far as classes and instances tell; "" if nothing."""
    mro = type(module).__mro__
    before = mro[: mro.index(base)]
    own = [name for cls in before for name in vars(cls) if name not in _HARMLESS]
    own += [name for name, value in vars(module).items() if callable(value) and callable(getattr(base, name, None))]
    if own:
        return f"has its own {', '.join(dict.fromkeys(own))}"
    return "has hooks" if any(getattr(module, name, None) for name in _HOOKS) else ""


def copied(module: nn.Module) -> nn.Module:
    """Return a deep copy; state that a training step left attached to its graph is copied without it."""
    memo: dict[int, Any] = {}
    for part in module.modules():
        for leaf in pytree.tree_leaves(list(vars(part).values())):
            if isinstance(leaf, Tensor) and leaf.grad_fn is not None:
                memo[id(leaf)] = leaf.detach().clone()
    return copy.deepcopy(module, memo)


_Held = dict[tuple[int, str, str], Any]


def _places(module: nn.Module) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """Where a module and its parts, torch's own apart, keep plain values: attributes and buffers."""
    for index, part in enumerate(module.modules()):
        if not type(part).__module__.startswith("torch."):
            yield index, "attribute", part.__dict__
            yield index, "buffer", part._buffers


def _held(module: nn.Module) -> _Held:
    """Return the plain values; lists and dictionaries as they are now."""
    values = {
        (index, kind, name): value
        for index, kind, place in _places(module)
        for name, value in place.items()
        if kind == "buffer" or name not in _MACHINERY
    }
    return pytree.tree_map(lambda value: value, values)


def _install(module: nn.Module, held: _Held) -> None:
    """Give a module these plain values, and no others."""
    held = pytree.tree_map(lambda value: value, held)
    for index, kind, place in _places(module):
        for name in [n for n in place if kind == "buffer" or n not in _MACHINERY]:
            if (index, kind, name) not in held:
                del place[name]
        place.update({name: value for (i, k, name), value in held.items() if (i, k) == (index, kind)})


class _Tensor:
    """Stands for a tensor of the state."""


class _Forms:
    """What surrounds the tensors of a foreign state: numbers, lists. A carry itself holds tensors only.

    A carry may go back to the state before, which is why the form before stays known.
    """

    def __init__(self) -> None:
        self._forms: WeakKeyDictionary[Carry, dict[Any, list[tuple[State, Any]]]] = WeakKeyDictionary()

    def put(self, carry: Carry, key: Any, state: State, form: Any) -> None:
        known = self._forms.setdefault(carry, {}).setdefault(key, [])
        known[:] = [*known[-1:], (state, form)]

    def get(self, carry: Carry, key: Any, state: State) -> Any:
        known = self._forms[carry][key]
        return next((form for of, form in known if of is state), known[-1][1])


_FORMS = _Forms()


@contextmanager
def lent(modules: Sequence[nn.Module], carry: Carry | None) -> Iterator[None]:
    """Let foreign modules hold their state while the block runs; afterwards they are as they were.

    With a carry they start from it, and leave there what they hold in the end.

    Raises:
        InvalidArgumentError: the network is being captured; what such a module does is not known.
    """
    rest = [_held(module) for module in modules]
    keys = [None if carry is None else _lend(module, carry) for module in modules]
    try:
        yield
        if carry is not None:
            for module, key, before in zip(modules, keys, rest, strict=True):
                _take(module, carry, key, before)
    finally:
        for module, before in zip(modules, rest, strict=True):
            _install(module, before)


def _lend(module: nn.Module, carry: Carry) -> Any:
    if torch.compiler.is_exporting() or torch._guards.detect_fake_mode() is not None:
        raise InvalidArgumentError(
            f"{type(module).__name__} runs as it is in the library it came from: it has no form here that could be "
            "captured. Use a neuron that is translated."
        )
    state = carry.peek(module)
    key, _ = carry.start(module, state[0].unsqueeze(0) if state else torch.zeros(1, 1))
    if state:
        spec, leaves = _FORMS.get(carry, key, state)
        tensors = iter(state)
        _install(module, pytree.tree_unflatten([next(tensors) if v is _Tensor else v for v in leaves], spec))
    return key


def _take(module: nn.Module, carry: Carry, key: Any, rest: _Held) -> None:
    known = {id(leaf) for leaf in pytree.tree_leaves(rest)}
    leaves, spec = pytree.tree_flatten(_held(module))
    own = [isinstance(leaf, Tensor) and id(leaf) not in known for leaf in leaves]
    state = tuple(leaf for leaf, is_state in zip(leaves, own, strict=True) if is_state)
    form = (spec, [_Tensor if is_state else leaf for leaf, is_state in zip(leaves, own, strict=True)])
    carry.leave(key, state)
    _FORMS.put(carry, key, state, form)
