"""Files: either the old one or the new one, never half of one, and never a leftover beside it.

Would break it: writing in place, forgetting the temporary file, swallowing the error, an operating system's refusal
that reaches the user as a traceback.
"""

import errno
import json
import os
import subprocess
import sys

import pytest

from snnkit.errors import CorruptFileError, DiskError
from snnkit.files import atomic_path, read_json, write_json


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def write_half(path, error):
    """Begin to write, and fail."""
    with atomic_path(path) as temporary:
        temporary.write_text("half")
        raise error


@pytest.fixture
def old(tmp_path):
    """A file that was there before."""
    path = tmp_path / "result.json"
    path.write_text("old")
    return path


def test_success_replaces(old):
    with atomic_path(old) as temporary:
        assert temporary.parent == old.parent
        temporary.write_text("new")
        assert old.read_text() == "old"  # not before the block has ended
    assert old.read_text() == "new"
    assert names(old.parent) == ["result.json"]


def test_folders_are_made(tmp_path):
    with atomic_path(tmp_path / "a" / "b" / "c.txt") as temporary:
        temporary.write_text("x")
    assert (tmp_path / "a" / "b" / "c.txt").read_text() == "x"


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt()], ids=repr)
def test_an_exception_keeps_the_old_file(old, error):
    with pytest.raises(type(error)):
        write_half(old, error)
    assert old.read_text() == "old"
    assert names(old.parent) == ["result.json"]


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EDQUOT, "quota"),
        (errno.EFBIG, "size limit"),
        (errno.EACCES, "no permission"),
        (errno.EROFS, "read-only"),
        (errno.EIO, "Input/output error"),
    ],
)
def test_what_the_system_refuses_is_named(old, code, words):
    with pytest.raises(DiskError, match=words) as caught:
        write_half(old, OSError(code, os.strerror(code)))
    assert str(old) in str(caught.value)
    assert caught.value.user_error
    assert old.read_text() == "old"
    assert names(old.parent) == ["result.json"]


def test_a_disk_that_fills_up_at_the_last_moment(old, monkeypatch):
    """Delayed allocation: the refusal comes with fsync, after every write went through."""

    def full(_descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("snnkit.files.os.fsync", full)
    with pytest.raises(DiskError, match="the disk is full"):
        write_json(old, {"new": 1})
    assert old.read_text() == "old"
    assert names(old.parent) == ["result.json"]


def refused_by_the_system(statements, target):
    """Run ``statements`` in a process that may write no file beyond 4 KiB; return what it printed."""
    script = f"""
import resource
from pathlib import Path
from snnkit.errors import DiskError
target = Path({str(target)!r})
{statements}
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    write()
except DiskError as error:
    print("DiskError", error)
except BaseException as error:
    print(type(error).__name__, error)
else:
    print("written")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_system_refuses_a_json(old):
    statements = """
from snnkit.files import write_json
def write():
    write_json(target, list(range(100_000)))
"""
    said = refused_by_the_system(statements, old)
    assert said.startswith("DiskError")
    assert "size limit" in said
    assert old.read_text() == "old"
    assert names(old.parent) == ["result.json"]


def test_the_system_refuses_a_graph(old):
    """The writer of safetensors raises an error of its own kind, which must become the same DiskError."""
    statements = """
import torch
from compiler.graph import Graph, Node, Signal
node = Node("a", "linear", ("x",), ("a",), {}, {"weight": torch.zeros(64, 64)})
graph = Graph(("x",), ("a",), (node,), {name: Signal(name, (64,)) for name in ("x", "a")})
def write():
    graph.save(target)
"""
    said = refused_by_the_system(statements, old)
    assert old.read_text() == "old"
    assert names(old.parent) == ["result.json"]
    assert said.startswith("DiskError"), said


def test_a_folder_that_is_a_file(tmp_path):
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(DiskError, match="could not write"):
        write_json(tmp_path / "runs" / "result.json", {})
    assert names(tmp_path) == ["runs"]


def test_a_target_that_is_a_folder(tmp_path):
    (tmp_path / "result.json").mkdir()
    with pytest.raises(DiskError, match="could not write"):
        write_json(tmp_path / "result.json", {})
    assert names(tmp_path) == ["result.json"]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_write_json_refuses_what_json_does_not_have(old, value):
    with pytest.raises(ValueError, match="JSON"):
        write_json(old, {"energy": [1.0, value]})
    assert old.read_text() == "old"
    assert names(old.parent) == ["result.json"]


def test_write_json_refuses_objects_before_touching_the_file(old):
    with pytest.raises(TypeError):
        write_json(old, {"a": object()})
    assert old.read_text() == "old"


def test_round_trip(tmp_path):
    value = {"τ": [1, 2.5, None, True], "nested": {"text": "größer"}}
    write_json(tmp_path / "a.json", value)
    assert read_json(tmp_path / "a.json") == value
    assert "größer" in (tmp_path / "a.json").read_text(encoding="utf-8")
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == value


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'{"a": 1,\n "b": }', "line 2"),
        (b"", "not valid JSON"),
        (b"\xff\xfe{}", "not valid JSON"),
        (b'{"a"', "not valid"),
    ],
)
def test_read_json_of_something_else(tmp_path, content, words):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(CorruptFileError, match=words) as caught:
        read_json(tmp_path / "a.json")
    assert "a.json" in str(caught.value)


def test_read_json_of_nothing(tmp_path):
    with pytest.raises(CorruptFileError, match=r"nothing\.json does not exist"):
        read_json(tmp_path / "nothing.json")


def test_read_json_of_a_folder(tmp_path):
    with pytest.raises(CorruptFileError):
        read_json(tmp_path)


def test_half_a_character_is_written_as_json_has_it(tmp_path):
    path = tmp_path / "found.json"
    write_json(path, {"name": "a\ud83d — é"})
    assert read_json(path) == {"name": "a\ud83d — é"}
    assert "\\ud83d — é" in path.read_text()
