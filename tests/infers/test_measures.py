from __future__ import annotations

import dataclasses
import tracemalloc

import numpy as np
import pytest

from datastore.geometry import Geometry
from datastore.labels import LUNGS, Structure
from datastore.phantom import Phantom
from datastore.volume import Volume
from infers.measures import State, StructureMeasure, findings_of, measure, state_of

SHAPE = (40, 60, 80)
SPACING_MM = (2.5, 1.5, 2.0)  # (z, y, x)
GEOMETRY = Geometry((2.0, 1.5, 2.5))
RIGHT = StructureMeasure("right_lung", 2500.0, -820.0, (5, 30), (), 20.0)
LEFT = StructureMeasure("left_lung", 2200.0, -810.0, (5, 30), (), 60.0)


def scan(seed: int = 0, geometry: Geometry = GEOMETRY) -> Volume:
    hu = np.random.default_rng(seed).integers(-1000, 100, SHAPE).astype(np.int16)
    return Volume(hu, geometry)


def with_boxes(image: Volume, *boxes: tuple[int, tuple[slice, ...]]) -> Volume:
    labels = np.zeros(image.array.shape, np.uint8)
    for value, box in boxes:
        labels[box] = value
    return image.with_array(labels)


def findings(right: StructureMeasure = RIGHT, left: StructureMeasure = LEFT, **how: object) -> tuple[str, ...]:
    given = {"shape": (100, 512, 512), "spacing_mm": (2.5, 0.7, 0.7), **how}
    return findings_of([right, left], given["shape"], given["spacing_mm"])  # type: ignore[arg-type]


def test_measures_are_those_of_the_whole_arrays(phantom: Phantom) -> None:
    for structure, found in zip(LUNGS, measure(phantom.image, phantom.lungs), strict=True):
        inside = phantom.lungs.array == structure.value
        z, _, x = np.nonzero(inside)
        assert found.name == structure.name
        assert found.volume_ml == pytest.approx(inside.sum() * 5.0 * 3.0 * 3.0 / 1000)
        assert found.mean_hu == pytest.approx(phantom.image.array[inside].astype(float).mean())
        assert found.slices == (z.min(), z.max())
        assert found.centre_x == pytest.approx(x.mean())


@pytest.mark.parametrize(
    ("box", "touches"),
    [
        (np.s_[5:9, 5:9, 5:9], ()),
        (np.s_[0:9, 5:9, 5:9], ("lowest slice",)),
        (np.s_[39:40, 5:9, 5:9], ("highest slice",)),
        (np.s_[5:9, 0:9, 5:9], ("front border of the slices",)),
        (np.s_[5:9, 50:60, 5:9], ("back border of the slices",)),
        (np.s_[5:9, 5:9, 0:9], ("right border of the slices",)),
        (np.s_[5:9, 5:9, 79:80], ("left border of the slices",)),
        (np.s_[:, :, 40:41], ("lowest slice", "highest slice", "front border of the slices",
                              "back border of the slices")),
    ],
)  # fmt: skip
def test_where_the_scan_cuts_a_structure_off_is_said(box: tuple[slice, ...], touches: tuple[str, ...]) -> None:
    image = scan()
    found, _ = measure(image, with_boxes(image, (1, box)))
    assert found.touches == touches


def test_ends_and_borders_are_the_patients_whatever_the_order_of_the_file() -> None:
    upside_down = Geometry((2.0, 1.5, 2.5), direction=(-1.0, 0, 0, 0, 1.0, 0, 0, 0, -1.0))
    image = scan(geometry=upside_down)
    found, _ = measure(image, with_boxes(image, (1, np.s_[0:2, 5:9, 0:2])))
    assert found.touches == ("highest slice", "left border of the slices")
    assert found.slices == (38, 39)
    assert found.centre_x == pytest.approx(78.5)


def test_what_is_not_there_has_no_density_and_no_place() -> None:
    image = scan()
    assert measure(image, with_boxes(image)) == (
        StructureMeasure("right_lung", 0.0),
        StructureMeasure("left_lung", 0.0),
    )


def test_other_structures_than_lungs_are_measured_too() -> None:
    image = scan()
    lobes = (Structure(3, "right_upper_lobe", (1, 0, 0)), Structure(1, "left_upper_lobe", (0, 1, 0)))
    mask = with_boxes(image, (3, np.s_[5:9, 5:9, 5:9]), (1, np.s_[5:9, 5:9, 50:60]))
    right, left = measure(image, mask, lobes)
    assert (right.name, right.volume_ml) == ("right_upper_lobe", pytest.approx(64 * 0.0075))
    assert (left.name, left.volume_ml) == ("left_upper_lobe", pytest.approx(160 * 0.0075))
    assert state_of([right, left]) is State.LUNGS
    assert state_of([right]) is State.ONE_LUNG


