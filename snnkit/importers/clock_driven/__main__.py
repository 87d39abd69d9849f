"""``python -m snnkit.importers.clock_driven SCRIPT [arguments]``: run a script with the old names installed."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

from snnkit.importers import clock_driven


def main() -> None:
    """Install the names and run the script as ``python SCRIPT`` would."""
    if len(sys.argv) < 2 or not Path(sys.argv[1]).is_file():
        given = sys.argv[1] if len(sys.argv) > 1 else "nothing"
        sys.exit(f"usage: python -m snnkit.importers.clock_driven SCRIPT [arguments]; no such script: {given}")
    clock_driven.install()
    sys.argv = sys.argv[1:]
    sys.path.insert(0, str(Path(sys.argv[0]).resolve().parent))
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
