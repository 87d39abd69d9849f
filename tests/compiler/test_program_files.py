"""A .program file on the command line is that program: simulated and handed on as it is, on its own chip.

Would break it: the network in the file compiled anew for the default chip, so that numbers of another chip, or of
another host, are printed for it; test images other than those of the run that it lies in.
"""

import contextlib
import re
import shutil

import pytest

import compiler
from compiler.commands.source import resolve
from compiler.program import Program
from snnkit.cli import main

CHIP = "mesh:width=16,height=16,weight_bits=4"


@pytest.fixture
def held(tiny_run, tmp_path, monkeypatch):
    """A run's network, and its program for a mesh of few bits, which lies in the run's folder."""
    folder = shutil.copytree(tiny_run.folder, tmp_path / "run")
    monkeypatch.chdir(folder)
    given = resolve(".")
    program = compiler.compile(given.graph, chip=CHIP)
    program.save("network.program")
    return given, program


def said(capsys, *words):
    with contextlib.suppress(SystemExit):
        main([str(word) for word in words])
    captured = capsys.readouterr()
    assert not captured.err, captured.err
    return captured.out


def test_a_program_file_runs_on_its_own_chip(held, capsys):
    given, program = held
    x, _, _ = given.test_images(10)
    other = compiler.compile(given.graph, chip="loihi1")
    fired = {}
    for words, mine in (((), program), (("--chip", CHIP), program), (("--chip", "loihi1"), other)):
        out = said(capsys, "simulate", "network.program", "--images", 10, *words)
        equality = mine.verify(x)
        assert f"network.program on {mine.chip.name}" in " ".join(out.split())
        assert ("energy on the chip" in out) == (mine.chip.name == "loihi1")
        assert f"{equality.float_mismatches:,} of {equality.float_compared:,} spikes differ" in out
        fired[mine.chip.name] = re.search(r"exact \(([\d,]+) spikes fired\)", " ".join(out.split()))[1]
        assert fired[mine.chip.name] == f"{equality.spikes:,}"
    assert fired[CHIP] != fired["loihi1"]  # four bits a weight are not eight


def test_what_is_granted_compiles_anew_for_its_own_chip(held, capsys):
    out = said(capsys, "simulate", "network.program", "--images", 3, "--host", "stem_lif")
    assert f"network.program on {CHIP}" in " ".join(out.split())
    assert "spikes from host" in out
    assert Program.load("network.program").options.host == ()
