"""What the 8-bit optimizers share: states as codes, small tensors in float32, shards, clipping, saving and loading."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from snnkit.errors import InvalidArgumentError
from snnkit.optim.apply import apply
from snnkit.optim.checked import CheckedOptimizer
from snnkit.optim.quantisation import BLOCK_SIZES, codebook
from snnkit.optim.rules import Moment, Numbers, Rule
from snnkit.optim.shards import like, local, reblock, square_sums, table, table_shape
from snnkit.optim.step import Step

_ABSMAX, _NORMS = "_absmax", "gradient_norms"
_HISTORY = 100  # steps whose gradient norms are remembered for clipping


class BlockwiseOptimizer(CheckedOptimizer):
    """An optimizer whose states take one byte and 4/block_size bytes a number.

    ``state[p]`` holds, for each moment, its codes (uint8, the shape of p, sharded as p is) under its name, and the
    absmax of its blocks, one row a shard, under name + ``_absmax``; a small parameter's moments are float32.

    Settings of every group, beside those of the rule:
        block_size: elements that share an absmax (2048 in the paper; 256 is finer).
        min_8bit_size: parameters with fewer elements have float32 states.
        guard: a positive second moment never rounds to zero. False is the paper's rule, which lets parameters with
            small gradients jump by many learning rates where gradients in a block differ by a factor of a thousand.
        percentile_clipping: p < 100 scales a tensor's gradient down to the p-th percentile of the norms of its last 100
            gradients; 100 = off.
        optim_bits: 32 gives every parameter of the group float32 states; so does an attribute ``optim_bits = 32`` of a
            parameter (see ``keep_float32``).

    Raises:
        InvalidArgumentError: a setting out of range; at a step, a sparse or complex gradient.
    """

    rule: Rule

    @staticmethod
    def check(group: dict[str, Any]) -> None:
        """Raise InvalidArgumentError for a setting out of range; rules with others of their own look at them too."""
        if not group["lr"] >= 0:
            raise InvalidArgumentError(f"lr={group['lr']}: must be ≥ 0.")
        if group["block_size"] not in BLOCK_SIZES:
            raise InvalidArgumentError(f"block_size={group['block_size']}: must be one of {BLOCK_SIZES}.")
        if group["optim_bits"] not in (8, 32):
            raise InvalidArgumentError(f"optim_bits={group['optim_bits']}: must be 8 or 32.")
        percentile = group["percentile_clipping"]
        if not (isinstance(percentile, int) and 0 <= percentile <= 100):
            raise InvalidArgumentError(f"percentile_clipping={percentile}: must be a whole number 0 … 100 (100 = off).")
        if not isinstance(group["guard"], bool):
            raise InvalidArgumentError(f"guard={group['guard']!r}: must be true or false.")
        for key in ("weight_decay", "eps", "min_8bit_size"):
            if not group.get(key, 0) >= 0:
                raise InvalidArgumentError(f"{key}={group[key]}: must be ≥ 0.")
        for beta in (*group.get("betas", ()), group.get("momentum", 0.0), group.get("alpha", 0.0)):
            if not 0 <= beta < 1:
                raise InvalidArgumentError(f"decay rate {beta}: must be at least 0 and below 1.")

    @abstractmethod
    def numbers(self, group: dict[str, Any], step: int) -> Numbers:
        """Return what step number ``step`` (from 1) multiplies by."""

    def keep_float32(self, parameters: nn.Module | Iterable[Tensor]) -> None:
        """Give these parameters, or those of a module, float32 states; to be called before their first step."""
        for parameter in parameters.parameters() if isinstance(parameters, nn.Module) else parameters:
            parameter.optim_bits = 32  # type: ignore[attr-defined]

    @staticmethod
    def is_scale(key: str) -> bool:
        """Return whether a state of this name is the absmax of another."""
        return key.endswith(_ABSMAX)

    def _direct(self, step: Step, group: dict[str, Any], parameter: Tensor) -> None:
        """Take one step; rules with a trust ratio do it in two."""
        apply(step)

    def move(self, parameter: Tensor, group: dict[str, Any]) -> None:
        """Take a step with a parameter, by the rule."""
        state = self.state[parameter]
        if not state:
            self._start(parameter, group)
        state["step"] = state["step"] + 1
        p, g = local(parameter), local(parameter.grad)  # type: ignore[arg-type]
        numbers = self.numbers(group, state["step"])
        if _NORMS in state:
            numbers = replace(numbers, scale=_clipped(state, g, parameter, group["percentile_clipping"]))
        dtype = torch.float64 if p.dtype == torch.float64 else torch.float32
        work = p.to(dtype).contiguous()
        keys = [moment.key for moment in self.rule.moments]
        coded = state[keys[0]].dtype == torch.uint8
        step = Step(
            self.rule,
            numbers,
            work,
            g.to(dtype).contiguous(),
            [local(state[key]) for key in keys],
            [local(state[key + _ABSMAX]).view(-1) for key in keys] if coded else None,
            group["block_size"],
            group["guard"],
        )
        self._direct(step, group, parameter)
        if work is not p:
            p.copy_(work)

    def _start(self, parameter: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        state["step"] = 0
        bits = getattr(parameter, "optim_bits", group["optim_bits"])
        coded = bits == 8 and parameter.numel() >= group["min_8bit_size"]
        for moment in self.rule.moments:
            state[moment.key] = like(parameter, torch.uint8 if coded else torch.float32)
            if coded:
                local(state[moment.key]).fill_(codebook(moment.signed).zero)
                state[moment.key + _ABSMAX] = table(parameter, group["block_size"])
        if group["percentile_clipping"] < 100:
            state[_NORMS] = torch.zeros(_HISTORY, device=local(parameter).device)

    def room_for(self, parameter: Tensor, key: str, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Return the tensor that a saved state of this key and shape is to be read into."""
        group = next(g for g in self.param_groups if any(parameter is p for p in g["params"]))
        if self.is_scale(key):
            if table_shape(parameter, group["block_size"]) == shape:
                return table(parameter, group["block_size"])
        elif key != _NORMS:
            return like(parameter, dtype)
        return torch.zeros(shape, dtype=dtype, device=local(parameter).device)

    @torch.no_grad()
    def settle(self) -> None:
        """Translate states that were read as other shards than the parameters now have."""
        for group in self.param_groups:
            for parameter in group["params"]:
                for moment in self.rule.moments:
                    self._settle(parameter, moment, group)

    def _settle(self, parameter: Tensor, moment: Moment, group: dict[str, Any]) -> None:
        state, key = self.state.get(parameter, {}), moment.key + _ABSMAX
        if key not in state:
            return
        saved, size = state[key], group["block_size"]
        if isinstance(saved, DTensor) == isinstance(parameter, DTensor) and saved.shape == table_shape(parameter, size):
            return
        guard = group["guard"] and moment.guarded
        state[key] = reblock(state[moment.key], saved, parameter, moment.signed, guard, size)


def _clipped(state: dict[str, Any], g: Tensor, parameter: Tensor, percentile: int) -> float:
    """Remember the gradient's norm and return the factor that brings it down to the percentile of those remembered."""
    norms, step = state[_NORMS], state["step"]
    norms[(step - 1) % _HISTORY] = square_sums([g], parameter)[0]
    seen = min(step, _HISTORY)
    allowed = norms[:seen].sort().values[min(percentile * seen // _HISTORY, seen - 1)]
    now = norms[(step - 1) % _HISTORY]
    return float((allowed / now).sqrt()) if now > allowed else 1.0


def common(
    block_size: int, min_8bit_size: int, guard: bool, percentile_clipping: int, optim_bits: int
) -> dict[str, Any]:
    """Return the settings that every group has."""
    return {
        "block_size": block_size,
        "min_8bit_size": min_8bit_size,
        "guard": guard,
        "percentile_clipping": percentile_clipping,
        "optim_bits": optim_bits,
    }
