"""A graph as text: the same graph is the same text, line by line, so that two versions of a network can be compared."""

import torch
from support.graphs import small, wide

from compiler.capturing import capture
from compiler.graph import Graph, GraphBuilder
from compiler.graph.text import to_text

SMALL = """\
graph small, T=4
  input x (2,) real
  state n.v (2,) real starts at 0, next is n.v_next
  fc (2,) real = linear(x) bias(2,) weight(2, 2)
  n (2,) binary, n.v_next (2,) real = integrate_fire(fc, n.v; detach_reset=True, v_reset=0, v_threshold=1)
  output n (2,) binary"""

WIDE = """\
graph wide, T=3
  input x (2, 4, 4) binary
  input y (2,) real
  state memory (16,) real starts at tensor(16,), next is add
  state stem.lif.v (16,) real starts at -0.25, next is stem.lif.v_next
  stem.conv (4, 4, 4) real = conv(x; dilation=(1, 1), groups=2, padding=(1, 1), stride=(1, 1)) \
bias(4,) weight(4, 1, 3, 3)
  stem.avg_pool (4, 2, 2) real = avg_pool(stem.conv; ceil_mode=False, count_include_pad=True, divisor=0, \
kernel_size=(2, 2), padding=(0, 0), stride=(2, 2))
  reshape (16,) real = reshape(stem.avg_pool; shape=(16,))
  add (16,) real = add(reshape, memory)
  stem.lif (16,) binary, stem.lif.v_next (16,) real = lif(add, stem.lif.v; decay_input=True, detach_reset=False, \
tau=2, v_reset=None, v_threshold=0.3) [readout]
  head (2,) real = linear(stem.lif) weight(2, 16)
  add#1 (2,) real = add(head, y)
  output add#1 (2,) real
  output stem.lif (16,) binary"""


def test_small():
    assert to_text(small()) == SMALL
    assert str(small()) == SMALL


def test_states_outputs_roles_and_attributes():
    assert to_text(wide()) == WIDE


def test_an_input_that_never_changes_is_said():
    assert to_text(small(static_input=True)).startswith("graph small, T=4, the input is the same at every step\n")


def test_long_lists_and_floats_are_short():
    b = GraphBuilder()
    x = b.input("x", (2, 3, 2, 1, 1))
    y = b.add("pad", (x,), {"amounts": (1,) * 10 + (0, 0), "mode": "constant", "value": 1 / 3})
    for _ in range(2):
        y = b.add("clamp", (y,), {"low": -float("inf"), "high": 1 / 3})
    text = to_text(b.finish([y]))
    assert "value=0.333333" in text
    assert "high=0.333333, low=-inf" in text
    long = b.reshape(y, (*[1] * 12, b.signals[y].size))
    assert "shape=[13 numbers]" in to_text(b.finish([long]))


def test_the_order_of_attributes_and_parameters_does_not_matter(tmp_path):
    def graph(turn):
        b = GraphBuilder()
        x = b.input("x", (2, 4, 4))
        attributes = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1), "groups": 1}
        parameters = {"weight": torch.zeros(3, 2, 1, 1), "bias": torch.zeros(3)}
        return b.finish([b.add("conv", (x,), dict(turn(attributes.items())), dict(turn(parameters.items())))])

    assert to_text(graph(list)) == to_text(graph(lambda items: reversed(list(items))))


def test_text_is_that_of_the_file_and_of_a_second_capture(tmp_path):
    for graph in (small(), wide()):
        graph.save(tmp_path / "a.graph")
        assert to_text(Graph.load(tmp_path / "a.graph")) == to_text(graph)
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
    x = torch.zeros(1, 3)
    assert to_text(capture(model, x)) == to_text(capture(model, x))
    assert "\n\n" not in to_text(capture(model, x))
