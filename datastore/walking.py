"""The files below a folder, in a fixed order."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

PROJECT_MARK = "lungapp.toml"


def walk(top: str, refused: Callable[[OSError], None], *, recursive: bool = True) -> Iterator[tuple[str, list[str]]]:
    """Folders and the names of their files, sorted; hidden ones and links to folders are left out.

    Args:
        top: Where to begin.
        refused: Called with the error of each folder that cannot be entered.
        recursive: Whether to look into the folders below.
    """
    waiting = [top]
    while waiting:
        folder = waiting.pop()
        folders: list[str] = []
        names: list[str] = []
        if folder != top and os.path.exists(f"{folder}/{PROJECT_MARK}"):
            continue  # a project, with its cache and copies
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                    elif not _is_link_to_folder(entry):
                        names.append(entry.name)
        except OSError as error:
            refused(error)
            continue
        yield folder, sorted(names)
        if recursive:
            waiting += sorted(folders, reverse=True)


def files_below(top: Path) -> Iterator[Path]:
    """Every file below a folder; what cannot be entered is left out."""
    for folder, names in walk(os.path.abspath(top), lambda _: None):
        yield from (Path(folder, name) for name in names)


def _is_link_to_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_symlink() and entry.is_dir()
    except OSError:  # a link that leads to itself
        return False
