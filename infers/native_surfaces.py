"""Surfaces and their distances by compiled functions, with one bit for each voxel.

Corners in both surfaces need no search, and most are. Around another one the rows of the other surface are searched
for the nearest corner, nearest row first, 64 columns at a time; for what lies far from everything whole slices of the
exact distance are made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from infers.agreement import Agreement, UnknownLabelError
from infers.native import SurfaceKernels
from infers.surface_distances import DirectedDistances, SurfaceDistances
from infers.surfels import CODES, surfel_areas

BITS = 64
ROWS = 256  # that are searched around a corner
PIECES = 8  # of the work for each thread: they are not equally long

T = TypeVar("T")


def native_agreements(
    kernels: SurfaceKernels,
    reference: np.ndarray,
    prediction: np.ndarray,
    values: Sequence[int],
    spacing_mm: tuple[float, float, float],
    threads: int,
) -> Iterator[Agreement]:
    """See `mask_agreement.agreements`; the arrays have to lie in C order."""
    with ThreadPoolExecutor(threads) as pool:
        team = _Team(kernels, pool, threads)
        bits = [team.pack(mask, values) for mask in (reference, prediction)]
        for one, other in zip(*bits, strict=True):
            slices = np.flatnonzero(one.any(axis=(1, 2)) | other.any(axis=(1, 2)))
            some = slice(slices[0], slices[-1] + 1) if slices.size else slice(0, 1)
            one, other = one[some], other[some]
            yield Agreement(*team.count(one, other), _distances(team, one, other, spacing_mm))


@dataclass(frozen=True, eq=False)
class _Surface:
    """A mask's surface.

    Attributes:
        mask: (z, y, words) uint64, bits of the voxels.
        corners: (z + 1, y + 1, words) uint64, bits of the corners in the surface.
        filled: (z + 1, y + 1) uint8, whether a row has any.
    """

    mask: np.ndarray
    corners: np.ndarray
    filled: np.ndarray


@dataclass(frozen=True, eq=False)
class _Team:
    """Calls each compiled function from several threads, for a piece of its work each."""

    kernels: SurfaceKernels
    pool: ThreadPoolExecutor
    threads: int

    def pack(self, mask: np.ndarray, values: Sequence[int]) -> np.ndarray:
        """(values, z, y, words) uint64: bits of the voxels that have each value."""
        slices, height, width = mask.shape
        rows, words = slices * height, width // BITS + 1  # there is one more column of corners than of voxels
        bits = np.empty((len(values), slices, height, words), np.uint64)
        wanted = np.array(values, np.uint8)
        unknown = np.zeros(1, np.uint8)
        self.share(
            rows,
            lambda first, last: self.kernels.call(
                "pack", mask, first, last, rows, width, words, wanted, len(values), bits, unknown
            ),
        )
        if unknown[0]:
            raise UnknownLabelError(int(unknown[0]))
        return bits

    def count(self, one: np.ndarray, other: np.ndarray) -> tuple[int, int, int]:
        """How many bits are in one, in the other, and in both."""
        found = np.zeros(3, np.int64)
        self.kernels.call("count", one, other, one.size, found)
        return int(found[0]), int(found[1]), int(found[2])

    def surface(self, mask: np.ndarray) -> _Surface:
        """The surface of a mask."""
        slices, height, words = mask.shape
        corners = np.empty((slices + 1, height + 1, words), np.uint64)
        filled = np.empty(corners.shape[:2], np.uint8)
        nothing = np.zeros(words, np.uint64)
        self.share(
            slices + 1,
            lambda first, last: self.kernels.call(
                "surface", mask, nothing, slices, height, words, first, last, corners, filled
            ),
        )
        return _Surface(mask, corners, filled)

    def share(self, size: int, work: Callable[[int, int], T]) -> list[T]:
        """Results of a function of the first piece and the one after the last, for pieces of a range."""
        borders = np.linspace(0, size, min(size, self.threads * PIECES) + 1).astype(int).tolist()
        return list(self.pool.map(work, borders[:-1], borders[1:]))


@dataclass(frozen=True, eq=False)
class _Search:
    """Rows around a row, nearest first.

    Attributes:
        offsets: (n, 2) int32, how many slices and lines away.
        squares: (n,) float64 mm2, how far that is, squared.
        spacing_mm: Of (z, y, x).
    """

    offsets: np.ndarray
    squares: np.ndarray
    spacing_mm: tuple[float, float, float]


def _distances(
    team: _Team, one: np.ndarray, other: np.ndarray, spacing_mm: tuple[float, float, float]
) -> SurfaceDistances:
    first, second = team.surface(one), team.surface(other)
    slices, lines = first.filled.shape
    search = _search(spacing_mm, slices, lines)
    return SurfaceDistances(_directed(team, search, first, second), _directed(team, search, second, first))


def _directed(team: _Team, search: _Search, surface: _Surface, other: _Surface) -> DirectedDistances:
    slices, height, words = surface.mask.shape
    nothing, step_mm = np.zeros(words, np.uint64), np.array(search.spacing_mm[2])

    def measure(first: int, last: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        here, _, both = team.count(surface.corners[first:last], other.corners[first:last])
        together, codes = np.zeros(CODES, np.int64), np.empty(here - both, np.uint8)
        squared, places = np.empty(here - both), np.empty((here - both, 3), np.int32)
        team.kernels.call(
            "distances", surface.mask, nothing, surface.corners, other.corners, other.filled, slices, height, words,
            first, last, search.offsets, search.squares, len(search.squares), step_mm, together, codes, squared, places,
        )  # fmt: skip
        return together, codes, squared, places

    parts = team.share(slices + 1, measure)
    together, codes, squared, places = (list(part) for part in zip(*parts, strict=True))
    squared_mm2 = np.concatenate(squared)
    far = squared_mm2 < 0
    if far.any():
        squared_mm2[far] = _far_squares_mm2(team, other, np.concatenate(places)[far], search.spacing_mm)
    return DirectedDistances(
        sum(together), np.concatenate(codes), np.sqrt(squared_mm2), surfel_areas(search.spacing_mm)
    )


def _far_squares_mm2(
    team: _Team, other: _Surface, places: np.ndarray, spacing_mm: tuple[float, float, float]
) -> np.ndarray:
    """(n,) squared distances of places (z, y, x) to the nearest corner; inf where the other surface has none."""
    slices, lines, words = other.corners.shape
    (_, low, left), (_, high, right) = places.min(axis=0).tolist(), (places.max(axis=0) + 1).tolist()
    box, steps_mm = np.array([low, high, left, right]), np.array(spacing_mm)

    def lower(first: int, last: int) -> np.ndarray:
        best = np.full(len(places), np.inf)
        heights, borders = np.empty((right - left, lines)), np.empty(lines)
        nearest, rows = np.empty((2, lines), np.int32)
        team.kernels.call(
            "far_distances", other.corners, other.filled, lines, words, first, last, steps_mm, len(places), places,
            box, best, heights, np.empty((high - low, right - left)), borders, nearest, rows,
        )  # fmt: skip
        return best

    return np.min(team.share(slices, lower), axis=0)


def _search(spacing_mm: tuple[float, float, float], slices: int, lines: int) -> _Search:
    """As many rows as are worth searching, or all there are."""
    z_mm, y_mm, _ = spacing_mm
    reach_mm = np.sqrt(ROWS * z_mm * y_mm / np.pi)
    far_z, far_y = (min(int(reach_mm / step) + 1, size - 1) for step, size in ((z_mm, slices), (y_mm, lines)))
    z, y = np.mgrid[-far_z : far_z + 1, -far_y : far_y + 1].reshape(2, -1)
    squares = (z * z_mm) ** 2 + (y * y_mm) ** 2
    is_all = far_z == slices - 1 and far_y == lines - 1
    near = np.ones(squares.shape, bool) if is_all else squares <= reach_mm**2
    order = np.argsort(squares[near], kind="stable")
    offsets = np.column_stack((z, y))[near][order].astype(np.int32)
    squares = squares[near][order]
    if is_all:  # then what was not found is not there
        offsets, squares = np.append(offsets, [[0, 0]], axis=0).astype(np.int32), np.append(squares, np.inf)
    return _Search(np.ascontiguousarray(offsets), squares, spacing_mm)
