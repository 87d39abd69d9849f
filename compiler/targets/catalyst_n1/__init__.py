"""Catalyst N1: an open digital design (FPGA) whose cores run 1,024 LIF or current-based neurons each."""

from compiler.targets.catalyst_n1 import arithmetic
from compiler.targets.catalyst_n1.build import build
from compiler.targets.catalyst_n1.legal import disagreement, legal
from compiler.targets.catalyst_n1.quantise import quantise
from compiler.targets.target import Target

TARGET = Target(arithmetic.SEMANTICS, legal, quantise, build, 1, disagreement)
