"""The effort of corrections put together: how many, their median and quartiles; as a table, as text and as JSON."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from datastore.atomic import write_bytes
from datastore.labels import LUNG_NAMES
from datastore.wording import printable
from lungapp.correction_effort import Grouping, MeasuredCorrection

METRICS = ("mean_dice", "edited_ml", "added_path_mm", "seconds")
COLUMNS = (
    *("case", "mask", "number", "kind", "annotator", "model", "before", "shared", "mean_dice"),
    *(f"{name}_dice" for name in LUNG_NAMES),
    *("edited_ml", "added_path_mm", "seconds", "problem"),
)


@dataclass(frozen=True)
class Spread:
    """The middle of some values; those that are not known are left out.

    Attributes:
        count: How many values there are.
        low: First quartile, interpolated between values.
        high: Third quartile.
    """

    count: int
    median: float
    low: float
    high: float


@dataclass(frozen=True)
class EffortSummary:
    """The effort of a group of corrections.

    Attributes:
        name: Of the group.
        corrections: How many there are.
        problems: Of how many the effort is not known.
        spreads: By metric, see `METRICS`; None where no value is known.
    """

    name: str
    corrections: int
    problems: int
    spreads: Mapping[str, Spread | None]


def summaries(measured: Iterable[MeasuredCorrection], by: Grouping | None) -> list[EffortSummary]:
    """Count, median and quartiles of each group, in the order of their names; of all together if `by` is None."""
    groups: dict[str, list[MeasuredCorrection]] = {} if by is not None else {"all": []}
    for item in measured:
        groups.setdefault("all" if by is None else item.correction.name(by), []).append(item)
    return [_summary(name, groups[name]) for name in sorted(groups)]


def correction_line(measured: MeasuredCorrection) -> str:
    """A correction on one line."""
    correction, effort = measured.correction, measured.effort
    who = f"{correction.after.id}  {correction.name(Grouping.ANNOTATOR)} on {correction.name(Grouping.MODEL)}"
    if effort is None:
        return printable(f"{who}  {measured.problem}")
    dice = "no lung" if effort.mean_dice is None else f"Dice {effort.mean_dice:.4f}"
    time = "" if effort.seconds is None else f"  in {effort.seconds / 60:.0f} min"
    shared = "  [with others]" if correction.is_shared else ""
    return printable(
        f"{who}  {dice}  edited {effort.edited_ml:.1f} ml  path {effort.added_path_mm:.0f} mm{time}{shared}"
    )


def summary_line(summary: EffortSummary) -> str:
    """A group on one line: medians, with the quartiles in brackets."""
    forms = {"mean_dice": ("Dice", 1.0, ".4f", ""), "edited_ml": ("edited", 1.0, ".1f", " ml")}
    forms |= {"added_path_mm": ("path", 1.0, ".0f", " mm"), "seconds": ("time", 60.0, ".1f", " min")}
    parts = [f"{summary.name}  {summary.corrections} correction{'' if summary.corrections == 1 else 's'}"]
    for metric, (title, divisor, form, unit) in forms.items():
        spread = summary.spreads[metric]
        if spread is not None:
            median, low, high = (f"{value / divisor:{form}}" for value in (spread.median, spread.low, spread.high))
            of = "" if spread.count == summary.corrections else f" of {spread.count}"
            parts.append(f"{title} {median} ({low} to {high}){unit}{of}")
    return printable("  ".join(parts) + (f"  {summary.problems} not measured" if summary.problems else ""))


def correction_row(measured: MeasuredCorrection) -> dict[str, Any]:
    """A correction as plain values, named as in `COLUMNS`; None for what is not known."""
    correction, effort = measured.correction, measured.effort
    after, before = correction.after, correction.before
    row: dict[str, Any] = dict.fromkeys(COLUMNS)
    row |= {"case": after.case_id, "mask": after.id, "number": after.number, "kind": str(after.kind)}
    row |= {name: correction.name(Grouping(name)) for name in ("annotator", "model")}
    row |= {"before": None if before is None else before.id, "shared": correction.is_shared}
    row |= {"seconds": correction.seconds, "problem": measured.problem}
    if effort is not None:
        row |= {"mean_dice": effort.mean_dice, "edited_ml": effort.edited_ml, "added_path_mm": effort.added_path_mm}
        row |= {f"{name}_dice": effort.dice.get(name) for name in LUNG_NAMES}
    return row


def summary_dict(summary: EffortSummary) -> dict[str, Any]:
    """A group as plain values, for JSON."""
    return asdict(summary)


def write_corrections(measured: Iterable[MeasuredCorrection], path: Path) -> None:
    """One row of comma-separated values for each correction; may replace such a table, and nothing else.

    Raises:
        FileExistsError: If something else is there.
        OSError: If it cannot be written.
    """
    check_is_table(path)
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(map(correction_row, measured))
    write_bytes(path, text.getvalue().encode(), overwrite=True)


def check_is_table(path: Path) -> None:
    """Refuse a place for a table where something else lies.

    Raises:
        FileExistsError: If there is such a file or folder.
        FileNotFoundError: If there is no folder for it.
    """
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path}: no such folder: {path.parent}")
    head = ",".join(COLUMNS).encode()
    if path.is_dir() or (path.exists() and path.read_bytes()[: len(head)] != head):
        raise FileExistsError(f"{path}: exists already and is no table of corrections: it is left as it is")


def _summary(name: str, group: Sequence[MeasuredCorrection]) -> EffortSummary:
    efforts = [item.effort for item in group if item.effort is not None]
    spreads: dict[str, Spread | None] = {}
    for metric in METRICS:
        values = [value for value in (getattr(effort, metric) for effort in efforts) if value is not None]
        spreads[metric] = _spread(values) if values else None
    return EffortSummary(name, len(group), len(group) - len(efforts), spreads)


def _spread(values: Sequence[float]) -> Spread:
    low, median, high = (float(value) for value in np.percentile(values, [25, 50, 75]))
    return Spread(len(values), median, low, high)
