"""The CT scan of a planned patient with its true masks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from datastore.geometry import Geometry
from datastore.phantom.acquisition import acquire, draw_acquisition
from datastore.phantom.anatomy import build_scene
from datastore.phantom.kernels import Kernel, SliceProfile, kernel_of
from datastore.phantom.lesions import add_lesions
from datastore.phantom.plans import VOLUME, PatientPlan, SeriesPlan
from datastore.phantom.scene import Scene, thicken
from datastore.volume import Volume

ONE_LABEL = ("vessel12",)
"""Cohorts whose references do not tell right from left."""


Masks = Mapping[str, np.ndarray]
"""(z, y, x) bool by kind of disease."""


@dataclass(frozen=True, eq=False)
class SyntheticScan:
    """A scan and the truth about it; all volumes lie on one grid along LPS.

    Attributes:
        image: (z, y, x) int16 Hounsfield units.
        lungs: (z, y, x) uint8 1 right, 2 left: everything within the pleural cavities, as in R231.
        lobes: (z, y, x) uint8, as `datastore.labels.LOBES`.
        lesions: (z, y, x) uint8 0 and 1, by kind of disease; those that found no room are empty.
        reference: (z, y, x) uint8: the lungs as the reference of the real cohort has them, without the diseases that
            it leaves out, without sides where it has none (1 both lungs).
    """

    image: Volume
    lungs: Volume
    lobes: Volume
    lesions: Mapping[str, Volume]
    reference: Volume


def render_scan(
    plan: PatientPlan, series: SeriesPlan | None = None, *, size: int = 512, slices: int | None = None
) -> SyntheticScan:
    """Make one scan of a patient.

    Args:
        plan: Who, from `draw_cohort`.
        series: One of the plan's volumes; None for its main one.
        size: Pixels of the in-plane matrix, along y and x.
        slices: How many the main series is to have, on which the others build; None for what its increment gives.

    Raises:
        ValueError: If the series is no volume, or a size is below 1.
    """
    series = plan.main if series is None else series
    if series.kind != VOLUME:
        raise ValueError(f"series {series.number} of {plan.name} is no volume but a {series.kind}")
    return scan_scene(plan, series, *sick_scene(plan, size, slices))


def sick_scene(plan: PatientPlan, size: int, slices: int | None = None) -> tuple[Scene, Masks]:
    """The patient with all diseases on the grid of the main series, before it is scanned; see `render_scan`."""
    if size < 1 or (slices is not None and slices < 1):
        raise ValueError(f"expected sizes of 1 or more, got {size} pixels and {slices} slices")
    main, view = plan.main, plan.main.view
    count = main.slice_count if slices is None else slices
    increment_mm = main.increment_mm
    if slices is not None and slices > 1:
        increment_mm = (view.high_z_mm - view.low_z_mm) / (slices - 1)
    pixel_mm = view.width_mm / size
    scene = build_scene(plan.patient, (count, size, size), (increment_mm, pixel_mm, pixel_mm), view.centre_mm)
    random = np.random.default_rng([plan.seed, 1])
    return add_lesions(scene, plan.lesions, random, posture=plan.patient.posture)


def scan_scene(plan: PatientPlan, series: SeriesPlan, scene: Scene, masks: Masks) -> SyntheticScan:
    """Scan the scene of a patient for one of the volumes; thick slices are made of several of the scene's."""
    parts = max(1, round(series.increment_mm / plan.main.increment_mm))
    if 1 < parts <= len(scene.hu):
        scene, masks = _thicken(scene, masks, parts)
    random = np.random.default_rng([series.seed, 2])
    kernel, profile = _kernel(series, random), _profile(series, scene.spacing_mm[0], random)
    acquisition = draw_acquisition(random, scene.spacing_mm, kernel=kernel, profile=profile)
    hu = acquire(scene.hu, scene.spacing_mm, acquisition, random, bone=scene.bone, metal=scene.metal, lungs=scene.lungs)
    image = Volume(hu, _geometry(scene))
    return SyntheticScan(
        image=image,
        lungs=image.with_array(scene.lungs),
        lobes=image.with_array(scene.lobes),
        lesions={kind: image.with_array(mask.view(np.uint8)) for kind, mask in sorted(masks.items())},
        reference=image.with_array(_reference(plan, scene.lungs, masks)),
    )


def _thicken(scene: Scene, masks: Masks, parts: int) -> tuple[Scene, Masks]:
    """The scene and its diseases in slices of several, those at the top that are too few left out."""
    count = len(scene.hu) // parts * parts
    arrays = ("hu", "lungs", "lobes", "airways", "body", "bone", "metal", "z_mm")
    whole = replace(scene, **{name: getattr(scene, name)[:count] for name in arrays})
    z, y, x = scene.spacing_mm
    thick = thicken(whole, parts, (z * parts, y, x))

    def most(mask: np.ndarray) -> np.ndarray:
        votes = mask[:count].reshape(-1, parts, *mask.shape[1:]).sum(axis=1, dtype=np.uint8)
        joined: np.ndarray = (votes * 2 >= parts) & (thick.lungs > 0)
        return joined

    return thick, {kind: most(mask) for kind, mask in masks.items()}


def _kernel(series: SeriesPlan, random: np.random.Generator) -> Kernel:
    """The named kernel, as another scanner would have it."""
    kernel = kernel_of(series.sharpness)
    return Kernel(kernel.mtf50_per_mm * random.uniform(0.93, 1.07), kernel.enhancement * random.uniform(0.7, 1.2))


def _profile(series: SeriesPlan, increment_mm: float, random: np.random.Generator) -> SliceProfile:
    """The planned thickness; slices of a coarser grid than the planned one are contiguous."""
    return SliceProfile(max(0.9, series.thickness_mm / increment_mm), bool(random.random() < 0.4))


def _reference(plan: PatientPlan, lungs: np.ndarray, masks: Masks) -> np.ndarray:
    left_out = [mask for kind, mask in masks.items() if kind in plan.left_out]
    if plan.cohort not in ONE_LABEL and not left_out:
        return lungs
    reference = (lungs > 0).astype(np.uint8) if plan.cohort in ONE_LABEL else lungs.copy()
    for mask in left_out:
        reference[mask] = 0
    return reference


def _geometry(scene: Scene) -> Geometry:
    z, y, x = scene.spacing_mm
    origin_mm = float(scene.x_mm[0]), float(scene.y_mm[0]), float(scene.z_mm[0])
    return Geometry((x, y, z), origin_mm)
