"""Weights on disk: safetensors only, with what is needed to build the model again in the metadata."""

from snnkit.checkpoints.weights import LoadReport, build_model, load_weights, read_weights, save_weights

__all__ = ["LoadReport", "build_model", "load_weights", "read_weights", "save_weights"]
