"""Optimizers by name: this package's, timm's and torch's. To add one: a file, and its line in ``OPTIMIZERS``.

Those with 8-bit states: one byte a number instead of four, by block-wise dynamic quantisation (``quantisation.py``).
"""

from snnkit.optim.build import OPTIMIZERS, build_optimizer, parameter_groups
from snnkit.optim.eight_bit import Adagrad8bit, Adam8bit, AdamW8bit, Lion8bit, RMSprop8bit, SGD8bit
from snnkit.optim.memory import optimizer_bytes
from snnkit.optim.quantisation import codebook, dequantise, dynamic_map, quantise
from snnkit.optim.stable_embedding import StableEmbedding
from snnkit.optim.trust import LAMB8bit, LARS8bit

__all__ = [
    "OPTIMIZERS",
    "Adagrad8bit",
    "Adam8bit",
    "AdamW8bit",
    "LAMB8bit",
    "LARS8bit",
    "Lion8bit",
    "RMSprop8bit",
    "SGD8bit",
    "StableEmbedding",
    "build_optimizer",
    "codebook",
    "dequantise",
    "dynamic_map",
    "optimizer_bytes",
    "parameter_groups",
    "quantise",
]
