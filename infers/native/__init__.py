"""Compiled convolutions and surfaces, where a compiler built them; never needed.

`convolution.c` (for CPUs with AVX-512 or AVX2) and `surface.c` are plain C without Python's API; this module loads them
and gives their functions types.
"""

from __future__ import annotations

import ctypes
import functools
from dataclasses import dataclass
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import numpy as np

INSTRUCTION_SETS = {16: "avx512", 8: "avx2"}
CONVOLUTION, SURFACE = "_convolution", "_surface"


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


@dataclass(frozen=True, eq=False)
class SurfaceKernels:
    """The functions of `surface.c`. Each does the work of one thread and frees Python's lock."""

    _library: ctypes.CDLL

    def call(self, function: str, *arguments: np.ndarray | int) -> None:
        """Call a function: arrays (C order, of the types that it declares) go as pointers."""
        getattr(self._library, function)(*map(_as_c, arguments))


def surface_kernels() -> SurfaceKernels | None:
    """The compiled functions for surfaces, or None where there are none."""
    library = _library(SURFACE)
    return None if library is None else SurfaceKernels(library)


def kernels(lanes: int | None = None) -> Kernels | None:
    """The kernels for this CPU, or None where there are none.

    Args:
        lanes: An instruction set other than the widest: 16 for AVX-512, 8 for AVX2.

    Raises:
        ValueError: If this CPU has not so many lanes.
    """
    library = _library(CONVOLUTION)
    most = 0 if library is None else _lanes(library)
    if lanes is not None and (lanes not in INSTRUCTION_SETS or lanes > most):
        raise ValueError(f"expected at most {most} lanes on this machine, got {lanes}")
    if library is None or most == 0:
        return None
    lanes = lanes or most
    return Kernels(lanes, INSTRUCTION_SETS[lanes], library)


def reason_for_none() -> str:
    """Why `kernels` gives none, if it does."""
    if _library(CONVOLUTION) is None:
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


def _lanes(library: ctypes.CDLL) -> int:
    library.lanes_here.restype = ctypes.c_int64
    return int(library.lanes_here())


def _as_c(argument: np.ndarray | int | None) -> ctypes.c_void_p | ctypes.c_int64:
    if isinstance(argument, np.ndarray):
        return ctypes.c_void_p(argument.ctypes.data)
    return ctypes.c_void_p(None) if argument is None else ctypes.c_int64(argument)


@functools.cache
def _library(name: str) -> ctypes.CDLL | None:
    folder = Path(__file__).parent
    paths = (folder / f"{name}{suffix}" for suffix in EXTENSION_SUFFIXES)
    return next((ctypes.CDLL(str(path)) for path in paths if path.is_file()), None)
