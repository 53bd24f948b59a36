"""A project's accepted masks as references of an evaluation, with its images, tumours and groups."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from datastore.found import Found
from datastore.records import Case, Kind, Source, Split
from datastore.registry import Registry
from datastore.served_images import CaseImageError
from lungapp.evaluation.cases import Roster
from lungapp.evaluation.groups import NO_GROUPS
from lungapp.project import Project

TUMOUR = "tumour"
COHORT, TAG, PHENOTYPE, STRATEGY, SPLIT = GROUPINGS = ("cohort", "tag", "phenotype", "strategy", "split")
AND = " + "  # between the tags of a case that has several: it is in one column and counts once


class ProjectInputs:
    """Where the files of an evaluation come from, in a project.

    Args:
        project: The project.
        registry: Its registry, open.
    """

    def __init__(self, project: Project, registry: Registry) -> None:
        self._project = project
        self._registry = registry
        self.stores: Sequence[Path] = (project.models,)

    def roster(self) -> Roster:
        """A case for each that has an accepted mask of the lungs; it is called by its id.

        Raises:
            ValueError: If no mask is accepted yet.
        """
        accepted = {label.case_id: label for split in Split for label in self._registry.accepted(split)}
        if not accepted:
            raise ValueError(
                f"{self._project.folder}: no mask of this project is accepted yet: nothing to compare with"
            )
        roster = Roster(
            makers={case: case for case in accepted},
            references={case: label.path for case, label in accepted.items()},
            checksums={case: label.sha256 for case, label in accepted.items()},
        )
        for case in accepted:
            for label in self._registry.labels(case):
                if label.target == TUMOUR and label.kind is Kind.ACCEPTED:
                    roster.tumours[case] = label.path
        return roster

    def fetch_images(self, roster: Roster, step: Callable[..., None]) -> dict[str, str]:
        """Give the cases their images as files; those of a PACS are fetched.

        Args:
            roster: Gets them.
            step: Called after each.

        Returns:
            Why there is none, by case.
        """
        images = self._project.images()
        failed: dict[str, str] = {}
        for case in roster.references:
            try:
                roster.images[case] = Found(Source(images.path(self._registry.case(case))))
            except CaseImageError as error:
                failed[case] = str(error)
            step(total=len(roster.references))
        return failed

    def groups(self, roster: Roster, how: str | None) -> dict[str, str]:
        """Group by case: what the project says of it; by cohort where nothing is asked for.

        A case with several tags is in a group of its own, such as `fibrosis + trauma`; `tag:fibrosis,mass` looks at
        these tags alone.

        Raises:
            ValueError: If it cannot group so.
        """
        word, colon, rest = (how or COHORT).partition(":")
        tags = {tag.strip() for tag in rest.split(",") if tag.strip()}
        if word == NO_GROUPS:
            return {}
        if word not in GROUPINGS or (colon and not (word == TAG and tags)):
            known = ", ".join((*GROUPINGS, f"{TAG}:A,B", NO_GROUPS))
            raise ValueError(
                f"cannot group the cases of a project by {how!r}: expected {known}, or a column of --cases"
            )
        drawn: dict[str, set[str]] = {}
        for draw in self._registry.draws() if word == STRATEGY else ():
            drawn.setdefault(draw.case_id, set()).add(draw.strategy)

        def group(case: Case) -> str:
            if word == TAG:
                return AND.join(sorted(tag for tag in case.tags if not tags or tag in tags))
            if word == STRATEGY:
                return AND.join(sorted(drawn.get(case.id, ())))
            return str(getattr(case, word) or "")

        return {case: group(self._registry.case(case)) for case in roster.references}
