"""`lungapp phantom`: the folder of a cohort of synthetic scans, to which the same command comes back.

`phantom.json` says what the folder holds and is written first, a file in `records` says that a case is complete and is
written after all of the case's files. The same request gives the same files whatever `jobs` is.
"""

from __future__ import annotations

import csv
import fcntl
import io
import json
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from datastore.atomic import write_bytes
from datastore.phantom.case_files import DATASET, FOLDERS, CaseFolder, remove_leftovers
from datastore.phantom.case_making import Making
from datastore.phantom.cohorts import draw_cohort
from datastore.phantom.plans import PatientPlan
from lungapp import __version__
from lungapp.output_folder import check_is_writable
from lungapp.phantom_workers import RECORDS

KIND = "lungapp phantom"
MANIFEST, TABLE = "phantom.json", "cases.csv"
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Request:
    """What is asked for.

    Attributes:
        cohort: One of `COHORTS`.
        count: Patients.
        seed: The same seed, the same patients.
        making: Sizes and format.
    """

    cohort: str
    count: int
    seed: int
    making: Making

    def manifest(self) -> dict[str, Any]:
        """What a folder holds, whatever the number of patients."""
        made_by = f"lungapp {__version__}"
        return {"kind": KIND, "cohort": self.cohort, "seed": self.seed, **asdict(self.making), "software": made_by}


@contextmanager
def cohort_folder(folder: Path, request: Request) -> Iterator[tuple[PatientPlan, ...]]:
    """Make a folder ready for a cohort and give the patients; the table of cases is written when the block ends.

    Raises:
        FileExistsError: If something else lies there, or a cohort of another request.
        OSError: If nothing can be written there, or another run is at work there.
    """
    plans = draw_cohort(request.cohort, request.count, request.seed)
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"{folder}: expected a folder, got a file")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(f"{folder}: cannot be made: {error.strerror}") from error
    check_is_writable(folder)
    with _alone(folder):
        _claim(folder, request, plans)
        remove_leftovers(folder, (*FOLDERS, RECORDS, TABLE, MANIFEST))
        (folder / RECORDS).mkdir(exist_ok=True)
        try:
            yield plans
        finally:
            _write_table(folder)


def _claim(folder: Path, request: Request, plans: Sequence[PatientPlan]) -> None:
    """Say in the folder what it holds, or refuse it."""
    path = folder / MANIFEST
    ours = request.manifest()
    if path.exists():
        try:
            theirs = json.loads(path.read_text())
        except ValueError:
            theirs = None
        if not isinstance(theirs, dict) or theirs.get("kind") != KIND:
            raise FileExistsError(f"{path}: exists already and is none of ours: it is left as it is")
        for name, value in ours.items():
            if theirs.get(name) != value:
                raise FileExistsError(f"{folder}: holds a cohort of {name} {theirs.get(name)}, expected {value}")
        return
    files = CaseFolder(folder)
    in_the_way = [folder / TABLE, folder / RECORDS, folder / DATASET]
    found = next((item for item in in_the_way if item.exists()), None)
    found = found or next((item for plan in plans for item in files.files_in_the_way(plan)), None)
    if found is not None:
        raise FileExistsError(f"{found}: exists already and is none of ours: it is left as it is")
    write_bytes(path, (json.dumps(ours, indent=2) + "\n").encode())


def _write_table(folder: Path) -> None:
    """`cases.csv`: a row for each volume of the complete cases."""
    rows: list[dict[str, Any]] = []
    for path in sorted((folder / RECORDS).glob("*.json")):
        rows += json.loads(path.read_text())["rows"]
    if not rows:
        return
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_bytes(folder / TABLE, text.getvalue().encode(), overwrite=True)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Refuse a second run in the folder; where the file system knows no locks there is no such guard."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FileExistsError(f"{folder}: another run is at work there") from None
        except OSError:  # a file system without locks
            logger.info("%s: cannot be locked", folder)
        yield
    finally:
        os.close(descriptor)
