"""Counting rules against their definition: what meets what, one by one, for every operation.

Would break it: borders counted as if they were inside, strides, dilation or groups ignored, an event of level 3 counted
once or one of a power of two more than once, one operand of a product forgotten, a broadcast operand counted once, sums
that float32 rounds, an operation without a count.
"""

import itertools
import math
from dataclasses import dataclass

import pytest
import torch

from compiler.graph import BINARY, REAL, SIGNED, Node, Signal, SignalType
from compiler.graph.facts import Facts, exact_sum
from compiler.graph.operation import operation, operations
from compiler.graph.signals import integer
from hw.counts import COUNTED

from .cases import CASES, TYPES, runs

KINDS = [TYPES[name] for name in ("real", "binary", "signed", "integer[0,4]×1/4", "integer[-3,2]", "pow2[2]")]
KINDS += [TYPES["integer[2,5]×1/9"]]
BATCH = 3


@dataclass
class Given:
    """What happened: units (B, …) of every input that carries events, None for reals."""

    node: Node
    shapes: list[tuple[int, ...]]
    out: tuple[int, ...]
    units: list[torch.Tensor | None]
    made: Signal
    result: torch.Tensor
    kinds: tuple[SignalType, ...]
    met: list[torch.Tensor]
    """Where each input is not zero."""

    @property
    def values(self):
        return BATCH * math.prod(self.shapes[0])

    @property
    def results(self):
        return BATCH * math.prod(self.out)

    def ones(self, index):
        """Units, with a 1 for every real value."""
        units = self.units[index]
        return torch.ones(BATCH, *self.shapes[index], dtype=torch.int64) if units is None else units

    def operands(self, *indices):
        """Of a product: units, with a 1 for every real value; where all are real, for those that are not zero."""
        if all(self.units[i] is None for i in indices):
            return [self.met[i].long() for i in indices]
        return [self.ones(i) for i in indices]


def units_of(value, kind):
    """|level| of each value, 1 for a power of two: whole numbers."""
    levels = (value.double() / float(kind.scale)).round().long().abs()
    return levels.clamp(max=1) if kind.kind == "pow2" else levels


# The definitions.


def weights(given, pairs):
    """A layer: ``pairs`` are the (input, output) pairs between which there is a weight, of one sample."""
    dense = BATCH * len(pairs)
    counts = {"dense_macs": dense_of(given) if given.node.op == "conv" else dense}
    if "bias" in given.node.parameters and given.node.op != "batch_norm":
        counts["bias_adds"] = given.results
    if given.node.op in ("conv", "conv_transpose"):
        counts["padding_macs"] = dense_of(given) - BATCH * len(pairs)
    if given.units[0] is None:
        counts |= {"mac": dense_of(given) if given.node.op == "conv" else dense}
        if given.node.op == "batch_norm":
            return counts
        return {**counts, "effective_macs": sum(int(given.met[0][(b, *at)]) for b in range(BATCH) for at, _ in pairs)}
    done = sum(int(given.units[0][(b, *source)]) for b in range(BATCH) for source, _ in pairs)
    return {**counts, **events(given, [0], done)}


def events(given, operands, done):
    """What an event does: a power of two is shifted and added."""
    name = "shift_adds" if any(given.kinds[i].kind == "pow2" for i in operands) else "ac"
    return {name: done, "synaptic_events": done}


def dense_of(given):
    """A machine that skips nothing multiplies padding too."""
    return given.results * given.node.parameters["weight"][0].numel()


def conv(given):
    a, weight, pairs = given.node.attributes, given.node.parameters["weight"], []
    rank = weight.ndim - 2
    outputs, inputs = weight.shape[0], weight.shape[1]
    size = given.shapes[0][-rank:]
    for *lead, o in itertools.product(*map(range, given.out[:-rank])):
        group = o // (outputs // a["groups"])
        for to, i, offset in itertools.product(
            itertools.product(*map(range, given.out[-rank:])),
            range(inputs),
            itertools.product(*map(range, weight.shape[2:])),
        ):
            at = [
                p * s + k * d - pad
                for p, s, k, d, pad in zip(to, a["stride"], offset, a["dilation"], a["padding"], strict=True)
            ]
            if all(0 <= p < n for p, n in zip(at, size, strict=True)):
                pairs.append(((*lead, group * inputs + i, *at), (*lead, o, *to)))
    return weights(given, pairs)


