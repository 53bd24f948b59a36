"""Cases, label versions, draws and events as text and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from datastore.mask_difference import Difference
from datastore.records import Case, Draw, Event, Exclusion, Label
from datastore.wording import printable

TIME = "%Y-%m-%d %H:%M:%S"


def case_line(case: Case) -> str:
    """A case on one line."""
    x, y, z = case.shape[::-1]
    spacing = " x ".join(f"{value:.3g}" for value in case.geometry.spacing_mm)
    line = f"{case.id}  {case.status:<11}  {x} x {y} x {z}  {spacing} mm"
    path = case.source.path
    line += f"  {case.description or (f'{path.parent.name}/{path.name}' if not case.source.url else case.source.url)}"
    return printable(line if case.eligible else f"{line}  [{case.exclusion}]")


def exclusion_line(series: Exclusion) -> str:
    """A series that is no volume, on one line."""
    what = series.description or series.source
    return printable(f"-     no volume    {series.slices} images  {what}  [{series.reason}]")


def story_text(case: Case, labels: Sequence[Label], draws: Sequence[Draw], events: Sequence[Event]) -> str:
    """A case on several lines, with the history of its masks and all that happened to it."""
    lines = [case_line(case), f"source   {case.source}"]
    if case.source.series_uid:
        lines.append(f"series   {case.source.series_uid}")
    lines.append(f"patient  {case.patient}, split {case.split}")
    for name, value in (("cohort", case.cohort), ("tags", ", ".join(case.tags)), ("phenotype", case.phenotype)):
        if value:
            lines.append(f"{name:<8} {value}")
    if case.exclusion:
        lines.append(f"left out {case.exclusion}")
    if case.overrule:
        lines.append(f"taken    all the same: {case.overrule}")
    if case.leased_by and case.leased_until:
        lines.append(f"held     by {case.leased_by} until {case.leased_until:{TIME}} UTC")
    for draw in draws:
        lines.append(
            f"drawn    {draw.drawn_at:{TIME}} UTC by {draw.drawn_by}: {draw.strategy} {draw.category} {draw.reason}"
        )
    for label in labels:
        lines += _label_lines(label)
    if not labels:
        lines.append("no mask yet")
    lines.append("history")
    lines += [f"  {event.at:{TIME}} UTC  {event.actor:<12} {_sentence(event)}" for event in events]
    return "\n".join(map(printable, lines))


def story_dict(case: Case, labels: Sequence[Label], draws: Sequence[Draw], events: Sequence[Event]) -> dict[str, Any]:
    """The same as plain values, for JSON."""
    return {
        **case_dict(case),
        "labels": [label_dict(label) for label in labels],
        "draws": [_plain(asdict(draw)) for draw in draws],
        "events": [_plain(asdict(event)) for event in events],
    }


def case_dict(case: Case) -> dict[str, Any]:
    """A case as plain values, for JSON."""
    return {
        "id": case.id,
        "status": str(case.status),
        "source": str(case.source),
        "series_uid": case.source.series_uid,
        "study_uid": case.study_uid,
        "description": case.description,
        "shape_xyz": list(case.shape[::-1]),
        "spacing_mm": list(case.geometry.spacing_mm),
        "patient": case.patient,
        "split": str(case.split),
        "cohort": case.cohort,
        "tags": list(case.tags),
        "phenotype": case.phenotype,
        "eligible": case.eligible,
        "exclusion": case.exclusion,
        "overrule": case.overrule,
        "added_at": case.added_at.isoformat(),
        "leased_by": case.leased_by,
        "leased_until": case.leased_until.isoformat() if case.leased_until else None,
    }


def exclusion_dict(series: Exclusion) -> dict[str, Any]:
    """A series that is no volume, as plain values."""
    return {
        "id": None,
        "source": str(series.source),
        "series_uid": series.source.series_uid,
        "study_uid": series.study_uid,
        "description": series.description,
        "slices": series.slices,
        "eligible": False,
        "exclusion": series.reason,
    }


def label_dict(label: Label) -> dict[str, Any]:
    """A label version as plain values, for JSON."""
    return _plain(asdict(label))


def difference_text(difference: Difference) -> str:
    """What lies between two versions of a mask, in words."""
    lines = [
        f"{name:<12} {value:.1f} ml"
        for name, value in (
            ("added", difference.added_ml),
            ("removed", difference.removed_ml),
            ("other side", difference.relabelled_ml),
        )
    ]
    lines += [f"{name.replace('_', ' '):<12} Dice {value:.4f}" for name, value in difference.dice.items()]
    slices = difference.changed_slices
    where = f" between {slices[0] + 1} and {slices[-1] + 1}" if slices else ""
    lines.append(f"{'slices':<12} {len(slices)} changed{where}")
    return "\n".join(lines)


def _label_lines(label: Label) -> list[str]:
    lines = [
        f"mask {label.number}  {label.kind:<11}  {label.created_at:{TIME}} UTC  by {maker_of(label)}  {label.id}"
        + (f"  {label.target}" if label.target != "lungs" else "")
        + (f"  on {label.parent}" if label.parent else "")
        + (f"  edited {label.edited_ml:.1f} ml" if label.edited_ml is not None else "")
        + (f"  in {label.seconds / 60:.0f} min" if label.seconds is not None else "")
        + ("  CONFLICT" if label.conflict and label.kind == "submitted" else "")
    ]
    lines += [f"           {finding.severity}: {finding.text}" for finding in label.findings or ()]
    return lines


def maker_of(label: Label) -> str:
    """Who made a version: the model, or the annotator and the client that they used."""
    if label.made_as == "preliminary":
        return label.model or label.author
    return f"{label.author} ({label.client_id})" if label.client_id else label.author


def _sentence(event: Event) -> str:
    detail = "  ".join(f"{name}={value}" for name, value in event.detail.items())
    return f"{event.action:<20} {detail}".rstrip()


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """Values that JSON knows: moments as ISO 8601, paths and names as text."""

    def plain(value: Any) -> Any:
        if hasattr(value, "isoformat"):
            return value.isoformat()
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [plain(item) for item in value]
        return value if isinstance(value, str | int | float | bool) or value is None else str(value)

    return {name: plain(value) for name, value in values.items()}
