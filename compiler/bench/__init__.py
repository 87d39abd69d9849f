"""Benchmarks of the compiler; ``snnkit bench`` finds them by the entry points of the group ``snnkit.benchmarks``."""
