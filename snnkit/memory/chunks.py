"""A long sequence in chunks of time: keep the states between chunks, compute each chunk again in the backward.

Memory falls from T steps to T / n steps and n states; outputs and gradients are those of the whole sequence, because a
chunk begins with the states the one before has left, gradients included.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from snnkit.errors import InvalidArgumentError
from snnkit.layers import norms
from snnkit.memory.recompute import recompute
from snnkit.neurons import Neuron
from snnkit.neurons.carry import Carry, Key

_BY_STEP = (
    *(norms.TemporalEffectiveBatchNorm1d, norms.TemporalEffectiveBatchNorm2d, norms.TemporalEffectiveBatchNorm3d),
    *(norms.BatchNormThroughTime1d, norms.BatchNormThroughTime2d, norms.BatchNormThroughTime3d),
)
_TOLERANCE = 1e-6
"""Largest difference, relative to the largest value, between a whole run in float64 and one in chunks."""

Run = Callable[[Tensor], Tensor]


def why_not(model: nn.Module) -> str:
    """Return "" where nothing in a model forbids to cut its sequence into chunks, else the reason."""
    for name, module in model.named_modules():
        if isinstance(module, _BY_STEP):
            return f"{name} ({type(module).__name__}) has parameters for each time step"
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and (module.training or module.running_mean is None):
            return f"{name} is a batch norm in training, whose statistics are those of all time steps at once"
        if module.training and isinstance(getattr(module, "p", None), float) and module.p > 0:
            return f"{name} ({type(module).__name__}) draws random numbers, which would differ from chunk to chunk"
        if isinstance(module, Neuron) and not module.causal:
            return f"{name} ({type(module).__name__}) needs the whole sequence at once"
    return ""


def over_chunks(model: nn.Module, x: Any, chunks: int, within: Callable[[Run], Run]) -> Any:
    """Return ``model(x)`` computed in chunks of time.

    Args:
        model: a spiking classifier of images (B, C, H, W) or sequences, or any module (T, B, …) → (T, B, …).
        x: its input.
        chunks: how many; the last may be shorter.
        within: makes of a function of a chunk the one that is run, in the forward and again in the backward.
    """
    if not all(hasattr(model, name) for name in ("encoder", "readout", "forward_stem", "forward_stages")):
        return in_chunks(model, within(model), x, chunks)

    def stages(current: Tensor) -> Tensor:
        return model.forward_head(model.forward_stages(current)[-1])

    if x.ndim == 5 or model.training:
        x = x if x.ndim == 5 else model.encoder(x)
        logits = in_chunks(model, within(lambda part: stages(model.forward_stem(part))), x, chunks)
    else:
        current = model.encoder(model.forward_stem(x.unsqueeze(0))[0])
        logits = in_chunks(model, within(stages), current, chunks)
    return model.readout(logits)


def in_chunks(model: nn.Module, run: Run, x: Tensor, chunks: int) -> Tensor:
    """Return ``run(x)`` for a sequence (T, B, …), in ``chunks`` parts of equal length (the last may be shorter).

    Raises:
        InvalidArgumentError: the model cannot be cut.
    """
    reason = why_not(model)
    if reason:
        raise InvalidArgumentError(f"the sequence cannot be cut into chunks of time: {reason}.")
    names = {module: name for name, module in model.named_modules()}
    keys: list[tuple[Key, int]] = []  # of the states behind the output, in their order
    states: tuple[Tensor, ...] = ()
    outputs = []
    for part in x.split(-(-len(x) // min(chunks, len(x)))):

        def one(part: Tensor, *states: Tensor, before: tuple[tuple[Key, int], ...] = tuple(keys)) -> tuple[Tensor, ...]:
            carry, left = Carry(names), list(states)
            carry.states = {key: tuple(left.pop(0) for _ in range(count)) for key, count in before}
            with carry.active():
                out = run(part)
            if not isinstance(out, Tensor) or out.ndim == 0 or len(out) != len(part):
                raise InvalidArgumentError(
                    f"the sequence cannot be cut into chunks of time: for {len(part)} steps the model returned "
                    f"{tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__}, not one result a step."
                )
            keys[:] = [(key, len(state)) for key, state in carry.states.items()]
            return (out, *(value for state in carry.states.values() for value in state))

        out, *states = recompute(model, one, part, *states, draws=False)
        outputs.append(out)
    return torch.cat(outputs)


def differs(model: nn.Module, example: Tensor) -> str:
    """Return "" where a copy of a model gives the same outputs whole and in two chunks, else the reason.

    Run for one sample in float64 and eval mode, without gradients: finds models that mix time steps.
    """
    twin = copy.deepcopy(model).to(torch.float64).eval()
    for module in twin.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is None:
            return "a batch norm has no running statistics"
    sequence = example.ndim == 5 or not hasattr(model, "forward_stem")
    x = (example[:, :1] if sequence else example[:1]).detach().to(torch.float64)
    with torch.no_grad():
        whole = twin(x)
        try:
            cut = over_chunks(twin, x, 2, lambda run: run)
        except InvalidArgumentError as error:
            return str(error)
    if not isinstance(whole, Tensor) or whole.shape != cut.shape:
        return "its output has another shape when the sequence is cut"
    difference = (whole - cut).abs().max().item()
    if difference > _TOLERANCE * max(1.0, whole.abs().max().item()):
        return f"its output changes by {difference:.2g} when the sequence is cut: it mixes time steps elsewhere"
    return ""
