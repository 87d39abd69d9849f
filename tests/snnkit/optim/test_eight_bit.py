"""What the 8-bit optimizers have in common: kernels that agree, small tensors, overrides, clipping, saving, errors.

Would break it: a C kernel that rounds otherwise than the rules, a share of a tensor that a thread leaves out, codes
that torch's loading turns into floats, a trust ratio that does not arrive, a new rule that a compiled kernel takes for
another one.
"""

import copy
import inspect
import math

import pytest
import torch
from torch import nn

from snnkit import optim
from snnkit.errors import InvalidArgumentError, SnnkitError
from snnkit.kernels import layout, native
from snnkit.optim import OPTIMIZERS as ALL
from snnkit.optim import (
    AdamW8bit,
    LAMB8bit,
    LARS8bit,
    SGD8bit,
    StableEmbedding,
    build_optimizer,
    dequantise,
    optimizer_bytes,
    parameter_groups,
)
from snnkit.optim import apply as application
from snnkit.optim.apply import SOURCE
from snnkit.optim.blockwise import BlockwiseOptimizer, common
from snnkit.optim.rules import Moment, Numbers, Rule

needs_c = pytest.mark.skipif(bool(native.why_not(SOURCE)), reason="no C compiler")
SMALL = {"min_8bit_size": 64}
OPTIMIZERS = {name: made for name, made in ALL.items() if issubclass(made, BlockwiseOptimizer)}


def gradients(count, steps, seed=1):
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        yield torch.randn(count, generator=generator) * 10 ** (-4 * torch.rand(count, generator=generator))


def trained(name, count=5000, steps=3, dtype=torch.float32, **options):
    p = nn.Parameter(torch.randn(count, generator=torch.Generator().manual_seed(0)).to(dtype))
    optimizer = OPTIMIZERS[name]([p], lr=0.01, **options)
    for g in gradients(count, steps):
        p.grad = g.to(dtype)
        optimizer.step()
    return p, optimizer


def tensors(p, optimizer):
    return {"p": p.detach(), **{k: v for k, v in optimizer.state[p].items() if isinstance(v, torch.Tensor)}}


def assert_equal(one, two):
    assert one.keys() == two.keys()
    for key, value in one.items():
        assert value.dtype == two[key].dtype, key
        assert torch.equal(value, two[key]), key


def test_these_are_all_but_those_of_other_states():
    assert set(ALL) - set(OPTIMIZERS) == {"adafactorw"}


@needs_c
@pytest.mark.parametrize(
    "options", [{}, {"guard": False}, {"block_size": 2048}, {"block_size": 64}, {"optim_bits": 32}]
)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_c_kernel_is_the_reference_bit_for_bit(name, options, monkeypatch):
    options = {"weight_decay": 0.1, **options}
    by_c = tensors(*trained(name, **options))
    monkeypatch.setattr(application.native, "why_not", lambda source: "for the test")
    assert_equal(by_c, tensors(*trained(name, **options)))
    assert by_c["p"].isfinite().all()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_each_is_one_file_under_the_packages_name(name):
    made = OPTIMIZERS[name]
    assert getattr(optim, made.__name__) is made
    assert name == made.__name__.lower()
    assert made.__module__ == f"snnkit.optim.eight_bit.{name.removesuffix('8bit')}"
    assert set(common(256, 4096, True, 100, 8)) < set(inspect.signature(made).parameters)


def sign_of_momentum(p, g, old, k, out):
    m = old[0] * k.beta1 + g * k.scale
    p.sub_(m.sign() * k.rate)
    return [m]


class Signum8bit(BlockwiseOptimizer):
    """An optimizer that no compiled kernel knows, in this file alone."""

    rule = Rule(None, (Moment("momentum_buffer"),), sign_of_momentum)

    def __init__(self, params, lr=0.1, momentum=0.5):
        super().__init__(params, {"lr": lr, "momentum": momentum} | common(256, 4096, True, 100, 8))

    def numbers(self, group, step):
        return Numbers(group["lr"], beta1=group["momentum"])


