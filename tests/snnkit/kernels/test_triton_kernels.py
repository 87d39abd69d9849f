"""Triton kernels: interpreted against the reference, compiled for GPUs that need not be there, and chosen rightly.

Would break it: another order of operations, a source that Triton's compiler refuses, a GPU kernel chosen on the CPU,
an import of triton that everybody pays for.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from snnkit.errors import InvalidArgumentError
from snnkit.kernels.call import Call
from snnkit.neurons import LIF

ROOT = Path(__file__).parents[3]


def test_under_the_interpreter_they_equal_the_reference():
    pytest.importorskip("triton")
    environment = {**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": str(ROOT / "tests")}
    environment.pop("PYTEST_XDIST_WORKER", None)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/interpreted/triton_kernels.py"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert " passed" in done.stdout


@pytest.mark.parametrize("capability", [80, 90])
@pytest.mark.parametrize(("real", "storage"), [("fp32", "fp32"), ("fp32", "bf16"), ("fp64", "fp64")])
@pytest.mark.parametrize("name", ["forward", "backward"])
def test_they_compile_for_gpus(name, real, storage, capability, tmp_path, monkeypatch):
    triton = pytest.importorskip("triton")
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from snnkit.kernels.gpu import charge_fire_reset as source

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    kernel = getattr(source, name)
    constants = {"T": 4, "KIND": 0, "RESET": 0, "DOUBLE": real == "fp64", "BLOCK": 512, "DETACH": False, "SURROGATE": 1}
    constants = {key: constants.get(key, True) for key in kernel.arg_names if key.isupper()}
    stored = ("x_ptr", "out_ptr", "grad_out_ptr", "grad_x_ptr")

    def kind(argument):
        if argument.isupper():
            return "constexpr"
        return f"*{storage if argument in stored else real}" if argument.endswith("ptr") else "i64"

    signature = {argument: kind(argument) for argument in kernel.arg_names}
    target, options = GPUTarget("cuda", capability, 32), {"enable_fp_fusion": False}
    made = triton.compile(ASTSource(kernel, signature, constants), target=target, options=options)
    assert f"sm_{capability}" in made.asm["ptx"]
    assert "fma.rn" not in made.asm["ptx"] or name == "backward", "a contracted charge would move spikes"


def call(device="cpu"):
    neuron = LIF()
    return neuron, Call(torch.zeros(2, 1, 3, device=device), (None,), (0.0,), neuron.constants(), (), neuron.surrogate)


def test_on_the_cpu_they_say_why_not():
    neuron, given = call()
    assert "run on a GPU, the input is on cpu" in neuron.operator.explain(given)["triton"]
    with pytest.raises(InvalidArgumentError, match="run on a GPU"):
        LIF(kernel="triton")(torch.zeros(2, 1, 3))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_on_a_gpu_they_are_chosen():
    neuron, given = call("cuda")
    assert neuron.operator.choose("auto", given) is neuron.operator.kernels["triton"]
    x = torch.randn(6, 4, 300, device="cuda")
    assert torch.equal(neuron(x).cpu(), neuron(x.cpu()))


def test_importing_snnkit_does_not_import_triton():
    code = "import snnkit.neurons, sys; sys.exit(any(m == 'triton' or m.startswith('triton.') for m in sys.modules))"
    before = "import torch, sys; sys.exit(any(m == 'triton' or m.startswith('triton.') for m in sys.modules))"
    if subprocess.run([sys.executable, "-c", before]).returncode:
        pytest.skip("torch imports triton itself")
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
