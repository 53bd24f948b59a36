"""Writing files so that a crash leaves the old file or the new one, never a torn one."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

TEMPORARY_PREFIX = ".writing-"


@contextmanager
def atomic_path(path: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """A temporary name beside `path` (with its suffixes) that becomes `path` when the block succeeds.

    The file is fsynced, linked or renamed into place, and its folder fsynced: once this returns, it survives
    a power cut.

    Raises:
        FileExistsError: If `path` exists and `overwrite` is not given. Nothing is changed then.
    """
    if not overwrite and path.exists():
        raise FileExistsError(f"{path}: exists already and is left as it is")
    temporary = path.with_name(f"{TEMPORARY_PREFIX}{secrets.token_hex(6)}-{path.name}")
    try:
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        if overwrite:
            os.replace(temporary, path)
        else:
            _link_new(temporary, path)
        fsync_folder(path.parent)
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()


def write_bytes(path: Path, content: bytes, *, overwrite: bool = False) -> None:
    """Write `content` to `path` atomically; see `atomic_path`."""
    with atomic_path(path, overwrite=overwrite) as temporary:
        temporary.write_bytes(content)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _link_new(temporary: Path, path: Path) -> None:
    """Give `temporary` its final name, failing if another process was there first."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise FileExistsError(f"{path}: exists already and is left as it is") from None
    except OSError:  # a file system without hard links (FAT, some network shares)
        os.rename(temporary, path)


def fsync_folder(folder: Path) -> None:
    """Make what happened in a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
