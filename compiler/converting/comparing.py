"""Compare the forms of a converted network on samples: what each step of the way loses, and what each form does.

float ──(quantisation: approximate, measured)──→ quantised ──(rest: exact, every code compared)──→ spiking
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from compiler.converting.conversion import Converted
from compiler.converting.running import Stepper
from compiler.counting import Tally
from compiler.decisions import Classes, Judge
from compiler.graph import Graph
from compiler.interpreting import interpret
from hw.counts import Counts
from snnkit.errors import InvalidArgumentError

_BATCH = 100


@dataclass
class FormResult:
    """One form on all samples.

    Args:
        name: "float", "quantised", "spiking, T = 4" or "spiking, at rest".
        accuracy: share of right decisions, of samples or of pixels, or what else a judge measures; None without labels.
        agreement: share of decisions equal to the quantised form's, or what a judge calls so.
        events: events of a neuron and sample until then (spiking forms).
    """

    name: str
    accuracy: float | None
    agreement: float
    events: float | None = None


@dataclass(frozen=True)
class Comparison:
    """What ``compare`` found.

    Args:
        samples: how many.
        forms: float, quantised, spiking at each number of steps and at rest.
        codes, codes_differ: codes of the quantised form that were compared with the sums of events at rest, and how
            many of them were not equal.
        logit_error: largest difference of an output between the spiking form at rest and the quantised one.
        float_error: largest difference of an output between the quantised form and the float network.
        rest: largest number of steps until rest of any batch; ``bound`` holds for every input.
        settled: the first number of steps from which on the spiking form gives at least 99 % of
            the decisions that it gives at rest; where a judge does not look at every step, of those that it looks at.
        counts: operations of a sample: "float", "quantised", "spiking" (until rest).
    """

    samples: int
    forms: tuple[FormResult, ...]
    codes: int
    codes_differ: int
    logit_error: float
    float_error: float
    rest: int
    bound: int
    settled: int
    counts: dict[str, Counts]

    @property
    def exact(self) -> bool:
        """Whether at rest every code and every output was equal to the quantised network's."""
        return self.codes_differ == 0 and self.logit_error == 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        found = {k: v for k, v in vars(self).items() if k not in ("forms", "counts")}
        counts = {name: counts.to_dict()["totals"] for name, counts in self.counts.items()}
        verdict = "exact" if self.exact else "approximate"
        return {**found, "verdict": verdict, "forms": [asdict(form) for form in self.forms], "totals": counts}


@dataclass
class _Decisions:
    """What was decided, batch by batch, and what is true."""

    floating: list[Any]
    quantised: list[Any]
    steps: list[dict[int, Any]]  # by number of steps, the last standing for all that follow
    truth: list[Any]


def compare(
    converted: Converted,
    batches: Iterable[Tensor | tuple[Tensor, ...] | list[Tensor]],
    steps: Sequence[int] = (1, 2, 4, 8),
    counted: bool = True,
    floating: Graph | None = None,
    judge: Judge | None = None,
) -> Comparison:
    """Run float, quantised and spiking form on samples, compare every code at rest, and count.

    Args:
        converted: the network; its output, (B, K) or a map (B, K, h, w), decides.
        batches: inputs (B, …), or pairs of them with labels: (B,), or (B, H, W) with 255 where nothing is known; or
            with what else ``judge`` takes for the truth.
        steps: after how many steps decisions are looked at, besides rest.
        counted: whether operations are counted, which about doubles the time.
        floating: the float network, where it is another than the one that was quantised (before fine-tuning).
        judge: says what a decision is and how many are right; by default classes are decided for.

    Raises:
        InvalidArgumentError: no samples, some batches with labels and some without, or outputs that are no logits.
    """
    if len(converted.source.outputs) != 1 or len(converted.source.shape(converted.source.outputs[0])) not in (1, 3):
        raise InvalidArgumentError(
            f"{converted.source.name} has outputs of shapes "
            f"{', '.join(str(converted.source.shape(name)) for name in converted.source.outputs)}; decisions are "
            "compared of one output (K,), or of one map (K, h, w)."
        )
    judge = judge or Classes()
    found = _Decisions([], [], [], [])
    source = floating or converted.source
    graphs = {"float": source, "quantised": converted.qann_graph, "spiking": converted.snn_graph}
    tallies = {name: Tally(graph) for name, graph in graphs.items()}
    differ = codes = rest = 0
    float_error = logit_error = 0.0
    events: list[tuple[list[int], int]] = []
    for batch in batches:
        pair = batch if isinstance(batch, (tuple, list)) else (batch,)
        x = pair[0].to(converted.dtype)
        truth = pair[1] if len(pair) > 1 else None
        found.truth += [] if truth is None else [truth]
        (y,) = _run(source, x, tallies["float"] if counted else None)
        (q,) = _run(converted.qann_graph, x, tallies["quantised"] if counted else None)
        outcome = _spike(converted, x, tallies["spiking"] if counted else None)
        wrong, compared = _differing(converted, x, outcome.sums)
        differ, codes, rest = differ + wrong, codes + compared, max(rest, outcome.rest)
        float_error = max(float_error, float((y - q).abs().max()))
        logit_error = max(logit_error, float((outcome.logits[-1] - q).abs().max()))
        found.floating.append(judge.decide(y, x, truth))
        found.quantised.append(judge.decide(q, x, truth))
        last = len(outcome.logits)
        looked_at = {t for t in (range(1, last) if judge.every_step else steps) if t < last} | {last}
        found.steps.append({t: judge.decide(outcome.logits[t - 1], x, truth) for t in sorted(looked_at)})
        events.append((outcome.events, len(x)))
    if not events:
        raise InvalidArgumentError("a comparison needs at least one batch of samples.")
    samples = sum(n for _, n in events)
    forms, settled = _forms(converted, found, events, samples, steps, judge, rest)
    counts = {name: tally.counts() for name, tally in tallies.items()} if counted else {}
    return Comparison(samples, forms, codes, differ, logit_error, float_error, rest, converted.bound, settled, counts)


