"""Functions that exporters write out, put together again: each becomes the one operation that a graph has for it.

    x · ½ · (1 + erf(x / √2))                       → Gelu
    (x − mean) / √(mean((x − mean)²) + ε) · w + b   → LayerNormalization
    x · sigmoid(x), x · hard-sigmoid(x)             → Swish, HardSwish
    x · W + b                                       → a linear layer

Values are those of the file but for rounding: a √2 that was stored in 32 bits counts as √2. Nodes stay apart where
something else reads what lies between them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from compiler.exchange.onnx.call import Attributes
from compiler.exchange.onnx.shaping import Planned

_NEAR = 1e-6


class Fusing:
    """A list of planned nodes on its way into a shorter one; ``outputs`` are the network's."""

    def __init__(self, planned: Sequence[Planned], outputs: Sequence[str]):
        self.nodes: dict[str, Planned] = {one.outputs[0]: one for one in planned}  # by the first result, in order
        self.outputs = frozenset(outputs)
        self.readers: dict[str, list[str]] = {}
        for key, one in self.nodes.items():
            for name in one.inputs:
                self.readers.setdefault(name, []).append(key)

    def run(self) -> list[Planned]:
        """Return the nodes with everything put together that is known."""
        for match in (self._gelu, self._layer_norm, self._gate, self._linear):
            for key in list(self.nodes):
                if key in self.nodes:
                    match(key)
        return list(self.nodes.values())

    def made_by(self, name: str, op: str) -> Planned | None:
        """Return the node that writes a signal, where it is of this operator."""
        found = self.nodes.get(name)
        return found if found is not None and found.call.op == op else None

    def only_reader(self, key: str, op: str) -> str | None:
        """Return the one node that reads a signal, where it is of this operator."""
        readers = self.readers.get(key, [])
        if len(readers) != 1 or key in self.outputs or readers[0] not in self.nodes:
            return None
        return readers[0] if self.nodes[readers[0]].call.op == op else None

    def put(self, op: str, last: str, gone: Sequence[str], inputs: Sequence[Any], **attributes: Any) -> None:
        """Let one node write ``last`` from ``inputs`` (names of signals, or (node, index) of stored inputs)."""
        old = self.nodes[last]
        names, values, real, shapes = [], [], [], []
        for given in inputs:
            call, index = given if isinstance(given, tuple) else (None, 0)
            if call is None:
                call, index = self._read(given, (*gone, last))
            names.append(given if isinstance(given, str) else "")
            values.append(call.values[index])
            real.append(call.real[index])
            shapes.append(call.shapes[index])
        call = replace(
            old.call,
            op=op,
            attributes=Attributes(attributes),
            values=values,
            real=real,
            shapes=shapes,
            layouts=[None] * len(values),
        )
        for key in (*gone, last):
            for name in self.nodes[key].inputs:
                self.readers[name] = [reader for reader in self.readers[name] if reader != key]
        for name in names:
            self.readers.setdefault(name, []).append(last)
        for key in gone:
            del self.nodes[key]
        # One node of several takes the module that the first of them is named after.
        self.nodes[last] = Planned(call, tuple(names), old.outputs, old.node)

    def _read(self, name: str, keys: Sequence[str]) -> tuple[Any, int]:
        return next(
            (self.nodes[key].call, self.nodes[key].inputs.index(name)) for key in keys if name in self.nodes[key].inputs
        )

    def _gelu(self, key: str) -> None:
        erf = self.nodes[key]
        if erf.call.op != "Erf":
            return
        scaled = self.nodes.get(erf.inputs[0])
        if scaled is None or self.only_reader(erf.inputs[0], "Erf") is None:
            return
        factor, x = _number_and_signal(scaled)
        if factor is None or x is None:
            return
        factor = 1 / factor if scaled.call.op == "Div" and factor else factor
        if scaled.call.op not in ("Mul", "Div") or not math.isclose(factor, math.sqrt(0.5), rel_tol=_NEAR):
            return
        plus = self.only_reader(key, "Add")
        if plus is None or _number_and_signal(self.nodes[plus])[0] != 1.0:
            return
        gone, last, half, through = [erf.inputs[0], key, plus], plus, 1.0, False
        while not (through and math.isclose(half, 0.5, rel_tol=_NEAR)):
            above, last = last, self.only_reader(last, "Mul") or ""
            if not last:
                return
            number, _ = _number_and_signal(self.nodes[last])
            other = next((name for name in self.nodes[last].inputs if name != above), "")
            if number is not None:
                half *= number
            elif other == x and not through:
                through = True
            elif not through and (scale := self._half_of(other, x)):
                half, through = half * scale, True
                gone.append(other)
            else:
                return
            gone.append(last)
        self.put("Gelu", last, gone[:-1], [x], approximate="none")

    def _half_of(self, name: str, x: str) -> float:
        """Return the number by which a signal is a multiple of ``x``, read by nothing else; 0 where it is none."""
        made = self.made_by(name, "Mul")
        if made is None or self.only_reader(name, "Mul") is None:
            return 0.0
        number, signal = _number_and_signal(made)
        return number if number is not None and signal == x else 0.0

    def _layer_norm(self, key: str) -> None:
        div = self.nodes[key]
        if div.call.op != "Div" or div.call.is_stored(0) or div.call.is_stored(1):
            return
        centred, root = div.inputs
        parts = self._chain(root, ("Sqrt", "Add", "ReduceMean", "Pow"))
        sub = self.made_by(centred, "Sub")
        if parts is None or sub is None or sub.call.is_stored(1):
            return
        mean = self.made_by(sub.inputs[1], "ReduceMean")
        eps, _ = _number_and_signal(parts[1])
        square = parts[3]
        if mean is None or eps is None or square.inputs[0] != centred or mean.inputs[0] != sub.inputs[0]:
            return
        if _number_and_signal(square)[0] != 2.0 or not all(map(_over_last, (mean, parts[2]))):
            return
        if sorted(self.readers[centred]) != sorted((square.outputs[0], key)) or centred in self.outputs:
            return
        if self.only_reader(sub.inputs[1], "Sub") is None:
            return
        gone = [sub.inputs[1], centred, *(part.outputs[0] for part in parts)]
        last, inputs, width = key, [sub.inputs[0]], div.call.shapes[0][-1:]
        for op in ("Mul", "Add"):
            after = self.only_reader(last, op)
            found = _stored(self.nodes[after], width) if after else None
            if after is None or found is None:
                break
            gone, last = [*gone, last], after
            inputs.append(found)  # type: ignore[arg-type]
        if len(inputs) == 1:
            return
        self.put("LayerNormalization", last, gone, inputs, axis=-1, epsilon=eps)

    def _chain(self, name: str, ops: Sequence[str]) -> list[Planned] | None:
        """Return the nodes before a signal, from the last to the first, each read by the next one alone."""
        found: list[Planned] = []
        for op in ops:
            made = self.made_by(name, op)
            if made is None or len(self.readers.get(name, [])) != 1 or name in self.outputs:
                return None
            found.append(made)
            name = next((n for n, value in zip(made.inputs, made.call.real, strict=True) if value is None), "")
        return found

    def _gate(self, key: str) -> None:
        gate = self.nodes[key]
        for inner, outer in (("Sigmoid", "Swish"), ("HardSigmoid", "HardSwish")):
            last = self.only_reader(key, "Mul") if gate.call.op == inner else None
            if last is None or sorted(self.nodes[last].inputs) != sorted((key, gate.inputs[0])):
                continue
            if inner == "HardSigmoid" and not math.isclose(gate.call.attribute("alpha", 0.2), 1 / 6, rel_tol=_NEAR):
                continue
            self.put(outer, last, [key], [gate.inputs[0]])

    def _linear(self, key: str) -> None:
        product = self.nodes[key]
        if product.call.op != "MatMul" or product.call.is_stored(0) or not product.call.is_stored(1):
            return
        after = self.only_reader(key, "Add")
        if after is None or len(product.call.shapes[1]) != 2:
            return
        found = _stored(self.nodes[after], product.call.shapes[1][-1:])
        if found is not None:
            self.put("MatMul", after, [key], [product.inputs[0], (product.call, 1), found])


