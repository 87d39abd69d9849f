"""What a run says it was begun with: the command line, or the program that used the library."""

import sys

import pytest

from snnkit.engine.run_folder import called


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["/usr/bin/snnkit", "train", "demo"], "snnkit train demo"),
        (["/lib/snnkit/__main__.py", "train", "demo"], "snnkit train demo"),
        (
            ["examples/12_beyond_classes.py", "--runs", "my runs"],
            "python examples/12_beyond_classes.py --runs 'my runs'",
        ),
        ([""], "python"),
    ],
)
def test_command(monkeypatch, words, said):
    monkeypatch.setattr(sys, "argv", words)
    assert called() == said
