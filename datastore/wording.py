"""Errors in one line, for people; without the server's paths, for the network; and without any name, for the log."""

from __future__ import annotations

import traceback
from pathlib import Path


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its kind if it has none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def without_path(error: BaseException, path: Path, name: str) -> str:
    """An error's message on one line, with `name` where it says `path`.

    >>> without_path(ValueError("/srv/x.nii: empty file"), Path("/srv/x.nii"), "the file")
    'empty file'
    """
    reason = str(error) if isinstance(error, (ValueError, OSError)) else f"{type(error).__name__}: {error}"
    return " ".join(reason.replace(f"{path}: ", "").replace(str(path), name).split())


def printable(text: str) -> str:
    """A text on one line without anything that steers a terminal, or that a database cannot keep.

    >>> printable("x" + chr(10) + chr(27) + "[2Jy")
    'x  [2Jy'
    """
    return "".join(letter if letter.isprintable() else " " for letter in text)


def raised_at(error: BaseException) -> str:
    """The kind of an error and the lines of code it came through; not its message, which may name a patient's file."""
    return f"{type(error).__name__}\n{''.join(traceback.format_tb(error.__traceback__))}"
