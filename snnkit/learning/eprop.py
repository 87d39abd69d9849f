"""e-prop: gradients of a recurrent spiking layer from eligibility traces, forward in time.

The layer, with decays α = 1 − 1/τ, ρ = 1 − 1/τ_a, κ = 1 − 1/τ_out:

    v[t] = α·v[t-1] + W x[t] + R z[t-1] − θ·z[t-1]
    z[t] = 1 where v[t] ≥ θ + β·a[t-1], else 0               ψ the surrogate at v − θ − β·a
    a[t] = ρ·a[t-1] + z[t]
    y[t] = κ·y[t-1] + W_out z[t] + b

Eligibility of the weight from i to j, with p the input x or z[t-1]:

    ε_v[t] = α·ε_v[t-1] + p_i[t]
    e[t]   = ψ_j[t]·(ε_v[t] − β·ε_a[t-1])
    ε_a[t] = ρ·ε_a[t-1] + e[t]

and with the error E[t] = ∂loss/∂y[t] at each output, the learning signal L = E·B, B = W_out ("symmetric") or fixed
random numbers ("random"):

    dW = Σₜ L_j[t]·ē[t],   ē = e filtered by κ;   dW_out = Σₜ E[t]·z̄[t], db = Σₜ E filtered backwards by κ

This is the gradient of plain backpropagation through time with the spikes in R z and θ z taken as constants, exactly,
if B is symmetric. Source: Bellec et al., Nature Communications 11, 3625, 2020.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from snnkit.checks import finite, whole
from snnkit.errors import InvalidArgumentError, unknown_name
from snnkit.neurons.base import check_sequence
from snnkit.surrogates import PiecewiseQuadratic, Surrogate, name_of

FEEDBACK = ("symmetric", "random")


class EProp(nn.Module):
    """A recurrent layer of (adaptive) LIF neurons with leaky outputs, trained by e-prop.

    Args:
        inputs: number of inputs.
        neurons: number of neurons.
        outputs: number of outputs.
        tau: membrane time constant in time steps, ≥ 1.
        tau_out: time constant of the outputs, ≥ 1.
        tau_adaptation: time constant of the threshold's adaptation, ≥ 1.
        beta: what a spike adds to the threshold, ≥ 0; 0 is plain LIF.
        v_threshold: threshold at rest, > 0; also what a spike takes from the membrane.
        recurrent: whether neurons feed each other.
        feedback: how errors reach the neurons, "symmetric" or "random".
        surrogate: ψ.

    Raises:
        InvalidArgumentError: a constant outside its range.
        UnknownNameError: another feedback.
    """

    def __init__(
        self,
        inputs: int,
        neurons: int,
        outputs: int,
        tau: float = 20.0,
        tau_out: float = 20.0,
        tau_adaptation: float = 200.0,
        beta: float = 0.0,
        v_threshold: float = 0.6,
        recurrent: bool = True,
        feedback: str = "symmetric",
        surrogate: Surrogate = PiecewiseQuadratic(1.0),  # noqa: B008 (frozen)
    ):
        super().__init__()
        name_of(surrogate)
        if feedback not in FEEDBACK:
            raise unknown_name("feedback of e-prop", feedback, FEEDBACK)
        for name, value, low in (
            ("tau", tau, 1.0),
            ("tau_out", tau_out, 1.0),
            ("tau_adaptation", tau_adaptation, 1.0),
            ("beta", beta, 0.0),
        ):
            finite(self, name, value, low, open_=False)
        finite(self, "v_threshold", v_threshold, 0.0)
        for name, value in (("inputs", inputs), ("neurons", neurons), ("outputs", outputs)):
            whole(self, name, value)
        self.alpha, self.kappa, self.rho = 1 - 1 / tau, 1 - 1 / tau_out, 1 - 1 / tau_adaptation
        self.beta, self.v_threshold, self.surrogate = float(beta), float(v_threshold), surrogate
        self.weight_in = nn.Parameter(torch.randn(neurons, inputs) / math.sqrt(inputs))
        self.weight_rec = nn.Parameter(torch.randn(neurons, neurons) / math.sqrt(neurons)) if recurrent else None
        self.weight_out = nn.Parameter(torch.randn(outputs, neurons) / math.sqrt(neurons))
        self.bias_out = nn.Parameter(torch.zeros(outputs))
        random = torch.randn(outputs, neurons) / math.sqrt(neurons) if feedback == "random" else None
        self.register_buffer("feedback", random)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs (T, B, inputs) → outputs (T, B, outputs) and spikes (T, B, neurons); without a graph.

        Raises:
            InvalidArgumentError: ``x`` is no such sequence.
        """
        self._check("x", x, self.weight_in.shape[1])
        with torch.no_grad():
            outputs, spikes = [], []
            for y, z, *_ in self._run(x):
                outputs.append(y)
                spikes.append(z)
        return torch.stack(outputs), torch.stack(spikes)

    @torch.no_grad()
    def backward(self, x: Tensor, error: Tensor) -> None:
        """Add the e-prop gradients to ``.grad`` of the parameters.

        Args:
            x: the inputs of the forward pass (T, B, inputs).
            error: ∂loss/∂outputs (T, B, outputs). It may depend on outputs up to its own step only, as is the case for
                losses that are sums over steps; then everything here can be computed while the sequence runs.
        """
        self._check("x", x, self.weight_in.shape[1])
        self._check("error", error, len(self.weight_out))
        if error.shape[:2] != x.shape[:2]:
            raise InvalidArgumentError(
                f"error is (T, B, outputs) for inputs (T, B, inputs): got {tuple(error.shape)} and {tuple(x.shape)}."
            )
        feedback = self.weight_out if self.feedback is None else self.feedback
        groups = {"weight_in": _Eligibility(self)}
        if self.weight_rec is not None:
            groups["weight_rec"] = _Eligibility(self)
        found = {name: torch.zeros_like(p) for name, p in self.named_parameters()}
        filtered = torch.zeros_like(x[0, :, :1]).expand(-1, len(self.weight_in)).clone()
        ones = 0.0
        for t, (_, z, z_before, psi) in enumerate(self._run(x)):
            signal = error[t] @ feedback  # (B, neurons)
            for name, source in (("weight_in", x[t]), ("weight_rec", z_before)):
                if name in groups:
                    found[name] += torch.einsum("bj,bji->ji", signal, groups[name].advance(source, psi))
            filtered, ones = self.kappa * filtered + z, self.kappa * ones + 1.0
            found["weight_out"] += error[t].T @ filtered
            found["bias_out"] += ones * error[t].sum(0)
        for name, p in self.named_parameters():
            p.grad = found[name] if p.grad is None else p.grad + found[name]

    def _check(self, name: str, values: Tensor, features: int) -> None:
        check_sequence(self, values)
        if values.ndim != 3 or values.shape[2] != features:
            raise InvalidArgumentError(f"EProp: {name} is (T, B, {features}), got shape {tuple(values.shape)}.")

    def _run(self, x: Tensor):
        """Yield (outputs, spikes, spikes of the step before, ψ) of every step."""
        like = x.new_zeros(x.shape[1], len(self.weight_in))
        v, a, z, y = like, like, like, x.new_zeros(x.shape[1], len(self.weight_out))
        for x_t in x:
            before = z
            v = self.alpha * v + x_t @ self.weight_in.T - self.v_threshold * before
            if self.weight_rec is not None:
                v = v + before @ self.weight_rec.T
            distance = v - self.v_threshold - self.beta * a
            z = (distance >= 0).to(x.dtype)
            a = self.rho * a + z
            y = self.kappa * y + z @ self.weight_out.T + self.bias_out
            yield y, z, before, self.surrogate.derivative(distance)


class _Eligibility:
    """The traces of one group of weights: (B, inputs) for the membrane, (B, neurons, inputs) for the rest."""

    def __init__(self, layer: EProp):
        self.layer = layer
        self.membrane: Tensor | float = 0.0
        self.adaptation: Tensor | float = 0.0
        self.filtered: Tensor | float = 0.0

    def advance(self, source: Tensor, psi: Tensor) -> Tensor:
        """One step: sources (B, inputs), ψ (B, neurons) → filtered eligibilities (B, neurons, inputs)."""
        layer = self.layer
        self.membrane = layer.alpha * self.membrane + source
        eligibility = psi[:, :, None] * (self.membrane[:, None, :] - layer.beta * self.adaptation)
        if layer.beta:
            self.adaptation = layer.rho * self.adaptation + eligibility
        self.filtered = layer.kappa * self.filtered + eligibility
        return self.filtered
