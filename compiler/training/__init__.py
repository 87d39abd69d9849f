"""Training in a chip's own integers: forward is the chip's, bit for bit, backward is the float network's."""

from compiler.training.comparing import Agreement, compare
from compiler.training.module import ChipNetwork
from compiler.training.tuning import Tuned, fine_tuned, fine_tuning

__all__ = ["Agreement", "ChipNetwork", "Tuned", "compare", "fine_tuned", "fine_tuning"]
