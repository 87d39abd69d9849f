"""A chip of your own for design studies: cores on a mesh, its sizes and prices parameters.

    hw.chips.mesh(width=16, height=16, neurons=512)        # or: get_chip("mesh:width=16,height=16,neurons=512")

Its arithmetic is that of ``loihi2``: integer LIF neurons with graded events. What a parameter does not say of energy,
time or area is not known, and no number of the chip.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hw.chip import Chip, ChipError, CoreLimits, Mesh
from hw.chips import graded
from hw.chips.sources import KIB
from hw.lookup import lookup
from hw.quantity import Quantity

_SOURCE = "chosen for a design study, not silicon"


@dataclass(frozen=True)
class Parameter:
    """One parameter: what it is without being given (None: not known), and the values that it may have."""

    default: float | None
    low: float
    high: float
    text: str
    unit: str = ""

    @property
    def whole(self) -> bool:
        """Whether only whole numbers make sense: sizes, as against prices."""
        return not self.unit


def _price(unit: str, text: str) -> Parameter:
    return Parameter(None, 1e-6, 1e6, text, unit)


PARAMETERS: Mapping[str, Parameter] = {
    "width": Parameter(8, 1, 1024, "tiles from west to east"),
    "height": Parameter(8, 1, 1024, "tiles from north to south"),
    "cores_per_tile": Parameter(1, 1, 64, "cores of a tile"),
    "neurons": Parameter(1024, 1, 65536, "neurons of a core"),
    "in_axons": Parameter(4096, 1, 2**24, "axons into a core"),
    "out_axons": Parameter(4096, 1, 2**24, "axons out of a core"),
    "synapse_kib": Parameter(128, 1, 2**20, "synapse memory of a core in KiB"),
    "weight_bits": Parameter(8, 1, 16, "bits of a weight"),
    "state_bits": Parameter(24, 2, 48, "bits of a membrane"),
    "threshold_bits": Parameter(17, 1, 32, "bits of a threshold"),
    "bias_mantissa_bits": Parameter(13, 1, 24, "bits of a bias's mantissa"),
    "bias_exponent_bits": Parameter(3, 1, 5, "bits of a bias's exponent"),
    "decay_bits": Parameter(12, 1, 24, "bits of a decay constant"),
    "payload_bits": Parameter(32, 0, 32, "bits of a graded event, sign included; 0: spikes are 0 or 1"),
    "products": Parameter(1, 0, 1, "1: two signals of events may be multiplied; 0: not"),
    "pj_per_synop": _price("pJ", "energy of a synaptic operation"),
    "pj_per_neuron_update": _price("pJ", "energy of a neuron's update"),
    "pj_per_message": _price("pJ", "energy of sending one message"),
    "pj_per_hop": _price("pJ", "energy of a message from tile to tile"),
    "step_ns": Parameter(None, 0.1, 1e12, "time of one step", "ns"),
    "idle_power_mw": _price("mW", "power of the chip at rest"),
    "area_mm2": Parameter(None, 0.001, 1e5, "area of the die", "mm2"),
    "node_nm": Parameter(None, 1, 1000, "process node", "nm"),
}


def mesh(**given: float) -> Chip:
    """Return a chip with these ``PARAMETERS``; those not given have their defaults.

    Raises:
        UnknownNameError: no such parameter (names the nearest).
        ChipError: a value outside of what a parameter may be, or values that contradict each other.
    """
    for name, value in given.items():
        _checked(name, lookup("parameter of mesh", name, PARAMETERS), value)
    values = {name: given.get(name, parameter.default) for name, parameter in PARAMETERS.items()}
    sizes = {name: int(value) for name, value in values.items() if value is not None and PARAMETERS[name].whole}
    changed = {name: values[name] for name in PARAMETERS if values[name] != PARAMETERS[name].default}
    parts = ",".join(f"{name}={int(v) if v == int(v) else v!r}" for name, v in changed.items() if v is not None)
    return Chip(
        name=f"mesh:{parts}" if parts else "mesh",
        title=f"Design study, a mesh of {sizes['width']}×{sizes['height']} tiles",
        semantics=graded.SEMANTICS,
        build=graded.build(
            cores=_chosen(sizes["width"] * sizes["height"] * sizes["cores_per_tile"], "cores"),
            core=CoreLimits(
                neurons=_chosen(sizes["neurons"], "neurons"),
                in_axons=_chosen(sizes["in_axons"], "axons"),
                out_axons=_chosen(sizes["out_axons"], "axons"),
                synapse_bits=_chosen(sizes["synapse_kib"] * KIB, "bits"),
            ),
            weight_bits=(sizes["weight_bits"],),
            bits={name: _chosen(sizes[name], "bits") for name in graded.BITS},
            payload_bits=sizes["payload_bits"],
            products=bool(sizes["products"]),
            index_bits=(max((sizes["neurons"] - 1).bit_length(), 1),),
            mesh=Mesh(sizes["width"], sizes["height"], sizes["cores_per_tile"], _SOURCE, confirmed=False),
            formats=_SOURCE,
        ),
        numbers={
            name: _chosen(value, PARAMETERS[name].unit)
            for name, value in values.items()
            if value is not None and not PARAMETERS[name].whole
        },
        neurons=graded.NEURONS,
        resets=graded.RESETS,
        notes=(
            "Every number was chosen, none measured: what programs for it need and cost tells how designs compare, and "
            "nothing of a chip that exists."
        ),
    )


def parsed(text: str) -> dict[str, float]:
    """Return the parameters in ``width=16,height=16``.

    Raises:
        UnknownNameError: no such parameter (names the nearest).
        ChipError: not of that form, a value that is no number, or a parameter given twice.
    """
    given: dict[str, float] = {}
    for part in text.split(","):
        name, equals, value = (word.strip() for word in part.partition("="))
        if not equals:
            raise ChipError(f"mesh: {part.strip()!r} is no parameter; give name=value, as in mesh:width=16,height=16.")
        lookup("parameter of mesh", name, PARAMETERS)
        if name in given:
            raise ChipError(f"mesh: {name} is given twice.")
        try:
            given[name] = float(value)
        except ValueError:
            raise ChipError(f"mesh: {name}={value!r} is no number.") from None
    return given


def _checked(name: str, parameter: Parameter, value: float) -> None:
    fine = isinstance(value, (int, float)) and parameter.low <= value <= parameter.high
    if not fine or (parameter.whole and value != int(value)):
        kind = "a whole number" if parameter.whole else "a number"
        raise ChipError(
            f"mesh: {name}={value!r}, {parameter.text}: must be {kind} from {parameter.low:,g} to {parameter.high:,g}."
        )


def _chosen(value: float, unit: str) -> Quantity:
    return Quantity(value, unit, _SOURCE, confirmed=False)
