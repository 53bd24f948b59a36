"""Coarse parallel-beam projections of axial slices: what X-rays meet on their way, and what errors in it draw."""

from __future__ import annotations

from functools import cached_property, lru_cache

import numpy as np
import scipy.fft
import scipy.sparse

WATER_PER_MM = 0.0192  # linear attenuation of water at about 70 keV, the mean energy of 120 kV (NIST XCOM)


class Projector:
    """Projects square images of `size` pixels along `angles` directions, and back.

    The k-th ray direction's normal is at k * 180 / `angles` degrees from the x towards the y axis: at k = 0 rays
    run along y, at k = angles / 2 along x. Built once per size (`projector`); linear interpolation between bins.
    """

    def __init__(self, size: int, angles: int) -> None:
        self.size, self.angles = size, angles
        self.bins = int(np.ceil(size * np.sqrt(2))) + 3
        place = np.arange(size) - (size - 1) / 2
        y, x = (axis.ravel() for axis in np.meshgrid(place, place, indexing="ij"))
        turn = np.arange(angles)[:, None] * np.pi / angles
        at = x * np.cos(turn) + y * np.sin(turn) + self.bins / 2
        below = np.floor(at).astype(np.int32)
        share = (at - below).astype(np.float32)
        rows = below + np.arange(angles, dtype=np.int32)[:, None] * self.bins
        pixels = np.broadcast_to(np.arange(size * size, dtype=np.int32), rows.shape)
        self.matrix = scipy.sparse.csr_matrix(
            (
                np.concatenate([(1 - share).ravel(), share.ravel()]),
                (np.concatenate([rows.ravel(), (rows + 1).ravel()]), np.tile(pixels.ravel(), 2)),
            ),
            shape=(angles * self.bins, size * size),
            dtype=np.float32,
        )

    @cached_property
    def _transposed(self) -> scipy.sparse.csr_matrix:
        return self.matrix.T.tocsr()

    def project(self, images: np.ndarray) -> np.ndarray:
        """Sums along rays, in units of pixels: (n, size, size) to (n, angles, bins) float32."""
        flat = np.ascontiguousarray(images.reshape(len(images), -1).T)
        return np.ascontiguousarray((self.matrix @ flat).T).reshape(len(images), self.angles, self.bins)

    def back_project(self, projections: np.ndarray) -> np.ndarray:
        """Mean over the rays through each pixel: (n, angles, bins) to (n, size, size) float32."""
        flat = np.ascontiguousarray(projections.reshape(len(projections), -1).T)
        return np.ascontiguousarray((self._transposed @ flat).T).reshape(-1, self.size, self.size) / self.angles

    def reconstruct(self, projections: np.ndarray) -> np.ndarray:
        """Filtered back projection, the inverse of `project`: (n, angles, bins) to (n, size, size) float32."""
        length = scipy.fft.next_fast_len(2 * self.bins, real=True)
        ramp = np.abs(scipy.fft.rfftfreq(length)).astype(np.float32)
        filtered = scipy.fft.irfft(scipy.fft.rfft(projections, length, axis=-1) * ramp, length, axis=-1)
        return np.pi * self.back_project(filtered[..., : self.bins])


@lru_cache(maxsize=2)
def projector(size: int = 96, angles: int = 72) -> Projector:
    """The projector of a size, made once."""
    return Projector(size, angles)


class CoarseGrid:
    """A square of coarse pixels over an axial slice, both ways.

    Args:
        shape: (y, x) of the slice in voxels.
        spacing_mm: (y, x) of the slice.
        size: Coarse pixels along each side.
    """

    def __init__(self, shape: tuple[int, int], spacing_mm: tuple[float, float], size: int) -> None:
        extent_mm = [count * step for count, step in zip(shape, spacing_mm, strict=True)]
        self.pixel_mm = max(extent_mm) / size
        self._down, self._up = [], []
        for count, step in zip(shape, spacing_mm, strict=True):
            place = (np.arange(count) - (count - 1) / 2) * step / self.pixel_mm + (size - 1) / 2
            edges = np.arange(size)[:, None] - 0.5
            half = step / self.pixel_mm / 2
            covered = np.clip(np.minimum(place + half, edges + 1) - np.maximum(place - half, edges), 0, None)
            self._down.append(covered.astype(np.float32))
            below = np.clip(np.floor(place), 0, size - 2).astype(int)
            share = np.clip(place - below, 0, 1)
            up = np.zeros((count, size), np.float32)
            up[np.arange(count), below] = 1 - share
            up[np.arange(count), below + 1] += share
            self._up.append(up)

    def coarsen(self, image: np.ndarray) -> np.ndarray:
        """Area-weighted means of a (y, x) image that counts as 0 outside: (size, size) float32."""
        coarse: np.ndarray = self._down[0] @ image @ self._down[1].T
        return coarse

    def refine(self, image: np.ndarray) -> np.ndarray:
        """A (size, size) image linearly interpolated to the (y, x) slice, float32."""
        fine: np.ndarray = self._up[0] @ (image @ self._up[1].T)
        return fine
