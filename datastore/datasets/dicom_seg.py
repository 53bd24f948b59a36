"""DICOM SEG files: named binary segments, and their voxels on the grid of an image."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset

from datastore.geometry import Geometry
from datastore.wording import first_line

GRID_TOLERANCE = 0.1  # voxels


@dataclass(frozen=True)
class Segment:
    """One segment of a SEG file.

    Attributes:
        number: SegmentNumber.
        names: What it may be known by: SegmentDescription (`GTV-1`, `Lung-Left` in Lung1), then SegmentLabel.
    """

    number: int
    names: tuple[str, ...]


@dataclass(frozen=True)
class SegmentationFile:
    """The header of a SEG file.

    Attributes:
        path: The file.
        series_uids: The image series that it segments; empty if it does not say.
        frame_of_reference: UID of the patient space it is in, or "".
        segments: In the order of the file.
    """

    path: Path
    series_uids: frozenset[str]
    frame_of_reference: str
    segments: tuple[Segment, ...]


def read_segmentation_header(path: Path) -> SegmentationFile:
    """What a SEG file holds, without its pixels.

    Raises:
        ValueError: If it is damaged or no binary SEG; the message names it.
    """
    try:
        header = pydicom.dcmread(path, stop_before_pixels=True)
        modality, kind = str(header.get("Modality", "unknown")), str(header.get("SegmentationType", "unknown"))
        if modality != "SEG" or kind != "BINARY":
            raise ValueError(f"modality {modality} of type {kind}, expected SEG of type BINARY")
        segments = tuple(_segment(item) for item in header.SegmentSequence)
        series = (str(item.SeriesInstanceUID) for item in header.get("ReferencedSeriesSequence") or [])
        return SegmentationFile(path, frozenset(series), str(header.get("FrameOfReferenceUID", "")), segments)
    except OSError:
        raise
    except Exception as error:  # attributes that are not there or of the wrong kind
        raise ValueError(f"{path}: damaged or no DICOM SEG: {first_line(error)}") from error


def _segment(item: Dataset) -> Segment:
    names = (str(item.get("SegmentDescription") or ""), str(item.get("SegmentLabel") or ""))
    return Segment(int(item.SegmentNumber), tuple(name for name in names if name))


def segment_masks(path: Path, geometry: Geometry, shape: tuple[int, ...]) -> dict[int, np.ndarray]:
    """The voxels of each segment on an image's grid; nothing is resampled.

    Args:
        path: A binary SEG file.
        geometry: The image's grid; it may be turned against the frames.
        shape: (z, y, x) voxels of the image.

    Returns:
        By SegmentNumber, (z, y, x) bool. A segment without frames is not in it.

    Raises:
        ValueError: If it is damaged, or a frame does not lie on the image's grid.
    """
    try:
        header = pydicom.dcmread(path)
        frames = header.pixel_array
        frames = frames if frames.ndim == 3 else frames[np.newaxis]
        places = [_Place.of(header, item) for item in header.PerFrameFunctionalGroupsSequence]
    except OSError:
        raise
    except Exception as error:  # pydicom raises about anything on damaged bytes
        raise ValueError(f"{path}: damaged DICOM SEG: {first_line(error)}") from error
    if len(places) != len(frames):
        raise ValueError(f"{path}: {len(frames)} frames of pixels, expected {len(places)}")
    masks: dict[int, np.ndarray] = {}
    for place, frame in zip(places, frames, strict=True):
        mask = masks.setdefault(place.segment, np.zeros(shape, bool))
        rows, columns = np.nonzero(frame)
        index = place.voxels(rows, columns, geometry, frame.shape, path)
        if (index < 0).any() or (index >= shape[::-1]).any():
            raise ValueError(f"{path}: a frame lies outside the image, {shape[::-1]} voxels")
        mask[index[:, 2], index[:, 1], index[:, 0]] = True
    return masks


@dataclass(frozen=True, eq=False)
class _Place:
    """Where a frame lies: its segment, the centre of its first pixel, and the steps along rows and columns, mm."""

    segment: int
    position_mm: np.ndarray
    column_step_mm: np.ndarray
    row_step_mm: np.ndarray

    @classmethod
    def of(cls, header: Dataset, groups: Dataset) -> _Place:
        shared = (header.get("SharedFunctionalGroupsSequence") or [Dataset()])[0]

        def group(name: str) -> Any:
            return (groups if name in groups else shared)[name].value[0]

        orientation = np.array(group("PlaneOrientationSequence").ImageOrientationPatient, dtype=float)
        between_rows, between_columns = (float(value) for value in group("PixelMeasuresSequence").PixelSpacing)
        return cls(
            int(group("SegmentIdentificationSequence").ReferencedSegmentNumber),
            np.array(group("PlanePositionSequence").ImagePositionPatient, dtype=float),
            orientation[:3] * between_columns,
            orientation[3:] * between_rows,
        )

    def voxels(
        self, rows: np.ndarray, columns: np.ndarray, geometry: Geometry, shape: tuple[int, ...], path: Path
    ) -> np.ndarray:
        """(N, 3) index (i, j, k) of the image's voxels under some pixels."""
        inverse = np.linalg.inv(geometry.affine[:3, :3])
        origin = inverse @ (self.position_mm - geometry.origin_mm)
        steps = np.stack([inverse @ self.row_step_mm, inverse @ self.column_step_mm])
        whole_origin, whole_steps = np.round(origin), np.round(steps)
        drift = np.abs(steps - whole_steps).max() * max(shape)
        if drift > GRID_TOLERANCE or np.abs(origin - whole_origin).max() > GRID_TOLERANCE:
            raise ValueError(f"{path}: its frames do not lie on the image's grid")
        return (whole_origin + np.stack([rows, columns], axis=1) @ whole_steps).astype(int)
