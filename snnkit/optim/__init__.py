"""Optimizers by name: this package's, timm's and torch's.

Those of ``eight_bit`` have 8-bit states: one byte a number instead of four, by block-wise dynamic quantisation
(``quantisation.py``). To add one: a file, there or here, imported below, and its line in the first list.
"""

from snnkit.optim.adafactorw import AdaFactorW
from snnkit.optim.build import OPTIMIZERS, build_optimizer, parameter_groups
from snnkit.optim.eight_bit.adagrad import Adagrad8bit
from snnkit.optim.eight_bit.adam import Adam8bit
from snnkit.optim.eight_bit.adamw import AdamW8bit
from snnkit.optim.eight_bit.lamb import LAMB8bit
from snnkit.optim.eight_bit.lars import LARS8bit
from snnkit.optim.eight_bit.lion import Lion8bit
from snnkit.optim.eight_bit.rmsprop import RMSprop8bit
from snnkit.optim.eight_bit.sgd import SGD8bit
from snnkit.optim.memory import optimizer_bytes
from snnkit.optim.quantisation import codebook, dequantise, dynamic_map, quantise
from snnkit.optim.stable_embedding import StableEmbedding

__all__ = [
    "AdaFactorW",
    "Adagrad8bit",
    "Adam8bit",
    "AdamW8bit",
    "LAMB8bit",
    "LARS8bit",
    "Lion8bit",
    "RMSprop8bit",
    "SGD8bit",
]

OPTIMIZERS.update({name.lower(): globals()[name] for name in __all__})

__all__ += [
    "OPTIMIZERS",
    "StableEmbedding",
    "build_optimizer",
    "codebook",
    "dequantise",
    "dynamic_map",
    "optimizer_bytes",
    "parameter_groups",
    "quantise",
]
