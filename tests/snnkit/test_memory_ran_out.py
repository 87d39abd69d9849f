"""Memory that runs out, in torch, numpy or Python, is told in one line; other errors stay what they are.

Would break it: a message of torch in other words, a size in another unit, an error that only mentions memory.
"""

import numpy as np
import pytest
import torch

from snnkit.cli import main
from snnkit.cli.memory_ran_out import told
from snnkit.errors import DiskError


@pytest.mark.parametrize(
    ("much", "size"),
    [
        (lambda: torch.empty(10**14), "364 TiB"),
        (lambda: np.zeros(10**14), "728 TiB"),
        (lambda: bytearray(2**60), ""),
    ],
)
def test_every_library_is_understood(much, size):
    with pytest.raises((MemoryError, RuntimeError)) as caught:
        much()
    line = told(caught.value)
    assert "data.batch_size" in line
    assert "\n" not in line
    assert (f"ran out: {size} were asked for" in line) if size else line.startswith("memory ran out. ")


def test_a_gpu_says_it_in_its_own_words():
    error = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity of …")
    assert "ran out: 2.5 GiB were asked for" in told(error)


@pytest.mark.parametrize("error", [RuntimeError("mat1 and mat2"), ValueError("out of memory"), KeyError("memory")])
def test_other_errors_are_left_alone(error):
    assert told(error) == ""


def test_a_line_of_our_own_about_memory_is_kept(capsys, monkeypatch):
    def refuse(_self, *_words, **_named):
        raise DiskError("not enough memory on the device: make room.")

    monkeypatch.setattr("cyclopts.App.__call__", refuse)
    with pytest.raises(SystemExit):
        main(["doctor"])
    assert capsys.readouterr().err.strip() == "snnkit: not enough memory on the device: make room."


def test_a_verb_ends_in_one_line(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        main(
            [
                "pretrain",
                "moco_v2_fashion_mnist",
                "--set",
                "task.options.hidden=1000000000",
                "--set",
                "data.source=vendored",
            ]
        )
    assert stopped.value.code == 2
    assert "memory ran out: 1.86 TiB" in capsys.readouterr().err
