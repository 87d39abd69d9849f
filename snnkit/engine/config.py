"""A run's complete configuration, as plain dataclasses; a recipe is a function that returns one."""

from __future__ import annotations

import json
import math
import tomllib
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any

import torch

from snnkit.data import DataConfig
from snnkit.engine.progress import console
from snnkit.errors import CorruptFileError, InvalidArgumentError, SnnkitError, UnknownNameError, unknown_name
from snnkit.files import read_json
from snnkit.models.registry import accepts, create_model, of_one_family
from snnkit.tasks.energy_penalty import check_energy


@dataclass
class ModelConfig:
    """Which model, and how it starts.

    Attributes:
        name: from ``list_models()``, or ``timm:NAME``.
        timesteps: T of a spiking model; 0 leaves it at the model's own.
        sizes: further arguments of that model.
        weights: a checkpoint to start from; "" starts at random.
        strict: whether that checkpoint must fit key by key; else what fits is taken (a new head stays random).
    """

    name: str = "spiking_cnn_small"
    timesteps: int = 0
    sizes: dict[str, Any] = field(default_factory=dict)
    weights: str = ""
    strict: bool = True


@dataclass
class EnergyConfig:
    """A penalty on synaptic operations beside any task's loss; see ``snnkit.tasks.energy_penalty``.

    Attributes:
        weight: of the penalty; 0 = none.
        target: synaptic operations per sample up to which nothing is paid, with a unit, such as "200 kSOP"; "" = none.
        per_layer: what a message of a neuron layer costs beside them, by the layer's name; set to NAME.json, what
            that file holds.
        measure: count them for the metrics also without a penalty.
        input_type: what the input consists of: real, binary, signed, integer[low,high].
    """

    weight: float = 0.0
    target: str = ""
    per_layer: dict[str, float] = field(default_factory=dict)
    measure: bool = False
    input_type: str = "real"

    @property
    def wanted(self) -> bool:
        """Whether synaptic operations are counted while training and testing."""
        return self.measure or self.weight > 0


@dataclass
class TaskConfig:
    """What is trained: a name in ``snnkit.tasks.TASKS``, further arguments of that task, and a penalty on energy."""

    name: str = "classification"
    label_smoothing: float = 0.0
    options: dict[str, Any] = field(default_factory=dict)
    energy: EnergyConfig = field(default_factory=EnergyConfig)


@dataclass
class OptimConfig:
    """How parameters move.

    Attributes:
        name: one of ``snnkit.optim`` (8-bit ones among them) or of timm and torch: adamw, adamw8bit, lamb, sgd …
        lr: learning rate; with ``lr_per`` that of so many images.
        lr_per: 0, or the number of images of one step that ``lr`` is for: lr · images / lr_per is used.
        weight_decay: not on biases, norms, and what the model exempts.
        decay_all: on these too.
        layer_decay: factor on the rate from each group of layers to the one before it; 1 = off.
        clip: bound of the gradient's norm; 0 = off.
        clip_each: whether that bounds every parameter's gradient for itself, instead of all together.
        accumulate: batches that are added up for one step.
        ema: decay of the moving average of the weights, which is then what is tested and kept; 0 = off.
        options: further arguments of the optimizer (betas, eps, momentum …).
    """

    name: str = "adamw"
    lr: float = 5e-3
    lr_per: int = 0
    weight_decay: float = 0.01
    decay_all: bool = False
    layer_decay: float = 1.0
    clip: float = 0.0
    clip_each: bool = False
    accumulate: int = 1
    ema: float = 0.0
    options: dict[str, Any] = field(default_factory=dict)


@dataclass
class ScheduleConfig:
    """The learning rate over time: "onecycle" (torch), or timm's "cosine", "tanh", "step", "poly", "constant" …

    "warmup_cosine" is a straight line, then half a cosine over what is left (timm's "cosine" goes as if it had begun
    with the warm-up); ``weight_decay_end`` is where half a cosine takes the weight decay, under any name; 0 = constant.
    "onecycle" warms up by itself, and moves momentum or β1 between 0.85 and 0.95 unless ``optim.options`` give it.
    ``warmup_lr`` and ``min_lr`` are scaled with ``optim.lr_per`` as the rate itself. ``decay_epochs`` and
    ``decay_rate`` are those of "step".
    """

    name: str = "onecycle"
    warmup_epochs: float = 0.0
    warmup_lr: float = 0.0
    min_lr: float = 0.0
    decay_epochs: float = 30.0
    decay_rate: float = 0.1
    weight_decay_end: float = 0.0


