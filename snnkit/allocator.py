"""Where a process's memory comes from: huge pages, and freed blocks that are kept for the next training step.

A training step frees and takes the same hundreds of megabytes again and again. As a C library does it by default, each
time the kernel takes pages of 4 KiB away and zeroes new ones, which can take most of the time of a step. Three things
help, and change no number:

    torch's switch      tensors of 2 MiB and more on huge pages; read when the first tensor is made
    another allocator   an installed jemalloc or mimalloc, told to keep what is freed; only when a process starts
    glibc's settings    freed blocks are kept, where there is no other allocator

The ``snnkit`` command does all that (``snnkit --plain-memory VERB …`` does not), ``snnkit.engine`` what can still be
done in a process that runs already. A script of one's own: ``python -m snnkit.allocator SCRIPT ARGUMENTS``.

Nothing heavy is imported here.
"""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from collections.abc import MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# torch's own switch (c10/core/impl/alloc_cpu.cpp); "0" is also how a process's children know that nothing is wanted.
SWITCH = "THP_MEM_ALLOC_ENABLE"
PRELOAD = "LD_PRELOAD"
_SYSTEM = "the C library's"
_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")
# mallopt's parameters, from glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
# Larger blocks are mapped and given back each time, which on huge pages costs little: kept, they would leave gaps that
# make a transformer's process a fifth larger.
_LARGEST_KEPT = 8 << 20


@dataclass(frozen=True)
class Library:
    """An allocator that can be loaded in front of the C library's.

    Attributes:
        name: as it is called.
        pattern: of its file.
        settings: environment variables with which it keeps what is freed.
    """

    name: str
    pattern: str
    settings: dict[str, str]


LIBRARIES = (
    Library("jemalloc", "libjemalloc.so.[0-9]", {"MALLOC_CONF": "dirty_decay_ms:-1,muzzy_decay_ms:-1,thp:always"}),
    # The second name of each is that of versions from 2.1 on.
    Library(
        "mimalloc",
        "libmimalloc.so.[0-9]",
        {
            "MIMALLOC_LARGE_OS_PAGES": "1",
            "MIMALLOC_ALLOW_LARGE_OS_PAGES": "1",
            "MIMALLOC_PAGE_RESET": "0",
            "MIMALLOC_PURGE_DELAY": "-1",
        },
    ),
)


def folders() -> list[Path]:
    """Return where libraries are looked for: the system's own folders, and that of this Python's environment."""
    triplet = f"{platform.machine()}-linux-gnu"
    system = [f"/usr/lib/{triplet}", f"/lib/{triplet}", "/usr/lib64", "/lib64", "/usr/local/lib", "/usr/lib", "/lib"]
    return [Path(sys.prefix) / "lib", *map(Path, system)]


def installed() -> list[tuple[Library, Path]]:
    """Return the allocators that are there and their files, the one to take first."""
    found = []
    for library in LIBRARIES:
        files = [path for folder in folders() for path in sorted(folder.glob(library.pattern), reverse=True)]
        found += [(library, files[0])] if files else []
    return found


def variables_for(library: Library, path: Path) -> dict[str, str]:
    """Return the environment of a process that runs with a library on huge pages and keeps what it frees."""
    return {**library.settings, PRELOAD: str(path), SWITCH: "1"}


def refused(variables: MutableMapping[str, str] | None = None) -> bool:
    """Whether plain memory was asked for."""
    return (os.environ if variables is None else variables).get(SWITCH) == "0"


def restart() -> None:
    """Start this process again with an installed allocator in front of the C library's, once; else return.

    It is left alone where plain memory is wanted, something is loaded in front already, or there is nothing to load.
    """
    variables = dict(os.environ)
    if not sys.platform.startswith("linux") or refused(variables) or variables.get(PRELOAD):
        return
    found = installed()
    if not found:
        return
    # What the user set stays. With a library in front, the process that starts will not come here again, even if that
    # cannot be loaded.
    variables = variables_for(*found[0]) | variables
    try:
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], variables)
    except OSError:
        return


def prepare() -> None:
    """Have this process use huge pages and keep what it frees, unless plain memory was asked for.

    Best before torch makes its first tensor: its switch is read then. Processes that are started later do the same.
    """
    if refused():
        return
    os.environ.setdefault(SWITCH, "1")
    if loaded() == _SYSTEM:
        _keep_freed_memory()


def plain() -> None:
    """Leave the memory of this process, and of those it starts, as the system gives it."""
    os.environ[SWITCH] = "0"


def loaded() -> str:
    """Return the name of the allocator that this process runs with."""
    try:
        mapped = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return _SYSTEM
    return next((library.name for library in LIBRARIES if f"lib{library.name}" in mapped), _SYSTEM)


def describe() -> dict[str, Any]:
    """Return how this process gets its memory, for records."""
    return {
        "allocator": loaded(),
        "torch_huge_pages": os.environ.get(SWITCH, "0") == "1",
        "freed_memory_kept": not refused() and (loaded() != _SYSTEM or _kept),
        "system_huge_pages": _system_pages(),
    }


def shown() -> str:
    """Return ``describe`` in one line."""
    facts = describe()
    pages = "huge pages" if facts["torch_huge_pages"] and facts["system_huge_pages"] != "never" else "small pages"
    kept = "freed memory kept" if facts["freed_memory_kept"] else "freed memory given back"
    return f"{facts['allocator']}, {pages}, {kept}"


def advice() -> str:
    """Return what would make memory faster here; empty where nothing would."""
    if refused():
        return "plain memory was asked for"
    if loaded() != _SYSTEM or not sys.platform.startswith("linux"):
        return ""
    found = installed()
    if not found:
        return "faster with jemalloc: apt-get install libjemalloc2, or conda install jemalloc"
    return f"{found[0][0].name} is installed: the snnkit command takes it"


def _system_pages() -> str:
    """What the kernel gives: "always", "madvise" (whoever asks), "never", or "" where it does not say."""
    try:
        return _PAGES.read_text().partition("[")[2].partition("]")[0]
    except OSError:
        return ""


_kept = False


def _keep_freed_memory() -> None:
    """Ask glibc to keep freed blocks up to ``_LARGEST_KEPT``; other C libraries are left alone."""
    global _kept
    if not sys.platform.startswith("linux"):
        return
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    _kept = bool(mallopt(_M_MMAP_THRESHOLD, _LARGEST_KEPT)) and bool(mallopt(_M_TRIM_THRESHOLD, 2**31 - 1))


def main() -> None:
    """Run a script as ``python SCRIPT ARGUMENTS`` would, with huge pages and kept memory."""
    import runpy

    if len(sys.argv) < 2:
        sys.exit("python -m snnkit.allocator SCRIPT ARGUMENTS: give a script.")
    restart()
    prepare()
    del sys.argv[0]
    sys.path[0] = str(Path(sys.argv[0]).absolute().parent)
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    from snnkit.allocator import main  # the module that others import, which remembers what was done

    main()
