"""Spike-timing-dependent plasticity of a linear or convolution layer: pair, triplet, reward-modulated.

With the spikes x before and y behind a synapse of weight w, and a trace of time constant τ: r ← r − r/τ + x.

Pair (``PairSTDP``), traces r of x (τ_pre) and o of y (τ_post):

    Δw = f_post(w)·r·y − f_pre(w)·o·x

Triplet (``TripletSTDP``), fast traces r₁ (τ_plus), o₁ (τ_minus), slow ones r₂ (τ_x), o₂ (τ_y) as before this step:

    Δw = r₁·y·(A₂⁺ + A₃⁺·o₂) − o₁·x·(A₂⁻ + A₃⁻·r₂)

Reward-modulated (``RewardSTDP``), with an eligibility e over one of the rules above and a reward R at every step:

    e ← e − e/τ_e + Δw_rule,   Δw = R·e                       τ_e = 1 keeps nothing: the rule times the reward

Time constants are in time steps, ≥ 1. Weight changes are sums over the batch. Source: SpikingJelly 2.0 ``STDPLearner``;
triplet: Pfister and Gerstner, J. Neurosci. 26(38), 2006; reward: Florian, Neural Comput. 19(6), 2007, with the linear
decay of the other traces (SpikingJelly's ``MSTDPETLearner`` decays by e^(−1/τ) and divides by τ_e).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from snnkit.checks import finite
from snnkit.errors import InvalidArgumentError

Rate = Callable[[Tensor], Tensor] | float


class _Rule:
    """What the rules share: seeing spikes, traces, and handing the change to an optimizer."""

    def __init__(self, synapse: nn.Module, **time_constants: float):
        if not isinstance(synapse, (nn.Linear, nn.Conv1d, nn.Conv2d)):
            raise InvalidArgumentError(
                f"{type(self).__name__} changes nn.Linear, nn.Conv1d or nn.Conv2d layers, got {type(synapse).__name__}."
            )
        if getattr(synapse, "groups", 1) != 1:
            raise InvalidArgumentError(f"{type(self).__name__}: grouped convolutions are not supported.")
        for name, value in time_constants.items():
            setattr(self, name, finite(self, name, value, 1.0, open_=False))
        self.synapse = synapse
        self.change = torch.zeros_like(synapse.weight)
        self.traces: dict[str, Tensor] = {}
        self._batch: int | None = None

    def reset(self) -> None:
        """Forget traces and the change so far: before spikes that do not follow the last ones in time."""
        self.traces, self.change, self._batch = {}, torch.zeros_like(self.synapse.weight), None

    @torch.no_grad()
    def observe(self, pre: Tensor, post: Tensor) -> Tensor:
        """See the spikes ``pre`` (T, B, …) before and ``post`` (T, B, …) behind the synapse; return Δw of these steps.

        Traces go on from one call to the next; ``change`` adds up until ``step``.

        Raises:
            InvalidArgumentError: the two do not belong together or to the synapse, or come in another batch than those
                the traces are of.
        """
        self._check(pre, post)
        found = torch.zeros_like(self.synapse.weight)
        for x, y in zip(pre, post, strict=True):
            found += self._at(*_patches(self.synapse, x, y)).view_as(found)
        self.change += found
        return found

    def _check(self, pre: Tensor, post: Tensor) -> None:
        outputs, inputs = self.synapse.weight.shape[:2]
        axis = -self._input_axes
        for name, spikes, channels in (("pre", pre, inputs), ("post", post, outputs)):
            if spikes.ndim < 2 - axis or spikes.shape[axis] != channels or spikes.shape[:2] != pre.shape[:2]:
                raise InvalidArgumentError(
                    f"{type(self).__name__}.observe: {name} of shape {tuple(spikes.shape)} is not (T, B, …) with "
                    f"{channels} channels and the same T and B as pre, {tuple(pre.shape[:2])}."
                )
        if self._batch not in (None, pre.shape[1]):
            raise InvalidArgumentError(
                f"{type(self).__name__} holds traces of a batch of {self._batch}, got one of {pre.shape[1]}: call "
                "reset() between batches that do not follow one another in time."
            )
        self._batch = pre.shape[1]

    @contextmanager
    def watching(self, neuron: nn.Module) -> Iterator[None]:
        """See all spikes of forward passes inside the block: those into the synapse and those out of ``neuron``."""
        seen: list[Tensor] = []

        def before(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            seen.append(inputs[0].detach())

        def after(_: nn.Module, __: object, out: Tensor) -> None:
            pre, out = seen.pop(), out.detach()
            self.observe(pre.reshape(len(out), -1, *pre.shape[-self._input_axes :]), out)

        handles = [self.synapse.register_forward_pre_hook(before), neuron.register_forward_hook(after)]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    @property
    def _input_axes(self) -> int:
        return {nn.Linear: 1, nn.Conv1d: 2, nn.Conv2d: 3}[
            next(cls for cls in (nn.Linear, nn.Conv1d, nn.Conv2d) if isinstance(self.synapse, cls))
        ]

    @torch.no_grad()
    def step(self, scale: float = 1.0) -> None:
        """Take ``scale`` times the change out of the weight's gradient, so that an optimizer's step adds it; clear it.

        With SGD of learning rate η the weight grows by η·scale·Δw.
        """
        weight = self.synapse.weight
        weight.grad = -scale * self.change if weight.grad is None else weight.grad - scale * self.change
        self.change = torch.zeros_like(weight)

    def _at(self, x: Tensor, y: Tensor) -> Tensor:
        """Δw (out, in) of one step, from spikes (M, in) before and (M, out) behind M copies of the synapse."""
        raise NotImplementedError

    def _trace(self, name: str, spikes: Tensor, tau: float) -> Tensor:
        """Advance a trace and return it."""
        old = self.traces.get(name)
        self.traces[name] = spikes if old is None else old - old / tau + spikes
        return self.traces[name]

    def _before(self, name: str, like: Tensor) -> Tensor:
        """Return a trace as the last step left it."""
        return self.traces.get(name, torch.zeros_like(like))


class PairSTDP(_Rule):
    """Pair-based STDP of a layer.

    Args:
        synapse: the ``nn.Linear``, ``nn.Conv1d`` or ``nn.Conv2d`` to change.
        tau_pre: time constant of the trace of spikes before the synapse.
        tau_post: time constant of the trace of spikes behind it.
        f_pre: depression, a number or a function of the weight.
        f_post: potentiation, a number or a function of the weight.

    Raises:
        InvalidArgumentError: another layer, or a time constant < 1.
    """

    def __init__(
        self, synapse: nn.Module, tau_pre: float = 2.0, tau_post: float = 2.0, f_pre: Rate = 1.0, f_post: Rate = 1.0
    ):
        super().__init__(synapse, tau_pre=tau_pre, tau_post=tau_post)
        self.f_pre, self.f_post = f_pre, f_post

    def _at(self, x: Tensor, y: Tensor) -> Tensor:
        r, o = self._trace("pre", x, self.tau_pre), self._trace("post", y, self.tau_post)
        weight = self.synapse.weight.flatten(1)
        return _rate(self.f_post, weight) * (y.T @ r) - _rate(self.f_pre, weight) * (o.T @ x)


class TripletSTDP(_Rule):
    """Triplet STDP of a layer.

    Args:
        synapse: the ``nn.Linear``, ``nn.Conv1d`` or ``nn.Conv2d`` to change.
        tau_plus: time constant of the fast trace of spikes before the synapse.
        tau_minus: time constant of the fast trace of spikes behind it.
        tau_x: time constant of the slow trace before it.
        tau_y: time constant of the slow trace behind it.
        a2_plus: pair potentiation A₂⁺.
        a3_plus: triplet potentiation A₃⁺.
        a2_minus: pair depression A₂⁻.
        a3_minus: triplet depression A₃⁻. The defaults are Pfister and Gerstner's all-to-all fit to visual cortex at
            steps of 1 ms.

    Raises:
        InvalidArgumentError: another layer, or a time constant < 1.
    """

    def __init__(
        self,
        synapse: nn.Module,
        tau_plus: float = 16.8,
        tau_minus: float = 33.7,
        tau_x: float = 101.0,
        tau_y: float = 125.0,
        a2_plus: float = 5e-10,
        a3_plus: float = 6.2e-3,
        a2_minus: float = 7e-3,
        a3_minus: float = 2.3e-4,
    ):
        super().__init__(synapse, tau_plus=tau_plus, tau_minus=tau_minus, tau_x=tau_x, tau_y=tau_y)
        self.a2_plus, self.a3_plus, self.a2_minus, self.a3_minus = a2_plus, a3_plus, a2_minus, a3_minus

    def _at(self, x: Tensor, y: Tensor) -> Tensor:
        slow_x, slow_y = self._before("slow pre", x), self._before("slow post", y)
        decayed_x, decayed_y = slow_x - slow_x / self.tau_x, slow_y - slow_y / self.tau_y
        r, o = self._trace("pre", x, self.tau_plus), self._trace("post", y, self.tau_minus)
        self._trace("slow pre", x, self.tau_x)
        self._trace("slow post", y, self.tau_y)
        up = (y * (self.a2_plus + self.a3_plus * decayed_y)).T @ r
        return up - o.T @ (x * (self.a2_minus + self.a3_minus * decayed_x))


class RewardSTDP:
    """STDP whose changes wait in an eligibility for a reward.

    Args:
        rule: the rule that makes eligible.
        tau_eligibility: time constant of the eligibility, ≥ 1; 1 keeps nothing of earlier steps.

    Raises:
        InvalidArgumentError: no such rule, or the time constant is < 1.
    """

    def __init__(self, rule: PairSTDP | TripletSTDP, tau_eligibility: float = 20.0):
        if not isinstance(rule, _Rule):
            raise InvalidArgumentError(f"RewardSTDP({type(rule).__name__}): must be PairSTDP or TripletSTDP.")
        self.rule = rule
        self.tau_eligibility = finite(self, "tau_eligibility", tau_eligibility, 1.0, open_=False)
        self.eligibility = torch.zeros_like(rule.synapse.weight)

    def reset(self) -> None:
        """Forget traces, eligibility and the change so far."""
        self.rule.reset()
        self.eligibility = torch.zeros_like(self.eligibility)

    @torch.no_grad()
    def observe(self, pre: Tensor, post: Tensor, reward: Tensor | float) -> Tensor:
        """See spikes (T, B, …) before and behind the synapse and the ``reward`` of each step, () or (T,); return Δw.

        Raises:
            InvalidArgumentError: as the rule, or rewards of another shape.
        """
        rewards = torch.as_tensor(reward, dtype=pre.dtype)
        if rewards.ndim and rewards.shape != pre.shape[:1]:
            raise InvalidArgumentError(
                f"RewardSTDP.observe: reward is one number or one per step, ({len(pre)},), got {tuple(rewards.shape)}."
            )
        self.rule._check(pre, post)
        rewards = rewards.expand(len(pre))
        found = torch.zeros_like(self.eligibility)
        for x, y, r in zip(pre, post, rewards, strict=True):
            eligible = self.rule.observe(x[None], y[None])
            self.rule.change -= eligible  # it waits for the reward instead
            self.eligibility += eligible - self.eligibility / self.tau_eligibility
            found += r * self.eligibility
        self.rule.change += found
        return found

    def step(self, scale: float = 1.0) -> None:
        """Hand the change to the weight's gradient, as ``PairSTDP.step`` does."""
        self.rule.step(scale)


def _rate(value: Rate, weight: Tensor) -> Tensor | float:
    return value(weight) if callable(value) else value


def _patches(synapse: nn.Module, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """One step's spikes as M copies of one linear synapse: (M, in) before and (M, out) behind it."""
    if isinstance(synapse, nn.Linear):
        return x.flatten(0, -2), y.flatten(0, -2)
    # Padded as torch's layer pads, whatever its kind, and "same" too.
    mode = "constant" if synapse.padding_mode == "zeros" else synapse.padding_mode
    x = F.pad(x, synapse._reversed_padding_repeated_twice, mode=mode)
    kernel, stride, dilation = synapse.kernel_size, synapse.stride, synapse.dilation
    if isinstance(synapse, nn.Conv1d):
        x, kernel, stride, dilation = x.unsqueeze(-2), (1, *kernel), (1, *stride), (1, *dilation)
    columns = F.unfold(x, kernel, dilation, 0, stride)  # (B, in, places)
    return columns.transpose(1, 2).flatten(0, 1), y.flatten(2).transpose(1, 2).flatten(0, 1)
