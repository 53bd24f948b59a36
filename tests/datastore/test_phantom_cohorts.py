from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from datastore.datasets.catalogue import DATASETS
from datastore.datasets.reference import LUNGS, Reference
from datastore.dicom import read_folder
from datastore.geometry import Geometry
from datastore.image_files import read_ct, read_mask
from datastore.labels import check_sides
from datastore.phantom.case_files import IMPORTERS
from datastore.phantom.case_making import Making, make_case
from datastore.phantom.cohorts import COHORTS, PatientPlan, SyntheticScan, draw_cohort, render_scan
from datastore.phantom.derived_series import UPSIDE_DOWN, planes
from datastore.phantom.dicom_files import write_dicom_series
from datastore.phantom.lesions import KINDS
from datastore.phantom.plans import LOCALIZER, MONITORING, PROJECTION, REFORMAT, VOLUME
from datastore.selection import SelectionRules
from datastore.sources import find_sources
from datastore.volume import Volume

SIZE, SLICES = 64, 24


def plan_with(cohort: str, *lesions: str, seed: int = 1, **wanted: str) -> PatientPlan:
    """The first patient whose chest is scanned, who has these diseases and attributes."""
    for plan in draw_cohort(cohort, 400, seed):
        kinds = {lesion.kind for lesion in plan.lesions}
        if kinds >= set(lesions) and plan.view_kind == "chest" and _has(plan, wanted):
            return plan
    raise LookupError(f"no patient of {cohort} with {lesions}")


def _has(plan: PatientPlan, wanted: dict[str, str]) -> bool:
    return all(getattr(plan.patient, name) == value for name, value in wanted.items())


@pytest.fixture(scope="module")
def tumour_plan() -> PatientPlan:
    plan = next(
        plan
        for plan in draw_cohort("lctsc", 200, 1)
        if {"mass", "effusion"} <= {lesion.kind for lesion in plan.lesions} and "mass" in plan.left_out
    )
    return plan


@pytest.fixture(scope="module")
def tumour_scan(tumour_plan: PatientPlan) -> SyntheticScan:
    return render_scan(tumour_plan, size=SIZE, slices=SLICES)


@pytest.mark.parametrize("cohort", COHORTS)
def test_a_patient_is_the_same_in_every_cohort_of_a_seed(cohort: str) -> None:
    few, many = draw_cohort(cohort, 3, seed=7), draw_cohort(cohort, 6, seed=7)
    assert many[:3] == few
    assert len({plan.seed for plan in many}) == len({plan.name for plan in many}) == 6
    assert draw_cohort(cohort, 1, seed=8)[0].seed != few[0].seed


def test_anatomy3_is_healthy_and_shows_trunk_with_contrast_or_whole_body_without() -> None:
    plans = draw_cohort("anatomy3", 40, 1)
    assert {plan.view_kind for plan in plans} == {"trunk", "whole body"}
    assert not any(plan.lesions for plan in plans)
    for plan in plans:
        assert (plan.patient.contrast == "none") == (plan.view_kind == "whole body")


def test_ltrc_has_fibrosis_and_copd_in_the_chest_alone() -> None:
    plans = draw_cohort("ltrc", 100, 1)
    assert {plan.view_kind for plan in plans} == {"chest"}
    shares = Counter(plan.pathology for plan in plans)
    assert shares["fibrosis"] + shares["emphysema"] > 80
    assert min(shares["fibrosis"], shares["emphysema"]) > 25


def test_every_patient_of_lctsc_has_a_tumour() -> None:
    plans = draw_cohort("lctsc", 60, 1)
    assert all("mass" in {lesion.kind for lesion in plan.lesions} for plan in plans)
    left_out = Counter(kind for plan in plans for kind in plan.left_out)
    assert 40 < left_out["mass"] < 60  # most references leave tumours out, not all


def test_vessel12_is_mostly_healthy() -> None:
    plans = draw_cohort("vessel12", 100, 1)
    assert 45 < sum(not plan.lesions for plan in plans) < 80
    assert {lesion.kind for plan in plans for lesion in plan.lesions} == {"nodules", "emphysema"}


def test_the_routine_has_every_disease_and_many_who_have_none() -> None:
    plans = draw_cohort("routine", 500, 1)
    assert {lesion.kind for plan in plans for lesion in plan.lesions} == set(KINDS)
    assert 60 < sum(not plan.lesions for plan in plans) < 200
    assert all(plan.pathology in plan.tags for plan in plans)


