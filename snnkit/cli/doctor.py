"""``snnkit doctor``: what is installed, what it can use, and what is missing."""

from __future__ import annotations


def doctor() -> None:
    """Show versions, machine, data sets, optional packages and tools."""
    import shutil
    from importlib.util import find_spec
    from pathlib import Path

    from rich.markup import escape
    from rich.table import Table

    from snnkit import allocator, kernels
    from snnkit.bench.memory_pages import gain
    from snnkit.data.fashion_mnist import DEBIAN_FOLDER, VENDORED
    from snnkit.engine.progress import console
    from snnkit.engine.run_folder import environment

    facts = environment(seed=0)
    table = Table("what", "found", "what for or how to get it", box=None)
    table.add_row("Python", facts["python"], "")
    for name, version in facts["packages"].items():
        table.add_row(name, version, "")
    machine = facts["machine"]
    table.add_row("machine", f"{machine['cores']} cores, {machine['memory_gib']} GiB, {machine['device']}", "")
    table.add_row("memory", allocator.shown(), allocator.advice())
    table.add_row("memory, what it brings", gain(), "LIF forward and backward, tensors of 32 MiB; processor time")
    optional = (
        ("nir", "exchange with other tools: pip install 'snnkit[nir]'"),
        ("spikingjelly", "comparisons: pip install 'snnkit[spikingjelly]'"),
    )
    for name, use in optional:
        table.add_row(name, "yes" if find_spec(name) else "no", escape(use))
    for what, missing in kernels.availability().items():
        table.add_row(what, "no" if missing else "yes", escape(missing))
    full = Path(DEBIAN_FOLDER).is_dir()
    table.add_row("Fashion-MNIST subset", "yes" if VENDORED.exists() else "no", "comes with snnkit")
    table.add_row("Fashion-MNIST, full", "yes" if full else "no", "apt-get install dataset-fashion-mnist")
    table.add_row(
        "chromium", "yes" if shutil.which("chromium") else "no", "tests of the report: apt-get install chromium"
    )
    console.print(table)
