"""The model card of a round: data by cohort and tag, how it was judged, how to repeat it, lineage."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from datastore.wording import printable
from infers.comparison import FEWEST_PAIRS
from infers.manifest import MANIFEST, WEIGHTS
from infers.metrics import METRICS
from infers.published import CITATION
from infers.stored_model import METRICS_FILE
from infers.weights_metadata import Border
from trainers.decision import Decision
from trainers.judging_table import Row
from trainers.round_facts import RoundFacts, UsedLabel

WORST_SHOWN = 10  # cases
DECIMALS = {"": 3, "mm": 2}
BORDERS = {Border.NETWORK: "by the network alone", Border.AIR: "by the network and the air, as for `bootstrap`"}
BY_KEY = {metric.key: metric for metric in METRICS}


def round_card(facts: RoundFacts, decision: Decision) -> str:
    """Markdown; the same facts give the same card.

    Args:
        facts: Of the round.
        decision: Of the gate.
    """
    began = f", begun {facts.started_at:%Y-%m-%d %H:%M} UTC" if facts.started_at else ""
    how = facts.preprocessing
    lines = [
        f"# {_cell(facts.name)}",
        "",
        f"`{WEIGHTS}` segments the lungs in chest CT, slice by slice. Trained in round {facts.number} of its project "
        f"({_cell(facts.trigger)}{began}). Not a medical device.",
        "",
        f"**{_cell(decision.reason)}**",
        "",
        "| | |",
        "|---|---|",
        f"| began with | {_cell(facts.parent or 'random weights')} |",
        f"| judged against | {_cell(facts.champion or 'none: no model was served')} |",
        f"| input | body crop, {how.size} x {how.size} pixels, {how.hu_low} to {how.hu_high} HU as 0 to 1 |",
        f"| classes | 0 background, {', '.join(f'{item.value} {item.name}' for item in facts.structures)} |",
        f"| border beside air | {BORDERS[facts.border]} |",
        f"| seed | {facts.seed} |",
        f"| SHA-256 | `{facts.sha256}` |",
        "",
        "## Data",
        "",
        f"Trained on {_masks(facts.trained_on)}, judged on {_masks(facts.judged_on)} of other patients, which never "
        "train."
        + (
            f" Watched on {_masks(facts.watched_on)}, of patients who did not train this time."
            if facts.watched_on
            else ""
        )
        + (f" Of {_masks(facts.negatives_of)} only slices without lung trained." if facts.negatives_of else "")
        + " A case can have several tags.",
        *_left_out(facts),
        "",
        *_counts(facts),
        "",
        "## Judging",
        "",
        *_judging(decision),
        "## How to repeat it",
        "",
        "The settings of the training:",
        "",
        *_block(json.dumps(facts.config, indent=2, default=str)),
        "",
        f"Versions: {_cell(', '.join(f'{name} {version}' for name, version in sorted(facts.versions.items())))}"
        + (f"; commit `{_cell(facts.commit)}`" if facts.commit else "")
        + ".",
        "",
        f"`{MANIFEST}` and `{METRICS_FILE}` hold the same for programs.",
        "",
        "## Lineage",
        "",
        "Label versions of the project's registry.",
        "",
        *(line for name, used in _kinds(facts) for line in (f"For {name}:", "", *_block(_labels(used)), "")),
        "## Citation",
        "",
        f"The method is that of {CITATION}",
    ]
    return "\n".join(lines) + "\n"


def _counts(facts: RoundFacts) -> Iterator[str]:
    """How many cases of each cohort and of each tag."""
    kinds = list(_kinds(facts))
    yield f"| | {' | '.join(name for name, _ in kinds)} |"
    yield f"|{'---|' * (len(kinds) + 1)}"
    for what, of in (("cohort", lambda used: (used.cohort or "(none)",)), ("tag", lambda used: used.tags)):
        counts = [Counter(name for used in kind for name in of(used)) for _, kind in kinds]
        for name in sorted(set().union(*counts)):
            yield f"| {what} {_cell(name)} | {' | '.join(str(count[name]) for count in counts)} |"
    yield f"| all | {' | '.join(str(len(used)) for _, used in kinds)} |"


def _left_out(facts: RoundFacts) -> Iterator[str]:
    if facts.left_out:
        yield ""
        yield f"Left out: {'; '.join(f'{label_id} ({_cell(why)})' for label_id, why in facts.left_out.items())}."


def _kinds(facts: RoundFacts) -> Iterator[tuple[str, Sequence[UsedLabel]]]:
    """What masks were used for; training and judging always."""
    yield "training", facts.trained_on
    if facts.watched_on:
        yield "watching", facts.watched_on
    if facts.negatives_of:
        yield "slices without lung", facts.negatives_of
    yield "judging", facts.judged_on


def _judging(decision: Decision) -> Iterator[str]:
    if not decision.table:
        yield "Not judged."
        yield ""
        return
    rules = decision.rules
    yield (
        "Whole volumes; the mean of a case's lungs, a missed lung having Dice 0. In brackets the 95 % "
        f"paired bootstrap interval of the difference, from {FEWEST_PAIRS} cases on. Not worse means: a fall of the "
        f"mean Dice by more than {rules.dice_margin:g} is excluded, by more than {rules.tag_dice_margin:g} in each "
        f"lung and each tag with at least {rules.tag_cases} cases, and HD95 is not shown to be larger by more than "
        f"{rules.hd95_margin_mm:g} mm."
    )
    yield ""
    yield "| cases | | metric | champion | candidate | difference |"
    yield "|---|---|---|---|---|---|"
    for row in decision.table:
        yield _row(row)
    yield ""
    yield f"The {min(WORST_SHOWN, len(decision.changes))} worst of {len(decision.changes)} locked cases, by Dice:"
    yield ""
    yield "| case | tags | champion | candidate | |"
    yield "|---|---|---|---|---|"
    for change in decision.changes[:WORST_SHOWN]:
        remark = change.failure or (f"misses {', '.join(change.missed)}" if change.missed else "")
        dices = f"{_number(change.champion)} | {_number(change.candidate)}"
        yield f"| {change.case_id} | {_cell(', '.join(change.tags))} | {dices} | {_cell(remark)} |"
    yield ""


def _row(row: Row) -> str:
    metric = BY_KEY[row.metric]
    decimals = DECIMALS[metric.unit]
    change = "" if row.difference is None else f"{row.difference:+.{decimals + 1}f}"
    if row.low is not None and row.high is not None:
        change += f" ({row.low:+.{decimals + 1}f} to {row.high:+.{decimals + 1}f})"
    left_out = f", {row.left_out} left out" if row.left_out else ""
    cells = (
        f"{_cell(row.tag) or 'all'} ({row.cases}{left_out})",
        row.lung.replace("_", " ") or "both lungs",
        f"{metric.title}{f', {metric.unit}' if metric.unit else ''}",
        _number(row.champion, decimals),
        _number(row.candidate, decimals),
        change,
    )
    return f"| {' | '.join(cells)} |"


def _labels(used: Iterable[UsedLabel]) -> str:
    return (
        "\n".join(f"{item.case_id}  {item.label_id}" for item in sorted(used, key=lambda item: item.case_id)) or "none"
    )


def _masks(used: Sequence[UsedLabel]) -> str:
    cases = len({item.case_id for item in used})
    return f"the corrected masks of {cases} case{'' if cases == 1 else 's'}"


def _number(value: float | None, decimals: int = 3) -> str:
    return "" if value is None else f"{value:.{decimals}f}"


def _block(text: str) -> Iterator[str]:
    """Indented, so that nothing in it is read as Markdown."""
    for line in text.splitlines():
        yield f"    {line}"


def _cell(text: str) -> str:
    """A text that somebody else chose, as it may stand in a table."""
    return printable(text).replace("|", "\\|").replace("`", "'")
