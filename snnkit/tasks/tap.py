"""What modules of a network read and say while it runs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import nn


class Tap:
    """Keep what modules were given and what they returned while the block runs; of several calls the last.

    Args:
        model: the network.
        names: of its modules; none, and nothing is kept.

    Attributes:
        inputs: arguments by place, by the name of the module.
        outputs: what was returned, by the name of the module.
    """

    def __init__(self, model: nn.Module, names: Iterable[str]):
        self._modules = {name: model.get_submodule(name) for name in names}
        self.inputs: dict[str, tuple[Any, ...]] = {}
        self.outputs: dict[str, Any] = {}

    def __enter__(self) -> Tap:
        def keep(name: str) -> Any:
            def hook(_module: nn.Module, inputs: tuple[Any, ...], out: Any) -> None:
                self.inputs[name], self.outputs[name] = inputs, out

            return hook

        self._handles = [module.register_forward_hook(keep(name)) for name, module in self._modules.items()]
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()
