"""`lungapp ingest`: series into the registry, from folders, a DICOMweb service, or a public data set."""

from __future__ import annotations

import os
from pathlib import Path

import click

from datastore.wording import printable
from lungapp.cli.options import by_option, json_option, print_json, progress_bar, project_option, words
from lungapp.project import open_project

DATASET_NAMES = ("anatomy3", "ltrc", "lctsc", "vessel12", "lung1", "lola11", "pairs", "nnunet")


def not_empty(_context: click.Context, _parameter: click.Parameter, value: tuple[str, ...]) -> tuple[str, ...]:
    """Refuse an unset shell variable, which would mean this folder."""
    if any(not place for place in value):
        raise click.BadParameter("a path is empty")
    return value


@click.command()
@click.argument("places", nargs=-1, required=True, metavar="PATH_OR_URL...", callback=not_empty)
@click.option("--cohort", callback=words, help="Where the cases come from; `cases list --cohort` finds them.")
@click.option("--tag", "tags", multiple=True, callback=words, help="A tag for the new cases; may be repeated.")
@click.option("--copy", "copies", is_flag=True, help="Copy the scans into the project, under neutral names.")
@click.option(
    "--overrule",
    metavar="REASON",
    callback=words,
    help="Take every series, whatever the selection says.",
)
@click.option("--rescan", is_flag=True, help="Open files again that are registered already.")
@click.option("--dataset", type=click.Choice(DATASET_NAMES), help="A public data set with its reference masks.")
@by_option
@project_option
@json_option
def ingest(
    places: tuple[str, ...],
    cohort: str | None,
    tags: tuple[str, ...],
    copies: bool,
    overrule: str | None,
    rescan: bool,
    dataset: str | None,
    by: str,
    project_folder: Path,
    as_json: bool,
) -> None:
    """Register CT series.

    They stay where they lie. Takes folders of DICOM (however mixed), NIfTI, MetaImage and NRRD files, and the address
    of a DICOMweb service (user and password, or a token, in LUNGAPP_DICOMWEB_USER, _PASSWORD, _TOKEN). What is
    registered already is left as it is. The selection (`[selection]` in lungapp.toml) decides which DICOM series are
    offered to annotators; `lungapp cases list --ineligible` shows the others. Exit code 1 if anything could not be
    read.

    Examples: lungapp ingest /data/ct scan.nii.gz -p my-study;
    lungapp ingest http://pacs:8042/dicom-web --cohort routine -p my-study;
    lungapp ingest /data/LCTSC --dataset lctsc -p my-study
    """
    from lungapp.ingest import IngestOptions, IngestReport
    from lungapp.ingest import ingest as ingest_paths
    from lungapp.remote_ingest import ingest_service

    project = open_project(project_folder)
    if dataset is not None:
        if copies or overrule or rescan or cohort:
            raise click.UsageError("--dataset goes with --tag only: it says cohort and eligibility itself")
        _import(dataset, [Path(place) for place in places], tags, by, project_folder, as_json)
        return
    registry = project.registry()
    options = IngestOptions(
        rules=project.selection_rules,
        cohort=cohort or "",
        tags=tags,
        copy_to=project.images_folder if copies else None,
        overrule=overrule,
        rescan=rescan,
        by=by,
    )
    urls = [place for place in places if place.startswith(("http://", "https://"))]
    report = IngestReport()
    with progress_bar("looking for series", "files") as step:
        paths = [Path(place) for place in places if place not in urls]
        if paths:
            report = ingest_paths(registry, paths, step, options)
        for url in urls:
            report.add(ingest_service(registry, url, step, options, os.environ))
    registry.close()
    if as_json:
        print_json(report.to_dict())
    else:
        for case in report.added:
            line = f"{case.id}  {case.source}" + (f"  ({case.description})" if case.description else "")
            click.echo(printable(line + ("" if case.eligible else f"  [left out: {case.exclusion}]")))
        for item in report.skipped:
            click.echo(printable(f"skipped  {item}"), err=True)
        for item in report.failed:
            click.echo(printable(f"failed  {item}"), err=True)
        click.echo(
            f"{len(report.added)} added, {report.known} known already, "
            f"{len(report.skipped)} skipped, {len(report.failed)} failed"
        )
        if report.ineligible:
            click.echo(
                f"The selection leaves {report.ineligible} of the new ones out, which annotators are not offered: see "
                "`lungapp cases list --ineligible`, `lungapp cases overrule`, and [selection] in lungapp.toml",
                err=True,
            )
    if report.failed or not (report.added or report.known):
        raise SystemExit(1)


def _import(
    dataset: str, folders: list[Path], tags: tuple[str, ...], by: str, project_folder: Path, as_json: bool
) -> None:
    from lungapp.importing import import_dataset

    registry = open_project(project_folder).registry()
    with progress_bar("importing", "cases") as step:
        report = import_dataset(registry, dataset, folders, step, tags, by)
    registry.close()
    if as_json:
        print_json(report.to_dict())
    else:
        for case in report.added:
            click.echo(printable(f"{case.id}  {case.source}"))
        for item in report.doubtful:
            click.echo(f"for review  {item}", err=True)
        for item in report.failed:
            click.echo(printable(f"failed  {item}"), err=True)
        click.echo(
            f"{len(report.added)} added, {report.known} known already, {report.masks} reference masks stored "
            f"({len(report.doubtful)} for review), {len(report.failed)} failed"
        )
    if report.failed or not (report.added or report.known):
        raise SystemExit(1)
