"""Price: a network beside the ordinary ones of the same layers, under every model that can price them.

What stands in a run's energy.json (schema "snnkit.energy/2"), and what `snnkit energy` and `snnkit audit` print.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor

from compiler.conventions import Conventions
from compiler.converting import relu_twin
from compiler.counting import count
from compiler.graph import Graph, is_neuron
from hw.counts import Counts, LayerCounts
from hw.energy import MODELS
from hw.energy.break_even import BreakEven, break_even
from hw.energy.model import Energy, EnergyModel, EstimateError
from hw.energy.yan2024 import qnn_counts
from hw.lookup import lookup

SCHEMA = "snnkit.energy/2"
HEADLINE = "45nm"

ENTRIES = {
    "network": "the network as it is",
    "twin": "the ordinary network of the same layers, with ReLU: one step, real numbers",
    "twin_skipping": "that twin on a machine that skips activations of 0; the zeros are those of the spiking network's "
    "weights, not of a twin that was trained",
    "qnn": "that twin with activations of as many bits as T steps tell values apart: ⌈log2(T + 1)⌉",
    "teacher": "the ordinary network that was given beside it",
    "teacher_skipping": "the network that was given, on a machine that skips activations of 0",
}
"""What is priced, by its name in files."""


@dataclass(frozen=True)
class ModelResult:
    """Estimates of one model by entry, why it refuses others, and the break-even rate against the twin."""

    model: EnergyModel
    results: Mapping[str, Energy]
    refused: Mapping[str, str]
    break_even: BreakEven | None = None
    kinds: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """By entry, what kind of layer every name is."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        any_ = next(iter(self.results.values()))
        data = any_.provenance()
        data["formulas"] = dict(self.model.formulas)
        data["uncounted"] = sorted({name for one in self.results.values() for name in one.uncounted})
        data["assumed"] = sorted({name for one in self.results.values() for name in one.assumed})
        data["results"] = {
            entry: _with_kinds(one.to_dict(), self.kinds.get(entry, {})) for entry, one in self.results.items()
        }
        for entry, one in self.results.items():
            if split := sections(one):
                data["results"][entry]["sections"] = [{"name": n, "nominal": value} for n, value in split.items()]
        data["refused"] = dict(self.refused)
        data["break_even"] = self.break_even.to_dict() if self.break_even else None
        return data


_BACKBONE = "backbone"
_NECK = ("neck", "coarser")


def sections(energy: Energy) -> dict[str, float]:
    """Split a nominal energy by the first module in a layer's name: backbone, neck, and all else, the head.

    Empty for a network without a backbone.
    """
    found = {_BACKBONE: 0.0, "neck": 0.0, "head": 0.0}
    modules = set()
    for name, value in energy.per_layer:
        module, dot, _ = name.partition(".")
        modules.add(module + dot)
        found[_BACKBONE if module == _BACKBONE else "neck" if module in _NECK else "head"] += value
    if f"{_BACKBONE}." not in modules:
        return {}
    if not any(module.rstrip(".") in _NECK for module in modules):
        del found["neck"]
    return found


def _with_kinds(data: dict[str, Any], kinds: Mapping[str, str]) -> dict[str, Any]:
    return {**data, "per_layer": [{"kind": kinds.get(row["name"], ""), **row} for row in data["per_layer"]]}


@dataclass(frozen=True)
class Priced:
    """A network and its ordinary companions: counts by entry, and estimates of every model."""

    name: str
    counts: Mapping[str, Counts]
    models: tuple[ModelResult, ...]
    refused: Mapping[str, str] = field(default_factory=dict)
    """Models that cannot price the network itself, and why."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for energy.json."""
        network = self.counts["network"]
        subject = {
            "name": self.name,
            "timesteps": network.timesteps,
            "samples": network.samples,
            "conventions": dict(network.conventions),
        }
        return {
            "schema": SCHEMA,
            "subject": subject,
            "entries": {entry: ENTRIES[entry] for entry in self.counts},
            "models": [model.to_dict() for model in self.models],
            "refused": dict(self.refused),
        }

    def energy(self, model: str, entry: str = "network") -> Energy:
        """Return one estimate.

        Raises:
            EstimateError: the model cannot price it (says why).
        """
        for one in self.models:
            if one.model.name == model and entry in one.results:
                return one.results[entry]
        why = self.refused.get(model) or next((m.refused.get(entry) for m in self.models if m.model.name == model), "")
        raise EstimateError(why or f"the {entry} was not priced by {model!r}.")


