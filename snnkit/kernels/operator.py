"""Registering a dynamics once with ``torch.library``: forward, backward, fake implementation and kernel choice.

An ``Operator`` turns a ``step``, a frozen dataclass of constants and a set of kernels into ``torch.ops.snnkit.<name>``:

    snnkit::<name>(Tensor x, Tensor? <state>…, <constants>…, Tensor[] tensors, str names, str surrogate,
                   float[] surrogate_parameters, str save, bool training, str kernel)
        -> (Tensor out, Tensor <last state>…, Tensor saved)

with ``x`` (T, B, …) and every state variable (B, …), None at rest. The constants appear in the schema under their own
names, so a captured graph can be read without knowing the Python class; ``names`` (comma-separated) says which of them
are replaced by ``tensors``, trainable or one per channel.

Outside of ``torch.compile``, ``torch.export`` and the like, the same kernels are called directly: the dispatcher would
cost a small layer more than its arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn import Parameter

from snnkit import surrogates
from snnkit.errors import InvalidArgumentError, unknown_name
from snnkit.kernels.call import SAVES, Call, Gradients, Kernel, Prepared, Result, state_dtype
from snnkit.kernels.checks import (
    check_backward,
    check_broadcast,
    check_constants,
    check_operands,
    check_same,
    check_saved,
    check_states,
)
from snnkit.kernels.reference import ReferenceKernel, Step, scan
from snnkit.surrogates import Surrogate

_SCHEMA_TYPES = {"float": "float", "bool": "bool", "int": "int", "float | None": "float?"}
_TAIL = "Tensor[] tensors, str names, str surrogate, float[] surrogate_parameters, str save, bool training, str kernel"
State = tuple[Tensor | None, ...]

_modes, _tracing = torch._C._len_torch_dispatch_stack, torch._C._get_tracing_state
_interpreters = torch._C._functorch.peek_interpreter_stack


class Operator:
    """A dynamics as an operator.

    Args:
        name: name in the namespace ``snnkit``.
        parameters: frozen dataclass of constants; fields of type float, ``float | None``, bool or int.
        step: one time step in plain torch, ``step(x, state, p, surrogate) -> (out, state)``, each tensor (B, …).
        operations: (multiplications, additions, comparisons) of one update of one neuron, for energy estimates;
            a division by a constant is a multiplication, an exponential ten.
        state: names of the state variables.
        rest: values of the state variables at rest, given the constants; zeros if not given.
        kernels: faster kernels by name, slowest first; ``kernel="auto"`` takes the last that can run.
        events: what the neuron sends, given the constants: ("binary" | "signed" | "integer" | "pow2" | "real", low,
            high), and where it is not 1 the scale: values are whole levels, low … high, times the scale.
    """

    def __init__(
        self,
        name: str,
        parameters: type,
        step: Step,
        *,
        operations: tuple[int, int, int],
        state: Sequence[str] = ("v",),
        rest: Callable[[Any], tuple[float | Tensor, ...]] | None = None,
        kernels: dict[str, Kernel] | None = None,
        events: Callable[[Any], tuple[Any, ...]] = lambda p: (
            "binary",
            0,
            1,
        ),
    ):
        self.name, self.parameters, self.step = name, parameters, step
        self.operations, self.events = operations, events
        self.state_names = tuple(state)
        self.parameter_names = tuple(field.name for field in fields(parameters))
        self._rest = rest or (lambda p: (0.0,) * len(self.state_names))
        self.kernels: dict[str, Kernel] = {"reference": ReferenceKernel(step), **(kernels or {})}
        self._fastest_first = tuple(reversed(self.kernels))
        self._at_rest: State = (None,) * len(self.state_names)
        self._define()

    def rest(self, p: Any) -> tuple[float | Tensor, ...]:
        """Return the value of each state variable at rest."""
        return self._rest(p)

    def __call__(
        self,
        x: Tensor,
        state: State | None,
        p: Any,
        surrogate: Surrogate,
        *,
        kernel: str = "auto",
        save: str = "exact",
        keep_state: bool = True,
    ) -> tuple[Tensor, tuple[Tensor, ...] | None]:
        """Run a sequence: ``x`` (T, B, …), state variables (B, …) or None for rest → (out (T, B, …), last state)."""
        return self.run(x, state, self.prepare(p, surrogate, kernel, save), keep_state)

    def prepare(self, p: Any, surrogate: Surrogate, kernel: str = "auto", save: str = "exact") -> Prepared:
        """Return what all calls with these constants share; valid as long as they do not change."""
        tensors = tuple(name for name in self.parameter_names if isinstance(getattr(p, name), Tensor))
        return Prepared(p, self._rest(p), tensors, surrogate, save, kernel)

    def run(
        self, x: Tensor, state: State | None, given: Prepared, keep_state: bool = True
    ) -> tuple[Tensor, tuple[Tensor, ...] | None]:
        """Run a sequence with prepared constants."""
        watched = _watched(x)
        state, training = self._begin(x, state, given, watched is None)
        if watched is not None:
            watched = self._in_plain_torch if watched == "transformed" else self._dispatch
            return watched(x, state or self._at_rest, given, training)
        return self.run_directly(x, state, given, keep_state, training, self._choose_once)

    def _begin(self, x: Tensor, state: State | None, given: Prepared, check: bool) -> tuple[State | None, bool]:
        """Return the starting state, None at rest, and whether a backward may follow.

        Raises:
            InvalidArgumentError: with ``check``, tensors that do not fit one another.
        """
        p, tensors = given.p, given.tensors
        if check:
            check_operands(self, x, state)
            if tensors:
                check_constants(self, p, tensors, x.shape[1:])
        if tensors and any(isinstance(value, Tensor) for value in given.rest):  # a trainable rest is part of the graph
            state = Call(x, state or self._at_rest, given.rest, p, (), given.surrogate).start()
        training = torch.is_grad_enabled() and (
            x.requires_grad
            or (state is not None and any(v is not None and v.requires_grad for v in state))
            or (bool(tensors) and any(getattr(p, name).requires_grad for name in tensors))
        )
        return state, training

    def run_directly(
        self,
        x: Tensor,
        state: State | None,
        given: Prepared,
        keep_state: bool,
        training: bool,
        choose: Callable[[Prepared, Call], Kernel],
    ) -> tuple[Tensor, tuple[Tensor, ...] | None]:
        """Run a sequence without the dispatcher, on the kernel that ``choose`` returns."""
        p, tensors = given.p, given.tensors
        start = state or self._at_rest
        call = Call(x, start, given.rest, p, tensors, given.surrogate, given.save, keep_state, training, given.memo)
        chosen = choose(given, call)
        if not training:
            result = chosen.forward(call)
            return result.out, result.state if keep_state else None
        inputs = (x, *call.state, *(getattr(p, name) for name in tensors))
        out = _Direct.apply(chosen, call, *inputs)
        return (out[0], out[1:]) if keep_state else (out, None)

    def run_simulated(
        self,
        x: Tensor,
        state: State | None,
        given: Prepared,
        keep_state: bool,
        choose: Callable[[Prepared, Call], Kernel],
    ) -> tuple[Tensor, tuple[Tensor, ...] | None]:
        """The path of ``run`` outside of the dispatcher, for a kernel that stands in for the real one."""
        state, training = self._begin(x, state, given, True)
        return self.run_directly(x, state, given, keep_state, training, choose)

    def run_normed(
        self,
        x: Tensor,
        state: State | None,
        given: Prepared,
        norm: tuple[Tensor, Tensor],
        keep_state: bool = True,
    ) -> tuple[Tensor, tuple[Tensor, ...] | None]:
        """Run a sequence on ``x * scale + shift`` (scale, shift broadcast to (B, …)), in one pass where a kernel can.

        That is a kernel with a ``forward_normed``, when no gradient is recorded; otherwise the norm comes first.
        """
        scale, shift = norm
        if not torch.compiler.is_compiling():
            check_operands(self, x, state)
            check_broadcast(self, "the scale of the norm", scale, x.shape[1:])
            check_broadcast(self, "the shift of the norm", shift, x.shape[1:])
        plain = torch.is_grad_enabled() or _watched(x) is not None or any(isinstance(v, Tensor) for v in given.rest)
        if not plain:
            check_constants(self, given.p, given.tensors, x.shape[1:])
            state = state or self._at_rest
            call = Call(x, state, given.rest, given.p, given.tensors, given.surrogate, "exact", keep_state)
            chosen = self._choose_once(given, call)
            if hasattr(chosen, "forward_normed"):
                result = chosen.forward_normed(call, scale, shift)
                return result.out, result.state if keep_state else None
        return self.run((x * scale + shift).to(x.dtype), state, given, keep_state)

    def _choose_once(self, given: Prepared, call: Call) -> Kernel:
        """Remember the choice for dense CPU inputs of one dtype: asking every kernel costs more than a small layer."""
        x = call.x
        if x.device.type != "cpu":
            return self.choose(given.kernel, call)
        key = (x.dtype, call.training)
        chosen = given.memo.get(key)
        if chosen is None:
            chosen = given.memo[key] = self.choose(given.kernel, call)
        return chosen

    def check_kernel(self, kernel: str) -> None:
        """Raise UnknownNameError unless ``kernel`` is "auto" or one of this operator's kernels."""
        if kernel != "auto" and kernel not in self.kernels:
            raise unknown_name(f"kernel for {self.name}", kernel, ["auto", *self.kernels])

    def choose(self, kernel: str, call: Call) -> Kernel:
        """Return the kernel to run; an explicitly named one that cannot run is an error with its reason."""
        if kernel != "auto":
            self.check_kernel(kernel)
        reason = ""
        for name in self._fastest_first if kernel == "auto" else (kernel,):
            ok, reason = self.kernels[name].supports(call)
            if ok:
                return self.kernels[name]
        raise InvalidArgumentError(f"kernel={kernel!r} cannot run {self.name} here: {reason}")

    def explain(self, call: Call) -> dict[str, str]:
        """Return, fastest kernel first, why each can ("") or cannot run ``call``."""
        return {name: self.kernels[name].supports(call)[1] for name in self._fastest_first}

    def _in_plain_torch(
        self, x: Tensor, state: State, given: Prepared, training: bool
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The written step over time: what ``torch.func`` and forward-mode differentiation can see through."""
        start = Call(x, state, given.rest, given.p, given.tensors, given.surrogate).start()
        return scan(self.step, x, start, given.p, given.surrogate)

    # What follows is the registered operator: the same kernels behind torch's dispatcher.

    def _dispatch(self, x: Tensor, state: State, given: Prepared, training: bool) -> tuple[Tensor, tuple[Tensor, ...]]:
        p, names, surrogate = given.p, given.tensors, given.surrogate
        constants = [0.0 if name in names else getattr(p, name) for name in self.parameter_names]
        tensors = [getattr(p, name) for name in names]
        described = (surrogates.name_of(surrogate), surrogates.parameters_of(surrogate))
        tail = (",".join(names), *described, given.save, training, given.kernel)
        out, *last, _ = self._forward(x, *state, *constants, tensors, *tail)
        return out, tuple(last)

    def _define(self) -> None:
        states = "".join(f"Tensor? {name}, " for name in self.state_names)
        grads = "".join(f"Tensor? grad_{name}, " for name in self.state_names)
        constants = "".join(f"{_SCHEMA_TYPES[type_name(f.type)]} {f.name}, " for f in fields(self.parameters))
        returned = ", ".join(["Tensor"] * (2 + len(self.state_names)))
        self._forward = torch.library.custom_op(
            f"snnkit::{self.name}",
            self._run_forward,
            mutates_args=(),
            schema=f"(Tensor x, {states}{constants}{_TAIL}) -> ({returned})",
        )
        self._backward = torch.library.custom_op(
            f"snnkit::{self.name}_backward",
            self._run_backward,
            mutates_args=(),
            schema=f"(Tensor? x, Tensor? saved, Tensor grad_out, {grads}{states}{constants}{_TAIL}) -> Tensor[]",
        )
        self._forward.register_fake(self._fake_forward)
        self._backward.register_fake(self._fake_backward)
        self._forward.register_autograd(self._autograd_backward, setup_context=self._setup_context)

    def _call(self, x: Tensor | None, arguments: tuple[Any, ...], keep_state: bool = True) -> tuple[Call, str]:
        """Rebuild a ``Call`` from the operator's arguments after ``x``; return it with the kernel's name."""
        count = len(self.state_names)
        state, (*constants, tensors, names, name, numbers, save, training, kernel) = (
            arguments[:count],
            arguments[count:],
        )
        tensor_names = tuple(names.split(",")) if names else ()
        if len(tensor_names) != len(tensors) or not {*tensor_names} <= {*self.parameter_names}:
            raise InvalidArgumentError(
                f"{self.name}: names={names!r} must name one constant for each of the {len(tensors)} tensors; known: "
                f"{', '.join(self.parameter_names)}."
            )
        check_save(save)
        p = self.parameters(*constants)
        p = replace(p, **dict(zip(tensor_names, tensors, strict=True))) if tensor_names else p
        surrogate = _surrogate(name, tuple(numbers))
        return Call(x, tuple(state), self._rest(p), p, tensor_names, surrogate, save, keep_state, training), kernel

    def _run_forward(self, x: Tensor, *arguments: Any) -> tuple[Tensor, ...]:
        self._refuse_tangents()
        call, kernel = self._call(x, arguments)
        check_operands(self, x, call.state)
        check_constants(self, call.p, call.tensors, x.shape[1:])
        result = self.choose(kernel, call).forward(call)
        saved = x.new_empty(0, dtype=torch.uint8) if result.saved is None else result.saved
        return (result.out, *(result.state or ()), saved)

    def _run_backward(self, x: Tensor | None, saved: Tensor | None, grad_out: Tensor, *arguments: Any) -> list[Tensor]:
        count = len(self.state_names)
        call, kernel = self._call(x, arguments[count:])
        check_backward(self, call, saved, grad_out, arguments[:count])
        probe = replace(call, x=grad_out)
        grads = self.choose(kernel, probe).backward(call, saved, grad_out, arguments[:count])
        like = grads.x[0]
        state = [like.new_zeros(like.shape, dtype=state_dtype(like)) if g is None else g for g in grads.state]
        return [grads.x, *state, *grads.tensors]

    def _refuse_tangents(self) -> None:
        """The dispatcher hands a tangent to no operator of ours, and would lose it without a word."""
        if forward_ad._current_level >= 0:
            raise InvalidArgumentError(
                f"torch.ops.snnkit.{self.name} has no forward-mode derivative (torch.func.jvp, dual tensors), compiled "
                "or not. Call the neuron itself, without torch.compile: it then runs in plain torch, which has."
            )

    def _fake_forward(self, x: Tensor, *arguments: Any) -> tuple[Tensor, ...]:
        self._refuse_tangents()
        call, _ = self._call(x, arguments)
        check_states(self, x, call.state, shapes=False)
        state = [torch.empty_like(x[0], dtype=state_dtype(x)) for _ in self.state_names]
        rows = {"exact": None, "code8": len(x), "rect": -(-len(x) // 4)}[call.save] if call.training else None
        saved = x.new_empty(0, dtype=torch.uint8)
        if rows is not None:
            saved = torch.empty_like(x[:1].expand(rows, *x.shape[1:]), dtype=torch.uint8)
        return (torch.empty_like(x), *state, saved)

    def _fake_backward(self, x: Tensor | None, saved: Tensor | None, grad_out: Tensor, *arguments: Any) -> list[Tensor]:
        tensors = arguments[2 * len(self.state_names) + len(self.parameter_names)]
        state = [torch.empty_like(grad_out[0], dtype=state_dtype(grad_out)) for _ in self.state_names]
        return [torch.empty_like(grad_out if x is None else x), *state, *(torch.empty_like(t) for t in tensors)]

    def _setup_context(self, ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        count = len(self.state_names)
        x, *arguments = inputs
        state, constants = arguments[:count], arguments[count:]
        tensors, save = constants[len(self.parameter_names)], constants[-3]
        exact = save == "exact"
        ctx.save_for_backward(x if exact else None, None if exact else output[-1], *state, *tensors)
        ctx.constants = constants
        ctx.given = [v is not None for v in state]

    def _autograd_backward(self, ctx: Any, grad_out: Tensor, *grads: Any) -> tuple[Any, ...]:
        count, fixed = len(self.state_names), len(self.parameter_names)
        x, saved, *rest = ctx.saved_tensors
        state, tensors = rest[:count], rest[count:]
        constants = [*ctx.constants[:fixed], tensors, *ctx.constants[fixed + 1 :]]
        grad_x, *others = self._backward(x, saved, grad_out, *grads[:count], *state, *constants)
        to_state = [g if given else None for g, given in zip(others, ctx.given, strict=False)]
        return (grad_x, *to_state, *(None for _ in range(fixed)), list(others[count:]), *(None for _ in range(6)))


class _Direct(torch.autograd.Function):
    """A chosen kernel under autograd, without the dispatcher."""

    @staticmethod
    def forward(ctx: Any, kernel: Kernel, call: Call, *inputs: Tensor | None) -> Any:
        ctx.set_materialize_grads(False)
        result: Result = kernel.forward(call)
        x = inputs[0]
        ctx.save_for_backward(x if call.save == "exact" else None, result.saved, *inputs[1:])
        ctx.kernel, ctx.like = kernel, (x.shape, x.dtype, x.device)
        call.x, call.state = None, ()  # tensors are kept by autograd alone, or they would outlive the backward
        ctx.call = call
        return (result.out, *result.state) if call.keep_state else result.out

    @staticmethod
    def backward(ctx: Any, grad_out: Tensor | None, *grads: Tensor | None) -> tuple[Any, ...]:
        if torch.is_grad_enabled():
            raise InvalidArgumentError("a spiking neuron has no second derivative (create_graph=True was asked for).")
        x, saved, *rest = ctx.saved_tensors
        c: Call = ctx.call
        count = len(c.rest)
        p = replace(c.p, **dict(zip(c.tensors, rest[count:], strict=True))) if c.tensors else c.p
        call = Call(x, tuple(rest[:count]), c.rest, p, c.tensors, c.surrogate, c.save, c.keep_state, True, c.memo)
        if grad_out is None:
            shape, dtype, device = ctx.like
            grad_out = torch.zeros(shape, dtype=dtype, device=device)
        if c.save == "exact":  # hooks on saved tensors may return anything
            check_same(c.p, x, ctx.like)
        else:
            check_saved(c.p, saved, grad_out, c.save)
        check_states(c.p, grad_out, call.state)
        result: Gradients = ctx.kernel.backward(call, saved, grad_out, grads or (None,) * count)
        if not grads and not call.tensors:
            return (None, None, result.x, *(None,) * count)
        to_state = (g if v is not None else None for g, v in zip(result.state, call.state, strict=True))
        return (None, None, result.x, *to_state, *result.tensors)


def type_name(annotation: Any) -> str:
    """Return the type of a constant as it is written, whether annotations are strings in its file or not."""
    return annotation.__name__ if isinstance(annotation, type) else str(annotation)


@lru_cache(maxsize=256)
def _surrogate(name: str, numbers: tuple[float, ...]) -> Surrogate:
    return surrogates.build(name, list(numbers))


def _watched(x: Tensor) -> str | None:
    """Return None where kernels may be called directly, since nobody looks at operators.

    Else "transformed", where ``torch.func`` or forward-mode differentiation goes through what is called and therefore
    must find plain torch, or "intercepted", where someone records or replaces operators and must find the one.
    """
    if torch.compiler.is_compiling():
        return "intercepted"
    if _interpreters() is not None or forward_ad._current_level >= 0:
        return "transformed"
    if _modes() > 0 or _tracing() is not None:
        return "intercepted"
    kind = type(x)
    plain = kind is Tensor or kind is Parameter or kind.__torch_dispatch__ == Tensor.__torch_dispatch__
    return None if plain else "intercepted"


def check_save(save: str) -> str:
    """Return ``save`` if it is one of ``SAVES``, else raise UnknownNameError."""
    if save not in SAVES:
        raise unknown_name("save tier", save, SAVES)
    return save
