"""Quantum noise: its texture by the kernel, its strength and its direction by what the rays went through."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.fft

from datastore.phantom.kernels import Kernel, kernel_of

SECTORS = 6
REALISATIONS = 6
MARGIN = 64
SYSTEM_MTF50_PER_MM = 0.75
FLOOR_PER_MM = 0.06


@dataclass(frozen=True)
class Noise:
    """How noisy a scan is.

    Attributes:
        std_hu: Standard deviation, root mean square over the body, in the image as stored.
        starvation: Exponent between a ray's attenuation and its variance: 1 for counting statistics alone, less
            with a bowtie filter and a tube current that follows the turn, more with noise of the electronics;
            0 for noise that is the same everywhere.
        modulation: From 0, one tube current for the whole scan, to 1, a current that keeps the noise of all
            slices equal.
        denoising: From 0, filtered back projection, to 1, strong iterative reconstruction, whose noise is
            coarser.
    """

    std_hu: float
    starvation: float
    modulation: float
    denoising: float

    def __post_init__(self) -> None:
        if not (self.std_hu >= 0 and 0 <= self.starvation <= 1.5):
            raise ValueError(f"expected std_hu of at least 0 and starvation from 0 to 1.5, got {self}")
        if not (0 <= self.modulation <= 1 and 0 <= self.denoising <= 1):
            raise ValueError(f"expected modulation and denoising from 0 to 1, got {self}")


def draw_noise(random: np.random.Generator, kernel: Kernel, thickness_mm: float, pixel_mm: float) -> Noise:
    """Draw noise for a kernel; a sharp kernel has several times the noise of a soft one at the same dose.

    Args:
        random: Source of all that varies.
        kernel: The reconstruction kernel.
        thickness_mm: Width of the slices; thin ones are noisier, though dose makes up for a part of it.
        pixel_mm: Size of the pixels; wide ones have averaged some of it.
    """
    soft_hu = float(np.exp(random.uniform(np.log(4.0), np.log(28.0))))
    denoising = random.uniform(0.2, 0.9) if random.random() < 0.35 else 0.0
    std_hu = soft_hu * noise_gain(kernel) * (1 - 0.5 * denoising)
    std_hu *= (3.0 / thickness_mm) ** 0.3 * min(1.0, 0.8 / pixel_mm) ** 0.35
    return Noise(
        std_hu=float(np.clip(std_hu, 1.5, 90.0)),
        starvation=random.uniform(0.5, 1.2),
        modulation=random.uniform(0.3, 1.0),
        denoising=denoising,
    )


def noise_gain(kernel: Kernel) -> float:
    """Noise of a kernel over that of a body kernel (B40f) at equal dose, for pixels of 0.7 mm."""
    frequency = np.linspace(0.0, 0.7, 256)

    def variance(one: Kernel) -> float:
        return float((frequency * noise_power(frequency, one, 0.0)).sum())

    return float(np.sqrt(variance(kernel) / variance(kernel_of(40.0))))


def noise_power(frequency_per_mm: np.ndarray, kernel: Kernel, denoising: float) -> np.ndarray:
    """Noise power spectrum in arbitrary units: the ramp times the square of the kernel's own filter.

    Filtered back projection turns white detector noise into `f |W(f)|^2` (Riederer, Pelc and Chesler, Phys Med
    Biol 1978;23:446), where the kernel's filter W is the image's transfer function over that of the detector and
    focal spot. Sampling keeps it above 0 at low frequency (Kijewski and Judy, Phys Med Biol 1987;32:565).

    Args:
        frequency_per_mm: Frequencies of any shape, line pairs per mm.
        kernel: The reconstruction kernel.
        denoising: As in `Noise`.
    """
    system = np.exp(-np.log(2.0) * (frequency_per_mm / SYSTEM_MTF50_PER_MM) ** 2)
    ramp = np.sqrt(frequency_per_mm**2 + FLOOR_PER_MM**2)
    coarser = 1.0 / (1.0 + denoising * (frequency_per_mm / (0.55 * kernel.mtf50_per_mm)) ** 2) ** 2
    return ramp * (kernel.mtf(frequency_per_mm) / np.maximum(system, 0.25)) ** 2 * coarser


class NoiseField:
    """Noise of one slice after the other, made of a few periodic realisations cut at random places.

    Rays of one direction draw noise whose waves stand across them. So the field is a sum of sectors of wave
    direction, each multiplied by the standard deviation of its rays: streaks where one direction starves.

    Args:
        shape: (y, x) of a slice.
        spacing_mm: (y, x) of a slice.
        kernel: The reconstruction kernel.
        denoising: As in `Noise`.
        correlation: Correlation of neighbouring slices, 0 to below 1.
        random: Source of the noise.
        finest_mm: (y, x) spacing of the coarser grid from which the slice was interpolated; None where it was not.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        spacing_mm: tuple[float, float],
        kernel: Kernel,
        denoising: float,
        correlation: float,
        random: np.random.Generator,
        finest_mm: tuple[float, float] | None = None,
    ) -> None:
        self._shape, self._random = shape, random
        self._kept = np.float32(correlation)
        self._renewed = np.float32(np.sqrt(1 - correlation**2))
        size = [scipy.fft.next_fast_len(count + MARGIN, real=True) for count in shape]
        self._room = [total - count for total, count in zip(size, shape, strict=True)]
        frequency_y = scipy.fft.fftfreq(size[0], spacing_mm[0])[:, None]
        frequency_x = scipy.fft.rfftfreq(size[1], spacing_mm[1])[None, :]
        power = noise_power(np.hypot(frequency_y, frequency_x), kernel, denoising)
        if finest_mm is not None:
            power = power * pass_band(frequency_y, finest_mm[0]) ** 2 * pass_band(frequency_x, finest_mm[1]) ** 2
        power[0, 0] = 0.0
        both_halves = np.full(power.shape[1], 2.0)
        both_halves[0] = 1.0
        if size[1] % 2 == 0:
            both_halves[-1] = 1.0
        power /= (power * both_halves).sum()
        waves = np.arctan2(frequency_y, frequency_x)
        self._bank = np.empty((REALISATIONS, SECTORS, *size), np.float32)
        for sector in range(SECTORS):
            amplitude = np.sqrt(power * _sector_share(waves, sector) * np.prod(size)).astype(np.float32)
            for number in range(REALISATIONS):
                white = random.standard_normal(size, dtype=np.float32)
                self._bank[number, sector] = scipy.fft.irfft2(scipy.fft.rfft2(white) * amplitude, size)
        self._state = np.stack([self._fresh(sector) for sector in range(SECTORS)])

    def _fresh(self, sector: int) -> np.ndarray:
        field = self._bank[self._random.integers(REALISATIONS), sector]
        y, x = (int(self._random.integers(room + 1)) for room in self._room)
        cut = field[y : y + self._shape[0], x : x + self._shape[1]]
        if self._random.random() < 0.5:
            cut = cut[::-1, ::-1]
        return -cut if self._random.random() < 0.5 else cut

    def next_slice(self, std_hu: np.ndarray) -> np.ndarray:
        """The noise of the next slice.

        Args:
            std_hu: (SECTORS, y, x) or (SECTORS, 1, 1) float32 standard deviation by sector of wave direction; where
                all are equal, this is the standard deviation of the noise.

        Returns:
            (y, x) float32 Hounsfield units.
        """
        noise = np.zeros(self._shape, np.float32)
        for sector in range(SECTORS):
            state = self._state[sector]
            state *= self._kept
            state += self._renewed * self._fresh(sector)
            noise += std_hu[sector] * state
        return noise


def pass_band(frequency_per_mm: np.ndarray, finest_mm: float) -> np.ndarray:
    """What remains of each frequency after interpolation from a grid of `finest_mm` to a finer one."""
    relative = np.abs(frequency_per_mm) * 2 * finest_mm
    return 1.0 / (1.0 + relative**12)


def _sector_share(angle: np.ndarray, sector: int) -> np.ndarray:
    """Squared cosine windows around equally spaced directions, from 0 degrees on, that add up to 1."""
    away = np.mod(angle - sector * np.pi / SECTORS + np.pi / 2, np.pi) - np.pi / 2
    return np.where(np.abs(away) < np.pi / SECTORS, np.cos(away * SECTORS / 2) ** 2, 0.0)