@dataclass
class RuntimeConfig:
    """Where and how it runs; none of this changes what is trained beyond rounding.

    Attributes:
        accelerator: Fabric's: auto, cpu, cuda, mps.
        devices, nodes: processes on one machine, and machines.
        strategy: auto (one process, or ddp for several), ddp, fsdp2.
        precision: Fabric's: 32-true, bf16-mixed, 16-mixed, bf16-true, 64-true.
        compile: whether the task goes through ``torch.compile``.
        grad_checkpointing: keep block inputs only, compute blocks again in the backward.
        selective_checkpointing: keep products, compute what is cheap again; of image and text towers.
        memory_budget: most bytes of a training step of one process, such as "2GiB" ("" = no limit); see snnkit.memory.
    """

    accelerator: str = "auto"
    devices: int = 1
    nodes: int = 1
    strategy: str = "auto"
    precision: str = "32-true"
    compile: bool = False
    grad_checkpointing: bool = False
    selective_checkpointing: bool = False
    memory_budget: str = ""


@dataclass
class CheckpointConfig:
    """The state is written after each epoch and each so many steps (0 = epochs only); the newest ``keep`` stay."""

    every_steps: int = 0
    keep: int = 2


@dataclass
class RunConfig:
    """Everything that decides a run's result; ``threads`` of torch while it trains, 0 for torch's own choice.

    ``stages`` are tables of keys that are set one after the other, each a run of its own (``engine.stages``).
    """

    recipe: str = "custom"
    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    task: TaskConfig = field(default_factory=TaskConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    epochs: int = 14
    seed: int = 0
    threads: int = 0
    tensorboard: bool = False
    stages: list[dict[str, Any]] = field(default_factory=list)

    def check(self) -> None:
        """Raise InvalidArgumentError for a setting outside its range."""
        whole = {
            "epochs": self.epochs,
            "optim.accumulate": self.optim.accumulate,
            "runtime.devices": self.runtime.devices,
        }
        whole |= {"runtime.nodes": self.runtime.nodes, "checkpoint.keep": self.checkpoint.keep}
        for key, value in whole.items():
            if value < 1:
                raise InvalidArgumentError(f"{key}={value}: must be ≥ 1.")
        for key, value in {
            "seed": self.seed,
            "threads": self.threads,
            "checkpoint.every_steps": self.checkpoint.every_steps,
            "optim.lr_per": self.optim.lr_per,
            "optim.clip": self.optim.clip,
            "optim.weight_decay": self.optim.weight_decay,
            "schedule.warmup_epochs": self.schedule.warmup_epochs,
            "schedule.warmup_lr": self.schedule.warmup_lr,
            "schedule.min_lr": self.schedule.min_lr,
            "schedule.weight_decay_end": self.schedule.weight_decay_end,
        }.items():
            if not value >= 0:
                raise InvalidArgumentError(f"{key}={value}: must be ≥ 0.")
        for key, value in settings(self):
            if isinstance(value, float) and not math.isfinite(value):
                raise InvalidArgumentError(f"{key}={value}: must be a finite number.")
        schedule = self.schedule
        for key, value in {
            "optim.lr": self.optim.lr,
            "schedule.decay_epochs": schedule.decay_epochs,
            "schedule.decay_rate": schedule.decay_rate,
        }.items():
            if not value > 0:
                raise InvalidArgumentError(f"{key}={value}: must be > 0.")
        if not 0 <= self.task.label_smoothing <= 1:
            raise InvalidArgumentError(f"task.label_smoothing={self.task.label_smoothing}: must be between 0 and 1.")
        if not 0 <= self.optim.ema < 1:
            raise InvalidArgumentError(f"optim.ema={self.optim.ema}: must be at least 0 and below 1.")
        if not 0 < self.optim.layer_decay <= 1:
            raise InvalidArgumentError(f"optim.layer_decay={self.optim.layer_decay}: must be above 0 and at most 1.")
        energy = self.task.energy
        check_energy(energy.weight, energy.target, energy.per_layer, energy.input_type)
        self.data.check()

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON: what a file of it is read as."""
        plain: dict[str, Any] = _listed(asdict(self))
        return plain

    @classmethod
    def from_dict(cls, given: dict[str, Any]) -> RunConfig:
        """Return the configuration that ``to_dict`` made the data of.

        Raises:
            UnknownNameError: a key that is not known (names the nearest).
            InvalidArgumentError: a value of another type than its key's.
        """
        config = cls()

        def fill(target: Any, values: Any, prefix: str) -> None:
            if not isinstance(values, dict):
                raise InvalidArgumentError(
                    f"{prefix.rstrip('.') or 'configuration'}={values!r}: must be a table of keys."
                )
            known = {item.name for item in fields(target)}
            for name, value in values.items():
                if name not in known:
                    raise unknown_name("configuration key", prefix + name, [prefix + key for key in known])
                now = getattr(target, name)
                if is_dataclass(now):
                    fill(now, value, f"{prefix}{name}.")
                elif isinstance(now, dict) and isinstance(value, dict):
                    setattr(target, name, value)
                elif isinstance(now, list):
                    setattr(target, name, _stages(value))
                else:
                    setattr(target, name, _as_type(prefix + name, value, type(now)))

        fill(config, given, "")
        return config

    @classmethod
    def load(cls, path: str | Path) -> RunConfig:
        """Return the configuration that a run wrote into its folder (config.json).

        Raises:
            CorruptFileError: the file is missing, not JSON, holds what no configuration has, or lacks model or data.
        """
        given = read_json(path)
        try:
            config = cls.from_dict(given)
        except (UnknownNameError, InvalidArgumentError) as error:
            raise CorruptFileError(f"{path}: {error}") from None
        for table in ("model", "data"):
            if table not in given:  # what a network was fed is no matter of defaults
                raise CorruptFileError(f"{path}: there is no {table!r} in it; put back the file that the run wrote.")
        return config


def override(config: RunConfig, key: str, value: Any) -> None:
    """Set ``config.a.b`` for the key ``a.b``; text is read as the field's own type.

    Another ``model.name`` changes what belonged to the model before, which is said: ``data.img_size``, where images are
    resized, is the new one's, and for another family ``model.timesteps`` and ``model.sizes`` are its own. Set these
    after the name to have others.

    Raises:
        UnknownNameError: no such key (names the nearest).
        InvalidArgumentError: the value is not of the key's type.
    """
    keys = _keys(config)
    for prefix, free in (
        ("model.sizes.", config.model.sizes),
        ("task.options.", config.task.options),
        ("task.energy.per_layer.", config.task.energy.per_layer),
        ("optim.options.", config.optim.options),
    ):
        if key.startswith(prefix):
            free[key.removeprefix(prefix)] = _guess(value)
            return
    if key == "task.energy.per_layer" and str(value).endswith(".json"):
        config.task.energy.per_layer = _read_costs(Path(str(value)))
        return
    if key == "stages":
        config.stages = _stages(value)
        return
    if key.startswith("stages."):
        _set_in_stage(config, *key.removeprefix("stages.").partition(".")[::2], value)
        return
    if key in ("model.sizes", "task.options", "task.energy.per_layer", "optim.options"):
        raise InvalidArgumentError(f"{key}={value!r}: give one at a time, as {key}.NAME=VALUE.")
    if key not in keys:
        raise unknown_name("configuration key", key, keys)
    if key == "model.name" and value != config.model.name:
        _follow(config, str(value))
    *path, last = key.split(".")
    target: Any = config
    for part in path:
        target = getattr(target, part)
    setattr(target, last, _as_type(key, value, type(getattr(target, last))))


def _stages(value: Any) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(table, dict) for table in value):
        raise InvalidArgumentError(
            f"stages={value!r}: must be tables, [[stages]] in a TOML file; one setting of a stage is stages.NAME.KEY."
        )
    return [dict(table) for table in value]


def _set_in_stage(config: RunConfig, stage: str, key: str, value: Any) -> None:
    tables = {str(table.get("stage")): table for table in config.stages}
    if stage not in tables:
        if not tables:
            raise InvalidArgumentError(f"stages.{stage}.{key}={value}: {config.recipe} has no stages.")
        raise unknown_name("stage", stage, tables)
    override(RunConfig.from_dict({**config.to_dict(), "stages": []}), key, value)  # whether it can be set
    tables[stage][key] = value


def _read_costs(path: Path) -> dict[str, float]:
    """Return what messages of layers cost, from a JSON file of names and numbers (``compiler.traffic.layer_costs``)."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidArgumentError(f"task.energy.per_layer={path}: {error.strerror or error}.") from None
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise InvalidArgumentError(
            f'task.energy.per_layer={path}: must hold one JSON object of layers and costs, such as {{"lif1": 3.5}}.'
        )
    return found


def _follow(config: RunConfig, name: str) -> None:
    """Let go of what belonged to the model before, unless it is of the family of the model called ``name``; say so."""
    model, changed = config.model, []
    if not of_one_family(model.name, name):
        if model.timesteps:
            changed.append(f"without model.timesteps={model.timesteps}")
        if model.sizes:
            changed.append(f"without model.sizes ({', '.join(model.sizes)})")
        model.timesteps, model.sizes = 0, {}
    size = _own_size(name) if config.data.img_size else 0
    if size and size != config.data.img_size:
        changed.append(f"data.img_size={size}, not {config.data.img_size}")
        config.data.img_size = size
    if changed:
        console.print(f"model.name={name} in place of {model.name}: {'; '.join(changed)}.")


def _own_size(name: str) -> int:
    """Return the side of the images that a model of one size is made for; 0 where it has none, or is not known."""
    try:
        if not accepts(name, "img_size"):
            return 0
        with torch.device("meta"):
            size = getattr(create_model(name), "img_size", 0)
    except SnnkitError:  # said when the model is made
        return 0
    return size if isinstance(size, int) else size[0] if size[0] == size[-1] else 0


def apply_toml(config: RunConfig, path: str | Path) -> None:
    """Override from a TOML file whose tables are the configuration's: ``[optim] lr = 1e-3``.

    Raises:
        CorruptFileError: the file is missing or not TOML.
        UnknownNameError, InvalidArgumentError: as ``override``.
    """
    try:
        content = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CorruptFileError(f"{path} does not exist.") from None
    except OSError as error:
        raise CorruptFileError(f"{path} cannot be read: {error.strerror or error}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CorruptFileError(f"{path} is not valid TOML: {error}.") from None

    def walk(table: dict[str, Any], prefix: str) -> None:
        for name, value in table.items():
            if isinstance(value, dict):
                walk(value, f"{prefix}{name}.")
            else:
                override(config, prefix + name, value)

    model = content.get("model")
    if isinstance(model, dict) and "name" in model:
        override(config, "model.name", model["name"])  # first: what follows from it may be set in the same file
    walk(content, "")


def _keys(config: Any, prefix: str = "") -> list[str]:
    keys = []
    for item in fields(config):
        value = getattr(config, item.name)
        keys += _keys(value, f"{prefix}{item.name}.") if is_dataclass(value) else [prefix + item.name]
    return keys


def _listed(value: Any) -> Any:
    """Return nested tables with a list for every tuple."""
    if isinstance(value, dict):
        return {key: _listed(one) for key, one in value.items()}
    return [_listed(one) for one in value] if isinstance(value, (list, tuple)) else value


def settings(config: RunConfig) -> list[tuple[str, Any]]:
    """Return every key with its value, as ``override`` takes them."""
    found = []
    for key in _keys(config):
        value: Any = config
        for part in key.split("."):
            value = getattr(value, part)
        if isinstance(value, dict):
            found += [(f"{key}.{name}", inner) for name, inner in value.items()]
        elif key == "stages":
            found += [
                (f"stages.{one.get('stage')}.{name}", one[name]) for one in value for name in one if name != "stage"
            ]
        else:
            found.append((key, value))
    return found


def _as_type(key: str, value: Any, kind: type) -> Any:
    wanted = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}.get(kind, kind.__name__)
    try:
        if kind is bool:
            if isinstance(value, bool):
                return value
            return {"true": True, "false": False, "1": True, "0": False}[str(value).lower()]
        if kind is int:
            if isinstance(value, bool) or int(str(value)) != float(str(value)):
                raise ValueError
            return int(str(value))
        if kind is float and not isinstance(value, bool):
            return float(value)
        if kind is str:
            return str(value)
        if kind is tuple:
            made = _guess(value)
            return tuple(_as_type(key, one, int) for one in (made if isinstance(made, (list, tuple)) else (made,)))
    except (ValueError, KeyError, TypeError):
        pass
    raise InvalidArgumentError(f"{key}={value!r}: must be {wanted}.")


def _guess(value: Any) -> Any:
    """Read text as what it looks like: a number, true or false, or a comma-separated tuple of these."""
    if not isinstance(value, str):
        return value
    if "," in value:
        return tuple(_guess(part.strip()) for part in value.strip("()[]").split(",") if part.strip())
    if value.lower() in ("true", "false"):
        return value.lower() == "true"
    for kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            continue
    return value
