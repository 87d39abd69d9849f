"""SEW-ResNet: spikes added to spikes; layers in containers over time, the stem before time begins."""

import spikingjelly.cext.neuron as cext_neuron
from spikingjelly.clock_driven import layer
from torch import nn


def sew_function(x, y, cnf):
    if cnf == "ADD":
        return x + y
    if cnf == "AND":
        return x * y
    if cnf == "IAND":
        return x * (1.0 - y)
    raise NotImplementedError(cnf)


def _row(before, planes, kernel_size, stride=1):
    conv = nn.Conv2d(before, planes, kernel_size, stride=stride, padding=kernel_size // 2, bias=False)
    return layer.SeqToANNContainer(conv, nn.BatchNorm2d(planes))


class BasicBlock(nn.Module):
    def __init__(self, inplanes, planes, stride, connect_f):
        super().__init__()
        self.connect_f = connect_f
        self.conv1 = _row(inplanes, planes, 3, stride)
        self.sn1 = cext_neuron.MultiStepIFNode(detach_reset=True)
        self.conv2 = _row(planes, planes, 3)
        self.sn2 = cext_neuron.MultiStepIFNode(detach_reset=True)
        self.downsample = None
        if stride != 1 or inplanes != planes:
            self.downsample = nn.Sequential(
                _row(inplanes, planes, 1, stride), cext_neuron.MultiStepIFNode(detach_reset=True)
            )

    def forward(self, x):
        identity = x if self.downsample is None else self.downsample(x)
        out = self.sn2(self.conv2(self.sn1(self.conv1(x))))
        return sew_function(out, identity, self.connect_f)


class ResNet(nn.Module):
    def __init__(self, layers=(1, 1), widths=(16, 32), num_classes=10, T=4, connect_f="ADD"):
        super().__init__()
        self.T = T
        self.conv1 = nn.Conv2d(3, widths[0], kernel_size=7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.sn1 = cext_neuron.MultiStepIFNode(detach_reset=True)
        self.maxpool = layer.SeqToANNContainer(nn.MaxPool2d(kernel_size=3, stride=2, padding=1))
        before = widths[0]
        for index, (depth, width) in enumerate(zip(layers, widths, strict=True)):
            blocks = []
            for place in range(depth):
                blocks.append(BasicBlock(before, width, 2 if index and not place else 1, connect_f))
                before = width
            setattr(self, f"layer{index + 1}", nn.Sequential(*blocks))
        self.stages = len(layers)
        self.avgpool = layer.SeqToANNContainer(nn.AdaptiveAvgPool2d((1, 1)))
        self.fc = nn.Linear(before, num_classes)

    def forward(self, x):
        x = self.bn1(self.conv1(x))
        x = x.unsqueeze(0)
        x = x.repeat(self.T, 1, 1, 1, 1)
        x = self.maxpool(self.sn1(x))
        for index in range(self.stages):
            x = getattr(self, f"layer{index + 1}")(x)
        x = self.avgpool(x).flatten(2)
        return self.fc(x.mean(dim=0))


def sew_resnet_published(**kwargs):
    return ResNet(**kwargs)
