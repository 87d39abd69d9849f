"""C kernels: compiled once for this machine at first use, cached, and loaded through ctypes.

The sources need only a C compiler (gcc or clang); they are not linked against torch. The library lies in the user's
cache folder (``cache.py``) under a name made from source, flags, compiler and processor, so a change of any of them
compiles anew. Where there is no compiler, or no folder that can be trusted, ``load`` says why, and the callers fall
back to another kernel with that reason.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import re
import shutil
import signal
import subprocess
import tempfile
from contextlib import suppress
from functools import cache, lru_cache
from pathlib import Path

from snnkit.errors import DiskError, SnnkitError
from snnkit.kernels.cache import WAY_OUT, NoCacheError, cache_folder, is_whole, locked, private_folder, publish, remove

# No contraction and no fast-math: spikes must equal those of the reference bit for bit.
_FLAGS = (
    "-O3",
    "-funroll-loops",
    "-march=native",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-ffp-contract=off",
    "-std=gnu11",
    "-fPIC",
    "-shared",
)
_TIMEOUT_S = 180
_PROBE_S = 10
_hung: list[str] = []
"""Compilers that did not come back: no other source waits for them again."""


class NoNativeKernelError(SnnkitError):
    """The C kernels cannot be had here; the message says why."""


@cache
def load(source: Path) -> ctypes.CDLL:
    """Return the library made from one C file, compiling it if this machine has not done so before.

    Raises:
        NoNativeKernelError: no compiler, a failing one, or no cache folder that can be trusted and written.
    """
    if os.name != "posix":
        raise NoNativeKernelError("C kernels are compiled on Linux and macOS; numba kernels run instead.")
    compiler = _compiler()
    text = source.read_bytes() + b"".join(path.read_bytes() for path in sorted(source.parent.glob("*.h")))
    version, reason = _version(compiler)
    if reason:
        raise NoNativeKernelError(reason)
    identity = [*_FLAGS, compiler, version, platform.machine(), _processor()]
    digest = hashlib.sha256(text + "\0".join(identity).encode()).hexdigest()[:16]
    try:
        with private_folder(cache_folder()) as folder:
            return _load_from(folder, compiler, source, f"{source.stem}-{digest}.so")
    except (NoCacheError, DiskError) as error:
        raise NoNativeKernelError(_named(error)) from None
    except OSError as error:
        reason = f"{source.name} could not be compiled into {cache_folder()}: {error.strerror or error}."
        raise NoNativeKernelError(f"{reason} {WAY_OUT}") from None


def _named(error: Exception) -> str:
    """The message with the folder's name instead of the handle that was opened."""
    return re.sub(r"/proc/self/fd/\d+", str(cache_folder()), str(error)) if "/proc/self" in str(error) else str(error)


def _load_from(folder: Path, compiler: str, source: Path, name: str) -> ctypes.CDLL:
    """Load a library from the folder, making it where it is missing or not whole."""
    library = folder / name
    if not is_whole(library):
        with locked(library, _TIMEOUT_S) as mine:
            if not mine:
                raise NoNativeKernelError(f"another process has been compiling {source.name} for {_TIMEOUT_S} s.")
            if not is_whole(library):  # else somebody else made it meanwhile
                publish(library, _compile(compiler, source))
    try:
        return ctypes.CDLL(str(library))
    except OSError as error:
        remove(library)
        raise NoNativeKernelError(f"the kernel that {compiler} compiled cannot be loaded: {_named(error)}") from None


@cache
def why_not(source: Path) -> str:
    """Return "" where the C file can be compiled and loaded, else the reason."""
    try:
        load(source)
    except NoNativeKernelError as error:
        return str(error)
    return ""


def _compiler() -> str:
    for name in ("cc", "gcc", "clang"):
        found = shutil.which(name)
        if found:
            return found
    raise NoNativeKernelError("there is no C compiler (cc, gcc or clang) on the PATH; numba kernels run instead.")


@cache
def _version(compiler: str) -> tuple[str, str]:
    """The first line that the compiler says of itself, and "" or what is wrong with it."""
    try:
        code, out, message = _run([compiler, "--version"], _PROBE_S)
    except (OSError, NoNativeKernelError) as error:
        return "", f"{compiler} does not run: {error}"
    first = next(iter(out.splitlines()), "")
    return first, "" if code == 0 else f"{compiler} --version failed with exit code {code}: {_first_line(message)}"


@lru_cache(maxsize=1)
def _processor() -> str:
    """What the processor can do: a library moved to another machine must not be loaded there."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith(("flags", "Features"))), platform.processor())


def _compile(compiler: str, source: Path) -> bytes:
    """Return the bytes of a library made from one C file."""
    with tempfile.TemporaryDirectory(prefix="snnkit-") as folder:
        made = Path(folder) / "kernel.so"
        code, _, message = _run([compiler, *_FLAGS, str(source), "-o", str(made), "-lm"], _TIMEOUT_S)
        if code:
            raise NoNativeKernelError(f"{compiler} could not compile {source.name}: {_first_line(message)}")
        try:
            return made.read_bytes()
        except OSError:
            raise NoNativeKernelError(f"{compiler} said that it compiled {source.name}, but made no library.") from None


def _run(command: list[str], longest_s: float) -> tuple[int, str, str]:
    """Run a command; return exit code, output and messages. One that takes longer is ended with all it started."""
    if command[0] in _hung:
        raise NoNativeKernelError(f"{command[0]} did not answer before.")
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace",
        start_new_session=True,
    )  # fmt: skip
    try:
        out, message = process.communicate(timeout=longest_s)
    except subprocess.TimeoutExpired:
        _hung.append(command[0])
        raise NoNativeKernelError(f"{command[0]} did not answer for {longest_s:g} s and was stopped.") from None
    finally:
        if process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            for pipe in (process.stdout, process.stderr):
                pipe.close()  # type: ignore[union-attr]
    return process.returncode, out, message


def _first_line(message: str) -> str:
    return next((line.strip() for line in message.splitlines() if line.strip()), "no message")
