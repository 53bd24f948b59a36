"""The DICOM attributes that indexing needs, and their values as text."""

from __future__ import annotations

import struct
import warnings
from collections.abc import Mapping

from pydicom.charset import convert_encodings, decode_bytes
from pydicom.valuerep import TEXT_VR_DELIMS

CHARACTER_SET = 0x00080005
PIXEL_DATA = 0x7FE00010
SHARED_GROUPS, FRAME_GROUPS = 0x52009229, 0x52009230
IMAGE_TYPE = 0x00080008
SOP_UID = 0x00080018
MODALITY = 0x00080060
SERIES_DESCRIPTION = 0x0008103E
PATIENT_ID = 0x00100020
SLICE_THICKNESS = 0x00180050
STUDY_UID = 0x0020000D
SERIES_UID = 0x0020000E
POSITION = 0x00200032
ORIENTATION = 0x00200037
SAMPLES_PER_PIXEL = 0x00280002
NUMBER_OF_FRAMES = 0x00280008
ROWS = 0x00280010
COLUMNS = 0x00280011
PIXEL_SPACING = 0x00280030
BITS_ALLOCATED = 0x00280100
RESCALE_INTERCEPT = 0x00281052
RESCALE_SLOPE = 0x00281053
VR_OF = {
    CHARACTER_SET: b"CS",  # before all text that it is needed for
    IMAGE_TYPE: b"CS",
    SOP_UID: b"UI",
    MODALITY: b"CS",
    SERIES_DESCRIPTION: b"LO",
    PATIENT_ID: b"LO",
    SLICE_THICKNESS: b"DS",
    STUDY_UID: b"UI",
    SERIES_UID: b"UI",
    POSITION: b"DS",
    ORIENTATION: b"DS",
    SAMPLES_PER_PIXEL: b"US",
    NUMBER_OF_FRAMES: b"IS",
    ROWS: b"US",
    COLUMNS: b"US",
    PIXEL_SPACING: b"DS",
    BITS_ALLOCATED: b"US",
    RESCALE_INTERCEPT: b"DS",
    RESCALE_SLOPE: b"DS",
}


def texts_of(raw: Mapping[int, bytes]) -> dict[int, str]:
    """Values of the attributes in `VR_OF` as text; the empty ones are left out."""
    charset = text_of(b"CS", raw.get(CHARACTER_SET, b""), "")
    texts = {tag: text_of(VR_OF[tag], value, charset) for tag, value in raw.items() if value}
    return {tag: text for tag, text in texts.items() if text}


def text_of(vr: bytes, value: bytes, charset: str, number: str = "<H") -> str:
    """A value as text without its padding, several joined by a backslash.

    Args:
        vr: How it is written: US for numbers, LO for text in some character set, any other for ASCII.
        value: Its bytes.
        charset: Value of Specific Character Set.
        number: How `struct` reads a US.
    """
    if vr == b"US":
        return "\\".join(str(each) for (each,) in struct.iter_unpack(number, value[: len(value) // 2 * 2]))
    if vr != b"LO" or (value.isascii() and b"\x1b" not in value) or charset in ("", "ISO_IR 6", "ISO_IR 100"):
        return value.decode("latin-1").strip("\0 ")
    if charset == "ISO_IR 192":
        return value.decode("utf-8", "replace").strip("\0 ")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of character sets that nobody knows
        encodings = convert_encodings(charset.split("\\"))
        return decode_bytes(value, encodings, TEXT_VR_DELIMS).strip("\0 ")
