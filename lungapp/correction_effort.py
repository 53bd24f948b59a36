"""What corrections cost, from a project's registry: per case, annotator and version of the model."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from datastore.atomic import sha256_of
from datastore.image_files import read_mask
from datastore.records import Kind, Label
from datastore.registry import EVERY_CASE, Registry
from datastore.registry.standing import LUNGS
from datastore.volume import Volume
from datastore.wording import without_path
from infers.effort import CorrectionEffort, correction_effort
from lungapp.listing import maker_of

NOT_DRAWN = ("import ", "restored ")  # tools of the program itself: what they stored nobody drew here
NOTHING = "(nothing)"  # in place of a model, where the work began without a mask


class Grouping(StrEnum):
    """What corrections are put together by."""

    CASE = "case"
    ANNOTATOR = "annotator"
    MODEL = "model"


@dataclass(frozen=True)
class Correction:
    """The last mask that an annotator finished of a case, and the model's mask that the work began with.

    Attributes:
        after: The finished version.
        before: The preliminary version, or None if the work began with nothing.
        seconds: That the annotator worked on it, over all versions that they handed in on the way; None if one of them
            does not say.
        is_shared: Whether another annotator's version lies between the two: then it is the effort of both.
    """

    after: Label
    before: Label | None
    seconds: float | None
    is_shared: bool

    def name(self, by: Grouping) -> str:
        """What it is put together by."""
        if by is Grouping.CASE:
            return self.after.case_id
        if by is Grouping.ANNOTATOR:
            return maker_of(self.after)
        return NOTHING if self.before is None else maker_of(self.before)


@dataclass(frozen=True)
class MeasuredCorrection:
    """A correction and its effort, or why that is not known.

    Attributes:
        correction: Which one.
        effort: None if a file is missing or damaged.
        problem: Why there is no effort; None if there is.
    """

    correction: Correction
    effort: CorrectionEffort | None
    problem: str | None = None


def began_with(label: Label, versions: Iterable[Label]) -> tuple[Label | None, list[Label]]:
    """The preliminary version at the beginning of a version's chain of parents, and what lies between the two.

    Args:
        label: Where the chain ends.
        versions: Of its case.

    Returns:
        The preliminary version, or None if there is none; and the versions from `label` back to it.
    """
    by_id = {version.id: version for version in versions}
    chain: list[Label] = []
    version: Label | None = label
    while version is not None and version.made_as is not Kind.PRELIMINARY:
        chain.append(version)
        version = by_id.get(version.parent or "")
    return version, chain


def corrections_of(versions: Sequence[Label]) -> list[Correction]:
    """The last version that each annotator finished of a case, whatever became of it; in their order.

    Args:
        versions: Every version of the case, the oldest first.
    """
    lungs = [version for version in versions if version.target == LUNGS]
    last: dict[tuple[str, str | None], Label] = {}
    for version in lungs:
        if version.made_as in (Kind.SUBMITTED, Kind.ACCEPTED) and not version.tool.startswith(NOT_DRAWN):
            last[version.author, version.client_id] = version
    found = []
    for hand, after in last.items():
        before, chain = began_with(after, lungs)
        own = [item for item in chain if (item.author, item.client_id) == hand and item.made_as is not Kind.DRAFT]
        known = [item.seconds for item in own if item.seconds is not None]
        seconds = sum(known) if len(known) == len(own) else None
        found.append(Correction(after, before, seconds, any((item.author, item.client_id) != hand for item in chain)))
    return sorted(found, key=lambda item: item.after.number)


def measured_corrections(registry: Registry, step: Callable[[], None] = lambda: None) -> Generator[MeasuredCorrection]:
    """Every correction of a project with its effort, case by case; two masks are in memory at a time.

    Args:
        registry: Of the project.
        step: Called once for each case.
    """
    for case in registry.each_case(EVERY_CASE):
        if case.label_count:
            for correction in corrections_of(registry.labels(case.id)):
                yield _measured(correction)
        step()


def _measured(correction: Correction) -> MeasuredCorrection:
    try:
        before = None if correction.before is None else read_version(correction.before)
        effort = correction_effort(before, read_version(correction.after), correction.seconds)
    except (ValueError, OSError) as error:
        return MeasuredCorrection(correction, None, " ".join(str(error).split()))
    return MeasuredCorrection(correction, effort)


def read_version(label: Label) -> Volume:
    """A version's mask.

    Raises:
        ValueError: If its file is missing, damaged, or not the one that was stored; the message names the version.
    """
    if not label.path.exists():
        raise ValueError(f"mask {label.id}: its file is missing")
    if sha256_of(label.path) != label.sha256:
        raise ValueError(f"mask {label.id}: its file was changed since it was stored")
    try:
        return read_mask(label.path)
    except ValueError as error:
        raise ValueError(f"mask {label.id}: {without_path(error, label.path, 'its file')}") from error
