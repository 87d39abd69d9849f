"""Capture of plain code: operands in every place, writes in place, several inputs and outputs, folded weights.

Would break it: an operand whose axes are aligned at the wrong end, a subtraction turned around, a write into a view
that is read too early or too late, an output that is swapped, a weight that is computed again in every step, a cast
that is lost. Each function is compared with its graph on batches other than the example's.
"""

import pytest
import torch
import torch.nn.functional as F
from support.captured import Code, check_plain, noise, operations_of
from torch import nn

from compiler.capturing import capture
from compiler.interpreting import interpret

# Code of every style. ``p`` holds w (6, 6), v (6,), a mask m (6,) of 0 and 1 as bool, a token c (1, 1, 6), windows k.

OPERANDS = {
    "x + parameter": (lambda p, x: x + p.v, (6,)),
    "parameter + x": (lambda p, x: p.v + x, (6,)),
    "x − parameter": (lambda p, x: x - p.v, (6,)),
    "parameter − x": (lambda p, x: p.v - x, (6,)),
    "number − x": (lambda p, x: 2 - x, (6,)),
    "rsub with a factor": (lambda p, x: torch.rsub(x, p.v, alpha=3), (6,)),
    "add with a factor": (lambda p, x: torch.add(x, p.v, alpha=-0.5), (6,)),
    "add a parameter with a factor": (lambda p, x: torch.add(p.v, x, alpha=-0.5), (6,)),
    "sum of two with a factor": (lambda p, x: torch.sub(x, x * x, alpha=2), (6,)),
    "product": (lambda p, x: x * x, (6,)),
    "parameter times x": (lambda p, x: p.v * x, (6,)),
    "parameter divided by x": (lambda p, x: p.v / (x * x + 1.0), (6,)),
    "x divided by a parameter": (lambda p, x: x / (p.v * p.v + 1.0), (6,)),
    "rounded division": (lambda p, x: torch.div(x, 0.3, rounding_mode="floor"), (6,)),
    "a parameter of other rank": (lambda p, x: x + p.c, (3, 6)),
    "a column": (lambda p, x: x * p.v[:3, None], (3, 6)),
    "a parameter larger than the signal": (lambda p, x: x.unsqueeze(1) + p.w, (6,)),
    "a number that a buffer holds": (lambda p, x: x * p.s, (6,)),
    "an operand of lower rank": (lambda p, x: x + x.mean(-1, keepdim=True), (3, 6)),
    "signals of other rank": (lambda p, x: x * x[:, 0].sum(-1).view(-1, 1, 1), (3, 6)),
    "concatenated with a parameter": (lambda p, x: torch.cat([x, p.w[:2].expand(x.shape[0], -1, -1)], 1), (3, 6)),
    "concatenated before a parameter": (lambda p, x: torch.cat([p.v.expand(len(x), 6), x], -1), (6,)),
    "stacked with a parameter": (lambda p, x: torch.stack([p.v.expand_as(x), x], 1), (6,)),
    "where": (lambda p, x: torch.where(p.m, x, p.v), (6,)),
    "where, numbers": (lambda p, x: torch.where(x > p.v, 1.0, x), (6,)),
    "where, stored first": (lambda p, x: torch.where(p.m, p.v, x), (6,)),
    "filled by a stored mask": (lambda p, x: x.masked_fill(p.m, -3.0), (6,)),
    "filled by a computed mask": (lambda p, x: x.masked_fill(x > 0.5, float("-inf")), (6,)),
    "filled with a stored number": (lambda p, x: x.masked_fill(~p.m, p.s), (6,)),
    "stored number filled by a computed mask": (lambda p, x: p.v.expand_as(x).masked_fill(x > 0, 0.0), (6,)),
    "x @ stored": (lambda p, x: x @ p.w, (6,)),
    "stored @ x": (lambda p, x: p.w @ x, (6, 4)),
    "stored batch @ x": (lambda p, x: p.k @ x, (2, 6, 4)),
    "x @ vector": (lambda p, x: x @ p.v, (6,)),
    "maps @ vector": (lambda p, x: x @ p.v, (3, 6)),
    "vector @ maps": (lambda p, x: p.v @ x, (6, 4)),
    "heads @ stored batch": (lambda p, x: x.unsqueeze(-2) @ p.k[0], (3, 6)),
    "transposed @ stored": (lambda p, x: x.transpose(-2, -1) @ p.w, (6, 4)),
    "bmm": (lambda p, x: torch.bmm(x, p.w.expand(len(x), 6, 6)), (3, 6)),
    "baddbmm": (lambda p, x: torch.baddbmm(x, x, x.mT @ x), (3, 6)),
    "addmm": (lambda p, x: torch.addmm(p.v, x, p.w, alpha=2.0, beta=0.5), (6,)),
    "einsum": (lambda p, x: torch.einsum("btc,cd->btd", x, p.w), (3, 6)),
    "einsum, stored first": (lambda p, x: torch.einsum("cd,btc->bdt", p.w, x), (3, 6)),
    "einsum with dots": (lambda p, x: torch.einsum("...c,dc->...d", x, p.w), (2, 3, 6)),
    "einsum of three": (lambda p, x: torch.einsum("btc,c,bsc->bts", x, p.v, x), (3, 6)),
    "einsum without an arrow": (lambda p, x: torch.einsum("bc,dc", x, p.w), (6,)),
    "einsum that sums": (lambda p, x: torch.einsum("btc->b", x), (3, 6)),
    "maximum with a parameter": (lambda p, x: torch.maximum(p.v, x), (6,)),
    "clamp by parameters": (lambda p, x: torch.minimum(torch.maximum(x, -p.v.abs()), p.v.abs()), (6,)),
    "addcmul": (lambda p, x: torch.addcmul(x, x, p.v, value=0.3), (6,)),
    "addcmul of a parameter": (lambda p, x: torch.addcmul(p.v, x, x), (6,)),
    "lerp": (lambda p, x: torch.lerp(x, p.v, 0.25), (6,)),
    "power": (lambda p, x: x**2 + x.abs() ** 0.5, (6,)),
    "a table looked up": (lambda p, x: p.w[torch.argmax(x, -1)], (3, 6)),
    "positions": (lambda p, x: x + torch.arange(6) / 3, (6,)),
    "indices": (lambda p, x: x[:, [2, -1, 2]], (3, 6)),
    "indices of the last axis": (lambda p, x: x[..., [3, 0]], (3, 6)),
    "pairs of indices": (lambda p, x: x[:, [0, 2], [1, -1]], (3, 6)),
    "rows by columns": (lambda p, x: x[:, torch.tensor([[0], [2]]), torch.tensor([1, 0])], (3, 6)),
    "indices of two axes": (lambda p, x: x[:, torch.tensor([[0, 1], [2, 2]])], (3, 6)),
    "indices and new axes": (lambda p, x: x[:, [0, 1], :, None][..., 0][:, None], (3, 6)),
    "gathered by stored indices": (
        lambda p, x: x.gather(1, torch.tensor([[[0, 1, 2, 0, 1, 2]]]).expand(len(x), 1, 6)),
        (3, 6),
    ),
    "gathered by its order": (lambda p, x: x.gather(2, x.argsort(2)), (3, 6)),
    "scattered by its order": (lambda p, x: torch.zeros_like(x).scatter(1, x.argsort(1), x), (3, 6)),
    "products of all pairs": (lambda p, x: torch.einsum("bi,bj->bij", x[:, 0], x[:, 1]), (3, 6)),
    "a row of ones": (lambda p, x: torch.cat([x, torch.ones_like(x[:, :1])], 1), (6,)),
    "an identity": (lambda p, x: x @ torch.eye(6, dtype=x.dtype) + torch.zeros(6, dtype=x.dtype), (6,)),
    "a triangle": (lambda p, x: x @ torch.tril(p.w), (6,)),
}


