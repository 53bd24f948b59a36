"""Image files below a folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from datastore import image_files
from datastore.walking import files_below


def images_below(folder: Path) -> Iterator[Path]:
    """Every file below a folder that is called like an image; sorted, hidden ones left out."""
    return (path for path in files_below(folder) if image_files.suffix_of(path))


def stem(path: Path) -> str:
    """A file's name without `.nii.gz`, `.mhd`, ..."""
    return image_files.stem_of(path)


def check_is_there(path: Path) -> Path:
    """The path of a file that is not empty.

    Raises:
        FileNotFoundError: If it is not there.
        ValueError: If it is empty.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path.name}: no such file")
    if path.stat().st_size == 0:
        raise ValueError(f"{path.name}: empty file (0 bytes)")
    return path
