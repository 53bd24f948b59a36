"""Segmentations as LOLA11 wants them: its names and numbers, the scans' own grids, one archive to upload.

Two submissions are made of the same masks, as in Hofmanninger et al. 2020, section III-D: as they are, and without
dense areas, which the reference of LOLA11 mostly leaves out.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fastremap
import numpy as np

from datastore.atomic import write_bytes
from datastore.datasets.lola11 import SUBMITTED_VALUES
from datastore.image_files import read_ct, read_mask
from datastore.labels import LEFT_LUNG, RIGHT_LUNG, Structure, check_sides
from datastore.metaimage import write_metaimage_pair
from datastore.volume import Volume
from datastore.wording import printable
from infers.dense_areas import without_dense_areas
from infers.lung_labels import labels_among

AS_THEY_ARE, WITHOUT_DENSE_AREAS = SUBMISSIONS = ("masks", "without-dense-areas")
SAME_TIME = (1980, 1, 1, 0, 0, 0)  # the same masks give the same archive


@dataclass(frozen=True)
class Handed:
    """What became of a case.

    Attributes:
        case: One of LOLA11's names.
        outcome: `written`; `kept`: the very files were there; or `failed`.
        reason: Why it failed, or what should be known of its mask; "" if nothing.
        volumes_ml: Of each structure in the mask as it is.
        dense_ml: What the mask without dense areas lacks of it.
    """

    case: str
    outcome: str
    reason: str = ""
    volumes_ml: Mapping[str, float] = field(default_factory=dict)
    dense_ml: float = 0.0

    @property
    def has_failed(self) -> bool:
        """Whether there are no files of it."""
        return self.outcome == "failed"

    def line(self) -> str:
        """For a person."""
        if self.has_failed:
            return printable(f"failed  {self.reason}")
        volumes = ", ".join(f"{name.replace('_', ' ')} {size:.0f} ml" for name, size in self.volumes_ml.items())
        note = f"  [{self.reason}]" if self.reason else ""
        return printable(f"{self.case}  {self.outcome}  {volumes}; dense areas {self.dense_ml:.0f} ml{note}")

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        volumes = {name: round(size, 2) for name, size in self.volumes_ml.items()}
        return {**vars(self), "volumes_ml": volumes, "dense_ml": round(self.dense_ml, 2)}


def hand_in(case: str, scan: Path, mask: Path, structures: Sequence[Structure], out: Path, note: str = "") -> Handed:
    """Write a case into both submissions, and read it back.

    Args:
        case: One of LOLA11's names.
        scan: The scan's file.
        mask: Its mask's file, in our numbering, on the scan's grid.
        structures: What its numbers mean.
        out: The folder of both submissions.
        note: What should be known of the mask.

    Returns:
        What became of it; also where it failed.
    """
    try:
        image = read_ct(scan)
        labels = read_mask(mask).on_grid_of(image)
        volumes_ml = _checked_volumes(labels, structures)
        thinned = without_dense_areas(image, labels)
        is_new = [
            _write(_as_submitted(volume, structures), out / folder / f"{case}.mhd")
            for folder, volume in ((AS_THEY_ARE, labels), (WITHOUT_DENSE_AREAS, thinned))
        ]
    except (ValueError, OSError) as error:
        reason = " ".join(str(error).split())
        is_named = any(str(place) in reason for place in (scan, mask, out))
        return Handed(case, "failed", reason if is_named else f"{mask}: {reason}")
    lacking = int(np.count_nonzero(labels.array)) - int(np.count_nonzero(thinned.array))
    outcome = "written" if any(is_new) else "kept"
    empty = [name.replace("_", " ") for name, size in volumes_ml.items() if not size]
    note = "; ".join([*filter(None, [note]), *(f"there is no {name}" for name in empty)])
    return Handed(case, outcome, note, volumes_ml=volumes_ml, dense_ml=lacking * labels.geometry.voxel_ml)


def write_archive(folder: Path, cases: Iterable[str]) -> Path:
    """Put the files of some cases into an archive beside their folder, ready to upload.

    Raises:
        FileExistsError: If the archive is there and holds anything that the new one would not.
        OSError: If it cannot be written.
    """
    members = {f"{case}{suffix}": folder / f"{case}{suffix}" for case in cases for suffix in (".mhd", ".zraw")}
    archive = folder.with_name(f"{folder.name}.zip")
    if archive.exists() and not _is_part_of(archive, members):
        raise FileExistsError(f"{archive}: exists already, with other content: it is left as it is")
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as packed:  # the voxels are compressed already
        for name, path in members.items():
            packed.writestr(zipfile.ZipInfo(name, SAME_TIME), path.read_bytes())
    write_bytes(archive, content.getvalue(), overwrite=True)
    return archive


def _checked_volumes(labels: Volume, structures: Sequence[Structure]) -> dict[str, float]:
    """The volume of each structure in ml, once the labels are known ones and right and left are where they belong."""
    values, counts = fastremap.unique(labels.array, return_counts=True)
    voxels = dict(zip(values.tolist(), counts.tolist(), strict=True))
    unknown = set(voxels) - {structure.value for structure in structures} - {0}
    if unknown:
        expected = ", ".join(f"{structure.value} {structure.name}" for structure in structures)
        raise ValueError(f"label value {min(unknown)} is unknown: expected 0 background, {expected}")
    lungs, sides = labels_among(structures), np.zeros(256, np.uint8)
    sides[list(lungs.right)], sides[list(lungs.left)] = RIGHT_LUNG, LEFT_LUNG
    check_sides(sides[labels.to_lps().array])
    voxel_ml = labels.geometry.voxel_ml
    return {structure.name: voxels.get(structure.value, 0) * voxel_ml for structure in structures}


def _as_submitted(labels: Volume, structures: Sequence[Structure]) -> Volume:
    """A mask in LOLA11's numbering."""
    table = np.zeros(256, np.uint8)
    for structure in structures:
        table[structure.value] = SUBMITTED_VALUES[structure.name]
    return labels.with_array(table[labels.array])


def _write(submitted: Volume, header: Path) -> bool:
    """Write a mask and compare what can be read then; whether anything was written."""
    is_new = write_metaimage_pair(submitted, header)
    read = read_mask(header).on_grid_of(submitted)
    if not np.array_equal(read.array, submitted.array):
        raise OSError(f"{header}: what was written cannot be read back: is the disk in order?")
    return is_new


def _is_part_of(archive: Path, members: Mapping[str, Path]) -> bool:
    """Whether everything in an archive is among some files, unchanged."""
    try:
        with zipfile.ZipFile(archive) as packed:
            return all(
                name in members and packed.read(name) == members[name].read_bytes() for name in packed.namelist()
            )
    except (zipfile.BadZipFile, OSError):
        return False
