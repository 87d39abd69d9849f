"""The target of this folder: its rules under its name."""

from compiler.targets.odin.arithmetic import FORMATS
from compiler.targets.odin.image import build
from compiler.targets.odin.legal import disagreement, legal
from compiler.targets.odin.quantise import quantise
from compiler.targets.target import Target

TARGETS = tuple(Target(name, legal, quantise, build, 1, disagreement, host=False) for name in FORMATS)
"""One a chip: both have the same arithmetic, in other ranges."""
