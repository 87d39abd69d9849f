"""The same random numbers twice: generators as they were before a forward, put back for a second one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from snnkit.data.order import generators, put_back


@dataclass(frozen=True)
class Draws:
    """The states of all generators that a forward may draw from: torch's, NumPy's, Python's, and modules' own."""

    common: tuple[object, ...]
    device: Tensor | None
    own: tuple[Tensor, ...]

    @classmethod
    def now(cls, model: nn.Module, device: torch.device) -> Draws:
        """Return the states as they are; ``device`` is where the model runs."""
        found = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
        return cls(generators(), found, tuple(one.get_state() for one in own_generators(model)))

    def restore(self, model: nn.Module, device: torch.device) -> None:
        """Put all generators back to these states."""
        put_back(self.common)
        if self.device is not None:
            torch.cuda.set_rng_state(self.device, device)
        for generator, state in zip(own_generators(model), self.own, strict=True):
            generator.set_state(state)

    @contextmanager
    def again(self, model: nn.Module, device: torch.device) -> Iterator[None]:
        """Draw the same numbers inside the block, and go on after it as if there had been none."""
        after = Draws.now(model, device)
        self.restore(model, device)
        try:
            yield
        finally:
            after.restore(model, device)


def own_generators(model: nn.Module) -> list[torch.Generator]:
    """Return the generators that modules hold themselves, such as a Poisson encoder's; each once."""
    held = (value for module in model.modules() for value in vars(module).values())
    return list(dict.fromkeys(value for value in held if isinstance(value, torch.Generator)))
