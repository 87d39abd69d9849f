"""The operation that the page about the graph shows is one: a reader who copies it gets what the page says.

Would break it: an argument of ``Operation`` that is renamed, rules that move to another file.
"""

import re
from pathlib import Path

import torch

from compiler.graph import Node, Signal
from compiler.graph.facts import Facts

PAGE = Path(__file__).parents[3] / "docs" / "graph.md"


def test_the_operation_on_the_page_is_one():
    (block,) = [text for text in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S) if "OPERATIONS" in text]
    names = {}
    exec(block, names)
    (operation,) = names["OPERATIONS"]
    node, x = Node("y", operation.name, ("x",), ("y",)), torch.tensor([[-3.0, 0.0, 1.0]])
    (y,) = operation.run(node, x)
    assert torch.equal(y, torch.nn.functional.softsign(x))
    signal = Signal("x", (3,))
    assert operation.type_rule(node, [signal.type], [signal.shape]).kind == "real"
    facts = Facts(1, [signal], [Signal("y", (3,))], [x], [y])
    assert operation.count_rule(node, facts) == {"adds": 3, "divisions": 3}
    assert set(operation.captures) == {"mylib.softsign.default"}
