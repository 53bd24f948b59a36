"""The gate: whether a retrained model takes the place of the served one, and why, in a sentence for people.

The candidate has to be shown to be not inferior: the lower end of the 95 % paired bootstrap interval of the change in
Dice lies above minus a margin that was set beforehand. That is asked of all locked cases together, of each lung, and of
each tag with enough cases. A candidate has to pass all of them, so no correction for many comparisons is needed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from infers.comparison import FEWEST_PAIRS
from trainers.case_scores import CaseScores
from trainers.decision import Decision, GateRules
from trainers.judging_table import ALL, CaseChange, Row, case_changes, judging_table

MOST_NAMED = 5  # cases in a sentence


@dataclass(frozen=True)
class _Objection:
    """Why a candidate is not published, in full and in short."""

    full: str
    short: str


@dataclass(frozen=True)
class _Check:
    """One thing that the candidate must not be worse in."""

    where: str
    dice: Row
    hd95: Row
    margin: float

    def objections(self, hd95_margin_mm: float) -> Iterator[_Objection]:
        """What is wrong."""
        row, distance = self.dice, self.hd95
        if row.difference is None:
            return
        change, dice = _change(row), f"the mean Dice {self.where}"
        if row.difference < -self.margin:
            full = f"{dice} falls {change}, by more than the {self.margin:g} that is allowed"
            yield _Objection(full, f"{dice} falls from {row.champion:.3f} to {row.candidate:.3f}")
        elif row.low is not None and row.low < -self.margin:
            full = f"{dice} goes {change}: a loss of more than {self.margin:g} cannot be excluded"
            yield _Objection(full, f"{dice} may have fallen by up to {-row.low:.3f}")
        if distance.low is not None and distance.low > hd95_margin_mm:
            rise = f"the mean HD95 {self.where} rises from {distance.champion:.1f} to {distance.candidate:.1f} mm"
            full = (
                f"{rise} (95 % interval of the rise {distance.low:.1f} to {distance.high:.1f} mm), by more than the "
                f"{hd95_margin_mm:g} mm that are allowed"
            )
            yield _Objection(full, rise)


def decide(
    champion: Sequence[CaseScores] | None, candidate: Sequence[CaseScores], rules: GateRules = GateRules()
) -> Decision:
    """Publish the candidate, or hold it back.

    Args:
        champion: The served model on the locked cases; None if none is served.
        candidate: The retrained model on the same cases.
        rules: Margins, and what to do without a champion or without cases.

    Raises:
        ValueError: If the two were not scored on the same cases and references, in the same order.
    """
    if champion is not None:
        ours, theirs = ([(item.case_id, item.reference_id) for item in scores] for scores in (candidate, champion))
        if ours != theirs:
            raise ValueError(f"expected scores of the same locked cases, got {_listed(ours)} and {_listed(theirs)}")
    if not candidate:
        return Decision(rules.publish_unjudged, _unjudged(rules), rules)
    table = tuple(judging_table(champion, candidate))
    changes = case_changes(champion, candidate)
    objection = _not_judged(champion, candidate) or _finds_nothing(candidate)
    if objection is None:
        checks = _checks(table, rules)
        objection = _first_objection(table[0], rules) if champion is None else _objections(checks, rules)
        praise = _first_praise(table[0]) if champion is None else _praise(checks, rules)
    words = f"Published: {praise}" if objection is None else f"Held back: {objection}"
    reason = "; ".join([words, *_remarks(table[0], changes, rules)]) + "."
    return Decision(objection is None, reason, rules, table, changes)


def _unjudged(rules: GateRules) -> str:
    none = "there are no locked cases to judge on (accepted masks of patients in the split validation)"
    if rules.publish_unjudged:
        return f"Published without being judged: {none}, and the setting gate.publish_unjudged allows that."
    return f"Held back: {none}; have some corrected and accepted, or set gate.publish_unjudged."


def _not_judged(champion: Sequence[CaseScores] | None, candidate: Sequence[CaseScores]) -> str | None:
    """Why the scores are no ground for a decision, or None."""
    others = candidate if champion is None else champion
    one_sided = [
        (ours.case_id, ours.failure or theirs.failure)
        for ours, theirs in zip(candidate, others, strict=True)
        if (ours.failure is None) != (theirs.failure is None)
    ]
    if one_sided:
        case_id, failure = one_sided[0]
        more = f" and {len(one_sided) - 1} more" if len(one_sided) > 1 else ""
        return f"case {case_id}{more} could be judged for only one of the two models ({failure})"
    readable = sum(item.failure is None for item in candidate)
    if 2 * readable < len(candidate):
        failure = next(item.failure for item in candidate if item.failure is not None)
        return f"only {readable} of {_cases(len(candidate))} could be judged ({failure})"
    return None


def _finds_nothing(candidate: Sequence[CaseScores]) -> str | None:
    judged = [item for item in candidate if item.failure is None]
    has_lungs = any(lung.reference_ml > 0 for item in judged for lung in item.lungs)
    if has_lungs and not any(item.found_ml > 0 for item in judged):
        return f"the new model finds no lung in any of {_cases(len(judged))}"
    return None


def _checks(table: Sequence[Row], rules: GateRules) -> list[_Check]:
    """What the candidate must not be worse in: everything, each lung, each tag with enough cases."""
    rows = {(row.tag, row.lung, row.metric): row for row in table}

    def check(tag: str, lung: str, where: str, margin: float) -> _Check:
        dice = rows[tag, lung, "dice"]
        return _Check(f"{where} ({_cases(dice.cases)})", dice, rows[tag, lung, "hausdorff95_mm"], margin)

    lungs = dict.fromkeys(row.lung for row in table if row.lung != ALL)
    tags = dict.fromkeys(row.tag for row in table if row.tag != ALL)
    return [
        check(ALL, ALL, "of both lungs", rules.dice_margin),
        *(check(ALL, lung, f"of the {lung.replace('_', ' ')}", rules.tag_dice_margin) for lung in lungs),
        *(
            check(tag, ALL, f"with {tag!r}", rules.tag_dice_margin)
            for tag in tags
            if rows[tag, ALL, "dice"].cases >= rules.tag_cases
        ),
    ]


def _change(row: Row) -> str:
    means = f"from {row.champion:.3f} to {row.candidate:.3f}"
    if row.low is None or row.high is None:
        return means
    return f"{means} ({row.difference:+.4f}, 95 % interval {row.low:+.4f} to {row.high:+.4f})"


def _objections(checks: Sequence[_Check], rules: GateRules) -> str | None:
    """The first in full, the others in short."""
    found = [objection for check in checks for objection in check.objections(rules.hd95_margin_mm)]
    if not found:
        return None
    others = [objection.short for objection in found[1:]]
    return found[0].full + (f"; nor is that all: {_listed(others)}" if others else "")


def _praise(checks: Sequence[_Check], rules: GateRules) -> str:
    row, tags = checks[0].dice, sum(check.dice.tag != ALL for check in checks)
    text = f"the mean Dice {checks[0].where} goes {_change(row)}"
    if row.low is None or row.high is None:
        return f"{text}, and neither lung falls by more than {rules.tag_dice_margin:g}"
    text += (
        f": a loss of more than {rules.dice_margin:g} is excluded, as is one of more than {rules.tag_dice_margin:g} in "
        "either lung"
    )
    return text + (f" and in {tags} tag{'' if tags == 1 else 's'} with enough cases" if tags else "")


def _first_objection(row: Row, rules: GateRules) -> str | None:
    if row.candidate is not None and row.candidate >= rules.first_dice:
        return None
    return (
        f"no model is served yet, and the mean Dice of the first one is {row.candidate or 0.0:.3f} over "
        f"{_cases(row.cases)}, below the {rules.first_dice:g} that is asked for"
    )


def _first_praise(row: Row) -> str:
    return f"no model was served yet, and the first one has a mean Dice of {row.candidate:.3f} over {_cases(row.cases)}"


def _remarks(row: Row, changes: Sequence[CaseChange], rules: GateRules) -> Iterator[str]:
    """What else has to be known: few cases, unreadable ones, a case that got much worse, lungs that are missed."""
    if row.difference is not None and row.cases < FEWEST_PAIRS:
        too_few = f"{_cases(row.cases)} {'is' if row.cases == 1 else 'are'} too few"
        yield f"{too_few} for an interval, so that the means alone decide"
    failed = [change.case_id for change in changes if change.failure is not None]
    if failed:
        yield f"{len(failed)} of {_cases(len(changes))} could not be judged: {_listed(failed)}"
    judged = [change for change in changes if change.failure is None]
    worst = next((change for change in judged if change.difference is not None), None)
    if worst is not None and worst.difference is not None and worst.difference < -rules.tag_dice_margin:
        yield f"the worst is case {worst.case_id}, from {worst.champion:.3f} to {worst.candidate:.3f}"
    missed = [change.case_id for change in judged if change.missed]
    if missed:
        yield f"a lung is missed altogether in {len(missed)} of {_cases(len(judged))}: {_listed(missed)}"


def _listed(names: Sequence[object]) -> str:
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return ", ".join(str(name) for name in names[:MOST_NAMED]) + more if names else "none"


def _cases(count: int) -> str:
    return f"{count} locked case{'' if count == 1 else 's'}"