def code(function):
    return Code(
        function,
        buffers=("s",),
        w=noise(6, 6, seed=1),
        v=noise(6, seed=2),
        c=noise(1, 1, 6, seed=3),
        k=noise(2, 6, 6, seed=4),
        s=torch.tensor(0.7),
        m=noise(6, seed=5) > 0,
    )


@pytest.mark.parametrize("name", OPERANDS)
def test_stored_operands_in_every_place(name):
    function, shape = OPERANDS[name]
    check_plain(code(function), shape)


def in_place(function):
    """A function that writes into what it is given and returns it."""

    def run(p, x):
        y = x * 1.0
        result = function(p, y)
        return y if result is None else result

    return run


def write(index, value):
    def run(p, y):
        y[index] = value(p, y) if callable(value) else value

    return in_place(run)


WRITES = {
    "y += v": in_place(lambda p, y: y.add_(p.v)),
    "a chain": in_place(lambda p, y: y.mul_(2).add_(1).relu_()),
    "relu_ that is read by its old name": in_place(lambda p, y: (F.relu_(y), y + 1)[1]),
    "a column of zeros": write((slice(None), 0), 0),
    "a column of a parameter": write((slice(None), 1), lambda p, y: p.v[0]),
    "a column of another": write((slice(None), 1), lambda p, y: y[:, 2] * 2),
    "some columns": write((slice(None), slice(None, 3)), lambda p, y: y[:, 3:] - 1),
    "every second column": write((slice(None), slice(None, None, 2)), 0.0),
    "all": write(slice(None), 2.5),
    "part of the last axis": write((Ellipsis, slice(1, 3)), lambda p, y: p.v[1:3]),
    "columns added to": in_place(lambda p, y: y[:, :2].add_(y[:, 2:4])),
    "columns added to by an operator": in_place(lambda p, y: y.__setitem__((slice(None), slice(2)), y[:, :2] + 1)),
    "through a view": in_place(lambda p, y: (y.view(-1, 2, 3).add_(1.0), None)[1]),
    "through a view of a view": in_place(lambda p, y: (y.view(-1, 2, 3)[:, 0].mul_(3.0), None)[1]),
    "through a transposition": in_place(lambda p, y: (y.view(-1, 2, 3).transpose(1, 2)[:, :, 0].zero_(), None)[1]),
    "the view sees a later write": in_place(lambda p, y: (lambda v: (y.mul_(5.0), v + 0.0)[1])(y.view(-1, 2, 3))),
    "the view sees a write to part": in_place(
        lambda p, y: (lambda v: (y[:, 0].fill_(9.0), v * 1.0)[1])(y.unsqueeze(1))
    ),
    "a copy does not see it": in_place(lambda p, y: (lambda v: (y.mul_(5.0), v)[1])(y.clone())),
    "copy_": in_place(lambda p, y: y.copy_(p.v)),
    "chunks": in_place(lambda p, y: (y.chunk(2, 1)[0].zero_(), None)[1]),
    "one of two chunks added to the other": in_place(lambda p, y: (lambda a, b: (a.add_(b), None)[1])(*y.chunk(2, 1))),
    "masked": in_place(lambda p, y: y.masked_fill_(y > 0, 0.5)),
    "clamped": in_place(lambda p, y: y[:, 1:].clamp_(-0.5, 0.5)),
    "a chain, read by its first name": in_place(lambda p, y: (y.mul_(2).add_(1), None)[1]),
    "a result sees a later write": in_place(lambda p, y: (lambda r: (y.mul_(5.0), r + 0.0)[1])(y.add_(1.0))),
    "a result that is returned sees it": in_place(lambda p, y: (lambda r: (y.mul_(5.0), r)[1])(y.add_(1.0))),
    "a view of a result sees it": in_place(
        lambda p, y: (lambda v: (y.mul_(5.0), v + 0.0)[1])(y.add_(1.0).view(-1, 2, 3))
    ),
    "a write to the result is seen": in_place(lambda p, y: (y.add_(1.0).mul_(5.0), y + 0.0)[1]),
    "detached": in_place(lambda p, y: (y.detach().mul_(5.0), None)[1]),
    "the input's own type": in_place(lambda p, y: (y.to(y.dtype).mul_(5.0), None)[1]),
    "dropout of it": in_place(lambda p, y: (F.dropout(y, 0.5, False).mul_(5.0), None)[1]),
    "contiguous": in_place(lambda p, y: (y.contiguous().mul_(5.0), None)[1]),
    "identity": in_place(lambda p, y: (nn.Identity()(y).mul_(5.0), None)[1]),
    "flattened": in_place(lambda p, y: (y.flatten(1).mul_(5.0), None)[1]),
    "expanded and read": in_place(lambda p, y: (lambda v: (y.mul_(5.0), v + 0.0)[1])(y.unsqueeze(1).expand(-1, 3, -1))),
    "narrow": in_place(lambda p, y: (y.narrow(1, 1, 3).mul_(5.0), None)[1]),
    "swapped columns": in_place(
        lambda p, y: (lambda t: (y[:, :3].copy_(y[:, 3:]), y[:, 3:].copy_(t), None)[2])(y[:, :3].clone())
    ),
    "into zeros": lambda p, x: torch.zeros_like(x).add_(x),
    "into a part of zeros": lambda p, x: (lambda z: (z[:, 1:].copy_(x[:, 1:]), z)[1])(torch.zeros_like(x)),
}


