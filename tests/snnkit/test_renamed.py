"""Modules that were renamed: the old names still lead to the new ones, and say so.

Would break it: a new name that was moved once more, a warning that does not name it, an old name listed for good.
"""

import importlib
import sys
import types

import pytest

import snnkit
from snnkit.renamed import old_module

MOVED = {
    "snnkit.layers.fold.over_time": "snnkit.layers.over_time",
    "snnkit.layers.folding.norm_then_conv": "snnkit.layers.merging.norm_then_conv",
    "snnkit.layers.checkpoint.checkpoint": "snnkit.layers.recompute.recompute",
    "snnkit.memory.again.again": "snnkit.memory.recompute.recompute",
    "snnkit.memory.scratch.scratch": "snnkit.memory.workspace.workspace",
    "snnkit.events.layer.EventLayer": "snnkit.events.base.EventLayer",
}


def found(name):
    home, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(home), attribute)


@pytest.mark.parametrize("old", MOVED)
def test_the_old_name_leads_to_the_new_one(old):
    with pytest.warns(DeprecationWarning, match=f"{old} is now {MOVED[old]};") as caught:
        value = found(old)
    assert value is found(MOVED[old])
    assert caught[0].filename == __file__


def stand_ins():
    for package in ("layers", "memory", "events"):
        importlib.import_module(f"snnkit.{package}")
    return [module for module in list(sys.modules.values()) if type(module).__module__ == "snnkit.renamed"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_every_name_that_moved_is_there():
    ours = {module.__name__ for module in stand_ins() if module.__name__.startswith("snnkit.")}
    assert {name.rpartition(".")[0] for name in MOVED} == ours
    for module in stand_ins():
        for name in dir(module):
            assert getattr(module, name) is not None


def test_both_kinds_of_import_find_it():
    with pytest.warns(DeprecationWarning, match="snnkit.layers.over_time"):
        from snnkit.layers.fold import over_time
    import snnkit.layers.fold

    assert over_time is snnkit.layers.over_time
    with pytest.warns(DeprecationWarning, match="snnkit.layers.over_time"):
        assert snnkit.layers.fold.over_time is over_time


def test_a_name_that_never_was_is_no_attribute(monkeypatch):
    monkeypatch.setitem(sys.modules, "a_package", types.ModuleType("a_package"))
    monkeypatch.setitem(sys.modules, "a_package.old", None)
    old_module("a_package.old", {"thing": "snnkit.errors.SnnkitError"})
    assert dir(sys.modules["a_package"].old) == ["thing"]
    with pytest.raises(AttributeError, match="'a_package.old' has no attribute 'other'"):
        getattr(sys.modules["a_package"].old, "other")  # noqa: B009
    with pytest.warns(DeprecationWarning, match="a_package.old.thing is now snnkit.errors.SnnkitError"):
        assert sys.modules["a_package"].old.thing is snnkit.SnnkitError
