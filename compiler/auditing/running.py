"""Someone else's Python file, run because its user points at it: from FILE:FACTORY to a module.

Published repositories import SpikingJelly by the names of its age, ``clock_driven`` or ``activation_based`` with
``backend=``. snnkit's own modules stand under these names while the block of ``published_names`` runs; afterwards
everything is found as before.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import sys
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from snnkit.errors import CorruptFileError, InvalidArgumentError, SnnkitError, nearest, unknown_name

_LIBRARY = "spikingjelly"
_OLD_WORDS = (f"{_LIBRARY}.clock_driven", f"{_LIBRARY}.cext", "backend=", "import clock_driven")
_FILES = 300
"""How many files of a repository are looked through for the names that they import."""

_SIDE_TOOLS = ("torchinfo", "torchsummary", "thop", "ptflops", "fvcore", "wandb", "tensorboard", "tensorboardX", "cupy")
"""Packages that say nothing about what a network computes; where one is missing, an empty module stands for it."""

_NEVER_TWICE = {"snnkit", "hw", "compiler", "torch", "timm", "numpy"}
"""Packages that are in use here and must not be loaded again from a folder that holds them."""


@dataclass(frozen=True)
class Place:
    """Where a factory stands: the ``folder`` whose modules it imports, its ``module``'s name, its own name."""

    folder: Path
    module: str
    factory: str

    @property
    def text(self) -> str:
        """In words."""
        return f"{self.folder / self.module.replace('.', '/')}.py:{self.factory}"


def is_python(what: str) -> bool:
    """Whether the words on the command line mean a Python file: FILE.py or FILE.py:FACTORY."""
    return what.endswith(".py") or ".py:" in what


def place_of(what: str, model: str | None) -> Place:
    """Return where the factory is that ``what`` (FILE.py:FACTORY, or a folder) and ``model`` (MODULE:FACTORY) name.

    Raises:
        InvalidArgumentError: no factory is named.
        CorruptFileError: there is no such file.
    """
    if is_python(what):
        file, _, factory = what.rpartition(":") if ".py:" in what else (what, "", "")
        path, factory = Path(file), factory or (model or "").rpartition(":")[2]
        folder, module = path.resolve().parent, path.stem
    else:
        path, (name, _, factory) = Path(what), (model or "").partition(":")
        folder, module = path.resolve(), name.removesuffix(".py").replace("/", ".")
        path = folder / f"{module.replace('.', '/')}.py"
        if not path.exists() and (folder / module.replace(".", "/") / "__init__.py").exists():
            path = folder / module.replace(".", "/") / "__init__.py"
    if not path.is_file():
        near = nearest(path.name, [one.name for one in path.parent.glob("*.py")] if path.parent.is_dir() else [])
        raise CorruptFileError(f"{path} does not exist.{near}")
    if not factory:
        raise InvalidArgumentError(
            f"{what} names no factory: which function or class builds the network? Give FILE.py:FACTORY, or a folder "
            f"and --model MODULE:FACTORY. Defined there: {_some(_defined(path))}."
        )
    return Place(folder, module, factory)


def options_of(words: Sequence[str]) -> dict[str, Any]:
    """Return the arguments for a factory from words KEY=VALUE; a value that is no Python literal is text.

    Raises:
        InvalidArgumentError: a word of another form, or a key that comes twice.
    """
    found: dict[str, Any] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key.isidentifier():
            raise InvalidArgumentError(f"--set {word}: must be KEY=VALUE, such as --set num_classes=10.")
        if key in found:
            raise InvalidArgumentError(f"--set {word}: {key} is set to {found[key]!r} already.")
        try:
            found[key] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            found[key] = value
    return found


@contextmanager
def published_names(old: bool) -> Iterator[None]:
    """Let SpikingJelly's ``old`` names, or those of the installed one, be found while the block runs."""
    kept = _out((_LIBRARY,))
    finder = _Empty(_SIDE_TOOLS if old else _SIDE_TOOLS[:-1])  # an installed SpikingJelly looks for CuPy itself
    sys.meta_path.append(finder)
    try:
        if old:
            _install_old()
        yield
    finally:
        sys.meta_path.remove(finder)
        if old:
            from snnkit.importers import clock_driven

            clock_driven.uninstall()
        _out(finder.given)
        made = _out((_LIBRARY,))
        sys.modules.update(kept or ({} if old else made))


def wants_old_names(place: Place) -> list[bool]:
    """Return which names to try, in order: True for the old ones of the shim, False for an installed SpikingJelly."""
    with published_names(old=False):
        installed = importlib.util.find_spec(_LIBRARY) is not None
    beside = islice((file for pattern in ("*.py", "*/*.py") for file in place.folder.glob(pattern)), _FILES)
    texts = [one.read_text(encoding="utf-8", errors="replace") for one in beside if one.is_file()]
    old = any(word in text for text in texts if _LIBRARY in text for word in _OLD_WORDS)
    return [True] if not installed else [True, False] if old else [False, True]


def build(place: Place, options: Mapping[str, Any]) -> nn.Module:
    """Run the file and return what its factory makes; call it inside of ``published_names``.

    Raises:
        InvalidArgumentError: the file or its factory fails, or makes something that is no module.
        UnknownNameError: no such factory, or it has no such argument (names the nearest).
    """
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)  # weights that are drawn are the same each time
        return _built(place, options)


