"""A folder of training slices, one entry for each volume and its mask: made once, then mapped by every training."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from datastore.atomic import TEMPORARY_PREFIX, fsync_folder
from infers.preprocess import Preprocessing
from trainers.slice_file import StoredSlices, open_slices, write_slices
from trainers.slices import SLICES_VERSION, TrainingSlices, slices_in_blocks

SHA256 = re.compile("[0-9a-f]{64}")
OCCUPIED = errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR  # what renaming to a name in use ends with
ABANDONED_S = 24 * 3600.0  # no volume takes longer to be written


class SliceCache:
    """Slices by what they are made from: image, mask, preprocessing. Several processes may use it at once.

    An entry is written under another name, through to the disk, and renamed: it is there whole or not at all. All of it
    may be deleted at any time; whoever reads from an entry then can go on.

    Args:
        folder: Made if missing.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def volume(
        self,
        image_sha256: str,
        label_sha256: str,
        how: Preprocessing,
        make: Callable[[], tuple[np.ndarray, np.ndarray]],
    ) -> TrainingSlices:
        """The slices of a volume, memory-mapped.

        Args:
            image_sha256: Of the image, 64 hexadecimal digits.
            label_sha256: Of its mask.
            how: Window and size.
            make: Gives (slices, y, x) int16 Hounsfield units and (slices, y, x) uint8 labels, both along LPS; called
                only if the slices are not there, or not as they were written.

        Raises:
            ValueError: If a hash is none, the mask is not on the grid of the image, or there are no slices.
        """
        for what, digest in (("image", image_sha256), ("label", label_sha256)):
            if not SHA256.fullmatch(digest):
                raise ValueError(f"expected the SHA-256 of the {what} as 64 hexadecimal digits, got {digest!r}")
        preprocessing = json.loads(json.dumps({**asdict(how), "version": SLICES_VERSION}))
        origin = {"image_sha256": image_sha256, "label_sha256": label_sha256, "preprocessing": preprocessing}
        settings = hashlib.sha256(json.dumps(preprocessing, sort_keys=True).encode()).hexdigest()
        entry = self.folder / f"{image_sha256}-{label_sha256}-{settings[:12]}"
        return _opened(entry, origin) or self._made(entry, origin, how, make)

    def prune(self, kept: Iterable[TrainingSlices]) -> int:
        """Delete all entries but these, and what killed processes left behind; the number of entries deleted.

        Args:
            kept: Slices of this cache that are needed further on.
        """
        names = {slices.folder.name for slices in kept if isinstance(slices, StoredSlices)}
        deleted = 0
        for path in self.folder.iterdir() if self.folder.is_dir() else ():
            temporary = path.name.startswith(TEMPORARY_PREFIX)
            with suppress(FileNotFoundError):  # another process was first
                if temporary and time.time() - path.stat().st_mtime < ABANDONED_S:
                    continue  # it may be written right now
                if path.name not in names:
                    _delete(path)
                    deleted += not temporary
        return deleted

    def _made(
        self,
        entry: Path,
        origin: dict[str, Any],
        how: Preprocessing,
        make: Callable[[], tuple[np.ndarray, np.ndarray]],
    ) -> StoredSlices:
        hu, labels = make()
        self.folder.mkdir(parents=True, exist_ok=True)
        temporary = self._temporary(entry)
        try:
            temporary.mkdir()
            write_slices(temporary, origin, slices_in_blocks(hu, labels, how))
            made = _opened(temporary, origin)  # mapped before anybody can delete it
            if made is None:
                raise OSError(f"{temporary}: the slices that were written are not there")
            self._put_in_place(temporary, entry, origin)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return replace(made, folder=entry)

    def _put_in_place(self, temporary: Path, entry: Path, origin: dict[str, Any]) -> None:
        """Rename, unless another process has made the same meanwhile; what is torn there is put aside first."""
        while True:
            try:
                os.rename(temporary, entry)
                break
            except OSError as error:
                if error.errno not in OCCUPIED:
                    raise
            if _opened(entry, origin) is not None:
                return
            aside = self._temporary(entry)
            with suppress(FileNotFoundError):  # another process was first
                os.rename(entry, aside)
                _delete(aside)
        fsync_folder(self.folder)

    def _temporary(self, entry: Path) -> Path:
        return self.folder / f"{TEMPORARY_PREFIX}{secrets.token_hex(6)}-{entry.name}"


def _opened(entry: Path, origin: dict[str, Any]) -> StoredSlices | None:
    opened = open_slices(entry)
    return opened[0] if opened is not None and opened[1] == origin else None


def _delete(path: Path) -> None:
    """A folder with all that is in it, or a file."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
