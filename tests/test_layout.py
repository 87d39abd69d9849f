"""House rules that a machine can check."""

import ast
import importlib
import pkgutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("snnkit", "hw", "compiler")
FILES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_are_short_and_functions_shorter(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 600
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            assert node.end_lineno - node.lineno + 1 <= 60, f"{node.name} is too long"


def test_every_module_says_what_it_is():
    for path in FILES:
        assert ast.get_docstring(ast.parse(path.read_text())), path


@pytest.mark.parametrize("package", PACKAGES)
def test_public_names_exist(package):
    module = importlib.import_module(package)
    for name in module.__all__:
        assert getattr(module, name) is not None


def test_no_file_of_the_compiler_hides_a_public_function():
    """Importing a file binds its name to the package: none may be that of a function, and none needs patching."""
    import compiler

    files = {module.name for module in pkgutil.iter_modules(compiler.__path__)}
    assert not files & {"capture", "check", "compile", "convert", "count", "interpret", "verify"}
    for name in sorted(files):
        importlib.import_module(f"compiler.{name}")
    for name in ("capture", "check", "compile", "count", "interpret"):
        assert callable(getattr(compiler, name))


def test_every_module_imports_on_its_own():
    """No import cycles that only work in one order: each top-level package in a process of its own."""
    import sys

    for package in PACKAGES:
        names = [m.name for m in pkgutil.walk_packages([str(ROOT / package)], f"{package}.")]
        names = [n for n in names if "__main__" not in n]
        script = "import importlib, sys\nfor n in sys.argv[1:]: importlib.import_module(n)"
        subprocess.run([sys.executable, "-c", script, *reversed(names)], check=True)


def test_only_one_place_reads_pickles_and_only_when_asked():
    """That place opens tensors alone unless its caller insists."""
    reader = ROOT / "snnkit/checkpoints/read.py"
    assert reader.read_text().count("torch.load(") == reader.read_text().count("weights_only=not allow_pickle") == 1
    for path in FILES:
        text = path.read_text().replace("allow_pickle=allow_pickle", "")
        if path == reader:
            continue
        assert "pickle.load" not in text, path
        assert "torch.load(" not in text, path
        assert "allow_pickle=True" not in text, path
