"""What happens to a scan after reconstruction: resampling to another grid, lossy compression, clipping."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.fft

BLOCK = 8


@dataclass(frozen=True)
class Storage:
    """How a scan was kept.

    Attributes:
        plane_step: Pixels of the present grid per pixel of the grid it was interpolated from; 1 for none.
        slice_step: The same for slices.
        lossy_hu: Quantisation of the lowest frequencies of blocks of 8 x 8 voxels, 0 for lossless.
        low_hu: Nothing is stored below.
        high_hu: Nothing is stored above.
    """

    plane_step: float
    slice_step: float
    lossy_hu: float
    low_hu: int
    high_hu: int

    def __post_init__(self) -> None:
        if not (self.plane_step >= 1 and self.slice_step >= 1 and self.lossy_hu >= 0 and self.low_hu < self.high_hu):
            raise ValueError(f"expected steps of at least 1, lossy_hu of at least 0 and low_hu < high_hu, got {self}")


def draw_storage(random: np.random.Generator, spacing_mm: tuple[float, float, float]) -> Storage:
    """Draw a history: most scans are as reconstructed, one in eight was resampled, few were compressed.

    Args:
        random: Source of all that varies.
        spacing_mm: (z, y, x) of the stored grid; the scanned one has pixels of at most 1.4 mm, slices of at most
            8 mm, or those of the stored grid.
    """
    resampled = random.random() < 0.12
    plane_step = random.uniform(1.05, 2.0) if resampled else 1.0
    slice_step = random.uniform(1.05, 3.0) if resampled and random.random() < 0.6 else 1.0
    return Storage(
        plane_step=max(1.0, min(plane_step, 1.4 / max(spacing_mm[1:]))),
        slice_step=max(1.0, min(slice_step, 8.0 / spacing_mm[0])),
        lossy_hu=random.uniform(8.0, 40.0) if random.random() < 0.03 else 0.0,
        low_hu=int(random.choice([-1024, -1000, -1200], p=[0.8, 0.1, 0.1])),
        high_hu=3071 if random.random() < 0.85 else 12000,
    )


def compress(slice_hu: np.ndarray, lossy_hu: float) -> np.ndarray:
    """Quantise blocks of 8 x 8 voxels in the frequency domain as JPEG does, coarser at high frequency.

    Args:
        slice_hu: (y, x) float32.
        lossy_hu: Step of the lowest frequency; the highest has about ten times as much.
    """
    height, width = slice_hu.shape
    padded = np.pad(slice_hu, [(0, -height % BLOCK), (0, -width % BLOCK)], mode="edge")
    blocks = padded.reshape(padded.shape[0] // BLOCK, BLOCK, padded.shape[1] // BLOCK, BLOCK)
    spectrum = scipy.fft.dctn(blocks, axes=(1, 3), norm="ortho")
    order = np.arange(BLOCK, dtype=np.float32)
    step = np.float32(lossy_hu) * (1 + 0.65 * (order[:, None, None] + order[None, None, :]))
    restored = scipy.fft.idctn(np.rint(spectrum / step) * step, axes=(1, 3), norm="ortho")
    return restored.reshape(padded.shape)[:height, :width].astype(np.float32)
