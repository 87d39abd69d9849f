"""Weights on disk: own safetensors with what builds the model again, and published checkpoints of every family."""

from snnkit.checkpoints.read import read_any, read_weights
from snnkit.checkpoints.weights import LoadReport, build_model, load_weights, save_tensors, save_weights, unreadable

__all__ = [
    "LoadReport",
    "build_model",
    "load_weights",
    "read_any",
    "read_weights",
    "save_tensors",
    "save_weights",
    "unreadable",
]
