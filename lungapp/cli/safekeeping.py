"""`lungapp backup` and `lungapp restore`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from datastore.atomic import write_bytes
from datastore.database import DatabaseUrl
from lungapp.cli.options import json_option, print_json, progress_bar, project_option
from lungapp.project import SETTINGS_FILE, open_project
from lungapp.settings import with_value


@click.command()
@click.argument("target", required=False, type=click.Path(path_type=Path, file_okay=False), metavar="[DIR]")
@project_option
@json_option
def backup(target: Path | None, project_folder: Path, as_json: bool) -> None:
    """Back the project up, while the server goes on.

    DIR grows: each backup adds the new masks and a snapshot of the registry. Without it, the project's own folder
    `backup` is taken; another disk is better. Images are not copied. Exit code 1 if a mask is missing or damaged; the
    others are saved all the same.

    Example: lungapp backup /mnt/nas/my-study -p my-study
    """
    from datastore.backup import back_up

    project = open_project(project_folder)
    registry = project.registry()
    with progress_bar("copying masks", "files") as step:
        report = back_up(registry, project.folder, target or project.folder / "backup", step)
    registry.close()
    if as_json:
        print_json(asdict(report))
    else:
        for sentence in report.lost:
            click.echo(f"lost  {sentence}", err=True)
        click.echo(
            f"{target or project.folder / 'backup'}: snapshot {report.stamp} of {report.cases} cases, "
            f"{report.labels} masks ({report.copied} new)"
        )
    if report.lost:
        raise SystemExit(1)


@click.command()
@click.argument("source", type=click.Path(path_type=Path, file_okay=False), metavar="BACKUP")
@click.argument("target", type=click.Path(path_type=Path), metavar="DIR")
@click.option("--at", "stamp", help="Which snapshot  [default: the newest]")
@click.option(
    "--database",
    "database_url",
    help="Restore into this database instead of the one in the settings, which will name it from then on; `sqlite` is "
    "a file in the project.",
)
@click.option("--partial", is_flag=True, help="Restore the other masks if some are damaged in the backup.")
@json_option
def restore(
    source: Path, target: Path, stamp: str | None, database_url: str | None, partial: bool, as_json: bool
) -> None:
    """Bring a BACKUP back as a new project in DIR.

    Every file is compared with its SHA-256 before the project appears. Nothing that is there already is touched.

    Example: lungapp restore /mnt/nas/my-study my-study-again
    """
    from datastore.backup import restore as restore_backup

    with progress_bar("checking masks", "files") as step:
        report = restore_backup(
            source,
            target.absolute(),
            lambda folder: _database_of(folder, database_url),
            step,
            stamp,
            partial=partial,
        )
    if as_json:
        print_json(asdict(report))
    else:
        click.echo(
            f"{target}: project of {report.cases} cases and {report.labels} masks, as of snapshot {report.stamp}"
        )
        for sentence in report.lost:
            click.echo(f"lost  {sentence}", err=True)
    if report.lost:
        raise SystemExit(1)


def _database_of(folder: Path, wanted: str | None) -> DatabaseUrl:
    """The database of a project; the one that is wanted, where one is, is written into its settings first."""
    if wanted is None:
        return open_project(folder).database_url
    url = "" if wanted == "sqlite" else wanted
    settings = folder / SETTINGS_FILE
    write_bytes(settings, with_value(settings.read_text(), "database", "url", url).encode(), overwrite=True)
    project = open_project(folder)
    if project.settings.database.url != url:
        raise ValueError(f"$LUNGAPP_DATABASE__URL names another database than --database {wanted}: unset it first")
    return project.database_url
