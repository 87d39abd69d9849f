"""The command ``snnkit``. Its verbs are entry points of the group ``snnkit.commands``; other packages may add some."""

from snnkit.cli.main import main

__all__ = ["main"]
