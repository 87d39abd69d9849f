"""``snnkit report``: one offline page from a run's folder."""

from __future__ import annotations

from pathlib import Path


def report(run: Path, *others: Path) -> None:
    """Write report.html into the folder of a run, from the JSON that lies there.

    Parameters
    ----------
    run
        Folder of a run.
    others
        Folders of more runs: the page then also compares accuracy and energy of all of them.
    """
    from snnkit.report import write_report

    print(write_report(run, *others))
