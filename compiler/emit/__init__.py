"""Emitters: a graph or a program in someone else's format, one file each."""

from compiler.emit.lava import lava
from compiler.emit.nir import nir
from compiler.emit.read_nir import read_nir

__all__ = ["lava", "nir", "read_nir"]
