"""NIR: the Neuromorphic Intermediate Representation (HDF5), which other simulators and chips read and write.

Source of the format: Pedersen et al., Nature Communications 15, 8122 (2024), and the package ``nir`` 1.0.8. ``table``
says what is carried and what is refused, ``neurons`` how differential equations become time steps.
"""

from compiler.exchange.nir.package import NirError
from compiler.exchange.nir.reading import read
from compiler.exchange.nir.writing import NirReport, write

__all__ = ["NirError", "NirReport", "read", "write"]
