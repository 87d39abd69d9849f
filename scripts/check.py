"""Every check, in order of speed; stops at the first that fails and ends with pytest's own summary.

    python scripts/check.py            # ruff, mypy (hw and compiler), import-linter, the examples, and pytest
    python scripts/check.py --slow     # the tests that the other leaves out: ten seconds and more each

Pytest includes the browser's look at a report.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
PYTHON = sys.executable


TESTS = [PYTHON, "-m", "pytest", "-q", "-n", "2", "--dist", "worksteal", "--durations", "10"]


def steps(slow: bool) -> list[tuple[str, list[str]]]:
    """Return (name, command) pairs."""
    if slow:
        return [("tests", [*TESTS, "-m", "slow"])]
    examples = sorted((ROOT / "examples").glob("[0-9]*.py"))
    return [
        ("format", [PYTHON, "-m", "ruff", "format", "--check", "."]),
        ("lint", [PYTHON, "-m", "ruff", "check", "."]),
        ("types", [PYTHON, "-m", "mypy"]),
        ("imports", [str(Path(PYTHON).parent / "lint-imports")]),
        *[(f"example {path.name}", [PYTHON, str(path)]) for path in examples],
        ("tests", [*TESTS, "-m", "not slow"]),
    ]


def main() -> int:
    """Run all steps; return the exit code of the first that fails."""
    # Two test processes share two cores: one thread each.
    environment = {**os.environ, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
    for name, command in steps("--slow" in sys.argv[1:]):
        started = time.perf_counter()
        print(f"== {name}", flush=True)
        code = subprocess.run(command, cwd=ROOT, env=environment).returncode
        if code:
            print(f"== {name} failed with exit code {code}", flush=True)
            return code
        if name != "tests":
            print(f"== {name} ok ({time.perf_counter() - started:.0f} s)", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
