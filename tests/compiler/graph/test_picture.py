"""Graphs as blocks and pictures: nothing lost, nothing that flows upwards, words that stay words.

Would break it: a node in two blocks or in none, more blocks than a page has room for, an arrow that is missing or
points up, lines of two arrows on top of each other, a name that ends a quotation.
"""

import re
from xml.etree import ElementTree

import pytest
import torch
from torch import nn

import compiler
import snnkit
from compiler.graph.blocks import blocks, links
from compiler.graph.picture import describe, draw, mermaid
from snnkit.errors import InvalidArgumentError
from snnkit.report.drawing import svg


class Ladder(nn.Module):
    """Down and up again, each rung of one side joined to that of the other."""

    def __init__(self, rungs):
        super().__init__()
        self.down = nn.ModuleList(nn.Conv2d(4, 4, 3, padding=1) for _ in range(rungs))
        self.up = nn.ModuleList(nn.Conv2d(8, 4, 1) for _ in range(rungs))

    def forward(self, x):
        kept = []
        for layer in self.down:
            x = torch.relu(layer(x))
            kept.append(x)
        for layer in self.up:
            x = layer(torch.cat([x, kept.pop()], 1))
        return x


def graph_of(name):
    if name.startswith("ladder"):
        return compiler.capture(Ladder(int(name.split()[1])).eval(), torch.zeros(1, 4, 8, 8))
    if name == "many":
        layers = [nn.Conv2d(1, 1, 1) if i % 2 else nn.ReLU() for i in range(60)]
        return compiler.capture(nn.Sequential(*layers).eval(), torch.zeros(1, 1, 4, 4))
    model = snnkit.create_model(name).eval()
    return compiler.capture(model, torch.zeros(1, *model.pretrained_cfg["input_size"]))


NETWORKS = ("spiking_cnn_small", "meta_spikeformer_tiny", "timm:resnet18", "ladder 4", "ladder 15", "many")


@pytest.mark.parametrize("name", NETWORKS)
def test_blocks_hold_every_node_once_and_flow_downwards(name):
    graph = graph_of(name)
    found = blocks(graph)
    assert [node.name for block in found for node in block.nodes] == [node.name for node in graph]
    assert 1 <= len(found) <= 25
    place = {signal: i for i, block in enumerate(found) for node in block.nodes for signal in node.outputs}
    states = {state.read: state.written for state in graph.states}
    wanted = set()
    for i, block in enumerate(found):
        for node in block.nodes:
            for signal in node.inputs:
                source = place.get(states.get(signal, signal), -1)
                if source != i:
                    wanted.add((source, i, signal))
    wanted |= {(place[signal], -1, signal) for signal in graph.outputs}
    flows = links(graph, found)
    assert {(link.source, link.target, signal) for link in flows for signal in link.signals} == wanted
    assert all(link.target == -1 or link.source < link.target or link.later for link in flows)


def test_blocks_are_modules():
    labels = [block.label for block in blocks(graph_of("timm:resnet18"))]
    assert {"conv1", "bn1", "layer1.0", "layer4.1", "fc"} <= set(labels)
    labels = [block.label for block in blocks(graph_of("many"))]
    assert labels[0].startswith("0 … ")
    assert labels[-1].endswith("59")
    assert next(block.label for block in blocks(graph_of("spiking_cnn_small"), 3)).startswith("stem")


@pytest.mark.parametrize("name", NETWORKS)
def test_pictures_show_every_block_and_arrow(name):
    graph = graph_of(name)
    drawn = describe(graph)
    picture = ElementTree.fromstring(svg(drawn))
    words = " ".join(picture.itertext())
    assert all(block["label"] in words or len(block["label"]) > 25 for block in drawn["blocks"])
    skipping = {(edge["from"], edge["signals"][0]["type"][:4], edge["later"]) for edge in drawn["edges"]}
    heads = re.findall("<polygon ", svg(drawn))
    assert len(heads) == len(drawn["edges"]) >= len(skipping)
    text = drawn["mermaid"]
    assert len(re.findall(r"--?\.?->\|", text)) == len(drawn["edges"])
    assert len(re.findall(r"^  b\d+\[", text, flags=re.M)) == len(drawn["blocks"])


def test_no_two_lines_lie_on_each_other():
    """Vertical lines of arrows that leave different blocks share a column only where they do not meet."""
    lines = re.findall(r"M[\d.]+ ([\d.]+)H([\d.]+)V([\d.]+)H", svg(describe(graph_of("ladder 4"))))
    spans = {}
    for start, x, end in lines:
        low, high = sorted((float(start), float(end)))
        for other_start, other_low, other_high in spans.get(x, []):
            assert other_start == start or high < other_low or other_high < low
        spans.setdefault(x, []).append((start, low, high))
    assert len(spans) >= 3


def test_names_stay_words(tmp_path):
    drawn = describe(graph_of("ladder 4"))
    hostile = '"]; click b0 href "x" <script>&#1;'
    drawn["blocks"][0]["label"] = hostile
    assert hostile in " ".join(ElementTree.fromstring(svg(drawn)).itertext())
    line = next(line for line in mermaid(drawn).splitlines() if line.startswith("  b0["))
    assert line.count('"') == 2
    assert "<script" not in line
    with pytest.raises(InvalidArgumentError, match=r"\.svg or \.mmd"):
        draw(graph_of("ladder 4"), tmp_path / "a.png")
    assert not list(tmp_path.iterdir())
