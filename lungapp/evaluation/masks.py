"""Masks that a model makes for an evaluation: they are kept, and a run that was stopped goes on where it was."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path

from datastore.found import Found
from infers.models import Model
from lungapp.output_folder import output_folder
from lungapp.segment_jobs import Job
from lungapp.segment_results import Outcome, Result
from lungapp.segment_steps import SegmentOptions
from lungapp.segmenting import segment_all

SUFFIX = ".nii.gz"


def make_masks(
    model: Model, images: Mapping[str, Found], folder: Path, step: Callable[[], None]
) -> tuple[dict[str, Path], dict[str, str]]:
    """Segment the images of some cases, except those whose masks are there.

    A mask of another model, of other options or of another state of the image is made anew. One that nobody knows
    the origin of, or that was changed by hand, is left alone and is not taken for this model's.

    Args:
        model: Makes the masks.
        images: By case.
        folder: Where the masks go, `CASE.nii.gz`.
        step: Called after each image.

    Returns:
        The masks by case, and the reasons by case where there is none.
    """
    jobs = {case: Job(image, folder / f"{case}{SUFFIX}", searched=False) for case, image in images.items()}
    masks: dict[str, Path] = {}
    failed: dict[str, str] = {}
    outdated: list[str] = []

    def sort_in(case: str, result: Result) -> None:
        is_asked_for = result.outcome is Outcome.SEGMENTED or result.is_silent
        if is_asked_for and result.target is not None:
            masks[case] = result.target
        elif result.outcome is Outcome.OUTDATED:
            outdated.append(case)
        elif result.outcome is Outcome.KEPT:
            failed[case] = f"{result.reason}: remove it, and it is made again"
        else:
            failed[case] = result.reason or str(result.outcome)

    with output_folder(folder, [job.target for job in jobs.values()]):
        _run(jobs, model, SegmentOptions(), sort_in, step)
        again = {case: jobs[case] for case in outdated}
        _run(again, model, SegmentOptions(overwrite=True), sort_in, lambda: None)
    return masks, failed


def _run(
    jobs: Mapping[str, Job],
    model: Model,
    options: SegmentOptions,
    take: Callable[[str, Result], None],
    step: Callable[[], None],
) -> None:
    with closing(segment_all(list(jobs.values()), model, options)) as coming:
        for case, result in zip(jobs, coming, strict=True):
            take(case, result)
            step()
