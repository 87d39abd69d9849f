"""What the optimizers of this package share: settings that are looked at, dense real gradients, states as they were."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from snnkit.errors import InvalidArgumentError
from snnkit.optim.shards import local

Parameters = Iterable[Tensor] | Iterable[dict[str, Any]]


class CheckedOptimizer(torch.optim.Optimizer, ABC):
    """The interface: an optimizer writes ``check`` and ``move``.

    Raises:
        InvalidArgumentError: a setting out of range; at a step, a sparse or complex gradient.
    """

    def __init__(self, params: Parameters, defaults: dict[str, Any]):
        self.check(defaults)
        super().__init__(params, defaults)

    @staticmethod
    @abstractmethod
    def check(group: dict[str, Any]) -> None:
        """Raise InvalidArgumentError for a setting of a group that is out of range."""

    @abstractmethod
    def move(self, parameter: Tensor, group: dict[str, Any]) -> None:
        """Take a step with a parameter that has a gradient."""

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group of parameters, here and when the optimizer is made; what it does not say is as in the others.

        Raises:
            InvalidArgumentError: a setting outside its range; the group is not added.
        """
        self.check(self.defaults | {key: value for key, value in param_group.items() if key != "params"})
        super().add_param_group(param_group)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Move all parameters that have a gradient; returns what ``closure`` returns."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                if parameter.grad.is_sparse or parameter.is_complex():
                    raise InvalidArgumentError(f"{type(self).__name__} takes dense real gradients; use sparse=False.")
                self.move(parameter, group)
        return loss

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up what ``state_dict`` returned; every state keeps its type, whatever the parameter's is."""
        super().load_state_dict(state_dict)  # which turns every tensor into the parameter's dtype
        saved = [index for group in state_dict["param_groups"] for index in group["params"]]
        own = [parameter for group in self.param_groups for parameter in group["params"]]
        for index, parameter in zip(saved, own, strict=True):
            for key, value in state_dict["state"].get(index, {}).items():
                if isinstance(value, Tensor) and key != "step":
                    self.state[parameter][key] = value.to(local(parameter).device, copy=True)
