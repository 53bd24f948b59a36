"""The folder that masks go to: whether it can be written to, and what a run that was killed left there."""

from __future__ import annotations

import fcntl
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from datastore.atomic import TEMPORARY_PREFIX
from lungapp.segment_reports import report_path

TEMPORARY = re.compile(re.escape(TEMPORARY_PREFIX) + r"[0-9a-f]{12}-(.+)")


@contextmanager
def output_folder(folder: Path, targets: Sequence[Path]) -> Iterator[None]:
    """Makes the folder of masks ready; as long as the block runs, no other run takes its files for leftovers.

    Args:
        folder: Is made if it is not there.
        targets: The masks that will be written, in it or below: temporary files of other names are left alone.

    Raises:
        OSError: If nothing can be written there; before hours are spent on masks.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(f"{folder}: cannot be made: {error.strerror}") from error
    check_is_writable(folder)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # another run is at work here, or the file system knows no locks
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _remove(targets)
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield
    finally:
        os.close(descriptor)


def check_is_writable(folder: Path) -> None:
    """Make sure that files can be made in a folder; permissions alone do not tell.

    Raises:
        OSError: If they cannot.
    """
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OSError(f"{folder}: cannot be written to: {error.strerror}") from error


def _remove(targets: Sequence[Path]) -> None:
    """Remove the temporary files of some masks and their reports."""
    names: dict[Path, set[str]] = {}
    for target in targets:
        names.setdefault(target.parent, set()).update((target.name, report_path(target).name))
    for folder, known in names.items():
        if not folder.is_dir():
            continue
        for entry in list(os.scandir(folder)):
            match = TEMPORARY.fullmatch(entry.name)
            if match is not None and match[1] in known:
                os.unlink(entry.path)
