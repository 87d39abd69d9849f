"""The target of this folder: its rules under its name."""

from compiler.targets.loihi import arithmetic
from compiler.targets.loihi.formats import disagreement
from compiler.targets.loihi.image import build
from compiler.targets.loihi.legal import legal
from compiler.targets.loihi.quantise import quantise
from compiler.targets.target import Target

TARGETS = (
    Target(
        semantics=arithmetic.SEMANTICS,
        legal=legal,
        quantise=quantise,
        build=build,
        unit=1 << arithmetic.SHIFT,
        disagreement=disagreement,
        trains=True,
    ),
)
