"""``snnkit report``: one offline page from a run's folder."""

from __future__ import annotations

from pathlib import Path


def report(run: Path) -> None:
    """Write report.html into the folder of a run, from the JSON that lies there.

    Parameters
    ----------
    run
        Folder of a run.
    """
    from snnkit.report import write_report

    print(write_report(run))
