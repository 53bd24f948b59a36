from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import pytest

from datastore.geometry import Geometry
from datastore.labels import LUNGS, Structure
from datastore.phantom import Phantom, chest_phantom
from datastore.volume import Volume
from infers.metrics import score
from infers.models import ThresholdModel
from infers.segment import segment
from trainers.case_scores import CaseScores, JudgedFile
from trainers.judging import JudgingStoppedError, LockedCase, judge

GRID = Geometry((2.0, 2.0, 3.0))


@dataclass
class LowestAir:
    """Takes what is dark as lung: right half right, left half left; remembers what it was given."""

    version: str = "air-1"
    description: str = "for tests"
    structures: Sequence[Structure] = LUNGS
    overlaps: bool = False
    seen: list[int] = field(default_factory=list)

    def predict(self, hu: np.ndarray, spacing_mm: tuple[float, float, float]) -> np.ndarray:
        self.seen.append(int(hu[0, 0, 0]))
        sides = np.where(np.arange(hu.shape[2]) < hu.shape[2] // 2, 1, 2).astype(np.uint8)
        return np.where(hu < -500, sides, 0).astype(np.uint8)


def scan(number: int) -> Volume:
    """Two boxes of lung; the corner says which scan it is."""
    hu = np.zeros((8, 12, 16), np.int16)
    hu[2:6, 3:9, 2:6] = hu[2:6, 3:9, 10:14] = -800
    hu[0, 0, 0] = number
    return Volume(hu, GRID)


def truth(number: int) -> Volume:
    """A slice more than is dark, for each number."""
    mask = np.zeros((8, 12, 16), np.uint8)
    mask[2:6, 3 : 9 + number % 3, 2:6] = 1
    mask[2:6, 3:9, 10:14] = 2
    return Volume(mask, GRID)


def locked(number: int, **how: object) -> LockedCase:
    case_id = f"{number:04d}"
    values: dict[str, object] = {
        "case_id": case_id,
        "image": lambda: scan(number),
        "reference": lambda: truth(number),
        "tags": ("effusion",) if number % 2 else (),
        "reference_id": f"{case_id}-aa",
        **how,
    }
    return LockedCase(**values)  # type: ignore[arg-type]


def fails(error: Exception) -> Callable[[], Volume]:
    def read() -> Volume:
        raise error

    return read


def as_text(scores: Sequence[CaseScores]) -> list[str]:
    return [repr(asdict(item)) for item in scores]


def test_whole_volumes_are_scored_lung_by_lung(phantom: Phantom) -> None:
    model = ThresholdModel()
    (scores,) = judge(
        model, [LockedCase("0007", lambda: phantom.image, lambda: phantom.lungs, ("healthy",), "0007-aa")]
    )
    assert (scores.case_id, scores.model, scores.tags, scores.reference_id) == (
        "0007",
        "threshold-1",
        ("healthy",),
        "0007-aa",
    )
    assert scores.lungs == score(phantom.lungs, segment(phantom.image, model))
    assert [lung.name for lung in scores.lungs] == ["right_lung", "left_lung"]
    dice = scores.mean("dice")
    assert dice is not None and dice > 0.9


def test_a_scan_stored_in_another_order_of_axes_is_scored_alike() -> None:
    def turned(volume: Volume) -> Volume:
        """Stored from head to foot."""
        geometry = Geometry(GRID.spacing_mm, (0.0, 0.0, 21.0), (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, -1.0))
        return Volume(volume.array[::-1], geometry)

    upright, headfirst = judge(
        LowestAir(), [locked(1), locked(2, image=lambda: turned(scan(1)), reference=lambda: truth(1))]
    )
    assert upright.lungs == headfirst.lungs


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ({"image": fails(ValueError("the image of case 0002 is gone"))}, "the image of case 0002 is gone"),
        ({"image": fails(OSError(5, "Input/output error"))}, "Input/output error"),
        ({"reference": fails(FileNotFoundError("0002-aa.nii.gz"))}, "0002-aa.nii.gz"),
        ({"reference": lambda: Volume(np.zeros((8, 12, 15), np.uint8), GRID)}, "does not match image"),
        ({"reference": lambda: Volume(np.full((8, 12, 16), 7, np.uint8), GRID)}, "label value 7 is unknown"),
    ],
)
def test_a_case_that_cannot_be_judged_is_a_record_with_the_reason(how: dict[str, object], reason: str) -> None:
    scores = judge(LowestAir(), [locked(1), locked(2, **how), locked(3)])
    assert [item.case_id for item in scores] == ["0001", "0002", "0003"]
    assert [item.failure is None for item in scores] == [True, False, True]
    assert reason in (scores[1].failure or "")
    assert scores[1].lungs == ()


