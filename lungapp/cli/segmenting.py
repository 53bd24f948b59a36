"""`lungapp segment`: masks of scans, without a project."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lungapp.cli.network_options import network_options
from lungapp.cli.options import echo_beside_bar, json_option, print_json, progress_bar

if TYPE_CHECKING:
    from infers.models import Model

INTERRUPTED = 130  # as a shell has it: 128 and the number of the signal


@click.command()
@click.argument("inputs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="IN...")
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="A file, or a folder.")
@network_options
@click.option(
    "--format",
    "suffix",
    type=click.Choice([".nii.gz", ".nii", ".nrrd", ".seg.nrrd", ".mha"]),
    default=".nii.gz",
    show_default=True,
    help="Format of masks in a folder; a file's name says its own.",
)
@click.option("--overwrite", is_flag=True, help="Replace masks that are there already.")
@click.option(
    "--report/--no-report",
    "reports",
    default=None,
    help="Write what was found as JSON beside each mask  [default: where OUT is a folder]",
)
@click.option("--uncertainty", is_flag=True, help="Also write how sure the network is, voxel by voxel.")
@click.option("--csv", "table", type=click.Path(path_type=Path), help="Write one row for each scan to this file.")
@json_option
def segment(
    inputs: tuple[Path, ...],
    out: Path,
    load: Callable[[], Model],
    suffix: str,
    overwrite: bool,
    reports: bool | None,
    uncertainty: bool,
    table: Path | None,
    as_json: bool,
) -> None:
    """Segment CT scans.

    1 is the patient's right lung, 2 the left, on the scan's own grid.

    IN is a NIfTI, MetaImage, NRRD or DICOM file, or a folder that is searched for them; several are fine. OUT is a
    file for one scan, else a folder. A scan that fails does not stop the others; the exit code is 1 then. Masks that
    are in the folder already are kept: the same command goes on where it was stopped.

    Examples: lungapp segment scan.nii.gz -o lungs.nii.gz;
    lungapp segment /data/ct -o masks --csv lungs.csv --model weights.safetensors
    """
    from lungapp.output_folder import output_folder
    from lungapp.segment_jobs import plan
    from lungapp.segment_results import Outcome, Result, check_is_table, summary, write_table
    from lungapp.segment_steps import SegmentOptions
    from lungapp.segmenting import segment_all

    try:
        if table is not None:
            check_is_table(table)
    except (ValueError, OSError) as error:
        raise click.BadParameter(str(error), param_hint="--csv") from error
    with progress_bar("looking for scans", "files") as step:
        planned = plan(inputs, out, suffix, step)
    jobs = planned.jobs
    results: list[Result] = []
    is_interrupted = False

    def show(result: Result) -> None:
        results.append(result)
        if not as_json and not result.is_silent:
            echo_beside_bar(result.line(), err=result.outcome is not Outcome.SEGMENTED)

    if jobs:
        model = load()
        with_reports = not any(job.named for job in jobs) if reports is None else reports
        options = SegmentOptions(overwrite, with_reports, uncertainty)
        try:
            with (
                output_folder(planned.folder, [job.target for job in jobs]),
                progress_bar("segmenting", "scans", total=len(jobs)) as step,
                closing(segment_all(jobs, model, options)) as coming,
            ):
                for result in coming:
                    show(result)
                    step()
        except KeyboardInterrupt:
            is_interrupted = True
    for item in planned.rejected:
        result = Result(str(item.path), Outcome.FAILED if item.damaged else Outcome.NO_CT, reason=str(item))
        results.append(result)
        click.echo(result.line(), err=True)
    if as_json:
        print_json([result.to_dict() for result in results])
    elif len(results) > 1 or any(result.is_silent for result in results):
        click.echo(summary(results))
    if table is not None:
        write_table(results, table)
    if is_interrupted:
        click.echo("stopped: the same command goes on from here", err=True)
        raise SystemExit(INTERRUPTED)
    outcomes = {result.outcome for result in results}
    if outcomes & {Outcome.FAILED, Outcome.OUTDATED} or not outcomes & {Outcome.SEGMENTED, Outcome.KEPT}:
        raise SystemExit(1)
