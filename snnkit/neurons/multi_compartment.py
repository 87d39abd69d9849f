"""MultiCompartmentLIF: a soma and a chain of K passive dendritic compartments, coupled by conductances.

Compartment 0 is the soma, compartment K the far end of the dendrite, where the current enters:

    w_j[t] = u_j[t−1] + Σ_i g_ij·(u_i[t−1] − u_j[t−1])         i: the neighbours j − 1 and j + 1
    h_j[t] = w_j[t] + (I_j[t] − w_j[t]) / τ_j                  I_K = x, all others 0
    s[t] = 1 where h_0[t] ≥ v_threshold, else 0
    u_0[t] = s·v_reset + (1 − s)·h_0   (hard reset)   or   h_0 − v_threshold·s   (soft reset, v_reset = None)
    u_j[t] = h_j[t]   for j ≥ 1

τ_0 = ``tau``, τ_j = ``tau_dendrite``; g_{j−1,j} = ``conductance``[j − 1]. Every compartment starts, and leaks, towards
0; the soma starts at 0 too where it has another v_reset. Chains filter: the longer, the later and the smoother the
current arrives, and the less of it: with the defaults, 16 % of a constant current reach the soma's membrane.

| symbol | unit | default |
|---|---|---|
| K ``dendrites`` | compartments, ≥ 1 | 2 |
| τ_0 ``tau``, τ_j ``tau_dendrite`` | time steps, > 1 | 4, 4 |
| g ``conductance`` | per time step (relative to the capacitance), 0 … ½ | 0.5 |
| ``v_threshold``, ``v_reset`` | that of x | 1, 0 |

Source: compartmental models, Gerstner et al., "Neuronal Dynamics" (2014), §3.2; order of operations (coupling first,
then leak and input) of Norse 1.1 ``functional.lif_mc_feed_forward_step`` with dt = 1, where every compartment can fire
and the coupling matrix is free. For the two-compartment neuron of TC-LIF see ``two_compartment``.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from snnkit.errors import InvalidArgumentError
from snnkit.kernels.call import state_dtype
from snnkit.kernels.charge_fire_reset import fire_and_reset
from snnkit.neurons.base import Neuron, check_sequence, constant, threshold_and_reset
from snnkit.neurons.carry import active_carry
from snnkit.surrogates import Sigmoid, Surrogate, name_of


class MultiCompartmentLIF(Neuron):
    """Soma with a passive dendrite of K compartments: currents (T, B, …) → spikes (T, B, …), same dtype.

    Time steps follow one another in Python. Inside a stream the soma's membrane and the dendrite (K, B, …) are carried.

    Args:
        dendrites: K, compartments of the dendrite, ≥ 1.
        tau: time constant of the soma in steps, > 1.
        tau_dendrite: time constant of the dendritic compartments in steps, > 1.
        conductance: g, for all neighbours or (K,) from the soma outwards, 0 … ½ (above, the chain would oscillate); an
            ``nn.Parameter`` is trained.
        v_threshold: firing threshold of the soma, > 0.
        v_reset: soma after a spike, below the threshold; None subtracts the threshold.
        surrogate: derivative for the backward pass.
        detach_reset: keep the reset out of the backward pass.

    Raises:
        InvalidArgumentError: a constant outside its range.
    """

    def __init__(
        self,
        dendrites: int = 2,
        tau: float = 4.0,
        tau_dendrite: float = 4.0,
        conductance: float | Tensor = 0.5,
        v_threshold: float = 1.0,
        v_reset: float | None = 0.0,
        surrogate: Surrogate = Sigmoid(4.0),  # noqa: B008 (frozen)
        detach_reset: bool = True,
    ):
        super().__init__()
        name_of(surrogate)
        if not isinstance(dendrites, int) or dendrites < 1:
            raise InvalidArgumentError(f"MultiCompartmentLIF(dendrites={dendrites!r}): must be a whole number ≥ 1.")
        self.dendrites = dendrites
        for name, value in (("tau", tau), ("tau_dendrite", tau_dendrite), ("v_threshold", v_threshold)):
            if isinstance(value, Tensor):
                raise InvalidArgumentError(
                    f"MultiCompartmentLIF({name}=…): must be a number, only conductance may vary."
                )
        constant(self, "tau", tau, 1.0)
        constant(self, "tau_dendrite", tau_dendrite, 1.0)
        threshold_and_reset(self, v_threshold, v_reset)
        self._set_conductance(conductance)
        self.surrogate, self.detach_reset = surrogate, bool(detach_reset)

    def _set_conductance(self, given: float | Tensor) -> None:
        value = given if isinstance(given, Tensor) else torch.tensor(float(given))
        known = value.detach()
        if tuple(known.shape) not in ((), (self.dendrites,)):
            raise InvalidArgumentError(
                f"MultiCompartmentLIF(conductance=…): a tensor is of shape () or ({self.dendrites},), got "
                f"{tuple(known.shape)}."
            )
        if not bool(((known >= 0) & (known <= 0.5)).all()):
            raise InvalidArgumentError(
                f"MultiCompartmentLIF(conductance= {known.min():g} … {known.max():g}): must lie in 0 … 0.5."
            )
        constant(self, "conductance", value)

    def step(self, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """One time step: current (B, …), (soma (B, …), dendrite (K, B, …)) → (spike, state)."""
        u = torch.cat([state[0].unsqueeze(0), state[1]])
        conductance = self.conductance.to(u.dtype).expand(self.dendrites).view(-1, *[1] * x.ndim)
        flow = conductance * (u[1:] - u[:-1])  # towards the soma, through each of the K junctions
        still = torch.zeros_like(u[:1])
        w = u + torch.cat([flow, still]) - torch.cat([still, flow])
        inner = w[1:] - w[1:] / self.tau_dendrite
        dendrite = torch.cat([inner[:-1], (inner[-1] + x / self.tau_dendrite).unsqueeze(0)])
        h = w[0] - w[0] / self.tau
        s, soma = fire_and_reset(h, self.v_threshold, self.v_reset, self.surrogate, self.detach_reset)
        return s, (soma, dendrite)

    def forward(self, x: Tensor) -> Tensor:
        """Return the spikes (T, B, …) for the current ``x`` (T, B, …), same dtype.

        Raises:
            InvalidArgumentError: ``x`` is not a floating-point sequence (T, B, …) with T ≥ 1.
        """
        check_sequence(self, x)
        currents = x.to(state_dtype(x))
        carry = active_carry()
        key, state = (None, None) if carry is None else carry.start(self, x)
        if state is None:
            state = (torch.zeros_like(currents[0]), currents.new_zeros(self.dendrites, *x.shape[1:]))
        spikes = []
        for current in currents:
            s, state = self.step(current, state)
            spikes.append(s)
        if carry is not None:
            carry.leave(key, state)
        return torch.stack(spikes).to(x.dtype)

    def extra_repr(self) -> str:
        """Show the constants in ``print(model)``."""
        trained = isinstance(self.conductance, nn.Parameter)
        shown = (
            f"tensor{tuple(self.conductance.shape)}" if trained or self.conductance.ndim else f"{self.conductance:g}"
        )
        return (
            f"dendrites={self.dendrites}, tau={self.tau:g}, tau_dendrite={self.tau_dendrite:g}, conductance={shown}, "
            f"v_threshold={self.v_threshold:g}, v_reset={self.v_reset}"
        )
