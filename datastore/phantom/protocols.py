"""How a department scans: the series of one study, as technicians and scanners name them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from datastore.phantom.patient import Patient
from datastore.phantom.plans import LOCALIZER, MONITORING, PROJECTION, REFORMAT, VOLUME, SeriesPlan
from datastore.phantom.prevalence import Story
from datastore.phantom.view import View, draw_view

VIEWS: dict[str, dict[str, float]] = {
    "anatomy3": {"trunk": 0.5, "whole body": 0.5},
    "routine": {
        "chest": 0.68, "trunk": 0.24, "whole body": 0.03, "abdomen with lung bases": 0.03, "head and neck": 0.02,
    },
    "ltrc": {"chest": 1.0},
    "lctsc": {"chest": 1.0},
    "vessel12": {"chest": 1.0},
}  # fmt: skip
"""What is scanned, by cohort."""
TRAUMA_VIEWS = {"chest": 0.25, "trunk": 0.5, "whole body": 0.25}  # a larger field of view, as section II-E says
REGIONS = {
    "chest": ("Thorax", "CHEST", "Chest", "Lung"),
    "trunk": ("Thorax/Abdomen", "ChestAbdPelv", "Thorax Abd"),
    "whole body": ("Polytrauma Thorax/Abd", "WB Thorax/Abdomen", "PET-CT WB"),
    "abdomen with lung bases": ("Abdomen", "ABD/PELVIS", "Liver"),
    "head and neck": ("Neck", "Head/Neck", "CTA Carotis"),
}
"""What a series is called by its view; no term of the selection stands in some."""
THIN_MM = ((1.0, 0.7), (1.0, 1.0), (1.25, 1.25), (1.5, 1.0), (2.0, 1.5), (2.0, 2.0), (3.0, 2.0), (3.0, 3.0))
THIN_SHARES = (0.2, 0.14, 0.1, 0.16, 0.14, 0.08, 0.13, 0.05)
THICK_MM = 5.0


@dataclass(frozen=True)
class Grid:
    """What the one series of a public data set looks like.

    Attributes:
        description: SeriesDescription.
        slices_mm: (thickness, increment) to choose from.
        sharpness: Lowest and highest.
    """

    description: str
    slices_mm: tuple[tuple[float, float], ...]
    sharpness: tuple[float, float]


PUBLIC = {
    "anatomy3": Grid("CT {view}", ((3.0, 3.0),), (25, 45)),
    "ltrc": Grid("Chest HRCT {thickness}", ((1.25, 0.625), (1.0, 0.75), (1.25, 1.25)), (45, 70)),
    "lctsc": Grid("Thorax planning {thickness}", ((3.0, 3.0), (2.5, 2.5)), (25, 45)),
    "vessel12": Grid("Thorax {thickness}", ((1.0, 0.7), (1.0, 0.8), (1.0, 1.0)), (30, 60)),
}


def draw_study(
    random: np.random.Generator, cohort: str, story: Story, patient: Patient, kind: str
) -> tuple[SeriesPlan, ...]:
    """Draw the series of a study.

    Args:
        random: Source of all that varies.
        cohort: One of `COHORTS`: routine studies have several series, of which some are no volumes of the chest;
            those of the public data sets have one.
        story: Why the patient came.
        patient: Who.
        kind: The part that is scanned, see `draw_view_kind`.
    """
    view = draw_view(random, patient, kind)
    if cohort == "routine":
        return tuple(_routine(random, patient, view))
    grid = PUBLIC[cohort]
    thickness, increment = grid.slices_mm[int(random.integers(len(grid.slices_mm)))]
    description = grid.description.format(view=kind, thickness=f"{thickness:g}")
    return (_series(random, 1, VOLUME, description, view, thickness, increment, random.uniform(*grid.sharpness)),)


def draw_view_kind(random: np.random.Generator, cohort: str, story: Story) -> str:
    """Draw the part that is scanned."""
    shares = TRAUMA_VIEWS if story.pathology == "trauma" and cohort == "routine" else VIEWS[cohort]
    return str(random.choice(list(shares), p=list(shares.values())))


def _routine(random: np.random.Generator, patient: Patient, view: View) -> Iterator[SeriesPlan]:
    """The series of a routine study, one after the other."""
    names = REGIONS[view.kind]
    region = names[int(random.integers(len(names)))]
    thick_only = random.random() < 0.06
    thickness, increment = THIN_MM[int(random.choice(len(THIN_MM), p=THIN_SHARES))]
    if thick_only:
        thickness, increment = THICK_MM, THICK_MM
    elif view.kind in ("trunk", "whole body"):
        thickness, increment = max(thickness, 1.5), max(increment, 1.5)
    sharp = float(random.uniform(46, 80) if random.random() < 0.6 else random.uniform(22, 46))
    number = iter(range(1, 20))
    topogram = str(random.choice(["Topogram 0.6 T20f", "Scout", "Surview", "Topogram Thorax"]))
    yield _series(random, next(number), LOCALIZER, topogram, view, 0.6, 0.6, 30)
    if patient.contrast != "none" and random.random() < 0.6:
        level = View(view.kind, 0.0, 0.0, view.centre_y_mm, view.centre_x_mm, view.width_mm)
        for name in ("PreMonitoring", "Monitoring"):
            yield _series(random, next(number), MONITORING, f"{name} 10.0 B20f", level, 10.0, 10.0, 25)
    phase = {"none": "", "pulmonary": " CTPA", "arterial": " art", "venous": " CE"}[patient.contrast]
    main = f"{region}{phase} {thickness:g} {_kernel_name(sharp)}"
    yield _series(random, next(number), VOLUME, main, view, thickness, increment, sharp)
    if random.random() < 0.2:
        soft = f"Mediastinum {thickness:g} B31f"
        yield _series(random, next(number), VOLUME, soft, view, thickness, increment, 31)
    if not thick_only and random.random() < 0.55:
        joined = increment * round(THICK_MM / increment)
        yield _series(random, next(number), VOLUME, f"{region}{phase} 5.0 B40f", view, THICK_MM, joined, 40)
    if random.random() < 0.35:
        yield _series(random, next(number), REFORMAT, f"{region} cor MPR 3.0", view, 3.0, 3.0, 40)
    if view.kind == "chest" and random.random() < 0.2:
        yield _series(random, next(number), PROJECTION, f"{region} MIP 8.0", view, 8.0, 4.0, 40)


def _series(
    random: np.random.Generator,
    number: int,
    kind: str,
    description: str,
    view: View,
    thickness_mm: float,
    increment_mm: float,
    sharpness: float,
) -> SeriesPlan:
    seed = int(random.integers(2**31))
    return SeriesPlan(number, kind, description, view, thickness_mm, increment_mm, float(sharpness), seed)


def _kernel_name(sharpness: float) -> str:
    """As one manufacturer names it, e.g. B60f."""
    return f"B{10 * round(sharpness / 10)}f"
