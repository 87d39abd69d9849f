"""ODIN and tinyODIN once more, as slowly and plainly as possible: what the simulator is compared with.

Written from the description of the chips, not from the simulator: one neuron after the other, Python integers.
"""

from __future__ import annotations

import numpy as np


class Chip:
    """A chip programmed by the arrays of a trace."""

    def __init__(self, trace):
        self.tiny = "max_neur" in trace
        given = {key: np.asarray(value).tolist() for key, value in trace.items()}
        self.given = given
        self.v = list(given["cfg_v_init"])
        self.last = given["max_neur"] if self.tiny else len(self.v) - 1
        self.closed = self.tiny and not given["open_loop"]
        self.out, self.queue, self.drops = [], [], 0

    def weight(self, pre, post):
        w = self.given["cfg_weights"][pre][post]
        if self.tiny:
            return w
        shown = self.given["cfg_mapped"][pre][post] or self.given["propagate_unmapped"]
        sign = -1 if self.given["cfg_pre_sign"][pre] else 1
        return sign * w if shown else 0

    def synapse(self, neuron, w):
        low, high = (-2048, 2047) if self.tiny else (0, 255)
        self.test(neuron, max(low, min(high, self.v[neuron] + w)))

    def leak(self, neuron):
        v, b = self.v[neuron], self.given["cfg_leak"][neuron]
        if not self.tiny and not self.given["cfg_leak_en"][neuron]:
            b = 0
        self.test(neuron, max(0, v - b) if v >= 0 else min(0, v + b))

    def test(self, neuron, x):
        spike = x >= 0 and x >= self.given["cfg_thr"][neuron]
        self.v[neuron] = 0 if spike else x
        if spike and not self.given["cfg_disable"][neuron]:
            self.sent.append(neuron)
            if self.closed and len(self.queue) == 128:
                self.drops += 1
            elif self.closed:
                self.queue.append(neuron)

    def row(self, pre):
        for post in range(self.last + 1):
            self.synapse(post, self.weight(pre, post))

    def event(self, address):
        """Run one input event; return the spikes, in order, and the cycles."""
        self.sent, every = [], 2 * (self.last + 1)
        low, high = address & 255, address >> 8 & 255
        if self.tiny:
            kind = self.tiny_event(address, low)
        elif address & 1 << 16:
            self.synapse(low, self.weight(high, low))
            kind = "one"
        elif low & 127 == 127:
            kind = "one" if low == 255 else "all"
            for neuron in [high] if low == 255 else range(self.last + 1):
                self.leak(neuron)
        elif low >> 3:
            weight, inhibitory, leak = low >> 5, low >> 4 & 1, low >> 3 & 1
            self.leak(high) if leak else self.synapse(high, -weight if inhibitory else weight)
            kind = "virtual"
        else:
            self.row(high)
            kind = "spike"
        count = len(self.sent)
        cycles = {
            "spike": every + (12 if self.tiny else 11) + 6 * count,
            "all": every + 9 + 6 * count - (3 if self.sent[-1:] == [self.last] else 0),
            "virtual": 13 + 6 * count,
            "one": 11 + 3 * count,
        }[kind]
        if kind == "spike" and self.closed:
            self.queue.pop(0)
        while self.queue:
            before = len(self.sent)
            self.row(self.queue[0])
            self.queue.pop(0)
            cycles += every + 2 + 6 * (len(self.sent) - before)
        return self.sent, cycles

    def tiny_event(self, address, low):
        if address & 256:
            for neuron in range(self.last + 1) if low == 255 else [low]:
                self.leak(neuron)
            return "all" if low == 255 else "one"
        if address & 512 and low >> 4:
            self.synapse(low & 15, (low >> 4) - (16 if low >> 4 > 7 else 0))
            return "virtual"
        source = low & 15 if address & 512 else low
        if self.closed:
            self.queue.append(source)
        self.row(source)
        return "spike"


def replay(trace):
    """Run a trace; returns what ``compiler.targets.odin.trace.replay`` returns."""
    chip = Chip(trace)
    steps, neurons = int(trace["steps"]), len(trace["cfg_v_init"])
    v, s = np.zeros((steps, neurons), np.int16), np.zeros((steps, neurons), np.int16)
    order, cycles, events = [], [], np.asarray(trace["cfg_events"]).tolist()
    for step in range(steps):
        for number, (at, address) in enumerate(events):
            if at == step:
                sent, took = chip.event(address)
                cycles.append(took)
                order += [(number, neuron) for neuron in sent]
                for neuron in sent:
                    s[step, neuron] += 1
        v[step] = chip.v
    out = {"v": v, "s": s, "event_cycles": np.array(cycles, np.int32)}
    out["spike_seq"] = np.array(order, np.int32).reshape(-1, 2)
    return out | ({"drops": np.array(chip.drops)} if chip.tiny else {})
