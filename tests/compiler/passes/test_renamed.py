"""What moved out of the passes answers under its old name for a release, with a warning that says the new one."""

import importlib

import pytest

import compiler.passes
from compiler.analysis.spike_driven import spike_driven
from compiler.analysis.types import infer_signals
from compiler.converting import relu_twin


def test_old_names_warn_and_work():
    with pytest.warns(DeprecationWarning, match=r"compiler\.converting\.relu_twin"):
        assert compiler.passes.relu_twin is relu_twin
    old = importlib.import_module("compiler.passes.infer_signals")
    with pytest.warns(DeprecationWarning, match=r"compiler\.analysis\.spike_driven\.spike_driven"):
        assert old.spike_driven is spike_driven
    assert compiler.passes.infer_signals is infer_signals
    with pytest.raises(AttributeError, match="quantise"):
        _ = compiler.passes.quantise
