"""Many scans in one run: order, overlap, memory, failures in each step, and a caller who stops."""

from __future__ import annotations

import errno
import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from datastore.found import Found
from datastore.image_files import read_mask
from datastore.labels import LUNGS, Structure
from datastore.nifti import write_nifti
from datastore.phantom import chest_phantom
from datastore.volume import Volume
from lungapp import segment_steps, segmenting
from lungapp.segment_jobs import Job, plan
from lungapp.segment_reports import read_report, report_path
from lungapp.segment_results import Outcome, Result
from lungapp.segment_steps import SegmentOptions
from lungapp.segmenting import segment_all

WAIT_S = 20.0


@dataclass(frozen=True)
class AirModel:
    """Takes the air of each half for a lung; `before` is called with the scan first."""

    version: str = "air-1"
    description: str = "for tests"
    before: Callable[[np.ndarray], None] = field(default=lambda _: None)
    structures: tuple[Structure, ...] = LUNGS
    overlaps: bool = False

    def predict(self, hu: np.ndarray, spacing_mm: tuple[float, float, float]) -> np.ndarray:
        self.before(hu)
        mask = (hu < -700).astype(np.uint8)
        mask[:, :, hu.shape[2] // 2 :] *= 2
        return mask


def scan(number: int) -> Volume:
    return chest_phantom(number, (12 + number, 24, 24), (20.0, 16.0, 16.0)).image


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    """Six scans that differ in their number of slices: 13, 14, ..."""
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(1, 7):
        write_nifti(scan(number), folder / f"{number}.nii.gz")
    return folder


def jobs_of(cohort: Path, suffix: str = ".nii.gz") -> list[Job]:
    return plan([cohort], cohort.parent / "out", suffix).jobs


def outcomes(results: list[Result]) -> list[Outcome]:
    return [result.outcome for result in results]


def test_a_model_that_overlaps_has_two_scans_at_once_and_never_three(cohort: Path) -> None:
    inside: list[int] = []
    most: list[int] = []
    both = threading.Barrier(2)

    def meet(hu: np.ndarray) -> None:
        inside.append(len(hu))
        most.append(len(inside))
        both.wait(WAIT_S)
        inside.remove(len(hu))

    results = list(segment_all(jobs_of(cohort), AirModel(before=meet, overlaps=True)))
    assert outcomes(results) == [Outcome.SEGMENTED] * 6
    assert max(most) == 2


@pytest.mark.parametrize("overlaps", [False, True])
def test_results_come_in_the_order_of_the_scans_with_their_masks_written(cohort: Path, overlaps: bool) -> None:
    jobs = jobs_of(cohort)
    for job, result in zip(jobs, segment_all(jobs, AirModel(overlaps=overlaps)), strict=True):
        assert (result.source, result.outcome, result.target) == (str(job.found), Outcome.SEGMENTED, job.target)
        image = job.found.read()
        expected = np.where(image.array < -700, 1, 0) * np.where(np.arange(24) < 12, 1, 2)
        np.testing.assert_array_equal(read_mask(job.target).array, expected)
        report = read_report(job.target)
        assert report is not None and result.report is not None and report.to_dict() == result.report.to_dict()
        assert result.report.shape == image.array.shape[::-1]


def test_the_next_scan_is_read_and_the_last_is_written_while_one_is_in_the_model(
    cohort: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, written = threading.Semaphore(0), threading.Semaphore(0)
    real_read, real_writer = Found.read, segment_steps.mask_writer

    def noted_read(found: Found) -> Volume:
        volume = real_read(found)
        read.release()
        return volume

    def noted_writer(path: Path) -> Callable[[Volume, Path], None]:
        written.release()
        return real_writer(path)

    monkeypatch.setattr(Found, "read", noted_read)
    monkeypatch.setattr(segment_steps, "mask_writer", noted_writer)
    calls = 0

    def wait(_hu: np.ndarray) -> None:
        nonlocal calls
        calls += 1
        for _ in range({1: 2, 6: 0}.get(calls, 1)):
            assert read.acquire(timeout=WAIT_S), "the next scan is not read meanwhile"
        if calls > 1:
            assert written.acquire(timeout=WAIT_S), "the scan before is not written meanwhile"

    assert outcomes(list(segment_all(jobs_of(cohort), AirModel(before=wait)))) == [Outcome.SEGMENTED] * 6


@pytest.mark.parametrize(("held_scans", "most"), [(0, 1), (2, 2), (100, 3)])
def test_no_more_scans_are_held_than_allowed(
    cohort: Path, monkeypatch: pytest.MonkeyPatch, held_scans: int, most: int
) -> None:
    jobs = jobs_of(cohort)
    held: weakref.WeakSet[Volume] = weakref.WeakSet()
    counts: list[int] = []
    real_read, real_measure = Found.read, segment_steps.measure

    def counted_read(found: Found) -> Volume:
        volume = real_read(found)
        held.add(volume)
        counts.append(len(held))
        return volume

    def slow_measure(*arguments: object) -> object:
        threading.Event().wait(0.05)  # the next is read before this one is written
        return real_measure(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Found, "read", counted_read)
    monkeypatch.setattr(segment_steps, "measure", slow_measure)
    monkeypatch.setattr(segmenting, "HELD_BYTES", held_scans * max(job.held_bytes for job in jobs))
    assert len(list(segment_all(jobs, AirModel()))) == 6
    assert max(counts) == most


def test_a_failure_in_any_step_is_that_of_its_scan_alone(cohort: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = jobs_of(cohort)
    (cohort / "2.nii.gz").write_bytes((cohort / "2.nii.gz").read_bytes()[:-100])
    real_writer = segment_steps.mask_writer

    def broken(path: Path) -> Callable[[Volume, Path], None]:
        def full(_mask: Volume, temporary: Path) -> None:
            temporary.write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device", str(temporary))

        return full if path.name.startswith("5") else real_writer(path)

    def out_of_memory(hu: np.ndarray) -> None:
        if len(hu) == 12 + 4:
            raise RuntimeError("CUDA out of memory\ntried to allocate")

    monkeypatch.setattr(segment_steps, "mask_writer", broken)
    results = list(segment_all(jobs, AirModel(before=out_of_memory)))
    good, bad = Outcome.SEGMENTED, Outcome.FAILED
    assert outcomes(results) == [good, bad, good, bad, bad, good]
    assert "2.nii.gz: truncated or damaged" in str(results[1].reason)
    assert str(results[3].reason) == f"{cohort / '4.nii.gz'}: CUDA out of memory tried to allocate"
    assert str(results[4].reason) == f"{jobs[4].target}: cannot be written: No space left on device"
    assert sorted(path.name for path in (cohort.parent / "out").iterdir()) == sorted(
        f"{number}.nii.gz{end}" for number in (1, 3, 6) for end in ("", ".json")
    )


def test_a_caller_who_stops_gets_the_mask_that_is_being_written(cohort: Path) -> None:
    seen: list[int] = []

    def stop(hu: np.ndarray) -> None:
        seen.append(len(hu))
        if len(seen) == 3:
            raise KeyboardInterrupt

    jobs = jobs_of(cohort)
    results = []
    with pytest.raises(KeyboardInterrupt):
        for result in segment_all(jobs, AirModel(before=stop)):
            results.append(result)
    assert [job.target.exists() for job in jobs] == [True, True, False, False, False, False]
    assert not list((cohort.parent / "out").glob(".*"))
    rest = list(segment_all(jobs, AirModel()))
    assert outcomes(rest) == [Outcome.KEPT] * 2 + [Outcome.SEGMENTED] * 4


def test_what_is_done_is_kept_with_its_numbers(cohort: Path) -> None:
    jobs = jobs_of(cohort)
    first = list(segment_all(jobs, AirModel()))
    again = list(segment_all(jobs, AirModel()))
    assert outcomes(again) == [Outcome.KEPT] * 6
    for one, other in zip(first, again, strict=True):
        assert {**one.to_dict(), "outcome": 0, "skipped": 0} == {**other.to_dict(), "outcome": 0, "skipped": 0}
    assert {result.is_silent for result in again} == {True}


def test_a_mask_of_another_model_or_of_other_choices_is_reported_and_kept(cohort: Path) -> None:
    jobs = jobs_of(cohort)[:1]
    list(segment_all(jobs, AirModel()))
    before = jobs[0].target.read_bytes()
    (other,) = segment_all(jobs, AirModel("air-2"))
    assert other.outcome is Outcome.OUTDATED
    assert other.reason == f"{jobs[0].target}: made by model air-1, asked for air-2; --overwrite replaces it"
    (chosen,) = segment_all(jobs, AirModel(), SegmentOptions(uncertainty=True))
    assert chosen.outcome is Outcome.OUTDATED
    assert "made with no options, asked for uncertainty entropy and disagreement" in str(chosen.reason)
    assert jobs[0].target.read_bytes() == before
    (replaced,) = segment_all(jobs, AirModel("air-2"), SegmentOptions(overwrite=True))
    assert replaced.outcome is Outcome.SEGMENTED
    report = read_report(jobs[0].target)
    assert report is not None and report.model == "air-2"


def test_a_mask_of_another_scan_of_the_same_name_is_not_taken_for_this_ones(cohort: Path) -> None:
    jobs = jobs_of(cohort)[:1]
    list(segment_all(jobs, AirModel()))
    write_nifti(scan(5), cohort / "1.nii.gz")
    (result,) = segment_all(jobs_of(cohort)[:1], AirModel())
    assert result.outcome is Outcome.OUTDATED
    assert "was made of another scan" in str(result.reason)


def test_a_scan_that_was_moved_with_its_folder_is_done_all_the_same(cohort: Path) -> None:
    list(segment_all(jobs_of(cohort), AirModel()))
    cohort.rename(cohort.parent / "moved")
    assert outcomes(list(segment_all(jobs_of(cohort.parent / "moved"), AirModel()))) == [Outcome.KEPT] * 6


def test_corrections_are_seen_and_kept(cohort: Path) -> None:
    jobs = jobs_of(cohort)[:1]
    list(segment_all(jobs, AirModel()))
    jobs[0].target.write_bytes(b"my corrections")
    for model in (AirModel(), AirModel("air-2")):
        (result,) = segment_all(jobs, model)
        assert result.outcome is Outcome.KEPT and not result.is_silent
        assert "was changed since it was made" in str(result.reason)
    assert jobs[0].target.read_bytes() == b"my corrections"


def test_a_mask_without_a_report_is_kept_and_said_to_have_none(cohort: Path) -> None:
    jobs = jobs_of(cohort)[:1]
    (made,) = segment_all(jobs, AirModel(), SegmentOptions(reports=False))
    assert made.report is not None and made.report.volumes_ml["right_lung"] > 0
    assert not report_path(jobs[0].target).exists()
    (result,) = segment_all(jobs, AirModel())
    assert result.outcome is Outcome.KEPT
    assert "without a report of what made it" in result.line()


def test_a_mask_that_is_replaced_without_a_report_loses_its_old_one(cohort: Path) -> None:
    jobs = jobs_of(cohort)[:1]
    list(segment_all(jobs, AirModel()))
    list(segment_all(jobs, AirModel("air-2"), SegmentOptions(overwrite=True, reports=False)))
    assert not report_path(jobs[0].target).exists()


def test_a_file_that_is_no_report_is_never_replaced_by_one(cohort: Path) -> None:
    jobs = jobs_of(cohort)[:1]
    other = report_path(jobs[0].target)
    other.parent.mkdir()
    other.write_text('{"PatientAge": "sidecar of somebody else"}')
    (result,) = segment_all(jobs, AirModel(), SegmentOptions(overwrite=True))
    assert result.outcome is Outcome.FAILED and "is no report of a mask" in str(result.reason)
    assert "somebody else" in other.read_text()
    assert not jobs[0].target.exists()


def test_no_mask_is_there_without_the_report_it_should_have(cohort: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, _content: bytes, *, overwrite: bool) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(segment_steps, "write_bytes", full)
    jobs = jobs_of(cohort)[:1]
    (result,) = segment_all(jobs, AirModel())
    assert result.outcome is Outcome.FAILED
    assert list((cohort.parent / "out").iterdir()) == []


def test_a_mask_that_another_process_was_first_to_write_is_kept(cohort: Path) -> None:
    jobs = jobs_of(cohort)[:1]

    def other_process(_hu: np.ndarray) -> None:
        list(segment_all(jobs, AirModel()))

    (result,) = segment_all(jobs, AirModel(before=other_process))
    assert result.outcome is Outcome.KEPT


def test_masks_beside_their_scans_are_no_scans_of_the_next_run(cohort: Path) -> None:
    jobs = plan([cohort], cohort, ".nrrd").jobs
    assert outcomes(list(segment_all(jobs, AirModel()))) == [Outcome.SEGMENTED] * 6
    again = plan([cohort], cohort, ".nrrd")
    assert [job.target for job in again.jobs] == [job.target for job in jobs]
    assert again.rejected == []
    assert outcomes(list(segment_all(again.jobs, AirModel()))) == [Outcome.KEPT] * 6


def test_a_file_with_some_other_json_beside_it_is_still_a_scan(cohort: Path) -> None:
    for path in list(cohort.iterdir()):
        path.with_name(path.name + ".json").write_text('{"EchoTime": 1}')
    assert len(jobs_of(cohort)) == 6