def companions(
    graph: Graph, batches: Iterable[Tensor], teacher: Counts | None = None, conventions: Conventions | None = None
) -> dict[str, Counts]:
    """Count what stands beside a network: its ordinary twin, dense and skipping zeros, and a teacher where given.

    Args:
        graph: the network; an ordinary one is its own twin, and gets none.
        batches: samples (B, …) as an ordinary network takes them, of which sparsity is measured.
        teacher: counts of another ordinary network.
        conventions: those of the network; its twin is counted by the same.
    """
    found: dict[str, Counts] = {}
    if any(is_neuron(node) for node in graph):
        # Norms that the network counts apart are in its twin as well, and there is nothing else to fold.
        alike = None if conventions is None else replace(conventions, batch_norm="folded")
        found["twin"] = count(relu_twin(graph), batches, conventions=alike)
        found["twin_skipping"] = skipping(found["twin"])
    if teacher is not None:
        found["teacher"], found["teacher_skipping"] = teacher, skipping(teacher)
    return found


def skipping(counts: Counts) -> Counts:
    """Return counts as of a machine that skips every multiplication by an activation of 0, and its weight."""
    return replace(counts, per_layer=tuple(_skipping(layer) for layer in counts.per_layer))


def _skipping(layer: LayerCounts) -> LayerCounts:
    skipped = max(layer.mac - layer.effective_macs, 0.0)
    spread = dict(layer.spread)
    if "effective_macs" in spread:
        spread["mac"] = spread["effective_macs"]
    return replace(
        layer, mac=layer.mac - skipped, weight_fetches=max(layer.weight_fetches - skipped, 0.0), spread=spread
    )


def price(name: str, counts: Mapping[str, Counts], models: Sequence[str] = (), strict: bool = False) -> Priced:
    """Price counts by entry under every model named, or under all that can price the network.

    Args:
        name: of the network.
        counts: by entry of ``ENTRIES``; "network" must be there.
        models: names of energy models; all where empty. The first is the headline.
        strict: refuse constants that were not checked, and counts that are not all priced.

    Raises:
        UnknownNameError: no such model (names the nearest).
        EstimateError: a model that was named cannot price the network.
    """
    chosen = [lookup("energy model", one, MODELS) for one in models] or list(MODELS.values())
    found, refused = [], {}
    for model in chosen:
        try:
            found.append(_priced(model, counts, strict))
        except EstimateError as error:
            if models:
                raise
            refused[model.name] = str(error)
    if not found:
        raise EstimateError(f"no energy model can price {name}: {next(iter(refused.values()))}")
    if not models:
        found.sort(key=lambda one: one.model.name != HEADLINE)
    return Priced(name, counts, tuple(found), refused)


def _priced(model: EnergyModel, counts: Mapping[str, Counts], strict: bool) -> ModelResult:
    network = counts["network"]
    results, refused = {"network": model.estimate(network, strict)}, {}
    entries = {entry: one for entry, one in counts.items() if entry != "network"}
    if model.name == "yan2024" and "twin" in counts:
        entries = {"qnn": qnn_counts(counts["twin"], network.timesteps)}
        entries |= {"teacher": counts["teacher"]} if "teacher" in counts else {}
    for entry, one in entries.items():
        try:
            results[entry] = model.estimate(one, strict)
        except EstimateError as error:
            refused[entry] = str(error)
    other = next((entry for entry in ("twin", "qnn") if entry in results), None)
    even = None
    if other is not None:
        try:
            even = break_even(model, network, entries[other])
        except EstimateError:
            even = None  # what belongs to a chip alone has no other side
    kinds = {
        entry: {layer.name: layer.kind for layer in counts[entry].per_layer} for entry in results if entry in counts
    }
    return ModelResult(model, results, refused, even, kinds)
