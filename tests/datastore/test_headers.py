"""Our reading of headers against pydicom's, over many files of every kind that scanners and archives write."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from dicom_series import write_series
from pydicom import dcmread
from pydicom.charset import python_encoding
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence
from pydicom.tag import Tag
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from datastore import headers
from datastore.attributes import PATIENT_ID, PIXEL_DATA, SERIES_DESCRIPTION, VR_OF
from datastore.headers import read_header

SYNTAXES = [ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless]
LEFT_TO_PYDICOM = [DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian]


def by_pydicom(path: Path) -> dict[int, str]:
    """The attributes as pydicom's own values."""
    dataset = dcmread(path, force=True)
    texts = {}
    for tag in VR_OF:
        value = dataset[Tag(tag)].value if Tag(tag) in dataset else None
        values = list(value) if isinstance(value, MultiValue) else [value]
        text = "\\".join("" if value is None else str(value) for value in values).strip("\0 ")
        if text:
            texts[tag] = text
    return texts


def random_dataset(random: np.random.Generator, depth: int = 0) -> Dataset:
    """Attributes of many kinds, nested in sequences of defined and undefined length."""
    dataset = Dataset()
    dataset.StudyDate = "20200102"
    dataset.AccessionNumber = "x" * int(random.integers(0, 16))
    dataset.PatientID = f"nested {depth}"
    dataset.SeriesInstanceUID = "1.9.9"
    dataset.Rows = 7
    for number in range(int(random.integers(0, 3))):
        vr = str(random.choice(["UT", "OB", "UN", "LO", "FD", "SL", "OW", "ST"]))
        size = int(random.choice([0, 2, 30, 300, 20_000 if vr in ("UT", "OB", "UN", "OW") else 60]))
        value = {"FD": 1.5, "SL": -3, "LO": "private"}.get(vr, "t" * size if vr in ("UT", "ST") else bytes(size))
        dataset.add(DataElement(Tag(0x0009 + 2 * number, 0x1001 + number), vr, value))
    if depth < 3:
        for keyword in ("ReferencedImageSequence", "SourceImageSequence", "RequestAttributesSequence"):
            items = [random_dataset(random, depth + 1) for _ in range(int(random.integers(0, 3)))]
            if random.random() < 0.6:
                setattr(dataset, keyword, Sequence(items))
                dataset[keyword].is_undefined_length = bool(random.random() < 0.5)
                for item in items:
                    item.is_undefined_length_sequence_item = bool(random.random() < 0.5)
    return dataset


def write_random(path: Path, random: np.random.Generator, syntax: str) -> None:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CTImageStorage, "1.2.3"
    meta.TransferSyntaxUID = syntax
    dataset = FileDataset(str(path), random_dataset(random), file_meta=meta, preamble=bytes(128))
    dataset.is_little_endian, dataset.is_implicit_VR = syntax != ExplicitVRBigEndian, syntax == ImplicitVRLittleEndian
    attributes = {
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
        "SOPInstanceUID": "1.2.3",
        "Modality": "CT",
        "SeriesDescription": str(random.choice(["Thorax 5.0 B30f", " Chest", "", "Sch\u00e4del"])),
        "PatientID": str(random.choice(["4.w1", "", "M\u00fcller-1"])),
        "SpecificCharacterSet": str(random.choice(["ISO_IR 100", "ISO_IR 192"])),
        "SliceThickness": str(random.choice(["2.5", "", "5"])),
        "StudyInstanceUID": "1.2",
        "SeriesInstanceUID": "1.2.840.113619.2." + "7" * int(random.integers(1, 30)),
        "ImagePositionPatient": ["-10.5", "3e1", "100"],
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
        "SamplesPerPixel": 1,
        "Rows": int(random.integers(1, 513)),
        "Columns": 512,
        "PixelSpacing": ["0.7", "0.8"],
        "BitsAllocated": 16,
        "RescaleIntercept": "-1024",
        "RescaleSlope": "1",
        "PixelData": bytes(100),
    }
    for name, value in attributes.items():
        if random.random() < 0.95 or name == "BitsAllocated":  # which pydicom needs to write pixels
            setattr(dataset, name, value)
    if syntax == RLELossless and "PixelData" in dataset:
        from pydicom.encaps import encapsulate

        dataset.PixelData = encapsulate([bytes(100)])
        dataset["PixelData"].is_undefined_length = True
    dataset.save_as(path, write_like_original=False)