@pytest.mark.parametrize("name", WRITES)
def test_writing_in_place_equals_the_model(name):
    check_plain(code(WRITES[name]), (6,))


def test_writing_into_the_input_equals_the_model():
    """The model changes its own input; the graph leaves it and gives the same output."""
    model, x = Code(lambda p, x: x.add_(1.0) * 2), noise(3, 6)
    graph = capture(model, x[:1].clone())
    before = x.clone()
    got, _ = interpret(graph, x)
    assert torch.equal(x, before)
    assert torch.equal(got[0], model(x.clone()))


OUTPUTS = {
    "two": lambda p, x: (x @ p.w, F.relu(x)),
    "the same twice": lambda p, x: [x + 1, x + 1],
    "one signal as two outputs": lambda p, x: (lambda y: (y, y))(x + 1),
    "the input and more": lambda p, x: (x, x + 1),
    "a dictionary": lambda p, x: {"b": x + 1, "a": x * 2},
    "nested": lambda p, x: (x, [x + 1, (x * 2,)]),
    "chunks": lambda p, x: x.chunk(3, 1),
    "uneven chunks": lambda p, x: x.chunk(4, 1),
    "split": lambda p, x: x.split([1, 2, 3], 1),
    "split by size": lambda p, x: x.split(4, 1),
    "unbind": lambda p, x: x.view(-1, 2, 3).unbind(1),
    "one chunk": lambda p, x: x.chunk(3, 1)[1],
    "the last of a split": lambda p, x: x.split([2, 3, 1], -1)[-1],
    "every second of unbind": lambda p, x: x.unbind(1)[::2],
    "tensor_split": lambda p, x: torch.tensor_split(x, (1, 4), 1),
    "values of max": lambda p, x: x.max(1).values,
}


