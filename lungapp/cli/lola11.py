"""`lungapp lola11`: what is handed in to the challenge LOLA11."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from lungapp.cli.network_options import network_options
from lungapp.cli.options import echo_beside_bar, json_option, print_json, progress_bar

if TYPE_CHECKING:
    from infers.models import Model

INTERRUPTED = 130  # as a shell has it: 128 and the number of the signal
OF_A_MODEL = ("model_name", "preset", "fill")


@click.command()
@click.argument("inputs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="IN...")
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="A folder.")
@click.option("--masks", type=click.Path(path_type=Path), help="Take finished masks from this folder; no model runs.")
@click.option(
    "--labels",
    type=click.Choice(["lungs", "lobes"]),
    default="lungs",
    show_default=True,
    help="What the numbers of finished masks mean.",
)
@click.option("--partial", is_flag=True, help="Do without the scans that are missing.")
@network_options
@json_option
def lola11(
    inputs: tuple[Path, ...],
    out: Path,
    masks: Path | None,
    labels: str,
    partial: bool,
    load: Callable[[], Model],
    as_json: bool,
) -> None:
    """Make submissions to LOLA11.

    IN are the scans lola11-01 to lola11-55, or a folder with them. OUT/masks gets their masks in the challenge's
    numbering (10 left lung, 20 right lung; lobes 10, 11, 20, 21, 22), OUT/without-dense-areas the same without
    effusion, consolidation and tumour (-50 to 70 HU), and masks.zip and without-dense-areas.zip are what is uploaded.
    Nothing that is there already is replaced.

    Examples: lungapp lola11 /data/lola11 -o submission --model R231;
    lungapp lola11 /data/lola11 -o submission --masks corrected
    """
    from datastore.labels import LABEL_MAPS
    from lungapp.lola11 import SUBMISSIONS, Handed, hand_in, write_archive
    from lungapp.lola11_sources import find_masks, find_scans, masks_given, masks_made, missing, submission_folders

    source = click.get_current_context().get_parameter_source
    if masks is not None and any(source(name) is not ParameterSource.DEFAULT for name in OF_A_MODEL):
        raise click.UsageError("--masks are finished: leave --model, --preset and --fill out")
    if masks is None and source("labels") is not ParameterSource.DEFAULT:
        raise click.UsageError("--labels says what the numbers of --masks mean; a model knows its own")
    scans = find_scans(inputs)
    lacking = missing(scans)
    if lacking and not partial:
        raise ValueError(f"{len(lacking)} of 55 scans are missing: {', '.join(lacking)} (--partial does without them)")
    if masks is None:
        model = load()
        structures, coming = tuple(model.structures), masks_made(scans, model, out)
    else:
        structures, coming = LABEL_MAPS[labels], masks_given(scans, find_masks(masks))
    results: list[Handed] = []
    try:
        with (
            submission_folders(out, scans, with_models_masks=masks is None),
            progress_bar("making masks", "scans", total=len(scans)) as step,
            closing(coming),
        ):
            for mask in coming:
                if mask.path is None:
                    result = Handed(mask.case, "failed", mask.reason)
                else:
                    result = hand_in(mask.case, scans[mask.case], mask.path, structures, out, note=mask.reason)
                results.append(result)
                if not as_json:
                    echo_beside_bar(result.line(), err=result.has_failed)
                step()
    except KeyboardInterrupt:
        click.echo("stopped: the same command goes on from here", err=True)
        raise SystemExit(INTERRUPTED) from None
    failed = [result for result in results if result.has_failed]
    archives = [] if failed else [write_archive(out / folder, scans) for folder in SUBMISSIONS]
    if as_json:
        cases = [result.to_dict() for result in results]
        print_json({"cases": cases, "missing": lacking, "archives": [str(path) for path in archives]})
    else:
        for path in archives:
            click.echo(f"{path}: {len(scans)} of 55 cases" + ("" if lacking else ", complete"))
    if lacking:
        click.echo(f"missing  {', '.join(lacking)}", err=True)
    if failed:
        click.echo(f"{len(failed)} failed: no archive was written", err=True)
        raise SystemExit(1)
