"""The network that a project serves: `models/current` names a version, whose weights lie beside it."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from datastore.wording import first_line
from infers.manifest import WEIGHTS
from infers.model_store import CURRENT, ModelStore
from infers.models import Model, load_lung_model

AGAIN_AFTER_SECONDS = 30.0  # a model that cannot be loaded is not tried again for each request

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _File:
    """A file of weights as it is now; negative numbers if it is not there."""

    path: Path
    changed_ns: int = -1
    size: int = -1


@dataclass(frozen=True, eq=False)
class _Loaded:
    """A network and the file that it was loaded from."""

    file: _File
    model: Model


class ServedModel:
    """Loads the published network when it is first asked for, and again when another one is published.

    Whoever was given a network goes on with it: one that is published meanwhile is for the next request. If the new one
    cannot be loaded, the old one is served on, and `problem` and the log say so.

    Args:
        folder: A project's `models`.
        device: See `load_model`.

    Attributes:
        problem: Why the published network is not the one that is served, or None.
    """

    def __init__(self, folder: Path, device: str = "auto") -> None:
        self.problem: str | None = None
        self._store = ModelStore(folder)
        self._device = device
        self._lock = threading.Lock()
        self._loaded: _Loaded | None = None
        self._refused: _File | None = None
        self._again_at = 0.0  # of the monotonic clock; then what was refused is tried again

    def weights(self) -> Path | None:
        """The published weights, those that are served on in their place, or None while there are none."""
        name = self._store.served()
        if name is not None:
            return self._store.folder / name / WEIGHTS
        loaded = self._loaded
        return loaded.file.path if loaded is not None and self._is_named() else None

    def __call__(self) -> Model | None:
        """The published network, or None while there is none.

        Raises:
            ValueError: If it cannot be loaded, and no other was loaded before.
            OSError: Likewise.
        """
        with self._lock:  # two requests do not load it twice
            return self._current()

    def _current(self) -> Model | None:
        name, loaded = self._store.served(), self._loaded
        if name is None:
            if loaded is not None and self._is_named():
                return self._served_on(loaded, f"{self._store.folder / CURRENT} names no model")
            self._loaded = self.problem = None
            return None
        file = _as_it_is(self._store.folder / name / WEIGHTS)
        if loaded is not None and file == self._refused and time.monotonic() < self._again_at:
            return loaded.model
        if loaded is None or loaded.file != file:
            try:
                loaded = _Loaded(file, load_lung_model(file.path, self._device))
            except (ValueError, OSError, RuntimeError) as error:  # the last of a device whose memory is full
                if self._loaded is None:
                    raise
                self._refused, self._again_at = file, time.monotonic() + AGAIN_AFTER_SECONDS
                return self._served_on(self._loaded, f"{name} is published, but cannot be loaded: {first_line(error)}")
        self._loaded, self._refused, self.problem = loaded, None, None
        return loaded.model

    def _is_named(self) -> bool:
        """Whether anything is published, be it a model that is not there."""
        return (self._store.folder / CURRENT).exists()

    def _served_on(self, loaded: _Loaded, reason: str) -> Model:
        problem = f"{reason}; {loaded.file.path.parent.name} is served on"
        if problem != self.problem:
            logger.error(problem)
        self.problem = problem
        return loaded.model


def _as_it_is(path: Path) -> _File:
    try:
        stat = path.stat()
    except FileNotFoundError:
        return _File(path)
    return _File(path, stat.st_mtime_ns, stat.st_size)
