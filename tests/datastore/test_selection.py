from __future__ import annotations

import numpy as np
import pytest

from datastore.geometry import Geometry
from datastore.selection import SelectionFacts, SelectionRules, exclusion

RULES = SelectionRules()


def tilted(degrees: float, axis: str = "x") -> Geometry:
    """Slices turned about the patient's x or y axis, from axial."""
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    matrix = {"x": [[1, 0, 0], [0, c, -s], [0, s, c]], "y": [[c, 0, s], [0, 1, 0], [-s, 0, c]]}[axis]
    return Geometry((0.7, 0.7, 2.5), direction=tuple(float(value) for value in np.ravel(matrix)))


def facts(
    slices: int = 120,
    description: str = "Thorax 2.5",
    image_type: tuple[str, ...] = ("ORIGINAL", "PRIMARY", "AXIAL"),
    geometry: Geometry | None = None,
    is_file: bool = False,
) -> SelectionFacts:
    return SelectionFacts((slices, 512, 512), geometry or tilted(0), description, image_type, is_file)


@pytest.mark.parametrize(
    ("geometry", "reason"),
    [
        (tilted(0), None),
        (tilted(180), None),
        (tilted(29), None),
        (tilted(38), "oblique: 38 degrees from axial"),
        (tilted(45, "y"), "oblique: 45 degrees from axial"),
        (tilted(90), "coronal"),
        (tilted(-65), "coronal"),
        (tilted(90, "y"), "sagittal"),
    ],
)
def test_slices_have_to_be_axial(geometry: Geometry, reason: str | None) -> None:
    assert exclusion(facts(geometry=geometry), RULES) == reason
    assert exclusion(facts(geometry=geometry), SelectionRules(axial=False)) is None


@pytest.mark.parametrize(
    ("image_type", "description", "token"),
    [
        (("DERIVED", "SECONDARY", "AXIAL", "MIP"), "Thorax", "MIP"),
        (("DERIVED", "SECONDARY", "MPR", "CSA MPR"), "Thorax", "MPR"),
        (("DERIVED", "SECONDARY", "OTHER", "VRT"), "Thorax", "VRT"),
        (("DERIVED", "SECONDARY", "MINIP"), "Thorax", "MINIP"),
        (("DERIVED", "SECONDARY", "MIN_IP"), "Thorax", "MIN_IP"),
        (("DERIVED", "SECONDARY", "SSD"), "Thorax", "SSD"),
        (("DERIVED", "SECONDARY", "PROJECTION IMAGE"), "Thorax", "PROJECTION IMAGE"),
        (("DERIVED", "PRIMARY", "VOLUME_RENDER"), "Thorax", "VOLUME_RENDER"),
        (("DERIVED", "PRIMARY", "AXIAL"), "Thorax MinIP 10", "MinIP"),
        (("DERIVED", "PRIMARY", "AXIAL"), "Lung MIP", "MIP"),
        (("DERIVED", "PRIMARY", "AXIAL"), "Thorax", None),  # as anonymisers write it
        (("DERIVED", "PRIMARY", "VOLUME", "MIXED"), "Thorax", None),  # an enhanced CT
        (("DERIVED", "PRIMARY", "AXIAL"), "Thorax simple", None),
        (("ORIGINAL", "PRIMARY", "AXIAL"), "Thorax for MIP", None),
    ],
)
def test_renderings_are_left_out(image_type: tuple[str, ...], description: str, token: str | None) -> None:
    found = facts(image_type=image_type, description=description)
    assert exclusion(found, RULES) == (f"derived: {token}" if token else None)
    assert exclusion(found, SelectionRules(original=False)) is None


def test_a_series_needs_its_slices() -> None:
    assert exclusion(facts(slices=62), RULES) == "62 slices < 100"
    assert exclusion(facts(slices=100), RULES) is None
    assert exclusion(facts(slices=1), SelectionRules(min_slices=0)) is None


def test_the_description_has_to_name_the_lung() -> None:
    assert exclusion(facts(description="Abdomen 5.0"), RULES) == (
        "description 'Abdomen 5.0' has none of lung, chest, thorax"
    )
    assert exclusion(facts(description=""), RULES) == "no series description"
    for description in ("THORAX", "Routine Chest", "LungeLUNG"):
        assert exclusion(facts(description=description), RULES) is None
    assert exclusion(facts(description=""), SelectionRules(description_terms=())) is None
    assert exclusion(facts(description="Torax"), SelectionRules(description_terms=("TORAX",))) is None


def test_the_first_reason_is_given() -> None:
    worst = facts(62, "", ("DERIVED", "MIP"), tilted(90))
    order = [exclusion(worst, RULES), exclusion(worst, SelectionRules(axial=False))]
    order.append(exclusion(worst, SelectionRules(axial=False, original=False)))
    order.append(exclusion(worst, SelectionRules(axial=False, original=False, min_slices=0)))
    assert order == ["coronal", "derived: MIP", "62 slices < 100", "no series description"]


def test_image_files_are_held_to_the_rules_only_when_asked() -> None:
    converted = facts(3, "", (), tilted(90), is_file=True)
    assert exclusion(converted, RULES) is None
    assert exclusion(converted, SelectionRules(files=True)) == "coronal"
    assert exclusion(converted, SelectionRules(files=True, axial=False)) == "3 slices < 100"
    assert exclusion(converted, SelectionRules(files=True, axial=False, min_slices=0)) is None
