"""One case of a public data set, and what stands in for a case that cannot be taken."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from datastore.records import QualityFinding, Severity, Source
from datastore.volume import Volume
from datastore.wording import first_line

PartSides = Callable[[Volume, Volume], Volume]
"""Given a CT and its mask of both lungs in one (uint8, 0 and 1), the same mask as 1 right and 2 left lung."""

ReadMasks = Callable[[Volume], dict[str, Volume]]

LUNGS = "lungs"
TUMOUR = "tumour"


@dataclass(frozen=True)
class Reference:
    """One case of a public data set: where its image lies and what its reference says.

    Attributes:
        name: Stable within the data set, e.g. the TCIA subject; for messages only.
        patient: The data set's patient or subject id, "" if none is known; to be hashed before it is stored.
        source: A file, or the folder of a DICOM series with its UID.
        cohort: The data set's name in `DATASETS`.
        tags: Words that the case is found by.
        read_masks: Given the CT of `source` (z, y, x), its masks on the CT's own grid, uint8: `lungs` with 0
            background, 1 right lung, 2 left lung; `tumour` with 0 and 1; each only where the data set has it, so
            an empty dict for a case without a public reference. Raises ValueError or OSError, with the file's
            name, for a reference that is damaged, on another grid, unknown in its numbers or swapped in its sides.
        author: Who made the reference, e.g. "LCTSC reference".
        notes: What is known of the reference before it is read, e.g. `dense_areas_left_out`.
    """

    name: str
    patient: str
    source: Source
    cohort: str
    tags: tuple[str, ...]
    read_masks: ReadMasks
    author: str
    notes: tuple[QualityFinding, ...] = ()


@dataclass(frozen=True)
class Missing:
    """A case that cannot be imported.

    Attributes:
        name: Its name in the data set, as in `Reference`.
        reason: Why, in words.
    """

    name: str
    reason: str


Found = Iterator[Reference | Missing]
Find = Callable[[Path, PartSides], Found]


@dataclass(frozen=True)
class Dataset:
    """A public data set that can be imported.

    Attributes:
        description: One sentence.
        citation: What to cite, with the DOI or address.
        find: Its cases below a folder. Raises ValueError, at the latest with the first case, if the folder holds
            nothing of the data set.
    """

    description: str
    citation: str
    find: Find


def attempt(name: str, make: Callable[[], Reference]) -> Reference | Missing:
    """A case, or why there is none: one bad case never stops the others."""
    try:
        return make()
    except (ValueError, OSError) as error:
        return Missing(name, first_line(error))


def no_masks(image: Volume) -> dict[str, Volume]:
    """`read_masks` of a case without a public reference."""
    return {}


def dense_areas_left_out(text: str) -> QualityFinding:
    """The note that a reference may leave out tumours, effusions or consolidations that R231's masks hold."""
    return QualityFinding("dense_areas_left_out", Severity.NOTE, text)
