"""A Catalyst N1 as plain Python, as slowly and literally as possible: what the compiled simulator is compared with."""

from collections import defaultdict

import numpy as np


def wrap(value, bits):
    value %= 1 << bits
    return value - (1 << bits) if value >= 1 << (bits - 1) else value


def divide(product):
    """Divided by 4,096 and one further from zero where that is not whole."""
    quotient, rest = divmod(product, 4096)
    if rest:
        quotient += -1 if product < 0 else 1
    return wrap(quotient, 24)


def decode(weight, kind):
    width, exponent = kind >> 8, wrap(kind >> 4 & 15, 4)
    if width == 0:
        return weight
    bits = format(weight & 0xFFFF, "016b")
    kept = bits[16 - width :] if width <= 9 else bits
    if kind & 2 and width > 1:
        sign = bits[16 - width] == "1"
        magnitude = int(kept[1:], 2) if width <= 9 else wrap(int(kept, 2), 16)
    else:
        sign = bool(kind & 4)
        magnitude = int(kept, 2) if width <= 9 else wrap(int(kept, 2), 16)
    shifted = wrap(magnitude * 2**exponent, 16) if exponent >= 0 else magnitude >> -exponent
    return wrap(-shifted if sign else shifted, 16)


class Core:
    """One core: its memories, and a step of it."""

    def __init__(self, neurons, switches):
        self.neurons, self.switches = neurons, switches
        self.parameters = [defaultdict(int) for _ in range(neurons)]
        self.kinds, self.pool, self.index = [0] * 32, {}, {}
        self.v, self.u, self.r = [0] * neurons, [0] * neurons, [0] * neurons
        self.sums = [[0, 0, 0, 0] for _ in range(neurons)]
        self.due, self.fifo, self.register = [[] for _ in range(64)], [], 0xACE1

    def kind(self, neuron):
        return self.kinds[self.parameters[neuron][25] & 31]

    def add(self, target, weight, place):
        self.sums[target][place] = wrap(self.sums[target][place] + weight, 16 if place else 24)

    def deliver(self, step):
        """Due events, then the words of the spikes in the FIFO; returns synaptic events and cycles."""
        cycles, events = 3 + 4 * self.neurons, 0
        for target, weight, place in self.due[step % 64]:
            self.add(target, weight, place)
            cycles += 4
        self.due[step % 64] = []
        for source, payload in self.fifo:
            base, count, form = self.index.get(source, (0, 0, 0))
            cycles += 3
            kind = self.kind(source)
            packed = form == 1 and kind & 1 and kind >> 8 in (1, 2, 4, 8)
            for i in range(count):
                place_of_word, part = base, 0
                if form != 2:
                    place_of_word, part = (base + i, 0) if not packed else divmod(i, 16 // (kind >> 8))
                    place_of_word += base if packed else 0
                target, weight, place, delay = self.pool.get(place_of_word, (0, 0, 0, 0))
                if form:
                    target = self.pool.get(base, (0, 0, 0, 0))[0] + i
                if packed:
                    weight = wrap((weight & 0xFFFF) >> part * (kind >> 8), 16)
                weight = decode(weight, self.kind(target))
                if self.switches["graded"]:
                    weight = wrap(weight * payload >> 7, 16)
                events += 1
                cycles += 5 if form == 2 and i else 6
                if delay and len(self.due[(step + delay) % 64]) < 64:
                    self.due[(step + delay) % 64].append((target, weight, place))
                else:
                    self.add(target, weight, place)
        return events, cycles

    def noise(self, value):
        mask = (value & 15) << (value >> 4 & 31) & 0xFFFFFFFF
        mask = 0xFFFF if mask > 0xFFFF else mask
        drawn = (self.register & mask & 0x7FFF) - (mask >> 1)
        return drawn

    def update(self):
        """All neurons; returns [(neuron, payload), …] of those that fire."""
        fired = []
        for n in range(self.neurons):
            p = {key: wrap(self.parameters[n][key], 16) for key in (0, 1, 2, 8, 9, 10, 30, 31)}
            raw = self.parameters[n]
            arrived = self.sums[n][0]
            if self.switches["dendritic"]:
                arrived = wrap(arrived + self.dendrites(n, p, raw[15]), 24)
            self.sums[n] = [0, 0, 0, 0]
            drawn = self.noise(raw[5] & 0xFFF) if self.switches["noise"] else 0
            low = self.register & 1
            self.register = (low << 15 | self.register >> 1) ^ (0xB400 if low else 0)
            thr = wrap(p[0] + (drawn if raw[29] & 3 == 0 else 0), 24)
            payload = min(255, max(1, wrap(self.v[n] + arrived - p[1] - thr, 24)))
            decay_v, decay_u, bias_bits = raw[16] & 4095, raw[17] & 4095, raw[18] & 0xFFFF
            spike, v = False, self.v[n]
            if decay_v or decay_u or bias_bits:
                bias = wrap(wrap(bias_bits >> 3, 13) << (bias_bits & 7), 24)
                on_v, on_u = (drawn if raw[29] & 3 == target else 0 for target in (1, 2))
                faded = v - divide(v * decay_v)
                if self.r[n] > 0:
                    self.r[n] -= 1
                    v = wrap(faded - bias + on_v, 24) if raw[3] & 512 else p[2]
                else:
                    v = wrap(faded + self.u[n] + bias + on_v, 24)
                    spike = v >= thr
                given = divide(arrived * decay_u) if self.switches["scale_u"] else arrived
                self.u[n] = wrap(self.u[n] - divide(self.u[n] * decay_u) + given + on_u, 24)
            else:
                self.u[n] = 0
                if self.r[n] > 0:
                    self.r[n] -= 1
                    v = p[2]
                elif wrap(v + arrived - p[1], 24) >= thr:
                    spike = True
                else:
                    v = wrap(v + arrived - p[1], 24) if wrap(v + arrived, 24) > p[1] else p[2]
            if spike:
                v, self.r[n] = p[2], raw[3] & 255
                fired.append((n, payload))
            self.v[n] = p[30] if v < p[30] else p[31] if v > p[31] else v
        return fired

    def dendrites(self, n, p, tree):
        _, d1, d2, d3 = self.sums[n]
        leads = [tree & 3, tree >> 2 & 3, tree >> 4 & 3]

        def passed(value, threshold):
            return wrap(value - threshold, 16) if value > threshold else 0

        o3 = passed(d3, p[10])
        o2 = passed(wrap(d2 + (o3 if leads[2] == 2 else 0), 16), p[9])
        o1 = passed(wrap(d1 + (o2 if leads[1] == 1 else 0) + (o3 if leads[2] == 1 else 0), 16), p[8])
        return wrap(sum(o for o, lead in zip((o1, o2, o3), leads, strict=True) if lead == 0), 16)


def simulate(arrays):
    """Run the arrays of a trace (``noc_mode`` 0); returns lists by the names of the simulator's arrays."""
    switches = {key: int(arrays[key]) for key in ("graded", "dendritic", "noise", "scale_u")}
    cores = [Core(int(arrays["neurons_per_core"]), switches) for _ in range(int(arrays["num_cores"]))]
    for core, neuron, number, value in arrays["cfg_params"].tolist():
        if number == 26:
            cores[core].kinds[neuron % 32] = value & 0xFFF
        else:
            cores[core].parameters[neuron][number] = value
    for core, address, _, *word in arrays["cfg_pool"].tolist():
        cores[core].pool[address] = word
    for core, neuron, *run in arrays["cfg_index"].tolist():
        cores[core].index[neuron] = run
    routes = {}
    for core, neuron, slot, *to, far in arrays["cfg_routes"].tolist():
        routes[core, neuron, slot + 8 * far] = to
    out, packets = defaultdict(list), []
    for step in range(int(arrays["steps"])):
        for when, core, neuron, current in arrays["cfg_ext"].tolist():
            if when == step:
                cores[core].sums[neuron][0] = current
        for core, neuron, weight in packets:
            cores[core].sums[neuron][0] = weight
        written, packets, lost, routed = len(packets), [], 0, 0
        rows = defaultdict(list)
        for c, core in enumerate(cores):
            events, cycles = core.deliver(step)
            fired = core.update()
            core.fifo = fired[:64]
            routed += len(core.fifo)
            for neuron, payload in core.fifo:
                for slot in range(12):
                    if (c, neuron, slot) in routes:
                        target, at, weight = routes[c, neuron, slot]
                        if len(packets) < 512:
                            packets.append(
                                (target, at, wrap(weight * payload >> 7, 16) if switches["graded"] else weight)
                            )
                        else:
                            lost += 1
            carried = dict(fired)
            rows["s"].append([int(n in carried) for n in range(core.neurons)])
            rows["payload"].append([carried.get(n, 0) for n in range(core.neurons)])
            for key, value in (("v", core.v), ("u", core.u), ("refrac", core.r)):
                rows[key].append(list(value))
            for key, value in (
                ("synops", events),
                ("core_cycles", cycles),
                ("fifo_drops", len(fired) - len(core.fifo)),
            ):
                rows[key].append(value)
        for key, value in rows.items():
            out[key].append(value)
        out["inject_drops"].append(lost)
        out["cycles"].append(max(rows["core_cycles"]) + 37 * routed + len(cores) + 7 + written + (written > 0))
    return out


def random_chip(seed, cores=2, neurons=9, steps=25, busy=False):
    """The arrays of a random chip that uses everything at once; ``busy``: nearly all neurons fire in every step."""
    rng = np.random.default_rng(seed)
    each = [(c, n) for c in range(cores) for n in range(neurons)]

    def chance(p):
        return rng.random() < p

    params = []
    spans = ((0, *((-30000, -3000) if busy else (5, 900))), (1, -3, 9), (2, -40, 60), (3, 0, 1 if busy else 4))
    for c, n in each:
        for number, low, high in spans:
            params.append((c, n, number, int(rng.integers(low, high))))
        wide = chance(0.7)
        params += [(c, n, 30, -32768 if wide else -70), (c, n, 31, 32767 if wide else 800)]
        if chance(0.3):
            params.append((c, n, 3, int(rng.integers(1, 5)) + 512))
        for number, low, high in ((16, 0, 4096), (17, 0, 4096), (18, 0, 65536)):
            if chance(0.3):
                params.append((c, n, number, int(rng.integers(low, high)) if chance(0.8) else 0))
        params += [(c, n, number, int(rng.integers(-100, 100))) for number in (8, 9, 10)]
        params += [(c, n, 15, int(rng.integers(64))), (c, n, 5, int(rng.integers(4096)))]
        params += [(c, n, 29, int(rng.integers(4))), (c, n, 25, int(rng.integers(6)) if chance(0.5) else 0)]
    for c in range(cores):
        for kind in range(1, min(6, neurons)):
            packed = chance(0.5)
            width = int(rng.choice([1, 2, 4, 8])) if packed else int(rng.integers(16))
            params.append((c, kind, 26, width << 8 | int(rng.integers(256)) & 0xFE | packed))
    pool, index = [], []
    for c in range(cores):
        at = 0
        for n in range(neurons):
            form, count = int(rng.integers(3)), int(rng.integers(0, neurons))
            first = int(rng.integers(0, neurons - count)) if count else 0
            index.append((c, n, at, count, form))
            for i in range(count):
                target = first if form and i == 0 else int(rng.integers(neurons))
                delay = int(rng.integers(1, 64 if chance(0.5) else 3)) if chance(0.3) else 0
                weight = int(rng.integers(-300, 300)) if chance(0.8) else int(rng.integers(-32768, 32768))
                pool.append((c, at + i, n, target, weight, int(rng.integers(4)) if chance(0.3) else 0, delay))
            at += int(count)
    routes = [
        (
            c,
            n,
            slot if slot < 8 else slot - 8,
            rng.integers(cores),
            rng.integers(neurons),
            rng.integers(-500, 900),
            slot > 7,
        )
        for c, n in each
        for slot in range(12)
        if chance(0.8 if busy else 0.1)
    ]
    host = [(t, c, n, rng.integers(-200, 1500)) for t in range(steps) for c, n in each if chance(0.15)]
    table = {"cfg_params": (params, 4), "cfg_pool": (pool, 7), "cfg_index": (index, 5), "cfg_routes": (routes, 7)}
    table["cfg_ext"] = (host, 4)
    arrays = {key: np.array(rows, np.int32).reshape(-1, width) for key, (rows, width) in table.items()}
    scalars = {"num_cores": cores, "neurons_per_core": neurons, "steps": steps, "noc_mode": 0}
    scalars |= {key: int(chance(0.5)) for key in ("graded", "dendritic", "noise", "scale_u")}
    return arrays | {key: np.array(value) for key, value in scalars.items()}
