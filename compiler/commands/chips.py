"""``snnkit chips``: the chips that are described, with every number, its range and its source."""

from __future__ import annotations

from cyclopts import App

chips = App(help="List the chips that are described, show one, or lay two side by side.")


@chips.default
def show(name: str | None = None, *, toml: bool = False) -> None:
    """List the chips, or show one with all its numbers and their sources.

    Parameters
    ----------
    name
        A chip of the list; mesh:width=16,height=16,neurons=512 for a mesh of your own (`snnkit chips mesh` lists its
        parameters); or a file that describes one, NAME.toml.
    toml
        Print the chip as such a file, to start one of your own from.
    """
    from compiler.commands import show_chips
    from hw import get_chip
    from snnkit.errors import InvalidArgumentError

    if name is None and toml:
        raise InvalidArgumentError("--toml prints one chip: name it, as in `snnkit chips loihi1 --toml`.")
    if name is None:
        show_chips.listed()
    elif toml:
        show_chips.as_toml(get_chip(name))
    else:
        show_chips.card(get_chip(name))


@chips.command
def diff(a: str, b: str) -> None:
    """Lay two chips side by side: numbers that both have with their ratio, then what only one has.

    Parameters
    ----------
    a
        A chip, as `snnkit chips` lists it; a mesh with parameters; or a file.
    b
        Another one.
    """
    from compiler.commands import show_chips
    from hw import get_chip

    show_chips.side_by_side(get_chip(a), get_chip(b))
