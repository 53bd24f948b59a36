"""DICOM JSON, as DICOMweb services tell of series and images: its values, and the series that some headers make."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.uid import RLELossless

from datastore.attributes import FRAME_GROUPS, PATIENT_ID, SHARED_GROUPS, VR_OF
from datastore.headers import Header
from datastore.series import Series, assemble
from datastore.slices import Flaw, Slice, facts_of, slices_of

Json = Mapping[str, Any]

NO_PIXELS_YET = str(RLELossless)  # of a compressed image the length of the pixels is not checked


def tag(keyword: str) -> str:
    """How DICOM JSON names an attribute.

    >>> tag("PatientID")
    '00100020'
    """
    number = tag_for_keyword(keyword)
    if number is None:
        raise ValueError(f"{keyword!r} is no DICOM attribute")
    return f"{number:08X}"


def texts_of(row: Json, keyword: str) -> tuple[str, ...]:
    """The values of an attribute as trimmed text on one line; none if it is absent or nonsense.

    >>> texts_of({"00080008": {"vr": "CS", "Value": ["ORIGINAL", "PRIMARY"]}}, "ImageType")
    ('ORIGINAL', 'PRIMARY')
    """
    element = row.get(tag(keyword))
    values = element.get("Value") if isinstance(element, dict) else None
    if not isinstance(values, list):
        return ()
    return tuple(" ".join(str(value).split()) for value in values if isinstance(value, (str, int, float)))


def text_of(row: Json, keyword: str) -> str:
    """The first value of an attribute, or ""; see `texts_of`."""
    return next(iter(texts_of(row, keyword)), "")


def series_of(metadata: Sequence[Json]) -> Series:
    """The series that the headers of some images make, by the same checks as files go through.

    The pixels are not there to be checked; that is left to when they are fetched.

    Args:
        metadata: One object for each image; at least one.

    Raises:
        NotCTError: If it is something else than a CT volume.
        ValueError: If it is no whole volume; images are named by their InstanceNumber.
    """
    items: list[Slice | Flaw] = []
    try:
        for number, row in enumerate(metadata, start=1):
            header = _header(row)
            items += slices_of(header, facts_of(header, lambda _: ""), "", _name(row, number))
    except Exception as error:  # pydicom raises about anything on nonsense
        raise ValueError(f"damaged metadata: {type(error).__name__}") from None
    return assemble(items)


def _name(row: Json, number: int) -> str:
    stated = text_of(row, "InstanceNumber")
    return f"image {stated if stated.isdecimal() and len(stated) < 8 else number}"


def _header(row: Json) -> Header:
    """What a file's header would say."""
    texts = {number: _joined(row, number) for number in VR_OF if number != PATIENT_ID}
    groups = {f"{number:08X}" for number in (SHARED_GROUPS, FRAME_GROUPS)}
    nested = Dataset.from_json({key: row[key] for key in groups if key in row})
    shared, frames = nested.get(SHARED_GROUPS), nested.get(FRAME_GROUPS)
    return Header(
        text={number: text for number, text in texts.items() if text},
        syntax=NO_PIXELS_YET,
        size=0,
        pixel_bytes=0,
        shared=shared.value[0] if shared is not None and shared.value else None,
        frames=tuple(frames.value) if frames is not None and frames.value else (),
    )


def _joined(row: Json, number: int) -> str:
    element = row.get(f"{number:08X}")
    values = element.get("Value") if isinstance(element, dict) else None
    values = values if isinstance(values, list) else []
    return "\\".join(str(value) for value in values if isinstance(value, (str, int, float)))
