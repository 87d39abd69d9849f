"""Benchmarks against named peers, run by ``snnkit bench`` and stored as JSON.

Each is one file with a ``run(repeats) -> list of rows``; a row is a dict with at least ``case``, ``variant``,
``min_ms``, ``median_ms`` and ``ratio`` (how many times faster than the peer it names in ``against``), and where there
is a goal, ``bar`` and ``reached``.
"""
