"""C kernels: compiled once for this machine at first use, cached, and loaded through ctypes.

The sources need only a C compiler (gcc or clang); they are not linked against torch. The library lies in the user's
cache folder under a name made from source, flags, compiler and processor, so a change of any of them compiles anew.
Where there is no compiler, ``load`` says why, and the callers fall back to another kernel with that reason.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
from functools import cache, lru_cache
from pathlib import Path

from snnkit.errors import SnnkitError
from snnkit.files import atomic_path

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
_TIMEOUT_S = 300


class NoNativeKernelError(SnnkitError):
    """The C kernels cannot be had here; the message says why."""


def cache_folder() -> Path:
    """Return the folder of compiled kernels, ``snnkit`` in the user's cache folder (it may not exist yet)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "snnkit"


@cache
def load(source: Path) -> ctypes.CDLL:
    """Return the library made from one C file, compiling it if this machine has not done so before.

    Raises:
        NoNativeKernelError: no compiler, a failing one, or a cache folder that cannot be written.
    """
    compiler = _compiler()
    text = source.read_bytes() + b"".join(path.read_bytes() for path in sorted(source.parent.glob("*.h")))
    identity = [*_FLAGS, compiler, _version(compiler), platform.machine(), _processor()]
    digest = hashlib.sha256(text + "\0".join(identity).encode()).hexdigest()[:16]
    library = cache_folder() / f"{source.stem}-{digest}.so"
    if not library.exists():
        _compile(compiler, source, library)
    try:
        return ctypes.CDLL(str(library))
    except OSError as error:
        raise NoNativeKernelError(f"the compiled kernel {library} cannot be loaded: {error}") from error


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
def _version(compiler: str) -> str:
    return subprocess.run([compiler, "--version"], capture_output=True, text=True, timeout=60).stdout.split("\n")[0]


@lru_cache(maxsize=1)
def _processor() -> str:
    """What the processor can do: a library moved to another machine must not be loaded there."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith(("flags", "Features"))), platform.processor())


def _compile(compiler: str, source: Path, library: Path) -> None:
    try:
        library.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(library) as part:
            command = [compiler, *_FLAGS, str(source), "-o", str(part), "-lm"]
            done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S)
            if done.returncode:
                first = (done.stderr.strip().splitlines() or ["no message"])[0]
                raise NoNativeKernelError(f"{compiler} could not compile {source.name}: {first}")
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NoNativeKernelError(f"{source.name} could not be compiled into {library.parent}: {error}") from error
