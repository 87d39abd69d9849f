"""Encoders: from a value (B, …) to a sequence (T, B, …), one file each with its formula, units and source.

| encoder | a value becomes | gradient |
|---|---|---|
| ``Direct`` | itself at every step | exact |
| ``Poisson`` | random spikes with that probability | of the expectation |
| ``Regular`` | evenly spaced spikes at that rate | of the mean rate |
| ``Latency`` | one spike, the earlier the larger | none |
| ``Phase`` | its binary digits, most significant first | none |
| ``Burst`` | a burst: more spikes, closer together | none |
| ``Population`` | what Gaussian receptive fields see, through another encoder | that encoder's |
| ``Delta`` | (a sequence) spikes where it changes | none |

``timesteps`` is T; ``static`` says whether all steps are equal, so that what depends on the input alone need be
computed only once. To add one: a file, imported below, and its name in the list.
"""

from torch import nn

from snnkit.encoders.burst import Burst
from snnkit.encoders.delta import Delta
from snnkit.encoders.direct import Direct
from snnkit.encoders.latency import Latency
from snnkit.encoders.phase import Phase
from snnkit.encoders.poisson import Poisson
from snnkit.encoders.population import Population
from snnkit.encoders.regular import Regular

__all__ = ["Burst", "Delta", "Direct", "Latency", "Phase", "Poisson", "Population", "Regular"]

ENCODERS: tuple[type[nn.Module], ...] = tuple(globals()[name] for name in __all__)

__all__ += ["ENCODERS"]
