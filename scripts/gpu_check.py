#!/usr/bin/env python3
"""Everything that wants a GPU, in one run of at most eight minutes, what matters most first.

What has to be carried to a machine without a network: this repository and its packages as wheels,

    pip download --dest wheels --python-version 3.12 --only-binary :all: --no-deps \
        lightning-fabric lightning-utilities torchmetrics safetensors cyclopts docstring-parser rich-rst rich jinja2 \
        timm numba llvmlite scipy spikingjelly bitsandbytes

(torch, torchvision and Triton are the machine's own; leave out what it has). There, from the repository's root:

    pip install --no-index --find-links wheels --no-deps wheels/*.whl && PYTHONPATH=. python scripts/gpu_check.py

Rows are written to benchmarks/gpu.json as they are found, so that a run that is cut off leaves what it had. A check
that fails is a row that says so, and the next one begins. ``--dry`` runs the same checks small, on a CPU with Triton's
interpreter, says what a GPU would be given, and leaves benchmarks/gpu.json alone.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
OUTPUT = ROOT / "benchmarks" / "gpu.json"
SECONDS = 480
COPY_BAR = 0.85
Row = dict[str, Any]


@dataclass
class Machine:
    """Where the checks run, and how large.

    Attributes:
        device: "cuda" or "cpu".
        small: whether sizes are those of a dry run.
    """

    device: str
    small: bool

    def pick(self, whole: Any, small: Any) -> Any:
        """Return the size for this machine."""
        return small if self.small else whole

    def milliseconds(self, run: Callable[[], Any], repeats: int = 20) -> float:
        """Return the median time of a call, after three that are not measured."""
        import torch

        for _ in range(self.pick(3, 1)):
            run()
        taken = []
        for _ in range(self.pick(repeats, 1)):
            self.wait()
            start = time.perf_counter()
            run()
            self.wait()
            taken.append(time.perf_counter() - start)
        return 1e3 * float(torch.tensor(taken, dtype=torch.float64).median())

    def wait(self) -> None:
        """Wait for the device."""
        import torch

        if self.device == "cuda":
            torch.cuda.synchronize()


@dataclass(frozen=True)
class Check:
    """One check: what a GPU is given, and the function that yields its rows."""

    name: str
    plan: str
    run: Callable[[Machine], Iterator[Row]] = field(repr=False)
    interpreted: bool = False  # in a dry run: of the others, whole networks, the interpreter would take minutes


def neurons() -> dict[str, Callable[..., Any]]:
    """Return the neurons that have a Triton kernel, by name."""
    from snnkit.neurons import IF, ILIF, LIF, CuBaLIF, ParametricLIF

    return {"LIF": LIF, "IF": IF, "ParametricLIF": ParametricLIF, "ILIF": ILIF, "CuBaLIF": CuBaLIF}


def kernels(machine: Machine) -> Iterator[Row]:
    """Spikes and gradients of the Triton kernels against the reference, a row for each neuron, type and save tier."""
    import torch

    from snnkit.surrogates import SURROGATES

    tolerance = {torch.float32: 1e-5, torch.bfloat16: 1e-2, torch.float16: 2e-3}
    shapes = machine.pick(((3, 5, 7, 9), (2, 64, 31, 33), (1, 1)), ((3, 5, 7), (1, 1)))
    lengths = machine.pick((1, 2, 4, 16, 64), (1, 4))
    for name, make in neurons().items():
        for dtype in tolerance:
            for save in ("exact", "code8", "rect") if name in ("LIF", "IF") else ("exact",):
                surrogate = {"surrogate": SURROGATES["rect"]()} if save == "rect" else {}
                neuron = make(v_threshold=0.7, **surrogate).to(machine.device)
                row: Row = {"case": f"kernel {name}", "variant": f"{str(dtype)[6:]}, {save}", "spikes": 0}
                row |= {"differing": 0, "gradient_error": 0.0, "bar": 0.05 if save == "code8" else tolerance[dtype]}
                for shape in shapes:
                    for steps in lengths:
                        for layout in ("contiguous", "channels_last"):
                            if layout == "contiguous" or len(shape) == 4:
                                _compared(neuron, _drive(machine, steps, shape, dtype, layout), save, row)
                yield row | {"reached": row["differing"] == 0 and row["gradient_error"] <= row["bar"]}


def _drive(machine: Machine, steps: int, shape: tuple[int, ...], dtype: Any, layout: str) -> Any:
    import torch

    x = torch.randn(steps, *shape, generator=torch.Generator().manual_seed(steps)) * 1.2 + 0.4
    if layout == "channels_last":
        x = x.flatten(0, 1).contiguous(memory_format=torch.channels_last).unflatten(0, x.shape[:2])
    return x.to(machine.device, dtype)


def _compared(neuron: Any, x: Any, save: str, row: Row) -> None:
    """Add what differs between the Triton kernel on ``x`` and the reference on the same values in float32."""
    import torch

    found = []
    for kernel, given in (("triton", x), ("reference", x.float())):
        leaf = given.detach().requires_grad_()
        tier = "exact" if kernel == "reference" else save
        out, _ = neuron.operator(leaf, None, neuron.constants(), neuron.surrogate, kernel=kernel, save=tier)
        weights = torch.linspace(-1, 1, out.numel(), device=x.device).reshape(out.shape)
        (gradient,) = torch.autograd.grad((out.float() * weights).sum(), leaf)
        found.append((out.detach().float(), gradient.float()))
    (ours, gradient), (right, expected) = found
    row["spikes"] += int(right.sum())
    row["differing"] += int((ours != right).sum())
    row["gradient_error"] = max(row["gradient_error"], float((gradient - expected).abs().max()))


def bandwidth(machine: Machine) -> Iterator[Row]:
    """Forward and training of each neuron beside a copy of the same bytes: the share of the copy's bandwidth."""
    import torch

    shape = machine.pick((4, 64, 128, 56, 56), (2, 2, 4, 8, 8))
    for dtype in (torch.float32, torch.bfloat16):
        x = torch.randn(shape, device=machine.device).mul_(1.5).to(dtype)
        target = torch.empty_like(x)
        copied = 2 * x.nbytes / machine.milliseconds(lambda x=x, target=target: target.copy_(x)) / 1e6
        kind = str(dtype)[6:]
        yield {"case": "copy", "variant": kind, "value": copied, "unit": "GB/s"}
        for name, make in neurons().items():
            neuron = make(kernel="triton").to(machine.device)
            leaf, upstream = x.clone().requires_grad_(), torch.randn_like(x)

            def infer(neuron: Any = neuron, x: Any = x) -> None:
                with torch.no_grad():
                    neuron(x)

            def train(neuron: Any = neuron, leaf: Any = leaf, upstream: Any = upstream) -> None:
                leaf.grad = None
                neuron(leaf).backward(upstream)

            # Read x, write spikes; training also reads x and the gradient, and writes one.
            for what, run, moved in (("forward", infer, 2), ("training", train, 5)):
                taken = machine.milliseconds(run)
                share = moved * x.nbytes / taken / 1e6 / copied
                row = {"case": f"{name} {what}", "variant": kind, "ms": taken, "share_of_copy": share}
                yield row | {"bar": COPY_BAR, "reached": share >= COPY_BAR}


