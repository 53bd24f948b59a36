"""DICOM headers: the few attributes that indexing needs, as text, from one read of a file's first block.

pydicom takes 0.3 to 0.5 ms for a file, which for the million files of a hospital is several minutes of pure
parsing. Here files of the usual kind (a DICM signature, little endian, one frame) are walked element by element up
to their pixels, and everything else goes to pydicom. Values are turned into text in one place for both ways.
"""

from __future__ import annotations

import io
import os
import stat
import struct
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pydicom
from pydicom.dataelem import DataElement_from_raw, RawDataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.tag import Tag
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from datastore.attributes import CHARACTER_SET, FRAME_GROUPS, PIXEL_DATA, SHARED_GROUPS, VR_OF, text_of, texts_of
from datastore.wording import first_line

FIRST_ATTRIBUTES = (  # of files without the 128 bytes in front and the signature
    *(bytes([2, 0, element, 0]) for element in (0, 1, 2)),
    *(bytes([8, 0, element, 0]) for element in (0, 1, 5, 8, 0x12, 0x16, 0x18)),
)
BLOCK_BYTES = 1 << 14  # the header of most CT slices is 2 to 8 KB long
VALUE_BYTES = 4096  # longer values are left on disk
UNDEFINED_LENGTH = 0xFFFFFFFF
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
BINARY_VRS = frozenset(["AT", "FD", "FL", "OB", "OW", "SL", "SQ", "SS", "UL"])
SHORT_VRS = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())
LONG_VRS = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
LEFT_TO_PYDICOM = frozenset([DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ""])
EXPLICIT = struct.Struct("<HH2sH").unpack_from
IMPLICIT = struct.Struct("<HHI").unpack_from
LENGTH = struct.Struct("<I").unpack_from


@dataclass(frozen=True, slots=True)
class Header:
    """What a DICOM file says before its pixels.

    Attributes:
        text: Values of the attributes in `VR_OF` by their tag, several joined by a backslash; empty ones are absent.
        syntax: Transfer syntax UID.
        size: Bytes of the file.
        pixel_start: Where the pixel data begin in the file.
        pixel_bytes: Their length as the header says, or None without any.
        shared: Functional groups of all frames of a multi-frame image.
        frames: Functional groups of each frame; empty for the usual single image.
    """

    text: Mapping[int, str] = field(repr=False)  # it names the patient
    syntax: str
    size: int
    pixel_start: int = 0
    pixel_bytes: int | None = None
    shared: Dataset | None = None
    frames: tuple[Dataset, ...] = ()

    def get(self, tag: int) -> str:
        """An attribute's text, or ""."""
        return self.text.get(tag, "")


class _UnusualError(Exception):
    """A file that is left to pydicom."""


def read_header(path: str) -> Header | None:
    """The header of a DICOM file; None if the file is none.

    Raises:
        OSError: If it cannot be opened.
        ValueError: If it is damaged, or no regular file.
    """
    with open(path, "rb", buffering=0, opener=_without_waiting) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("not a regular file")
        block = file.read(BLOCK_BYTES) or b""
        if block[128:132] == b"DICM":
            try:
                return _walked(file.fileno(), block, status.st_size)
            except (_UnusualError, struct.error):
                pass
        elif block[:4] not in FIRST_ATTRIBUTES:
            return None
        file.seek(0)
        try:
            return _parsed(io.BufferedReader(file), status.st_size)
        except Exception as error:  # pydicom raises about anything on damaged bytes, OSError without a number too
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise ValueError(f"damaged DICOM: {first_line(error)}") from error


