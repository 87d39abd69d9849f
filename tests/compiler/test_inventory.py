"""Every ATen operator that 216 published models use is captured, or refused with a reason.

``inventory.txt`` holds one overload a line. Would break it: an operation that loses one of its overloads, a new one
that nobody thought of.
"""

from pathlib import Path

import pytest

from compiler.capturing import captures
from compiler.capturing.refused import REFUSED
from compiler.capturing.translate import functional
from compiler.graph import operations

INVENTORY = (Path(__file__).parent / "inventory.txt").read_text().split()

SPECIAL = {
    "aten._assert_tensor_metadata.default": "an assertion, which computes nothing",
    "getitem": "one of several results",
    "get_attr": "a stored tensor",
    "wrap_with_autocast": "inlined",
}
FOLDED = {
    # Made of numbers alone: computed once, and refused where they count samples.
    *("aten.arange.default", "aten.arange.start", "aten.arange.start_step", "aten.eye.default", "aten.eye.m"),
    *(
        "aten.linspace.default",
        "aten.meshgrid.indexing",
        "aten.full.default",
        "aten.ones.default",
        "aten.zeros.default",
    ),
}


def known(name, table):
    return name in table or functional(name, table) or name in SPECIAL or name in FOLDED or name in REFUSED


def test_every_overload_of_the_inventory_is_captured_or_refused():
    table = captures()
    missing = [name for name in INVENTORY if not known(name, table)]
    assert not missing, f"{len(missing)} of {len(INVENTORY)} overloads are neither captured nor refused: {missing}"


def test_the_inventory_is_one():
    assert len(INVENTORY) > 100
    assert len(set(INVENTORY)) == len(INVENTORY)
    assert sum(name in captures() for name in INVENTORY) > 0.8 * len(INVENTORY)


def test_nothing_is_both_captured_and_refused():
    both = set(captures()) & set(REFUSED)
    assert not both, sorted(both)


def test_no_overload_is_captured_by_two_operations():
    """The table would keep the last of them in silence."""
    owners = {}
    for operation in operations().values():
        for name in operation.captures:
            owners.setdefault(name, []).append(operation.name)
    twice = {name: names for name, names in owners.items() if len(names) > 1}
    assert not twice


@pytest.mark.parametrize("table", ["captured", "refused"])
def test_every_name_is_an_overload_of_this_torch(table):
    """A misspelt overload is never reached."""
    import torch

    import snnkit.neurons  # noqa: F401 (its operators)

    unknown = []
    for name in captures() if table == "captured" else REFUSED:
        namespace, packet, overload = name.split(".")
        try:
            getattr(getattr(getattr(torch.ops, namespace), packet), overload)
        except (AttributeError, RuntimeError):
            unknown.append(name)
    assert not unknown


def test_every_reason_is_one_line():
    for name, reason in REFUSED.items():
        assert "\n" not in reason, name
        assert not reason.endswith("."), name


def test_in_place_forms_are_found():
    table = captures()
    assert functional("aten.add_.Tensor", table) == "aten.add.Tensor"
    assert functional("aten.relu_.default", table) == "aten.relu.default"
    assert functional("aten.add.Tensor", table) is None
    assert functional("aten.nothing_.default", table) is None
    assert functional("aten.__and__.Tensor", table) is None
