"""MONAI Label's `InferTask` over our models."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from monailabel.interfaces.tasks.infer_v2 import InferTask, InferType

from datastore.image_files import WRITERS
from datastore.labels import LUNGS
from infers.models import Model

DEFAULT_EXTENSION = ".nrrd"


class LungInfer(InferTask):
    """One model as MONAI Label lists it.

    Running it is the app's business (`LungApp.infer`), which knows cases and their stored masks.

    Args:
        load: Gives the model, or None while it has no weights; then the task is not listed.
        available: Whether `load` would give one, without loading it.
        description: One sentence for people.
    """

    def __init__(self, load: Callable[[], Model | None], available: Callable[[], bool], description: str) -> None:
        labels = {structure.name: structure.value for structure in LUNGS}
        super().__init__(InferType.SEGMENTATION, labels, dimension=3, description=description)
        self._load = load
        self._available = available

    def is_valid(self) -> bool:
        """Whether the model has what it needs: MONAI Label serves random masks from one that has not."""
        return self._available()

    def model(self) -> Model:
        """The model.

        Raises:
            ValueError: If it has no weights.
        """
        model = self._load()
        if model is None:
            raise ValueError("the model has no weights yet")
        return model

    def __call__(self, request: dict[str, Any]) -> tuple[str | None, dict[str, Any]]:
        """What the client is told along with the mask; the mask itself comes from `LungApp.infer`."""
        return None, {"label_names": dict(self.labels), "model": self.model().version}


def result_extension(request: dict[str, Any]) -> str:
    """The file format that a client asks for.

    Raises:
        ValueError: If it is none that masks are written in.
    """
    extension = str(request.get("result_extension") or DEFAULT_EXTENSION).lower()
    if extension not in WRITERS:
        raise ValueError(f"result_extension {extension[:40]!r}: expected one of {' '.join(WRITERS)}")
    return extension