def test_a_rule_of_its_own_needs_no_compiled_kernel():
    p = nn.Parameter(torch.zeros(4096))
    optimizer = Signum8bit([p])
    for sign in (1.0, -0.25, -0.75):  # m = 1, 0.25, −0.625
        p.grad = torch.full((4096,), sign)
        optimizer.step()
    torch.testing.assert_close(p.data, torch.full((4096,), -0.1))
    assert optimizer.state[p]["momentum_buffer"].dtype == torch.uint8


@needs_c
@pytest.mark.parametrize("name", ["adamw8bit", "lion8bit"])
def test_a_gradient_that_is_not_finite_spoils_only_its_own_element(name, monkeypatch):
    def run():
        p, optimizer = trained(name)
        p.grad[[7, 4000]] = torch.tensor([math.nan, math.inf])
        optimizer.step()
        return tensors(p, optimizer)

    found = run()
    others = torch.ones(5000, dtype=torch.bool)
    others[[7, 4000]] = False
    assert found["p"][others].isfinite().all()
    assert found["exp_avg"][[7, 4000]].tolist() == [127, 127]
    assert found["exp_avg_absmax"].isfinite().all()
    monkeypatch.setattr(application.native, "why_not", lambda source: "for the test")
    other = run()
    assert torch.equal(found["p"][others], other["p"][others])
    assert torch.equal(found["exp_avg"], other["exp_avg"])


@needs_c
@pytest.mark.parametrize("block", [256, 2048])
def test_threads_share_the_blocks(block, monkeypatch):
    whole = tensors(*trained("adamw8bit", 40001, block_size=block))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    assert layout.WORTH_SHARING < 40001
    assert_equal(whole, tensors(*trained("adamw8bit", 40001, block_size=block)))


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("adamw8bit", lambda p: torch.optim.AdamW(p, 0.01, weight_decay=0.1)),
        ("sgd8bit", lambda p: torch.optim.SGD(p, 0.01, momentum=0.9, weight_decay=0.1)),
        ("rmsprop8bit", lambda p: torch.optim.RMSprop(p, 0.01, weight_decay=0.1)),
        ("adagrad8bit", lambda p: torch.optim.Adagrad(p, 0.01, weight_decay=0.1)),
    ],
)
def test_with_full_states_they_are_torchs(name, other):
    p, optimizer = trained(name, weight_decay=0.1, optim_bits=32)
    assert not any(v.dtype == torch.uint8 for v in tensors(p, optimizer).values())
    q = nn.Parameter(torch.randn(5000, generator=torch.Generator().manual_seed(0)))
    reference = other([q])
    for g in gradients(5000, 3):
        q.grad = g
        reference.step()
    torch.testing.assert_close(p, q, rtol=1e-5, atol=1e-6)


def test_the_threshold_and_the_overrides():
    sizes = {"below": 4095, "at": 4096, "marked": 5000, "grouped": 5000}
    p = {key: nn.Parameter(torch.zeros(n)) for key, n in sizes.items()}
    plain = [p["below"], p["at"], p["marked"]]
    optimizer = AdamW8bit([{"params": plain}, {"params": [p["grouped"]], "optim_bits": 32}])
    optimizer.keep_float32([p["marked"]])
    for value in p.values():
        value.grad = torch.ones_like(value)
    optimizer.step()
    kinds = {key: optimizer.state[value]["exp_avg"].dtype for key, value in p.items()}
    full = torch.float32
    assert kinds == {"below": full, "at": torch.uint8, "marked": full, "grouped": full}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_state_dict_brings_codes_back(name):
    p, optimizer = trained(name, percentile_clipping=90)
    q = nn.Parameter(p.detach().clone())
    other = OPTIMIZERS[name]([q], lr=0.5)
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    assert_equal(tensors(p, optimizer), tensors(q, other))
    p.grad = q.grad = torch.ones(5000)
    optimizer.step()
    other.step()
    assert_equal(tensors(p, optimizer), tensors(q, other))


