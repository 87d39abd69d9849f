"""A run folder as one HTML page that opens without a network; reads the JSON of the folder and nothing else."""

from snnkit.report.page import write_report
from snnkit.report.read import ReportError

__all__ = ["ReportError", "write_report"]
