"""Errors in one line, for people, and without the server's paths, for the network."""

from __future__ import annotations

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
