"""Axes: where the batch lies in an exported shape, and which reshapes tear samples apart.

Would break it: a merged axis whose factors swap, an axis in front of the batch that is dropped though it is real, a
negative axis counted from the wrong end, a reshape that is let through although it mixes samples.
"""

import pytest
import torch
from support.captured import Code, check_plain, noise, operations_of

from compiler.capturing import capture
from compiler.capturing.axes import (
    PRIMES,
    Layout,
    MixesSamplesError,
    aligned,
    choose_prime,
    find,
    reshaped,
)
from compiler.errors import CaptureError

P = PRIMES[0]


@pytest.mark.parametrize(
    ("shape", "axis", "outer", "inner", "sample", "leads"),
    [
        ((P,), 0, 1, 1, (), False),
        ((P, 4, 8), 0, 1, 1, (4, 8), False),
        ((1, P, 4, 8), 1, 1, 1, (4, 8), True),
        ((1, 1, P, 4), 2, 1, 1, (4,), True),
        ((3, P, 5), 1, 1, 1, (3, 5), False),
        ((1, 3, P, 5), 2, 1, 1, (1, 3, 5), False),
        ((3, 5, P), 2, 1, 1, (3, 5), False),
        ((4 * P, 7), 0, 1, 4, (4, 7), False),
        ((2, 4 * P, 7), 1, 1, 4, (2, 4, 7), False),
        ((1, 4 * P, 7), 1, 1, 4, (4, 7), True),
    ],
    ids=str,
)
def test_the_batch_is_the_axis_that_the_prime_divides(shape, axis, outer, inner, sample, leads):
    layout = find(shape, P)
    assert (layout.axis, layout.outer, layout.inner) == (axis, outer, inner)
    assert layout.sample == sample
    assert layout.leads is leads


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((), "one result of all samples"),
        ((3, 4), "one result of all samples"),
        ((0, 4), "one result of all samples"),
        ((P, P), "compares samples"),
        ((P, 3, 2 * P), "compares samples"),
        ((P * P, 3), "compares samples"),
    ],
    ids=str,
)
def test_a_shape_without_one_batch_is_refused(shape, words):
    with pytest.raises(MixesSamplesError, match=words):
        find(shape, P)


def test_a_merged_axis_keeps_the_factors_of_its_source():
    windows_first = Layout((4 * P, 7), 0, 4, 1)
    assert find((4 * P, 9), P, windows_first) == Layout((4 * P, 9), 0, 4, 1)
    assert find((8 * P, 9), P, windows_first) == Layout((8 * P, 9), 0, 1, 8)  # another factor: nothing is known


@pytest.mark.parametrize(
    ("layout", "positions"),
    [
        (Layout((P, 4, 8), 0), [None, -2, -1]),
        (Layout((1, P, 4, 8), 1), ["none", None, -2, -1]),
        (Layout((3, P, 5), 1), [-2, None, -1]),
        (Layout((1, 3, P, 5), 2), [-3, -2, None, -1]),
        (Layout((2, 4 * P, 7), 1, 1, 4), [-3, None, -1]),
    ],
    ids=str,
)
def test_positions_of_axes(layout, positions):
    """``None`` stands for the batch here, which is refused; "none" for an axis that a sample does not have."""
    rank = len(layout.shape)
    for dim, wanted in enumerate(positions):
        for given in (dim, dim - rank):
            if wanted is None:
                with pytest.raises(MixesSamplesError, match="along the batch"):
                    layout.position(given)
            else:
                assert layout.position(given) == (None if wanted == "none" else wanted)