def peers(machine: Machine) -> Iterator[Row]:
    """LIF forward and backward against SpikingJelly, which takes its own GPU kernels, and torch.compile of the loop."""
    import torch

    from snnkit.bench.lif import plain_loop
    from snnkit.neurons import LIF
    from snnkit.surrogates import ATan

    variants: dict[str, Callable[[Any], Any]] = {"snnkit": LIF(surrogate=ATan()).to(machine.device)}
    variants["torch.compile"] = torch.compile(plain_loop, backend=machine.pick("inductor", "eager"))
    if find_spec("spikingjelly"):
        variants["spikingjelly"] = _spikingjelly(machine)
    for steps in machine.pick((4, 16), (2,)):
        x = torch.randn(machine.pick((steps, 32, 128, 28, 28), (steps, 2, 4, 8, 8)), device=machine.device)
        leaf, upstream = x.mul_(1.5).requires_grad_(), torch.randn_like(x)
        for name, module in variants.items():

            def train(module: Any = module, leaf: Any = leaf, upstream: Any = upstream) -> None:
                leaf.grad = None
                module(leaf).backward(upstream)

            try:
                yield {"case": f"LIF training T={steps}", "variant": name, "ms": machine.milliseconds(train)}
            except Exception as error:
                yield {"case": f"LIF training T={steps}", "variant": name, "error": _line(error)}


