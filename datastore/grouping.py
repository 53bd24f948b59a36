"""DICOM files into series while they are still being found.

Files of a series may lie in many folders, and nothing says which is the last. A series is taken for complete when
no file of it has turned up for long, so that a search through millions of files holds few of them and gives its
first results early.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from datastore.headers import read_header
from datastore.series import Rejected, Series, assemble, exclusion_of
from datastore.slices import Flaw, NotCTError, Slice, SliceError, facts_of, slices_of
from datastore.wording import first_line

MOST_BUFFERED = 1_000_000  # files; about 650 bytes each
PATIENCE = 4  # how much longer a search waits once a series turned up again after it was taken for complete


@dataclass(frozen=True)
class Limits:
    """When a series counts as complete before the search has ended.

    Attributes:
        buffered: Slices that are held before any is let go.
        quiet: How many slices of others have come since its last one.
    """

    buffered: int = 20_000
    quiet: int = 10_000


@dataclass
class _Group:
    """The files of one series so far, and a torn file that can only be a slice of it."""

    items: list[Slice | Flaw] = field(default_factory=list)
    touched: int = 0
    torn: Rejected | None = None


class SeriesGroups:
    """Puts files that are offered one by one into series.

    Args:
        patient_of: Makes the key of a patient from a PatientID, which is not kept.
        limits: When a series counts as complete.
    """

    def __init__(self, patient_of: Callable[[str], str], limits: Limits) -> None:
        self._patient_of = patient_of
        self._limits = limits
        self._groups: dict[str, _Group] = {}  # the one that has been quiet for longest first
        self._given: set[str] = set()
        self._count = 0
        self._buffered = 0
        self._in_folder: set[str] = set()
        self._torn: Rejected | None = None

    def offer(self, folder: str, name: str) -> Rejected | None:
        """Read a file's header and put it to its series; why not, if that cannot be."""
        path = f"{folder}/{name}"
        try:
            header = read_header(path)
            if header is not None:
                facts = facts_of(header, self._patient_of)
                self._add(facts.uid, slices_of(header, facts, folder, name))
                return None
            if not name.lower().endswith(".dcm"):
                return None
            is_empty = Path(path).stat().st_size == 0
            reason = "empty file (0 bytes)" if is_empty else "not a DICOM file (no DICM signature)"
        except (OSError, ValueError) as error:
            if not Path(path).is_file() and not name.lower().endswith(".dcm"):
                return None  # a pipe, a socket, a link to nowhere
            reason = f"cannot be read: {error.strerror}" if isinstance(error, OSError) else first_line(error)
        rejected = Rejected(Path(path), reason, damaged=True)
        self._torn = self._torn or rejected
        return rejected

    def end_folder(self) -> None:
        """Say that the files offered since the last call were those of one folder.

        A torn file beside a single series can only be a slice of that.
        """
        if self._torn is not None and len(self._in_folder) == 1:
            group = self._groups.get(next(iter(self._in_folder)))
            if group is not None:
                group.torn = self._torn
        self._torn = None
        self._in_folder.clear()

    def complete(self) -> Iterator[Series | Rejected]:
        """The series that have been quiet for long; they are forgotten."""
        while self._buffered > self._limits.buffered:
            uid, group = next(iter(self._groups.items()))
            if self._count - group.touched <= self._limits.quiet:
                return
            self._given.add(uid)
            yield self._take(uid)

    def rest(self) -> Iterator[Series | Rejected]:
        """All other series, once the search has ended."""
        for uid in list(self._groups):
            yield self._take(uid)

    def _add(self, uid: str, items: Sequence[Slice | Flaw]) -> None:
        self._in_folder.add(uid)
        group = self._groups.pop(uid, None)
        if group is None:
            group = _Group()
            if uid in self._given:
                self._given.discard(uid)
                self._wait_longer()
        self._groups[uid] = group  # as the last
        group.items += items
        self._count += len(items)
        self._buffered += len(items)
        group.touched = self._count

    def _wait_longer(self) -> None:
        """Files lie in no order, as in the storage of some archives: what looked complete was not."""
        buffered = min(self._limits.buffered * PATIENCE, MOST_BUFFERED)
        self._limits = Limits(buffered, min(self._limits.quiet * PATIENCE, MOST_BUFFERED))

    def _take(self, uid: str) -> Series | Rejected:
        group = self._groups.pop(uid)
        self._buffered -= len(group.items)
        return series_or_reason(group.items, group.torn)


def series_or_reason(items: list[Slice | Flaw], torn: Rejected | None = None) -> Series | Rejected:
    """The volume that the files of a series make, or why they make none.

    Args:
        items: What its files say; at least one.
        torn: A file that can only be a slice of it, but cannot be read.
    """
    try:
        try:
            series = assemble(items)
        except NotCTError:
            raise
        except SliceError:
            if torn is None:
                raise
        if torn is not None:
            raise SliceError(f"one of its files is damaged: {torn.reason}", torn.path)
        return series
    except SliceError as error:
        exclusion = exclusion_of(items, error.reason)
        path = error.path or exclusion.source.path
        return Rejected(path, error.reason, not isinstance(error, NotCTError), exclusion)
