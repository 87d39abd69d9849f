"""Where the numbers of chips were read, each source once; energies come from the energy models, which hold them."""

from __future__ import annotations

from hw.energy.published import MODELS
from hw.quantity import Quantity

NENGO = "nengo-loihi, nengo_loihi/block.py and builder/discretize.py @e564f66"
LAVA = "lava-nc 0.10.0, lava/proc/lif and lava/proc/dense, fixed_pt models"
NETX = "lava-dl d825ac5, src/lava/lib/dl/netx/hdf5.py"
DAVIES = "Davies et al., IEEE Micro 38(1), 2018"
SANAFE = "SANA-FE 2.2.9, arch/loihi.yaml"
CAS = "IEEE Circuits and Systems Magazine, Q2 2022, pp. 21-24"
OPEN_NEUROMORPHIC = "open-neuromorphic.org, hardware pages"
MEROLLA = "Merolla et al., Science 345, 2014, and Cassidy et al., 2013 (excerpts)"
DARWIN3 = "Darwin3, National Science Review, 2024, abstract"
ROCKPOOL = "rockpool 3.1.0, Xylo overview"
SINABS = "sinabs @904eb89, get_constraints of the DYNAP-CNN back end"
YAO = "Yao et al., Nature Communications, 2024, abstract"
BRAINCHIP = "BrainChip documentation and Frontiers 2022 (excerpt)"
FRENKEL = "Frenkel et al., IEEE TBioCAS 13(1), 2019, abstract"
UNREAD = "publications on the chip; not checked against one"

KIB = 8 * 1024
"""Bits of a KiB."""

_SOP = {model.name: model for model in MODELS}


def unread(value: float, unit: str, low: float | None = None, high: float | None = None, note: str = "") -> Quantity:
    """Return a number that was told, but not checked against its source."""
    return Quantity(value, unit, f"{UNREAD}{': ' if note else ''}{note}", low, high, confirmed=False)


def published(model: str, constant: str = "E_SOP") -> Quantity:
    """Return a published energy: a constant of the energy model of that name."""
    return _SOP[model].constants[constant]
