"""Cases and label versions as text and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from datastore.records import Case, Label


def case_line(case: Case) -> str:
    """A case on one line."""
    x, y, z = case.shape[::-1]
    spacing = " x ".join(f"{value:.3g}" for value in case.geometry.spacing_mm)
    line = f"{case.id}  {case.status:<11}  {x} x {y} x {z}  {spacing} mm"
    path = case.source.path
    return f"{line}  {case.description or f'{path.parent.name}/{path.name}'}"


def case_text(case: Case, labels: Sequence[Label]) -> str:
    """A case on several lines, with the history of its mask."""
    lines = [case_line(case), f"source  {case.source.path}"]
    if case.source.series_uid:
        lines.append(f"series  {case.source.series_uid}")
    lines.append(f"added   {case.added_at:%Y-%m-%d %H:%M:%S} UTC")
    if case.leased_by and case.leased_until:
        lines.append(f"held    by {case.leased_by} until {case.leased_until:%Y-%m-%d %H:%M:%S} UTC")
    for label in labels:
        made = f"{label.created_at:%Y-%m-%d %H:%M:%S} UTC"
        lines.append(f"mask {label.number}  {label.kind:<11}  {made}  by {_maker(label)}  {label.path}")
    if not labels:
        lines.append("no mask yet")
    return "\n".join(lines)


def case_dict(case: Case, labels: Sequence[Label] | None = None) -> dict[str, Any]:
    """A case as plain values, for JSON."""
    plain: dict[str, Any] = {
        "id": case.id,
        "status": str(case.status),
        "source": str(case.source.path),
        "series_uid": case.source.series_uid,
        "study_uid": case.study_uid,
        "description": case.description,
        "shape_xyz": list(case.shape[::-1]),
        "spacing_mm": list(case.geometry.spacing_mm),
        "added_at": case.added_at.isoformat(),
        "leased_by": case.leased_by,
        "leased_until": case.leased_until.isoformat() if case.leased_until else None,
    }
    if labels is not None:
        plain["labels"] = [label_dict(label) for label in labels]
    return plain


def label_dict(label: Label) -> dict[str, Any]:
    """A label version as plain values, for JSON."""
    return {
        "id": label.id,
        "number": label.number,
        "kind": str(label.kind),
        "author": label.author,
        "client_id": label.client_id,
        "tool": label.tool,
        "model": label.model,
        "parent": label.parent,
        "sha256": label.sha256,
        "path": str(label.path),
        "created_at": label.created_at.isoformat(),
    }


def _maker(label: Label) -> str:
    return label.model or label.author if label.kind == "preliminary" else (label.client_id or label.author)
