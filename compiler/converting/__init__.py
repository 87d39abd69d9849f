"""Conversions: Graph → Graph of another meaning, each saying what it keeps."""

from compiler.converting.conversion import Converted, SpikingRun, convert
from compiler.converting.places import Place, Places
from compiler.converting.quantisers import Quantiser
from compiler.converting.relu_twin import relu_twin

__all__ = ["Converted", "Place", "Places", "Quantiser", "SpikingRun", "convert", "relu_twin"]
