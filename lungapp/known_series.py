"""What is registered and needs no second look: an ingest that is repeated opens only what is new."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from datastore.records import Source
from datastore.registry import Registry
from datastore.selection import SelectionRules

RULES = "selection"
JUDGED_BEFORE = "selection.judged_before"


class KnownSeries:
    """The series that an ingest need not look at again.

    A case that was judged by other rules is looked at again by the next ingest that comes by, whichever that is.

    Attributes:
        series: They.
        by_uid: Where every registered DICOM series lies, also those that are looked at again.

    Args:
        registry: Of the project.
        rules: That hold now.
        rescan: Whether every series is looked at again.
        wanted: Whether a case has to be looked at again for what this ingest is asked to do.
    """

    def __init__(
        self, registry: Registry, rules: SelectionRules, *, rescan: bool, wanted: Callable[[Source], bool]
    ) -> None:
        self._registry = registry
        self._rules = repr(rules)
        registered = registry.registered()
        self.by_uid = {item.source.series_uid: item.source for item in registered if item.source.series_uid}
        cases = [item.source for item in registered if item.is_case]
        self._judged_before = self._recall(cases)
        again = {source.key for source in cases if self._digest(source) in self._judged_before or wanted(source)}
        self.series = [] if rescan else [item for item in registered if item.source.key not in again]

    def remember(self, met: Collection[Source]) -> None:
        """Keep that these cases were judged by the rules of now, and which are left."""
        left = self._judged_before - {self._digest(source) for source in met}
        self._registry.remember(JUDGED_BEFORE, json.dumps(sorted(left)))
        self._registry.remember(RULES, self._rules)

    def _recall(self, cases: Collection[Source]) -> set[str]:
        """The cases that were judged by other rules."""
        if self._registry.recall(RULES) not in (None, self._rules):
            return {self._digest(source) for source in cases}
        return set(json.loads(self._registry.recall(JUDGED_BEFORE) or "[]"))

    def _digest(self, source: Source) -> str:
        """What stands for a case in the registry's facts, which name no place."""
        return self._registry.secret.source_key(source)


class KnownFiles:
    """Which files belong to series that are known and have not changed since.

    Attributes:
        met: Keys of the series whose files were asked for.
    """

    def __init__(self, known: KnownSeries) -> None:
        self.met: set[str] = set()
        self._registered = {
            str(path): (item.seen_at.timestamp(), item.source.key)
            for item in known.series
            for path in files_of(item.source)
        }

    def __call__(self, path: Path) -> bool:
        """Whether a file need not be opened."""
        known = self._registered.get(str(path))
        if known is None:
            return False
        at, key = known
        try:
            status = path.stat()
            is_unchanged = max(status.st_mtime, status.st_ctime) < at  # a copy may bring an old time with it
        except OSError:
            return False
        if is_unchanged:
            self.met.add(key)
        return is_unchanged


def files_of(source: Source) -> Iterator[Path]:
    """The files of a source, the source itself for a single file, and its copies."""
    if not source.files and not source.url:
        yield source.path
    yield from (source.path / name for name in (*source.files, *source.copies))
