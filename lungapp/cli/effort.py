"""`lungapp cases effort`: what corrections cost."""

from __future__ import annotations

from pathlib import Path

import click

from lungapp.cli.options import echo_beside_bar, json_option, print_json, progress_bar, project_option
from lungapp.project import open_project


@click.command("effort")
@click.option("--by", type=click.Choice(["case", "annotator", "model"]), help="Put together by this.")
@click.option("--csv", "table", type=click.Path(path_type=Path), help="Write one row for each correction to this file.")
@project_option
@json_option
def cases_effort(by: str | None, table: Path | None, project_folder: Path, as_json: bool) -> None:
    """Measure what corrections cost.

    Compares the last mask that each annotator handed in of a case with the model's mask that the work began with:
    Dice, edited ml, added path length in mm (contour that had to be drawn) and time. Groups get the median and the
    quartiles. Exit code 1 if a mask cannot be read.

    Example: lungapp cases effort --by model --csv effort.csv -p my-study
    """
    from lungapp.correction_effort import Grouping, measured_corrections
    from lungapp.effort_summary import (
        check_is_table,
        correction_line,
        correction_row,
        summaries,
        summary_dict,
        summary_line,
        write_corrections,
    )

    if table is not None:
        check_is_table(table)
    registry = open_project(project_folder).registry()
    counts, measured = registry.counts(), []
    with progress_bar("measuring", "cases", total=counts.total + counts.ineligible) as step:
        for item in measured_corrections(registry, step):
            measured.append(item)
            if not as_json and (by is None or item.problem):
                echo_beside_bar(correction_line(item), err=item.problem is not None)
    registry.close()
    groups = summaries(measured, Grouping(by) if by else None)
    if table is not None:
        write_corrections(measured, table)
    if as_json:
        print_json(
            {"corrections": [correction_row(item) for item in measured], "groups": list(map(summary_dict, groups))}
        )
    else:
        for group in groups:
            click.echo(summary_line(group))
    if any(item.problem for item in measured):
        raise SystemExit(1)
