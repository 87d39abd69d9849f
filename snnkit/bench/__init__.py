"""Benchmarks against named peers, run by ``snnkit bench`` and stored as JSON.

Each is one file with a ``run(repeats) -> list of rows`` (see ``row.py``). To add one: the file, and its line below.
Another package adds its own as entry points of the group ``snnkit.benchmarks``: name = module.
"""

from __future__ import annotations

from importlib.metadata import entry_points

GROUP = "snnkit.benchmarks"
BENCHMARKS: dict[str, str] = {
    "lif": "multi-step LIF against SpikingJelly, snnTorch and torch.compile",
    "meta_spikeformer": "Meta-SpikeFormer 15m against the same network with SpikingJelly's neurons",
    "detection": "a training step of spiking Mask R-CNN against the same network with SpikingJelly's neurons",
    "events": "event-driven linear and convolution layers against torch's dense ones",
    "swin_v2": "Swin Transformer V2 against timm's, and the memory of training it at high resolution",
    "transformer": "SpikingJelly's Spikformer, imported, against the original and torch.compile of it",
    "optim": "AdamW with 8-bit states against torch and bitsandbytes",
    "uniformer": "UniFormer and MOAT deployed, against themselves as built",
    "memory": "peak memory of training that transformer with and without a plan, against the original",
    "memory_pages": "training steps with huge pages and kept memory against plain memory",
    "ssl": "masked pre-training: visible tokens only against all, and the published step",
    "pairs": "image–text steps in parts against one pass, and a batch of 65,536",
    "data": "batches of image folders and of arrays against torchvision's data sets under torch's loader",
}


def modules() -> dict[str, str]:
    """Return the module of every benchmark by its name: those above, then those of other packages by name."""
    others = {entry.name: entry.value for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name)}
    return {**{name: f"snnkit.bench.{name}" for name in BENCHMARKS}, **others}


def about(name: str) -> str:
    """Return what a benchmark measures: its line above, or the first line of its module."""
    if name in BENCHMARKS:
        return BENCHMARKS[name]
    import importlib

    return (importlib.import_module(modules()[name]).__doc__ or "").partition("\n")[0].rstrip(".")
