"""Scoring many cases: the numbers, what becomes of bad input, threads and memory."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from datastore.atomic import sha256_of
from datastore.geometry import Geometry
from datastore.image_files import read_mask, write_mask
from datastore.labels import LUNGS
from datastore.nifti import write_nifti
from datastore.volume import Volume
from infers.metrics import score
from lungapp.evaluation import run
from lungapp.evaluation.labels import LUNGS_IN_ONE
from lungapp.evaluation.records import CaseFiles, CaseResult, Evaluation, Outcome
from lungapp.evaluation.run import evaluate, is_complete, never_predicted, only_predicted

GRID = Geometry((1.5, 1.5, 3.0))


def lungs(shift: int = 0, *, right: bool = True, left: bool = True) -> np.ndarray:
    """(z, y, x) labels: two boxes, moved along x."""
    array = np.zeros((8, 12, 20), np.uint8)
    array[1:7, 2:10, 1 + shift : 8 + shift] = 1 * right
    array[1:7, 2:10, 11 + shift : 18 + shift] = 2 * left
    return array


def stored(path: Path, array: np.ndarray, geometry: Geometry = GRID) -> Path:
    volume = Volume(array, geometry)
    if array.dtype == np.uint8:
        write_mask(volume, path)
    else:
        write_nifti(volume, path)
    return path


@pytest.fixture
def case(tmp_path: Path) -> Callable[..., CaseFiles]:
    """Makes the files of a case."""

    def make(
        name: str, reference: np.ndarray | None, *predictions: np.ndarray | None, tumour: np.ndarray | None = None
    ) -> CaseFiles:
        def path(kind: str, array: np.ndarray | None) -> Path | None:
            return None if array is None else stored(tmp_path / f"{name}-{kind}.nii.gz", array)

        return CaseFiles(
            name,
            reference=path("ref", reference),
            predictions=tuple((f"m{number}", path(f"m{number}", mask)) for number, mask in enumerate(predictions)),
            tumour=path("tumour", tumour),
        )

    return make


def results(*cases: CaseFiles, jobs: int = 2) -> tuple[CaseResult, ...]:
    return evaluate(cases, [name for name, _ in cases[0].predictions], LUNGS, jobs=jobs).results


def test_a_case_has_the_scores_of_its_masks(case: Callable[..., CaseFiles]) -> None:
    (good, shifted) = results(case("a", lungs(), lungs(), lungs(1)))
    assert good.value("dice") == 1.0 and good.value("hausdorff_mm") == 0.0
    assert shifted.value("dice") == pytest.approx(6 / 7)
    assert [item.name for item in shifted.structures] == ["right_lung", "left_lung"]
    assert shifted.structures == score(Volume(lungs(), GRID), Volume(lungs(1), GRID))
    assert (good.notes, good.reason, good.outcome) == ((), None, Outcome.SCORED)


def test_results_come_case_by_case_and_model_by_model_whatever_the_number_of_jobs(
    case: Callable[..., CaseFiles],
) -> None:
    cases = [case(f"{number}", lungs(), lungs(number % 3), lungs(1)) for number in range(7)]
    one, many = (results(*cases, jobs=jobs) for jobs in (1, 5))
    assert [(item.case, item.model) for item in many] == [(f"{n}", f"m{m}") for n in range(7) for m in range(2)]
    assert one == many


BAD: dict[str, tuple[np.ndarray, str]] = {
    "grid": (lungs()[:6], "mask grid (20, 12, 6) does not match image (20, 12, 8)"),
    "image": (lungs().astype(np.int16) * 40 - 1000, "label value -1000 is outside 0..255"),
    "label": (
        np.where(lungs() > 1, np.uint8(3), lungs()),
        "label value 3 is unknown: expected 0 background, 1 right_lung, 2 left_lung",
    ),
    "nan": (np.where(lungs() > 1, np.nan, 1).astype(np.float32), "label value nan is outside 0..255"),
    "fraction": (lungs().astype(np.float32) / 2, "expected whole numbers in a mask, got fractions"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_prediction_is_a_failed_case_and_stops_nothing(case: Callable[..., CaseFiles], kind: str) -> None:
    array, words = BAD[kind]
    bad, good, last = results(case("bad", lungs(), array, lungs()), case("good", lungs(), lungs(), None))[:3]
    assert bad.outcome is Outcome.FAILED and not bad.structures
    assert words in str(bad.reason) and "bad-m0.nii.gz" in str(bad.reason) and "\n" not in str(bad.reason)
    assert good.value("dice") == last.value("dice") == 1.0


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_reference_fails_for_every_model_and_is_named(case: Callable[..., CaseFiles], kind: str) -> None:
    array, words = BAD[kind]
    for item in results(case("bad", array, lungs(), lungs())):
        assert item.outcome is Outcome.FAILED
        if kind != "grid":
            assert words in str(item.reason) and str(item.reason).count(".nii.gz") == 1
        assert "bad-ref.nii.gz" in str(item.reason)


def test_a_torn_file_and_one_that_is_gone_are_failures(case: Callable[..., CaseFiles], tmp_path: Path) -> None:
    files = case("a", lungs(), lungs(), lungs())
    (tmp_path / "a-m0.nii.gz").write_bytes((tmp_path / "a-m0.nii.gz").read_bytes()[:-9])
    (tmp_path / "a-m1.nii.gz").unlink()
    torn, gone = results(files)
    assert torn.outcome is gone.outcome is Outcome.FAILED
    assert "a-m0.nii.gz" in str(torn.reason) and "a-m1.nii.gz: no such file" in str(gone.reason)


def test_what_is_missing_has_rows_of_its_own(case: Callable[..., CaseFiles]) -> None:
    found = results(case("a", lungs(), None, lungs()), case("b", None, lungs(), None))
    assert [item.outcome for item in found] == [
        Outcome.NO_PREDICTION,
        Outcome.SCORED,
        Outcome.NO_REFERENCE,
        Outcome.NO_REFERENCE,
    ]
    assert found[0].reason == "no mask of m0"
    assert all(item.value("dice") is None for item in found if item.outcome is not Outcome.SCORED)


def test_why_a_model_made_no_mask_is_kept(case: Callable[..., CaseFiles]) -> None:
    unmade = {("a", "m0"): (Outcome.FAILED, "the scan is torn")}
    (result,) = evaluate([case("a", lungs(), None)], ["m0"], LUNGS, unmade=unmade).results
    assert (result.outcome, result.reason) == (Outcome.FAILED, "the scan is torn")


def test_a_lung_in_one_of_the_two_masks_counts_and_is_noted(case: Callable[..., CaseFiles]) -> None:
    missed, false = results(
        case("missed", lungs(), lungs(left=False)), case("false", lungs(right=False), lungs(right=True))
    )
    assert missed.value("dice") == 0.5 and missed.value("hausdorff95_mm") == math.inf
    assert missed.notes == ("left_lung only in the reference",)
    assert false.notes == ("right_lung only in the prediction",) and false.value("dice") == 0.5


def test_two_empty_masks_have_no_value_and_say_so(case: Callable[..., CaseFiles]) -> None:
    (result,) = results(case("a", lungs() * 0, lungs() * 0))
    assert result.outcome is Outcome.SCORED and result.value("dice") is None
    assert "there is no value" in result.notes[0]


def test_a_whole_lung_is_everything_above_0(case: Callable[..., CaseFiles]) -> None:
    one = (lungs() > 0).astype(np.uint8) * 255
    (result,) = evaluate([case("a", one, lungs() * 7)], ["m0"], [LUNGS_IN_ONE], whole=True).results
    assert result.value("dice") == 1.0 and result.structures[0].name == "lungs"


def test_masks_in_other_orders_of_axes_are_compared_in_space(tmp_path: Path) -> None:
    flipped = replace(GRID, origin_mm=(19 * 1.5, 0.0, 0.0), direction=(-1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0))
    reference = stored(tmp_path / "ref.nii.gz", lungs())
    prediction = stored(tmp_path / "pred.mha", np.ascontiguousarray(lungs()[:, :, ::-1]), flipped)
    (result,) = results(CaseFiles("a", reference=reference, predictions=(("m", prediction),)))
    assert result.value("dice") == 1.0


def test_the_tolerance_reaches_the_surface_dice(case: Callable[..., CaseFiles]) -> None:
    files = case("a", lungs(), lungs(1))
    tight, loose = (evaluate([files], ["m0"], LUNGS, tolerance_mm=mm) for mm in (0.5, 1.5))
    assert tight.tolerance_mm == 0.5
    assert tight.results[0].value("surface_dice") != loose.results[0].value("surface_dice") == 1.0


def test_a_tumours_share_inside_the_lungs_is_found(case: Callable[..., CaseFiles]) -> None:
    tumour = np.zeros_like(lungs())
    tumour[2:4, 4:6, 6:10] = 1  # half of it is between the lungs
    cases = [
        case("a", lungs(), lungs(), tumour=tumour),
        case("b", None, lungs(), tumour=tumour),
        case("c", lungs(), lungs()),
    ]
    first, second, third = results(*cases)
    assert first.tumour_overlap == 0.5
    assert (second.outcome, second.tumour_overlap) == (Outcome.NO_REFERENCE, 0.5)
    assert third.tumour_overlap is None


def test_a_bad_tumour_takes_no_lung_score_away_but_is_not_complete(case: Callable[..., CaseFiles]) -> None:
    files = case("a", lungs(), lungs(), tumour=lungs() * 0)
    evaluation = evaluate([files], ["m0"], LUNGS)
    (result,) = evaluation.results
    assert result.value("dice") == 1.0 and result.tumour_overlap is None
    assert "the tumour's mask is empty" in result.notes[0]
    assert not is_complete(evaluation)
    (alone,) = evaluate([files], ["m0"], ()).results
    assert alone.outcome is Outcome.FAILED and "the tumour's mask is empty" in str(alone.reason)


def test_tumours_alone_need_no_reference(case: Callable[..., CaseFiles]) -> None:
    evaluation = evaluate([case("a", None, lungs(), tumour=lungs())], ["m0"], ())
    (result,) = evaluation.results
    assert (result.outcome, result.tumour_overlap, result.structures) == (Outcome.SCORED, 1.0, ())
    assert is_complete(evaluation) and evaluation.structures == ()


def evaluation_of(*cases: CaseFiles) -> Evaluation:
    return evaluate(cases, [name for name, _ in cases[0].predictions], LUNGS)


def test_a_structure_that_no_reference_has_is_told_from_one_that_some_lack(case: Callable[..., CaseFiles]) -> None:
    without_sides = np.minimum(lungs(), 1)
    first, second = case("a", without_sides, lungs()), case("b", without_sides, lungs())
    assert only_predicted(evaluation_of(first, second)) == ("left_lung",)
    assert only_predicted(evaluation_of(first, case("c", lungs(), lungs()))) == ()
    assert only_predicted(evaluation_of(case("d", lungs(), lungs()))) == ()


def test_a_structure_that_a_model_never_finds_is_told(case: Callable[..., CaseFiles]) -> None:
    evaluation = evaluation_of(
        case("a", lungs(), lungs(left=False), lungs()), case("b", lungs(), lungs(left=False), lungs(left=False))
    )
    assert never_predicted(evaluation, "m0") == ("left_lung",)
    assert never_predicted(evaluation, "m1") == ()


def test_a_reference_is_read_once_for_all_models_and_at_most_one_case_a_job_is_held(
    case: Callable[..., CaseFiles], monkeypatch: pytest.MonkeyPatch
) -> None:
    cases = [case(f"{number}", lungs(), lungs(), lungs(1), lungs()) for number in range(6)]
    read: list[str] = []
    alive = 0
    most = 0
    lock = threading.Lock()

    class Counted(Volume):
        def __init__(self, volume: Volume) -> None:
            nonlocal alive, most
            super().__init__(volume.array, volume.geometry)
            with lock:
                alive += 1
                most = max(most, alive)

        def __del__(self) -> None:
            nonlocal alive
            with lock:
                alive -= 1

    def counting(path: Path) -> Volume:
        read.append(path.name)
        return Counted(read_mask(path))

    monkeypatch.setattr(run, "read_mask", counting)
    results(*cases, jobs=2)
    assert sum("ref" in name for name in read) == 6 and len(read) == 24
    assert most <= 4


def test_an_interruption_waits_for_the_cases_at_work_and_begins_no_other(
    case: Callable[..., CaseFiles], monkeypatch: pytest.MonkeyPatch
) -> None:
    files = case("a", lungs(), lungs())
    cases = [replace(files, case=f"{number}") for number in range(400)]
    begun: list[str] = []

    def noting(path: Path) -> Volume:
        begun.append(path.name)
        return read_mask(path)

    def stop() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "read_mask", noting)
    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        evaluate(cases, ["m0"], LUNGS, jobs=2, progress=stop)
    assert len(begun) < 2 * len(cases)
    assert threading.active_count() == before


def test_one_case_gets_all_the_threads(case: Callable[..., CaseFiles], monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def noting(*arguments: object, threads: int, **how: object) -> object:
        asked.append(threads)
        return score(*arguments, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(run, "score", noting)
    results(case("a", lungs(), lungs()), jobs=4)
    results(case("b", lungs(), lungs()), case("c", lungs(), lungs()), case("d", lungs(), lungs()), jobs=4)
    assert asked == [4, 1, 1, 1]


def test_sides_the_wrong_way_round_are_said_to_be(case: Callable[..., CaseFiles]) -> None:
    right_and_left = np.array([0, 2, 1], np.uint8)
    (swapped, good) = results(case("a", lungs(), right_and_left[lungs()], lungs()))
    assert swapped.value("dice") == 0 and any("are the segments swapped?" in note for note in swapped.notes)
    assert not good.notes


def test_a_reference_that_was_changed_since_it_was_accepted_is_not_used(case: Callable[..., CaseFiles]) -> None:
    files = case("a", lungs(), lungs())
    assert files.reference is not None
    (result,) = results(replace(files, reference_sha256=sha256_of(files.reference)))
    assert result.outcome is Outcome.SCORED
    (result,) = results(replace(files, reference_sha256="0" * 64))
    assert result.outcome is Outcome.FAILED and "was changed since it was accepted" in (result.reason or "")
