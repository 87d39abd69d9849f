"""A graph as a module: the same numbers as ``interpret``, the same gradients as the network it was captured from.

Would break it: a parameter that is not reached, one that is there twice, a scale that trains at another rate or leaves
the positive numbers, numbers that get lost on the way back.
"""

import math

import pytest
import timm
import torch
from torch import nn
from torch.nn import functional as F

import snnkit
from compiler.capturing import capture
from compiler.converting.trainable import GraphModule
from compiler.graph import GraphBuilder
from compiler.interpreting import interpret
from compiler.passes import simplify
from snnkit.errors import InvalidArgumentError
from snnkit.optim import parameter_groups

DTYPE = torch.float64


class Mixed(nn.Module):
    """Stored tokens and positions, a weight used twice, norms, attention, a depthwise and a strided convolution."""

    def __init__(self):
        super().__init__()
        self.patch = nn.Conv2d(1, 8, 4, 4)
        self.local = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.norm_map = nn.BatchNorm2d(8)
        self.token = nn.Parameter(torch.randn(1, 1, 8))
        self.position = nn.Parameter(torch.randn(1, 5, 8))
        self.norm, self.qkv, self.twice = nn.LayerNorm(8), nn.Linear(8, 24), nn.Linear(8, 8)
        self.group = nn.GroupNorm(2, 8)
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        x = self.group(self.norm_map(self.local(F.gelu(self.patch(x)))))
        x = x.flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1) + self.position
        q, k, v = self.qkv(self.norm(x)).chunk(3, -1)
        x = x + torch.softmax(q @ k.transpose(1, 2) / math.sqrt(8), -1) @ v
        x = self.twice(F.silu(self.twice(x)))
        return self.head(x.mean(1))


def mixed():
    model = Mixed().double().eval()
    model.norm_map.running_mean.normal_()
    model.norm_map.running_var.uniform_(0.5, 2)
    return model, torch.randn(3, 1, 8, 8, dtype=DTYPE)


def small(name, **arguments):
    model = timm.create_model(name, num_classes=5, **arguments)
    return model.double().eval(), torch.randn(2, 3, 32, 32, dtype=DTYPE)


NETWORKS = {
    "mixed": mixed,
    "vit": lambda: small("vit_tiny_patch16_224", img_size=32, patch_size=8, embed_dim=24, depth=2, num_heads=2),
    "swin": lambda: small("swinv2_tiny_window8_256", img_size=32, window_size=4, embed_dim=12, depths=(2, 1)),
    "resnet": lambda: small("resnet10t"),
}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("simplified", [False, True])
def test_to_the_bit_as_interpreted(name, simplified):
    model, x = NETWORKS[name]()
    graph = capture(model, x[:1])
    graph = simplify(graph) if simplified else graph
    module = GraphModule(graph)
    expected = interpret(graph, x)[0][0]
    for mode in (module.train(), module.eval()):
        assert torch.equal(mode(x), expected)
    again = module.graph()
    assert torch.equal(interpret(again, x)[0][0], expected)
    assert dict(again.signals) == dict(graph.signals)


@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_are_those_of_the_network(name):
    model, x = NETWORKS[name]()
    module = GraphModule(capture(model, x[:1])).train()
    ours, theirs = x.detach().clone().requires_grad_(), x.detach().clone().requires_grad_()
    target = torch.randn_like(model(x))
    (module(ours) * target).sum().backward()
    (model(theirs) * target).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=0, atol=1e-10)
    found = dict(module.named_parameters())
    compared = 0
    for key, parameter in model.named_parameters():
        if key in found and parameter.grad is not None:
            torch.testing.assert_close(found[key].grad, parameter.grad, rtol=0, atol=1e-10)
            compared += 1
    weights = [key for key, p in model.named_parameters() if p.ndim > 1 and p.grad is not None]
    assert compared >= len(weights) - 4  # tokens and positions, which are called by the operation that stores them
    # Whatever is called otherwise is there too, number for number.
    missing = [p.grad for key, p in model.named_parameters() if key not in found and p.grad is not None]
    others = [p.grad for key, p in found.items() if key not in dict(model.named_parameters()) and p.grad is not None]
    for wanted in missing if name in ("mixed", "vit", "resnet") else ():
        near = (o for o in others if o.numel() == wanted.numel())
        assert any(torch.allclose(o.flatten(), wanted.flatten(), rtol=0, atol=1e-10) for o in near)


def test_a_weight_used_twice_is_one_parameter():
    model, x = mixed()
    module = GraphModule(capture(model, x[:1]))
    weights = [p for p in module.parameters() if p.shape == (8, 8)]
    assert len(weights) == 1
    with torch.no_grad():
        weights[0].mul_(2)
    graph = module.graph()
    twice = [node for node in graph if node.op == "linear" and node.parameters["weight"].shape == (8, 8)]
    assert len(twice) == 2
    for node in twice:
        assert torch.equal(node.parameters["weight"], 2 * model.twice.weight)
    assert twice[0].parameters["weight"] is twice[1].parameters["weight"]


