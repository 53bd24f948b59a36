"""`lungapp rounds`: what came of the retrains, stopping one, and the way back to the model before."""

from __future__ import annotations

from pathlib import Path

import click

from lungapp.cli.options import by_option, json_option, print_json, project_option
from lungapp.project import open_project


@click.group()
def rounds() -> None:
    """List the rounds of training, show how one was judged, stop one, go back to the model before.

    Example: lungapp rounds list -p my-study
    """


@rounds.command("list")
@project_option
@json_option
def rounds_list(project_folder: Path, as_json: bool) -> None:
    """List the rounds: number, state, when, what started it, the model, which one is served.

    Example: lungapp rounds list -p my-study
    """
    from infers.model_names import JOINED
    from infers.model_store import ModelStore
    from lungapp.round_listing import round_dict, round_line
    from lungapp.rounds.queueing import doubts, settle

    project = open_project(project_folder)
    served = ModelStore(project.models).served()
    registry = project.registry()
    settle(project, registry)
    found, corrections = registry.rounds(), registry.corrections_since_last_round()
    doubt = doubts(project, registry) if registry.trainable() else None
    registry.close()
    if as_json:
        print_json([round_dict(item, served) for item in found])
        return
    for item in found:
        click.echo(round_line(item, served))
    after = project.settings.rounds.retrain_after
    until = f"{corrections} new corrections, {after} start the next one" if after else "none starts by itself"
    count = f"{len(found)} round{'' if len(found) == 1 else 's'}"
    click.echo(f"{count}; {until}; {served or f'{JOINED}, which comes with lungapp,'} is served", err=True)
    if doubt is not None:
        click.echo(f"warning: {doubt}", err=True)


@rounds.command("show")
@click.argument("number", type=click.IntRange(1), required=False)
@project_option
@json_option
def rounds_show(number: int | None, project_folder: Path, as_json: bool) -> None:
    """Show one round, the last one if no NUMBER is given: how its model was judged, and why it was published or not.

    The table has the served model of that time on the left, the new one on the right, over all locked cases, per lung
    and per tag; then the cases that lost most.

    Example: lungapp rounds show 7 -p my-study
    """
    from infers.model_store import ModelStore
    from lungapp.round_listing import round_dict, round_text
    from lungapp.rounds.queueing import settle

    project = open_project(project_folder)
    served = ModelStore(project.models).served()
    registry = project.registry()
    settle(project, registry)
    found = registry.rounds()
    registry.close()
    chosen = [item for item in found if number in (None, item.number)][-1:]
    if not chosen:
        there = f"there are rounds 1 to {found[-1].number}" if found else "there are none yet"
        raise click.ClickException(f"no round{'' if number is None else f' {number}'}: {there}")
    if as_json:
        print_json(round_dict(chosen[0], served))
    else:
        click.echo(round_text(chosen[0], served))


@rounds.command("cancel")
@click.argument("number", type=click.IntRange(min=1))
@by_option
@project_option
@json_option
def rounds_cancel(number: int, by: str, project_folder: Path, as_json: bool) -> None:
    """Stop a round, whatever it is doing, unless its model is served already; the served model stays.

    Its masks train in the next round, which starts by itself once so many others were corrected.

    Example: lungapp rounds cancel 7 -p my-study
    """
    from infers.model_store import ModelStore
    from lungapp.round_listing import round_dict
    from lungapp.rounds.queueing import cancel

    project = open_project(project_folder)
    registry = project.registry()
    asked = cancel(project, registry, number, by)
    registry.close()
    if as_json:
        print_json(round_dict(asked, ModelStore(project.models).served()))
    else:
        later = "to be cancelled: its worker stops it, if it is not too late"
        click.echo(f"round {number} is {'cancelled' if asked.has_ended else later}")


@rounds.command("rollback")
@by_option
@project_option
@json_option
def rounds_rollback(by: str, project_folder: Path, as_json: bool) -> None:
    """Serve the model again that was served before, from the next request on.

    Twice goes back two models; before the first one, that is what comes with lungapp. Models published by hand are in
    the same history; the way forward again is `lungapp models publish`. Masks are not touched.

    Example: lungapp rounds rollback -p my-study
    """
    from infers.model_names import JOINED
    from infers.model_store import ModelStore
    from infers.publishing import rollback
    from lungapp.model_listing import model_dict

    project = open_project(project_folder)
    registry = project.registry()
    try:
        model, taken_back = rollback(registry, ModelStore(project.models), by)
    finally:
        registry.close()
    if as_json:
        plain = {"name": JOINED, "served": True} if model is None else model_dict(model, model.name)
        print_json({**plain, "before": taken_back})
    else:
        name = f"{JOINED}, which comes with lungapp," if model is None else f"{model.name}  {model.version}"
        click.echo(f"{name} is served again; taken back: {taken_back}")