def conv_transpose(given):
    a, weight, pairs = given.node.attributes, given.node.parameters["weight"], []
    rank = weight.ndim - 2
    inputs, outputs = weight.shape[:2]
    for i, at, o, offset in itertools.product(
        range(inputs),
        itertools.product(*map(range, given.shapes[0][-rank:])),
        range(outputs),
        itertools.product(*map(range, weight.shape[2:])),
    ):
        to = [
            p * s + k * d - pad
            for p, s, k, d, pad in zip(at, a["stride"], offset, a["dilation"], a["padding"], strict=True)
        ]
        if all(0 <= p < n for p, n in zip(to, given.out[-rank:], strict=True)):
            pairs.append(((i, *at), (o, *to)))
    counts = weights(given, pairs)
    del counts["padding_macs"]  # cut off, and yet multiplied
    # Without skipping, every input meets every weight of its channel.
    counts["dense_macs"] = given.values * weight[0].numel()
    if given.units[0] is None:
        counts["mac"] = counts["dense_macs"]
    return counts


def linear(given):
    weight = given.node.parameters["weight"]
    pairs = [(at, (*at[:-1], o)) for at in itertools.product(*map(range, given.shapes[0])) for o in range(len(weight))]
    return weights(given, pairs)


def scale(given):
    """Every output has one weight and reads one input."""
    lead = (0,) * (len(given.out) - len(given.shapes[0]))
    pairs = []
    for to in itertools.product(*map(range, given.out)):
        at = [p if n > 1 else 0 for p, n in zip(to[len(lead) :], given.shapes[0], strict=True)]
        pairs.append((tuple(at), to))
    return weights(given, pairs)


def batch_norm(given):
    counts = scale(given)
    return counts if given.units[0] is None else {**counts, "bias_adds": given.results}


def product(x, y):
    """x (…, n, k) and y (…, k, m) in units: everything that meets."""
    met = x[..., :, :, None] * y[..., None, :, :]
    return met.numel(), int(met.sum())


def meeting(given, x, y, operands):
    """The product x @ y of ``operands``, in units; of two reals, those that are not zero."""
    dense, met = product(x, y)
    counts = {"dense_macs": dense}
    if all(given.units[i] is None for i in operands):
        return {**counts, "mac": dense, "effective_macs": met}
    return {**counts, **events(given, operands, met)}


def matmul(given):
    rank = max(len(shape) for shape in given.shapes)
    x, y = given.operands(0, 1)
    x, y = (t.reshape(BATCH, *[1] * (rank + 1 - t.ndim), *t.shape[1:]) for t in (x, y))
    return meeting(given, x, y, (0, 1))


def einsum(given):
    left, right = given.node.attributes["equation"].split("->")
    terms = left.split(",")
    sizes = dict(zip("".join(terms), itertools.chain(*given.shapes), strict=True))
    every, met = 0, 0
    operands = [given.ones(i) for i in range(len(terms))]
    for b in range(BATCH):
        for chosen in itertools.product(*map(range, sizes.values())):
            at = dict(zip(sizes, chosen, strict=True))
            every += 1
            met += math.prod(int(x[(b, *(at[letter] for letter in t))]) for x, t in zip(operands, terms, strict=True))
    if len(terms) == 1:
        return {"adds": every} if set(right) < set(left) else {}
    reals = sum(units is None for units in given.units)
    counts = {"dense_macs": every * (len(terms) - 1), "mac": every * max(reals - 1, 0)}
    return counts if reals == len(terms) else {**counts, **events(given, range(len(terms)), met)}


