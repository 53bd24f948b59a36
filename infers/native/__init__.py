"""Compiled convolutions, where a compiler built them and the CPU has AVX-512 or AVX2; never needed.

`convolution.c` is plain C without Python's API; this module loads it and gives its functions types.
"""

from __future__ import annotations

import ctypes
import functools
from dataclasses import dataclass
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import numpy as np

INSTRUCTION_SETS = {16: "avx512", 8: "avx2"}
LIBRARY = "_convolution"


@dataclass(frozen=True, eq=False)
class Kernels:
    """The compiled functions for one instruction set. Each does the work of one thread and frees Python's lock.

    Attributes:
        lanes: Floats in a vector register; channels have to be multiples of it.
        instruction_set: `avx512` or `avx2`.
    """

    lanes: int
    instruction_set: str
    _library: ctypes.CDLL

    def call(self, function: str, *arguments: np.ndarray | int | None) -> None:
        """Call a function of `convolution.c`: arrays (float32, C order) go as pointers, None as NULL."""
        compiled = getattr(self._library, f"{function}_{self.instruction_set}")
        compiled(*map(_as_c, arguments))


def kernels(lanes: int | None = None) -> Kernels | None:
    """The kernels for this CPU, or None where there are none.

    Args:
        lanes: An instruction set other than the widest: 16 for AVX-512, 8 for AVX2.

    Raises:
        ValueError: If this CPU has not so many lanes.
    """
    library = _library()
    most = 0 if library is None else int(library.lanes_here())
    if lanes is not None and (lanes not in INSTRUCTION_SETS or lanes > most):
        raise ValueError(f"expected at most {most} lanes on this machine, got {lanes}")
    if library is None or most == 0:
        return None
    lanes = lanes or most
    return Kernels(lanes, INSTRUCTION_SETS[lanes], library)


def reason_for_none() -> str:
    """Why `kernels` gives none, if it does."""
    if _library() is None:
        return "the kernels were not compiled; install again with a C compiler to have them"
    return "the kernels need a CPU with AVX2"


def aligned(shape: tuple[int, ...]) -> np.ndarray:
    """An array on a cache line's beginning, its values undefined: vectors that straddle lines load at half speed.

    Args:
        shape: Of the array; float32.
    """
    raw = np.empty(4 * int(np.prod(shape)) + 64, dtype=np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + 4 * int(np.prod(shape))].view(np.float32).reshape(shape)


def _as_c(argument: np.ndarray | int | None) -> ctypes.c_void_p | ctypes.c_int64:
    if isinstance(argument, np.ndarray):
        return ctypes.c_void_p(argument.ctypes.data)
    return ctypes.c_void_p(None) if argument is None else ctypes.c_int64(argument)


@functools.cache
def _library() -> ctypes.CDLL | None:
    folder = Path(__file__).parent
    for suffix in EXTENSION_SUFFIXES:
        path = folder / f"{LIBRARY}{suffix}"
        if path.is_file():
            library = ctypes.CDLL(str(path))
            library.lanes_here.restype = ctypes.c_int64
            return library
    return None
