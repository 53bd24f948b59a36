"""The JSON file beside a mask: what it was made of, by what, and what is in it.

A mask that is there together with its report need not be made again; the report's SHA-256 tells whether the mask is
still the one that it describes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datastore.atomic import sha256_of
from datastore.fingerprint import fingerprint
from datastore.found import Found
from datastore.image_files import is_image_name
from infers.measures import StructureMeasure
from infers.uncertainty import StructureUncertainty
from lungapp import __version__

SOFTWARE = f"lungapp {__version__}"
REPORT_KEYS = (
    *("input", "input_id", "output", "model", "options", "software", "seconds", "shape", "spacing_mm"),
    *("state", "volumes_ml", "structures", "findings", "uncertainty", "mask_sha256"),
)


@dataclass(frozen=True)
class Report:
    """What a mask's report says.

    Attributes:
        input: The scan's file or folder.
        input_id: What tells the scan from others wherever it lies: see `scan_id`.
        output: The mask's file.
        model: Version of the model.
        options: What shaped the mask besides the model.
        software: What made the mask.
        seconds: For reading, the model, measuring and writing, without waiting.
        shape: (x, y, z) voxels as the scan's file has them.
        spacing_mm: Of (x, y, z).
        state: Whether lungs were found.
        structures: Measures of each.
        findings: What a person should know before using the mask.
        uncertainty: Of each structure, where it was asked for.
        mask_sha256: Of the mask's file.
    """

    input: str
    input_id: str
    output: str
    model: str
    options: Mapping[str, str]
    software: str
    seconds: float
    shape: tuple[int, ...]
    spacing_mm: tuple[float, ...]
    state: str
    structures: tuple[StructureMeasure, ...]
    findings: tuple[str, ...]
    uncertainty: tuple[StructureUncertainty, ...]
    mask_sha256: str

    @property
    def volumes_ml(self) -> dict[str, float]:
        """Volume of each structure by its name."""
        return {item.name: round(item.volume_ml, 2) for item in self.structures}

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, rounded; `from_dict` gives a report with the same ones back."""
        return {
            "input": self.input,
            "input_id": self.input_id,
            "output": self.output,
            "model": self.model,
            "options": dict(self.options),
            "software": self.software,
            "seconds": round(self.seconds, 3),
            "shape": list(self.shape),
            "spacing_mm": [round(step, 6) for step in self.spacing_mm],
            "state": self.state,
            "volumes_ml": self.volumes_ml,
            "structures": {item.name: _plain(item) for item in self.structures},
            "findings": list(self.findings),
            "uncertainty": {
                item.name: {"entropy": round(item.entropy, 4), "disagreement": round(item.disagreement, 4)}
                for item in self.uncertainty
            },
            "mask_sha256": self.mask_sha256,
        }

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Report:
        """The report that `to_dict` wrote.

        Raises:
            KeyError, TypeError, ValueError: If it is something else.
        """
        return cls(
            input=plain["input"],
            input_id=plain["input_id"],
            output=plain["output"],
            model=plain["model"],
            options=dict(plain["options"]),
            software=plain["software"],
            seconds=float(plain["seconds"]),
            shape=tuple(plain["shape"]),
            spacing_mm=tuple(plain["spacing_mm"]),
            state=plain["state"],
            structures=tuple(_measure(name, item) for name, item in plain["structures"].items()),
            findings=tuple(plain["findings"]),
            uncertainty=tuple(StructureUncertainty(name, **item) for name, item in plain["uncertainty"].items()),
            mask_sha256=plain["mask_sha256"],
        )


def report_path(mask: Path) -> Path:
    """The report of a mask: `scan.nii.gz.json` beside `scan.nii.gz`."""
    return mask.with_name(mask.name + ".json")


def read_report(mask: Path) -> Report | None:
    """The report of a mask, or None if there is none that can be read."""
    try:
        return Report.from_dict(json.loads(report_path(mask).read_bytes()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def report_bytes(report: Report) -> bytes:
    """What stands in a report's file."""
    return (json.dumps(report.to_dict(), indent=2) + "\n").encode()


def check_is_free(mask: Path) -> None:
    """Refuse to put a report where a file lies that is none.

    Raises:
        FileExistsError: If there is such a file.
    """
    path = report_path(mask)
    if path.exists() and read_report(mask) is None:
        raise FileExistsError(f"{path}: exists already and is no report of a mask: it is left as it is")


def is_own_mask(path: Path) -> bool:
    """Whether a file is a mask with a report beside it, and so no scan."""
    return is_image_name(path.name) and read_report(path) is not None


def scan_id(found: Found) -> str:
    """What tells a scan from others wherever it lies: series UID and number of slices, or a digest of the file."""
    if found.series is not None:
        return f"{found.series.uid} ({len(found.series.slices)} slices)"
    return fingerprint(found.source.path)


def difference(mask: Path, report: Report, scan: str, model: str, options: Mapping[str, str]) -> str | None:
    """Why a mask that is there is not the one that is asked for, or None if it is.

    Args:
        mask: The mask's file.
        report: Its report.
        scan: `scan_id` of the scan.
        model: Version of the model.
        options: What shapes masks besides the model.
    """
    if report.input_id != scan:
        return f"{mask}: was made of another scan, {report.input}, or before this one was changed"
    if report.model != model:
        return f"{mask}: made by model {report.model}, asked for {model}"
    if dict(report.options) != dict(options):
        return f"{mask}: made with {_words(report.options)}, asked for {_words(options)}"
    return None


def is_unchanged(mask: Path, report: Report) -> bool:
    """Whether a mask is still the one that its report describes."""
    return sha256_of(mask) == report.mask_sha256


def _plain(item: StructureMeasure) -> dict[str, Any]:
    lowest, highest = item.slices or (None, None)
    return {
        "volume_ml": round(item.volume_ml, 2),
        "mean_hu": None if item.mean_hu is None else round(item.mean_hu, 1),
        "lowest_slice": lowest,
        "highest_slice": highest,
        "touches": list(item.touches),
    }


def _measure(name: str, plain: Mapping[str, Any]) -> StructureMeasure:
    slices = None if plain["lowest_slice"] is None else (plain["lowest_slice"], plain["highest_slice"])
    return StructureMeasure(name, plain["volume_ml"], plain["mean_hu"], slices, tuple(plain["touches"]))


def _words(options: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in sorted(options.items())) or "no options"
