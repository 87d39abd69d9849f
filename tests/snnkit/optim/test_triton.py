"""The Triton kernel: interpreted against the reference, and compiled for GPUs that need not be there.

Would break it: another order of operations, a source that Triton's compiler refuses.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from snnkit.optim import codebook

ROOT = Path(__file__).parents[3]


@pytest.mark.slow
def test_under_the_interpreter_it_equals_the_reference():
    pytest.importorskip("triton")
    environment = {
        **os.environ,
        "TRITON_INTERPRET": "1",
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]),
    }
    environment.pop("PYTEST_XDIST_WORKER", None)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/interpreted/blockwise.py"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert " passed" in done.stdout


@pytest.mark.parametrize("capability", [80, 90])
@pytest.mark.parametrize("rule", [0, 1, 2, 3, 4])
def test_it_compiles_for_gpus(rule, capability, tmp_path, monkeypatch):
    triton = pytest.importorskip("triton")
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from snnkit.kernels.gpu.blockwise import update

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    constants = {"RULE": rule, "HAS_OUT": rule == 1, "BLOCK": 256}
    for letter, signed in (("A", True), ("B", False)):
        book = codebook(signed)
        numbers = {"SHIFT": book.shift, "LOWEST": book.lowest, "SPAN": book.span, "ZERO": book.zero, "GUARD": True}
        constants |= {f"{letter}_{key}": value for key, value in numbers.items()}
    kinds = {"a_ptr": "*u8", "b_ptr": "*u8", "a_bucket_ptr": "*i32", "b_bucket_ptr": "*i32", "count": "i64"}
    signature = {n: "constexpr" if n.isupper() else kinds.get(n, "*fp32") for n in update.arg_names}
    target, options = GPUTarget("cuda", capability, 32), {"enable_fp_fusion": False}
    made = triton.compile(ASTSource(update, signature, constants), target=target, options=options)
    assert f"sm_{capability}" in made.asm["ptx"]
    assert ".rn.f32" in made.asm["ptx"], "divisions and roots are those of the reference"