def test_what_is_wrong_with_the_machine_is_no_matter_of_a_case() -> None:
    with pytest.raises(MemoryError):
        judge(LowestAir(), [locked(1, image=fails(MemoryError()))])  # type: ignore[arg-type]


def test_one_case_is_in_memory_at_a_time() -> None:
    alive: list[weakref.ref[np.ndarray]] = []
    most: list[int] = []

    def watched(make: Callable[[int], Volume], number: int) -> Callable[[], Volume]:
        def read() -> Volume:
            most.append(sum(reference() is not None for reference in alive))
            volume = make(number)
            alive.append(weakref.ref(volume.array))
            return volume

        return read

    cases = [locked(n, image=watched(scan, n), reference=watched(truth, n)) for n in range(1, 5)]
    judge(LowestAir(), cases)
    assert most == [0] * 8  # not even the scan is there when its reference is read


def test_the_progress_is_told_case_by_case() -> None:
    told: list[tuple[int, int]] = []
    judge(LowestAir(), [locked(1), locked(2), locked(3)], lambda done, count: told.append((done, count)))
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_a_judging_that_was_stopped_goes_on_where_it_was(tmp_path: Path) -> None:
    cases = [locked(number) for number in range(1, 6)]
    undisturbed = judge(LowestAir(), cases)
    file, model = JudgedFile(tmp_path / "judged.json"), LowestAir()
    with pytest.raises(JudgingStoppedError, match="stopped after 2 of 5 locked cases"):
        judge(model, cases, should_stop=lambda: len(model.seen) == 2, keep=file.keep)
    assert model.seen == [1, 2]
    file = JudgedFile(file.path)
    resumed = judge(model, cases, known=file.scores(), keep=file.keep)
    assert model.seen == [1, 2, 3, 4, 5]
    assert as_text(resumed) == as_text(undisturbed)
    assert as_text(judge(model, cases, known=JudgedFile(file.path).scores())) == as_text(undisturbed)
    assert model.seen == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("what", ["another model", "another reference", "a failure"])
def test_scores_of_something_else_are_not_taken(what: str) -> None:
    first = LowestAir(version="air-2" if what == "another model" else "air-1")
    how: dict[str, object] = {"image": fails(OSError("away"))} if what == "a failure" else {}
    known = judge(first, [locked(1, **how)])
    later: dict[str, object] = {"reference_id": "0001-bb"} if what == "another reference" else {}
    model = LowestAir()
    (scores,) = judge(model, [locked(1, **later)], known=known)
    assert model.seen == [1]
    assert (scores.model, scores.failure) == ("air-1", None)


def test_tags_are_those_that_the_case_has_now() -> None:
    known = judge(LowestAir(), [locked(1)])
    (scores,) = judge(LowestAir(), [locked(1, tags=("fibrosis",))], known=known)
    assert scores.tags == ("fibrosis",)


def test_a_case_is_judged_once() -> None:
    with pytest.raises(ValueError, match="expected every locked case once, got 0001 several times"):
        judge(LowestAir(), [locked(1), locked(2), locked(1)])


def test_no_locked_cases_give_no_scores() -> None:
    assert judge(LowestAir(), []) == ()


def test_a_phantom_without_lungs_is_found_to_be_missed() -> None:
    phantom = chest_phantom(seed=3, shape=(12, 32, 32), spacing_mm=(20.0, 12.0, 12.0))
    blind = LowestAir()
    tissue = phantom.image.with_array(np.full_like(phantom.image.array, 40))
    (scores,) = judge(blind, [LockedCase("0001", lambda: tissue, lambda: phantom.lungs)])
    assert scores.missed == ("right_lung", "left_lung")
    assert (scores.mean("dice"), scores.found_ml) == (0.0, 0.0)
