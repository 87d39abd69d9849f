"""What a page in one file is made of: templates, style sheet, scripts, data, and the policy that keeps it shut.

Such a page opens without a network, and no script runs in it but its own.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from snnkit.report import values
from snnkit.report.read import ReportError

_HERE = Path(__file__).parent
ASSETS = _HERE / "assets"
TEMPLATES = _HERE / "templates"


@cache
def templates(*folders: Path) -> Environment:
    """Return what renders templates: those in ``folders``, then the report's own with its macros."""
    environment = Environment(
        loader=FileSystemLoader([*folders, TEMPLATES]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(si=values.si, percent=values.percent, whole=values.whole, plural=values.plural)
    return environment


def asset(name: str, folder: Path = ASSETS) -> str:
    """Return a file to stand between <script> or <style> tags; no text in it can end the tag.

    Raises:
        ReportError: the folder holds no such file.
    """
    path = folder / name
    if not path.is_file():
        raise ReportError(f"{folder}: no {name} in it; the folder must hold the page's style sheet and scripts")
    return path.read_text(encoding="utf-8").replace("</script", r"<\/script").replace("</style", r"<\/style")


def digest(script: str) -> str:
    """Return what the page's content policy calls a script: no other one runs, wherever it came from."""
    return f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}"


def allowed(scripts: Iterable[str]) -> str:
    """Return the scripts that may run, as the page's content policy lists them."""
    return " ".join(f"'{digest(script)}'" for script in scripts)


def embedded(data: dict[str, Any]) -> str:
    """Return JSON for a script block: `<`, `>` and `&` are written as escapes, so no name can end the block."""
    packed = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return packed.replace("&", r"\u0026").replace("<", r"\u003c").replace(">", r"\u003e")
