"""The target of this folder: its rules under its name."""

from compiler.targets.catalyst_n1 import arithmetic
from compiler.targets.catalyst_n1.build import build
from compiler.targets.catalyst_n1.legal import LOSSES, disagreement, legal
from compiler.targets.catalyst_n1.quantise import quantise
from compiler.targets.target import Target

TARGETS = (Target(arithmetic.SEMANTICS, legal, quantise, build, 1, disagreement, LOSSES, host=False),)
