"""A CT scan of a scene: drawn parameters of scanner, protocol and patient's motion, and their application."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from datastore.phantom.detector import Detector, draw_detector
from datastore.phantom.field_of_view import FieldOfView, draw_field_of_view, outside
from datastore.phantom.kernels import Kernel, SliceProfile, draw_kernel, draw_slice_profile
from datastore.phantom.motion import Motion, draw_motion
from datastore.phantom.noise import Noise, draw_noise
from datastore.phantom.scanner import Scanner
from datastore.phantom.storage import Storage, compress, draw_storage
from datastore.phantom.streaks import Streaks, draw_streaks


@dataclass(frozen=True)
class Acquisition:
    """Everything between a patient and the stored scan.

    Attributes:
        kernel: Resolution in plane.
        profile: Resolution along z.
        noise: Dose and what it leaves.
        streaks: Errors along rays.
        motion: Heart and breath.
        detector: Calibration and rings.
        view: What is in the picture.
        storage: Resampling, compression and clipping.
    """

    kernel: Kernel
    profile: SliceProfile
    noise: Noise
    streaks: Streaks
    motion: Motion
    detector: Detector
    view: FieldOfView
    storage: Storage


def draw_acquisition(
    random: np.random.Generator, spacing_mm: tuple[float, float, float] = (1.5, 0.75, 0.75), **constraints: Any
) -> Acquisition:
    """Draw how a scan is made, within the ranges of a radiology department.

    Args:
        random: Source of all that varies.
        spacing_mm: (z, y, x) of the scan: thin slices are noisier, and what is coarse was not resampled from
            something coarser.
        constraints: Parts of `Acquisition` to take as they are, by name. The noise follows kernel and profile;
            the other parts are those that the same generator draws without constraints.

    Raises:
        ValueError: If there is no part of that name.

    >>> draw_acquisition(np.random.default_rng(1), kernel=Kernel(0.4, 0.0)).kernel
    Kernel(mtf50_per_mm=0.4, enhancement=0.0)
    """
    names = [field.name for field in fields(Acquisition)]
    for name in constraints:
        if name not in names:
            raise ValueError(f"expected parts among {', '.join(names)}, got {name}")
    drawn_kernel, drawn_profile = draw_kernel(random), draw_slice_profile(random, spacing_mm[0])
    thickness_mm = spacing_mm[0] * constraints.get("profile", drawn_profile).thickness
    parts: dict[str, Any] = {
        "kernel": drawn_kernel,
        "profile": drawn_profile,
        "noise": draw_noise(random, constraints.get("kernel", drawn_kernel), thickness_mm, max(spacing_mm[1:])),
        "streaks": draw_streaks(random),
        "motion": draw_motion(random),
        "detector": draw_detector(random),
        "view": draw_field_of_view(random),
        "storage": draw_storage(random, spacing_mm),
    }
    return Acquisition(**{**parts, **constraints})


def acquire(
    scene_hu: np.ndarray,
    spacing_mm: tuple[float, float, float],
    acquisition: Acquisition,
    random: np.random.Generator,
    *,
    bone: np.ndarray | None = None,
    metal: np.ndarray | None = None,
    lungs: np.ndarray | None = None,
) -> np.ndarray:
    """Scan a scene: motion, slice profile, kernel, noise, artefacts, field of view and storage, in this order.

    Args:
        scene_hu: (z, y, x) Hounsfield units without noise, axes along LPS.
        spacing_mm: (z, y, x).
        acquisition: How the scan is made.
        random: Source of noise and of the patterns of artefacts.
        bone: (z, y, x) bool, hardens the beam; None to go by Hounsfield units.
        metal: (z, y, x) bool, draws streaks; None to take what is above 2500 HU.
        lungs: (z, y, x) above 0 in lung, where heart and diaphragm move; None for no motion.

    Returns:
        (z, y, x) int16 Hounsfield units; the same arguments and generator state give the same voxels.

    Raises:
        ValueError: If a grid differs from the scene's, or a spacing is not above 0.
    """
    if scene_hu.ndim != 3 or not scene_hu.size:
        raise ValueError(f"expected a scene (z, y, x) with voxels, got shape {scene_hu.shape}")
    if len(spacing_mm) != 3 or not min(spacing_mm) > 0:
        raise ValueError(f"expected spacing_mm as three numbers above 0 (z, y, x), got {spacing_mm}")
    for name, mask in (("bone", bone), ("metal", metal), ("lungs", lungs)):
        if mask is not None and mask.shape != scene_hu.shape:
            raise ValueError(f"{name} grid {mask.shape} does not match scene {scene_hu.shape}")
    scanner = Scanner(scene_hu, spacing_mm, acquisition, random, bone, metal, lungs)
    missing = outside((scene_hu.shape[1], scene_hu.shape[2]), acquisition.view)
    stored = np.empty(scene_hu.shape, np.int16)
    for index in range(len(scene_hu)):
        hu = scanner.stored_slice(index)
        if acquisition.storage.lossy_hu:
            hu = compress(hu, acquisition.storage.lossy_hu)
        np.clip(np.rint(hu, out=hu), acquisition.storage.low_hu, acquisition.storage.high_hu, out=hu)
        stored[index] = hu
        if missing is not None:
            stored[index][missing] = acquisition.view.padding_hu
    return stored
