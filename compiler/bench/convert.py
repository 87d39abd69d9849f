"""Converted networks on Fashion-MNIST: float, quantised and spiking forms, what each costs, and other ways to spikes.

Small networks of seven families are trained (``convert_networks``), converted with L = 16 and K = 2, fine-tuned, and
compared on test images: accuracy after T = 1, 2, 4, 8 steps and at rest, events, every code at rest, operations and
energy. Beside them: rate coding, SpikingJelly's converters, and a spiking network that learns from an ordinary one.

What is trained and what is measured is kept under ``runs/convert``: an interrupted run goes on where it stopped.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from compiler.bench.convert_baselines import Pairs, peer_rows, rate_rows, row
from compiler.bench.convert_networks import NETWORKS, Amounts, Images, images, run_of, settings, trained
from compiler.bench.convert_prices import fair_bits, nonzero_macs, price_rows
from compiler.converting import Comparison, Converted, compare, convert
from compiler.interpreting import interpret
from snnkit.bench.row import figure
from snnkit.engine import RunConfig, resume, train
from snnkit.engine.progress import console
from snnkit.engine.run_folder import begun
from snnkit.files import read_json, write_json
from snnkit.recipes import get_recipe

LEVELS, EXPONENT = 16, 2
SHOWN = (1, 2, 4, 8)
"""T of the rows; the first T within a point is looked for among all up to rest."""
LOSS_BAR = 1.0
"""Points that the fine-tuned quantised form may lie below the float network, and the spiking one below that."""
TIME_BARS = {True: 4, False: 8}
"""Steps after which a convolutional network, and one with attention, has to be as near."""
FOLDER = Path("runs") / "convert"


def run(repeats: int) -> list[dict[str, Any]]:
    """Measure what is not measured yet; once is enough, since the same comes out every time."""
    return [one for rows in measured(Amounts(), FOLDER) for one in rows]


def measured(
    amounts: Amounts, folder: Path, names: tuple[str, ...] = tuple(NETWORKS), others: bool = True
) -> Iterator[list[dict[str, Any]]]:
    """Yield the rows of one part after the other; what lies in ``folder`` is not measured again.

    Args:
        amounts: how much is trained and measured.
        folder: of runs and rows.
        names: which networks.
        others: whether baselines and peers are measured too.
    """
    quiet, console.quiet = console.quiet, True
    try:
        for part, name, measure in parts(amounts, folder, names, others):
            rows = _read(part, name, amounts, folder)
            if rows is None:
                given = {"network": asdict(NETWORKS[name]), "amounts": asdict(amounts)}
                write_json(_file(part, name, folder), {"settings": given, "rows": measure()})
                rows = _read(part, name, amounts, folder)
                assert rows is not None
            yield rows
    finally:
        console.quiet = quiet


def kept(amounts: Amounts, folder: Path) -> list[dict[str, Any]]:
    """Return the rows of all parts that were measured, in their order."""
    found = [_read(part, name, amounts, folder) for part, name, _ in parts(amounts, folder, tuple(NETWORKS), True)]
    return [one for rows in found if rows is not None for one in rows]


def _file(part: str, name: str, folder: Path) -> Path:
    return folder / "rows" / f"{part}-{name}.json"


def _read(part: str, name: str, amounts: Amounts, folder: Path) -> list[dict[str, Any]] | None:
    """Return the rows of a part as they were measured with these settings, None where they were not."""
    path = _file(part, name, folder)
    found = read_json(path) if path.exists() else {}
    same = found.get("settings") == _plain({"network": asdict(NETWORKS[name]), "amounts": asdict(amounts)})
    rows: list[dict[str, Any]] | None = found["rows"] if same else None
    return rows


def _plain(value: Any) -> Any:
    """Return what JSON makes of a value: lists of tuples."""
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, (list, tuple)) else value


Part = tuple[str, str, Callable[[], list[dict[str, Any]]]]


def parts(amounts: Amounts, folder: Path, names: tuple[str, ...], others: bool) -> list[Part]:
    """Return what is measured, in order: its kind, the network, and the function that does it."""

    def each(kind: str, measure: Callable[..., list[dict[str, Any]]], chosen: Sequence[str]) -> list[Part]:
        return [(kind, name, partial(measure, name, amounts, folder)) for name in chosen]

    coded = [name for name in names if NETWORKS[name].relu]
    found = each("forms", form_rows, names)
    if others:
        found += each("rate", _rates, coded) + each("peers", _peers, names) + each("direct", direct_rows, coded)
    return found


# -------------------------------------------------------------------------------------------------- forms


def form_rows(name: str, amounts: Amounts, folder: Path) -> list[dict[str, Any]]:
    """Train, convert, fine-tune and compare one network."""
    network, case = NETWORKS[name], NETWORKS[name].title
    model, config = trained(name, amounts, folder), settings(network, amounts)
    given = images(config.data, amounts.calibration, amounts.test)
    every = images(config.data, 10, 0).test
    plain = convert(model, given.calibration, LEVELS, EXPONENT, start="zero")
    float_accuracy = accuracy(plain.source, every)
    count = sum(len(x) for x, _ in every)
    summary = read_json(run_of(name, amounts, folder) / "summary.json")
    about = {"parameters": summary["parameters"], "data": given.origin, "trained_on": summary["train_images"]}
    rows = [row(case, "float", float_accuracy, count) | about | {"epochs": amounts.epochs}]
    rows.append(row(case, f"quantised, L = {LEVELS}, not fine-tuned", accuracy(plain.qann_graph, every), count))
    rows += _fair(case, plain, model, given)
    tuned = fine_tuned(plain, config, amounts, run_of(name, amounts, folder, tuned=True))
    quantised = accuracy(tuned.qann_graph, every)
    rows.append(row(case, f"quantised, L = {LEVELS}, fine-tuned", quantised, count))
    loss = 100 * (float_accuracy - quantised)
    rows.append(figure(case, f"L = {LEVELS}, fine-tuned: below float", round(loss, 3), "points", LOSS_BAR))
    started = time.process_time()
    comparison = compare(tuned, given.test, range(1, tuned.bound + 1), counted=False)
    rows += spiking_rows(case, comparison, network.convolutional)
    rows[-1]["seconds"] = round(time.process_time() - started, 1)
    few = given.test[0][0][: amounts.counted]
    counts = compare(tuned, [few], SHOWN).counts
    return rows + price_rows(case, counts, nonzero_macs(tuned.qann_graph, few), amounts.counted)


def accuracy(graph: Any, pairs: Pairs) -> float:
    """Return the share of right decisions of a graph of one step."""
    right = sum(int((_logits(graph, x).argmax(-1) == y).sum()) for x, y in pairs)
    return right / sum(len(x) for x, _ in pairs)


def _logits(graph: Any, x: Tensor) -> Tensor:
    output, _ = interpret(graph, x, 1)
    assert isinstance(output, Tensor)
    return output[0]


def _fair(case: str, converted: Converted, model: Any, given: Images) -> list[dict[str, Any]]:
    """Return what as many bits as T steps of spikes tell apart are worth in one pass of the quantised network."""
    found, count = [], sum(len(x) for x, _ in given.test)
    for t in SHOWN:
        bits = fair_bits(t)
        same = 2**bits == LEVELS
        graph = (converted if same else convert(model, given.calibration, 2**bits, EXPONENT, start="zero")).qann_graph
        variant = f"quantised, activations of {bits} bit{'s' if bits > 1 else ''}, not fine-tuned (fair for T = {t})"
        found.append(row(case, variant, accuracy(graph, given.test), count))
    return found


def fine_tuned(converted: Converted, config: RunConfig, amounts: Amounts, folder: Path) -> Converted:
    """Return the converted network after its fine-tuning, of which whatever is missing is done."""
    from compiler.converting import finetuning

    tuning = finetuning.fine_tuning(amounts.tuning_epochs)
    tuning.threads = 1
    data = replace(config.data, train_limit=amounts.tuned)
    return finetuning.fine_tuned(converted, data, config=tuning, folder=folder, go_on=begun(folder))


def spiking_rows(case: str, found: Comparison, convolutional: bool) -> list[dict[str, Any]]:
    """Return accuracy and events after T steps and at rest, codes that differ, and the first T within a point.

    Args:
        case: what was measured.
        found: with every number of steps up to rest.
        convolutional: whether there is no attention in it.
    """
    forms = {form.name: form for form in found.forms}
    rest, quantised = forms["spiking, at rest"], forms["quantised"]
    assert rest.accuracy is not None
    assert quantised.accuracy is not None
    rows = [row(case, "quantised, on the images of the spiking form", quantised.accuracy, found.samples)]
    for t in SHOWN:
        form = forms.get(f"spiking, T = {t}", rest)
        assert form.accuracy is not None
        rows.append(row(case, f"spiking, K = {EXPONENT}, T = {t}", form.accuracy, found.samples) | _sent(form.events))
    rows.append(row(case, f"spiking, K = {EXPONENT}, at rest", rest.accuracy, found.samples) | _sent(rest.events))
    rows[-1] |= {"steps": found.rest, "bound": found.bound, "settled": found.settled}
    differ = figure(case, "codes that differ at rest", found.codes_differ, f"of {found.codes}", 0)
    rows.append(differ | {"logit_error": found.logit_error})
    first = first_within(found, quantised.accuracy - LOSS_BAR / 100)
    bar = TIME_BARS[convolutional]
    rows.append(figure(case, f"K = {EXPONENT}: first T within a point of the quantised", first, "steps", bar))
    return rows


def _sent(events: float | None) -> dict[str, Any]:
    return {"events_per_neuron": None if events is None else round(events, 4)}


def first_within(found: Comparison, least: float) -> int:
    """Return the first T from which on the accuracy stays at ``least`` or above until rest."""
    named = {form.name: form for form in found.forms}
    steps = sorted(int(name.rpartition(" ")[2]) for name in named if name.startswith("spiking, T = "))
    below = [t for t in steps if (named[f"spiking, T = {t}"].accuracy or 0.0) < least]
    return (below[-1] if below else 0) + 1


# -------------------------------------------------------------------------------------------------- beside them


def _rates(name: str, amounts: Amounts, folder: Path) -> list[dict[str, Any]]:
    return _beside(rate_rows, name, amounts, folder)


def _peers(name: str, amounts: Amounts, folder: Path) -> list[dict[str, Any]]:
    return _beside(peer_rows, name, amounts, folder)


def _beside(
    measure: Callable[..., list[dict[str, Any]]], name: str, amounts: Amounts, folder: Path
) -> list[dict[str, Any]]:
    network = NETWORKS[name]
    given = images(settings(network, amounts).data, amounts.calibration, amounts.test)
    return measure(network.title, trained(name, amounts, folder), given.calibration, given.test)


def direct_rows(name: str, amounts: Amounts, folder: Path) -> list[dict[str, Any]]:
    """Train the small spiking network directly, with an ordinary network as its teacher."""
    trained(name, amounts, folder)
    config = get_recipe("fashion_mnist")
    config.data.source, config.data.train_limit = amounts.source, amounts.train_limit
    config.data.batch_size, config.threads, config.epochs = 128, 1, amounts.epochs
    config.model.timesteps, config.task.name = 2, "distillation"
    config.task.options = {"teachers": (str(run_of(name, amounts, folder)),), "soft": True, "alpha": 0.5, "tau": 2.0}
    place = run_of(name, amounts, folder).with_name(f"direct-{run_of(name, amounts, folder).name}")
    if not (place / "summary.json").exists():
        resume(place) if begun(place) else train(config, place)
    summary = read_json(place / "summary.json")
    found = row("spiking_cnn_small, T = 2", f"taught by {NETWORKS[name].title}", summary["final"]["accuracy"], 0)
    return [found | {"images": summary["test_images"], "parameters": summary["parameters"], "epochs": config.epochs}]