@pytest.mark.parametrize("name", OUTPUTS)
def test_several_outputs_come_in_their_order(name):
    model = code(OUTPUTS[name])
    if name == "nested":
        model = code(lambda p, x: (x, x + 1, x * 2))
        nested = capture(code(OUTPUTS[name]).double(), noise(1, 6))
        assert [n.op for n in nested] == [n.op for n in capture(model.double(), noise(1, 6))]
        assert len(nested.outputs) == 3
    check_plain(model, (6,))


INPUTS = {
    "a sum": (lambda p, x, y: x + 2 * y, ((6,), (6,))),
    "a difference": (lambda p, x, y: y - x, ((6,), (6,))),
    "shapes that differ": (lambda p, x, y: x @ p.w + y.mean((-1, -2)), ((6,), (6, 4, 4))),
    "cross attention": (lambda p, x, y: torch.softmax(x @ y.mT, -1) @ y, ((4, 6), (3, 6))),
    "one is not used": (lambda p, x, y: x + 1, ((6,), (3,))),
    "three in and two out": (lambda p, x, y, z: (x + z, y * z), ((6,), (6,), (6,))),
    "a number for each sample": (lambda p, x, y: x * y.view(-1, 1), ((6,), ())),
}


@pytest.mark.parametrize("name", INPUTS)
def test_several_inputs_come_in_their_order(name):
    function, shapes = INPUTS[name]
    graph = check_plain(code(function), *shapes)
    assert graph.inputs == tuple(f"input{index}" for index in range(len(shapes)))
    assert [graph.shape(name) for name in graph.inputs] == list(shapes)


