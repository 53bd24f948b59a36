"""Reading a volume plane by plane, straight into the array that it ends in: no second copy of the voxels."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO

import numpy as np

from datastore.layout import TRAILING_BYTES, Layout
from datastore.orientation import to_lps
from datastore.volume import Volume
from datastore.wording import first_line

BUFFER_BYTES = 1 << 20
DENSEST_DEFLATE = 1040  # deflate cannot hold more bytes than this in one


def can_be_streamed(layout: Layout) -> bool:
    """Whether `read_voxels` knows how its voxels are packed."""
    return layout.compression in ("", "gzip")


def read_voxels(layout: Layout, convert: Callable[[np.ndarray], np.ndarray], dtype: np.dtype | type) -> Volume:
    """The voxels of a file, converted while they are read, and checked to the file's last byte.

    Their memory lies along LPS whatever the file's own order, so that turning the volume there costs no copy.

    Args:
        layout: Where they lie.
        convert: Called with (planes, y, x) voxels at a time, scaled as the header says; gives what is kept of them.
        dtype: Of what `convert` gives.

    Raises:
        OSError: If the file cannot be opened.
        ValueError: If it is damaged, or does not hold as many voxels as its header promises.
    """
    with _opened(layout) as file:
        array = to_lps(layout.geometry).room(layout.shape, dtype)
        try:
            for start, planes in _planes(file, layout):
                array[start : start + len(planes)] = convert(planes)
            rest = file.read(TRAILING_BYTES + 1)
        except (OSError, EOFError, zlib.error, OverflowError) as error:
            raise ValueError(f"{layout.path}: truncated or damaged: {first_line(error)}") from error
    if len(rest) > TRAILING_BYTES:
        raise ValueError(f"{layout.path}: damaged: more than {TRAILING_BYTES} bytes follow the voxels")
    return Volume(array, layout.geometry)


@contextmanager
def _opened(layout: Layout) -> Iterator[BinaryIO]:
    """The file at its first voxel, once its length shows that it can hold them all."""
    with open(layout.path, "rb") as file:
        held = max(0, file.seek(0, 2) - layout.start) * (DENSEST_DEFLATE if layout.compression else 1)
        if held < layout.voxel_bytes:
            raise _too_short(layout, held)
        file.seek(layout.start)
        if not layout.compression:
            file.seek(layout.skip, 1)
            yield file
            return
        with gzip.GzipFile(fileobj=file) as stream:
            try:
                stream.seek(layout.skip)
            except (OSError, EOFError, zlib.error) as error:
                raise ValueError(f"{layout.path}: truncated or damaged: {first_line(error)}") from error
            yield stream  # type: ignore[misc]  # read and readinto are all that is asked of it


def _planes(file: BinaryIO, layout: Layout) -> Iterator[tuple[int, np.ndarray]]:
    """Number of the first plane, and (planes, y, x) voxels; the array is used again for the next."""
    z, y, x = layout.shape
    plane_bytes = y * x * layout.dtype.itemsize
    at_once = min(z, max(1, BUFFER_BYTES // plane_bytes))
    buffer = memoryview(bytearray(at_once * plane_bytes))
    for start in range(0, z, at_once):
        wanted = buffer[: min(at_once, z - start) * plane_bytes]
        got = _fill(file, wanted)
        if got < len(wanted):
            raise _too_short(layout, start * plane_bytes + got)
        stored = np.frombuffer(wanted, layout.dtype).reshape(-1, y, x)
        yield start, layout.scaled(stored)


def _fill(file: BinaryIO, buffer: memoryview) -> int:
    """Read until a buffer is full or the file ends; how many bytes came."""
    got = 0
    while got < len(buffer):
        count = file.readinto(buffer[got:])  # type: ignore[attr-defined]
        if not count:
            break
        got += count
    return got


def _too_short(layout: Layout, got: int) -> ValueError:
    return ValueError(f"{layout.path}: truncated or damaged: expected {layout.voxel_bytes} bytes of voxels, got {got}")
