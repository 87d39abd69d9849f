"""The cache of compiled kernels: private, checked, made once, and dispensable.

Would break it: a library that somebody else planted and that is run, one that was cut short and kills the process, a
race in which everybody compiles, a compiler that hangs or lies, and a folder that cannot be written, any of which must
leave one line and the other kernels. A small C file stands for the kernels, and a script for the compiler.
"""

import ctypes
import os
import shutil
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from snnkit.kernels import cache, compiled, native

ROOT = Path(__file__).parents[3]
needs_c = pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
SOMEBODY = 65534


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A cache folder of its own; native's memory is emptied before and after."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    forget()
    yield tmp_path / "cache" / "snnkit"
    forget()


def forget():
    for function in (native.load, native.why_not, native._version):
        function.cache_clear()
    native._hung.clear()


@pytest.fixture
def source(tmp_path):
    """A C file of its own folder: ``int answer(void)``."""
    path = tmp_path / "source" / "answer.c"
    path.parent.mkdir()
    path.write_text("int answer(void) { return 42; }\n")
    return path


@pytest.fixture
def compiler(tmp_path, monkeypatch):
    """Put a ``cc`` in front of the real one: returns a function that takes its shell text."""
    folder = tmp_path / "bin"
    folder.mkdir()
    real = shutil.which("cc")
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    def write(text):
        (folder / "cc").write_text(f"#!/bin/sh\nREAL={real}\n{text}\n")
        (folder / "cc").chmod(0o755)
        return folder

    return write


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def library(place):
    (found,) = place.glob("*.so")
    return found


def reload(source):
    forget()
    return native.load(source).answer()


def alone(source):
    """A command that loads the library in a process of its own and prints its answer; without torch, to be quick."""
    code = (
        "import sys, types\nfrom pathlib import Path\n"
        "for name in ('snnkit', 'snnkit.kernels'):\n"
        "    package = sys.modules[name] = types.ModuleType(name)\n"
        f"    package.__path__ = [str(Path({str(ROOT)!r}, *name.split('.')))]\n"
        f"from snnkit.kernels import native\nprint(native.load(Path({str(source)!r})).answer())"
    )
    return [sys.executable, "-c", code]


def plant(path, tmp_path, value=13):
    """Put another library at ``path``, with the checksum that belongs to it."""
    made = tmp_path / "planted.so"
    text = f"int answer(void) {{ return {value}; }}"
    subprocess.run(["cc", "-shared", "-fPIC", "-x", "c", "-", "-o", str(made)], input=text, text=True, check=True)
    path.unlink(missing_ok=True)
    cache.publish(path, made.read_bytes())
    return path


@needs_c
def test_folder_and_files_are_private_whatever_the_umask(place, source):
    before = os.umask(0)
    try:
        assert native.load(source).answer() == 42
    finally:
        os.umask(before)
    assert mode(place) == 0o700
    assert mode(place.parent) == 0o700
    assert {mode(path) & 0o077 for path in place.iterdir()} == {0}


@needs_c
def test_a_folder_that_others_may_write_to_is_closed_before_it_is_read(place, source):
    place.mkdir(parents=True)
    place.chmod(0o777)
    assert native.load(source).answer() == 42
    assert mode(place) == 0o700


@needs_c
@needs_root
@pytest.mark.parametrize("given_away", ["folder", "library", "checksum"])
def test_what_somebody_else_owns_is_not_run(place, source, tmp_path, given_away):
    native.load(source)
    planted = plant(library(place), tmp_path)
    os.chown({"folder": place, "library": planted, "checksum": planted.with_suffix(".sha256")}[given_away], SOMEBODY, 0)
    forget()
    if given_away == "folder":
        assert f"belongs to user {SOMEBODY}" in native.why_not(source)
        assert "XDG_CACHE_HOME" in native.why_not(source)
        return
    assert native.load(source).answer() == 42
    assert library(place).stat().st_uid == 0


@needs_c
@pytest.mark.parametrize("which", [".so", ".sha256"])
def test_what_others_may_have_written_is_made_anew(place, source, tmp_path, which):
    native.load(source)
    plant(library(place), tmp_path).with_suffix(which).chmod(0o666)
    assert reload(source) == 42


