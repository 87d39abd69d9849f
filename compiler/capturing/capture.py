"""Capture: any torch module → Graph, through ``torch.export`` of one time step.

Exported is what ``snnkit.Stream`` runs, (x_t, states) → (y_t, next states), with a batch of P samples, a prime that no
size of the model shares (see ``axes``). Encoder and readout of a spiking classifier stay outside. Neurons arrive as the
single nodes they are registered as; what depends on weights alone is folded into a constant; views that only fold time
into the batch disappear. Whatever has no place in a graph is reported at once, all of it.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.export.graph_signature import OutputKind

from compiler.analysis.types import infer_signals
from compiler.capturing.axes import MixesSamplesError, choose_prime, find, in_words
from compiler.capturing.own_neurons import check_own_neurons, check_steps, spelled_out
from compiler.capturing.step import (
    WRAPPED,
    StateOf,
    Step,
    check_example,
    check_types,
    evaluating,
    find_states,
    is_spiking,
    refuse_whole_sequences,
)
from compiler.capturing.translate import Translation, mutates_views
from compiler.capturing.values import Value
from compiler.errors import CaptureError
from compiler.graph import Graph, GraphBuilder, SignalType
from compiler.graph.signals import REAL
from snnkit.errors import InvalidArgumentError, SnnkitError

_OURS = str(Path(__file__).parents[1])


def capture(model: nn.Module, example: Any, input_type: str = "real") -> Graph:
    """Return the graph of one time step of ``model``.

    Args:
        model: a spiking classifier (anything with ``forward_sequence``), a module on sequences that holds neurons, or
            an ordinary module on batches.
        example: an input of the right shape: (B, …) for a classifier or an ordinary module, (T, B, …) for sequences,
            whose T becomes the graph's (otherwise the encoder says). A tuple of tensors for several inputs. Only
            shapes and types matter.
        input_type: what the input consists of: "real", "binary" (spikes), "signed", "integer[low,high]".

    Raises:
        CaptureError: the model holds what graphs do not have: names every module and operator.
        InvalidArgumentError: the example does not fit the model.
    """
    kind = SignalType.parse(input_type)
    inputs = check_example(model, example)
    spiking = is_spiking(model)
    sequence = spiking and not _takes_images(model, inputs[0])
    if sequence and inputs[0].ndim < 2:
        raise InvalidArgumentError(
            f"the example of a spiking network is a sequence (T, B, …), got {tuple(inputs[0].shape)}."
        )
    encoder = getattr(model, "encoder", None)
    timesteps = len(inputs[0]) if sequence else int(getattr(model, "timesteps", getattr(encoder, "timesteps", 1)))
    static = spiking and not sequence and bool(getattr(encoder, "static", False)) and kind == REAL
    with evaluating(model):
        refuse_whole_sequences(model)
        check_types(model, inputs)
        prime = choose_prime(_sizes(model, inputs))
        mode = FakeTensorMode(allow_non_fake_inputs=True)  # shapes without data: a thousand large images cost nothing
        with mode:
            batch = tuple(_example_of(x, prime, spiking, sequence) for x in inputs)
        with spelled_out(model):
            states = _states(model, batch, mode, prime, inputs)
            program = _exported(model, batch, states, mode)
        builder = GraphBuilder(type(model).__name__, timesteps if spiking else 1, static)
        graph = _translated(program, model, builder, states, prime, kind)
        if spiking:
            check_own_neurons(model, tuple(_one_sample(x, sequence) for x in inputs))
            check_steps(model, graph, inputs, sequence)
    return infer_signals(graph)


def graph_of(model_or_graph: nn.Module | Graph, example: Any, input_type: str = "real") -> Graph:
    """Return a graph as it is, and a module captured with ``example``.

    Raises:
        InvalidArgumentError: a module without an example.
        CaptureError: as ``capture``.
    """
    if isinstance(model_or_graph, Graph):
        return model_or_graph
    if example is None:
        raise InvalidArgumentError("a module is captured with an example input, such as a batch of images; give one.")
    return capture(model_or_graph, example, input_type)


def _takes_images(model: nn.Module, x: Tensor) -> bool:
    """Whether the example is a batch of images that the model encodes itself, rather than a sequence."""
    return (hasattr(model, "forward_sequence") or hasattr(model, "timesteps")) and x.ndim != 5


def _sizes(model: nn.Module, inputs: tuple[Tensor, ...]) -> Iterator[int]:
    for tensor in (*model.parameters(), *model.buffers(), *inputs):
        yield from tensor.shape


def _example_of(x: Tensor, prime: int, spiking: bool, sequence: bool) -> Tensor:
    """Return one time step of the example with P samples."""
    sample = x.shape[2:] if sequence else x.shape[1:]
    if x.ndim == 0:
        raise InvalidArgumentError("the example is a single number; its first axis must be the batch.")
    shape = (1, prime, *sample) if spiking else (prime, *sample)
    return torch.empty(shape, dtype=x.dtype, device=x.device)


def _one_sample(x: Tensor, sequence: bool) -> Tensor:
    """Return one sample of the example as a sequence of one step."""
    return x[:1, :1] if sequence else x[:1].unsqueeze(0)


def _states(
    model: nn.Module, batch: tuple[Tensor, ...], mode: FakeTensorMode, prime: int, inputs: tuple[Tensor, ...]
) -> list[StateOf]:
    try:
        return find_states(model, batch, mode, prime) if is_spiking(model) else []
    except SnnkitError as error:
        if inputs[0].ndim == 4 and not hasattr(model, "forward_sequence") and not isinstance(error, CaptureError):
            raise CaptureError(
                f"{type(model).__name__} takes no sequence (T, B, …), so its time steps cannot be told apart: "
                f"{in_words(str(error))} Capture the part of it that runs on sequences, such as its encoder."
            ) from error
        raise
    except Exception as error:
        raise _not_run(model, inputs, error) from error


def _exported(
    model: nn.Module, batch: tuple[Tensor, ...], states: list[StateOf], mode: FakeTensorMode
) -> torch.export.ExportedProgram:
    with mode:
        given = tuple(
            tuple(torch.empty(shape, dtype=dtype) for shape, dtype in zip(s.shapes, s.dtypes, strict=True))
            for s in states
        )
    try:
        with torch.no_grad(), _quiet():
            program = torch.export.export(Step(model, [s.key for s in states]), (batch, given), strict=False)
            return program.run_decompositions({}) if mutates_views(program.graph) else program
    except SnnkitError:
        raise
    except Exception as error:
        raise _not_run(model, batch, error) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep torch's own remarks on an export back: what matters of them is said in one line."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _not_run(model: nn.Module, inputs: tuple[Tensor, ...], error: Exception) -> CaptureError:
    """Say why torch.export could not trace a model."""
    text = str(error)
    reason = in_words(text.strip().splitlines()[0]) if text.strip() else type(error).__name__
    name = type(model).__name__
    if "GuardOnDataDependent" in type(error).__name__ or "data-dependent" in text.lower():
        place = _place(error)
        return CaptureError(
            f"{name} decides by its data what to compute{place}. A graph is one fixed order of operations: write the "
            "choice with torch.where, or take it out of the model."
        )
    shapes = ", ".join(str(tuple(x.shape[1:])) for x in inputs)
    return CaptureError(f"torch could not run {name} on samples of shape {shapes}{_place(error)}: {reason}")


def _place(error: BaseException) -> str:
    """Return the last line of the user's own code in a traceback, in words."""
    found, trace = "", error.__traceback__
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if not file.startswith(("<", _OURS)) and "/torch/" not in file:
            found = f" ({file.rsplit('/', 1)[-1]}, line {trace.tb_lineno})"
        trace = trace.tb_next
    return found