def _built(place: Place, options: Mapping[str, Any]) -> nn.Module:
    module = _imported(place)
    factory = getattr(module, place.factory, None)
    if factory is None:
        raise unknown_name(f"factory in {place.module}.py", place.factory, _factories(module))
    if isinstance(factory, nn.Module):
        return factory
    if not callable(factory):
        raise InvalidArgumentError(f"{place.text} is a {type(factory).__name__}, and builds nothing.")
    _check_options(factory, place, options)
    with _guarded(f"{place.factory}({', '.join(f'{k}={v!r}' for k, v in options.items())})"):
        made = factory(**options)
    if not isinstance(made, nn.Module):
        raise InvalidArgumentError(f"{place.text} made a {type(made).__name__}; it must return a torch module.")
    return made


def _imported(place: Place) -> ModuleType:
    """Import the module as its repository would: its folder first on the path, its own names not kept."""
    own = {one.stem for one in place.folder.glob("*.py")} | {place.module.partition(".")[0]}
    own |= {one.name for one in place.folder.iterdir() if one.is_dir() and any(one.glob("*.py"))}
    own -= _NEVER_TWICE
    sys.path.insert(0, str(place.folder))
    importlib.invalidate_caches()
    shadowed = _out(own)  # another repository may have modules of the same names
    try:
        with _guarded(f"{place.folder.name}/{place.module.replace('.', '/')}.py"):
            return importlib.import_module(place.module)
    finally:
        sys.path.remove(str(place.folder))
        _out(own)
        sys.modules.update(shadowed)


def _out(names: Collection[str]) -> dict[str, ModuleType]:
    """Take modules below these names out of those that are loaded, and return them."""
    return {name: sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] in names}


@contextmanager
def _guarded(what: str) -> Iterator[None]:
    """Run someone's code: what it prints goes to the error stream, what it raises becomes one line."""
    try:
        with redirect_stdout(sys.stderr), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except SnnkitError:
        raise
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        way = f" Install it (pip install {missing})." if missing and missing not in sys.modules else ""
        raise InvalidArgumentError(f"{what} cannot be run: {first_line(error)}.{way}") from error
    except (Exception, SystemExit) as error:
        raise InvalidArgumentError(
            f"{what} fails{line_of(error)}: {type(error).__name__}: {first_line(error)}"
        ) from error


def first_line(error: BaseException) -> str:
    """Return the first line of what an exception says."""
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__).rstrip(".")


def line_of(error: BaseException) -> str:
    """Return the last line of the user's own code in a traceback, in words."""
    found, trace = "", error.__traceback__
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if not file.startswith("<") and "/torch/" not in file and "/snnkit/" not in file and "/auditing/" not in file:
            found = f" ({file.rsplit('/', 1)[-1]}, line {trace.tb_lineno})"
        trace = trace.tb_next
    return found


def _factories(module: ModuleType) -> list[str]:
    """Return what may build a network: functions and modules that the file defines."""
    own = {name: value for name, value in vars(module).items() if not name.startswith("_")}
    return [
        name
        for name, value in own.items()
        if (inspect.isfunction(value) or (inspect.isclass(value) and issubclass(value, nn.Module)))
        and value.__module__ == module.__name__
    ]


def _defined(path: Path) -> list[str]:
    """Return the functions and classes of a file, without running it."""
    try:
        tree = ast.parse(path.read_text(encoding="utf-8", errors="replace"))
    except SyntaxError:
        return []
    kinds = (ast.FunctionDef, ast.ClassDef)
    return [node.name for node in tree.body if isinstance(node, kinds) and not node.name.startswith("_")]


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[-8:]) or "nothing"


def _check_options(factory: Callable[..., Any], place: Place, options: Mapping[str, Any]) -> None:
    """Refuse an argument that the factory does not have; what it passes on, its own callees judge."""
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):
        return
    if any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters):
        return
    known = [one.name for one in parameters]
    for key in options:
        if key not in known:
            raise unknown_name(f"argument of {place.factory}", key, known)


def _install_old() -> None:
    """Install the old names; those of the compiled neurons (``cext``), which computed the same, beside them."""
    from snnkit.importers import clock_driven
    from snnkit.importers.clock_driven import neuron

    clock_driven.install()
    extension = ModuleType(f"{_LIBRARY}.cext", "The compiled neurons' names.")
    extension.__path__ = []
    extension.neuron = neuron  # type: ignore[attr-defined]
    sys.modules[f"{_LIBRARY}.cext"], sys.modules[f"{_LIBRARY}.cext.neuron"] = extension, neuron
    sys.modules[_LIBRARY].cext = extension  # type: ignore[attr-defined]


class _Empty:
    """Finds an empty module for a side tool that is not installed; ``given`` names those that were asked for."""

    def __init__(self, names: Sequence[str]):
        self.names, self.given = names, set[str]()

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """Return where it is: here."""
        top = name.partition(".")[0]
        if top not in self.names:
            return None
        self.given.add(top)
        return importlib.util.spec_from_loader(name, self)  # type: ignore[arg-type]

    def create_module(self, spec: Any) -> ModuleType:
        """Return it."""
        made = _Nothing(spec.name)
        made.__path__ = []
        return made

    def exec_module(self, module: ModuleType) -> None:
        """It holds nothing."""


class _Nothing(ModuleType):
    """Every name in it is a function that does nothing."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *_, **__: None
