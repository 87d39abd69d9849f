"""What the compiler refuses, in one line each."""

from snnkit.errors import SnnkitError


class CaptureError(SnnkitError):
    """A model holds something that has no place in a graph; the message names module and operator."""


class CompileError(SnnkitError):
    """A graph cannot go onto a chip; the message names the layer, what it needs and what the chip has."""