def test_routine_studies_hold_series_that_the_selection_leaves_out() -> None:
    plans = draw_cohort("routine", 300, 1)
    kinds = Counter(series.kind for plan in plans for series in plan.series)
    assert set(kinds) == {VOLUME, LOCALIZER, MONITORING, REFORMAT, PROJECTION}
    assert kinds[LOCALIZER] == len(plans)
    terms = SelectionRules().description_terms
    named = [any(term in plan.main.description.lower() for term in terms) for plan in plans]
    long_enough = [plan.main.slice_count >= SelectionRules().min_slices for plan in plans]
    chosen = sum(both == (True, True) for both in zip(named, long_enough, strict=True))
    assert 200 < chosen < 290
    assert sum(named) < len(plans) and sum(long_enough) < len(plans)


def test_the_main_series_has_the_most_slices() -> None:
    for plan in draw_cohort("routine", 100, 1):
        volumes = [series for series in plan.series if series.kind == VOLUME]
        assert plan.main.slice_count == max(series.slice_count for series in volumes)
        for series in volumes:
            parts = series.increment_mm / plan.main.increment_mm
            assert parts == pytest.approx(round(parts))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("lidc", 1, 0), "unknown cohort 'lidc'"),
        (("ltrc", 0, 0), "1 patient or more, got 0"),
        (("ltrc", 1, -1), "seed of 0 or more, got -1"),
    ],
)
def test_what_cannot_be_drawn_is_refused(arguments: tuple[str, int, int], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        draw_cohort(*arguments)


def test_what_cannot_be_rendered_is_refused() -> None:
    plan = plan_with("routine")
    with pytest.raises(ValueError, match="no volume but a localizer"):
        render_scan(plan, plan.series[0], size=8, slices=4)
    with pytest.raises(ValueError, match="got 0 pixels"):
        render_scan(plan, size=0)
    with pytest.raises(ValueError, match="0 slices"):
        render_scan(plan, size=8, slices=0)


def test_all_of_a_scan_lies_on_one_grid_and_every_disease_inside_the_lungs(tumour_scan: SyntheticScan) -> None:
    image, lungs = tumour_scan.image, tumour_scan.lungs
    assert image.array.shape == (SLICES, SIZE, SIZE) and image.array.dtype == np.int16
    volumes = [lungs, tumour_scan.lobes, tumour_scan.reference, *tumour_scan.lesions.values()]
    assert {volume.geometry for volume in volumes} == {image.geometry}
    assert {volume.array.dtype for volume in volumes} == {np.dtype(np.uint8)}
    check_sides(lungs.array)
    np.testing.assert_array_equal(tumour_scan.lobes.array > 0, lungs.array > 0)
    assert set(np.unique(lungs.array)) == {0, 1, 2}
    assert tumour_scan.lesions["mass"].array.any() and tumour_scan.lesions["effusion"].array.any()
    for mask in tumour_scan.lesions.values():
        assert not (mask.array.astype(bool) & (lungs.array == 0)).any()


def test_a_scan_is_the_same_each_time(tumour_plan: PatientPlan, tumour_scan: SyntheticScan) -> None:
    again = render_scan(tumour_plan, size=SIZE, slices=SLICES)
    np.testing.assert_array_equal(again.image.array, tumour_scan.image.array)
    np.testing.assert_array_equal(again.lungs.array, tumour_scan.lungs.array)


def test_references_of_lctsc_leave_dense_areas_out(tumour_plan: PatientPlan, tumour_scan: SyntheticScan) -> None:
    out = tumour_scan.reference.array != tumour_scan.lungs.array
    expected = np.zeros_like(out)
    for kind, mask in tumour_scan.lesions.items():
        if kind in tumour_plan.left_out:
            expected |= mask.array > 0
    assert expected.any()
    np.testing.assert_array_equal(out, expected)
    assert not tumour_scan.reference.array[out].any()


def test_references_of_vessel12_do_not_tell_right_from_left() -> None:
    scan = render_scan(plan_with("vessel12"), size=SIZE, slices=SLICES)
    np.testing.assert_array_equal(scan.reference.array, scan.lungs.array > 0)


def test_a_thick_series_shows_the_same_patient_as_the_thin_one() -> None:
    plan, thick = next(
        (plan, series)
        for plan in draw_cohort("routine", 400, 1)
        if plan.view_kind == "chest" and plan.pathology == "effusion"
        for series in plan.series
        if series.kind == VOLUME and round(series.increment_mm / plan.main.increment_mm) in (5, 7)
    )
    parts = round(thick.increment_mm / plan.main.increment_mm)
    first, second = (render_scan(plan, series, size=48, slices=12 * parts) for series in (plan.main, thick))
    assert first.image.array.shape[0] == 12 * parts and second.image.array.shape[0] == 12
    z = second.image.geometry.spacing_mm[2]
    assert z == pytest.approx(parts * first.image.geometry.spacing_mm[2])
    for name in ("lungs", "effusion"):
        ml = [_ml(scan.lungs if name == "lungs" else scan.lesions[name]) for scan in (first, second)]
        assert ml[1] == pytest.approx(ml[0], rel=0.04)
    middle = [
        scan.image.geometry.origin_mm[2] + scan.image.geometry.spacing_mm[2] * _z(scan) for scan in (first, second)
    ]
    assert middle[1] == pytest.approx(middle[0], abs=z / 4)


def _ml(mask: Volume) -> float:
    return np.count_nonzero(mask.array) * mask.geometry.voxel_ml


def _z(scan: SyntheticScan) -> float:
    return float(np.flatnonzero(scan.lungs.array.any(axis=(1, 2))).mean())


@pytest.mark.parametrize("prone", [False, True])
def test_a_dicom_series_holds_the_scan_voxel_for_voxel(
    tmp_path: Path, tumour_plan: PatientPlan, tumour_scan: SyntheticScan, prone: bool
) -> None:
    image = tumour_scan.image
    given = list(planes(image, tumour_plan.main, prone=prone))
    assert (given[0].orientation == UPSIDE_DOWN) == prone
    write_dicom_series(tmp_path / "series", tumour_plan, tumour_plan.main, given)
    read = read_folder(tmp_path / "series")
    np.testing.assert_array_equal(read.to_lps().array, image.array)
    tumour_scan.lungs.on_grid_of(read)  # raises where the grids differ


def test_the_other_series_of_a_study_are_what_they_say(tmp_path: Path) -> None:
    plan = next(
        plan
        for plan in draw_cohort("routine", 2000, 1)
        if len({series.kind for series in plan.series}) == 5 and plan.view_kind == "chest"
    )
    make_case(tmp_path, plan, Making(48, 30, "dicom"))
    found, rejected = find_sources(tmp_path / "dicom")
    cases = {item.name.name: item.new_case(SelectionRules(min_slices=20)) for item in found}
    assert cases[plan.name].exclusion is None  # the only one that is taken
    reasons = [case.exclusion for name, case in cases.items() if name != plan.name]
    assert {"coronal", "derived: MIP", "1 slices < 20"} <= set(reasons) and None not in reasons
    refused = " ".join(map(str, rejected))
    assert "localizer" in refused and "images of one place" in refused
    assert not any(item.damaged for item in rejected)  # none of it is a fault
    scan, coronal = (
        item.read().to_lps()
        for name in (plan.name, "MPR")
        for item in found
        if item.name.name == name or name in cases[item.name.name].description
    )
    step = round(coronal.geometry.spacing_mm[1] / scan.geometry.spacing_mm[1])
    np.testing.assert_array_equal(coronal.array, scan.array[:, ::step])  # the scan, cut the other way


def test_uids_are_the_same_each_time_and_others_on_another_grid(tmp_path: Path, tumour_plan: PatientPlan) -> None:
    image = Volume(np.zeros((2, 4, 4), np.int16), Geometry((1.0, 1.0, 2.0)))
    uids = [
        write_dicom_series(tmp_path / name, tumour_plan, tumour_plan.main, planes(image, tumour_plan.main), grid)
        for name, grid in (("a", "64"), ("b", "64"), ("c", "128"))
    ]
    other = replace(tumour_plan.main, number=9)
    uids.append(write_dicom_series(tmp_path / "d", tumour_plan, other, planes(image, other), "64"))
    assert uids[0] == uids[1] and len(set(uids)) == 3
    files = [sorted((tmp_path / name).iterdir()) for name in "ab"]
    assert [path.read_bytes() for path in files[0]] == [path.read_bytes() for path in files[1]]


@pytest.mark.parametrize("cohort", COHORTS)
def test_the_importer_of_the_real_cohort_takes_the_synthetic_one(tmp_path: Path, cohort: str) -> None:
    plan = draw_cohort(cohort, 30, 3)[0] if cohort != "lctsc" else plan_with("lctsc", "mass")
    rows = make_case(tmp_path, plan, Making(SIZE, SLICES, "nifti"))
    assert rows[0]["case"] == plan.name and rows[0]["right_ml"] > 0

    def part_sides(image: Volume, whole: Volume) -> Volume:
        return image.with_array(read_mask(tmp_path / f"lungs/{plan.name}.nii.gz").array * (whole.array > 0))

    found = list(DATASETS[IMPORTERS[cohort]].find(tmp_path / "dataset", part_sides))
    assert len(found) == 1 and isinstance(found[0], Reference), found
    masks = found[0].read_masks(read_ct(found[0].source.path))
    own = tmp_path / f"references/{plan.name}.nii.gz"
    expected = read_mask(tmp_path / f"lungs/{plan.name}.nii.gz").array.copy()
    if own.exists():
        expected[read_mask(own).array == 0] = 0
    np.testing.assert_array_equal(masks[LUNGS].array, expected)
