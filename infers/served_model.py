"""The network that a project serves: `models/current` names a version, whose weights lie beside it."""

from __future__ import annotations

import threading
from pathlib import Path

from infers.manifest import WEIGHTS
from infers.model_store import ModelStore
from infers.models import Model, load_lung_model


class ServedModel:
    """Loads the published network when it is first asked for, and again when another one is published.

    Args:
        folder: A project's `models`.
        device: See `load_model`.
    """

    def __init__(self, folder: Path, device: str = "auto") -> None:
        self._folder = folder
        self._device = device
        self._lock = threading.Lock()
        self._loaded: tuple[tuple[Path, int], Model] | None = None

    def weights(self) -> Path | None:
        """The published weights, or None while there are none."""
        name = ModelStore(self._folder).served()
        return self._folder / name / WEIGHTS if name is not None else None

    def __call__(self) -> Model | None:
        """The published network, or None while there is none."""
        path = self.weights()
        if path is None:
            return None
        state = path, path.stat().st_mtime_ns
        with self._lock:
            if self._loaded is None or self._loaded[0] != state:
                self._loaded = state, load_lung_model(path, self._device)
            return self._loaded[1]
