"""Optimizers by name: this package's, timm's and torch's. To add one: a file, and its line in ``OPTIMIZERS``."""

from snnkit.optim.build import OPTIMIZERS, build_optimizer, parameter_groups

__all__ = ["OPTIMIZERS", "build_optimizer", "parameter_groups"]
