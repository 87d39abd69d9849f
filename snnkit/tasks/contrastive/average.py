"""A second network that follows the trained one: MoCo's key encoder, DINO's teacher.

    θ̄ ← m θ̄ + (1 − m) θ          parameters only

**Statistics of batch norms are not averaged**: as in the published code, the follower's running statistics come from
its own passes in training mode, over what it sees itself; of a spiking network from all T steps of that. Learned
constants of neurons are parameters and are averaged. Dropout and stochastic depth are off in it.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn


class Follower(nn.Module):
    """A copy of encoder and head that is not trained.

    Args:
        model, head: what it follows.
    """

    def __init__(self, model: nn.Module, head: nn.Module):
        super().__init__()
        self.model, self.head = copy.deepcopy(model), copy.deepcopy(head)
        self.requires_grad_(False)

    @torch.no_grad()
    def follow(self, model: nn.Module, head: nn.Module, momentum: float) -> None:
        """Move towards the parameters of ``model`` and ``head``."""
        own: list[Tensor] = list(self.parameters())
        theirs = [parameter.detach() for parameter in (*model.parameters(), *head.parameters())]
        torch._foreach_mul_(own, momentum)
        torch._foreach_add_(own, theirs, alpha=1 - momentum)

    def train(self, mode: bool = True) -> Follower:
        """Switch what has running statistics to training, and nothing else.

        Much of what drops at random is no module: it asks the layer around it whether that is training.
        """
        super().train(False)
        self.training = mode
        for module in self.modules():
            if hasattr(module, "running_mean"):
                module.training = mode
        return self
