"""An ONNX network as a torch module, one submodule a node, for ``compiler.capture``.

Why a module and not a graph at once: the capture already knows where the batch lies in an exported tensor, folds what
depends on weights alone, turns moves of axes into moves of a sample, and refuses whatever mixes samples. What is left
to do here is one line of torch for every operator, and what only files have: a batch of 1 frozen into shapes.
"""

from __future__ import annotations

import ast
import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from compiler.capturing.axes import Layout
from compiler.exchange.onnx.call import OnnxCall, Shape
from compiler.exchange.onnx.loading import Loaded
from compiler.exchange.onnx.shaping import Planned, results
from compiler.exchange.onnx.table import TABLE

_KEEP_ORDER = ("Reshape", "Flatten", "Squeeze", "Unsqueeze")
_SCOPES = "pkg.torch.onnx.name_scopes"


class OnnxNode(nn.Module):
    """One node; what it reads of stored numbers are its buffers."""

    def __init__(self, planned: Planned):
        super().__init__()
        self.planned = planned
        for index, value in enumerate(planned.call.values):
            if planned.call.is_stored(index):
                self.register_buffer(f"input{index}", value)

    def forward(
        self, given: Sequence[Tensor | None], layouts: Sequence[Layout | None], batch: int
    ) -> list[tuple[Tensor, Layout]]:
        """Return the results, and where their batch lies, for signals ``given`` (None: stored or missing)."""
        once = self.planned.call
        values = [
            getattr(self, f"input{index}") if once.is_stored(index) else value for index, value in enumerate(given)
        ]
        call = replace(once, values=values, layouts=list(layouts), batch=batch)
        made = results(TABLE[once.op](call))
        assert once.made is not None
        return [(value, layout_of(call, tuple(value.shape), one)) for value, one in zip(made, once.made, strict=True)]


class OnnxNetwork(nn.Module):
    """A loaded network, whose nodes are submodules under the names that they have in the file."""

    def __init__(self, loaded: Loaded, planned: Sequence[Planned]):
        super().__init__()
        self.loaded = loaded
        self.order: list[OnnxNode] = []
        for path, one in zip(paths([one.node for one in planned]), planned, strict=True):
            self.order.append(OnnxNode(one))
            _place(self, path, self.order[-1])

    def forward(self, x: Tensor) -> Any:
        """Return the outputs for a batch (B, …)."""
        loaded, batch = self.loaded, x.shape[0]
        x = x.movedim(0, loaded.batch_axis)
        values: dict[str, Tensor] = {loaded.input: x}
        layouts: dict[str, Layout] = {loaded.input: Layout(tuple(x.shape), loaded.batch_axis)}
        for module in self.order:
            one = module.planned
            given = [values.get(name) for name in one.inputs]
            made = module(given, [layouts.get(name) for name in one.inputs], batch)
            for name, (value, layout) in zip(one.outputs, made, strict=False):
                values[name], layouts[name] = value, layout
        outputs = [values[name] for name in loaded.outputs]
        return outputs[0] if len(outputs) == 1 else outputs


def layout_of(call: OnnxCall, shape: Shape, once: Shape) -> Layout:
    """Return where the batch lies in a result: where it differs from that for a batch of 1, and by this factor.

    Raises:
        CaptureError: there is no such axis, or several, so samples were mixed.
    """
    differ = [axis for axis, (size, one) in enumerate(zip(shape, once, strict=False)) if size != one]
    if len(shape) != len(once) or len(differ) != 1 or shape[differ[0]] != once[differ[0]] * call.batch:
        raise call.refuse(
            f"gives {once} for one sample and not as much for each of several: it mixes samples, or reads a batch of 1 "
            "that cannot be told from other axes; export the model with an open batch"
        )
    axis, merged = differ[0], once[differ[0]]
    sources = [layout for layout in call.layouts if layout is not None]
    if merged == 1:
        return Layout(shape, axis)
    if call.op in _KEEP_ORDER:
        outer = sources[0].before // math.prod(shape[:axis])
        return Layout(shape, axis, outer, merged // outer)
    like = next((source for source in sources if source.merged == merged), None)
    return Layout(shape, axis, like.outer, like.inner) if like else Layout(shape, axis, 1, merged)


def paths(nodes: Sequence[Any]) -> list[str]:
    """Return a dotted name for every node: that of the module it came from, where it is the only node of it.

    PyTorch's exporters write ``/layer1/conv/Conv`` as a name, or the module's path among the node's properties.
    """
    scopes = [_scope(node) for node in nodes]
    count = Counter(scopes)
    taken: Counter[str] = Counter()
    found = []
    for node, scope in zip(nodes, scopes, strict=True):
        alone = bool(scope) and count[scope] == 1 and not any(one.startswith(f"{scope}.") for one in count)
        name = scope if alone else f"{scope}.{node.op_type.lower()}".lstrip(".")
        taken[name] += 1
        found.append(name if taken[name] == 1 else f"{name}_{taken[name] - 1}")
    return found


def _scope(node: Any) -> str:
    """Return the path of the module that a node came from, as far as the file says it."""
    for entry in node.metadata_props:
        if entry.key == _SCOPES:
            try:
                parts = [str(part) for part in ast.literal_eval(entry.value)]
            except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
                break
            return _clean(parts[-2] if len(parts) > 1 else "")
    return _legacy(node.name) if node.name.startswith("/") else ""


def _legacy(name: str) -> str:
    """Return ``layer1.0.conv1`` for ``/layer1/layer1.0/conv1/Conv``: parts repeat those before them."""
    path: list[str] = []
    for part in name.split("/")[1:-1]:
        head, dot, rest = part.partition(".")
        if dot and path and path[-1] == head:
            path.append(rest)
        else:
            path.append(part)
    return _clean(".".join(path))


def _clean(path: str) -> str:
    """Keep what module names may hold."""
    parts = [re.sub(r"\W", "_", part) for part in path.split(".") if part]
    return ".".join(parts[:32])


def _place(root: nn.Module, path: str, module: nn.Module) -> None:
    """Hang a module under a dotted path."""
    *front, last = path.split(".")
    here = root
    for part in front:
        if part not in here._modules:
            here.add_module(part, nn.Module())
        inner = here._modules[part]
        assert inner is not None
        here = inner
    here.add_module(last, module)
