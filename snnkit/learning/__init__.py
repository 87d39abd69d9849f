"""Learning without backpropagation through time.

| file | rules | what changes the weight |
|---|---|---|
| ``stdp.py`` | pair and triplet STDP, reward-modulated STDP | the spikes before and behind a synapse, and a reward |
| ``eprop.py`` | e-prop | eligibility traces times a learning signal |
| ``online.py`` | SLTT, OTTT | gradients of one time step at a time |
"""

from snnkit.learning.eprop import EProp
from snnkit.learning.online import Momentary, Traced, online
from snnkit.learning.stdp import PairSTDP, RewardSTDP, TripletSTDP

__all__ = ["EProp", "Momentary", "PairSTDP", "RewardSTDP", "Traced", "TripletSTDP", "online"]
