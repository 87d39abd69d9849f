"""Write the artifact for lava: populations, synapses and the input of one image, as one npz of integers."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from compiler.network import Network
from compiler.program import Program
from compiler.simulate import artifact


def write(program: Program, path: str | Path, image: Tensor) -> Network:
    """Write the artifact of ``program`` for one image (1, …) and return it as a network.

    ``compiler.simulate.replay`` and the stand-alone lava runner both read the file; its format is described in
    ``compiler.simulate.artifact``.

    Raises:
        InvalidArgumentError: the image does not fit the program.
        DiskError: the file could not be written.
    """
    network = program.network(image)
    artifact.save(path, network)
    return network