def _translated(
    program: torch.export.ExportedProgram,
    model: nn.Module,
    builder: GraphBuilder,
    states: list[StateOf],
    prime: int,
    kind: SignalType,
) -> Graph:
    signature = program.graph_signature
    stored: dict[str, Any] = {
        **dict(program.named_parameters()),
        **dict(program.named_buffers()),
        **{key: value for key, value in program.constants.items() if isinstance(value, Tensor)},
    }
    targets = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    targets |= signature.inputs_to_lifted_tensor_constants
    mutated = {**signature.buffers_to_mutate}
    if mutated:
        path = next(iter(mutated.values())).removeprefix(WRAPPED).lstrip(".")
        raise CaptureError(
            f"the buffer {path!r} changes while the model runs: a graph keeps what changes as a state of a neuron."
        )
    translation = Translation(builder, prime, model, builder.timesteps if states or builder.timesteps > 1 else 1)
    values: dict[Any, Value] = {}
    given = [node for node in program.graph.nodes if node.op == "placeholder" and node.name not in targets]
    for node in program.graph.nodes:
        if node.op == "placeholder" and node.name in targets:
            tensor = stored[targets[node.name]].detach()
            values[node] = Value(tensor.dtype, tensor=tensor)
    count = len(given) - sum(len(state.shapes) for state in states)
    try:
        for index, node in enumerate(given[:count]):
            layout = find(tuple(node.meta["val"].shape), prime)
            name = "input" if count == 1 else f"input{index}"
            values[node] = Value(node.meta["val"].dtype, signal=builder.input(name, layout.sample, kind), layout=layout)
        reads = _read_states(builder, states, given[count:], values, prime)
    except MixesSamplesError as error:
        raise CaptureError(f"an input or state {error}.") from None
    results = translation.run(program.graph, values, program.graph_module)
    # A model that writes into its input has that input among its results; the graph only reads it.
    kinds = [spec.kind for spec in signature.output_specs]
    results = [value for value, kind in zip(results, kinds, strict=True) if kind == OutputKind.USER_OUTPUT]
    if translation.reasons:
        raise refused(type(model).__name__, translation.reasons)
    outputs, nexts = results[: len(results) - len(reads)], results[len(results) - len(reads) :]
    for read, value in zip(reads, nexts, strict=True):
        builder.carry(read, builder.reshape(_state_signal(builder, read, value), builder.signals[read].shape))
    return builder.finish(_output(builder, value, index) for index, value in enumerate(outputs))


