"""Scoring the masks of many cases: several at a time, each read, scored and forgotten.

Memory grows with `jobs` and not with the number of cases: a job holds one reference, one prediction, one tumour.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import fastremap

from datastore.atomic import sha256_of
from datastore.image_files import read_mask
from datastore.labels import LUNGS, Structure, check_sides
from datastore.volume import Volume
from infers.metrics import TOLERANCE_MM, Presence, StructureScore, as_whole, score, tumour_overlap
from lungapp.evaluation.records import LEFT_OUT, CaseFiles, CaseResult, Evaluation, Outcome

SWAPPED_DICE = 0.5  # a lung that agrees better is not the other one
ONE_SIDED = (Presence.MISSED, Presence.FALSE)

T = TypeVar("T")
Unmade = tuple[Outcome, str]  # what became of a mask that a model was to make, and why


def no_step() -> None:
    """Progress that nobody wants to see."""


def evaluate(
    cases: Sequence[CaseFiles],
    models: Sequence[str],
    structures: Sequence[Structure],
    *,
    whole: bool = False,
    tolerance_mm: float = TOLERANCE_MM,
    left_out: Sequence[str] = LEFT_OUT,
    jobs: int = 1,
    progress: Callable[[], None] = no_step,
    unmade: Mapping[tuple[str, str], Unmade] | None = None,
) -> Evaluation:
    """Compare the masks of some models with the references.

    Whatever is wrong with a file becomes the outcome of its case and stops nothing.

    Args:
        cases: Where the files lie.
        models: What the models are called, in the order of `CaseFiles.predictions`.
        structures: What is compared; none where only tumours are, which needs no references.
        whole: Whether everything above 0 counts as the one structure.
        tolerance_mm: Of the surface Dice.
        left_out: Groups that "All" leaves out.
        jobs: How many cases are scored at a time.
        progress: Called after each case.
        unmade: Why a model made no mask, by case and model.

    Returns:
        A result for each case and model; the same whatever `jobs` is.
    """
    threads = max(1, jobs // max(1, len(cases)))
    scorer = _Scorer(tuple(structures), whole, tolerance_mm, threads, unmade or {})
    results: list[CaseResult] = []
    pool = ThreadPoolExecutor(jobs, thread_name_prefix="evaluate")
    try:
        for future in [pool.submit(scorer.results, case) for case in cases]:
            results += future.result()
            progress()
    finally:
        pool.shutdown(cancel_futures=True)  # waits for the cases at work
    return Evaluation(
        models=tuple(models),
        cases=tuple(cases),
        results=tuple(results),
        left_out=tuple(group.lower() for group in left_out),
        tolerance_mm=tolerance_mm,
        structures=tuple(structure.name for structure in structures),
    )


@dataclass(frozen=True)
class _Scorer:
    """Scores one case after the other; see `evaluate` for the attributes."""

    structures: tuple[Structure, ...]
    whole: bool
    tolerance_mm: float
    threads: int
    unmade: Mapping[tuple[str, str], Unmade]

    def results(self, case: CaseFiles) -> list[CaseResult]:
        """What comes of a case, for each model."""
        reference = tumour = None
        if any(path is not None for _, path in case.predictions):  # else they need not be read
            reference = self._reference(case) if self.structures else None
            tumour = _attempt(read_mask, case.tumour)
        return [self._result(case, model, path, reference, tumour) for model, path in case.predictions]

    def _result(
        self,
        case: CaseFiles,
        model: str,
        path: Path | None,
        reference: Volume | str | None,
        tumour: Volume | str | None,
    ) -> CaseResult:
        def without_score(outcome: Outcome, reason: str, overlap: float | None = None) -> CaseResult:
            return CaseResult(model, case.case, case.group, outcome, reason, tumour_overlap=overlap)

        if self.structures and case.reference is None:
            prediction = self._read(path) if tumour is not None else None
            overlap = _overlap(tumour, prediction, path)[0] if isinstance(prediction, Volume) else None
            return without_score(Outcome.NO_REFERENCE, "no reference", overlap)
        if (case.case, model) in self.unmade:
            return without_score(*self.unmade[case.case, model])
        if path is None:
            return without_score(Outcome.NO_PREDICTION, f"no mask of {model}")
        prediction = self._read(path)
        if not isinstance(prediction, Volume):
            return without_score(Outcome.FAILED, str(prediction))
        overlap, notes = _overlap(tumour, prediction, path)
        if not self.structures:
            if notes:
                return without_score(Outcome.FAILED, notes[0])
            return CaseResult(model, case.case, case.group, tumour_overlap=overlap)
        if not isinstance(reference, Volume):
            return without_score(Outcome.FAILED, str(reference), overlap)
        scores = _attempt(lambda _: self._score(reference, prediction, case.reference, path), path)
        if not isinstance(scores, tuple):
            return without_score(Outcome.FAILED, str(scores), overlap)
        found = (*_notes(scores), *self._side_notes(scores, prediction), *notes)
        return CaseResult(model, case.case, case.group, structures=scores, tumour_overlap=overlap, notes=found)

    def _reference(self, case: CaseFiles) -> Volume | str | None:
        """The reference; one of a project has to be the very file that was accepted."""
        path, wanted = case.reference, case.reference_sha256
        if path is not None and wanted is not None and _attempt(sha256_of, path) != wanted:
            return f"{path}: {'was changed since it was accepted' if path.exists() else 'no such file'}"
        return self._read(path)

    def _read(self, path: Path | None) -> Volume | str | None:
        return _attempt(lambda given: as_whole(read_mask(given)) if self.whole else read_mask(given), path)

    def _side_notes(self, scores: Sequence[StructureScore], prediction: Volume) -> list[str]:
        """Says so where nothing agrees because right and left are the wrong way round."""
        if self.structures != LUNGS or any(item.dice >= SWAPPED_DICE for item in scores):
            return []
        swapped = _attempt(lambda _: check_sides(prediction.to_lps().array), Path())
        return [] if swapped is None else [swapped]

    def _score(self, reference: Volume, prediction: Volume, *paths: Path | None) -> tuple[StructureScore, ...]:
        """The scores; an error says which of the two files is to blame, as far as it is one."""
        try:
            return score(reference, prediction, self.structures, tolerance_mm=self.tolerance_mm, threads=self.threads)
        except ValueError as error:
            known = {structure.value: structure.name for structure in self.structures}
            for mask, path in zip((reference, prediction), paths, strict=True):
                unknown = sorted(set(fastremap.unique(mask.array).tolist()) - {0, *known})
                if unknown:
                    expected = ", ".join(f"{value} {name}" for value, name in known.items())
                    raise ValueError(
                        f"{path}: label value {unknown[0]} is unknown: expected 0 background, {expected}"
                    ) from error
            raise ValueError(f"{paths[1]} against {paths[0]}: {error}") from error


def _attempt(work: Callable[[Path], T], path: Path | None) -> T | str | None:
    """What comes of a file, or in one line why nothing does; None where there is none."""
    if path is None:
        return None
    try:
        return work(path)
    except Exception as error:  # one bad file never stops the others
        return " ".join(str(error).split()) or type(error).__name__


def _overlap(tumour: Volume | str | None, lungs: Volume, path: Path | None) -> tuple[float | None, tuple[str, ...]]:
    """How much of the tumour is in a mask, and why that cannot be told."""
    if not isinstance(tumour, Volume):
        return None, () if tumour is None else (f"tumour: {tumour}",)
    overlap = _attempt(lambda _: tumour_overlap(tumour, lungs), path)
    return (None, (f"tumour of {path}: {overlap}",)) if isinstance(overlap, str) else (overlap, ())


def _notes(scores: Sequence[StructureScore]) -> list[str]:
    """What a reader should know of where the structures are."""
    if all(item.presence is Presence.ABSENT for item in scores):
        return ["nothing in the reference and nothing in the prediction: there is no value"]
    return [f"{item.name} {item.presence.value}" for item in scores if item.presence in ONE_SIDED]


def is_complete(evaluation: Evaluation) -> bool:
    """Whether everything was scored: each case of each model, and each tumour."""
    with_tumour = {case.case for case in evaluation.cases if case.tumour is not None}
    return all(
        result.outcome is Outcome.SCORED and (result.tumour_overlap is not None or result.case not in with_tumour)
        for result in evaluation.results
    )


def only_predicted(evaluation: Evaluation) -> tuple[str, ...]:
    """Structures that predictions have and not one reference has: the two may not be numbered alike."""
    return _lacking(evaluation, evaluation.results, "reference_ml", "prediction_ml")


def never_predicted(evaluation: Evaluation, model: str) -> tuple[str, ...]:
    """Structures that references have and not one of a model's masks has."""
    return _lacking(evaluation, evaluation.of_model(model), "prediction_ml", "reference_ml")


def in_no_mask(evaluation: Evaluation) -> tuple[str, ...]:
    """Structures that neither a reference nor a prediction has, though others were scored."""
    scores = [item for result in evaluation.results for item in result.structures]
    there = {item.name for item in scores if item.presence is not Presence.ABSENT}
    return tuple(name for name in evaluation.structures if there and name not in there)


def _lacking(evaluation: Evaluation, results: Sequence[CaseResult], lacking: str, having: str) -> tuple[str, ...]:
    there: dict[str, set[str]] = {lacking: set(), having: set()}
    for result in results:
        for item in result.structures:
            for side, names in there.items():
                if getattr(item, side) > 0:
                    names.add(item.name)
    return tuple(name for name in evaluation.structures if name in there[having] - there[lacking])
