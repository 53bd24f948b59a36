"""Where the voxels of an image file lie, and the first of them, without reading the rest."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from datastore.geometry import Geometry
from datastore.wording import first_line

PEEK_BYTES = 2 << 20  # of voxels: four slices of 512 x 512
CHUNK_BYTES = 1 << 18
TRAILING_BYTES = 1 << 20  # some programs pad their files; more than this is no padding
ANY_ZLIB = 47  # zlib's or gzip's header, whichever is there


@dataclass(frozen=True)
class Layout:
    """How the voxels of a volume are stored.

    Attributes:
        shape: (z, y, x) voxels.
        geometry: Their grid.
        path: The file that holds them.
        start: Byte of that file at which they, or the stream that holds them, begin.
        dtype: Of one voxel as stored.
        skip: Bytes in front of them in the decompressed stream.
        compression: `gzip`, `zlib`, or "".
        compressed_bytes: Length of a zlib stream, or None if the header does not say.
        slope: What a stored number is multiplied with.
        intercept: What is added then.
    """

    shape: tuple[int, int, int]
    geometry: Geometry
    path: Path
    start: int
    dtype: np.dtype
    skip: int = 0
    compression: str = ""
    compressed_bytes: int | None = None
    slope: float = 1.0
    intercept: float = 0.0

    @property
    def voxel_bytes(self) -> int:
        """Bytes of all voxels, decompressed."""
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize

    @property
    def is_unsigned(self) -> bool:
        """Whether no voxel can be below zero."""
        return self.dtype.kind == "u" and not self.is_scaled

    @property
    def is_scaled(self) -> bool:
        """Whether the stored numbers are not the values themselves."""
        return (self.slope, self.intercept) != (1.0, 0.0)

    def scaled(self, stored: np.ndarray) -> np.ndarray:
        """Stored numbers as the header means them: float32 if it scales them, else as they are."""
        if not self.is_scaled:
            return stored
        return stored.astype(np.float32) * np.float32(self.slope) + np.float32(self.intercept)


def is_whole(layout: Layout) -> bool:
    """Whether the file's length is what its header promises; False if that cannot be told without reading it."""
    size = layout.path.stat().st_size
    if layout.compression == "zlib":
        return layout.compressed_bytes is not None and layout.start + layout.compressed_bytes <= size
    if layout.compression == "gzip":  # its last four bytes are the length of the stream
        with open(layout.path, "rb") as file:
            file.seek(max(0, size - 4))
            stated = int.from_bytes(file.read(4), "little")
        return (stated - layout.skip - layout.voxel_bytes) % (1 << 32) <= TRAILING_BYTES
    return 0 <= size - layout.start - layout.voxel_bytes <= TRAILING_BYTES


def first_voxels(layout: Layout, most_bytes: int = PEEK_BYTES) -> np.ndarray:
    """The first voxels of a file in one row, scaled as its header says.

    Raises:
        ValueError: If they cannot be decompressed.
    """
    wanted = layout.skip + min(most_bytes // layout.dtype.itemsize * layout.dtype.itemsize, layout.voxel_bytes)
    with open(layout.path, "rb") as file:
        file.seek(layout.start)
        if not layout.compression:
            content = file.read(wanted)
        else:
            try:
                content = _decompressed(file.read, wanted)
            except zlib.error as error:
                raise ValueError(f"truncated or damaged: {first_line(error)}") from error
    if len(content) < wanted:
        raise ValueError(f"truncated or damaged: expected {wanted} bytes of voxels, got {len(content)}")
    return layout.scaled(np.frombuffer(content[layout.skip : wanted], layout.dtype))


def _decompressed(read: Callable[[int], bytes], wanted: int) -> bytes:
    """The first bytes of a stream; gzip allows several streams one after the other."""
    parts: list[bytes] = []
    missing = wanted
    decoder = zlib.decompressobj(ANY_ZLIB)
    chunk = read(CHUNK_BYTES)
    while chunk and missing > 0:
        part = decoder.decompress(chunk, missing)
        parts.append(part)
        missing -= len(part)
        chunk = decoder.unconsumed_tail
        if decoder.eof:
            chunk, decoder = decoder.unused_data, zlib.decompressobj(ANY_ZLIB)
        chunk = chunk or read(CHUNK_BYTES)
    return b"".join(parts)