STYLES = {
    "autocast off": lambda p, x: _without_autocast(x @ p.w) + 1,
    "autocast off around several results": lambda p, x: _parts_without_autocast(x),
    "a module list in a loop": lambda p, x: sum(layer(x) for layer in p.layers),
    "functional": lambda p, x: F.silu(F.linear(F.relu(x), p.w, p.v)) * torch.sigmoid(x),
    "unfold": lambda p, x: F.unfold(x.view(-1, 1, 2, 3), (2, 2)),
    "windows": lambda p, x: x.unfold(1, 3, 1).sum(-1),
    "an assertion": lambda p, x: _asserted(x) + 1,
    "no gradient": lambda p, x: _without_gradient(x) * 2,
    "list comprehension": lambda p, x: torch.cat([x * i for i in range(1, 4)], 1),
    "detach and clone": lambda p, x: x.detach().clone().contiguous() + 1,
    "properties": lambda p, x: (x.view(-1, 2, 3).mT * 2).mT,
    "type_as": lambda p, x: (x > 0).type_as(x) * x.to(p.w.dtype),
}


def _without_autocast(x):
    with torch.autocast("cpu", enabled=False):
        return x * 2


def _parts_without_autocast(x):
    with torch.autocast("cpu", enabled=False):
        a, b = x.chunk(2, 1)
        y = a * b
    return torch.cat([y, a], 1)


def _without_gradient(x):
    with torch.no_grad():
        return x * 3


def _asserted(x):
    assert x.shape[1] == 6
    return x


@pytest.mark.parametrize("name", STYLES)
def test_code_of_every_style(name):
    model = code(STYLES[name])
    model.layers = nn.ModuleList([nn.Linear(6, 4), nn.Linear(6, 4)])
    check_plain(model, (6,))


class Standardised(nn.Conv2d):
    """Weights that are computed from weights at every call."""

    def forward(self, x):
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        weight = weight / weight.flatten(1).std(1, unbiased=False).view(-1, 1, 1, 1).add(1e-5)
        return F.conv2d(x, weight, self.bias, self.stride, self.padding)


def test_weights_computed_from_weights_are_one_constant():
    graph = check_plain(Standardised(3, 4, 3, padding=1), (3, 6, 6))
    assert operations_of(graph) == ["conv"]


def test_batch_norm_of_weights_is_folded():
    """Spectral norm, weight norm: what runs on parameters alone never reaches the graph."""
    layer = nn.utils.parametrizations.weight_norm(nn.Linear(6, 4))
    graph = check_plain(nn.Sequential(layer, nn.ReLU()), (6,))
    assert operations_of(graph) == ["linear", "relu"]


def test_stored_numbers_that_are_written_in_place_are_folded_too():
    def run(p, x):
        bias = torch.zeros(6, dtype=x.dtype)
        bias[:3] += p.v[:3]
        bias.mul_(2.0)
        return x + bias

    graph = check_plain(code(run), (6,))
    assert operations_of(graph) == ["constant", "add"]


def test_a_buffer_is_read_as_it_is():
    """What capture computes from a parameter does not write into it."""

    def run(p, x):
        scale = p.v.detach().view(2, 3)
        return x * scale.clone().mul_(2.0).view(6)

    model = code(run)
    before = model.v.detach().clone()
    check_plain(model, (6,))
    assert torch.equal(model.v.detach(), before.double())


def test_casts_inside_are_kept():
    """A float32 part of a float64 model rounds there, and only there."""
    model = Code(lambda p, x: (x.float() * 3.3).double() + x / 3, w=noise(2))
    graph = check_plain(model, (6,))
    assert operations_of(graph).count("cast") == 2
    x = noise(4, 6)
    assert not torch.equal(model(x), x * 3.3 + x / 3)


def test_half_precision_inside_is_kept():
    check_plain(Code(lambda p, x: x.half().to(x.dtype) + x.to(torch.bfloat16).to(x.dtype), w=noise(2)), (6,))


def test_whole_numbers_inside():
    check_plain(Code(lambda p, x: (x * 4).long().to(x.dtype) + (x > 0).int().to(x.dtype), w=noise(2)), (6,))
