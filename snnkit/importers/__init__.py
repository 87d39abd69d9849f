"""Networks of other libraries as snnkit's: every import ends with a report of what is equal and what was translated."""

from snnkit.importers.nir import from_nir
from snnkit.importers.report import ImportReport
from snnkit.importers.snntorch import from_snntorch
from snnkit.importers.spikingjelly import from_spikingjelly

__all__ = ["ImportReport", "from_nir", "from_snntorch", "from_spikingjelly"]
