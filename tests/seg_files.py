"""Writes small DICOM SEG files, for tests."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.pixel_data_handlers.numpy_handler import pack_bits
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, SegmentationStorage, generate_uid

from datastore.geometry import Geometry


def write_seg(
    path: Path,
    segments: Mapping[tuple[str, str], np.ndarray],
    geometry: Geometry,
    *,
    series_uid: str,
    frame_uid: str,
    skip_empty: bool = True,
    shift_mm: float = 0.0,
    kind: str = "BINARY",
) -> Path:
    """One segment for each (description, label) with its (z, y, x) bool mask; its frames run from top to bottom."""
    path.parent.mkdir(parents=True, exist_ok=True)
    items, frames, groups = [], [], []
    for number, ((description, label), mask) in enumerate(segments.items(), start=1):
        item = Dataset()
        item.SegmentNumber, item.SegmentLabel, item.SegmentDescription = number, label, description
        items.append(item)
        for k in reversed(range(len(mask))):
            if mask[k].any() or not skip_empty:
                frames.append(mask[k])
                groups.append(_frame(number, (geometry.affine @ [0, 0, k, 1])[:3] + [shift_mm, 0, 0]))
    orientation, measures, shared, referenced = Dataset(), Dataset(), Dataset(), Dataset()
    orientation.ImageOrientationPatient = [f"{v:.10f}" for v in geometry.matrix[:, :2].T.ravel()]
    measures.PixelSpacing = [str(geometry.spacing_mm[1]), str(geometry.spacing_mm[0])]
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = Sequence([orientation]), Sequence([measures])
    referenced.SeriesInstanceUID = series_uid
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = SegmentationStorage, generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.is_little_endian, dataset.is_implicit_VR = True, False
    dataset.SOPClassUID, dataset.SOPInstanceUID = SegmentationStorage, meta.MediaStorageSOPInstanceUID
    dataset.SeriesInstanceUID, dataset.FrameOfReferenceUID, dataset.Modality = generate_uid(), frame_uid, "SEG"
    dataset.SegmentationType = kind
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PixelRepresentation = 1, "MONOCHROME2", 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 1, 1, 0
    dataset.NumberOfFrames, (dataset.Rows, dataset.Columns) = len(frames), frames[0].shape
    dataset.ReferencedSeriesSequence, dataset.SegmentSequence = Sequence([referenced]), Sequence(items)
    dataset.SharedFunctionalGroupsSequence = Sequence([shared])
    dataset.PerFrameFunctionalGroupsSequence = Sequence(groups)
    dataset.PixelData = pack_bits(np.stack(frames).astype(np.uint8).ravel())
    dataset.save_as(path, write_like_original=False)
    return path


def _frame(number: int, position_mm: np.ndarray) -> Dataset:
    identification, place, group = Dataset(), Dataset(), Dataset()
    identification.ReferencedSegmentNumber = number
    place.ImagePositionPatient = [f"{v:.8f}"[:16] for v in position_mm]
    group.SegmentIdentificationSequence, group.PlanePositionSequence = Sequence([identification]), Sequence([place])
    return group
