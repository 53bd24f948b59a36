"""Small cases, masks and labels for tests of the registry."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np

from datastore.geometry import Geometry
from datastore.records import Kind, NewCase, NewLabel, QualityFinding, Severity, Source
from datastore.registry import Order, Registry
from datastore.volume import Volume

SHAPE = (3, 4, 5)
GRID = Geometry((0.7, 0.8, 2.5))
HALF_HOUR = timedelta(minutes=30)
BY_ID = Order("by id", int)
DOUBTFUL = QualityFinding("right_lung.volume", Severity.REVIEW, "right lung: 9.3 l, expected less than 6 l")


def new_case(name: str, series_uid: str | None = None, **how: Any) -> NewCase:
    values = {"study_uid": "1.2", "description": "Thorax", "shape": SHAPE, "geometry": GRID, **how}
    return NewCase(Source(Path("/scans") / name, series_uid), **values)


def mask(value: int = 1) -> Volume:
    return Volume(np.full(SHAPE, value, np.uint8), GRID)


def label(kind: Kind = Kind.SUBMITTED, model: str | None = None, by: str = "ann", **how: Any) -> NewLabel:
    values: dict[str, Any] = {"author": by, "tool": "3D Slicer", "client_id": f"slicer-{by}", "model": model, **how}
    return NewLabel(kind, **values)


def next_case(registry: Registry, holder: str, lease: timedelta = HALF_HOUR) -> str | None:
    given = registry.lease_next(BY_ID, holder, lease)
    return None if given is None else given.case_id


def submit_and_accept(registry: Registry, case_id: str, value: int = 1) -> str:
    made = registry.add_label(case_id, mask(value), label(findings=()))
    return registry.accept(made.id, "rita").id
