"""An audit as a file: JSON, Markdown or a page, by the ending of its name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from compiler.auditing import markdown, page
from snnkit.errors import InvalidArgumentError
from snnkit.files import atomic_path


def _json(found: dict[str, Any]) -> str:
    return json.dumps(found, indent=2, ensure_ascii=False, allow_nan=False)


_FORMS: dict[str, Callable[[dict[str, Any]], str]] = {".json": _json, ".md": markdown.text, ".html": page.text}


def check_suffix(path: Path) -> None:
    """Raise InvalidArgumentError for an ending that is none of the forms."""
    if path.suffix not in _FORMS:
        raise InvalidArgumentError(f"--output {path}: must end in {', '.join(_FORMS)}.")


def text_of(found: dict[str, Any], suffix: str) -> str:
    """Return an audit as text: ".json", ".md" or ".html"."""
    return _FORMS[suffix](found)


def write(found: dict[str, Any], path: Path) -> None:
    """Write an audit beside and rename it."""
    with atomic_path(path) as temporary:
        temporary.write_text(text_of(found, path.suffix) + "\n", encoding="utf-8")
