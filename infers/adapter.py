"""MONAI Label's `InferTask` over our models."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import fastremap
from monailabel.interfaces.tasks.infer_v2 import InferTask, InferType

from datastore.image_files import WRITERS
from datastore.labels import LUNGS
from datastore.volume import Volume
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
        """Not the way in: `LungApp.infer` runs the models.

        Raises:
            ValueError: Always.
        """
        raise ValueError("run models through the app's infer, which knows cases and stored masks")


def result_params(mask: Volume, model: Model) -> dict[str, Any]:
    """What a client is told along with a mask.

    3D Slicer names the values that it finds in a mask in the order of these names, so a lung that is not there
    must not be among them: a left lung alone would be shown, and come back, as the right one.
    """
    present = set(fastremap.unique(mask.array).tolist())
    names = {structure.name: structure.value for structure in LUNGS if structure.value in present}
    return {"label_names": names, "model": model.version}


def result_extension(request: dict[str, Any]) -> str:
    """The file format that a client asks for.

    Raises:
        ValueError: If it is none that masks are written in.
    """
    extension = str(request.get("result_extension") or DEFAULT_EXTENSION).lower()
    if extension not in WRITERS:
        raise ValueError(f"result_extension {extension[:40]!r}: expected one of {' '.join(WRITERS)}")
    return extension
