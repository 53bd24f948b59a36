"""`lungapp models`: published and own weights into a store, by name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from datastore.labels import LABEL_MAPS
from datastore.wording import printable
from lungapp.cli.options import by_option, json_option, print_json, project_option, you
from lungapp.project import open_project

if TYPE_CHECKING:
    from infers.model_store import ModelStore
    from infers.stored_model import StoredModel

store_option = click.option(
    "-p",
    "--project",
    "project_folder",
    type=click.Path(path_type=Path),
    help="The models of this project  [default: your own, which need no project]",
)


@click.group()
def models() -> None:
    """Import models, list them, choose the one that is served.

    Example: lungapp models import unet_r231-d5d2fc3d.pth
    """


def _model_name(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str:
    if value is not None:
        from infers.model_names import check_name

        try:
            check_name(value)
        except ValueError as error:
            raise click.BadParameter(str(error)) from error
    return value or ""


@models.command("import")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE...")
@click.option("--name", callback=_model_name, help="What to call it  [default: as published, else after the file]")
@click.option(
    "--labels",
    type=click.Choice(list(LABEL_MAPS)),
    help="What its classes mean, where neither the file nor its publishers say; 3 classes are the lungs.",
)
@click.option("--publish", is_flag=True, help="Serve it in the project from now on; needs -p.")
@store_option
@json_option
def models_import(
    files: tuple[Path, ...],
    name: str,
    labels: str | None,
    publish: bool,
    project_folder: Path | None,
    as_json: bool,
) -> None:
    """Import weights: lungmask's .pth files, or .safetensors of lungapp.

    Says what the file is: its classes and what they mean, its SHA-256, and whether it is the file that its authors
    published. Models are never replaced: another file under the same name is refused. Nothing is downloaded. A file
    that fails does not stop the others; the exit code is 1 then.

    Examples: lungapp models import unet_r231-d5d2fc3d.pth unet_ltrclobes-3a07043d.pth;
    lungapp models import unet_r231-d5d2fc3d.pth -p my-study --publish
    """
    from lungapp.model_listing import model_dict, model_text

    if len(files) > 1 and (name or publish):
        raise click.UsageError(f"--name and --publish go with one file, got {len(files)}")
    if publish and project_folder is None:
        raise click.UsageError("--publish needs a project: -p DIR")
    store = _store(project_folder)
    plain: list[dict[str, Any]] = []
    failed = False
    for file in files:
        try:
            model, is_new = store.add(file, name, LABEL_MAPS[labels] if labels else None)
            if publish and project_folder is not None:
                _publish(project_folder, model.name, you())
        except (ValueError, OSError) as error:
            if len(files) == 1:
                raise
            failed = True
            click.echo(printable(f"failed  {error}"), err=True)
            continue
        plain.append({**model_dict(model, store.served()), "new": is_new})
        if not as_json:
            click.echo(model_text(model, store.served()))
            if not is_new:
                click.echo(f"{model.name} is there already, with the same weights", err=True)
    if as_json:
        print_json(plain)
    if failed:
        raise SystemExit(1)


@models.command("list")
@store_option
@json_option
def models_list(project_folder: Path | None, as_json: bool) -> None:
    """List the models: name, version, what they find, checksum, which one is served.

    Exit code 1 if what is stored of one cannot be read.

    Example: lungapp models list -p my-study
    """
    from lungapp.model_listing import model_dict, model_line

    store = _store(project_folder)
    found, faults = [], []
    for name in store.names():
        try:
            found.append(store.model(name))
        except (ValueError, OSError) as error:
            faults.append(error)
    if as_json:
        print_json([model_dict(model, store.served()) for model in found])
    else:
        for model in found:
            click.echo(model_line(model, store.served()))
        click.echo(f"{len(found)} model{'' if len(found) == 1 else 's'} in {store.folder}", err=True)
    for fault in faults:
        click.echo(printable(f"failed  {fault}"), err=True)
    if faults:
        raise SystemExit(1)


@models.command("show")
@click.argument("name")
@store_option
@json_option
def models_show(name: str, project_folder: Path | None, as_json: bool) -> None:
    """Show all that is known of a model; its weights are compared with their checksum.

    Example: lungapp models show R231
    """
    from lungapp.model_listing import model_dict, model_text

    store = _store(project_folder)
    model = store.model(name)
    model.check()
    if as_json:
        print_json(model_dict(model, store.served()))
    else:
        click.echo(model_text(model, store.served()))


@models.command("publish")
@click.argument("name")
@by_option
@project_option
@json_option
def models_publish(name: str, by: str, project_folder: Path, as_json: bool) -> None:
    """Serve a model of the project to annotators, as `unet`, from the next request on.

    `bootstrap` is what comes with lungapp. The switch is atomic, and a running server needs no restart. A model that
    finds other structures than the project's masks hold is refused. It stands in the history that `lungapp rounds
    rollback` goes back in.

    Example: lungapp models publish R231 -p my-study
    """
    from infers.model_names import JOINED
    from lungapp.model_listing import model_dict

    if name.lower() == JOINED:
        before = _publish_shipped(project_folder, by)
        if as_json:
            print_json({"name": JOINED, "served": True, "before": before})
        else:
            click.echo(f"{JOINED}, which comes with lungapp, is served now; before: {before or 'the same'}")
        return
    model, before = _publish(project_folder, name, by)
    held_back = _reason_held_back(project_folder, model.name)
    if held_back is not None:
        click.echo(f"note: its round did not publish it: {held_back}", err=True)
    if as_json:
        print_json({**model_dict(model, model.name), "before": before})
    else:
        click.echo(f"{model.name}  {model.version} is served now; before: {before or 'none'}")


def _publish(project_folder: Path, name: str, by: str) -> tuple[StoredModel, str | None]:
    from infers.model_store import ModelStore
    from infers.publishing import publish

    project = open_project(project_folder)
    registry = project.registry()
    try:
        return publish(registry, ModelStore(project.models), name, by)
    finally:
        registry.close()


def _reason_held_back(project_folder: Path, name: str) -> str | None:
    """Why the gate did not publish a model of a round; None for all other models."""
    from datastore.round_records import RoundState

    registry = open_project(project_folder).registry()
    try:
        made = [one for one in registry.rounds() if one.candidate == name and one.state is RoundState.HELD_BACK]
    finally:
        registry.close()
    return made[-1].decision if made else None


def _publish_shipped(project_folder: Path, by: str) -> str | None:
    from infers.model_store import ModelStore
    from infers.publishing import publish_shipped

    project = open_project(project_folder)
    registry = project.registry()
    try:
        return publish_shipped(registry, ModelStore(project.models), by)
    finally:
        registry.close()


def _store(project_folder: Path | None) -> ModelStore:
    from infers.model_store import ModelStore, user_store

    return ModelStore(user_store() if project_folder is None else open_project(project_folder).models)
