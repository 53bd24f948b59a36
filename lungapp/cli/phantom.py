"""`lungapp phantom`: synthetic cohorts with true masks."""

from __future__ import annotations

import os
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

import click

from lungapp.cli.options import echo_beside_bar, json_option, named_folder, print_json, progress_bar
from lungapp.cli.segmenting import INTERRUPTED

COHORT_NAMES = ("anatomy3", "routine", "ltrc", "lctsc", "vessel12")
USUAL_COUNTS = {"anatomy3": 40, "routine": 200, "ltrc": 105, "lctsc": 60, "vessel12": 20}
MOST_JOBS = 4  # unless more are asked for: each holds a scan of 512 x 512 with its masks, about 1.5 GB


@click.command()
@click.argument("out", callback=named_folder)
@click.option("--cohort", required=True, type=click.Choice(COHORT_NAMES), help="The set that is to be like it.")
@click.option("-n", "count", type=click.IntRange(1, 9999), help="Patients  [default: as many as the real set has]")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Other patients.")
@click.option("--size", type=click.IntRange(64, 512), default=512, show_default=True, help="Pixels of a slice's side.")
@click.option("--slices", type=click.IntRange(1, 2000), help="Of each scan  [default: as planned, 60 to 900]")
@click.option(
    "--as",
    "form",
    type=click.Choice(["nifti", "dicom"]),
    default="nifti",
    show_default=True,
    help="One image of each patient, or the whole study as a scanner sends it.",
)
@click.option(
    "--jobs", type=click.IntRange(1, 64), help=f"Made at a time  [default: one per core, at most {MOST_JOBS}]"
)
@json_option
def phantom(
    out: Path,
    cohort: str,
    count: int | None,
    seed: int,
    size: int,
    slices: int | None,
    form: str,
    jobs: int | None,
    as_json: bool,
) -> None:
    """Make a cohort of synthetic chest CT.

    OUT gets the images with true masks of lungs, lobes and every disease, and cases.csv, the table that
    `lungapp evaluate --cases` takes. The same seed gives the same files; more patients can be added later, and the
    same command goes on where it was stopped. Nothing that is there already is replaced.

    Examples: lungapp phantom synthetic --cohort routine -n 50;
    lungapp phantom archive --cohort routine -n 20 --as dicom --size 256
    """
    from datastore.phantom.case_making import Making
    from lungapp.phantom_workers import Made, make_cohort
    from lungapp.phantoms import Request, cohort_folder

    making = Making(size, slices, form)
    request = Request(cohort, count or USUAL_COUNTS[cohort], seed, making)
    workers = jobs or min(MOST_JOBS, len(os.sched_getaffinity(0)))
    results: list[Made] = []
    is_interrupted = False
    try:
        with (
            cohort_folder(out, request) as plans,
            progress_bar("making scans", "patients", total=len(plans)) as step,
            closing(make_cohort(out, plans, making, workers)) as coming,
        ):
            for made in coming:
                results.append(made)
                if made.outcome == "failed" or (made.outcome == "made" and not as_json):
                    echo_beside_bar(made.line(), err=made.outcome == "failed")
                step()
    except KeyboardInterrupt:
        is_interrupted = True
    counts = {name: sum(made.outcome == name for made in results) for name in ("made", "kept", "failed")}
    if as_json:
        print_json({"folder": str(out), **counts, "cases": [asdict(made) for made in results]})
    else:
        click.echo(f"{out}: {counts['made']} made, {counts['kept']} kept, {counts['failed']} failed")
    if is_interrupted:
        click.echo("stopped: the same command goes on from here", err=True)
        raise SystemExit(INTERRUPTED)
    if counts["failed"]:
        raise SystemExit(1)