def _state_signal(builder: GraphBuilder, read: str, value: Value) -> str:
    """A state that is written with stored numbers, as at the first of many delays, becomes a signal too."""
    if value.signal:
        return value.signal
    if value.tensor is not None:
        return builder.constant(value.tensor.expand(1, *builder.signals[read].shape)[0], f"{read}.constant")
    raise CaptureError(f"the state {read!r} is written with something that is not known.")


def _output(builder: GraphBuilder, value: Value, index: int) -> str:
    layout = value.layout
    if value.signal and layout is not None:
        if builder.timesteps > 1 and not (layout.axis == 1 and layout.leads):
            raise CaptureError(
                f"output {index} has no time axis in front: a graph says what comes out of one step. Return the whole "
                "sequence (T, B, …), and take steps or means of it outside."
            )
        if (layout.axis and not layout.leads) or layout.merged > 1:
            raise CaptureError(
                f"output {index} has its samples along axis {layout.axis} together with or behind others; results of a "
                "graph are (B, …): put the batch in front."
            )
        return value.signal
    if value.tensor is not None:
        raise CaptureError(f"output {index} depends on weights alone, not on the input; leave it out.")
    raise CaptureError(f"output {index} is no tensor, or one that a graph does not know; leave it out.")


def _read_states(
    builder: GraphBuilder, states: list[StateOf], nodes: list[Any], values: dict[Any, Value], prime: int
) -> list[str]:
    """Add every state variable as a signal that carries over."""
    reads, placed = [], iter(nodes)
    for state in states:
        for name, rest in zip(state.names, state.rest, strict=True):
            node = next(placed)
            layout = find(tuple(node.meta["val"].shape), prime)
            initial: float | Tensor = rest.reshape(layout.sample).clone()
            if isinstance(initial, Tensor) and bool((initial == initial.reshape(-1)[0]).all()):
                initial = float(initial.reshape(-1)[0])
            read = builder.state(f"{state.name}.{name}".lstrip("."), layout.sample, initial)
            values[node] = Value(node.meta["val"].dtype, signal=read, layout=layout)
            reads.append(read)
    return reads


def refused(name: str, reasons: list[str]) -> CaptureError:
    """Return the error that lists everything that keeps a model from being captured."""
    if len(reasons) == 1:
        return CaptureError(reasons[0], tuple(reasons))
    lines = "".join(f"\n  {reason}" for reason in reasons)
    return CaptureError(f"{name} holds {len(reasons)} things that have no place in a graph:{lines}", tuple(reasons))