@pytest.mark.parametrize("syntax", SYNTAXES + LEFT_TO_PYDICOM)
def test_headers_say_what_pydicom_says(tmp_path: Path, syntax: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if syntax in SYNTAXES:  # these are not to be left to pydicom, which is slow
        monkeypatch.setattr(headers, "_parsed", lambda *_: pytest.fail("was left to pydicom"))
    path = tmp_path / "slice"
    for seed in range(40):
        write_random(path, np.random.default_rng(seed), syntax)
        header = read_header(str(path))
        assert header is not None
        assert header.text == by_pydicom(path), f"seed {seed}"
        assert header.syntax == syntax
        dataset = dcmread(path, defer_size=10)
        if "PixelData" in dataset:
            raw = dict(dataset.items())[Tag(PIXEL_DATA)]
            assert header.pixel_bytes == raw.length
            assert header.pixel_start == raw.value_tell
        else:
            assert header.pixel_bytes is None


@pytest.mark.parametrize("charset", ["ISO_IR 101", "ISO_IR 144", "\\ISO 2022 IR 87", "\\ISO 2022 IR 149", "GB18030"])
def test_text_in_other_alphabets_is_what_pydicom_reads(tmp_path: Path, charset: str) -> None:
    sets = charset.split("\\")
    text = {"ISO_IR 144": "\u0413\u0440\u0443\u0434\u044c", "ISO_IR 101": "P\u0142uca"}.get(charset, "Thorax")
    if "87" in charset:
        text = "\u80f8\u90e8"
    if "149" in charset:
        text = "\ud749\ubd80"
    path = write_series(tmp_path, np.zeros((1, 4, 4), np.int16), SpecificCharacterSet=sets, SeriesDescription=text)[0]
    header = read_header(str(path))
    assert header is not None
    assert header.get(SERIES_DESCRIPTION) == by_pydicom(path)[SERIES_DESCRIPTION] == text
    assert sets[-1] in python_encoding


def test_an_attribute_of_another_type_is_still_read(tmp_path: Path) -> None:
    path = tmp_path / "slice"
    write_random(path, np.random.default_rng(0), ExplicitVRLittleEndian)
    content = path.read_bytes()
    for before, after in ((b"\x28\0\x11\0US", b"\x28\0\x11\0SS"), (b"\x10\0\x20\0LO", b"\x10\0\x20\0SH")):
        assert content.count(before) >= 1
        at = content.rindex(before)
        path.write_bytes(content[:at] + after + content[at + 6 :])
        header = read_header(str(path))
        assert header is not None and header.text == by_pydicom(path)


def test_a_file_written_otherwise_than_it_states_is_read_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "slice"
    for wrote, states in (
        (ImplicitVRLittleEndian, ExplicitVRLittleEndian),
        (ExplicitVRLittleEndian, ImplicitVRLittleEndian),
    ):
        write_random(path, np.random.default_rng(3), wrote)
        content = path.read_bytes()
        size = max(len(wrote), len(states)) + 1 & ~1
        old = bytes([2, 0, 0x10, 0]) + b"UI" + (len(wrote) + 1 & ~1).to_bytes(2, "little")
        assert old in content
        head, tail = content.split(old, 1)
        tail = tail[len(wrote) + 1 & ~1 :]
        new = bytes([2, 0, 0x10, 0]) + b"UI" + size.to_bytes(2, "little") + states.encode().ljust(size, b"\0")
        length = int.from_bytes(head[140:144], "little") + len(new) - len(old) - (len(wrote) + 1 & ~1)
        path.write_bytes(head[:140] + length.to_bytes(4, "little") + head[144:] + new + tail)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            header = read_header(str(path))
            assert header is not None and header.text == by_pydicom(path)


def test_any_torn_or_flipped_file_is_read_as_pydicom_does_or_refused(tmp_path: Path) -> None:
    """Nothing but ValueError comes out of damaged bytes, and what is read is never something else than pydicom's."""
    path = tmp_path / "slice"
    write_random(path, np.random.default_rng(5), ExplicitVRLittleEndian)
    content = path.read_bytes()
    random = np.random.default_rng(0)
    read = 0
    for _ in range(300):
        damaged = bytearray(content[: int(random.integers(140, len(content) + 1))])
        damaged[int(random.integers(132, len(damaged)))] ^= 1 << int(random.integers(8))
        path.write_bytes(damaged)
        try:
            header = read_header(str(path))
        except ValueError as error:
            assert str(path) not in str(error)
            continue
        read += header is not None
    assert read > 20


def test_an_attribute_may_lie_across_the_end_of_what_was_read_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "slice"
    for syntax in SYNTAXES:
        write_random(path, np.random.default_rng(7), syntax)
        expected = by_pydicom(path)
        monkeypatch.setattr(headers, "_parsed", lambda *_: pytest.fail("was left to pydicom"))
        for block_bytes in range(300, 900):
            monkeypatch.setattr(headers, "BLOCK_BYTES", block_bytes)
            header = read_header(str(path))
            assert header is not None and header.text == expected, block_bytes


def test_a_patient_is_not_in_what_is_printed_of_a_header(tmp_path: Path) -> None:
    path = write_series(tmp_path, np.zeros((1, 4, 4), np.int16))[0]
    header = read_header(str(path))
    assert header is not None and header.get(PATIENT_ID) == "secret-4.w1"
    assert "secret" not in repr(header)


def test_what_is_no_dicom_is_none(tmp_path: Path) -> None:
    for content in (b"", b"hello", bytes(5000)):
        (tmp_path / "file").write_bytes(content)
        assert read_header(str(tmp_path / "file")) is None


def test_torn_compressed_pixels_are_noticed_without_reading_them(tmp_path: Path) -> None:
    path = tmp_path / "slice"
    write_random(path, np.random.default_rng(1), RLELossless)
    whole = read_header(str(path))
    assert whole is not None and whole.pixel_bytes is not None
    path.write_bytes(path.read_bytes()[:-8])  # the mark at their end
    torn = read_header(str(path))
    assert torn is not None and torn.pixel_bytes is None
