"""Huge pages and kept memory: taken by the command and the engine, told in records, and left alone when asked.

Would break it: a process that starts itself for ever, or that loses its arguments; a user's own settings overwritten; a
switch that torch has read before it is set; figures that hide what they were measured with.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from snnkit import allocator
from snnkit.cli import main

MINE = ("THP_MEM_ALLOC_ENABLE", "LD_PRELOAD", "MALLOC_CONF")


@pytest.fixture
def clean(monkeypatch):
    """No setting of the outside, none left behind."""
    for name in MINE:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    return monkeypatch


@pytest.fixture
def library(clean, tmp_path):
    """An installed jemalloc, as far as its file's name goes."""
    (tmp_path / "libjemalloc.so.2").touch()
    clean.setattr(allocator, "folders", lambda: [tmp_path / "none", tmp_path])
    return tmp_path / "libjemalloc.so.2"


@pytest.fixture
def started(clean):
    """What a process would start itself again as: (file, words, variables)."""
    calls = []
    clean.setattr(os, "execve", lambda *given: calls.append(given))
    clean.setattr(sys, "orig_argv", ["python", "-X", "utf8", "-m", "snnkit", "train", "a recipe"])
    return calls


def test_a_process_starts_again_once_as_itself_with_the_allocator(started, library, clean):
    allocator.restart()
    file, words, variables = started[0]
    assert (file, words) == (sys.executable, [sys.executable, "-X", "utf8", "-m", "snnkit", "train", "a recipe"])
    assert variables["LD_PRELOAD"] == str(library)
    assert variables["THP_MEM_ALLOC_ENABLE"] == "1"
    assert variables["MALLOC_CONF"] == "dirty_decay_ms:-1,muzzy_decay_ms:-1,thp:always"
    clean.setattr(os, "environ", variables)
    allocator.restart()
    assert len(started) == 1


@pytest.mark.parametrize(("name", "value"), [("LD_PRELOAD", "/mine.so"), ("THP_MEM_ALLOC_ENABLE", "0")])
def test_what_was_loaded_in_front_and_plain_memory_are_respected(started, library, clean, name, value):
    clean.setenv(name, value)
    allocator.restart()
    assert started == []


def test_settings_of_the_user_stay(started, library, clean):
    clean.setenv("MALLOC_CONF", "narenas:1")
    allocator.restart()
    assert started[0][2]["MALLOC_CONF"] == "narenas:1"


def test_without_a_library_a_process_goes_on(started, clean):
    clean.setattr(allocator, "folders", list)
    allocator.restart()
    assert started == []
    assert "jemalloc" in allocator.advice()


def test_the_first_library_is_jemalloc_the_newest_of_its_folder(clean, tmp_path):
    for name in ("libmimalloc.so.2", "libjemalloc.so.1", "libjemalloc.so.2", "libjemalloc.so.2.bak"):
        (tmp_path / name).touch()
    clean.setattr(allocator, "folders", lambda: [tmp_path])
    assert [(lib.name, path.name) for lib, path in allocator.installed()] == [
        ("jemalloc", "libjemalloc.so.2"),
        ("mimalloc", "libmimalloc.so.2"),
    ]


@pytest.mark.parametrize(("given", "expected"), [(None, "1"), ("0", "0"), ("1", "1")])
def test_the_switch_is_set_unless_it_is(clean, given, expected):
    if given is not None:
        clean.setenv("THP_MEM_ALLOC_ENABLE", given)
    allocator.prepare()
    assert os.environ["THP_MEM_ALLOC_ENABLE"] == expected


@pytest.mark.parametrize(("words", "switch"), [(["chips"], "1"), (["--plain-memory", "chips"], "0")])
def test_the_command_does_so_and_the_option_leaves_it(clean, capsys, words, switch):
    with pytest.raises(SystemExit, match="^0$"):
        main(words)
    assert "loihi1" in capsys.readouterr().out  # the verb ran
    assert os.environ["THP_MEM_ALLOC_ENABLE"] == switch
    assert allocator.describe()["torch_huge_pages"] == (switch == "1")


def test_the_command_sets_the_switch_before_torch_is_there():
    """And its own processes find it: what a new command prints of itself, with no library in front."""
    script = (
        "import sys, os; from snnkit import allocator; allocator.folders = lambda: []\n"
        "from importlib import import_module; command = import_module('snnkit.cli.main')\n"
        "def build(): assert 'torch' not in sys.modules; print(os.environ['THP_MEM_ALLOC_ENABLE']); sys.exit(0)\n"
        "command.build_app = build; sys.argv = ['snnkit', 'chips']; command.main()"
    )
    environment = {key: value for key, value in os.environ.items() if key not in MINE}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment)
    assert done.stdout == "1\n", done.stderr


def test_a_script_of_ones_own(tmp_path):
    """The documented line: its arguments, its folder and the switch are there, and freed memory is kept."""
    (tmp_path / "beside.py").write_text("from snnkit import allocator\nfacts = allocator.describe()\n")
    (tmp_path / "script.py").write_text(
        "import json, os, sys, beside\nassert __name__ == '__main__'\n"
        "print(json.dumps([sys.argv, os.environ['THP_MEM_ALLOC_ENABLE'], beside.facts['freed_memory_kept']]))\n"
    )
    script = str(tmp_path / "script.py")
    environment = {key: value for key, value in os.environ.items() if key not in MINE}
    words = [sys.executable, "-m", "snnkit.allocator", script, "a b", "--c"]
    done = subprocess.run(words, capture_output=True, text=True, env=environment)
    assert json.loads(done.stdout) == [[script, "a b", "--c"], "1", True], done.stderr
    assert "python -m snnkit.allocator SCRIPT" in (Path(__file__).parents[2] / "README.md").read_text()


def test_records_say_how_memory_was_had():
    from snnkit.bench.harness import machine
    from snnkit.engine.run_folder import environment

    facts = allocator.describe()
    assert set(facts) == {"allocator", "torch_huge_pages", "freed_memory_kept", "system_huge_pages"}
    assert environment(seed=0)["memory"] == machine()["memory"] == facts
    assert allocator.shown().startswith(facts["allocator"])
