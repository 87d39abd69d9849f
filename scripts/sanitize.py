"""The C sources under AddressSanitizer and UndefinedBehaviorSanitizer: their own tests, once, in under three minutes.

    python scripts/sanitize.py [tests …]

The kernels, events, window and optimizer sources are compiled anew with the sanitizers in place of the optimizer's last
steps, and their tests run in a process that has the sanitizers' library loaded first. What reads or writes beyond an
array, shifts too far or overflows ends that process with a report. Before that it is proved that a planted error is
found. Where cc is not gcc with its sanitizers, the script says so and succeeds, as the tests without a compiler do.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
TESTS = (
    "tests/snnkit/kernels/test_cpu_kernels.py",
    "tests/snnkit/kernels/test_memory_safety.py",
    "tests/snnkit/kernels/test_non_finite.py",
    "tests/snnkit/events",
    "tests/snnkit/optim/test_eight_bit.py",
    "tests/snnkit/models/test_swin_v2.py::test_deployed_equals_the_model",
    "tests/snnkit/models/test_swin_v2.py::test_attention_in_c_at_its_extremes",
)
FLAGS = ("-O1", "-g", "-fno-omit-frame-pointer", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
REPLACED = ("-O3", "-funroll-loops")
PLANTED = {
    "a read beyond the end": ("float f(const float *x) { return x[64]; }", "heap-buffer-overflow"),
    "a shift too far": (
        "#include <stdint.h>\nfloat f(const float *x) { return (float)(1 << (int)x[0]); }",
        "shift exponent",
    ),
}


def main() -> int:
    """Run the tests; return 0 where all is well or nothing can be run."""
    libraries = [_library(name) for name in ("libasan.so", "libstdc++.so")]
    if None in libraries:
        print("cc is no gcc with sanitizers here; the C sources are not run under them")
        return 0
    environment = {
        **os.environ,
        "LD_PRELOAD": " ".join(map(str, libraries)),  # libstdc++ too, or exceptions of others would end the process
        "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1",  # Python itself leaks; a test asks for too much
        "UBSAN_OPTIONS": "print_stacktrace=1",
        "OMP_NUM_THREADS": "1",
    }
    started = time.perf_counter()
    for name, (text, words) in PLANTED.items():
        done = subprocess.run(_child("planted", text), cwd=ROOT, env=environment, capture_output=True, text=True)
        if done.returncode == 0 or words not in done.stderr:
            print(f"the sanitizers do not find {name}: exit code {done.returncode}\n{done.stderr[-2000:]}")
            return 1
    code = subprocess.run(_child("tests", *(sys.argv[1:] or TESTS)), cwd=ROOT, env=environment).returncode
    print(
        f"sanitizers: {'nothing found' if code == 0 else 'FAILED'} ({time.perf_counter() - started:.0f} s)", flush=True
    )
    return code


def _library(name: str) -> Path | None:
    """Where cc, if it is gcc, keeps a library."""
    if not shutil.which("cc"):
        return None
    found = subprocess.run(["cc", f"-print-file-name={name}"], capture_output=True, text=True).stdout.strip()
    return Path(found).resolve() if os.path.isabs(found) else None


def _child(*arguments: str) -> list[str]:
    return [sys.executable, str(Path(__file__).resolve()), "--child", *arguments]


def run_child(what: str, arguments: list[str]) -> int:
    """What runs with the sanitizers loaded: C kernels are made with them from here on."""
    from snnkit.kernels import native

    native._FLAGS = (*(flag for flag in native._FLAGS if flag not in REPLACED), *FLAGS)
    if what == "tests":
        import pytest

        # Not the file descriptors: a report is written past Python, by a process that then ends.
        return int(pytest.main(["-q", "--capture=sys", "-p", "no:cacheprovider", *arguments]))
    import torch

    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "planted.c"
        source.write_text(arguments[0])
        function = native.load(source).f
        x = torch.full((64,), 40.0)
        function.argtypes = (ctypes.c_void_p,)
        function(x.data_ptr())
    return 0


if __name__ == "__main__":
    sys.exit(run_child(sys.argv[2], sys.argv[3:]) if sys.argv[1:2] == ["--child"] else main())
