"""Which cases of an evaluation a column is about: "All", "All(L)", and the groups."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from lungapp.evaluation.records import CaseResult, Evaluation, Outcome

ALL = "All"


@dataclass(frozen=True)
class Selection:
    """The cases that can be judged.

    A case without a reference says nothing about any model: it is in no column, and is counted in `unjudged`. Where
    only left-out groups are there, "All" has them: leaving out everything would leave nothing to say.

    Attributes:
        groups: Those with a case that can be judged, in the order of the evaluation.
        left_out: Those of them that "All" leaves out.
        has_only_left_out: Whether there are none besides those that "All" would leave out.
        results: Of each model in their order, without the cases that have no reference.
        unjudged: How many cases have no reference.
    """

    groups: tuple[str, ...]
    left_out: tuple[str, ...]
    has_only_left_out: bool
    results: tuple[tuple[CaseResult, ...], ...]
    unjudged: int

    def of_all(self) -> tuple[tuple[CaseResult, ...], ...]:
        """The results of each model in "All"."""
        return self.of_groups([group for group in self.groups if group not in self.left_out])

    def of_groups(self, groups: Collection[str]) -> tuple[tuple[CaseResult, ...], ...]:
        """The results of each model in some groups."""
        return tuple(tuple(result for result in results if result.group in groups) for results in self.results)

    def cases_in(self, *groups: str) -> int:
        """How many cases some groups have."""
        return len({(result.group, result.case) for some in self.of_groups(groups) for result in some})


def select(evaluation: Evaluation) -> Selection:
    """The cases of an evaluation that can be judged."""
    keys = {(result.group, result.case) for result in evaluation.results}
    without = {(item.group, item.case) for item in evaluation.results if item.outcome is Outcome.NO_REFERENCE}
    kept = [result for result in evaluation.results if (result.group, result.case) not in without]
    there = {group for group, _ in keys - without}
    groups = tuple(group for group in evaluation.groups if group in there)
    names = {name.lower() for name in evaluation.left_out}
    left_out = tuple(group for group in groups if group.lower() in names)
    has_only_left_out = bool(groups) and left_out == groups
    return Selection(
        groups=groups,
        left_out=() if has_only_left_out else left_out,
        has_only_left_out=has_only_left_out,
        results=tuple(tuple(item for item in kept if item.model == model) for model in evaluation.models),
        unjudged=len(without),
    )


def group_title(group: str) -> str:
    """What a group is called where its name alone would not do."""
    return group or "no group"