def test_a_mask_of_another_shape_is_refused() -> None:
    image = scan()
    with pytest.raises(ValueError, match=r"mask grid \(80, 60, 39\) does not match image \(80, 60, 40\)"):
        measure(image, Volume(np.zeros((39, 60, 80), np.uint8), GEOMETRY))


def test_measuring_takes_little_memory() -> None:
    image = Volume(np.zeros((400, 256, 256), np.int16), Geometry((0.7, 0.7, 0.7)))
    mask = with_boxes(image, (1, np.s_[:, :, :128]), (2, np.s_[:, :, 128:]))
    tracemalloc.start()
    measure(image, mask)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < mask.array.nbytes / 4


def test_the_state_is_said_in_words() -> None:
    none = StructureMeasure("right_lung", 0.0)
    assert state_of([RIGHT, LEFT]) == "lungs found"
    assert state_of([none, LEFT]) == "one lung found"
    assert state_of([none, dataclasses.replace(none, name="left_lung")]) == "no lung found"


def test_healthy_lungs_give_no_findings() -> None:
    assert findings() == ()


def test_a_missing_lung_is_found_out() -> None:
    assert findings(left=StructureMeasure("left_lung", 0.0)) == ("left lung not found",)
    assert findings(StructureMeasure("right_lung", 0.0)) == ("right lung not found",)
    assert findings(StructureMeasure("right_lung", 0.0), StructureMeasure("left_lung", 0.0)) == ("no lung found",)


def test_a_lung_that_is_cut_off_is_found_out() -> None:
    cut = dataclasses.replace(RIGHT, touches=("lowest slice", "left border of the slices"))
    assert findings(cut) == (
        "right lung touches the lowest slice (cut off)",
        "right lung touches the left border of the slices (cut off)",
    )


def test_few_and_thick_slices_are_found_out() -> None:
    assert findings(shape=(9, 512, 512)) == ("9 slices, expected at least 10",)
    assert findings(shape=(1, 512, 512))[0] == "1 slice, expected at least 10"
    assert findings(shape=(10, 512, 512)) == ()
    assert findings(spacing_mm=(8.0, 0.7, 0.7)) == ("slices are 8 mm apart, expected at most 5 mm",)
    assert findings(spacing_mm=(5.0, 0.7, 0.7)) == ()


def test_volumes_and_densities_that_no_lung_has_are_found_out() -> None:
    assert findings(dataclasses.replace(RIGHT, volume_ml=6100.0)) == ("right lung: 6.1 l, expected less than 6.0 l",)
    assert "40 ml, expected more than 50 ml" in findings(dataclasses.replace(RIGHT, volume_ml=40.0))[0]
    (text,) = findings(left=dataclasses.replace(LEFT, mean_hu=-990.0))
    assert text == "left lung: mean -990 HU, expected -980 to 100 HU"


@pytest.mark.parametrize("how", [{"touches": ("highest slice",)}, {"slices": (3, 30)}, {"slices": (5, 96)}])
def test_a_lung_cut_by_the_end_of_the_scan_may_be_small(how: dict[str, object]) -> None:
    small = dataclasses.replace(RIGHT, volume_ml=40.0, **how)  # type: ignore[arg-type]
    assert not any("expected more than" in text for text in findings(small))


def test_swapped_sides_are_found_out() -> None:
    assert findings(dataclasses.replace(RIGHT, centre_x=70.0)) == (
        "right lung lies to the patient's left of the left lung (sides swapped?)",
    )


def test_lobes_are_judged_as_lungs() -> None:
    upper = StructureMeasure("right_upper_lobe", 40.0, -800.0, (15, 30), (), 20.0)
    lower = StructureMeasure("right_lower_lobe", 5960.0, -600.0, (5, 14), ("lowest slice",), 30.0)
    middle = StructureMeasure("right_middle_lobe", 0.0)
    texts = findings_of([LEFT, upper, middle, lower], (100, 512, 512), (2.5, 0.7, 0.7))
    assert texts == ("right lung touches the lowest slice (cut off)",)
    bigger = dataclasses.replace(upper, volume_ml=41.0)
    assert "6.0 l" in findings_of([LEFT, bigger, lower], (100, 512, 512), (2.5, 0.7, 0.7))[1]
