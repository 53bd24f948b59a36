"""The program and its everyday commands."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

import click
from click.core import ParameterSource

from lungapp import __version__
from lungapp.cli.cases import cases
from lungapp.cli.evaluation import evaluate
from lungapp.cli.intake import ingest
from lungapp.cli.lola11 import lola11
from lungapp.cli.models import models
from lungapp.cli.options import (
    OneLineErrors,
    device_option,
    json_option,
    model_option,
    named_folder,
    print_json,
    progress_bar,
    project_option,
)
from lungapp.cli.phantom import phantom
from lungapp.cli.pretraining import pretrain
from lungapp.cli.retraining import retrain, worker
from lungapp.cli.rounds import rounds
from lungapp.cli.safekeeping import backup, restore
from lungapp.cli.segmenting import segment
from lungapp.project import SETTINGS_FILE, init_project, open_project


@click.group(cls=OneLineErrors, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, package_name="lungapp")
@click.option("-v", "--verbose", is_flag=True, help="Log what happens; show tracebacks.")
def main(verbose: bool) -> None:
    """Lung segmentation in chest CT: a MONAI Label app and training platform.

    Begin with `lungapp demo`, or with `lungapp init DIR`.
    """
    if not verbose:
        warnings.simplefilter("ignore")  # of libraries, on odd files; ours are errors and say so
        logging.getLogger("nibabel.global").setLevel(logging.CRITICAL)
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING, format="%(levelname)s %(name)s: %(message)s"
    )


COMMANDS = (
    ingest,
    cases,
    models,
    retrain,
    rounds,
    worker,
    backup,
    restore,
    segment,
    evaluate,
    lola11,
    phantom,
    pretrain,
)
for command in COMMANDS:
    main.add_command(command)


@main.command()
@click.argument("folder", callback=named_folder)
@click.option("--name", default="", help="What clients and pages call the project  [default: the folder's name]")
def init(folder: Path, name: str) -> None:
    """Make a project in FOLDER.

    Example: lungapp init my-study
    """
    project = init_project(folder, name)
    click.echo(f"{project.folder}: project made. Its settings: {SETTINGS_FILE}. Next: lungapp ingest SCANS -p {folder}")


@main.command()
@model_option
@device_option
@project_option
@json_option
def bootstrap(model_name: str, device: str, project_folder: Path, as_json: bool) -> None:
    """Make the preliminary masks of open cases.

    Those that a case has already are kept.

    Example: lungapp bootstrap --model threshold -p my-study
    """
    from infers.models import load_lung_model
    from lungapp.bootstrap import bootstrap as bootstrap_cases

    project = open_project(project_folder)
    model = load_lung_model(model_name, device, stores=[project.models])
    with progress_bar("segmenting", "cases") as step:
        report = bootstrap_cases(project.registry(), project.images(), model, step)
    if as_json:
        print_json({"made": report.made, "failed": report.failed})
    else:
        for case_id, reason in report.failed.items():
            click.echo(f"failed  {case_id}  {reason}", err=True)
        click.echo(f"{len(report.made)} preliminary masks made, {len(report.failed)} failed")
    if report.failed:
        raise SystemExit(1)


@main.command()
@click.option("--host", help="Address to listen on  [default: the project's setting, 127.0.0.1]")
@click.option("--port", type=click.IntRange(0, 65535), help="Port; 0 takes a free one  [default: 8000]")
@project_option
def serve(host: str | None, port: int | None, project_folder: Path) -> None:
    """Serve a project to 3D Slicer, with web pages.

    Example: lungapp serve -p my-study --port 8000
    """
    from lungapp.serving import serve as serve_project

    serve_project(open_project(project_folder), host, port, click.echo)


@main.command()
@click.option("--port", type=click.IntRange(0, 65535), help="Port  [default: 8000, or a free one if it is taken]")
@click.option("--cases", "case_count", type=click.IntRange(1, 100), default=5, show_default=True)
@click.option("--dir", "folder", type=click.Path(path_type=Path), help="Keep the project in this folder.")
@click.option("--exit-when-ready", is_flag=True, help="Stop as soon as the server answers; for tests.")
def demo(port: int | None, case_count: int, folder: Path | None, exit_when_ready: bool) -> None:
    """Try it out on synthetic scans, in a throw-away project.

    Example: lungapp demo
    """
    from lungapp.demo import run_demo

    run_demo(folder, case_count, port, exit_when_ready=exit_when_ready, say=click.echo)


@main.command()
@project_option
@json_option
def doctor(project_folder: Path, as_json: bool) -> None:
    """Check the installation and the project.

    Says what is missing and what to do.

    Every label file is compared with its checksum. Exit code 1 if something is wrong.

    Example: lungapp doctor -p my-study
    """
    from lungapp.doctor import examine

    asked_for = click.get_current_context().get_parameter_source("project_folder") is not ParameterSource.DEFAULT
    findings = list(examine(project_folder, project_expected=asked_for))
    if as_json:
        print_json([finding.to_dict() for finding in findings])
    else:
        for finding in findings:
            click.echo(f"{'ok     ' if finding.ok else 'WRONG  '} {finding.what}")
    if not all(finding.ok for finding in findings):
        raise SystemExit(1)