def attention(given):
    """q kᵀ, scaled and masked, softmax, and its product with v, one after the other."""
    q, k = given.operands(0, 1)
    (v,) = given.operands(2)
    first = meeting(given, q, k.transpose(-1, -2), (0, 1))
    logits = BATCH * math.prod(given.out[:-1]) * given.shapes[1][-2]
    rows = logits // given.shapes[1][-2]
    weights_ = torch.ones(BATCH, *given.out[:-1], given.shapes[1][-2], dtype=torch.int64)
    second = meeting(given, weights_, v, (2,))
    total = {name: first.get(name, 0) + second.get(name, 0) for name in {*first, *second}}
    masked = logits if len(given.shapes) > 3 else 0
    soft = {"activations": logits - rows, "adds": 2 * logits + masked, "exponentials": logits, "divisions": logits}
    return {**total, **soft, "multiplies": logits}


def mul(given):
    x, y = given.ones(0), given.ones(1)
    rank = max(x.ndim, y.ndim)
    x, y = (t.reshape(BATCH, *[1] * (rank - t.ndim), *t.shape[1:]) for t in (x, y))
    met = int((x * y).sum())
    return {"multiplies": given.results} if given.units == [None, None] else events(given, (0, 1), met)


def div(given):
    if given.units[1] is None or not given.kinds[1].low == given.kinds[1].high != 0:
        return {"divisions": given.results}
    if given.units[0] is None:
        return {"multiplies": given.results}
    return events(given, [0], int(given.units[0].sum()))


def reads(given):
    """Values that all windows of a pool read, padding included, and how many windows there are."""
    return given.results * math.prod(given.node.attributes["kernel_size"])


def avg_pool(given):
    multiplied = given.units[0] is None and given.node.attributes["divisor"] != 1
    return {"adds": reads(given), "multiplies": given.results if multiplied else 0}


def adaptive_reads(given):
    size = given.node.attributes["output_size"]
    rank = len(size)
    total = 0
    for to in itertools.product(*map(range, given.out)):
        window = 1
        for p, n, m in zip(to[-rank:], given.shapes[0][-rank:], size, strict=True):
            window *= math.ceil((p + 1) * n / m) - math.floor(p * n / m)
        total += window
    return BATCH * total


def mean(given):
    return {"adds": given.values, "multiplies": given.results if given.units[0] is None else 0}


def statistics(given, length, centred=True):
    rows = given.results // length
    p = given.node.parameters
    each_value = {"adds": 3 if centred else 1, "multiplies": 2}
    each_row = {"adds": 1, "multiplies": 2 if centred else 1, "divisions": 1, "roots": 1}
    counts = {name: each_value.get(name, 0) * given.results + n * rows for name, n in each_row.items()}
    counts["adds"] += given.results if "bias" in p else 0
    counts["multiplies"] += given.results if "weight" in p else 0
    return counts


def layer_length(given):
    return math.prod(given.shapes[0][-given.node.attributes["axes"] :])


def softmax(given):
    rows = given.values // given.shapes[0][given.node.attributes["axis"]]
    return {
        "activations": given.values - rows,
        "adds": 2 * given.values,
        "exponentials": given.values,
        "divisions": given.values,
    }


def log_softmax(given):
    rows = given.values // given.shapes[0][given.node.attributes["axis"]]
    return {
        "activations": given.values - rows,
        "adds": 3 * given.values,
        "exponentials": given.values + rows,
    }


def norm(given):
    n, m, order = given.values, given.results, given.node.attributes["order"]
    if order == 2:
        return {"adds": n, "multiplies": n, "roots": m}
    if order == float("inf"):
        return {"activations": n + n - m}
    powers = {"exponentials": 2 * (n + m), "multiplies": n + m} if order == 3 else {}
    return {"adds": n, "activations": n, **powers}


def power(given):
    exponent, n = given.node.attributes["exponent"], given.results
    return {
        0: {},
        1: {},
        2: {"multiplies": n},
        3: {"multiplies": 2 * n},
        4: {"multiplies": 3 * n},
        -1: {"divisions": n},
        0.5: {"roots": n},
        -0.5: {"roots": n, "divisions": n},
        1.5: {"exponentials": 2 * n, "multiplies": n},
    }[exponent]


def clamp(given):
    ends = sum(math.isfinite(given.node.attributes[end]) for end in ("low", "high"))
    return {"activations": ends * given.results}


def argsort(given):
    """Merging halves of 4: two rounds."""
    assert given.shapes[0][-1] == 4
    return {"activations": 2 * given.values}


