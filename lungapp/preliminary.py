"""Preliminary masks: a model's mask of a case, stored once and handed out from then on."""

from __future__ import annotations

import threading
from collections import defaultdict

from datastore.image_files import read_ct
from datastore.records import Case, Kind, Label, NewLabel
from datastore.registry import Registry
from infers.models import Model
from infers.segment import segment

MODEL_AUTHOR = "lungapp"


class PreliminaryMasks:
    """Preliminary masks of one project; two who ask for the same one at once wait for one computation."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    def get(self, case: Case, model: Model) -> Label:
        """The model's mask of a case: the stored one, else a new one that is stored.

        Raises:
            ValueError: If the image cannot be read.
            FileNotFoundError: If it is gone.
        """
        stored = self._stored(case, model)
        if stored is not None:
            return stored
        with self._locks[case.id]:
            stored = self._stored(case, model)
            if stored is not None:
                return stored
            mask = segment(read_ct(case.source.path, case.source.series_uid), model)
            new = NewLabel(Kind.PRELIMINARY, author=MODEL_AUTHOR, tool="lungapp", model=model.version)
            return self._registry.add_label(case.id, mask, new)

    def has(self, case: Case, model: Model) -> bool:
        """Whether the model's mask of a case is stored."""
        return self._stored(case, model) is not None

    def _stored(self, case: Case, model: Model) -> Label | None:
        return self._registry.latest_label(case.id, Kind.PRELIMINARY, model.version)