@needs_c
@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: os.truncate(path, path.stat().st_size // 2),
        lambda path: os.truncate(path, 0),
        lambda path: path.write_bytes(path.read_bytes()[:-1] + b"\xff"),
        lambda path: path.with_suffix(".sha256").unlink(),
        lambda path: path.with_suffix(".sha256").write_text("0" * 64 + f"  {path.name}\n"),
        lambda path: (path.unlink(), path.mkdir(), path.rmdir(), path.symlink_to("/etc/passwd")),
        lambda path: (path.unlink(), os.mkfifo(path)),
    ],
    ids=["half", "empty", "a byte", "no checksum", "another checksum", "a link", "a pipe"],
)
def test_what_is_not_whole_is_made_anew(place, source, spoil):
    """In a process of its own: a library that is mapped and then cut kills whoever touches it."""
    for _ in range(2):
        done = subprocess.run(alone(source), capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (0, "42\n"), done.stderr
        spoil(library(place))


@needs_c
def test_a_library_does_not_stand_in_for_another(place, source, tmp_path):
    """Renamed with its checksum: the name is part of that."""
    native.load(source)
    own = library(place)
    other = plant(place / "other.so", tmp_path)
    os.replace(other, own)
    os.replace(other.with_suffix(".sha256"), own.with_suffix(".sha256"))
    assert reload(source) == 42


@needs_c
def test_many_processes_compile_once(place, source, compiler, tmp_path):
    log = tmp_path / "log"
    compiler(f'[ "$1" = --version ] || {{ echo x >> {log}; sleep 1; }}\nexec $REAL "$@"')
    running = [subprocess.Popen(alone(source), stdout=subprocess.PIPE, text=True) for _ in range(8)]
    assert [process.communicate(timeout=120)[0] for process in running] == ["42\n"] * 8
    assert log.read_text() == "x\n"


@needs_c
def test_who_waits_too_long_for_another_goes_on_without(place, source, monkeypatch):
    native.load(source)
    cache.remove(library(place))
    forget()
    monkeypatch.setattr(native, "_TIMEOUT_S", 0.2)
    lock = next(place.glob("*.lock")).with_suffix(".so")
    with cache.locked(lock, 1) as mine:
        assert mine
        assert "another process has been compiling answer.c" in native.why_not(source)


WORDS = {
    "hangs": ("sleep 100", "did not answer for 0.5 s and was stopped"),
    "hangs when it compiles": (
        '[ "$1" = --version ] && exec echo cc 1\nsleep 100 | sleep 100',
        "did not answer for 2 s",
    ),
    "fails": ("echo no licence >&2; exit 3", "--version failed with exit code 3: no licence"),
    "fails when it compiles": (
        '[ "$1" = --version ] && exec echo cc 1\necho; echo "answer.c:1: bad" >&2; echo more >&2; exit 1',
        "could not compile answer.c: answer.c:1: bad",
    ),
    "makes nothing": ('[ "$1" = --version ] && exec echo cc 1\nexit 0', "but made no library"),
    "makes no library": (
        '[ "$1" = --version ] && exec echo cc 1\nwhile [ "$1" != -o ]; do shift; done; echo text > "$2"',
        "cannot be loaded",
    ),
    "says no text": ("printf '\\377\\376'; exit 1", "--version failed with exit code 1"),
}


@pytest.mark.parametrize("what", WORDS)
def test_a_compiler_that_is_broken_leaves_one_line(place, source, compiler, monkeypatch, what):
    text, words = WORDS[what]
    compiler(text)
    monkeypatch.setattr(native, "_PROBE_S", 0.5)
    monkeypatch.setattr(native, "_TIMEOUT_S", 2)
    started = time.monotonic()
    reason = native.why_not(source)
    assert words in reason
    assert "\n" not in reason
    assert time.monotonic() - started < 8
    assert not list(place.glob("*.so"))
    if "hangs" in what:  # and no other source waits again
        native.why_not.cache_clear()
        assert "did not answer" in native.why_not(source)
        assert time.monotonic() - started < 8


def test_a_compiler_of_another_machine_leaves_one_line(place, source, compiler):
    folder = compiler("")
    (folder / "cc").write_bytes(b"\x7fELF nothing that runs")
    assert "does not run" in native.why_not(source)


@pytest.mark.slow
@pytest.mark.parametrize("home", ["/dev/null", "/proc/nowhere"])
def test_without_a_place_for_it_every_neuron_runs_and_says_why(home):
    """As any user of a container, whose home is missing or cannot be written; not even root can write to these."""
    code = (
        "import torch\nfrom snnkit import kernels\nfrom snnkit.neurons import LIF\n"
        "print(LIF()(torch.ones(3, 1, 2)).sum().item(), kernels.availability()['C kernels'])"
    )
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("XDG", "NUMBA"))}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env={**environment, "HOME": home}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.startswith(f"0.0 {home}/.cache/snnkit cannot hold compiled kernels: ")
    assert done.stdout.endswith("Set XDG_CACHE_HOME to a folder of your own; until then other kernels run.\n")
    assert done.stdout.count("\n") == 1


def test_without_any_home_there_is_one_line(source, monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(cache.Path, "home", classmethod(lambda cls: (_ for _ in ()).throw(RuntimeError("no home"))))
    forget()
    assert native.why_not(source).startswith("there is no home folder to keep compiled kernels in: no home.")
    forget()


def test_numba_keeps_its_cache_in_the_private_folder_or_nowhere(place, monkeypatch):
    compiled._folder.cache_clear()
    try:
        kept = compiled.compiled()(double)
        assert kept(2) == 4
        assert list(place.glob("numba/*/*.nbi"))
        assert mode(place / "numba") == 0o700
        (place / "numba").chmod(0o777)
        place.chmod(0o755)
        compiled._folder.cache_clear()
        assert compiled._folder() == str(place / "numba")
        assert (mode(place), mode(place / "numba")) == (0o700, 0o700)
        monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nowhere")
        compiled._folder.cache_clear()
        assert compiled.compiled()(double)(3) == 6
    finally:
        compiled._folder.cache_clear()


def double(x):
    return x + x


@needs_c
def test_the_cache_is_a_link_that_is_followed_but_not_changed(place, source, tmp_path):
    """A cache on another disk: fine where it is closed, refused where others may write, and never changed."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o755)
    place.parent.mkdir()
    place.symlink_to(elsewhere)
    assert native.load(source).answer() == 42
    assert mode(elsewhere) == 0o755
    elsewhere.chmod(0o777)
    forget()
    assert "others may write" in native.why_not(source)
    assert mode(elsewhere) == 0o777


def test_loading_keeps_no_handle_open(place, source):
    def handles():
        return len(os.listdir("/proc/self/fd"))

    if not Path("/proc/self/fd").exists() or native.why_not(source):
        pytest.skip("nothing to look at here")
    before = handles()
    for _ in range(3):
        assert isinstance(native.load(source), ctypes.CDLL)
        forget()
    assert handles() == before
