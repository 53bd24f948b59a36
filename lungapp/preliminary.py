"""Preliminary masks: a model's mask of a case, stored once and handed out from then on."""

from __future__ import annotations

import threading
from collections import defaultdict

from datastore.records import Case, Kind, Label, NewLabel
from datastore.registry import Registry
from datastore.served_images import ServedImages
from infers.models import Model
from infers.segment import segment

MODEL_AUTHOR = "lungapp"


class PreliminaryMasks:
    """Preliminary masks of one project; two who ask for the same one at once wait for one computation."""

    def __init__(self, registry: Registry, images: ServedImages) -> None:
        self._registry = registry
        self._images = images
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    def get(self, case: Case, model: Model) -> Label:
        """The model's mask of a case: the stored one, else a new one that is stored.

        Raises:
            CaseImageError: If the image cannot be had.
        """
        stored = self._stored(case, model)
        if stored is not None:
            return stored
        with self._locks[case.id]:
            stored = self._stored(case, model)
            if stored is not None:
                return stored
            mask = segment(self._images.read(case), model)
            new = NewLabel(Kind.PRELIMINARY, author=MODEL_AUTHOR, tool="lungapp", model=model.version)
            return self._registry.add_label(case.id, mask, new)

    def has(self, case: Case, model: Model) -> bool:
        """Whether the model's mask of a case is stored."""
        return self._stored(case, model) is not None

    def _stored(self, case: Case, model: Model) -> Label | None:
        label = self._registry.latest_label(case.id, Kind.PRELIMINARY, model=model.version)
        return label if label is not None and label.path.exists() else None  # a lost one can be made again
