"""Triton kernels: interpreted against the reference, compiled for GPUs that need not be there, and chosen rightly.

Would break it: another order of operations, a source that Triton's compiler refuses, a GPU kernel chosen on the CPU,
an import of triton that everybody pays for.
"""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from snnkit.errors import InvalidArgumentError
from snnkit.kernels.call import Call
from snnkit.neurons import ILIF, LIF, CuBaLIF, Tracer

ROOT = Path(__file__).parents[3]


@pytest.mark.slow
def test_under_the_interpreter_they_equal_the_reference():
    pytest.importorskip("triton")
    environment = {**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": str(ROOT / "tests")}
    environment.pop("PYTEST_XDIST_WORKER", None)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/interpreted/triton_kernels.py"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert " passed" in done.stdout


SETTINGS = {"T": 4, "KIND": 0, "RESET": 0, "SURROGATE": 1, "BLOCK": 512, "SAVE": 0, "DETACH": False, "GRADED": False}
SOURCES = ["charge_fire_reset", "multilevel_lif", "cuba_lif", "tracer"]
BYTES = {"saved_ptr": "*u8", "open_ptr": "*i8", "within_ptr": "*i8", "slopes_ptr": "*fp32", "levels_ptr": "*fp32"}


@pytest.mark.parametrize("capability", [80, 90])
@pytest.mark.parametrize(("real", "storage"), [("fp32", "fp32"), ("fp32", "bf16"), ("fp64", "fp64")])
@pytest.mark.parametrize("name", ["forward", "backward"])
@pytest.mark.parametrize(
    ("source", "changes"),
    [*((source, {}) for source in SOURCES), *(("charge_fire_reset", {"SAVE": n}) for n in (1, 2))],
)
def test_they_compile_for_gpus(source, changes, name, real, storage, capability, tmp_path, monkeypatch):
    triton = pytest.importorskip("triton")
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    kernel = getattr(importlib.import_module(f"snnkit.kernels.gpu.{source}"), name)
    constants = {**SETTINGS, "DOUBLE": real == "fp64", **changes}
    constants = {key: constants.get(key, not changes) for key in kernel.arg_names if key.isupper()}
    stored = ("x_ptr", "out_ptr", "grad_out_ptr", "grad_x_ptr")

    def kind(argument):
        if argument.isupper():
            return "constexpr"
        if not argument.endswith("ptr"):
            return "i64"
        return BYTES.get(argument, f"*{storage if argument in stored else real}")

    signature = {argument: kind(argument) for argument in kernel.arg_names}
    target, options = GPUTarget("cuda", capability, 32), {"enable_fp_fusion": False}
    made = triton.compile(ASTSource(kernel, signature, constants), target=target, options=options)
    assert f"sm_{capability}" in made.asm["ptx"]
    assert "fma.rn" not in made.asm["ptx"] or name == "backward", "a contracted charge would move spikes"


def call(neuron, device="cpu"):
    p, operator = neuron.constants(), neuron.operator
    start = (None,) * len(operator.state_names)
    return neuron, Call(torch.zeros(2, 1, 3, device=device), start, operator.rest(p), p, (), neuron.surrogate)


MAKERS = {"LIF": LIF, "ILIF": ILIF, "CuBaLIF": CuBaLIF, "Tracer": lambda kernel="auto": Tracer(0.3, -4, 3, 1, kernel)}


@pytest.mark.parametrize("name", MAKERS)
def test_on_the_cpu_they_say_why_not(name):
    neuron, given = call(MAKERS[name]())
    assert "run on a GPU, the input is on cpu" in neuron.operator.explain(given)["triton"]
    with pytest.raises(InvalidArgumentError, match="run on a GPU"):
        MAKERS[name](kernel="triton")(torch.zeros(2, 1, 3))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("name", MAKERS)
def test_on_a_gpu_they_are_chosen(name):
    neuron, given = call(MAKERS[name](), "cuda")
    assert neuron.operator.choose("auto", given) is neuron.operator.kernels["triton"]
    x = torch.randn(6, 4, 300, device="cuda", requires_grad=True)
    out = neuron(x)
    assert torch.equal(out.cpu(), neuron(x.cpu()))
    on_cpu = x.detach().cpu().requires_grad_()
    grads = [torch.autograd.grad(neuron(v).sum(), v)[0].cpu() for v in (x, on_cpu)]
    torch.testing.assert_close(*grads, rtol=1e-5, atol=2e-6)


def test_importing_snnkit_does_not_import_triton():
    code = "import snnkit.neurons, sys; sys.exit(any(m == 'triton' or m.startswith('triton.') for m in sys.modules))"
    before = "import torch, sys; sys.exit(any(m == 'triton' or m.startswith('triton.') for m in sys.modules))"
    if subprocess.run([sys.executable, "-c", before]).returncode:
        pytest.skip("torch imports triton itself")
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
