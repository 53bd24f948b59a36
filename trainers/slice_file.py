"""A volume's training slices in a folder, memory-mapped: one record for each slice, and a header that vouches for them.

A record is the image (float16), the labels (uint8) and padding up to whole pages of memory. However much is read,
`StoredSlices.copy_slice` leaves none of it in this process, and an open volume takes no file descriptor.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import json
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from datastore.atomic import fsync_folder
from trainers.slices import TrainingSlices

HEADER_FILE, RECORDS_FILE = "slices.json", "slices.raw"
PAGE = 4096  # of memory, in bytes
MADV_DONTNEED = 4  # of Linux's mman.h


@dataclass(frozen=True, eq=False)
class Header:
    """What is known of a volume's slices without looking at them.

    Attributes:
        origin: What they were made from, as JSON can hold it.
        size: Pixels along each side.
        has_lung: (slices,) bool.
    """

    origin: dict[str, Any]
    size: int
    has_lung: np.ndarray

    @property
    def record_bytes(self) -> int:
        """Bytes from one slice to the next."""
        return -(-3 * self.size**2 // PAGE) * PAGE

    def write(self, folder: Path) -> None:
        """Write it with its checksum, and through to the disk."""
        lungs = "".join("1" if has else "0" for has in self.has_lung)
        body = json.dumps({"origin": self.origin, "size": self.size, "has_lung": lungs}).encode()
        with open(folder / HEADER_FILE, "wb") as file:
            file.write(body + b"\n" + hashlib.sha256(body).hexdigest().encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

    @classmethod
    def read(cls, folder: Path) -> Header | None:
        """The header in a folder; None if there is none, or it is not as it was written."""
        try:
            body, digest, end = (folder / HEADER_FILE).read_bytes().split(b"\n")
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return None
        if end or hashlib.sha256(body).hexdigest().encode() != digest:
            return None
        content = json.loads(body)
        has_lung = np.array([one == "1" for one in content["has_lung"]], dtype=bool)
        return cls(content["origin"], content["size"], has_lung)


@dataclass(frozen=True, eq=False)
class StoredSlices(TrainingSlices):
    """Slices that lie in a folder. They can be read on when it is deleted; a pickle holds the folder's name alone.

    Attributes:
        folder: Where.
        records: (slices, bytes) uint8, memory-mapped; writing to it would change nothing on the disk.
    """

    folder: Path
    records: Tensor

    def copy_slice(self, index: int, image: np.ndarray, labels: np.ndarray) -> None:
        """Copy a slice into (size, size) float32 and (size, size) uint8, then give the pages of the map back."""
        record = self.records[index]
        pixels = image.size
        torch.from_numpy(image).copy_(record[: 2 * pixels].view(torch.float16).view(image.shape))
        torch.from_numpy(labels).copy_(record[2 * pixels : 3 * pixels].view(image.shape))
        _give_back(self.records)

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopened, (self.folder,)


def write_slices(folder: Path, origin: dict[str, Any], parts: Iterable[TrainingSlices]) -> None:
    """Write slices part by part, so that memory holds one of them, and through to the disk.

    Raises:
        ValueError: If there are no slices.
    """
    has_lung: list[np.ndarray] = []
    size = 0
    with open(folder / RECORDS_FILE, "wb") as file:
        for part in parts:
            has_lung.append(part.has_lung)
            size = part.images.shape[-1]
            padding = bytes(Header(origin, size, part.has_lung).record_bytes - 3 * size**2)
            for image, labels in zip(part.images, part.labels, strict=True):
                file.write(image.astype(np.float16).tobytes() + labels.astype(np.uint8).tobytes() + padding)
        file.flush()
        os.fsync(file.fileno())
    if not size:
        raise ValueError("expected a volume with slices, got none")
    Header(origin, size, np.concatenate(has_lung)).write(folder)
    fsync_folder(folder)


def open_slices(folder: Path) -> tuple[StoredSlices, dict[str, Any]] | None:
    """The slices in a folder and what they were made from; None if they are not there as they were written."""
    header = Header.read(folder)
    if header is None:
        return None
    path, count = folder / RECORDS_FILE, len(header.has_lung)
    length = count * header.record_bytes
    try:
        if path.stat().st_size != length:
            return None
        # torch maps a file without keeping a descriptor: hundreds of volumes would reach the usual limit of 1,024
        records = torch.from_file(str(path), shared=False, size=length, dtype=torch.uint8).view(count, -1)
    except FileNotFoundError:
        return None
    pixels = header.size**2
    images = records[:, : 2 * pixels].view(torch.float16).view(count, header.size, header.size).numpy()
    labels = records[:, 2 * pixels : 3 * pixels].view(count, header.size, header.size).numpy()
    for array in (images, labels):
        array.flags.writeable = False
    return StoredSlices(images, labels, header.has_lung, folder, records), header.origin


def _reopened(folder: Path) -> StoredSlices:
    opened = open_slices(folder)
    if opened is None:
        raise FileNotFoundError(f"{folder}: the training slices are no longer there")
    return opened[0]


def _give_back(records: Tensor) -> None:
    """Take mapped pages out of this process again; they stay in the system's cache of files.

    All of a volume's, because the system maps the neighbours of what is read, too.
    """
    advise = _madvise()
    if advise is not None:
        advise(ctypes.c_void_p(records.data_ptr()), ctypes.c_size_t(records.numel()), ctypes.c_int(MADV_DONTNEED))


@functools.cache
def _madvise() -> Any:
    """Linux's; elsewhere the system takes the pages when it needs the memory."""
    return ctypes.CDLL(None).madvise if sys.platform.startswith("linux") else None