def rounding(values=6, low=0, high=3, scale=0.5):
    builder = GraphBuilder("rounding", 1, static_input=True)
    x = builder.input("x", (values,))
    scale = torch.as_tensor(scale, dtype=DTYPE)
    y = builder.add("fake_quantise", (x,), {"low": low, "high": high}, {"scale": scale}, name="x.code")
    return builder.finish([y])


def test_the_gradient_of_a_scale_by_hand():
    """Inside n − y/s, beyond the ends the end; times s, for its logarithm, and 1/√(N·n)."""
    module = GraphModule(rounding())
    x = torch.tensor([[-1.0, 0.1, 0.4, 1.2, 1.3, 9.0]] * 2, dtype=DTYPE)
    y = module(x)
    assert y[0].tolist() == [0.0, 0.0, 0.5, 1.0, 1.5, 1.5]
    y.sum().backward()
    inside = (0 - 0.2) + (1 - 0.8) + (2 - 2.4) + (3 - 2.6)
    by_hand = 2 * (0 + inside + 3) * 0.5 / math.sqrt(6 * 3)  # two samples, of six values each
    assert module.get_parameter("x.code.log_scale").grad.item() == pytest.approx(by_hand, abs=1e-12)


def test_scales_stay_above_zero_and_come_back():
    module = GraphModule(rounding(values=4, low=-2, high=1, scale=[0.5, 0.25, 1.0, 2.0]))
    parameter = module.get_parameter("x.code.log_scale")
    assert torch.equal(module.graph().node("x.code").parameters["scale"], torch.tensor([0.5, 0.25, 1, 2], dtype=DTYPE))
    with torch.no_grad():
        parameter -= 30
    scale = module.graph().node("x.code").parameters["scale"]
    assert (scale > 0).all()
    torch.testing.assert_close(scale, torch.tensor([0.5, 0.25, 1, 2], dtype=DTYPE) * math.exp(-30))


def test_what_is_no_weight_is_not_trained():
    class Masked(nn.Module):
        def __init__(self):
            super().__init__()
            mask = torch.zeros(4, 4).masked_fill(torch.ones(4, 4).triu(1).bool(), -torch.inf)
            self.register_buffer("mask", mask)
            self.linear, self.norm = nn.Linear(4, 1), nn.BatchNorm1d(4)

        def forward(self, x):
            return self.linear(torch.softmax(self.norm(x) @ x.transpose(1, 2) * 0.5 + self.mask, -1) @ x)

    model = Masked().double().eval()
    x = torch.randn(2, 4, 4, dtype=DTYPE)
    module = GraphModule(capture(model, x[:1]))
    assert {key for key, _ in module.named_parameters()} == {key for key, _ in model.named_parameters()}
    module(x).sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in module.parameters())


def test_batch_norms_of_a_module_that_is_asked_to_train_them():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(48, 6), nn.BatchNorm1d(6))
    model = model.double().eval()
    x = torch.randn(5, 2, 6, 6, dtype=DTYPE)
    held, module = (GraphModule(capture(model, x[:1]), statistics).train() for statistics in (False, True))
    assert torch.equal(held(x), interpret(held.graph(), x)[0][0])
    model.train()
    torch.testing.assert_close(module(x), model(x), rtol=0, atol=1e-12)
    for key, buffer in (("1.mean", model[1].running_mean), ("4.variance", model[4].running_var)):
        torch.testing.assert_close(module.get_buffer(key), buffer, rtol=0, atol=1e-12)
    torch.testing.assert_close(module.eval()(x), model.eval()(x), rtol=0, atol=1e-12)


@pytest.mark.parametrize("names", [("a", "a.b"), ("a.b", "a"), ("training", "forward.x"), ("a.weight", "a")])
def test_any_name_of_a_node_will_do(names):
    builder = GraphBuilder("names", 1)
    signal = builder.input("x", (3,))
    for name in names:
        signal = builder.add("linear", (signal,), None, {"weight": torch.randn(3, 3)}, name=name)
    graph = builder.finish([signal])
    module, x = GraphModule(graph), torch.randn(2, 3)
    assert len(list(module.parameters())) == 2
    assert torch.equal(module(x), interpret(graph, x)[0][0])
    copy = GraphModule(graph)
    copy.load_state_dict(module.state_dict())


def test_stored_tensors_and_scales_do_not_decay():
    model, x = mixed()
    module = GraphModule(capture(model, x[:1]))
    decaying = [p for group in parameter_groups(module, 0.1) for p in group["params"] if group["weight_decay"]]
    weights = [p for key, p in module.named_parameters() if p.ndim > 1 and not key.endswith(".value")]
    assert {id(p) for p in decaying} == {id(p) for p in weights}


def test_bad_input():
    model, x = mixed()
    module = GraphModule(capture(model, x[:1]))
    with pytest.raises(InvalidArgumentError, match=r"takes \(B, 1, 8, 8\)"):
        module(torch.zeros(1, 3, 8, 8))
    with pytest.raises(InvalidArgumentError, match="samples"):
        module(torch.zeros(2, 1, 1, 8, 8))
    spiking = snnkit.create_model("spiking_cnn_small", img_size=8, width=4).eval()
    with pytest.raises(InvalidArgumentError, match="is a neuron"):
        GraphModule(capture(spiking, torch.zeros(1, 1, 8, 8)))
