"""Which CT volumes lie under a path, all at once and each with a name for what is made of it."""

from __future__ import annotations

import os
import re
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from datastore import image_files
from datastore.found import Found
from datastore.grouping import Limits
from datastore.records import Source
from datastore.scan import nothing, scan
from datastore.series import Rejected

__all__ = ["Found", "find_sources"]

ALL_AT_ONCE = Limits(buffered=sys.maxsize, quiet=sys.maxsize)  # no series is given in parts


def find_sources(
    path: Path, progress: Callable[[], None] | None = None, passed_over: Callable[[Path], bool] = nothing
) -> tuple[list[Found], list[Rejected]]:
    """Every CT volume under a path.

    Args:
        path: A file, or a folder that is searched with all folders below it.
        progress: Called once for each file that was looked at.
        passed_over: Whether a file in a folder is left out without being opened.

    Returns:
        The volumes in the order of their paths, and the files and series that are none, with the reason.

    Raises:
        FileNotFoundError: If the path is not there.
        ValueError: If it is a file of an unknown kind.
    """
    path = Path(os.path.abspath(path))
    if not path.exists() and not path.is_symlink():
        raise FileNotFoundError(f"{path}: no such file or folder")
    if not path.is_dir():
        image_files.check_is_known(path)
    found: list[Found] = []
    rejected: list[Rejected] = []
    known = passed_over if path.is_dir() else nothing
    counted = None if progress is None else lambda _: progress()
    for item in scan([path], known=known, progress=counted, limits=ALL_AT_ONCE):
        if isinstance(item, Found):
            found.append(item)
        else:
            rejected.append(item)
    found.sort(key=lambda item: (str(item.source.path), item.source.series_uid or ""))
    if not path.is_dir():
        stem = image_files.stem_of(path) if image_files.suffix_of(path) else path.stem
        named = [replace(item, source=Source(path, item.source.series_uid), name=Path(stem)) for item in found]
        return named, [replace(item, damaged=True) for item in rejected]  # somebody means this very file
    return _named(found, path), rejected


def _named(found: list[Found], top: Path) -> list[Found]:
    """Volumes with names that mirror the folders below `top`, each of them once."""
    counts = Counter(item.source.path for item in found if item.series is not None)
    taken: set[Path] = set()
    named: dict[str, Path] = {}
    for item in sorted(found, key=lambda item: item.series is None):  # scan.nrrd gives way to a series in `scan`
        path = item.source.path
        if item.series is not None:
            name = path.relative_to(top) if path != top else Path(top.name)
            if counts[path] > 1 or name in taken:
                name = name / re.sub(r"[^0-9A-Za-z]+", ".", item.series.uid).strip(".")
        else:
            name = (path.parent / image_files.stem_of(path)).relative_to(top)
            if name in taken:  # scan.nrrd beside scan.nii.gz
                name = path.relative_to(top)
        taken.add(name)
        named[item.source.key] = name
    return [replace(item, name=named[item.source.key]) for item in found]
