"""A model that runs under a memory plan."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_unflatten

from snnkit.memory.chunks import over_chunks
from snnkit.memory.compress import Compression
from snnkit.memory.recompute import recompute
from snnkit.neurons.carry import active_carry


@dataclass(frozen=True)
class Choice:
    """How a training step saves memory.

    Attributes:
        rect: neurons that keep two bits a step; exact.
        code8: neurons that keep one byte a step; approximate.
        bits: whether spikes are kept as bits.
        norms: whether outputs of batch norms are computed again in the backward.
        layers: whether those of convolutions, linear layers, poolings and other norms are too.
        blocks: modules of which only the inputs are kept.
        chunks: in how many chunks of time the sequence runs.
    """

    rect: tuple[str, ...] = ()
    code8: tuple[str, ...] = ()
    bits: bool = False
    norms: bool = False
    layers: bool = False
    blocks: tuple[str, ...] = ()
    chunks: int = 1

    def __str__(self) -> str:
        parts = [
            f"two bits a step for {len(self.rect)} neurons" if self.rect else "",
            "spikes as bits" if self.bits else "",
            "batch norms computed again" if self.norms and not self.layers else "",
            "layers computed again" if self.layers else "",
            f"one byte a step for {len(self.code8)} neurons (approximate)" if self.code8 else "",
            f"{len(self.blocks)} blocks computed again" if self.blocks else "",
            f"{self.chunks} chunks of time" if self.chunks > 1 else "",
        ]
        return ", ".join(filter(None, parts)) or "plain"


class Planned(nn.Module):
    """``model`` run as a plan chose: same outputs and gradients, less memory.

    It holds the very parameters, buffers and submodules of ``model``, under the same names: a ``state_dict`` of one
    loads into the other, an optimiser of one trains the other, ``train``, ``eval``, ``to`` and ``load_state_dict`` act
    on both. A deep copy or pickle contains its own copy of the model. What it does not have itself (``timesteps``,
    ``forward_features`` …) is the model's and runs as it always did. Without gradients, and inside of a ``Stream``, the
    model runs plainly.

    Args:
        model: the model itself, at ``.model``.
        choice: what was planned.
    """

    def __init__(self, model: nn.Module, choice: Choice):
        super().__init__()
        object.__setattr__(self, "model", model)
        object.__setattr__(self, "choice", choice)
        self.__dict__.update({name: model.__dict__[name] for name in ("_parameters", "_buffers", "_modules")})
        self.__dict__["_non_persistent_buffers_set"] = model._non_persistent_buffers_set
        self.training = model.training

    def forward(self, x: Any) -> Any:
        """Return ``model(x)``."""
        choice = self.choice
        self.model.training = self.training
        if not torch.is_grad_enabled() or active_carry() is not None:
            return self.model(x)
        if choice.chunks > 1:
            return over_chunks(self.model, x, choice.chunks, self._within)
        return self._within(self.model)(x)

    def train(self, mode: bool = True) -> Planned:
        """Set the mode of the model too."""
        self.model.training = mode
        return super().train(mode)

    def __getattr__(self, name: str) -> Any:
        if name in ("model", "_modules"):  # not there yet: while being unpickled
            raise AttributeError(name)
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self.model, name)

    def extra_repr(self) -> str:
        """Show the choice in ``print(model)``."""
        return str(self.choice)

    def _within(self, run: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """Return ``run`` with tiers, compression and blocks that run again in force."""

        def planned(x: Any) -> Any:
            with ExitStack() as stack:
                for name in self.choice.blocks:
                    block = self.model.get_submodule(name)
                    inner = partial(self._block, name, block, block.forward)
                    stack.enter_context(_attribute(block, "forward", inner))
                stack.enter_context(self._saving(self.model, ""))
                return run(x)

        return planned

    def _block(self, name: str, block: nn.Module, forward: Callable[..., Any], *inputs: Any, **named: Any) -> Any:
        """Run a block's forward so that only its inputs are kept."""
        if not torch.is_grad_enabled() or named or not all(isinstance(x, Tensor) for x in inputs):
            return forward(*inputs, **named)
        spec = None

        def run(*inputs: Tensor) -> tuple[Tensor, ...]:
            nonlocal spec
            with self._saving(block, f"{name}."):
                leaves, spec = tree_flatten(forward(*inputs))
            return tuple(leaves)

        leaves = recompute(block, run, *inputs)
        return tree_unflatten(leaves, spec)

    @contextmanager
    def _saving(self, module: nn.Module, prefix: str) -> Iterator[None]:
        """Put save tiers below ``prefix`` into force, and compress what ``module`` keeps."""
        choice = self.choice
        if not torch.is_grad_enabled():
            yield
            return
        with ExitStack() as stack:
            for tier, names in (("rect", choice.rect), ("code8", choice.code8)):
                for name in names:
                    if name.startswith(prefix):
                        stack.enter_context(_attribute(self.model.get_submodule(name), "save", tier))
            if choice.bits or choice.norms or choice.layers:
                compression = Compression(module, choice.bits, choice.norms, choice.layers)
                stack.enter_context(compression.active())
            yield


@contextmanager
def _attribute(module: nn.Module, name: str, value: Any) -> Iterator[None]:
    """Let ``module.name`` be ``value`` for a while."""
    own = name in module.__dict__
    before = module.__dict__.get(name)
    setattr(module, name, value)
    try:
        yield
    finally:
        if own:
            setattr(module, name, before)
        else:
            delattr(module, name)