@pytest.mark.parametrize(
    ("source", "shape", "outer", "inner"),
    [
        (Layout((P, 4, 6), 0), (P, 24), 1, 1),
        (Layout((P, 4, 6), 0), (P * 4, 6), 1, 4),
        (Layout((P, 4, 6), 0), (P * 24,), 1, 24),
        (Layout((P * 4, 6), 0, 1, 4), (P, 2, 2, 6), 1, 1),
        (Layout((P * 4, 6), 0, 1, 4), (P * 2, 2, 6), 1, 2),
        (Layout((P * 4, 6), 0, 4, 1), (4, P, 6), 1, 1),
        (Layout((P * 4, 6), 0, 4, 1), (2, 2 * P, 6), 2, 1),
        (Layout((P * 4, 6), 0, 2, 2), (2, P, 12), 1, 1),
        (Layout((1, P, 8), 1), (P, 8), 1, 1),
        (Layout((P, 8), 0), (1, P, 2, 4), 1, 1),
        (Layout((3, P, 5), 1), (3 * P, 5), 3, 1),
    ],
    ids=str,
)
def test_a_reshape_keeps_the_order_of_memory(source, shape, outer, inner):
    """Checked against memory itself: sample n of the result is sample n of the source."""
    result = reshaped(source, shape, P)
    assert (result.outer, result.inner) == (outer, inner)
    small = 3  # the prime's place is taken by a batch small enough to look at

    def of(layout):
        front = layout.shape[: layout.axis]
        return torch.Size((*front, layout.outer * small * layout.inner, *layout.shape[layout.axis + 1 :]))

    def samples(x, layout):
        front = layout.shape[: layout.axis]
        split = x.reshape(*front, layout.outer, small, layout.inner, *layout.shape[layout.axis + 1 :])
        return split.movedim(len(front) + 1, 0).reshape(small, -1)

    x = torch.arange(of(source).numel()).reshape(of(source))
    assert torch.equal(samples(x, source), samples(x.reshape(of(result)), result))


@pytest.mark.parametrize(
    ("source", "shape"),
    [
        (Layout((P, 4, 6), 0), (2, P, 12)),
        (Layout((P, 4, 6), 0), (24, P)),
        (Layout((P * 4, 6), 0, 4, 1), (P, 4, 6)),
        (Layout((3, P, 5), 1), (P, 3, 5)),
        (Layout((3, P, 5), 1), (P, 15)),
        (Layout((6, P), 1), (P, 6)),
    ],
    ids=str,
)
def test_a_reshape_that_tears_samples_is_refused(source, shape):
    with pytest.raises(MixesSamplesError, match="tears"):
        reshaped(source, shape, P)


def test_the_prime_divides_no_size():
    assert choose_prime([3, 4]) == PRIMES[0]
    assert choose_prime([PRIMES[0] * 2, 7]) == PRIMES[1]
    with pytest.raises(MixesSamplesError, match="sizes"):
        choose_prime(PRIMES)
    for prime in PRIMES:
        assert all(prime % divisor for divisor in range(2, int(prime**0.5) + 1))
        assert int((prime - 1) ** 0.5) ** 2 != prime - 1, "1 + n² is a count of tokens with a class token"


@pytest.mark.parametrize(
    ("constant", "result", "wanted"),
    [
        ((), Layout((P, 4, 8), 0), ()),
        ((8,), Layout((P, 4, 8), 0), (8,)),
        ((4, 1), Layout((P, 4, 8), 0), (4, 1)),
        ((1, 4, 1), Layout((P, 4, 8), 0), (4, 1)),
        ((1, 1, 4, 1), Layout((1, P, 4, 8), 1), (4, 1)),
        ((3, 1, 5), Layout((3, P, 5), 1), (3, 5)),
        ((1, 7), Layout((4 * P, 7), 0, 1, 4), (1, 7)),
    ],
    ids=str,
)
def test_stored_operands_lose_the_batch(constant, result, wanted):
    assert aligned(constant, result) == wanted


@pytest.mark.parametrize(
    ("constant", "result", "words"),
    [((2, 1), Layout((P, 4), 0), "from sample to sample"), ((3, 1, 4), Layout((1, P, 4), 1), "from step to step")],
    ids=str,
)
def test_stored_operands_with_a_batch_are_refused(constant, result, words):
    with pytest.raises(MixesSamplesError, match=words):
        aligned(constant, result)


# The same through capture: merged, moved and repeated batches.


