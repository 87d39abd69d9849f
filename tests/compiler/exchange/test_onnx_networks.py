"""Networks as PyTorch writes them to ONNX mean what they meant: in float64, one sample and three.

Would break it: an operator's attribute dropped, a batch of 1 frozen into a Reshape and taken for a real size, windows
taken for samples, a default of another version of the operators.
"""

from __future__ import annotations

import pytest
import timm
import torch
from torch import nn
from torch.utils import _pytree as pytree

import compiler
from compiler.exchange.onnx import read

from ..zoo.case import Case
from ..zoo.ours import OURS
from .onnx_files import KINDS, export

pytest.importorskip("onnxscript")

CLOSE = 1e-9  # of the largest output; scales that the exporter of torch.export stores in float32 are exact to 1e-10
_OURS = {case.name: case for case in OURS}


def _timm(name: str, **sizes: object) -> Case:
    return Case(name, "timm", lambda: timm.create_model(name, num_classes=7, **sizes), ((3, 64, 64),))


_THIN = {"depth": 1, "img_size": 64, "embed_dim": 96, "num_heads": 3}
_SWIN = {"img_size": 64, "window_size": 4, "embed_dim": 24, "depths": (2, 2), "num_heads": (1, 2)}
_NEXT = {"depths": (1, 1, 1, 1), "dims": (16, 32, 48, 64)}

# Kinds of files, and whether attention is written out: PyTorch's exporters do not take this network's own.
NETWORKS: list[tuple[Case, tuple[str, ...], bool]] = [
    (_OURS["swin_v2"], ("trace 20", "export 18"), True),
    (_OURS["moat"], ("export 20",), True),
    (_OURS["moat global"], ("export 18",), True),
    (_OURS["uniformer"], ("trace 17",), False),
    (_OURS["uniformer_video"], ("export 20",), False),
    (_OURS["lookupvit"], ("trace 17",), False),
    (_OURS["lookupvit video"], ("export 18",), False),
    (_OURS["mobilenet_v1"], ("trace 13",), False),
    (_OURS["mobilenet_v2"], ("trace 20",), False),
    (_timm("resnet18"), ("trace 13",), False),
    (_timm("vit_tiny_patch16_224", **_THIN), ("trace 20",), False),
    (_timm("deit_tiny_distilled_patch16_224", **_THIN), ("trace 17",), False),
    (_timm("swin_tiny_patch4_window7_224", **_SWIN), ("trace 17",), False),
    (_timm("convnext_atto", **_NEXT), ("trace 13", "export 20"), False),
    (_timm("efficientnet_b0"), ("trace 17",), False),
    (_timm("tf_efficientnet_lite0"), ("trace 13",), False),
    (_timm("mobilenetv3_small_050"), ("trace 13",), False),
    (_timm("regnety_002"), ("trace 20",), False),
    (_timm("mixer_s32_224", img_size=64), ("trace 13",), False),
    (_timm("poolformer_s12"), ("trace 17",), False),
    (_timm("test_coatnet", img_size=64), ("export 18",), False),
]
_FILES = [(case, kind, plain) for case, kinds, plain in NETWORKS for kind in kinds]


def test_every_exporter_has_its_turn():
    assert {kind for _, kind, _ in _FILES} == set(KINDS)


@pytest.mark.slow
@pytest.mark.parametrize(("case", "kind", "plain"), _FILES, ids=[f"{case.name} {kind}" for case, kind, _ in _FILES])
def test_a_network_means_what_it_meant(case, kind, plain, tmp_path):
    model = case.model()
    graph = read(export(model, case.inputs(1)[0], tmp_path / "net.onnx", kind, plain))
    for batch in (1, 3):
        (x,) = case.inputs(batch, seed=5)
        with torch.no_grad():
            wanted = pytree.tree_leaves(model(x))
        found = pytree.tree_leaves(compiler.interpret(graph, x)[0])
        assert len(found) == len(wanted)
        for one, other in zip(found, wanted, strict=True):
            assert one.shape[1:] == other.shape  # T = 1 in front
            assert (one[0] - other).abs().max() <= CLOSE * other.abs().max()


@pytest.mark.parametrize("kind", ["trace 13", "trace 20", "export 18"])
def test_written_out_functions_are_single_nodes(kind, tmp_path):
    layers = [nn.Linear(4, 8), nn.GELU(), nn.LayerNorm(8), nn.SiLU(), nn.Hardswish(), nn.Linear(8, 3)]
    model, x = nn.Sequential(*layers).double().eval(), torch.randn(1, 5, 4).double()
    graph = read(export(model, x, tmp_path / "net.onnx", kind))
    assert [node.op for node in graph] == ["linear", "gelu", "layer_norm", "silu", "hardswish", "linear"]
    torch.testing.assert_close(compiler.interpret(graph, x)[0][0], model(x).detach(), rtol=1e-12, atol=1e-12)


def test_float32_stays_float32(tmp_path):
    case = _timm("resnet18")
    model, x = case.model().float(), case.inputs(2)[0].float()
    graph = read(export(model, x[:1], tmp_path / "resnet.onnx", "trace 17"))
    y = compiler.interpret(graph, x)[0][0]
    assert y.dtype == torch.float32
    torch.testing.assert_close(y, model(x).detach(), rtol=1e-5, atol=1e-5)
    assert graph.name == "resnet"
    assert {"conv1", "layer2.0.conv1", "layer4.1.conv2", "fc"} <= {node.name for node in graph}
