"""What is said when memory runs out: how much was asked for at once, and what takes less."""

from __future__ import annotations

import re

_ASKED = re.compile(r"(?:tried to allocate|unable to allocate) ([\d.]+) ?([kmgtpe]?i?b)", re.IGNORECASE)
_NONE_LEFT = re.compile(r"can't allocate memory|not enough memory|out of memory", re.IGNORECASE)
_POWERS = "bkmgtpe"


def told(error: BaseException) -> str:
    """Return the line for an error that is of memory, of torch, numpy or Python itself; "" for any other."""
    if not isinstance(error, MemoryError) and not (isinstance(error, RuntimeError) and _NONE_LEFT.search(str(error))):
        return ""
    return (
        f"memory ran out{_asked(str(error))}. What is held at once gets smaller with data.batch_size (optim.accumulate "
        "keeps the batch of a step), runtime.grad_checkpointing=true, fewer --images, or a smaller network; a run that "
        "was under way goes on with --resume."
    )


def _asked(text: str) -> str:
    """How much was asked for, where the message says so."""
    found = _ASKED.search(text)
    if found is None:
        return ""
    from snnkit.memory.size import show_bytes

    size = float(found[1]) * 1024 ** _POWERS.index(found[2][0].lower())
    return f": {show_bytes(int(size))} were asked for at once"