def windows(x, size=2):
    """(B, H, W, C) → (B·windows, size², C), as shifted-window transformers fold them."""
    b, h, w, c = x.shape
    x = x.view(b, h // size, size, w // size, size, c)
    return x.permute(0, 1, 3, 2, 4, 5).reshape(-1, size * size, c)


MOVES = {
    "windows behind the batch": lambda p, x: (windows(x) @ p.w).view(x.shape[0], -1, 5),
    "windows stay merged to the end": lambda p, x: windows(x * 2.0).softmax(-1).view(-1, 4, 4, 5),
    "windows in front of the batch": lambda p, x: (
        (x.permute(1, 0, 2, 3).reshape(-1, 4, 5) @ p.w).view(4, -1, 4, 5).transpose(0, 1)
    ),
    "the batch behind heads": lambda p, x: (x.flatten(1, 2).view(-1, 16, 5).permute(2, 0, 1).softmax(-1)).permute(
        1, 2, 0
    ),
    "qkv": lambda p, x: torch.mul(*torch.stack([x, x @ p.w]).unbind(0)),
    "the batch last": lambda p, x: (x.permute(1, 2, 3, 0).mul(p.w[0].view(1, 1, 5, 1))).permute(3, 0, 1, 2),
    "the batch as a row of a product": lambda p, x: (x[:, 0].permute(1, 0, 2) @ p.w).permute(1, 0, 2),
    "the batch as a column of a product": lambda p, x: (p.w @ x[:, 0].permute(1, 2, 0)).permute(2, 0, 1),
    "a bias for merged windows": lambda p, x: (windows(x) + p.w[:4]).view(-1, 4, 4, 5),
    "a bias for each window": lambda p, x: (windows(x).view(-1, 4, 4, 5) + p.t).view(-1, 4, 5).view(x.shape[0], -1),
    "a class token": lambda p, x: torch.cat([p.c.expand(x.shape[0], -1, -1), x.flatten(1, 2)], 1),
    "a class token in front": lambda p, x: torch.cat([p.c.repeat(len(x), 1, 1), x.flatten(1, 2)], 1),
    "repeat": lambda p, x: x.repeat(1, 2, 1, 3),
    "repeat with new axes": lambda p, x: x[:, 0, 0].repeat(1, 1, 2).squeeze(0),
    "interleaved": lambda p, x: x.repeat_interleave(3, 2),
    "interleaved along the batch": lambda p, x: (x.repeat_interleave(4, 0) * 2.0).view(-1, 4, 4, 4, 5),
    "one row of all values": lambda p, x: (x.flatten() * 2.0).view(x.shape),
    "a vector for each sample": lambda p, x: x.mean((1, 2, 3)),
    "time in front": lambda p, x: (x.unsqueeze(0) @ p.w).squeeze(0),
    "time in front, flattened": lambda p, x: (x.unsqueeze(0).flatten(0, 1) * 3.0).unflatten(0, (1, -1))[0],
}


@pytest.mark.parametrize("name", MOVES)
def test_the_batch_wherever_it_goes(name):
    model = Code(MOVES[name], w=noise(5, 5, seed=3), t=noise(4, 4, 5, seed=4), c=noise(1, 1, 5, seed=5))
    check_plain(model, (4, 4, 5), batch=1)
    check_plain(model, (4, 4, 5), batch=6, examples=2)


TORN = {
    "rows of two samples": lambda p, x: x.reshape(2, -1),
    "features of all samples": lambda p, x: x.reshape(-1, 6, x.shape[0]),
    "windows read as samples": lambda p, x: x.permute(1, 0, 2).reshape(x.shape[0], -1),
}


@pytest.mark.parametrize("name", TORN)
def test_samples_that_are_torn_apart_are_refused(name):
    with pytest.raises(
        CaptureError, match="tears samples apart|makes one result|compares samples|works along the batch"
    ):
        capture(Code(TORN[name]), noise(1, 4, 6))


def test_repeating_along_the_batch_gives_an_axis_of_its_own():
    """Repeated samples lie outside of the batch, interleaved ones inside: the graph's axes say which."""
    graph = check_plain(Code(lambda p, x: x.repeat_interleave(3, 0).view(-1, 3, 6)), (6,))
    assert graph.shape(graph.outputs[0]) == (3, 6)
    graph = check_plain(Code(lambda p, x: x.repeat(3, 1).view(3, -1, 6).transpose(0, 1)), (6,))
    assert graph.shape(graph.outputs[0]) == (3, 6)


def test_views_that_only_fold_time_disappear():
    graph = check_plain(Code(lambda p, x: (x.flatten(0, 0).unsqueeze(0) + 1.0).squeeze(0)), (6,))
    assert operations_of(graph) == ["constant", "add"]


@pytest.mark.parametrize(
    "function",
    [
        lambda p, x: x.reshape(-1, 6) * 2.0,
        lambda p, x: x.flatten() * 2.0,
        lambda p, x: x.transpose(0, 1).reshape(-1, 6) * 2.0,
        lambda p, x: x.transpose(0, 1).reshape(2, -1),
        lambda p, x: x.transpose(0, 1),
        lambda p, x: x.permute(1, 2, 0) + 1,
    ],
    ids=["rows", "values", "rows of the first axis", "halves", "second", "last"],
)
def test_an_output_without_the_batch_in_front_is_refused(function):
    """A graph gives (B, …): what lies elsewhere would come back in another order."""
    with pytest.raises(CaptureError, match="output 0 .*batch in front"):
        capture(Code(function), noise(1, 4, 6))