def test_half_parameters_and_any_layout():
    """bfloat16 parameters move by float32 arithmetic; channels_last ones in the order of their elements."""
    p, optimizer = trained("adamw8bit", dtype=torch.bfloat16)
    assert p.dtype == torch.bfloat16
    assert optimizer.state[p]["exp_avg"].dtype == torch.uint8
    found = []
    for form in (torch.contiguous_format, torch.channels_last):
        w = nn.Parameter(torch.linspace(-1, 1, 8 * 8 * 9 * 9).view(8, 8, 9, 9).to(memory_format=form))
        w.grad = (w.detach() * 3).cos()
        o = AdamW8bit([w], lr=0.1)
        o.step()
        assert o.state[w]["exp_avg"].is_contiguous()
        found.append((w.detach(), o.state[w]["exp_avg"]))
    assert all(map(torch.equal, *found))
    double, _ = trained("adamw8bit", dtype=torch.float64)
    single, _ = trained("adamw8bit")
    torch.testing.assert_close(double.float(), single.data, rtol=1e-5, atol=1e-6)


def test_lamb_takes_the_trust_ratio():
    p, optimizer = trained("lamb8bit", weight_decay=0.1, steps=1, optim_bits=32)
    start = torch.randn(5000, generator=torch.Generator().manual_seed(0))
    g = next(gradients(5000, 1))
    u = g / (g.abs() + 1e-6) + 0.1 * start
    torch.testing.assert_close(p.data, start - 0.01 * start.norm() / u.norm() * u, rtol=1e-5, atol=1e-6)
    coded, _ = trained("lamb8bit", weight_decay=0.1, steps=1)
    assert torch.equal(coded, p), "the first step uses fresh moments"
    bound, _ = trained("lamb8bit", weight_decay=0.1, steps=1, max_unorm=0.5)
    torch.testing.assert_close((bound.data - start).norm(), 0.01 * 0.5 * start.norm(), rtol=1e-4, atol=0)
    free, _ = trained("lamb8bit", weight_decay=0.1, steps=1, max_unorm=100.0)
    torch.testing.assert_close(free.data, start - 0.01 * u, rtol=1e-5, atol=1e-6)
    assert isinstance(optimizer, LAMB8bit)


def test_lars_takes_the_trust_ratio():
    start = torch.randn(5000, generator=torch.Generator().manual_seed(0))
    p, _ = trained("lars8bit", weight_decay=0.1, steps=2, optim_bits=32)
    q, m = start.clone(), torch.zeros(5000)
    for g in gradients(5000, 2):
        ratio = 0.001 * q.norm() / (g.norm() + 0.1 * q.norm() + 1e-8)
        m = 0.9 * m + ratio * (g + 0.1 * q)
        q -= 0.01 * m
    torch.testing.assert_close(p.data, q, rtol=1e-6, atol=1e-7)
    exempt, _ = trained("lars8bit", always_adapt=False, steps=2)
    plain, _ = trained("sgd8bit", steps=2)
    assert torch.equal(exempt, plain)
    bound = nn.Parameter(start.clone())
    bound.grad = start * 100
    LARS8bit([bound], lr=1.0, max_unorm=0.02).step()
    torch.testing.assert_close(bound.data, start * 0.98, rtol=1e-5, atol=1e-6)


