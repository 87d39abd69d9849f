"""The first run, with a batch of 1: every shape, every stored result, and all that is refused.

Signals are tensors without data. What depends on stored numbers and on shapes alone (position tables, masks, targets of
Reshape) is computed once, each result's size checked before it is made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from compiler.capturing.capture import refused
from compiler.errors import CaptureError
from compiler.exchange.onnx.call import Attributes, OnnxCall
from compiler.exchange.onnx.loading import OWN_DOMAINS, Loaded, called
from compiler.exchange.onnx.table import NUMBERS, TABLE
from compiler.exchange.onnx.tensors import check_size, stored
from snnkit.errors import SnnkitError, nearest


@dataclass(frozen=True)
class Planned:
    """A node that depends on the network's input: its call with a batch of 1, and its names in the file."""

    call: OnnxCall
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    node: Any


class Shaping:
    """The first run of a loaded network; ``planned`` are the nodes that remain, in order."""

    def __init__(self, loaded: Loaded):
        self.loaded = loaded
        self.mode = FakeTensorMode(allow_non_fake_inputs=True)
        self.real: dict[str, Tensor] = dict(loaded.stored)
        with self.mode:
            self.signals: dict[str, Tensor] = {loaded.input: torch.empty(loaded.shape, dtype=loaded.dtype)}
        self.planned: list[Planned] = []
        self.reasons: list[str] = []

    def run(self) -> None:
        """Run every node.

        Raises:
            CaptureError: there are unknown operators, or known ones in a form that graphs do not have: all at once.
        """
        self.reasons = [self._unknown(node) for node in self.loaded.nodes if not _known(node)]
        for node in self.loaded.nodes:
            if _known(node):
                self._node(node)
        if self.reasons:
            raise refused(str(self.loaded.path), self.reasons)

    def _unknown(self, node: Any) -> str:
        foreign = node.domain not in OWN_DOMAINS
        name = f"{node.domain}.{node.op_type}" if foreign else node.op_type
        hint = "" if foreign else nearest(node.op_type, TABLE)
        return f"{called(node)} uses the operator {name!r}, which is not read.{hint}"

    def _node(self, node: Any) -> None:
        names = list(node.input)
        while names and not names[-1]:
            names.pop()
        if any(name and name not in self.real and name not in self.signals for name in names):
            return  # what it reads was refused already
        try:
            call = self._call(node, names)
            self._run(call, node, names)
        except CaptureError as error:
            self.reasons.append(str(error))
        except SnnkitError:
            raise
        except Exception as error:  # torch says in its own words what does not fit
            self.reasons.append(f"{called(node)} does not fit what it reads{self._shown(names)}: {_first_line(error)}.")

    def _call(self, node: Any, names: Sequence[str]) -> OnnxCall:
        attributes = Attributes.of(node, lambda proto: stored(proto, self.loaded.path))
        real = [_array(self.real[name]) if name in self.real else None for name in names]
        values = [self.real.get(name, self.signals.get(name)) for name in names]
        shapes = [() if value is None else tuple(value.shape) for value in values]
        return OnnxCall(
            called(node),
            node.op_type,
            self.loaded.opset,
            attributes,
            values,
            real,
            shapes,
            [None] * len(names),
            parts=len(node.output),
        )

    def _run(self, call: OnnxCall, node: Any, names: Sequence[str]) -> None:
        handler = TABLE[node.op_type]
        folded = all(name in self.real for name in names[: NUMBERS.get(node.op_type)] if name)
        with self.mode, torch.no_grad():
            made = results(handler(call))
        for value in made:
            check_size(value, call.name)
        if len(made) < sum(bool(name) for name in node.output):
            raise call.refuse(f"has {len(node.output)} results; {len(made)} are read")
        for name, value in zip(node.output, made, strict=False):
            self._check_declared(call, name, value)
        if folded:
            with torch.no_grad():
                made = results(handler(call))
            self.real |= {name: value for name, value in zip(node.output, made, strict=False) if name}
            return
        call.made = [tuple(value.shape) for value in made]
        self.signals |= {name: value for name, value in zip(node.output, made, strict=False) if name}
        self.planned.append(Planned(call, tuple(names), tuple(node.output), node))

    def _check_declared(self, call: OnnxCall, name: str, value: Tensor) -> None:
        """Compare with the shape that the file itself says, where it is one of fixed sizes."""
        said = self.loaded.declared.get(name)
        if said is None or None in said or said == tuple(value.shape):
            return
        raise call.refuse(f"gives {tuple(value.shape)}, but the file says {said}: it does not hold together")

    def _shown(self, names: Sequence[str]) -> str:
        shapes = [
            str(tuple(value.shape))
            for value in (self.real.get(name, self.signals.get(name)) for name in names)
            if value is not None
        ]
        return f" of shape {', '.join(shapes)}" if shapes else ""


def results(made: Tensor | Sequence[Tensor]) -> list[Tensor]:
    """Return a handler's result as a list."""
    return [made] if isinstance(made, Tensor) else list(made)


def _array(value: Tensor) -> NDArray[Any]:
    """Return a stored tensor as an array, which has no 16-bit type with the range of float32."""
    made: NDArray[Any] = (value.float() if value.dtype == torch.bfloat16 else value).numpy()
    return made


def _known(node: Any) -> bool:
    return node.domain in OWN_DOMAINS and node.op_type in TABLE


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0].rstrip(".") if str(error).strip() else type(error).__name__
