"""What became of each scan: for people, as JSON, and as one row of a table."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from datastore.atomic import write_bytes
from datastore.wording import printable
from infers.measures import State
from lungapp.output_folder import check_is_writable
from lungapp.segment_reports import REPORT_KEYS, Report

COLUMNS = ("input", "output", "outcome", "state", "model", "seconds", "findings", "error", "skipped", "input_id")
LACKING = {State.NO_LUNG: "no lung", State.ONE_LUNG: "one lung"}


class Outcome(StrEnum):
    """What became of a scan."""

    SEGMENTED = "segmented"
    KEPT = "kept"  # its mask was there already
    OUTDATED = "outdated"  # a mask was there, but not the one that was asked for
    NO_CT = "no CT"  # a file of a folder that is something else
    FAILED = "failed"


@dataclass(frozen=True)
class Result:
    """What came of one scan.

    Attributes:
        source: The scan.
        outcome: What became of it.
        model: Version of the model that was asked for, if it came to that.
        seconds: See `Report`; until the failure, if it failed.
        target: The mask that is there now, or None.
        report: What is known of that mask, or None.
        reason: Why it failed, or was passed over.
    """

    source: str
    outcome: Outcome
    model: str | None = None
    seconds: float = 0.0
    target: Path | None = None
    report: Report | None = None
    reason: str | None = None

    @property
    def is_silent(self) -> bool:
        """Whether a person need not read of it: the very mask that was asked for is there."""
        return self.outcome is Outcome.KEPT and self.report is not None

    def line(self) -> str:
        """For a person."""
        if self.outcome is not Outcome.SEGMENTED or self.report is None:
            word = "failed" if self.outcome is Outcome.FAILED else "skipped"
            return printable(f"{word}  {self.reason}")
        volumes = ", ".join(f"{name} {volume_ml:.0f} ml" for name, volume_ml in self.report.volumes_ml.items())
        what = volumes if any(self.report.volumes_ml.values()) else self.report.state
        notes = [finding for finding in self.report.findings if finding != self.report.state]
        end = f"  [{'; '.join(notes)}]" if notes else ""
        return printable(f"{self.source} -> {self.target}  {what}  {self.seconds:.1f} s{end}")

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON: those of the report, null where there is none, and what became of the scan."""
        return {
            **(dict.fromkeys(REPORT_KEYS) if self.report is None else self.report.to_dict()),
            "input": self.source,
            "output": str(self.target) if self.target else None,
            "model": self.model if self.report is None else self.report.model,
            "seconds": round(self.seconds if self.report is None else self.report.seconds, 3),
            "outcome": self.outcome.value,
            "error": self.reason if self.outcome is Outcome.FAILED else None,
            "skipped": None if self.outcome in (Outcome.FAILED, Outcome.SEGMENTED) else self.reason,
        }


def summary(results: Iterable[Result]) -> str:
    """How many of what, for people.

    >>> summary([Result("a.nii", Outcome.KEPT), Result("b.nii", Outcome.FAILED)])
    '0 segmented, 1 exists already, 1 failed'
    """
    results = list(results)
    counts = Counter(result.outcome for result in results)
    states = Counter(result.report.state for result in results if result.report and result.target)
    lacking = [f"{states[state]} with {words}" for state, words in LACKING.items() if states[state]]
    kept, outdated, skipped = counts[Outcome.KEPT], counts[Outcome.OUTDATED], counts[Outcome.NO_CT]
    parts = [f"{counts[Outcome.SEGMENTED]} segmented"]
    parts += [f"{kept} exist{'s' * (kept == 1)} already"] * (kept > 0)
    parts += [f"{outdated} made otherwise than asked for"] * (outdated > 0)
    parts += [f"{skipped} no CT"] * (skipped > 0)
    parts += [f"{counts[Outcome.FAILED]} failed"] * (counts[Outcome.FAILED] > 0)
    return ", ".join(parts) + (f"; {', '.join(lacking)}" if lacking else "")


def write_table(results: Iterable[Result], path: Path) -> None:
    """One row of comma-separated values for each scan; files that are no scans are left out.

    Columns of each structure follow those of the scan: `right_lung_volume_ml`, `right_lung_mean_hu`.
    """
    rows = [_row(result) for result in results if result.outcome is not Outcome.NO_CT]
    columns = list(dict.fromkeys([*COLUMNS, *(name for row in rows for name in row)]))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, text.getvalue().encode(errors="surrogateescape"), overwrite=True)


def check_is_table(path: Path) -> None:
    """Refuse a place for a table where something else lies, or where nothing can be written.

    Raises:
        ValueError: If the file that is there is no such table.
        OSError: If none can be made there.
    """
    if path.is_dir():
        raise ValueError(f"{path}: expected a file for the table, got a folder")
    check_is_writable(next(folder for folder in path.absolute().parents if folder.exists()))
    if path.exists():
        with open(path, "rb") as file:
            start = file.read(len(",".join(COLUMNS)))
        if start != ",".join(COLUMNS).encode():
            raise ValueError(f"{path}: exists already and is no table of ours: it is left as it is")


def _row(result: Result) -> dict[str, Any]:
    plain = result.to_dict()
    row = {name: plain[name] for name in COLUMNS}
    row["findings"] = "; ".join(plain["findings"] or ())
    for axis, size, spacing_mm in zip("xyz", plain["shape"] or (), plain["spacing_mm"] or (), strict=False):
        row |= {f"size_{axis}": size, f"spacing_{axis}_mm": spacing_mm}
    for name, measures in (plain["structures"] or {}).items():
        row |= {f"{name}_{measure}": measures[measure] for measure in ("volume_ml", "mean_hu")}
    return row