def codes_that_differ(converted: Converted, graph: Graph, x: Tensor) -> tuple[int, int]:
    """Return how many codes of a converted network are others in its form for chips, and how many there are.

    The form is computed in float64, as it is where a chip's program is compared with it.
    """
    graph = graph.double()
    names = [f"{signal}.code" for signal in converted.quantisers if graph.producer(f"{signal}.code") is not None]
    differ = count = 0
    for part in torch.split(x, _BATCH):
        _, sent = interpret(graph, part.double(), probes=names)
        for signal, codes in converted.codes(part).items():
            if f"{signal}.code" in sent:
                differ += int((sent[f"{signal}.code"][0] != codes).sum())
                count += codes.numel()
    return differ, count


def _run(graph: Graph, x: Tensor, tally: Tally | None) -> tuple[Tensor]:
    """Run a form of one step, counted where asked for; the output (B, K) or (B, K, h, w)."""
    if tally is None:
        output, _ = interpret(graph, x, 1)
    else:
        output = tally.add(x)
    assert isinstance(output, Tensor)
    return (output[0],)


@dataclass
class _Outcome:
    logits: list[Tensor]
    events: list[int]
    sums: dict[str, Tensor]
    rest: int


def _spike(converted: Converted, x: Tensor, tally: Tally | None) -> _Outcome:
    """Run the spiking form until rest: outputs and events sent so far after every step, and the sums of events."""
    stepper = Stepper(converted.snn_graph, len(x), x, None if tally is None else tally.watch)
    if tally is not None:
        tally.begin(len(x))
    logits: list[Tensor] = []
    events: list[int] = []
    while not stepper.silent:
        logits.append(stepper.step((x,))[0])
        events.append(sum(one.events for one in stepper.sent.values()))
        if len(logits) > converted.bound:
            raise AssertionError(f"not at rest after its bound of {converted.bound} steps")
    if tally is not None:
        tally.end(len(logits))
    states = stepper.states
    sums = {node.output: states[node.inputs[1]] for node in converted.snn_graph if node.op == "trace"}
    return _Outcome(logits, events, sums, len(logits) - 1)


def _differing(converted: Converted, x: Tensor, sums: dict[str, Tensor]) -> tuple[int, int]:
    """Count codes of the quantised form that the sums of events are not, and all."""
    codes = converted.codes(x)
    wrong = sum(int((sums[f"{name}.code"] != code).sum()) for name, code in codes.items())
    return wrong, sum(code.numel() for code in codes.values())


def _forms(
    converted: Converted,
    found: _Decisions,
    events: list[tuple[list[int], int]],
    samples: int,
    steps: Sequence[int],
    judge: Judge,
    rest: int,
) -> tuple[tuple[FormResult, ...], int]:
    if found.truth and len(found.truth) != len(found.quantised):
        raise InvalidArgumentError("some batches have labels and some have not; give all alike.")
    neurons = sum(converted.snn_graph.signals[f"{name}.code"].size for name in converted.quantisers)

    def result(name: str, said: list[Any], sent: float | None = None) -> FormResult:
        accuracy = judge.score(said, found.truth) if found.truth else None
        return FormResult(name, accuracy, judge.agreement(said, found.quantised), sent)

    def after(t: int) -> FormResult:
        said = [one[min(t, max(one))] for one in found.steps]
        sent = sum(one[min(t, len(one)) - 1] for one, _ in events) / (neurons * samples)
        return result(f"spiking, T = {t}", said, sent)

    longest = max(max(one) for one in found.steps)
    rested = after(longest)
    rested.name = "spiking, at rest"
    looked_at = (
        range(1, longest + 1) if judge.every_step else [*(t for t in sorted(set(steps)) if t < longest), longest]
    )
    late = [number for number, t in enumerate(looked_at, start=1) if after(t).agreement < 0.99]
    forms = [
        result("float", found.floating),
        result("quantised", found.quantised),
        *(after(t) for t in sorted(set(steps)) if t < longest),
        rested,
    ]
    settled = min(late[-1] if late else 0, len(looked_at) - 1)  # at rest it decides as at rest
    # The last step that was run only showed that nothing came any more.
    return tuple(forms), min(looked_at[settled], max(rest, 1))
