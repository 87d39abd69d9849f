"""The checks that want a GPU, small, on a CPU: none fails, and nothing is written in a GPU's name.

Would break it: a check that meets a name that is gone, found only on a machine that is lent for minutes.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_a_dry_run_goes_through_every_check(tmp_path):
    pytest.importorskip("triton")
    kept = ROOT / "benchmarks" / "gpu.json"
    before = kept.read_bytes() if kept.exists() else None
    command = [sys.executable, str(ROOT / "scripts" / "gpu_check.py"), "--dry"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    for line in ("kernels: ", "case kernel CuBaLIF, variant float16", "share_of_copy", "images_per_second", "FSDP2"):
        assert line in done.stdout
    rows = [line for line in done.stdout.splitlines() if line.startswith("  case kernel")]
    assert len(rows) == 3 * (3 + 3 + 1 + 1 + 1)
    assert all(line.endswith("reached True") for line in rows), rows
    assert (kept.read_bytes() if kept.exists() else None) == before


def test_without_a_gpu_it_says_so(tmp_path):
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, str(ROOT / "scripts" / "gpu_check.py")]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (2, "gpu_check: no GPU here; --dry runs the checks small on a CPU.\n")