def test_percentile_clipping():
    """A gradient a hundred times as long as usual moves p no further than the percentile of the last hundred."""
    p = nn.Parameter(torch.zeros(5000))
    optimizer = SGD8bit([p], lr=1.0, momentum=1e-9, percentile_clipping=50)
    for norm in [*range(1, 101), 1000]:
        before = p.detach().clone()
        p.grad = torch.full((5000,), norm / math.sqrt(5000))
        optimizer.step()
        moved = (p.detach() - before).norm().item()
        if norm == 1:
            assert moved == pytest.approx(1, rel=1e-4)
    # The hundred norms are 2 … 100 and 1000; number 50 from below, counted from 0, is 52.
    assert moved == pytest.approx(52, rel=1e-4)


def test_stable_embedding():
    torch.manual_seed(0)
    layer = StableEmbedding(300, 32, padding_idx=3)
    assert layer.weight[3].abs().max() == 0
    bound = math.sqrt(6 / 332)
    assert 0.95 * bound < layer.weight.abs().max() <= bound
    out = layer(torch.tensor([[1, 2], [3, 4]]))
    torch.testing.assert_close(out[0].mean(-1), torch.zeros(2), rtol=0, atol=1e-6)
    torch.testing.assert_close(out[0].var(-1, unbiased=False), torch.ones(2), rtol=1e-2, atol=0)
    assert layer.bfloat16()(torch.tensor([1])).dtype == torch.bfloat16
    again = copy.deepcopy(layer.float())
    optimizer = build_optimizer("adamw8bit", parameter_groups(again, 0.1), 0.1, {})
    again(torch.tensor([1, 3, 5])).square().sum().backward()
    optimizer.step()
    assert optimizer.state[again.weight]["exp_avg"].dtype == torch.float32
    assert again.weight.grad[3].abs().max() == 0


def test_bytes():
    p, optimizer = trained("adamw8bit", count=1 << 20)
    kept, full = optimizer_bytes(optimizer)
    assert full == 8 << 20
    assert kept / p.numel() == 2 + 8 / 256
    q = nn.Parameter(torch.zeros(100))
    q.grad = torch.ones(100)
    plain = torch.optim.AdamW([q])
    plain.step()
    kept, full = optimizer_bytes(plain)
    assert kept == full == 804  # and the count of steps


def test_codes_stand_for_the_moments():
    p, optimizer = trained("adamw8bit", steps=1)
    state, g = optimizer.state[p], next(gradients(5000, 1))
    m = dequantise(state["exp_avg"], state["exp_avg_absmax"][0], True)
    v = dequantise(state["exp_avg_sq"], state["exp_avg_sq_absmax"][0], False)
    assert (m - 0.1 * g).abs().max() <= 0.008 * 0.1 * g.abs().max()
    assert (v - 0.001 * g**2).abs().max() <= 0.004 * 0.001 * (g**2).max()
    assert (v > 0).all()


@pytest.mark.parametrize(
    "options",
    [
        {"block_size": 100},
        {"optim_bits": 4},
        {"percentile_clipping": 101},
        {"betas": (0.9, 1.0)},
        {"eps": -1.0},
        {"weight_decay": -1.0},
        {"betas": (0.9, 0.99, 0.999)},
        {"percentile_clipping": 5.5},
        {"guard": "perhaps"},
    ],
)
def test_bad_settings(options):
    with pytest.raises(InvalidArgumentError, match=next(iter(options)).replace("betas", "decay rate|takes 2 numbers")):
        build_optimizer("adamw8bit", [{"params": [nn.Parameter(torch.zeros(3))]}], 0.1, options)


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("adamw8bit", {"colour": "red"}, "unknown option of optimizer adamw8bit 'colour'"),
        ("adamw", {"momentum": 0.5}, "unknown option of optimizer adamw 'momentum'"),
        ("adamw", {"layer_decay": 0.5}, "option of optimizer adamw 'layer_decay'"),
        ("sgd", {"betas": (0.9, 0.99)}, "option of optimizer sgd 'betas'"),
        ("adamw", {"beta": (0.9, 0.99)}, "Did you mean 'betas'"),
        ("adamw", {"betas": (0.9, 0.99, 0.999)}, "takes 2 numbers"),
        ("adamw", {"lr": 0.5}, "set optim.lr instead"),
        ("kron", {}, "could not be resumed"),
        ("adahessian", {}, "second derivatives"),
    ],
)
def test_what_an_optimizer_does_not_take_is_never_dropped(name, options, words):
    with pytest.raises(SnnkitError, match=words):
        build_optimizer(name, [{"params": [nn.Parameter(torch.zeros(3))]}], 0.1, options)


