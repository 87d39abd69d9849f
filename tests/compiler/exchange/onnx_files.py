"""ONNX files for tests: exported by PyTorch, or made node by node."""

from __future__ import annotations

import contextlib
import io
import logging
import math
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

KINDS = {
    "trace 13": (False, 13, False),
    "trace 17": (False, 17, True),
    "trace 20": (False, 20, False),
    "export 18": (True, 18, False),
    "export 20": (True, 20, True),
}
"""Exporters: whether it is the one of ``torch.export``, the version of the operators, whether the batch is open."""


def plain_attention(q: Tensor, k: Tensor, v: Tensor, attn_mask: Tensor | None = None, **_: Any) -> Tensor:
    """Attention written out, for networks whose attention PyTorch's exporters do not take (masks in float64)."""
    scores = q @ k.transpose(-2, -1) * (_.get("scale") or 1 / math.sqrt(q.shape[-1]))
    return (scores if attn_mask is None else scores + attn_mask).softmax(-1) @ v


def export(model: nn.Module, x: Tensor, path: Path, kind: str, plain: bool = False) -> Path:
    """Write ``model`` as PyTorch does, quietly."""
    dynamo, opset, is_open = KINDS[kind]
    options: dict[str, Any] = {}
    if is_open and dynamo:
        options["dynamic_shapes"] = ({0: torch.export.Dim("batch")},)
    elif is_open:
        options["dynamic_axes"] = {"x": {0: "batch"}}
    example = torch.cat([x, x]) if is_open else x
    before, attention = logging.root.manager.disable, torch.nn.functional.scaled_dot_product_attention
    logging.disable(logging.ERROR)
    try:
        if plain:
            torch.nn.functional.scaled_dot_product_attention = plain_attention
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            torch.onnx.export(
                model,
                (example,),
                str(path),
                dynamo=dynamo,
                opset_version=opset,
                input_names=["x"],
                external_data=False,
                **options,
            )
    finally:
        torch.nn.functional.scaled_dot_product_attention = attention
        logging.disable(before)
    return path


Node = tuple[str, Sequence[str], Sequence[str], dict[str, Any]]


def write(
    path: Path,
    nodes: Sequence[Node],
    shape: Sequence[int | str],
    weights: dict[str, Any] | None = None,
    opset: int = 20,
    dtype: int = TensorProto.DOUBLE,
    outputs: Sequence[str] = ("y",),
    change: Callable[[onnx.ModelProto], None] = lambda model: None,
) -> Path:
    """Write a file of (operator, inputs, outputs, attributes); its input is x, float64."""
    made = [
        helper.make_node(op, inputs, results, name=f"n{index}", **attributes)
        for index, (op, inputs, results, attributes) in enumerate(nodes)
    ]
    graph = helper.make_graph(
        made,
        "net",
        [helper.make_tensor_value_info("x", dtype, shape)],
        [helper.make_tensor_value_info(name, dtype, None) for name in outputs],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in (weights or {}).items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    change(model)
    path.write_bytes(model.SerializeToString())
    return path


def by_reference(path: Path, x: np.ndarray) -> list[np.ndarray]:
    """Run a file by the package's own reference evaluator, one sample at a time."""
    from onnx.reference import ReferenceEvaluator

    evaluator = ReferenceEvaluator(str(path))
    rows = [evaluator.run(None, {"x": x[index : index + 1]}) for index in range(len(x))]
    return [np.concatenate(results) for results in zip(*rows, strict=True)]
