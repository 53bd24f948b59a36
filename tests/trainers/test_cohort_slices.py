"""Synthetic patients as training slices: drawn apart from rendering, seeded, many views, lungs sick and well."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from datastore.phantom.cohorts import draw_cohort
from infers.preprocess import Preprocessing
from trainers import cohort_slices as module
from trainers.cohort_slices import (
    THICKNESS_MM,
    THIN_SLICES,
    VIEW_SHARES,
    WINDOWS,
    CohortPlan,
    Examination,
    cohort_slices,
    draw_examination,
    render,
)
from trainers.slice_cache import SliceCache
from trainers.slices import VolumeSlices, training_slices

PLAN = CohortPlan("routine", seed=3, patients=400)


@pytest.fixture(scope="module")
def drawn() -> list[Examination]:
    return [draw_examination(PLAN, number) for number in range(PLAN.patients)]


def coarse(examination: Examination, **changes: object) -> Examination:
    """Few voxels, so that it is rendered at once."""
    return replace(examination, spacing_mm=(25.0, 8.0, 8.0), **changes)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def chest(drawn: list[Examination]) -> Examination:
    return next(one for one in drawn if one.view.kind == "chest" and one.window == "whole" and not one.lesions)


def test_an_examination_is_a_function_of_seed_and_number(chest: Examination) -> None:
    first, again = (draw_examination(PLAN, 7) for _ in range(2))
    assert (first.patient, first.view, first.seed) == (again.patient, again.view, again.seed)
    for one, other in zip(render(coarse(chest)), render(coarse(chest)), strict=True):
        np.testing.assert_array_equal(one, other)
    assert draw_examination(PLAN, 8).patient != first.patient
    assert draw_examination(replace(PLAN, seed=4), 7).patient != first.patient


def test_some_patients_show_what_has_no_lung_and_every_window_comes(drawn: list[Examination]) -> None:
    views = Counter(one.view.kind for one in drawn)
    for kind, share in VIEW_SHARES.items():
        assert views[kind] / len(drawn) > 0.8 * share
    assert views["chest"] > len(drawn) / 2
    assert {one.window for one in drawn} == set(WINDOWS)
    assert sum(WINDOWS.values()) == pytest.approx(1)


def test_patients_are_those_of_the_cohort(drawn: list[Examination]) -> None:
    for one, plan in zip(drawn[:40], draw_cohort("routine", 40, seed=3), strict=True):
        assert (one.patient, one.lesions) == (plan.patient, plan.lesions)
    ill = [one for one in drawn if one.lesions]
    assert 0.6 < len(ill) / len(drawn) < 0.95
    assert len({lesion.kind for one in ill for lesion in one.lesions}) > 12
    healthy = replace(PLAN, cohort="anatomy3")
    assert not any(draw_examination(healthy, number).lesions for number in range(40))


def test_slices_are_thin_and_thick(drawn: list[Examination]) -> None:
    thicknesses = np.array([one.spacing_mm[0] for one in drawn])
    for low, high in THICKNESS_MM.values():
        assert ((thicknesses >= low) & (thicknesses <= high)).mean() > 0.15


@pytest.mark.parametrize("diseases", [(), ("mass",)])
def test_patients_to_judge_on_show_whole_chests_and_the_given_disease(diseases: tuple[str, ...]) -> None:
    plan = replace(PLAN, chest_only=True, diseases=diseases)
    for number in range(20):
        one = draw_examination(plan, number)
        assert (one.view.kind, one.window) == ("chest", "whole")
        assert {lesion.kind for lesion in one.lesions} == set(diseases)


def test_thin_slices_are_not_more_than_a_patient_may_cost(chest: Examination) -> None:
    hu, lungs = render(replace(chest, spacing_mm=(1.0, 12.0, 12.0)))
    assert hu.shape == lungs.shape and len(hu) == THIN_SLICES


def test_a_window_of_one_lung_cuts_most_of_the_other_off(chest: Examination) -> None:
    whole = render(coarse(chest))[1]
    shares = []
    for seed in range(4):
        hu, lungs = render(coarse(chest, window="one lung", seed=seed))
        assert hu.shape == lungs.shape and hu.dtype == np.int16
        shares.append(sorted(np.count_nonzero(lungs == side) / np.count_nonzero(whole == side) for side in (1, 2)))
    assert all(kept > 0.95 for _, kept in shares)
    assert np.mean([lost for lost, _ in shares]) < 0.4


@pytest.mark.parametrize(("window", "low", "high"), [("narrow", 0.5, 1.0), ("part", 0.15, 0.6)])
def test_windows_cut_the_slices_smaller(chest: Examination, window: str, low: float, high: float) -> None:
    whole = render(coarse(chest))[0][0].size
    assert low < render(coarse(chest, window=window))[0][0].size / whole < high


def test_diseases_are_painted(chest: Examination, drawn: list[Examination]) -> None:
    ill = next(one for one in drawn if any(lesion.kind == "effusion" for lesion in one.lesions))
    well_hu, lungs = render(coarse(chest))
    ill_hu, _ = render(coarse(chest, lesions=ill.lesions))
    assert (well_hu[lungs > 0] > -100).mean() < (ill_hu[lungs > 0] > -100).mean()


SMALL = Preprocessing(size=64)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> list[Examination]:
    """Noise in place of anatomy, which takes its time; lists what was rendered."""
    rendered: list[Examination] = []

    def render_noise(examination: Examination) -> tuple[np.ndarray, np.ndarray]:
        rendered.append(examination)
        random = np.random.default_rng(examination.seed)
        hu, lungs = random.integers(-1000, 100, (10, 24, 24)), random.integers(3, size=(10, 24, 24))
        return hu.astype(np.int16), lungs.astype(np.uint8)

    monkeypatch.setattr(module, "render", render_noise)
    return rendered


def in_cache(plan: CohortPlan, folder: Path) -> list[VolumeSlices]:
    return list(cohort_slices(plan, SliceCache(folder), SMALL))


def test_slices_are_ready_for_the_network(tmp_path: Path) -> None:
    plan = CohortPlan("anatomy3", seed=3, patients=1, slices=6)
    (part,) = in_cache(plan, tmp_path)
    assert part.slices.images.shape == part.slices.labels.shape == (6, 64, 64)
    assert part.slices.images.dtype == np.float16 and set(np.unique(part.slices.labels)) <= {0, 1, 2}


def test_slices_are_spread_over_the_scan(tmp_path: Path, quick: list[Examination]) -> None:
    plan = CohortPlan("anatomy3", seed=3, patients=1, slices=6)
    (part,) = in_cache(plan, tmp_path)
    hu, lungs = module.render(quick[0])
    expected = training_slices(hu[[0, 2, 4, 5, 7, 9]], lungs[[0, 2, 4, 5, 7, 9]], SMALL)
    np.testing.assert_array_equal(part.slices.images, expected.images)
    np.testing.assert_array_equal(part.slices.labels, expected.labels)


def test_each_patient_is_one_entry_that_is_rendered_once(tmp_path: Path, quick: list[Examination]) -> None:
    plan = CohortPlan("anatomy3", seed=3, patients=2, slices=6)
    parts = in_cache(plan, tmp_path)
    assert len({part.patient for part in parts}) == 2 == len(quick)
    assert not any(part.groups or part.negatives_only for part in parts)
    again = in_cache(replace(plan, first=1), tmp_path)  # one of them is there
    assert len(quick) == 3
    np.testing.assert_array_equal(again[0].slices.images, parts[1].slices.images)
    assert not np.array_equal(parts[0].slices.images, parts[1].slices.images)


def test_rendering_that_was_stopped_goes_on_where_it_was(tmp_path: Path, quick: list[Examination]) -> None:
    plan = CohortPlan("anatomy3", seed=3, patients=3, slices=6)
    stopped = cohort_slices(plan, SliceCache(tmp_path), SMALL)
    begun = [next(stopped), next(stopped)]
    stopped.close()
    whole = in_cache(plan, tmp_path)
    assert len(quick) == 3
    np.testing.assert_array_equal(whole[1].slices.images, begun[1].slices.images)


@pytest.mark.parametrize(
    "change", [{"cohort": "routine"}, {"seed": 4}, {"slices": 5}, {"chest_only": True}, {"diseases": ("mass",)}],
    ids=lambda change: next(iter(change)),
)  # fmt: skip
def test_a_patient_of_another_plan_is_another_entry(
    tmp_path: Path, quick: list[Examination], change: dict[str, object]
) -> None:
    plan = CohortPlan("anatomy3", seed=3, patients=1, slices=6)
    in_cache(plan, tmp_path)
    in_cache(replace(plan, **change), tmp_path)  # type: ignore[arg-type]
    assert len(quick) == 2 == len(list(tmp_path.iterdir()))


def test_an_unknown_cohort_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a cohort of anatomy3, routine, ltrc, lctsc, vessel12, got 'lola'"):
        CohortPlan("lola", 1, 1)
