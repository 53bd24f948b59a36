"""What stands below the tables: which cases are in them, and which are not."""

from __future__ import annotations

from lungapp.evaluation.records import Outcome
from lungapp.evaluation.selection import ALL, Selection

STD = "STD is the sample's standard deviation."
COUNTS = "(19/20): 19 of 20 cases have a value; the others "
NO_MASK = "have no mask or failed."
NO_DISTANCE = "have no mask, failed, or miss a structure, which makes its distances infinite."
BEST_OF = "Best can only be a model that has a value for every case that another has."


def about_selection(chosen: Selection) -> tuple[str, ...]:
    """Which cases "All" and "All(L)" have, and how many have no reference."""
    every = chosen.cases_in(*chosen.groups)
    if chosen.left_out:
        rest = every - chosen.cases_in(*chosen.left_out)
        sentence = f"{ALL}(L) has every case (N={every}), {ALL} leaves out {', '.join(chosen.left_out)} (N={rest})."
    elif chosen.has_only_left_out:
        sentence = f"{ALL} has every case (N={every}): there are none besides {', '.join(chosen.groups)}."
    else:
        sentence = f"{ALL} has every case (N={every})."
    if not chosen.unjudged:
        return (sentence,)
    return sentence, f"Without a reference and in no column: {cases_text(chosen.unjudged)}."


def about_empty(chosen: Selection) -> tuple[str, ...]:
    """How many cases have nothing to be found; a model that finds nothing has no value for them."""
    empty = {
        (item.group, item.case)
        for results in chosen.results
        for item in results
        if item.outcome is Outcome.SCORED and not any(score.reference_ml for score in item.structures)
    }
    if not empty:
        return ()
    return (
        f"Without any structure in the reference: {cases_text(len(empty))}, which count for a model that finds one.",
    )


def cases_text(count: int) -> str:
    """How many cases, in words.

    >>> cases_text(1), cases_text(12)
    ('1 case', '12 cases')
    """
    return f"{count} case" if count == 1 else f"{count} cases"
