"""DICOM RTSTRUCT files: named contours in patient space, and the voxels inside them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset

from datastore.datasets.polygons import fill_polygons
from datastore.geometry import Geometry
from datastore.wording import first_line

CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")  # both combined by exclusive or
PLANE_TOLERANCE = 0.1  # slices; the contours of a slice lie in one plane
LARGEST_GAP_SHARE = 0.1  # of a structure's slices; more is a structure drawn on every second slice


@dataclass(frozen=True, eq=False)
class Structure:
    """One named structure of a structure set.

    Attributes:
        name: ROIName.
        contours: (N, 3) points each, LPS mm, closed.
        frame_of_reference: UID of the patient space they are in, or "".
        refusal: Why its contours enclose no volume (an open line, a point), or "".
    """

    name: str
    contours: tuple[np.ndarray, ...]
    frame_of_reference: str
    refusal: str = ""


@dataclass(frozen=True, eq=False)
class StructureSet:
    """An RTSTRUCT file.

    Attributes:
        path: The file.
        series_uids: The image series that it was drawn on; empty if it does not say.
        structures: In the order of the file.
    """

    path: Path
    series_uids: frozenset[str]
    structures: tuple[Structure, ...]


def read_structure_set(path: Path) -> StructureSet:
    """The structures of an RTSTRUCT file.

    Raises:
        ValueError: If it is damaged or no RTSTRUCT; the message names it.
    """
    try:
        header = pydicom.dcmread(path)
        modality = str(header.get("Modality", "unknown"))
        if modality != "RTSTRUCT":
            raise ValueError(f"modality {modality}, expected RTSTRUCT")
        contours = {int(item.ReferencedROINumber): item for item in header.get("ROIContourSequence") or []}
        structures = tuple(
            _structure(item, contours.get(int(item.ROINumber))) for item in header.get("StructureSetROISequence") or []
        )
        return StructureSet(path, frozenset(_series_uids(header)), structures)
    except OSError:
        raise
    except Exception as error:  # attributes that are not there or of the wrong kind
        raise ValueError(f"{path}: damaged or no RTSTRUCT: {first_line(error)}") from error


def _series_uids(header: Dataset) -> Iterator[str]:
    for frame in header.get("ReferencedFrameOfReferenceSequence") or []:
        for study in frame.get("RTReferencedStudySequence") or []:
            for series in study.get("RTReferencedSeriesSequence") or []:
                yield str(series.SeriesInstanceUID)


def _structure(roi: Dataset, contours: Dataset | None) -> Structure:
    points: list[np.ndarray] = []
    refusal = ""
    for contour in (contours.get("ContourSequence") if contours is not None else None) or []:
        kind = str(contour.get("ContourGeometricType", "unknown"))
        if kind not in CLOSED:
            refusal = f"contour of type {kind}, expected CLOSED_PLANAR"
            continue
        numbers = np.array([float(value) for value in contour.ContourData])
        if len(numbers) % 3 or not np.isfinite(numbers).all():
            refusal = f"contour of {len(numbers)} numbers, expected finite x, y, z for each point"
            continue
        points.append(numbers.reshape(-1, 3))
    name = str(roi.get("ROIName", ""))
    return Structure(name, tuple(points), str(roi.get("ReferencedFrameOfReferenceUID", "")), refusal)


@dataclass(frozen=True, eq=False)
class PlacedContours:
    """A structure's contours on the slices of an image.

    Attributes:
        name: ROIName.
        shape: (z, y, x) voxels of the image.
        array_axis: The array axis that runs along the normal of the contours; 0 for the CT they were drawn on.
        slices: For each slice with contours, its polygons as (N, 2) (row, column) of that slice's array.
    """

    name: str
    shape: tuple[int, int, int]
    array_axis: int
    slices: dict[int, list[np.ndarray]]

    @property
    def gaps(self) -> list[int]:
        """Slices without a contour between the first and the last that have one."""
        return [number for number in range(min(self.slices), max(self.slices)) if number not in self.slices]

    def mask(self) -> np.ndarray:
        """(z, y, x) bool: voxels whose centres lie inside the contours, see `fill_polygons`."""
        mask = np.zeros(self.shape, bool)
        along = np.moveaxis(mask, self.array_axis, 0)
        for number, polygons in self.slices.items():
            along[number] = fill_polygons(polygons, (along.shape[1], along.shape[2]))
        return mask


def place_contours(structure: Structure, geometry: Geometry, shape: tuple[int, int, int]) -> PlacedContours:
    """Match a structure's contours to the slices of an image.

    A contour belongs to the slice that lies nearest along the normal, at most half a slice distance away. The
    grid may be turned or oblique: the contours only have to lie in its planes.

    Args:
        structure: Its contours, LPS mm.
        geometry: The image's grid.
        shape: (z, y, x) voxels of the image.

    Raises:
        ValueError: If there are no contours or open ones; if they lie oblique to every plane of the grid, beyond
            its first or last slice, at two heights on one slice (drawn on thinner slices), or on too few of the
            slices between their ends (drawn on thicker ones).
    """
    if structure.refusal:
        raise ValueError(f"{structure.name}: {structure.refusal}")
    if not structure.contours:
        raise ValueError(f"{structure.name} has no contours")
    affine = geometry.affine
    indices = [(points - affine[:3, 3]) @ np.linalg.inv(affine[:3, :3]).T for points in structure.contours]
    spread = np.max([np.ptp(points, axis=0) for points in indices], axis=0)
    axis = int(spread.argmin())
    if spread[axis] > 2 * PLANE_TOLERANCE:
        raise ValueError(f"{structure.name}: contours lie oblique to the image's slices")
    count = shape[2 - axis]
    heights: dict[int, list[float]] = defaultdict(list)
    slices: dict[int, list[np.ndarray]] = defaultdict(list)
    in_plane = [other for other in (2, 1, 0) if other != axis]  # array order: the slower axis holds the rows
    for points, millimetres in zip(indices, structure.contours, strict=True):
        height = float(points[:, axis].mean())
        number = round(height)
        if not 0 <= number < count:
            where = ", ".join(f"{value:.1f}" for value in millimetres.mean(axis=0))
            raise ValueError(f"{structure.name}: a contour around ({where}) mm lies outside the image")
        heights[number].append(height)
        slices[number].append(points[:, in_plane])
    double = [number for number, found in heights.items() if max(found) - min(found) > PLANE_TOLERANCE]
    if double:
        raise ValueError(
            f"{structure.name}: contours at two heights on {len(double)} slices, expected one: "
            "drawn on a series with thinner slices?"
        )
    placed = PlacedContours(structure.name, shape, 2 - axis, dict(slices))
    between = max(slices) - min(slices) + 1
    if len(placed.gaps) > LARGEST_GAP_SHARE * between:
        raise ValueError(f"{structure.name}: no contour on {len(placed.gaps)} of {between} slices between its ends")
    return placed
