"""Resolution of a scan: the reconstruction kernel in plane and the slice profile along z."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

FALL_OFF = 2.2


@dataclass(frozen=True)
class Kernel:
    """A reconstruction kernel, soft to sharp.

    Its modulation transfer function is `(1 + enhancement u^2) exp(-b u^2.2)` with u the frequency over
    `mtf50_per_mm` and b chosen so that it is 0.5 at u = 1: without enhancement a smooth low pass, with
    enhancement one that first rises above 1, as lung and bone kernels do, which draws bright and dark rims
    along edges. The form is empirical.

    Attributes:
        mtf50_per_mm: Spatial frequency (line pairs per mm) at which contrast has fallen to one half.
        enhancement: Edge enhancement; 0 for soft kernels, about 5 for a lung kernel (25 % overshoot).
    """

    mtf50_per_mm: float
    enhancement: float

    def __post_init__(self) -> None:
        if not (self.mtf50_per_mm > 0 and self.enhancement >= 0):
            raise ValueError(f"expected a frequency above 0 and an enhancement of at least 0, got {self}")

    def mtf(self, frequency_per_mm: np.ndarray) -> np.ndarray:
        """Modulation transfer function.

        Args:
            frequency_per_mm: Frequencies of any shape, line pairs per mm.

        >>> float(Kernel(0.4, 0.0).mtf(np.array(0.4)).round(3))
        0.5
        """
        relative = np.asarray(frequency_per_mm) / self.mtf50_per_mm
        steepness = np.log(2.0 * (1.0 + self.enhancement))
        return (1.0 + self.enhancement * relative**2) * np.exp(-steepness * relative**FALL_OFF)


# Named after the kernels of one manufacturer that they resemble: 20 very soft, 40 body, 70 lung, 80 bone.
# B70f over B40f follows the ratio that two reconstructions of one thoracic acquisition show
# (1.2 at 0.18, 2.0 at 0.33, 3.6 at 0.48 and 6.3 at 0.63 line pairs per mm); the others lie in between.
SHARPNESS = (20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0)
MTF50_PER_MM = (0.28, 0.34, 0.40, 0.52, 0.64, 0.80, 0.92)
ENHANCEMENT = (0.0, 0.0, 0.0, 1.5, 3.0, 5.0, 6.0)


def kernel_of(sharpness: float) -> Kernel:
    """The kernel of a sharpness from 20 (B20f) to 80 (B80f).

    Raises:
        ValueError: If the sharpness is outside of that.
    """
    if not SHARPNESS[0] <= sharpness <= SHARPNESS[-1]:
        raise ValueError(f"expected a sharpness from {SHARPNESS[0]:.0f} to {SHARPNESS[-1]:.0f}, got {sharpness}")
    return Kernel(
        float(np.interp(sharpness, SHARPNESS, MTF50_PER_MM)), float(np.interp(sharpness, SHARPNESS, ENHANCEMENT))
    )


def draw_kernel(random: np.random.Generator) -> Kernel:
    """Draw a kernel: most are soft tissue kernels, the others reach from intermediate to bone."""
    soft = random.random() < 0.55
    kernel = kernel_of(random.uniform(22, 46) if soft else random.uniform(46, 80))
    return Kernel(kernel.mtf50_per_mm * random.uniform(0.93, 1.07), kernel.enhancement * random.uniform(0.7, 1.2))


@dataclass(frozen=True)
class SliceProfile:
    """Sensitivity along z.

    Attributes:
        thickness: Full width at half maximum in units of the slice spacing; above 1 where slices overlap.
        triangular: Triangle, as in helical scans with linear interpolation, instead of a box.
    """

    thickness: float
    triangular: bool

    def __post_init__(self) -> None:
        if not self.thickness > 0:
            raise ValueError(f"expected a slice thickness above 0 spacings, got {self.thickness}")

    def weights(self, offset: float = 0.0) -> tuple[int, np.ndarray]:
        """Weights of whole slices that add up to this profile around a place between slices.

        The scene is taken as linear between its slices.

        Args:
            offset: Where the profile is centred, in slices.

        Returns:
            Index of the first slice, and (n,) weights with sum 1.

        >>> SliceProfile(1.0, triangular=False).weights()[1].round(3).tolist()
        [0.125, 0.75, 0.125]
        """
        reach = self.thickness if self.triangular else self.thickness / 2
        first = int(np.floor(offset - reach))
        count = int(np.ceil(offset + reach)) - first + 1
        place = offset + (np.arange(64) + 0.5 - 32) / 32 * reach
        sensitivity = 1.0 - np.abs(place - offset) / reach if self.triangular else np.ones(64)
        below = np.minimum((np.floor(place) - first).astype(int), count - 2)
        share = place - first - below
        weights = np.bincount(below, sensitivity * (1 - share), count) + np.bincount(
            below + 1, sensitivity * share, count
        )
        return first, (weights / weights.sum()).astype(np.float32)

    def correlation(self) -> float:
        """Correlation of the noise of neighbouring slices: the overlap of their profiles."""
        reach = self.thickness if self.triangular else self.thickness / 2
        place = np.linspace(-reach, reach + 1, 1024)

        def profile(centre: float) -> np.ndarray:
            away = np.abs(place - centre) / reach
            return np.clip(1 - away, 0, None) if self.triangular else (away <= 1).astype(float)

        return float((profile(0) * profile(1)).sum() / (profile(0) ** 2).sum())


def draw_slice_profile(random: np.random.Generator, spacing_mm: float) -> SliceProfile:
    """Draw a slice profile: contiguous slices are as common as overlapping ones, which are at most 10 mm thick.

    Args:
        random: Source of all that varies.
        spacing_mm: From slice to slice.
    """
    contiguous = random.random() < 0.5
    thickness = random.uniform(0.8, 1.1) if contiguous else random.uniform(1.1, 2.2)
    return SliceProfile(min(thickness, max(1.0, 10.0 / spacing_mm)), bool(random.random() < 0.4))
