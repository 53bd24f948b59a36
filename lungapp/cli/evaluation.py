"""`lungapp evaluate`: masks against references."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click

from datastore.wording import printable
from lungapp.cli.network_options import segmenting_options
from lungapp.cli.options import json_option, print_json, progress_bar, words
from lungapp.cli.segmenting import INTERRUPTED

if TYPE_CHECKING:
    from infers.models import Model
    from lungapp.evaluation.cases import Roster
    from lungapp.evaluation.folders import FolderInputs
    from lungapp.evaluation.project import ProjectInputs
    from lungapp.evaluation.records import CaseFiles, Evaluation
    from lungapp.evaluation.request import Request
    from lungapp.evaluation.run import Unmade

MOST_JOBS = 8  # unless more are asked for: each holds two masks
NONE = "none"
place = click.Path(path_type=Path)


@click.command()
@click.option("--ref", "reference", type=place, help="Folder of reference masks, or a project.")
@click.option(
    "--pred",
    "predicted",
    multiple=True,
    required=True,
    metavar="[NAME=]DIR_OR_MODEL",
    help="Folder of masks, or a model that segments the images; several are compared.",
)
@click.option("--images", type=place, help="Folder of the CTs: models need it, the report shows them.")
@click.option("--tumour", type=place, help="Folder of tumour masks: how much of them do the lungs cover?")
@click.option(
    "--by",
    "how",
    callback=words,
    metavar="HOW",
    help="Groups: folder, none, a column of --cases; of a project cohort, tag, phenotype, strategy, split.",
)
@click.option("--cases", "table", type=place, help="Table (.csv) with a column `case` and others for --by.")
@click.option(
    "--labels",
    "label_text",
    default="lungs",
    show_default=True,
    callback=words,
    help='lungs, lobes, whole (all above 0 is one), or "1=name,2=name".',
)
@click.option(
    "--leave-out",
    "left_out",
    multiple=True,
    callback=words,
    metavar="GROUP",
    help='That "All" leaves out; `none` leaves out none  [default: ltrc, lctsc]',
)
@click.option(
    "--tolerance",
    "tolerance_mm",
    type=click.FloatRange(min=0),
    default=2.0,
    show_default=True,
    help="Of the surface Dice, in mm.",
)
@click.option("--out", type=place, help="Folder for tables, report and the masks that models make.")
@click.option("--jobs", type=click.IntRange(1, 256), help=f"Cases at a time  [default: all cores, at most {MOST_JOBS}]")
@segmenting_options
@json_option
def evaluate(
    predicted: tuple[str, ...],
    label_text: str,
    jobs: int | None,
    load: Callable[..., Model],
    as_json: bool,
    **others: Any,
) -> None:
    """Compare masks with references.

    Files belong together by their paths below the folders; endings such as _mask or _0000 do not matter. What is
    missing or cannot be read stands in every output, and the exit code is 1 then. In a project the accepted masks are
    the references. With --tumour no --ref is needed.

    Examples: lungapp evaluate --ref references --pred masks --out evaluation;
    lungapp evaluate --ref my-study --pred fast --pred R231 --by cohort --out evaluation
    """
    from lungapp.evaluation.labels import labels_of
    from lungapp.evaluation.predictions import predictions_of
    from lungapp.evaluation.request import Request
    from lungapp.evaluation.run import is_complete
    from lungapp.evaluation.text import mismatches

    with _wrong_usage("--pred"):
        predictions = predictions_of(predicted)
    with _wrong_usage("--labels"):
        labels = labels_of(label_text)
    if jobs is None:
        jobs = min(len(os.sched_getaffinity(0)), MOST_JOBS)
    asked = Request(predictions=predictions, labels=labels, jobs=jobs, **others)
    with _wrong_usage():
        asked.check()
    try:
        with ExitStack() as stack:
            evaluation, versions = _evaluated(asked, load, stack)
            _give(asked, evaluation, versions, as_json=as_json)
    except KeyboardInterrupt:
        keeps_masks = asked.out is not None and not all(item.is_folder for item in predictions)
        click.echo(f"stopped{': masks that were made are kept' if keeps_masks else ''}", err=True)
        raise SystemExit(INTERRUPTED) from None
    if not is_complete(evaluation) or mismatches(evaluation):
        raise SystemExit(1)


@contextmanager
def _wrong_usage(option: str | None = None) -> Iterator[None]:
    """What cannot be understood is wrong usage of an option, or of several together."""
    try:
        yield
    except (ValueError, OSError) as error:
        if option is None:
            raise click.UsageError(str(error)) from error
        raise click.BadParameter(str(error), param_hint=option) from error


def _inputs(asked: Request, stack: ExitStack) -> FolderInputs | ProjectInputs:
    """Where references and images come from; a registry is closed in the end."""
    from lungapp.evaluation.folders import FolderInputs
    from lungapp.evaluation.project import ProjectInputs
    from lungapp.project import open_project

    if asked.project is None:
        return FolderInputs(asked.reference, asked.tumour, asked.images)
    project = open_project(asked.project)
    registry = project.registry()
    stack.callback(registry.close)
    return ProjectInputs(project, registry)


def _evaluated(asked: Request, load: Callable[..., Model], stack: ExitStack) -> tuple[Evaluation, dict[str, str]]:
    """What was found, and the version of each model that made masks."""
    from lungapp.evaluation.run import evaluate as score_all

    inputs = _inputs(asked, stack)
    roster = inputs.roster()
    models = {}
    for item in asked.predictions:
        if item.is_folder:
            roster.add_predictions(item.name, Path(item.place))
        else:
            models[item.name] = load(item.place, inputs.stores)
            asked.labels.check_fit(item.name, models[item.name])
    groups = _groups(asked, inputs, roster)
    left_out = _left_out(asked, groups)
    if asked.out is None:
        masks = Path(stack.enter_context(TemporaryDirectory(prefix="lungapp-evaluate-")))
    else:
        masks = asked.out / "masks"
    needs_images = bool(models) or asked.out is not None  # the report shows them
    unmade = _segmented(inputs, roster, models, masks) if needs_images else {}
    names = [item.name for item in asked.predictions]
    cases = roster.files(names, groups)
    with progress_bar("scoring", "cases", total=len(cases)) as step:
        evaluation = score_all(
            cases,
            names,
            asked.structures,
            whole=asked.labels.whole,
            tolerance_mm=asked.tolerance_mm,
            left_out=left_out,
            jobs=asked.jobs,
            progress=step,
            unmade=unmade,
        )
    if asked.out is None:  # the masks that were made are gone
        evaluation = replace(evaluation, cases=tuple(_forgetting(case, models) for case in evaluation.cases))
    return evaluation, {name: model.version for name, model in models.items()}


def _groups(asked: Request, inputs: FolderInputs | ProjectInputs, roster: Roster) -> dict[str, str]:
    from lungapp.evaluation.groups import by_column, read_table

    with _wrong_usage("--by" if asked.table is None else "--cases"):
        if asked.table is None:
            return inputs.groups(roster, asked.how)
        return by_column(roster.makers, read_table(asked.table), asked.how, roster.references.keys() | roster.tumours)


def _left_out(asked: Request, groups: dict[str, str]) -> tuple[str, ...]:
    """Groups that "All" leaves out; those that somebody names have to be there."""
    from lungapp.evaluation.records import LEFT_OUT

    if not asked.left_out:
        return LEFT_OUT
    if asked.left_out == (NONE,):
        return ()
    known = {group.lower(): group for group in groups.values() if group}
    for group in asked.left_out:
        if group.lower() not in known:
            there = ", ".join(sorted(known.values())) or "none"
            raise click.BadParameter(f"there is no group {group!r}, there are: {there}", param_hint="--leave-out")
    return asked.left_out


def _segmented(
    inputs: FolderInputs | ProjectInputs, roster: Roster, models: Mapping[str, Model], masks: Path
) -> dict[tuple[str, str], Unmade]:
    """Give the roster images, and masks by the models; why there is none, by case and model."""
    from lungapp.evaluation.masks import make_masks
    from lungapp.evaluation.records import Outcome

    with progress_bar("looking for images", "files") as step:
        gone = inputs.fetch_images(roster, step)
    if roster.unused:
        click.echo(f"{roster.unused} images belong to no case and are left out", err=True)
    judged = sorted(roster.references.keys() | roster.tumours.keys())
    images = {case: roster.images[case] for case in judged if case in roster.images}
    unmade: dict[tuple[str, str], Unmade] = {}
    for name, model in models.items():
        with progress_bar(f"segmenting by {name}", "scans", total=len(images)) as step:
            roster.predictions[name], failed = make_masks(model, images, masks / name, step)
        unmade |= {(case, name): (Outcome.FAILED, reason) for case, reason in (gone | failed).items()}
        missing = set(judged) - images.keys() - gone.keys()
        unmade |= {(case, name): (Outcome.NO_PREDICTION, "no image to segment") for case in missing}
    return unmade


def _forgetting(case: CaseFiles, models: Collection[str]) -> CaseFiles:
    """A case without the masks of some models."""
    kept = tuple((name, None if name in models else path) for name, path in case.predictions)
    return replace(case, predictions=kept)


def _give(asked: Request, evaluation: Evaluation, versions: Mapping[str, str], *, as_json: bool) -> None:
    """Write the files, and print tables and what to look at."""
    from lungapp.evaluation.files import REPORT, plain_evaluation, write_files
    from lungapp.evaluation.report import write_report
    from lungapp.evaluation.tables import comparisons, segmentation_table, structure_table, text_of, tumour_table
    from lungapp.evaluation.text import comparison_lines, gaps, low_lines, mismatches, summary, unscored_lines

    tables = [segmentation_table(evaluation), structure_table(evaluation)] if evaluation.structures else []
    tumours = tumour_table(evaluation)
    tables += [tumours] if tumours is not None else []
    compared = comparisons(evaluation) if evaluation.structures else ()
    warnings = [*mismatches(evaluation), *gaps(evaluation)]
    plain = plain_evaluation(evaluation, asked.plain(versions), tables, compared, warnings)
    if asked.out is not None:
        (asked.out / REPORT).unlink(missing_ok=True)  # a run that is stopped leaves no older one beside new tables
        write_files(evaluation, plain, asked.out)
        write_report(evaluation, asked.out / REPORT, f"Evaluation of {', '.join(evaluation.models)}")
    if as_json:
        print_json(plain)
    else:
        for text in (*map(text_of, tables), "\n".join(comparison_lines(compared)), "\n".join(low_lines(evaluation))):
            if text:
                click.echo(f"{text}\n")
    for line in [*unscored_lines(evaluation), *warnings]:
        click.echo(printable(line), err=True)
    if not as_json:
        click.echo(summary(evaluation) + ("" if asked.out is None else f"; written to {asked.out}"))
