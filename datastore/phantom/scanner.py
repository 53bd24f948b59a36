"""The scanner at work: what it sees of a scene slice by slice, its resolution, its noise and its faults."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import scipy.fft

from datastore.phantom.detector import rings
from datastore.phantom.field_of_view import rim
from datastore.phantom.kernels import Kernel
from datastore.phantom.metal import MetalStreaks
from datastore.phantom.motion import Movement
from datastore.phantom.noise import NoiseField, pass_band
from datastore.phantom.streaks import METAL_HU, RayErrors

if TYPE_CHECKING:
    from datastore.phantom.acquisition import Acquisition

KEY_SLICE_MM = 6.0
EDGE = 8
# a scene whose voxels each hold one tissue has staircases; a scanner's detector averages over their place
ALIAS_VOXELS = 0.4


class Scanner:
    """One acquisition of one scene, slice after slice from below.

    Args:
        scene_hu: (z, y, x) Hounsfield units without noise.
        spacing_mm: (z, y, x).
        acquisition: How the scan is made.
        random: Source of noise and of the patterns of artefacts.
        bone: As in `acquire`.
        metal: As in `acquire`.
        lungs: As in `acquire`.
    """

    def __init__(
        self,
        scene_hu: np.ndarray,
        spacing_mm: tuple[float, float, float],
        acquisition: Acquisition,
        random: np.random.Generator,
        bone: np.ndarray | None,
        metal: np.ndarray | None,
        lungs: np.ndarray | None,
    ) -> None:
        self._scene_hu, self._acquisition, self._metal = scene_hu, acquisition, metal
        shape, plane_mm = (scene_hu.shape[1], scene_hu.shape[2]), spacing_mm[1:]
        noise, storage = acquisition.noise, acquisition.storage
        self._movement = Movement(lungs, spacing_mm, acquisition.motion)
        count = min(len(scene_hu), max(2, int(np.ceil(len(scene_hu) * spacing_mm[0] / KEY_SLICE_MM)) + 1))
        key_slices = np.unique(np.linspace(0, len(scene_hu) - 1, count).round().astype(int))
        self._rays = RayErrors(
            scene_hu, bone, spacing_mm, key_slices, acquisition.streaks, noise.starvation, noise.modulation
        )
        coarser_mm = (plane_mm[0] * storage.plane_step, plane_mm[1] * storage.plane_step)
        finest_mm = coarser_mm if storage.plane_step > 1 else None
        self._transfer = _transfer(shape, plane_mm, acquisition.kernel, finest_mm)
        correlation = min(acquisition.profile.correlation(), 0.95) / (1 if storage.slice_step == 1 else 2)
        self._noise = NoiseField(shape, plane_mm, acquisition.kernel, noise.denoising, correlation, random, finest_mm)
        self._metal_streaks = MetalStreaks(shape, plane_mm, acquisition.streaks, random)
        self._rings = rings(shape, acquisition.detector, random)
        self._rim = rim(shape, acquisition.view)
        self._std_row, self._std = -1, np.empty(0, np.float32)
        self._errors: dict[int, np.ndarray] = {}
        self._scanned: dict[int, np.ndarray] = {}

    def stored_slice(self, index: int) -> np.ndarray:
        """A slice on the stored grid, (y, x) float32 HU: interpolated where that is not the scanned one."""
        step = self._acquisition.storage.slice_step
        if step == 1:
            return self._scan(float(index))
        lower = int(index / step)
        share = np.float32(index / step - lower)
        for number in (lower, lower + 1):
            if number not in self._scanned:
                self._scanned[number] = self._scan(number * step)
        self._scanned = {number: hu for number, hu in self._scanned.items() if number >= lower}
        return self._scanned[lower] * (1 - share) + self._scanned[lower + 1] * share

    def _scan(self, place: float) -> np.ndarray:
        """The slice reconstructed at a place in slices of the scene."""
        hu = self._seen(place)
        self._movement.beat(hu, place)
        metal = self._metal_at(place)
        body = None if self._rim is None else np.clip(hu / np.float32(1000) + np.float32(1), 0, 1.2)
        hu = _filtered(hu, self._transfer)
        hu += self._noise.next_slice(self._std_at(place))
        error_hu = self._error_at(place)
        if error_hu is not None:
            hu += error_hu
        if metal is not None:
            self._metal_streaks.add_to(hu, metal, round(place))
        if self._rings is not None:
            hu += self._rings
        if body is not None:
            hu += self._rim * body
        detector = self._acquisition.detector
        hu *= np.float32(detector.scale)
        hu += np.float32(1000 * (detector.scale - 1) + detector.shift_hu)
        return hu

    def _seen(self, place: float) -> np.ndarray:
        """What the slice profile sees around a place, through a breath where there is one; a new array."""
        hu = self._through_profile(place)
        breath = self._movement.breath_slices(place)
        if breath:
            hu = self._movement.blend_breath(
                hu, self._through_profile(place - breath), self._through_profile(place + breath)
            )
        return hu

    def _through_profile(self, place: float) -> np.ndarray:
        whole = int(np.floor(place))
        first, weights = self._acquisition.profile.weights(place - whole)
        last = len(self._scene_hu) - 1
        hu = np.zeros(self._scene_hu.shape[1:], np.float32)
        for number, weight in enumerate(weights, whole + first):
            hu += weight * self._scene_hu[min(max(number, 0), last)]
        return hu

    def _metal_at(self, place: float) -> np.ndarray | None:
        index = min(round(place), len(self._scene_hu) - 1)
        metal = self._scene_hu[index] > METAL_HU if self._metal is None else self._metal[index]
        return metal if metal.any() else None

    def _std_at(self, place: float) -> np.ndarray:
        """(sectors, y, x) standard deviation of the noise; the same over the stretch of one key slice."""
        row = self._rays.nearest(place)
        if row != self._std_row:
            std_hu = np.float32(self._acquisition.noise.std_hu)
            self._std = np.stack([self._rays.grid.refine(std) for std in self._rays.std[row]]) * std_hu
            self._std_row = row
        return self._std

    def _error_at(self, place: float) -> np.ndarray | None:
        if self._rays.error_hu is None:
            return None
        lower, upper, share = self._rays.between(place)
        for row in (lower, upper):
            if row not in self._errors:
                self._errors[row] = self._rays.grid.refine(self._rays.error_hu[row])
        self._errors = {row: error for row, error in self._errors.items() if row >= lower}
        return self._errors[lower] * np.float32(1 - share) + self._errors[upper] * np.float32(share)


def _padded_size(shape: tuple[int, int]) -> tuple[int, int]:
    height, width = (scipy.fft.next_fast_len(count + 2 * EDGE, real=True) for count in shape)
    return height, width


def _transfer(
    shape: tuple[int, int], spacing_mm: tuple[float, float], kernel: Kernel, finest_mm: tuple[float, float] | None
) -> np.ndarray:
    """What of each frequency of a padded slice is kept: (y, x / 2 + 1) float32."""
    size = _padded_size(shape)
    y = scipy.fft.fftfreq(size[0], spacing_mm[0])[:, None]
    x = scipy.fft.rfftfreq(size[1], spacing_mm[1])[None, :]
    in_voxels = (y * spacing_mm[0]) ** 2 + (x * spacing_mm[1]) ** 2
    transfer = kernel.mtf(np.hypot(y, x)) * np.exp(-2 * (np.pi * ALIAS_VOXELS) ** 2 * in_voxels)
    if finest_mm is not None:
        transfer = transfer * pass_band(y, finest_mm[0]) * pass_band(x, finest_mm[1])
    kept: np.ndarray = transfer.astype(np.float32)
    return kept


def _filtered(slice_hu: np.ndarray, transfer: np.ndarray) -> np.ndarray:
    """A (y, x) float32 slice through a transfer function, its edges continued outwards."""
    height, width = slice_hu.shape
    size = _padded_size((height, width))
    room = ((EDGE, size[0] - height - EDGE), (EDGE, size[1] - width - EDGE))
    spectrum = scipy.fft.rfft2(np.pad(slice_hu, room, mode="edge"))
    spectrum *= transfer
    filtered: np.ndarray = scipy.fft.irfft2(spectrum, size)[EDGE : EDGE + height, EDGE : EDGE + width]
    return filtered
