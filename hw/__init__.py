"""Silicon as data, and cost arithmetic. Nothing here knows a network: counts come in, intervals go out."""

from hw import energy
from hw.chip import Chip
from hw.chips import get_chip, list_chips
from hw.counts import Counts, LayerCounts
from hw.quantity import Interval, Quantity

__all__ = ["Chip", "Counts", "Interval", "LayerCounts", "Quantity", "energy", "get_chip", "list_chips"]