def resize(given):
    n = {"nearest": 0, "linear": 2, "bilinear": 4}[given.node.attributes["mode"]]
    return {"multiplies": n * given.results, "adds": max(n - 1, 0) * given.results}


def neuron(given):
    counts = {"neuron_updates": given.results}
    if given.made.type.is_event:
        levels = given.result.double() / float(given.made.type.scale)
        sent = [abs(round(level)) for level in levels.flatten().tolist()]
        counts |= {"spikes": sum(sent), "resets": sum(level > 0 for level in sent)}
    return counts


def sequential(given):
    """Each row, as often as its source fired, is added to every neuron."""
    weight, source = given.node.parameters["weight"], given.node.parameters["source"].long().tolist()
    sources = given.units[:2]
    flat = torch.cat([*(units.flatten(1) for units in sources), torch.ones(BATCH, 1)], 1)
    added = float(sum(flat[:, s].sum() for s in source)) * len(weight)
    updates = BATCH * len(weight)  # a readout has more neurons than values
    return {**neuron(given), "neuron_updates": updates, "ac": added, "synaptic_events": added}


def traced_product(given):
    """Every unit of the one meets what the other has brought, wherever it is read."""
    of = given.node.attributes["of"]
    partners = {"matmul": (5, 2 + 1), "mul": (1, 2 * 3), "einsum": (5, 3)}[of]
    counts = {"dense_macs": 0 if of == "mul" else given.values * partners[0], "mac": 0, "ac": 0}
    for units, meets, shape in zip(given.units[:2], partners, given.shapes[:2], strict=True):
        if units is None:
            counts["mac"] += BATCH * math.prod(shape) * meets
        else:
            counts["ac"] += int(units.sum()) * meets
    return {**counts, "synaptic_events": counts["ac"]}


def none(given):
    return {}


def every(**costs):
    """Each value of the result costs so much."""
    return lambda given: {name: cost * given.results for name, cost in costs.items()}


def one_of(given):
    """The largest of n takes n − 1 comparisons."""
    return {"activations": given.values - given.results}


