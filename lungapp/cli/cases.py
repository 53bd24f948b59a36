"""`lungapp cases`: what a data manager and a reviewer do with cases."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from datastore.records import Split, Status
from lungapp.cli.effort import cases_effort
from lungapp.cli.options import by_option, json_option, print_json, project_option, words
from lungapp.project import open_project

reason_option = click.option("--reason", required=True, callback=words, help="Why; it stands in the audit.")


@click.group()
def cases() -> None:
    """List the cases of a project, show one, review masks.

    Example: lungapp cases list -p my-study
    """


cases.add_command(cases_effort)


@cases.command("list")
@click.option("--status", type=click.Choice([str(status) for status in Status]), help="Only cases of this status.")
@click.option("--cohort", callback=words, help="Only cases of this cohort.")
@click.option("--tag", callback=words, help="Only cases with this tag.")
@click.option("--phenotype", callback=words, help="Only cases of this phenotype.")
@click.option("--strategy", callback=words, help="Only cases that this strategy drew.")
@click.option("--split", type=click.Choice([str(split) for split in Split]), help="Only cases of this split.")
@click.option("--ineligible", is_flag=True, help="The series that the selection leaves out, and why.")
@project_option
@json_option
def cases_list(
    status: str | None,
    cohort: str | None,
    tag: str | None,
    phenotype: str | None,
    strategy: str | None,
    split: str | None,
    ineligible: bool,
    project_folder: Path,
    as_json: bool,
) -> None:
    """List the cases that are offered to annotators, or with --ineligible the others.

    Example: lungapp cases list --status submitted --cohort routine -p my-study
    """
    from datastore.registry import CaseFilter
    from lungapp.listing import case_dict, case_line, exclusion_dict, exclusion_line

    registry = open_project(project_folder).registry()
    which = CaseFilter(
        statuses=(Status(status),) if status else (),
        eligible=not ineligible,
        cohort=cohort,
        tag=tag,
        phenotype=phenotype,
        strategy=strategy,
        split=Split(split) if split else None,
    )
    found = list(registry.each_case(which))
    only_rule = ineligible and not any((status, cohort, tag, phenotype, strategy, split))
    excluded = registry.exclusions() if only_rule else []
    counts = registry.counts()
    registry.close()
    if as_json:
        print_json([*map(case_dict, found), *map(exclusion_dict, excluded)])
        return
    for case in found:
        click.echo(case_line(case))
    for series in excluded:
        click.echo(exclusion_line(series))
    click.echo(f"{len(found)} case{'' if len(found) == 1 else 's'}", err=True)
    if excluded:
        click.echo(f"{len(excluded)} series that are no volumes of CT", err=True)
    filtered = any((status, cohort, tag, phenotype, strategy, split))
    if not (ineligible or filtered or found) and counts.ineligible:
        click.echo(
            f"{counts.ineligible} more are left out by the selection: `lungapp cases list --ineligible`", err=True
        )


@cases.command("show")
@click.argument("case_id")
@project_option
@json_option
def cases_show(case_id: str, project_folder: Path, as_json: bool) -> None:
    """Tell the whole story of a case.

    What it is, every version of its mask, why it was drawn, and everything that happened to it.

    Example: lungapp cases show 0042 -p my-study
    """
    from lungapp.listing import story_dict, story_text

    registry = open_project(project_folder).registry()
    case = registry.case(case_id)
    story = (case, registry.labels(case_id), registry.draws(case_id), registry.events(case_id))
    registry.close()
    if as_json:
        print_json(story_dict(*story))
    else:
        click.echo(story_text(*story))


@cases.command("tag")
@click.argument("case_ids", nargs=-1, required=True, metavar="ID...")
@click.option("--add", multiple=True, callback=words, help="A tag to add; may be given several times.")
@click.option("--remove", multiple=True, callback=words, help="A tag to take away.")
@click.option("--phenotype", callback=words, help="The image phenotype of the cases.")
@by_option
@project_option
def cases_tag(
    case_ids: tuple[str, ...],
    add: tuple[str, ...],
    remove: tuple[str, ...],
    phenotype: str | None,
    by: str,
    project_folder: Path,
) -> None:
    """Tag cases.

    Example: lungapp cases tag 0042 0043 --add fibrosis -p my-study
    """
    if not (add or remove or phenotype):
        raise click.UsageError("expected --add, --remove or --phenotype")
    registry = open_project(project_folder).registry()
    for case_id in case_ids:
        case = registry.tag(case_id, add, remove, by)
        if phenotype is not None:
            case = registry.set_phenotype(case_id, phenotype, by)
        click.echo(f"{case.id}  {', '.join(case.tags) or 'no tags'}")
    registry.close()


@cases.command("overrule")
@click.argument("case_ids", nargs=-1, required=True, metavar="ID...")
@click.option("--reason", callback=words, help="Why these cases are taken all the same; it stands in the audit.")
@click.option("--withdraw", is_flag=True, help="Let the selection decide again.")
@by_option
@project_option
def cases_overrule(
    case_ids: tuple[str, ...], reason: str | None, withdraw: bool, by: str, project_folder: Path
) -> None:
    """Take cases that the selection leaves out.

    Example: lungapp cases overrule 0042 --reason "the only fibrosis of that year" -p my-study
    """
    if withdraw == (reason is not None):
        raise click.UsageError("expected either --reason or --withdraw")
    registry = open_project(project_folder).registry()
    for case_id in case_ids:
        case = registry.overrule(case_id, reason, by) if reason is not None else registry.withdraw_overrule(case_id, by)
        click.echo(f"{case.id}  {'eligible' if case.eligible else 'not eligible'}: {case.exclusion}")
    registry.close()


@cases.command("release")
@click.argument("case_ids", nargs=-1, required=True, metavar="ID...")
@by_option
@project_option
def cases_release(case_ids: tuple[str, ...], by: str, project_folder: Path) -> None:
    """Take cases back from whoever holds them.

    Nothing that they submit later is lost: a mask made on an outdated version opens a conflict.

    Example: lungapp cases release 0042 -p my-study
    """
    registry = open_project(project_folder).registry()
    for case_id in case_ids:
        lease = registry.take_back(case_id, by)
        click.echo(f"{case_id}  was held by {lease.holder} until {lease.expires_at:%H:%M} UTC, is free now")
    registry.close()


@cases.command("accept")
@click.argument("label_ids", nargs=-1, required=True, metavar="MASK...")
@click.option("--comment", default="", help="What the reviewer says; needed if the quality checks found something.")
@by_option
@project_option
def cases_accept(label_ids: tuple[str, ...], comment: str, by: str, project_folder: Path) -> None:
    """Accept submitted masks: they may train from now on.

    MASK is the id of a version, as `lungapp cases show` prints it. The quality checks are made first where they were
    not. In a conflict the accepted version wins; the other one is kept.

    Example: lungapp cases accept 0042-1a2b3c4d -p my-study
    """
    from datastore.checking import check_label
    from lungapp.rounds.queueing import queue_if_due

    project = open_project(project_folder)
    registry, images = project.registry(), project.images()
    for label_id in label_ids:
        check_label(registry, images, label_id)
        label = registry.accept(label_id, by, comment)
        click.echo(f"{label.case_id}  mask {label.number} accepted")
    started = queue_if_due(project, registry, by)
    if started is not None:
        click.echo(f"round {started.number} is queued: {started.trigger}")
    registry.close()


@cases.command("reject")
@click.argument("label_ids", nargs=-1, required=True, metavar="MASK...")
@click.option("--comment", required=True, callback=words, help="What is wrong with it.")
@by_option
@project_option
def cases_reject(label_ids: tuple[str, ...], comment: str, by: str, project_folder: Path) -> None:
    """Reject submitted masks: their cases are offered again.

    Example: lungapp cases reject 0042-1a2b3c4d --comment "effusion left out" -p my-study
    """
    registry = open_project(project_folder).registry()
    for label_id in label_ids:
        label = registry.reject(label_id, by, comment)
        click.echo(f"{label.case_id}  mask {label.number} rejected")
    registry.close()


@cases.command("reopen")
@click.argument("case_ids", nargs=-1, required=True, metavar="ID...")
@reason_option
@by_option
@project_option
def cases_reopen(case_ids: tuple[str, ...], reason: str, by: str, project_folder: Path) -> None:
    """Offer finished cases to annotators again; an accepted mask stays until a new one is accepted.

    Example: lungapp cases reopen 0042 --reason "trachea included" -p my-study
    """
    registry = open_project(project_folder).registry()
    for case_id in case_ids:
        case = registry.reopen(case_id, by, reason)
        click.echo(f"{case.id}  open again ({case.status})")
    registry.close()


@cases.command("restore")
@click.argument("label_id", metavar="MASK")
@by_option
@project_option
def cases_restore(label_id: str, by: str, project_folder: Path) -> None:
    """Submit an older version of a mask anew.

    Example: lungapp cases restore 0042-1a2b3c4d -p my-study
    """
    registry = open_project(project_folder).registry()
    label = registry.restore(label_id, by)
    registry.close()
    click.echo(f"{label.case_id}  mask {label.number} ({label.id}) submitted: a copy of {label_id}")


@cases.command("compare")
@click.argument("before", metavar="MASK")
@click.argument("after", metavar="MASK")
@project_option
@json_option
def cases_compare(before: str, after: str, project_folder: Path, as_json: bool) -> None:
    """Say what two versions of a mask have in common and where they differ.

    Example: lungapp cases compare 0042-1a2b3c4d 0042-5e6f7a8b -p my-study
    """
    from datastore.image_files import read_mask
    from datastore.mask_difference import compare
    from lungapp.listing import difference_text

    registry = open_project(project_folder).registry()
    first, second = registry.label(before), registry.label(after)
    registry.close()
    if first.case_id != second.case_id:
        raise ValueError(f"expected two versions of one case, got {before} of case {first.case_id} and {after}")
    difference = compare(read_mask(first.path), read_mask(second.path))
    if as_json:
        print_json(asdict(difference))
    else:
        click.echo(difference_text(difference))