def _spikingjelly(machine: Machine) -> Callable[[Any], Any]:
    from spikingjelly.activation_based import neuron, surrogate

    node = neuron.LIFNode(surrogate_function=surrogate.ATan(), detach_reset=True, step_mode="m")
    node = node.to(machine.device)

    def run(x: Any) -> Any:
        node.reset()
        return node(x)

    return run


def networks(machine: Machine) -> Iterator[Row]:
    """Training steps of two networks: images a second, peak memory, and the share of time in neurons."""
    import torch

    import snnkit

    sizes = {
        "spikformer_8_384": {"embed_dim": 16, "depth": 1, "num_heads": 2, "pools": "0110"},
        "meta_spikeformer_15m": {"embed_dim": (8, 8, 16, 16), "depths": (1, 1, 1, 1, 1), "num_heads": 1},
    }
    side, batch = machine.pick(224, 32), machine.pick(32, 2)
    for name, small in sizes.items():
        model = snnkit.create_model(name, img_size=side, timesteps=machine.pick(4, 1), **machine.pick({}, small))
        model = model.to(machine.device).train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
        x, labels = torch.randn(batch, 3, side, side).to(machine.device), torch.arange(batch).to(machine.device)

        def step(model: Any = model, optimizer: Any = optimizer, x: Any = x, labels: Any = labels) -> None:
            optimizer.zero_grad()
            with torch.autocast(machine.device, torch.bfloat16):
                loss = torch.nn.functional.cross_entropy(model(x), labels)
            loss.backward()
            optimizer.step()

        if machine.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        taken = machine.milliseconds(step, 10)
        peak = torch.cuda.max_memory_allocated() / 2**20 if machine.device == "cuda" else None
        row = {"case": f"training {name}, {side} pixels, bf16, batch {batch}", "images_per_second": 1e3 * batch / taken}
        yield row | {"peak_MiB": peak, "share_in_neurons": _share(step, machine)}


def _share(step: Callable[[], None], machine: Machine) -> float:
    """Return which share of the device's time snnkit's operators take in a step."""
    from torch.profiler import ProfilerActivity, profile

    on_gpu = machine.device == "cuda"
    with profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]) as watched:
        step()
        machine.wait()
    averages = watched.key_averages()
    whole = sum(e.self_device_time_total if on_gpu else e.self_cpu_time_total for e in averages)
    ours = [e for e in averages if e.key.startswith("snnkit::") or e.key in ("_Direct", "_DirectBackward")]
    return sum(e.device_time_total if on_gpu else e.cpu_time_total for e in ours) / max(whole, 1e-9)


def cuda_graphs(machine: Machine) -> Iterator[Row]:
    """A network's inference as a CUDA graph: the same numbers, and how much faster a replay is than a call."""
    import torch

    import snnkit

    model = snnkit.create_model("spiking_cnn_small", in_chans=1, img_size=28, timesteps=4).to(machine.device).eval()
    x = torch.rand(machine.pick(64, 2), 1, 28, 28, device=machine.device)
    with torch.no_grad():
        wanted = model(x)
        if machine.device != "cuda":
            yield {"case": "CUDA graph", "variant": "spiking_cnn_small", "left_out": "captured on a GPU only"}
            return
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(3):
                model(x)
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            made = model(x)
        graph.replay()
        row = {"case": "CUDA graph", "variant": "spiking_cnn_small", "equal": bool(torch.equal(made, wanted))}
        yield row | {"call_ms": machine.milliseconds(lambda: model(x)), "replay_ms": machine.milliseconds(graph.replay)}


def optimizers(machine: Machine) -> Iterator[Row]:
    """A step of 8-bit AdamW beside bitsandbytes' and torch's fused one."""
    import torch

    from snnkit.optim import AdamW8bit

    count, settings = machine.pick(1 << 26, 1 << 14), {"lr": 1e-4, "weight_decay": 0.01}
    makers: dict[str, Callable[[Any], Any]] = {
        "snnkit AdamW8bit": lambda p: AdamW8bit(p, **settings),
        "torch AdamW fused": lambda p: torch.optim.AdamW(p, fused=True, **settings),
    }
    if find_spec("bitsandbytes") and machine.device == "cuda":
        import bitsandbytes

        makers["bitsandbytes AdamW8bit"] = lambda p: bitsandbytes.optim.AdamW8bit(p, **settings)
    for name, make in makers.items():
        parameter = torch.nn.Parameter(torch.randn(count, device=machine.device) * 0.02)
        parameter.grad = torch.randn_like(parameter) * 1e-3
        taken = machine.milliseconds(make([parameter]).step)
        yield {"case": f"AdamW step, {count:,} parameters", "variant": name, "ms": taken}


