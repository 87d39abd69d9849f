"""The zoo: every network that capture is proved on."""

from __future__ import annotations

from .functional import FUNCTIONAL
from .imported import IMPORTED
from .neurons import NEURONS
from .ours import OURS
from .timm_models import TIMM
from .torchvision_models import TORCHVISION

CASES = [*OURS, *NEURONS, *IMPORTED, *FUNCTIONAL, *TORCHVISION, *TIMM]
