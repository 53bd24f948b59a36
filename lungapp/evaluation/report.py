"""An evaluation as one HTML file for a reviewer: tables, plots, comparisons, and the worst cases with pictures.

It opens anywhere without a network: styles, plots and pictures are all inside.
"""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from datastore.atomic import write_bytes
from datastore.wording import printable
from infers.comparison import FEWEST_PAIRS, LEVEL
from infers.metrics import METRICS, Metric, Presence
from lungapp import __version__
from lungapp.evaluation import pictures
from lungapp.evaluation.cells import NOTHING, show_share
from lungapp.evaluation.figures import metric_plots, tumour_plots
from lungapp.evaluation.findings import BY_KEY, findings
from lungapp.evaluation.pictures import CasePictures, case_pictures
from lungapp.evaluation.plots import COLOURS
from lungapp.evaluation.records import FAILURE_DICE, CaseFiles, CaseResult, Evaluation, Outcome
from lungapp.evaluation.summary import headline, summary
from lungapp.evaluation.tables import (
    comparisons,
    failures,
    segmentation_table,
    structure_table,
    tumour_table,
    worst,
)

WORST_CASES = 12
ONE_SIDED = (Presence.MISSED, Presence.FALSE)
SHOWN_OF_WORST = tuple(
    BY_KEY[key] for key in ("dice", "surface_dice", "hausdorff95_mm", "mean_surface_distance_mm", "volume_error_ml")
)
PLACES = {"mm": 2, "ml": 1, "%": 1}  # digits after the point


@dataclass(frozen=True)
class WorstCase:
    """A mask that agrees badly with its reference.

    Attributes:
        result: Its scores.
        others: What the other models reach in this case, by name.
        pictures: Where the two disagree.
    """

    result: CaseResult
    others: tuple[tuple[str, CaseResult], ...]
    pictures: CasePictures


@dataclass(frozen=True)
class Unscored:
    """Why some masks of one case have no scores.

    Attributes:
        case: Its name.
        group: Its group.
        outcome: What is the matter.
        reason: In one line.
        models: Whose masks they are.
    """

    case: str
    group: str
    outcome: Outcome
    reason: str
    models: tuple[str, ...]


def write_report(evaluation: Evaluation, path: Path, title: str, *, written: datetime | None = None) -> None:
    """Write an evaluation as one HTML file; masks and images of the worst cases are read, one case at a time.

    Args:
        evaluation: All that was found.
        path: The file; one that is there is replaced.
        title: Of the page.
        written: The date that stands on it; now if None.

    Raises:
        OSError: If the file cannot be written.
    """
    page = report_page(evaluation, title, written or datetime.now(UTC))
    write_bytes(path, page.encode(), overwrite=True)


def report_page(evaluation: Evaluation, title: str, written: datetime) -> str:
    """The page that `write_report` writes; the same arguments and files give the same page."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parents[1] / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "sha256": _sha256,
        "base64": _base64,
        "figure": figure,
        "head": _head,
        "words": _words,
        "striking": striking,
        "one_sided": one_sided,
        "dice_of": _dice_of,
    }
    found = comparisons(evaluation) if evaluation.structures else ()
    worst_cases = list(_worst_cases(evaluation))
    return environment.get_template("evaluation.html").render(
        title=title,
        written=written,
        version=__version__,
        evaluation=evaluation,
        metrics=METRICS if evaluation.structures else (),
        metric=BY_KEY,
        shown=SHOWN_OF_WORST,
        failure_dice=FAILURE_DICE,
        level=LEVEL,
        fewest_pairs=FEWEST_PAIRS,
        outcome=Outcome,
        colours=COLOURS,
        tints=pictures,
        number_of={model: number for number, model in enumerate(evaluation.models)},
        headline=headline(evaluation, found),
        summary=summary(evaluation),
        tables=[segmentation_table(evaluation), structure_table(evaluation)] if evaluation.structures else [],
        tumours=tumour_table(evaluation),
        findings=findings(found, evaluation.models),
        plots=metric_plots(evaluation),
        tumour_plots=tumour_plots(evaluation),
        worst=worst_cases,
        places={
            (item.result.group, item.result.case, item.result.model): place
            for place, item in enumerate(worst_cases, start=1)
        },
        failed=[result for result in failures(evaluation) if result.outcome is Outcome.SCORED],
        unscored=_unscored(evaluation.results),
    )


def figure(value: float | None, metric: Metric) -> str:
    """A number as it stands in the page's own tables.

    >>> figure(0.98765, BY_KEY["dice"]), figure(math.inf, BY_KEY["hausdorff95_mm"]), figure(None, BY_KEY["dice"])
    ('0.988', '∞', '–')
    """
    if value is None or math.isnan(value):
        return NOTHING
    if math.isinf(value):
        return "∞"
    return show_share(value) if metric.unit == "" else f"{value:z.{PLACES[metric.unit]}f}"


def _worst_cases(evaluation: Evaluation) -> Iterator[WorstCase]:
    files = {(case.group, case.case): case for case in evaluation.cases}
    whole = len(evaluation.structures) == 1
    for result in worst(evaluation, WORST_CASES):
        if result.value("dice") == 1.0:
            continue
        others = tuple(
            (other.model, other)
            for other in evaluation.results
            if (other.group, other.case) == (result.group, result.case) and other.model != result.model
        )
        yield WorstCase(result, others, _pictures_of(result, files[result.group, result.case], whole=whole))


def _pictures_of(result: CaseResult, files: CaseFiles, *, whole: bool) -> CasePictures:
    prediction = dict(files.predictions).get(result.model)
    if files.reference is None or prediction is None:
        return CasePictures(notes=("no pictures: it is not known where the masks lie",))
    return case_pictures(files.reference, prediction, files.image, whole=whole)


def _unscored(results: Sequence[CaseResult]) -> list[Unscored]:
    """One for each case and reason: a reference that is missing is missing for every model."""
    models: dict[tuple[str, str, Outcome, str], list[str]] = {}
    for result in results:
        if result.outcome is not Outcome.SCORED:
            key = (result.case, result.group, result.outcome, result.reason or "")
            models.setdefault(key, []).append(result.model)
    return [Unscored(*key, tuple(who)) for key, who in models.items()]


def striking(result: CaseResult) -> list[str]:
    """What there is to say of a mask besides its numbers, each thing once."""
    one = one_sided(result)
    return [*map(_words, one), *(note for note in result.notes if note not in one)]


def one_sided(result: CaseResult) -> list[str]:
    """Structures that are in only one of the two masks."""
    return [f"{item.name} {item.presence}" for item in result.structures if item.presence in ONE_SIDED]


def _dice_of(result: CaseResult, structure: str) -> float | None:
    return next((item.dice for item in result.structures if item.name == structure), None)


def _finalize(value: object) -> object:
    """What is printed for a value: names come from files, and may hold what no page can."""
    return printable(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


def _head(metric: Metric) -> str:
    return f"{metric.title} ({metric.unit})" if metric.unit else metric.title


def _words(name: str) -> str:
    """A structure's name in words."""
    return name.replace("_", " ")


def _sha256(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()
