"""Rounds and their judging in words, and as plain values for JSON."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime
from typing import Any

from datastore.round_records import Round, RoundState
from datastore.wording import printable
from lungapp.listing import TIME
from lungapp.rounds.following import progress_text
from trainers.decision import Decision
from trainers.judging_table import ALL, CaseChange, Row

WORST_SHOWN = 10  # cases
JUDGING = "judging"  # the gate's decision among a round's metrics
MASKS = "masks"  # how many were used for what


def round_dict(item: Round, served: str | None) -> dict[str, Any]:
    """A round as plain values; `served` is the name of the model that is served."""
    plain = {name: value.isoformat() if isinstance(value, datetime) else value for name, value in asdict(item).items()}
    return {**plain, "served": _is_served(item, served)}


def round_line(item: Round, served: str | None) -> str:
    """A round on one line."""
    words = (
        f"{item.number:>4}  {item.state:<11}  {item.queued_at:{TIME}} UTC  {len(item.label_ids):>4} masks  "
        f"{item.candidate or '-':<12}  {item.trigger}"
    )
    return printable(words) + ("  served" if _is_served(item, served) else "")


def round_text(item: Round, served: str | None) -> str:
    """All that is known of a round, with the table of its judging."""
    times = [("queued", item.queued_at), ("started", item.started_at), ("ended", item.ended_at)]
    rows = [
        ("state", str(item.state)),
        ("trigger", item.trigger),
        *((name, f"{moment:{TIME}} UTC") for name, moment in times if moment is not None),
        ("masks", _masks(item)),
        ("seed", str(item.seed)),
        ("champion", item.champion or "none"),
        ("candidate", (item.candidate or "none") + (", served" if _is_served(item, served) else "")),
        *_why(item),
    ]
    if not item.has_ended:
        rows.insert(1, ("progress", progress_text(item)))
    lines = [f"round {item.number}", *(printable(f"  {name:<12}{value}") for name, value in rows)]
    judged = item.metrics.get(JUDGING)
    if judged is not None:
        lines += map(printable, _judging_lines(Decision.from_plain(judged)))
    return "\n".join(lines)


def _masks(item: Round) -> str:
    """How many masks were used for what, as far as that is known."""
    counts = item.metrics.get(MASKS)
    if not counts:
        return f"{len(item.label_ids)} settled on" if item.label_ids else "not settled yet"
    words = [f"{counts['train']} trained", f"{counts['watched']} watched"]
    words += [f"{counts['negatives']} gave slices without lung"] * bool(counts["negatives"])
    words += [f"{counts['left_out']} left out"] * bool(counts["left_out"])
    return ", ".join([*words, f"{counts['locked']} judged"])


def _why(item: Round) -> Iterator[tuple[str, str]]:
    if item.cancel_by is not None:
        yield "cancelled by", item.cancel_by
    if item.decision is not None:
        yield "reason" if item.state is RoundState.FAILED else "decision", item.decision


def _is_served(item: Round, served: str | None) -> bool:
    return item.candidate is not None and item.candidate == served


def _judging_lines(decision: Decision) -> Iterator[str]:
    """The groups of cases with champion and candidate, then the cases that lost most."""
    rows = {(row.tag, row.lung, row.metric): row for row in decision.table}
    shown = [(row.tag, row.lung) for row in decision.table if row.metric == "dice" and ALL in (row.tag, row.lung)]
    if not shown:
        return
    names = [_group(*group) for group in shown]
    width = max(map(len, names))
    of = f"{len(decision.changes)} locked case{'' if len(decision.changes) == 1 else 's'}"
    yield f"judged on {of}: champion -> candidate, change (95 % interval)"
    for name, (tag, lung) in zip(names, shown, strict=True):
        dice = rows[tag, lung, "dice"]
        few = "  too few to decide" if tag != ALL and dice.cases < decision.rules.tag_cases else ""
        finite = rows[tag, lung, "hausdorff95_mm"].cases
        of_fewer = f" of {finite}" if finite < dice.cases else ""
        distances = (
            f"HD95 {_means(rows[tag, lung, 'hausdorff95_mm'], 1)} mm{of_fewer}  "
            f"MSD {_means(rows[tag, lung, 'mean_surface_distance_mm'], 2)} mm"
        )
        yield f"  {name:<{width}}  {dice.cases:>4} cases  Dice {_means(dice, 3)}  {_change(dice):<29}  {distances}{few}"
    worst = decision.changes[:WORST_SHOWN]
    yield f"the {len(worst)} worst of {of}" if len(worst) > 1 else "the case"
    for change in worst:
        yield f"  {change.case_id}  {_case(change)}"


def _group(tag: str, lung: str) -> str:
    return tag if tag != ALL else f"all, {lung.replace('_', ' ') or 'both lungs'}"


def _means(row: Row, decimals: int) -> str:
    candidate = "-" if row.candidate is None else f"{row.candidate:.{decimals}f}"
    return candidate if row.champion is None else f"{row.champion:.{decimals}f} -> {candidate}"


def _change(row: Row) -> str:
    if row.difference is None:
        return ""
    if row.low is None or row.high is None:
        return f"{row.difference:+.4f}"
    return f"{row.difference:+.4f} ({row.low:+.4f} to {row.high:+.4f})"


def _case(change: CaseChange) -> str:
    if change.failure is not None:
        return f"could not be judged: {change.failure}"
    dices = [f"{dice:.3f}" for dice in (change.champion, change.candidate) if dice is not None]
    words = [f"Dice {' -> '.join(dices)}"]
    if change.difference is not None:
        words.append(f"{change.difference:+.4f}")
    if change.missed:
        words.append(f"misses {', '.join(change.missed)}")
    return "  ".join([*words, *([", ".join(change.tags)] if change.tags else [])])
