"""Catalyst N1: an open digital design (FPGA) whose cores run 1,024 LIF or current-based neurons each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from compiler.targets.catalyst_n1 import setup, simulator

TRACE_KEYS = setup.KEYS
"""What a trace of this chip holds beside its ``out_*`` arrays."""


def run_trace(arrays: Mapping[str, NDArray[Any]], name: object) -> dict[str, NDArray[Any]]:
    """Run what a trace is programmed with (see ``setup``); CorruptFileError in one line if it cannot be."""
    return simulator.run(setup.read(arrays, name))
