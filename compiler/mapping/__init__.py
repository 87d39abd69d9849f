"""From populations to cores: partition, placement, loads."""

from compiler.mapping.mapping import CoreLoad, Mapping, place

__all__ = ["CoreLoad", "Mapping", "place"]
