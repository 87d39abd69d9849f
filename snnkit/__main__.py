"""``python -m snnkit``: the same as the command ``snnkit``."""

from snnkit.cli import main

main()
