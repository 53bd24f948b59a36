"""Measures of a chest CT that tell synthetic from real: HU of its tissues, noise and its texture, size of the body."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

Spacing = tuple[float, float, float]

SMOOTH_MM = 1.5
FEWEST_VOXELS = 500
FAT_HU, SOFT_HU = (-200.0, -20.0), (-10.0, 150.0)
AERATED_HU, BONE_HU, AIR_HU, LEAST_AIR_HU = -400.0, 250.0, -900.0, -1010.0
PATCH_MM, PATCH_PIXELS, FEWEST_PATCHES = 20.0, (8, 32), 4
NOT_THERE = float("nan")


@dataclass(frozen=True)
class Level:
    """Where a tissue lies on the Hounsfield scale; NaN for a tissue that is not in view.

    Attributes:
        hu: Median, or the top of the histogram's peak.
        spread_hu: Standard deviation of a normal distribution as wide as this one.
    """

    hu: float
    spread_hu: float


@dataclass(frozen=True)
class NoiseTexture:
    """Noise of soft tissue; NaN where no patch of it is even enough.

    Attributes:
        std_hu: Standard deviation, root mean square over the patches.
        peak_per_mm: Frequency at which the noise power spectrum is highest.
        mean_per_mm: Frequency of the spectrum's centre of mass, steadier than the peak of few patches.
    """

    std_hu: float
    peak_per_mm: float
    mean_per_mm: float


def smoothed(hu: np.ndarray, spacing_mm: Spacing) -> np.ndarray:
    """A scan whose noise hides its tissues less: every slice blurred by `SMOOTH_MM`, (z, y, x) float32."""
    sigma = (0.0, SMOOTH_MM / spacing_mm[1], SMOOTH_MM / spacing_mm[2])
    return ndimage.gaussian_filter(hu.astype(np.float32), sigma)


def trunk(hu: np.ndarray, spacing_mm: Spacing) -> np.ndarray:
    """The largest cross-section of each slice with everything in it; table, blanket and free arms are left out.

    Lungs are a part of it unless the field of view cuts them open.

    Args:
        hu: (z, y, x) Hounsfield units.
        spacing_mm: (z, y, x).

    Returns:
        (z, y, x) bool.
    """
    step = max(1, round(2.5 / spacing_mm[2]))
    small = ndimage.uniform_filter(hu.astype(np.float32), (1, step, step))[:, ::step, ::step] > -300
    radius = max(1, round(6.0 / (step * spacing_mm[2])))
    found = np.zeros(small.shape, bool)
    for index, dense in enumerate(small):
        filled = ndimage.binary_fill_holes(dense)
        pieces, count = ndimage.label(ndimage.binary_opening(np.pad(filled, radius, "edge"), iterations=radius))
        if count:
            sizes = np.bincount(pieces.ravel())
            sizes[0] = 0
            found[index] = (pieces == sizes.argmax())[radius:-radius, radius:-radius]
    whole = found.repeat(step, axis=1).repeat(step, axis=2)[:, : hu.shape[1], : hu.shape[2]]
    return np.asarray(whole)


def peak(values_hu: np.ndarray, low_hu: float, high_hu: float) -> Level:
    """The highest peak of a histogram between two ends, and its width from both points of half its height.

    Args:
        values_hu: Hounsfield units of any shape.
        low_hu: No peak below is looked for.
        high_hu: Nor above.
    """
    edges = np.arange(low_hu - 100, high_hu + 101, 2.0)
    counts = ndimage.gaussian_filter1d(np.histogram(values_hu, edges)[0].astype(float), 2.0)
    middles = edges[:-1] + 1
    between = np.flatnonzero((middles >= low_hu) & (middles <= high_hu))
    top = int(between[counts[between].argmax()])
    if counts[between].sum() < FEWEST_VOXELS or top in (between[0], between[-1]):
        return Level(NOT_THERE, NOT_THERE)
    low = counts[:top] < counts[top] / 2
    high = counts[top:] < counts[top] / 2
    left = top - 1 - int(low[::-1].argmax()) if low.any() else 0
    right = top + int(high.argmax()) if high.any() else len(counts) - 1
    sides = [distance for distance, ends in ((top - left, low.any()), (right - top, high.any())) if ends]
    width_hu = 2.0 * 2 * min(sides) if sides else NOT_THERE  # of the steeper side: the other may lean on a neighbour
    return Level(float(middles[top]), width_hu / 2.355)


def level(values_hu: np.ndarray) -> Level:
    """Median and half of what lies between the 16th and the 84th percentile."""
    if values_hu.size < FEWEST_VOXELS:
        return Level(NOT_THERE, NOT_THERE)
    low, middle, high = np.percentile(values_hu, (16, 50, 84))
    return Level(float(middle), float(high - low) / 2)


def tissue_levels(hu: np.ndarray, spacing_mm: Spacing, lungs: np.ndarray, body: np.ndarray) -> dict[str, Level]:
    """Tissues of a scan by name.

    Args:
        hu: (z, y, x) Hounsfield units.
        spacing_mm: (z, y, x).
        lungs: (z, y, x), above 0 in lung.
        body: (z, y, x) bool, as `trunk` finds it.

    Returns:
        Levels of "aerated lung" (5 mm below the pleura, without what is dense), "fat" and "soft tissue" (peaks),
        "bone" (95th percentile of what is denser than `BONE_HU`, with enhanced blood) and "air outside".
    """
    smooth = smoothed(hu, spacing_mm)
    deep = _inner(lungs > 0, spacing_mm, 5.0)
    solid = _inner(body, spacing_mm, 3.0) & ~(lungs > 0)
    dense = smooth[solid & (smooth > BONE_HU)]
    outside = hu[~_outer(body | (lungs > 0), spacing_mm, 10.0) & _is_measured(hu)]
    bone = Level(NOT_THERE, NOT_THERE)
    if dense.size >= FEWEST_VOXELS:
        bone = Level(float(np.percentile(dense, 95)), level(dense).spread_hu)
    return {
        "aerated lung": level(smooth[deep & (smooth < AERATED_HU)]),
        "fat": peak(smooth[solid], *FAT_HU),
        "soft tissue": peak(smooth[solid], *SOFT_HU),
        "bone": bone,
        "air outside": level(outside[outside < AIR_HU]),
    }


def _is_measured(hu: np.ndarray) -> np.ndarray:
    """Everything but a value below that of air that fills the corners of all slices."""
    corners = np.unique(hu[:, [0, 0, -1, -1], [0, -1, 0, -1]])
    if len(corners) == 1 and corners[0] < LEAST_AIR_HU:
        return np.asarray(hu != corners[0])
    return np.ones(hu.shape, bool)


def _inner(mask: np.ndarray, spacing_mm: Spacing, depth_mm: float) -> np.ndarray:
    rows, columns = (2 * round(depth_mm / step) + 1 for step in spacing_mm[1:])
    return np.asarray(ndimage.minimum_filter(mask, (1, rows, columns)))


def _outer(mask: np.ndarray, spacing_mm: Spacing, depth_mm: float) -> np.ndarray:
    rows, columns = (2 * round(depth_mm / step) + 1 for step in spacing_mm[1:])
    return np.asarray(ndimage.maximum_filter(mask, (1, rows, columns)))


def noise_texture(hu: np.ndarray, spacing_mm: Spacing, body: np.ndarray) -> NoiseTexture:
    """Strength and frequency of the noise in the quarter of soft-tissue patches that has the least anatomy.

    A patch loses its quadratic trend; its anatomy is how much it varies once smoothed, so that patches are not
    chosen by the noise that is to be measured; noise coarser than some 5 mm passes for anatomy. Spectrum as in ICRU
    Report 87.

    Args:
        hu: (z, y, x) Hounsfield units.
        spacing_mm: (z, y, x).
        body: (z, y, x) bool.
    """
    smooth = smoothed(smoothed(hu, spacing_mm), spacing_mm)
    size = int(np.clip(round(PATCH_MM / spacing_mm[2]), *PATCH_PIXELS))
    patches, anatomy = [], []
    for index in range(len(hu)):
        for y in range(0, hu.shape[1] - size + 1, size):
            for x in range(0, hu.shape[2] - size + 1, size):
                at = (index, slice(y, y + size), slice(x, x + size))
                if body[index, y + size // 2, x + size // 2] and body[at].all():
                    even = smooth[at]
                    if SOFT_HU[0] < even.min() and even.max() < SOFT_HU[1]:
                        patches.append(hu[at].astype(np.float64))
                        anatomy.append(float(even.std()))
    if len(patches) < FEWEST_PATCHES:
        return NoiseTexture(NOT_THERE, NOT_THERE, NOT_THERE)
    quietest = np.argsort(anatomy, kind="stable")[: max(FEWEST_PATCHES, len(patches) // 4)]
    flat = _without_trend(np.stack([patches[number] for number in quietest]))
    power = (np.abs(np.fft.fft2(flat)) ** 2).mean(axis=0)
    step = 1 / (size * max(spacing_mm[1:]))
    distance = np.hypot(np.fft.fftfreq(size, spacing_mm[1])[:, None], np.fft.fftfreq(size, spacing_mm[2])[None, :])
    ring = np.rint(distance / step).astype(int)
    inside = (ring > 0) & (ring <= size // 2)
    counts = np.bincount(ring[inside], minlength=size // 2 + 1)[1:]
    radial = np.bincount(ring[inside], power[inside], minlength=size // 2 + 1)[1:] / counts
    frequency = step * np.arange(1, size // 2 + 1)
    steady = ndimage.convolve1d(radial, [0.25, 0.5, 0.25], mode="nearest")
    return NoiseTexture(
        std_hu=float(np.sqrt((flat**2).sum(axis=(1, 2)).mean() / (size * size - 6))),
        peak_per_mm=float(frequency[steady.argmax()]),
        mean_per_mm=float((power[inside] * distance[inside]).sum() / power[inside].sum()),
    )


def _without_trend(patches: np.ndarray) -> np.ndarray:
    """(n, y, x) less the quadratic surface that fits each best."""
    count, size, _ = patches.shape
    y, x = (axis.ravel() for axis in np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j])
    surfaces, _ = np.linalg.qr(np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=1))
    flat = patches.reshape(count, -1)
    return np.asarray((flat - flat @ surfaces @ surfaces.T).reshape(patches.shape))


def water_diameter_mm(hu: np.ndarray, spacing_mm: Spacing, body: np.ndarray) -> float:
    """Mean over slices of the diameter of a disc of water that attenuates as the body does (AAPM Report 220).

    Args:
        hu: (z, y, x) Hounsfield units of the slices to look at.
        spacing_mm: (z, y, x).
        body: (z, y, x) bool.
    """
    water = np.where(body, hu.astype(np.float32) / 1000 + 1, 0).sum(axis=(1, 2)) * spacing_mm[1] * spacing_mm[2]
    return float((2 * np.sqrt(np.clip(water, 0, None) / np.pi)).mean())


def gas_and_tissue_ml(hu: np.ndarray, spacing_mm: Spacing, mask: np.ndarray) -> tuple[float, float]:
    """Gas and tissue with blood in a region, for a mixture of air (-1000 HU) and what is dense as water (0 HU)."""
    voxels_ml = mask.sum() * float(np.prod(spacing_mm)) / 1000
    gas_ml = float(np.clip(-hu[mask].astype(np.float64) / 1000, 0, 1).sum()) * float(np.prod(spacing_mm)) / 1000
    return gas_ml, float(voxels_ml) - gas_ml


def widths_mm(mask: np.ndarray, spacing_mm: Spacing) -> tuple[float, float]:
    """Median over slices of the extent from front to back and from side to side of a mask with one piece a slice."""
    rows, columns = mask.any(axis=2).sum(axis=1), mask.any(axis=1).sum(axis=1)
    seen = rows > 0
    if not seen.any():
        return NOT_THERE, NOT_THERE
    return float(np.median(rows[seen])) * spacing_mm[1], float(np.median(columns[seen])) * spacing_mm[2]