def _without_waiting(path: str, flags: int) -> int:
    """Open a file; a named pipe would otherwise wait for somebody to write into it."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _walked(descriptor: int, block: bytes, size: int) -> Header:
    """The header by walking its elements, as far as the file is of the usual kind."""
    syntax, at = _meta(block)
    if syntax in LEFT_TO_PYDICOM:
        raise _UnusualError
    implicit = syntax == ImplicitVRLittleEndian
    if implicit == (block[at + 4 : at + 6] in SHORT_VRS):
        raise _UnusualError  # written otherwise than stated
    raw: dict[int, bytes] = {}
    base, previous = 0, 0
    nesting: list[int] = []  # what has to end before the next attribute of the image itself
    while True:
        if at + 12 > len(block) and base + len(block) < size:
            base += at
            block, at = os.pread(descriptor, BLOCK_BYTES, base), 0
        if base + at == size and not nesting:
            return Header(texts_of(raw), syntax, size)
        if implicit:
            group, element, length = IMPLICIT(block, at)
            vr, start = b"", at + 8
        else:
            group, element, vr, length = EXPLICIT(block, at)
            start = at + 8
            if group == 0xFFFE:
                (length,) = LENGTH(block, at + 4)
            elif vr in LONG_VRS:
                (length,) = LENGTH(block, at + 8)
                start = at + 12
            elif vr not in SHORT_VRS:
                raise _UnusualError
        tag = group << 16 | element
        if nesting:
            if (nesting[-1] == SEQUENCE_END) != (tag in (ITEM, SEQUENCE_END)):
                raise _UnusualError
            if tag == nesting[-1]:
                nesting.pop()
                at = start
                continue
        else:
            if tag <= previous or group == 0xFFFE or tag in (SHARED_GROUPS, FRAME_GROUPS):
                raise _UnusualError
            if tag > PIXEL_DATA:
                raise _UnusualError
            if tag == PIXEL_DATA:
                if length == UNDEFINED_LENGTH:
                    _check_fragments(descriptor, base + start, size)
                return Header(texts_of(raw), syntax, size, base + start, length)
            previous = tag
            if tag in VR_OF:
                if length > VALUE_BYTES or vr not in (VR_OF[tag], b""):
                    raise _UnusualError
                value = block[start : start + length]
                raw[tag] = value if len(value) == length else os.pread(descriptor, length, base + start)
        if length == UNDEFINED_LENGTH:
            if tag != ITEM and vr not in (b"SQ", b""):
                raise _UnusualError
            nesting.append(ITEM_END if tag == ITEM else SEQUENCE_END)
            at = start
        else:
            at = start + length
        if base + at > size:
            raise _UnusualError  # torn: pydicom says how
        if at > len(block):
            base += at
            block, at = os.pread(descriptor, BLOCK_BYTES, base), 0


def _check_fragments(descriptor: int, at: int, size: int) -> None:
    """Go from fragment to fragment of compressed pixels to the mark at their end, which a torn file has not."""
    while at + 8 <= size:
        group, element, length = IMPLICIT(os.pread(descriptor, 8, at))
        tag = group << 16 | element
        if tag == SEQUENCE_END:
            return
        if tag != ITEM:
            break
        at += 8 + length
    raise _UnusualError


def _meta(block: bytes) -> tuple[str, int]:
    """The transfer syntax, and where the attributes begin."""
    at, syntax = 132, ""
    while block[at : at + 2] == b"\2\0":
        _, element, vr, length = EXPLICIT(block, at)
        start = at + 8
        if vr in LONG_VRS:
            (length,) = LENGTH(block, at + 8)
            start = at + 12
        if element == 0x0010:
            syntax = text_of(b"UI", block[start : start + length], "")
        at = start + length
    return syntax, at


def _parsed(file: io.BufferedReader, size: int) -> Header:
    """The header as pydicom finds it: deflated, big-endian, multi-frame, without a signature, or out of order."""
    wanted = [*VR_OF, PIXEL_DATA, SHARED_GROUPS, FRAME_GROUPS]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they name the file, and what is wrong is found out here
        dataset = pydicom.dcmread(file, defer_size=VALUE_BYTES, specific_tags=[Tag(tag) for tag in wanted], force=True)
    elements = {int(tag): element for tag, element in dataset.items()}  # access by name would load the pixels
    charset = _element_text(CHARACTER_SET, elements.get(CHARACTER_SET), "")
    texts = {tag: _element_text(tag, elements[tag], charset) for tag in VR_OF if tag in elements}
    stated = dataset.file_meta.get("TransferSyntaxUID")
    guessed = ImplicitVRLittleEndian if dataset.is_implicit_VR else ExplicitVRLittleEndian
    shared = dataset.get(Tag(SHARED_GROUPS))
    frames = dataset.get(Tag(FRAME_GROUPS))
    pixels = elements.get(PIXEL_DATA)
    return Header(
        text={tag: text for tag, text in texts.items() if text},
        syntax=str(stated or guessed),
        size=size,
        pixel_start=int(pixels.value_tell) if isinstance(pixels, RawDataElement) else 0,
        pixel_bytes=int(pixels.length) if isinstance(pixels, RawDataElement) else None,
        shared=shared.value[0] if shared is not None and shared.value else None,
        frames=tuple(frames.value) if frames is not None and frames.value else (),
    )


def _element_text(tag: int, element: Any, charset: str) -> str:
    """The text of one of pydicom's elements, which may be of another type than it ought to be."""
    vr = VR_OF[tag]
    if isinstance(element, RawDataElement):
        value = element.value or b""
        if element.VR not in BINARY_VRS and (vr != b"US" or element.VR not in (None, "UN", "US")):
            return text_of(vr if vr == b"LO" else b"CS", value, charset)
        if element.VR in (None, "UN", "US"):
            return text_of(vr, value, charset, "<H" if element.is_little_endian else ">H")
        element = DataElement_from_raw(element)
    values = [] if element is None or element.value is None else element.value
    values = values if isinstance(values, (list, MultiValue)) else [values]
    return "\\".join(str(value) for value in values).strip("\0 ")
