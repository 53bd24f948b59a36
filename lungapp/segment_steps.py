"""What is done with one scan: it is read, segmented, measured, and its mask is written."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from datastore.atomic import atomic_path, sha256_of, write_bytes
from datastore.image_files import NotHounsfieldError, mask_writer, suffix_of
from datastore.volume import Volume
from infers.measures import findings_of, measure, state_of
from infers.models import Model
from infers.segment import segment
from infers.uncertainty import Uncertainty, uncertainty
from lungapp.segment_jobs import Job
from lungapp.segment_reports import (
    SOFTWARE,
    Report,
    check_is_free,
    difference,
    is_unchanged,
    read_report,
    report_bytes,
    report_path,
    scan_id,
)
from lungapp.segment_results import Outcome, Result

OVERWRITE_HINT = "; --overwrite replaces it"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SegmentOptions:
    """How masks are made and kept.

    Attributes:
        overwrite: Whether masks that are there already are replaced.
        reports: Whether each mask gets its report.
        uncertainty: Whether each mask gets a volume of the entropy beside it, and its numbers in the report.
    """

    overwrite: bool = False
    reports: bool = True
    uncertainty: bool = False

    @property
    def choices(self) -> dict[str, str]:
        """What is wanted besides the mask; one that was made without it is not taken for the one asked for."""
        return {"uncertainty": "entropy and disagreement"} if self.uncertainty else {}


@dataclass(frozen=True, eq=False)
class Read:
    """A scan that was read.

    Attributes:
        job: What is to be done with it.
        id: See `scan_id`.
        image: (z, y, x) int16 Hounsfield units.
        seconds: How long it took so far.
    """

    job: Job
    id: str
    image: Volume
    seconds: float


@dataclass(frozen=True, eq=False)
class Made:
    """A scan and its mask.

    Attributes:
        scan: The scan.
        mask: (z, y, x) uint8 labels on its grid.
        uncertainty: Where it was asked for.
        seconds: How long it took so far.
    """

    scan: Read
    mask: Volume
    uncertainty: Uncertainty | None
    seconds: float


class Steps:
    """The three steps from a job to its result.

    Each may come to the result: that the mask is there already, or why there is none. The later steps give it on as
    it is.

    Args:
        model: Makes the masks.
        options: How they are made and kept.
        jobs: All of the run: none of their scans is replaced by a mask.
    """

    def __init__(self, model: Model, options: SegmentOptions, jobs: Sequence[Job]) -> None:
        self._model = model
        self._options = options
        self._scans = {os.path.realpath(job.found.source.path) for job in jobs}

    def read(self, job: Job) -> Read | Result:
        """Read the scan, unless its mask is there already."""
        start = time.perf_counter()
        try:
            path = job.found.source.path
            if os.path.realpath(job.target) in self._scans or (
                job.target.exists() and os.path.samefile(job.target, path)
            ):
                raise ValueError(f"{job.target}: the mask would replace the scan")
            scan = scan_id(job.found)
            if job.target.exists() and not self._options.overwrite:
                return self._standing(job, scan)
            if self._options.reports:
                check_is_free(job.target)
            return Read(job, scan, job.found.read(), time.perf_counter() - start)
        except Exception as error:
            return self._failed(job, error, time.perf_counter() - start)

    def segment(self, scan: Read | Result) -> Made | Result:
        """Run the model."""
        if isinstance(scan, Result):
            return scan
        start = time.perf_counter()
        try:
            mask = segment(scan.image, self._model)
            found = uncertainty(scan.image, self._model) if self._options.uncertainty else None
        except Exception as error:
            return self._failed(scan.job, error, scan.seconds + time.perf_counter() - start)
        return Made(scan, mask, found, scan.seconds + time.perf_counter() - start)

    def write(self, made: Made | Result) -> Result:
        """Measure, and write the mask and its report."""
        if isinstance(made, Result):
            return made
        start = time.perf_counter() - made.seconds
        job, target = made.scan.job, made.scan.job.target
        try:
            report = self._write(made, start)
        except FileExistsError as error:
            if target.exists() and not job.named:  # another process was first
                return self._standing(job, made.scan.id)
            return self._failed(job, error, time.perf_counter() - start)
        except Exception as error:
            if isinstance(error, OSError) and error.strerror:  # which names a temporary file
                error = OSError(f"{target}: cannot be written: {error.strerror}")
            return self._failed(job, error, time.perf_counter() - start)
        return Result(
            str(job.found), Outcome.SEGMENTED, self._model.version, time.perf_counter() - start, target, report
        )

    def _write(self, made: Made, start: float) -> Report:
        """The report comes first, so that a mask that is there has one."""
        scan, mask = made.scan, made.mask
        image, target = scan.image, scan.job.target
        measures = measure(image, mask, self._model.structures)
        upright = image.to_lps()
        report = Report(
            input=str(scan.job.found),
            input_id=scan.id,
            output=str(target),
            model=self._model.version,
            options=self._options.choices,
            software=SOFTWARE,
            seconds=0.0,
            shape=image.array.shape[::-1],
            spacing_mm=image.geometry.spacing_mm,
            state=state_of(measures).value,
            structures=measures,
            findings=findings_of(measures, upright.array.shape, upright.spacing_zyx_mm),
            uncertainty=made.uncertainty.structures if made.uncertainty else (),
            mask_sha256="",
        )
        write = mask_writer(target)
        target.parent.mkdir(parents=True, exist_ok=True)
        if made.uncertainty is not None:
            with atomic_path(entropy_path(target), overwrite=self._options.overwrite) as temporary:
                mask_writer(entropy_path(target))(made.uncertainty.entropy_percent, temporary)
        with atomic_path(target, overwrite=self._options.overwrite) as temporary:
            write(mask, temporary)
            seconds = time.perf_counter() - start
            report = replace(report, seconds=seconds, mask_sha256=sha256_of(temporary))
            if self._options.reports:
                write_bytes(report_path(target), report_bytes(report), overwrite=True)
            elif read_report(target) is not None:  # of the mask that is replaced
                report_path(target).unlink()
        return report

    def _standing(self, job: Job, scan: str) -> Result:
        """What to make of a mask that is there already."""
        target, version, choices = job.target, self._model.version, self._options.choices
        if job.named:
            raise FileExistsError(f"{target}: exists already{OVERWRITE_HINT}")
        report = read_report(target)
        kept = Result(str(job.found), Outcome.KEPT, version, target=target)
        if report is None:
            return replace(kept, reason=f"{target}: exists already, without a report of what made it")
        if not is_unchanged(target, report):
            return replace(kept, reason=f"{target}: exists already, and was changed since it was made")
        differs = difference(target, report, scan, version, choices)
        if differs is not None:
            return replace(kept, outcome=Outcome.OUTDATED, report=report, reason=differs + OVERWRITE_HINT)
        return replace(kept, report=report, reason=f"{target}: exists already")

    def _failed(self, job: Job, error: Exception, seconds: float) -> Result:
        source = str(job.found)
        logger.info("%s", source, exc_info=error)
        reason = " ".join(str(error).split()) or type(error).__name__
        is_named = source in reason or str(job.target) in reason
        passed_over = job.searched and isinstance(error, NotHounsfieldError)
        return Result(
            source,
            Outcome.NO_CT if passed_over else Outcome.FAILED,
            self._model.version,
            seconds,
            reason=reason if is_named else f"{source}: {reason}",
        )


def entropy_path(mask: Path) -> Path:
    """Where the entropy of a mask lies: `scan.entropy.nii.gz` beside `scan.nii.gz`."""
    stem = mask.name.removesuffix(suffix_of(mask))
    return mask.with_name(f"{stem}.entropy{suffix_of(mask).removeprefix('.seg')}")
