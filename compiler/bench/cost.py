"""What a capture costs, in a process of its own that prints one JSON line a network: ``python -m compiler.bench.cost``

once NAME SETTINGS     seconds, and bytes above those held before, of one capture; SETTINGS are JSON
each [timm:]NAME …     whether each is captured at its default size, in how long, and why not
"""

from __future__ import annotations

import gc
import json
import sys
import time
from pathlib import Path
from typing import Any

import torch

from compiler import capture
from compiler.bench.published import built
from compiler.errors import CaptureError


def once(name: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Capture a network in a process that has captured nothing yet."""
    model, x = built(name, fill=True, **settings)
    before = _reset_peak()
    started = time.process_time()
    graph = capture(model, x)
    seconds = time.process_time() - started
    return {"name": name, "seconds": seconds, "bytes": _peak() - before, "nodes": len(graph)}


def each(name: str) -> dict[str, Any]:
    """Try one network; a refusal is its first line."""
    model, x = built(name.removeprefix("timm:"), timm=name.startswith("timm:"))
    started = time.process_time()
    try:
        nodes, why = len(capture(model, x)), ""
    except CaptureError as error:
        nodes, why = 0, str(error).splitlines()[0]
    return {"name": name, "seconds": time.process_time() - started, "nodes": nodes, "why": why}


def _status(key: str) -> int:
    """Bytes that Linux states for this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{key}:"))


def _reset_peak() -> int:
    """Forget the highest memory so far and return what is held now."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def _peak() -> int:
    return _status("VmHWM")


def main(arguments: list[str]) -> None:
    """Run one of the two."""
    torch.set_num_threads(1)
    what, *rest = arguments
    if what == "once":
        print(json.dumps(once(rest[0], json.loads(rest[1]))), flush=True)
        return
    for name in rest:
        print(json.dumps(each(name)), flush=True)
        gc.collect()


if __name__ == "__main__":
    main(sys.argv[1:])
