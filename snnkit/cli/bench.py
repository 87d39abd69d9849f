"""``snnkit bench``: measure against the peers and store the figures."""

from __future__ import annotations

from pathlib import Path


def bench(
    *names: str, repeats: int = 9, output: Path = Path("benchmarks"), threads: int = 1, list_: bool = False
) -> None:
    """Measure snnkit against its peers in one process, in turns, by process CPU time.

    The peers (spikingjelly, snntorch) come with the test extra. Each benchmark writes NAME.json with the rows, the
    versions and the machine. Ratios count, not milliseconds.

    Parameters
    ----------
    names
        Which benchmarks; all without a name.
    repeats
        Rounds in which every variant runs once.
    output
        Folder of the JSON files.
    threads
        Threads of torch.
    list_
        Only say which there are.
    """
    from snnkit.bench import about, modules
    from snnkit.engine.progress import console
    from snnkit.errors import InvalidArgumentError, unknown_name

    known = modules()
    if list_:
        for name in known:
            console.print(f"{name:16} {about(name)}")
        return
    for name in names:
        if name not in known:
            raise unknown_name("benchmark", name, known)
    if repeats < 1 or threads < 1:
        raise InvalidArgumentError(f"repeats={repeats}, threads={threads}: both must be ≥ 1.")
    for name in names or known:
        _measure(name, known[name], repeats, threads, output)


def _measure(name: str, module: str, repeats: int, threads: int, output: Path) -> None:
    import importlib

    import torch

    from snnkit import allocator
    from snnkit.bench.harness import machine
    from snnkit.engine.progress import console
    from snnkit.errors import InvalidArgumentError
    from snnkit.files import write_json

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    allocator.prepare()
    try:
        rows = importlib.import_module(module).run(repeats)
    except ModuleNotFoundError as error:
        raise InvalidArgumentError(
            f"the benchmark {name!r} needs {error.name}, a peer to compare with: pip install 'snnkit[test]'."
        ) from error
    finally:
        torch.set_num_threads(before)
    path = output / f"{name}.json"
    output.mkdir(parents=True, exist_ok=True)
    write_json(path, {"benchmark": name, "repeats": repeats, "threads": threads, "machine": machine(), "rows": rows})
    console.print(_table(name, rows))
    console.print(f"written to {path}")


def _value(row: dict) -> str:
    value = row["value"]
    return f"{value if isinstance(value, str) else f'{value:.4g}'} {row['unit']}".rstrip()


def _table(name: str, rows: list[dict]) -> object:
    from rich.table import Table

    table = Table("case", "variant", "min ms", "median ms", "times the peer", "bar", title=name, box=None)
    for row in rows:
        mark = {True: " reached", False: " NOT reached"}.get(row.get("reached"), "")
        shown = f"{row['ratio']:.2f}x {row['against']}" if "ratio" in row else _value(row)
        times = [f"{row[key]:.3f}" if key in row else "" for key in ("min_ms", "median_ms")]
        table.add_row(row["case"], row["variant"], *times, shown, f"{row.get('bar', '')}{mark}")
    return table