def test_options_reach_every_kind_of_optimizer():
    for name, options in (("sgd", {"momentum": 0.5, "nesterov": False}), ("lamb", {"betas": (0.8, 0.9)}), ("adan", {})):
        made = build_optimizer(name, [{"params": [nn.Parameter(torch.zeros(3))]}], 0.1, options)
        assert {key: made.param_groups[0][key] for key in options} == options


def test_no_momentum_and_sparse_gradients_are_refused():
    p = nn.Parameter(torch.zeros(10, 3))
    for name in ("sgd8bit", "lars8bit"):
        with pytest.raises(InvalidArgumentError, match="momentum=0"):
            OPTIMIZERS[name]([p], lr=0.1, momentum=0)
    nn.functional.embedding(torch.tensor([1]), p, sparse=True).sum().backward()
    with pytest.raises(InvalidArgumentError, match="dense"):
        AdamW8bit([p]).step()


def test_schedulers_move_the_rate():
    p = nn.Parameter(torch.zeros(5000))
    optimizer = SGD8bit([p], lr=1.0, momentum=1e-9)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.1)
    moves = []
    for _ in range(3):
        before = p.detach().clone()
        p.grad = torch.ones(5000)
        optimizer.step()
        schedule.step()
        moves.append((before - p.detach())[0].item())
    assert moves == pytest.approx([1, 0.1, 0.01], rel=1e-4)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"block_size": 100}, "block_size=100: must be one of"),
        ({"lr": -1.0}, "lr=-1.0"),
        ({"optim_bits": 16}, "optim_bits=16"),
        ({"guard": 1}, "guard=1"),
        ({"weight_decay": -0.1}, "weight_decay=-0.1"),
        ({"betas": (0.9, 1.0)}, "decay rate 1.0"),
        ({"min_8bit_size": -1}, "min_8bit_size=-1"),
        ({"percentile_clipping": 0.5}, "percentile_clipping=0.5"),
    ],
)
def test_settings_of_a_group_are_checked_whenever_it_is_added(setting, words):
    first, second = torch.nn.Parameter(torch.zeros(4)), torch.nn.Parameter(torch.zeros(4))
    with pytest.raises(InvalidArgumentError, match=words):
        optim.AdamW8bit([{"params": [first], **setting}], lr=1e-3)
    optimizer = optim.AdamW8bit([first], lr=1e-3)
    with pytest.raises(InvalidArgumentError, match=words):
        optimizer.add_param_group({"params": [second], **setting})
    assert len(optimizer.param_groups) == 1
    optimizer.add_param_group({"params": [second], "block_size": 2048})
    assert [group["block_size"] for group in optimizer.param_groups] == [256, 2048]


@pytest.mark.parametrize("key", ["exp_avg", "exp_avg_sq", "exp_avg_absmax", "exp_avg_sq_absmax"])
def test_states_of_another_parameter_are_named(key):
    """Loaded from elsewhere: shorter codes would be read and written beyond their end."""
    p = torch.nn.Parameter(torch.zeros(8192))
    optimizer = AdamW8bit([p])
    p.grad = torch.ones_like(p)
    optimizer.step()
    saved = optimizer.state_dict()
    saved["state"][0][key] = saved["state"][0][key].flatten()[:1].clone()
    optimizer.load_state_dict(saved)
    with pytest.raises(InvalidArgumentError, match="do not belong to a parameter of shape"):
        optimizer.step()
