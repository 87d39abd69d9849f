"""How good an encoder's features are, told by simple classifiers of them: linear probes and nearest neighbours.

Features are computed once, of images as they are tested, and kept on disk (``features``, ``cache``); probes read them
alone (``linear``, ``neighbours``), with all labels or a seeded, stratified share (``probes``).
"""

from snnkit.probing.encoder import Encoder, load_encoder, random_start
from snnkit.probing.features import CollapsedError, Features, Split, check_features, compute, feeding
from snnkit.probing.linear import Linear, fit_lbfgs, fit_sgd
from snnkit.probing.neighbours import vote
from snnkit.probing.probes import METHODS, Result, Settings, probe
from snnkit.probing.report import Report, probe_target

__all__ = [
    "METHODS",
    "CollapsedError",
    "Encoder",
    "Features",
    "Linear",
    "Report",
    "Result",
    "Settings",
    "Split",
    "check_features",
    "compute",
    "feeding",
    "fit_lbfgs",
    "fit_sgd",
    "load_encoder",
    "probe",
    "probe_target",
    "random_start",
    "vote",
]