def _number_and_signal(one: Planned) -> tuple[float | None, str | None]:
    """Return the stored number (None where there is none, or several) and the signal of a node of two inputs."""
    if len(one.inputs) != 2:
        return None, None
    for index in (0, 1):
        value = one.call.real[index]
        same = one.call.made == [one.call.shapes[1 - index]]
        if value is not None and value.size == 1 and one.call.real[1 - index] is None and same:
            return float(value.reshape(-1)[0]), one.inputs[1 - index]
    return None, None


def _stored(one: Planned, shape: tuple[int, ...]) -> tuple[Any, int] | None:
    """Return the stored input of a node where it is of this shape."""
    for index in range(len(one.inputs)):
        if one.call.is_stored(index) and one.call.shapes[index] == shape:
            return one.call, index
    return None


def _over_last(one: Planned) -> bool:
    """Whether a ReduceMean is one over the last axis, which stays."""
    axes = one.call.axes(1, 18)
    rank = len(one.call.shapes[0])
    return axes is not None and [axis % rank for axis in axes] == [rank - 1] and one.call.attribute("keepdims", 1) == 1


def fused(planned: Sequence[Planned], outputs: Sequence[str]) -> list[Planned]:
    """Return planned nodes with written-out functions put together again."""
    return Fusing(planned, outputs).run()