def engine(machine: Machine) -> Iterator[Row]:
    """FSDP2 on one card beside one plain process, then the demo's recipe."""
    from snnkit.engine import train
    from snnkit.recipes import get_recipe

    for strategy in ("auto", "fsdp2") if machine.device == "cuda" else ("auto",):
        yield _trained(get_recipe("demo"), train, machine, strategy, 1, 640)
    yield _trained(get_recipe("demo"), train, machine, "auto", *machine.pick((None, 0), (1, 64)))


def _trained(config: Any, train: Any, machine: Machine, strategy: str, epochs: int | None, limit: int) -> Row:
    config.runtime.accelerator, config.runtime.strategy = machine.device, strategy
    config.epochs = epochs or config.epochs
    limit = machine.pick(limit, 64)
    config.data.train_limit = limit
    config.data.test_limit = machine.pick(0, 20)
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        run = train(config, Path(folder) / "run")
    row = {"case": f"demo's recipe, {config.epochs} epochs, {limit or 'all'} images", "variant": strategy}
    return row | {"accuracy": run.final_score, "seconds": time.perf_counter() - start}


CHECKS = (
    Check("kernels", "neurons × 3 types × save tiers × shapes × T = 1 … 64 against the reference", kernels, True),
    Check("bandwidth", "forward and training of 5 neurons on [4, 64, 128, 56, 56] beside a copy", bandwidth, True),
    Check("networks", "training steps of Spikformer 8-384 and Meta-SpikeFormer 15M, 224 pixels, T = 4, bf16", networks),
    Check("peers", "LIF training against SpikingJelly and torch.compile of the plain loop, T = 4, 16", peers),
    Check("cuda graphs", "inference of a network, captured and replayed", cuda_graphs),
    Check("optimizers", "a step of 8-bit AdamW on 67 M parameters beside bitsandbytes and torch fused", optimizers),
    Check("engine", "FSDP2 on one card, then the demo's recipe on the GPU", engine),
)


def _line(error: BaseException) -> str:
    first = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {first}"[:300]


def run_all(machine: Machine, names: list[str], output: Path | None) -> tuple[list[Row], bool]:
    """Run the checks in order and write what is found after each; return the rows and whether all went well."""
    from snnkit.bench import harness
    from snnkit.files import write_json

    began, rows, well = time.perf_counter(), [], True
    for check in CHECKS:
        if names and check.name not in names:
            continue
        print(f"{check.name}: {check.plan}{' (small here)' if machine.small else ''}", flush=True)
        if machine.small:
            os.environ["TRITON_INTERPRET"] = "1" if check.interpreted else "0"
        over = time.perf_counter() - began > SECONDS
        try:
            for row in () if over else check.run(machine):
                rows.append({"check": check.name, **row})
                print("  " + ", ".join(f"{key} {_shown(value)}" for key, value in row.items()), flush=True)
                if output is not None:
                    write_json(output, {"machine": harness.machine() | {"device": _device()}, "rows": rows})
                over = time.perf_counter() - began > SECONDS
                if over:
                    break
        except Exception as error:  # the next check may still tell something
            rows.append({"check": check.name, "error": _line(error)})
            print(f"  {_line(error)}", flush=True)
            well = False
        if over:
            rows.append({"check": check.name, "left_out": f"what remained after {SECONDS} s"})
    if output is not None:
        write_json(output, {"machine": harness.machine() | {"device": _device()}, "rows": rows})
    return rows, well


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _device() -> str:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"


def main() -> int:
    """Run from the command line; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dry", action="store_true", help="small, on a CPU with Triton's interpreter")
    parser.add_argument("--only", action="append", default=[], choices=[check.name for check in CHECKS])
    given = parser.parse_args()
    if given.dry:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    sys.path.insert(0, str(ROOT))
    import torch

    if not given.dry and not torch.cuda.is_available():
        print("gpu_check: no GPU here; --dry runs the checks small on a CPU.", file=sys.stderr)
        return 2
    torch.manual_seed(0)
    with nullcontext() if given.dry else torch.cuda.device(0):
        machine = Machine("cpu" if given.dry else "cuda", given.dry)
        _, well = run_all(machine, given.only, None if given.dry else OUTPUT)
    print("dry: benchmarks/gpu.json is left as it is" if given.dry else f"rows are in {OUTPUT}")
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
