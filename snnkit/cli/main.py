"""Collect the verbs, run one, and turn a user's error into one line and exit code 2.

Nothing heavy is imported here: ``snnkit --help`` answers before torch would have loaded. A verb's module imports what
it needs inside its function.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.metadata import entry_points

from cyclopts import App, Parameter
from rich.console import Console

from snnkit import allocator
from snnkit.cli import memory_ran_out
from snnkit.cli.whole import converted

GROUP = "snnkit.commands"
_PLAIN = "--plain-memory"


def build_app() -> App:
    """Return the command with every verb that is installed."""
    from snnkit import __version__

    app = App(
        name="snnkit",
        help="Train spiking networks, count what they do, and compile them onto neuromorphic chips.\n\n"
        f"`snnkit {_PLAIN} COMMAND …` leaves the process's memory as the system gives it; without, it is kept and "
        "lies on huge pages, which makes training faster (`snnkit doctor` says by how much here).",
        version=__version__,
        help_format="markdown",
        default_parameter=Parameter(converter=converted),
        suppress_keyboard_interrupt=False,  # ``main`` says that it was interrupted
    )
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        app.command(entry.load(), name=entry.name)
    return app


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line.

    It exits with 0, 2 (a mistake the user can mend), 3 (`check` found something) or 130 (interrupted).
    """
    # OpenMP's idle threads would spin, and take the cores from the neurons' own threads. Read once, when torch loads.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words[:1] == [_PLAIN]:
        allocator.plain()
        del words[0]
    elif arguments is None and not {"--help", "-h", "--version"} & set(words):
        allocator.restart()
    allocator.prepare()
    errors = Console(stderr=True, highlight=False, soft_wrap=True, markup=False)
    try:
        build_app()(words, error_console=Console(stderr=True))
    except KeyboardInterrupt:
        errors.print("interrupted")
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        if not getattr(type(error), "user_error", False):
            memory = memory_ran_out.told(error)
            if not memory:
                raise
            errors.print(f"snnkit: {memory}")
            sys.exit(2)
        if not _is_helper() or getattr(error, "here_only", False):
            errors.print(f"snnkit: {error}")
        sys.exit(2)


def _is_helper() -> bool:
    """Whether this process is one of several that train together, but not the first, which speaks for all."""
    return any(os.environ.get(name, "0") != "0" for name in ("RANK", "LOCAL_RANK", "NODE_RANK"))