EXPECTED = {
    "conv": conv,
    "conv_transpose": conv_transpose,
    "linear": linear,
    "scale": scale,
    "batch_norm": batch_norm,
    "matmul": matmul,
    "einsum": einsum,
    "attention": attention,
    "mul": mul,
    "div": div,
    **dict.fromkeys(("add", "sub"), every(adds=1)),
    **dict.fromkeys(("maximum", "minimum", "where", "ge", "gt", "le", "lt", "eq", "ne"), every(activations=1)),
    **dict.fromkeys(("logical_and", "logical_or", "logical_not"), every(activations=1)),
    **dict.fromkeys(("cast", "neg", "identity", "reshape", "permute", "expand", "slice", "concat", "roll"), none),
    **dict.fromkeys(("take", "pad", "rearrange", "gather", "scatter", "constant"), none),
    "lookup": lambda given: {"lookups": given.values},
    **dict.fromkeys(("unfold", "windows"), none),
    **dict.fromkeys(("relu", "abs", "floor", "ceil", "round", "trunc", "isnan"), every(activations=1)),
    "sign": every(activations=2),
    "clamp": clamp,
    "leaky_relu": every(activations=1, multiplies=1),
    "gelu": every(multiplies=2, adds=1, exponentials=1, divisions=1),
    "erf": every(multiplies=2, adds=1, exponentials=1, divisions=1),
    "silu": every(adds=1, exponentials=1, divisions=1),
    "mish": every(multiplies=2, adds=1, exponentials=2, divisions=1),
    "sigmoid": every(adds=1, exponentials=1, divisions=1),
    "tanh": every(adds=2, exponentials=1, divisions=1),
    "elu": every(activations=1, multiplies=1, adds=1, exponentials=1),
    "selu": every(activations=1, multiplies=2, adds=1, exponentials=1),
    "softplus": every(activations=1, multiplies=2, adds=1, exponentials=2),
    "hardsigmoid": every(activations=2, multiplies=1, adds=1),
    "hardswish": every(activations=2, multiplies=2, adds=1),
    **dict.fromkeys(("exp", "log", "sin", "cos"), every(exponentials=1)),
    "sqrt": every(roots=1),
    "rsqrt": every(roots=1, divisions=1),
    "reciprocal": every(divisions=1),
    "pow": power,
    "power_of": every(exponentials=1, multiplies=1),
    "avg_pool": avg_pool,
    "max_pool": lambda given: {"activations": reads(given) - given.results},
    "adaptive_avg_pool": lambda given: {**mean(given), "adds": adaptive_reads(given)},
    "adaptive_max_pool": lambda given: {"activations": adaptive_reads(given) - given.results},
    "sum": lambda given: {"adds": given.values},
    "mean": mean,
    **dict.fromkeys(("max", "min", "argmax"), one_of),
    "var": lambda given: {"adds": 3 * given.values, "multiplies": given.values + 2 * given.results},
    "norm": norm,
    "cumsum": every(adds=1),
    "argsort": argsort,
    "resize": resize,
    "fold": lambda given: {"adds": given.values},
    "layer_norm": lambda given: statistics(given, layer_length(given)),
    "rms_norm": lambda given: statistics(given, layer_length(given), centred=False),
    "group_norm": lambda given: statistics(given, math.prod(given.shapes[0]) // given.node.attributes["groups"]),
    "softmax": softmax,
    "log_softmax": log_softmax,
    "logsumexp": lambda given: {
        "activations": given.values - given.results,
        "adds": 2 * given.values,
        "exponentials": given.values + given.results,
    },
    "bias_current": every(multiplies=1),
    "quantise": every(multiplies=1, adds=1, activations=2),
    "fake_quantise": every(multiplies=2, adds=1, activations=2),
    "integrate": none,
    "traced_product": traced_product,
    **{name: neuron for name, one in operations().items() if one.kind == "neuron"},
    **dict.fromkeys(("if_sequential", "readout_sequential"), sequential),
}


def test_every_operation_has_a_definition():
    assert set(EXPECTED) == set(operations()) == {case.op for case in CASES}
    assert all(one.count_rule is not None for one in operations().values())


def sample(tensors, b):
    """One sample of each; what all share has only one."""
    return [x[min(b, len(x) - 1)][None] for x in tensors]


def compare(case, kinds, dtype, shared=()):
    """Counts of the rule and of the definition; inputs in ``shared`` do not depend on the sample."""
    node, builder = case.node(kinds, dtype)
    signals = [builder.signals[name] for name in node.inputs]
    outputs = [builder.signals[name] for name in node.outputs]
    for values, _ in runs(case, node, kinds, BATCH, 7, dtype):
        weighed = operation(case.op).kind in ("synapse", "product")
        values = [x * (x > -0.5) if weighed and kind == REAL else x for x, kind in zip(values, kinds, strict=True)]
        held = [v[:1] if i in shared else v for i, v in enumerate(values)]
        results = operation(case.op).run(node, *held)
        found = operation(case.op).count_rule(node, Facts(BATCH, signals, outputs, held, results))
        assert set(found) <= set(COUNTED)
        alone = [
            operation(case.op).count_rule(node, Facts(1, signals, outputs, sample(held, b), sample(results, b)))
            for b in range(BATCH)
        ]
        for name, amount in found.items():
            if isinstance(amount, torch.Tensor):
                assert amount.tolist() == [float(one[name]) for one in alone], name
        counts = {name: float(torch.as_tensor(amount).sum()) for name, amount in found.items()}
        units = [
            units_of(v.expand(BATCH, *v.shape[1:]), kind) if kind.is_event else None
            for v, kind in zip(held, kinds, strict=True)
        ]
        met = [v.expand(BATCH, *v.shape[1:]) != 0 for v in held]
        given = Given(node, list(case.shapes), outputs[0].shape, units, outputs[0], results[0], kinds, met)
        expected = EXPECTED[case.op](given)
        assert {k: v for k, v in counts.items() if v} == {k: v for k, v in expected.items() if v}, kinds


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_counts_are_what_happened(case, dtype):
    if not case.shapes:
        (counts,) = [operation(case.op).count_rule(case.node(())[0], Facts(BATCH, (), (), (), ()))]
        assert counts == {}
        return
    combinations = [(kind,) for kind in KINDS]
    if case.free > 1:
        combinations = [*itertools.product(KINDS, KINDS)][:: 1 if case.op in ("mul", "matmul", "attention") else 3]
    for chosen in combinations:
        compare(case, case.typed([*chosen, REAL]) if case.op == "attention" else case.typed(list(chosen)), dtype)


@pytest.mark.parametrize("case", [c for c in CASES if c.op in ("matmul", "einsum", "mul", "attention")], ids=str)
def test_an_operand_that_all_samples_share(case):
    for first, second in itertools.product([BINARY, integer(0, 4), REAL], [SIGNED, REAL]):
        for shared in ((0,), (1,), (0, 1)):
            if len(case.shapes) > 1:
                compare(case, case.typed([first, second, BINARY]), torch.float32, shared)


def test_attention_is_its_products_written_out():
    """Two products of events each, against matmul; only the softmax is more."""
    generator = torch.Generator().manual_seed(0)
    q, k, v = ((torch.rand(2, 3, n, 4, generator=generator) < 0.4).float() for n in (6, 5, 5))
    signals = [Signal(name, tuple(x.shape[1:]), BINARY) for name, x in zip("qkv", (q, k, v), strict=True)]
    node = Node("a", "attention", ("q", "k", "v"), ("y",), {"scale": 0.5, "causal": False})
    out = Signal("y", (3, 6, 4))
    whole = operation("attention").count_rule(node, Facts(2, signals, [out], [q, k, v], [torch.zeros(2, 3, 6, 4)]))
    keys, weights_ = Signal("kt", (3, 4, 5), BINARY), Signal("p", (3, 6, 5))
    facts = Facts(2, [signals[0], keys], [weights_], [q, k.transpose(-1, -2)], [])
    first = operation("matmul").count_rule(node, facts)
    second = operation("matmul").count_rule(
        node, Facts(2, [weights_, signals[2]], [out], [torch.rand(2, 3, 6, 5), v], [])
    )
    assert first["ac"].tolist() == (q @ k.transpose(-1, -2)).sum((1, 2, 3)).tolist()
    assert whole["ac"].tolist() == (first["ac"] + second["ac"]).tolist()
    assert whole["dense_macs"] == first["dense_macs"] + second["dense_macs"] == 2 * 2 * 3 * 6 * 5 * 4
    assert whole["exponentials"] == 2 * 3 * 6 * 5


# Sums without rounding.


@pytest.mark.parametrize("largest", [1, 3, 2**12, 2**23])
@pytest.mark.parametrize("axes", [(0,), (1, 2), (0, 2), (0, 1, 2)])
def test_float32_sums_are_exact(axes, largest):
    x = torch.randint(0, largest + 1, (40, 50, 60), generator=torch.Generator().manual_seed(1))
    sums = exact_sum(x.float(), axes, largest)
    assert sums.dtype == torch.float64
    assert torch.equal(sums.long(), x.sum(axes, keepdim=True))


def test_more_spikes_than_float32_counts():
    """2^24 + 1 is no float32: a sum in float32 would stand still there."""
    x = torch.ones(1, 2**24 + 4095)
    signal = Signal("x", (2**24 + 4095,), BINARY)
    node = Node("y", "linear", ("x",), ("y",), {}, {"weight": torch.zeros(1, 1)})
    counts = operation("linear").count_rule(node, Facts(1, [signal], [Signal("y", (1,))], [x], []))
    assert counts["ac"] == 2**24 + 4095


@pytest.mark.parametrize("dtype", [torch.bool, torch.float16, torch.bfloat16, torch.int64])
def test_events_of_any_dtype(dtype):
    x = (torch.rand(4, 3000) < 0.9).to(dtype)
    signal = Signal("x", (3000,), BINARY)
    facts = Facts(4, [signal], [], [x], [])
    assert facts.total_units(0).tolist() == x.long().sum(1).tolist()


def test_repeated_steps_are_counted_by_the_tally():
    """A rule counts one of the steps that went the same."""
    signal = Signal("x", (5,), SignalType("integer", 0, 3))
    facts = Facts(2, [signal], [], [torch.full((1, 5), 2.0)], [], repeats=7)
    assert facts.total_units(0).tolist() == [2 * 5] * 2
