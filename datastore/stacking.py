"""What makes a pile of slices a volume.

A pile is a volume when its slices are parallel, evenly spaced, none missing, none twice, none tilted. Anything
else is refused with the reason, never repaired in silence. Reasons name slices by their number from 1 along the
stack: a file's name may hold a patient's.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from datastore.slices import NotCTError, Slice, SliceError

GAP_TOLERANCE = 0.1  # share of the slice distance; scanners round positions, a missing slice doubles it
FEW_GAPS = 0.1  # share of the steps; where more are uneven, the spacing itself changes
TILT_TOLERANCE_DEGREES = 0.5


def stack(slices: Sequence[Slice]) -> tuple[list[Slice], float]:
    """Slices sorted along their normal, and the distance between them in mm.

    Raises:
        NotCTError: If they all show one place.
        SliceError: If they are not one evenly spaced stack of parallel slices without tilt.
    """
    first = slices[0]
    _check_alike(slices)
    rows, columns = np.array(first.orientation[:3]), np.array(first.orientation[3:])
    normal = np.cross(rows, columns)
    if abs(np.linalg.norm(normal) - 1) > 1e-2:
        raise SliceError(f"row and column directions are not at right angles: {first.orientation}")
    if len(slices) == 1:
        return list(slices), first.thickness_mm or 1.0
    places = np.array([item.position_mm for item in slices])
    heights = places @ normal
    order = np.argsort(heights, kind="stable")
    ordered = [slices[index] for index in order]
    steps = np.diff(heights[order])
    distance_mm = _even_step(steps, ordered)
    along = places[order][-1] - places[order][0]
    sideways = np.linalg.norm(along - normal * (along @ normal))
    tilt_degrees = float(np.degrees(np.arctan2(sideways, along @ normal)))
    if tilt_degrees > TILT_TOLERANCE_DEGREES:
        raise SliceError(f"gantry tilt of {tilt_degrees:.1f} degrees: the slices are not stacked upright")
    return ordered, distance_mm


def _check_alike(slices: Sequence[Slice]) -> None:
    """Refuse slices of different size, orientation or spacing; equal ones share one tuple, so this is quick."""
    first = slices[0]
    if len({item.shape for item in slices}) > 1:
        item = next(item for item in slices if item.shape != first.shape)
        raise SliceError(f"slices of different size: {first.shape} and {item.shape}", item.path)
    for orientation in {item.orientation for item in slices}:
        if not np.allclose(orientation, first.orientation, atol=1e-3):
            item = next(item for item in slices if item.orientation == orientation)
            raise SliceError("slices of different orientation", item.path)
    for spacing_mm in {item.spacing_mm for item in slices}:
        if not np.allclose(spacing_mm, first.spacing_mm, rtol=1e-3):
            item = next(item for item in slices if item.spacing_mm == spacing_mm)
            raise SliceError(f"slices of different pixel spacing: {first.spacing_mm} and {spacing_mm} mm", item.path)


def _even_step(steps: np.ndarray, ordered: Sequence[Slice]) -> float:
    """The mean distance of slices in mm, where all steps between them are alike; see `stack` for the errors."""
    twice = np.flatnonzero(steps < 1e-3)
    if len(twice) == len(steps) and any(ordered[0].position_mm):  # at the origin, somebody wiped the positions out
        raise NotCTError(f"{len(ordered)} images of one place, as of bolus monitoring: no volume")
    if len(twice):
        at = int(twice[0])
        raise SliceError(f"{len(twice) + 1} slices share a position, from slice {at + 1} on", ordered[at + 1].path)
    distance = float(np.median(steps))
    uneven = np.flatnonzero(np.abs(steps - distance) > GAP_TOLERANCE * distance)
    if not len(uneven):
        return float(steps.sum() / len(steps))
    at = int(uneven[0])
    step, path = float(steps[at]), ordered[at].path
    missing = round(step / distance) - 1
    is_whole = abs(step - (missing + 1) * distance) <= GAP_TOLERANCE * distance
    if missing > 0 and is_whole and len(uneven) <= max(2, FEW_GAPS * len(steps)):
        what = f"{missing} slice{'s' if missing > 1 else ''} missing"
        raise SliceError(f"{what} at slice {at + 1}: {step:g} mm apart, expected {distance:g} mm", path)
    raise SliceError(f"spacing irregular: {distance:g} -> {step:g} mm at slice {at + 1}", path)
