"""Fit a training step into a budget of bytes: predict, then choose, cheapest first, until it fits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from snnkit.errors import InvalidArgumentError
from snnkit.kernels.call import Call
from snnkit.kernels.charge_fire_reset import is_no_reset
from snnkit.memory.chunks import differs, why_not
from snnkit.memory.planned import Choice, Planned
from snnkit.memory.simulate import Simulation, simulate
from snnkit.memory.size import parse_bytes, show_bytes
from snnkit.neurons import PointNeuron

_WORTH = 0.99
"""A choice is made if it brings the peak below this share of what it was."""


@dataclass(frozen=True)
class PlannedLayer:
    """One layer: bytes it leaves for the backward and most bytes alive while it runs; plainly, and as planned."""

    name: str
    kind: str
    plain_kept: int
    kept: int
    plain_peak: int
    peak: int


@dataclass(frozen=True)
class Step:
    """One thing that was tried: the predicted peak with it (None: not possible), and whether it was chosen."""

    what: str
    peak: int | None
    chosen: bool
    note: str = ""


@dataclass(frozen=True)
class Plan:
    """What a training step will need, and how it was made to fit; bytes above parameters, buffers and input.

    Attributes:
        peak: predicted most bytes alive during forward and backward, gradients of parameters included.
        plain_peak: the same without any saving.
        kept: bytes alive between forward and backward.
        plain_kept: the same without any saving.
        where: layer and phase of the peak.
        budget: in bytes; None if there was none.
        choice: what ``apply`` puts into force.
        layers: per layer.
        steps: what was tried, in order.
    """

    peak: int
    plain_peak: int
    kept: int
    plain_kept: int
    where: str
    budget: int | None
    choice: Choice
    layers: tuple[PlannedLayer, ...]
    steps: tuple[Step, ...]

    def apply(self, model: nn.Module) -> Planned:
        """Return ``model`` run as planned; it shares everything with ``model``, which itself stays as it is.

        Raises:
            InvalidArgumentError: the model lacks a module that the plan names.
        """
        known = {name for name, _ in model.named_modules()}
        for name in (*self.choice.rect, *self.choice.code8, *self.choice.blocks):
            if name not in known:
                raise InvalidArgumentError(
                    f"the plan is for another model: {type(model).__name__} has no module {name!r}. Plan again for it."
                )
        return Planned(model, self.choice)

    def __str__(self) -> str:
        limit = "no budget" if self.budget is None else f"budget {show_bytes(self.budget)}"
        lines = [
            f"peak {show_bytes(self.peak)} at {self.where}, plain {show_bytes(self.plain_peak)}; {limit}",
            f"kept for the backward {show_bytes(self.kept)}, plain {show_bytes(self.plain_kept)}",
            f"choice: {self.choice}",
        ]
        for step in self.steps:
            peak = "not possible" if step.peak is None else show_bytes(step.peak)
            note = step.note or ("chosen" if step.chosen else "no gain")
            lines.append(f"  {step.what}: {peak} ({note})")
        width = max([5, *(len(layer.name) for layer in self.layers)])
        kinds = max([4, *(len(layer.kind) for layer in self.layers)])
        lines.append(f"{'layer':{width}}  {'kind':{kinds}}  {'kept':>9}  {'plain':>9}  {'peak':>9}  {'plain':>9}")
        for layer in self.layers:
            numbers = (layer.kept, layer.plain_kept, layer.peak, layer.plain_peak)
            shown = "  ".join(f"{show_bytes(number):>9}" for number in numbers)
            lines.append(f"{layer.name:{width}}  {layer.kind:{kinds}}  {shown}")
        return "\n".join(lines)


def plan(
    model: nn.Module,
    example: Tensor,
    budget: int | str | None = None,
    loss: Callable[[Any], Tensor] | None = None,
    allow_approximate: bool = False,
    gradients: bool = True,
    accumulated: bool = False,
) -> Plan:
    """Predict the memory of a training step on inputs like ``example`` and choose how to fit it into ``budget``.

    Nothing runs but on shapes, except: operators with a workspace, on a few samples, and where chunks of time are
    tried, a float64 copy of the model on one sample, to see that it does not mix time steps.

    Args:
        model: in the mode in which it will be trained.
        example: an input of the real shape, dtype and device; values do not matter.
        budget: bytes, or text such as "512MB" or "2GiB", above parameters, buffers, input and optimiser; None: predict.
        loss: from the model's output to a number; the mean of squares if not given.
        allow_approximate: whether neurons may keep one byte a step (``code8``), which changes gradients slightly.
        gradients: whether the parameters' gradients count; False where they are there before and added to.
        accumulated: whether those of earlier batches of the step are there before, and count.

    Raises:
        InvalidArgumentError: a budget that is no size, or that nothing reaches (says what the smallest peak is).
    """
    limit = None if budget is None else parse_bytes(budget)
    search = _Search(model, example, loss, limit, gradients, accumulated)
    if limit is not None:
        search.run(allow_approximate)
    plain, best = search.plain, search.best
    if limit is not None and best.peak > limit:
        how = f"with {search.choice}" if search.choice != Choice() else "and nothing lowers it"
        raise InvalidArgumentError(
            f"budget={budget!r}: a training step on {tuple(example.shape)} takes at least {show_bytes(best.peak)} "
            f"({best.peak} bytes) {how}; plainly {show_bytes(plain.peak)}. {search.hints()}"
            "Raise the budget or make the batch smaller."
        )
    return Plan(
        best.peak, plain.peak, best.kept, plain.kept, best.where, limit, search.choice,
        tuple(_layers(model, plain, best)), tuple(search.steps),
    )  # fmt: skip


def within_budget(
    model: nn.Module,
    example: Tensor,
    memory_budget: int | str | None,
    loss: Callable[[Any], Tensor] | None = None,
    accumulated: bool = False,
) -> tuple[nn.Module, Plan | None]:
    """Return what a training loop calls in place of ``model``, with its plan; the model itself without a budget.

    Args:
        model, example, loss, accumulated: those of ``plan``.
        memory_budget: that of ``plan``; None or "" for no limit.

    Raises:
        InvalidArgumentError: as ``plan``.
    """
    if memory_budget is None or memory_budget == "":
        return model, None
    made = plan(model, example, memory_budget, loss, accumulated=accumulated)
    return (model if made.choice == Choice() else made.apply(model)), made


class _Search:
    """Tries choices one after the other and keeps those that help."""

    def __init__(
        self,
        model: nn.Module,
        example: Tensor,
        loss: Callable[[Any], Tensor] | None,
        limit: int | None,
        gradients: bool,
        accumulated: bool,
    ):
        self.model, self.example, self.loss, self.limit = model, example, loss, limit
        self.gradients, self.accumulated = gradients, accumulated
        self.choice, self.steps = Choice(), list[Step]()
        self.plain = self.best = self.simulate(self.choice)

    def simulate(self, choice: Choice) -> Simulation:
        """Predict a choice."""
        return simulate(
            self.model, self.example, self.loss, lambda twin: Planned(twin, choice), self.gradients, self.accumulated
        )

    def fits(self) -> bool:
        """Whether the best so far is within the limit."""
        return self.limit is None or self.best.peak <= self.limit

    def run(self, allow_approximate: bool) -> None:
        """Go through all choices, cheapest first, until one fits."""
        rect = tuple(tiered(self.model, self.example, "rect"))
        if not self.fits() and rect:
            self.attempt("two bits a step", replace(self.choice, rect=rect))
        if not self.fits():
            self.attempt("spikes as bits", replace(self.choice, bits=True))
        if not self.fits():
            self.attempt("batch norms computed again", replace(self.choice, norms=True))
        if not self.fits():
            self.attempt("layers computed again", replace(self.choice, norms=True, layers=True))
        if not self.fits() and allow_approximate:
            code8 = tuple(name for name in tiered(self.model, self.example, "code8") if name not in self.choice.rect)
            self.attempt("one byte a step (approximate)", replace(self.choice, code8=code8))
        if not self.fits():
            self.try_blocks()
        if not self.fits():
            self.try_chunks()

    def attempt(self, what: str, choice: Choice) -> bool:
        """Simulate a choice and keep it if it lowers the peak."""
        found = self.simulate(choice)
        chosen = found.peak < _WORTH * self.best.peak
        self.steps.append(Step(what, found.peak, chosen))
        if chosen:
            self.choice, self.best = choice, found
        return chosen

    def try_blocks(self) -> None:
        """Compute blocks again: all if need be, else as few as fit, those that keep most first."""
        names = candidates(self.model)
        if not names:
            self.steps.append(
                Step("blocks computed again", None, False, "the model has no submodules of several layers")
            )
            return
        names.sort(key=lambda name: -_kept_below(self.best, name))
        before = self.choice
        if not self.attempt(f"{len(names)} blocks computed again", replace(before, blocks=tuple(names))):
            return
        low, high = 0, len(names)
        while self.fits() and high - low > 1:  # low blocks do not fit, high do
            middle = (low + high) // 2
            choice = replace(before, blocks=tuple(names[:middle]))
            found = self.simulate(choice)
            fits = found.peak <= (self.limit or 0)
            self.steps.append(Step(f"{middle} blocks computed again", found.peak, fits, "" if fits else "not enough"))
            if fits:
                self.choice, self.best, high = choice, found, middle
            else:
                low = middle

    def try_chunks(self) -> None:
        """Cut the sequence into more and more chunks."""
        reason, steps = self.why_no_chunks()
        if reason:
            self.steps.append(Step("chunks of time", None, False, reason))
            return
        chunks = 2
        while not self.fits() and chunks <= steps:
            self.attempt(f"{chunks} chunks of time", replace(self.choice, chunks=chunks))
            chunks = min(2 * chunks, steps) if chunks < steps else steps + 1

    def why_no_chunks(self) -> tuple[str, int]:
        """Return "" or the reason why the sequence cannot be cut, and its number of steps."""
        encoder = getattr(self.model, "encoder", None)
        images = self.example.ndim == 4 and hasattr(self.model, "forward_stages")
        steps = getattr(encoder, "timesteps", 1) if images else len(self.example)
        if steps < 2:
            return "there is one time step only", steps
        reason = why_not(self.model)
        drawn = [name or "the model" for name in self.plain.random if not name.startswith("encoder")]
        if not reason and drawn:
            reason = f"{drawn[0]} draws random numbers, which would differ from chunk to chunk"
        return reason or differs(self.model, self.example), steps

    def hints(self) -> str:
        """What could not be tried, as sentences for an error."""
        return "".join(f"No {step.what}: {step.note}. " for step in self.steps if step.peak is None)


def candidates(model: nn.Module) -> list[str]:
    """Return the names of modules that can be computed again as a whole: the items of lists, else the children.

    None lies within another; each holds more than one layer.
    """
    found: list[str] = []
    for name, module in model.named_modules():
        if isinstance(module, (nn.ModuleList, nn.Sequential)):
            for key, child in module.named_children():
                path = f"{name}.{key}".lstrip(".")
                if _several(child) and not any(path.startswith(f"{outer}.") for outer in found):
                    found.append(path)
    return found or [name for name, child in model.named_children() if _several(child)]


def _several(module: nn.Module) -> bool:
    """Whether a module that is called itself consists of more than one layer."""
    leaves = [part for part in module.modules() if not list(part.children())]
    return len(leaves) > 1 and not isinstance(module, (nn.ModuleList, nn.ModuleDict))


def tiered(model: nn.Module, example: Tensor, tier: str) -> Iterator[str]:
    """Names of the neurons that can save in this tier; for "rect" only where that is exact."""
    for name, module in model.named_modules():
        if not isinstance(module, PointNeuron) or module.save != "exact":
            continue
        p = module.constants()
        if tier == "rect":
            reset = getattr(p, "v_reset", None)
            no_reset = isinstance(reset, float) and is_no_reset(reset)
            if type(module.surrogate).__name__ != "Rect" or not (getattr(p, "detach_reset", False) or no_reset):
                continue
        operator = module.operator
        tensors = tuple(n for n in operator.parameter_names if isinstance(getattr(p, n), Tensor))
        x = torch.empty(1, 1, device=example.device, dtype=example.dtype)
        state = (None,) * len(operator.state_names)
        call = Call(x, state, operator.rest(p), p, tensors, module.surrogate, tier, training=True)
        try:
            operator.choose(module.kernel, call)
        except InvalidArgumentError:
            continue
        yield name


def _kept_below(simulation: Simulation, name: str) -> int:
    inside = f"{name}."
    return sum(layer.kept for layer in simulation.layers if layer.name == name or layer.name.startswith(inside))


def _layers(model: nn.Module, plain: Simulation, best: Simulation) -> Iterator[PlannedLayer]:
    modules = dict(model.named_modules())
    planned = {layer.name: layer for layer in best.layers}
    for layer in plain.layers:
        now = planned.get(layer.name)
        kept, peak = (now.kept, now.peak) if now else (0, 0)
        yield PlannedLayer(layer.name, type(modules[layer.name]).__name__, layer.kept, kept, layer.peak, peak)
