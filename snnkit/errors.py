"""Errors that are meant for the person at the keyboard: one line, with a way out.

The command line prints the message of any exception whose class says ``user_error = True`` and exits with 2; every
other exception is a defect and keeps its traceback. Packages that cannot import this module (``hw``) set the same
attribute on their own classes.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class SnnkitError(Exception):
    """Something the caller can mend; the message says what was given, what is allowed and what to do next."""

    user_error = True


class InvalidArgumentError(SnnkitError, ValueError):
    """An argument outside its range, or of the wrong shape or kind."""


class UnknownNameError(SnnkitError, LookupError):
    """A name (model, recipe, key …) that is not known; the message carries the nearest match."""


class NonFiniteError(SnnkitError, ArithmeticError):
    """NaN or infinity where there must be numbers; the message names the layer."""


class CorruptFileError(SnnkitError, ValueError):
    """A file that is missing, truncated, or not of the format it should be."""


class DiskError(SnnkitError, OSError):
    """A file could not be written; nothing half-written is left behind."""


def nearest(given: object, known: Iterable[str]) -> str:
    """Return `` Did you mean 'x'?`` for the closest of ``known``, or an empty string when nothing is close."""
    matches = difflib.get_close_matches(str(given), list(known), n=1, cutoff=0.5)
    return f" Did you mean {matches[0]!r}?" if matches else ""


def unknown_name(kind: str, given: object, known: Iterable[str], next_step: str = "") -> UnknownNameError:
    """Build the error for a name that is not in ``known``: names the nearest match, else all that is allowed."""
    known = sorted(known)
    hint = nearest(given, known)
    if not hint:
        shown = ", ".join(known[:12]) + (" …" if len(known) > 12 else "")
        hint = f" Known: {shown}."
    return UnknownNameError(f"unknown {kind} {given!r}.{hint}{' ' + next_step if next_step else ''}")
