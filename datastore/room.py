"""Room for the voxels of a scan: memory, or for a very long scan a temporary file."""

from __future__ import annotations

import math
import mmap
import os
import tempfile

import numpy as np

MOST_IN_MEMORY_BYTES = 1 << 30  # 2,048 slices of 512 x 512 int16


def room(shape: tuple[int, ...], dtype: np.dtype | type) -> np.ndarray:
    """An array in C order that is not filled yet.

    Above 1 GiB it lies in a nameless file in the temporary folder ($TMPDIR), mapped into memory: when memory is
    short the system writes its pages out instead of ending the program. The file goes with the array. Where that
    folder has no room for it, it is an ordinary array.

    Raises:
        MemoryError: If there is room nowhere.
    """
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    if size > MOST_IN_MEMORY_BYTES:
        try:
            with tempfile.TemporaryFile(prefix="lungapp-") as file:
                os.posix_fallocate(file.fileno(), 0, size)  # a full disk says so here; later it would end the program
                return np.frombuffer(mmap.mmap(file.fileno(), size), dtype).reshape(shape)
        except OSError:
            pass  # ordinary memory may still do
    return np.empty(shape, dtype)
