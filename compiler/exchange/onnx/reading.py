"""Read an ONNX file into a graph. Nothing in it is executed; its tensors are bounded before they are made."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import torch

from compiler.capturing import capture
from compiler.errors import CaptureError
from compiler.exchange.onnx.fusing import fused
from compiler.exchange.onnx.loading import load
from compiler.exchange.onnx.network import OnnxNetwork
from compiler.exchange.onnx.shaping import Shaping
from compiler.graph import Graph


def read(path: str | Path, batch_axis: int = 0) -> Graph:
    """Read an ONNX file into the graph of one sample.

    Args:
        path: of the file; weights that it keeps in other files lie in its folder.
        batch_axis: where the batch lies in the network's input. Its size in the file is 1 or left open; with 1, shapes
            that were frozen into the file mean one sample.

    Returns:
        The graph, with typed signals and a real input. Nodes are named after the modules that the file speaks of.

    Raises:
        CorruptFileError: the file, or one of its weights, is missing, damaged, or does not hold together.
        CaptureError: it holds operators, or forms of them, that graphs do not have: names every node.
        OnnxError: an unknown operator set, several inputs, open sizes, types that graphs do not have, or ``onnx`` is
            not installed.
        InvalidArgumentError: the input has no such axis.
    """
    path = Path(path)
    loaded = load(path, batch_axis)
    shaping = Shaping(loaded)
    shaping.run()
    constant = [name for name in loaded.outputs if name not in shaping.signals]
    if constant:
        raise CaptureError(f"{path}: the output {constant[0]!r} does not depend on the network's input; leave it out.")
    name = re.sub(r"\W", "_", path.stem) or "network"
    network = type(name, (OnnxNetwork,), {})(loaded, fused(shaping.planned, loaded.outputs))
    sample = [size for axis, size in enumerate(loaded.shape) if axis != loaded.batch_axis]
    graph = capture(network, torch.empty((1, *sample), dtype=loaded.dtype))
    return replace(graph, name=path.stem)
