"""Read an artifact: populations, synapses and input as a network."""

from __future__ import annotations

from pathlib import Path

from compiler.network import Network
from compiler.simulate import artifact


def read(path: str | Path) -> Network:
    """Return the network that an artifact holds; nothing in the file is executed.

    Raises:
        ArtifactError: the file is missing, damaged, or holds what the arithmetic cannot represent (names the key).
    """
    return artifact.load(path)
