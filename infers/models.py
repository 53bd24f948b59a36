"""Models by name or file: the weight-free `threshold`, or a U-net with its weights."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from infers.postprocess import postprocess
from infers.preprocess import preprocess, restore
from infers.threshold import threshold_lungs
from infers.weights import Weights, load_weights

THRESHOLD = "threshold"
THRESHOLD_VERSION = "threshold-1"
BATCH_SLICES = 8


class Model(Protocol):
    """Something that finds lungs in Hounsfield units along LPS.

    Attributes:
        version: Names it exactly: two models of one version give the same mask.
        description: One sentence for people.
    """

    @property
    def version(self) -> str: ...  # noqa: D102

    @property
    def description(self) -> str: ...  # noqa: D102

    def predict(self, hu: np.ndarray, spacing_mm: tuple[float, float, float]) -> np.ndarray:
        """Right lung 1, left lung 2.

        Args:
            hu: (z, y, x) int16 Hounsfield units along LPS.
            spacing_mm: Of (z, y, x).

        Returns:
            (z, y, x) uint8.
        """
        ...


@dataclass(frozen=True)
class ThresholdModel:
    """The weight-free segmenter: threshold, airway removed, right and left parted."""

    version: str = THRESHOLD_VERSION
    description: str = "Lungs by threshold and morphology; needs no weights, misses dense disease"

    def predict(self, hu: np.ndarray, spacing_mm: tuple[float, float, float]) -> np.ndarray:
        """See `Model.predict`."""
        return threshold_lungs(hu, spacing_mm)


@dataclass(frozen=True, eq=False)
class NetworkModel:
    """A U-net, run slice by slice."""

    weights: Weights
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    description: str = "Lungs by U-net, slice by slice"

    def __post_init__(self) -> None:
        self.weights.network.to(self.device)

    @property
    def version(self) -> str:
        """`unet-` and the beginning of the weights' SHA-256."""
        return f"unet-{self.weights.sha256[:12]}"

    def predict(self, hu: np.ndarray, spacing_mm: tuple[float, float, float]) -> np.ndarray:
        """See `Model.predict`."""
        mask = np.empty(hu.shape, dtype=np.uint8)
        for start in range(0, len(hu), BATCH_SLICES):
            batch = hu[start : start + BATCH_SLICES]
            network_input = preprocess(batch, self.weights.preprocessing)
            with torch.inference_mode():
                images = torch.from_numpy(network_input.images[:, np.newaxis]).to(self.device)
                labels = self.weights.network(images).argmax(dim=1).to(torch.uint8).cpu().numpy()
            y, x = batch.shape[1:]
            mask[start : start + len(batch)] = restore(labels, network_input.boxes, (y, x))
        return postprocess(mask, float(np.prod(spacing_mm)) / 1000.0)


def load_model(name: str | Path = THRESHOLD, device: str = "auto") -> Model:
    """The model of that name, or the one in that file.

    Args:
        name: `threshold`, or the path of weights (.safetensors, or lungmask's .pth).
        device: `auto` (a GPU where there is one), `cpu`, `cuda` or `cuda:1`.

    Raises:
        FileNotFoundError: If there are no such weights.
        ValueError: If the file holds no lung model, or the device is not there.
    """
    if str(name) == THRESHOLD:
        return ThresholdModel()
    if not Path(name).suffix and not Path(name).exists():
        raise ValueError(f"no model {str(name)!r}: expected `{THRESHOLD}`, or a file of weights (.safetensors, .pth)")
    weights = load_weights(Path(name))
    if weights.network.classes != 3:
        raise ValueError(
            f"{name}: expected 3 classes (background, right lung, left lung), got {weights.network.classes}"
        )
    return NetworkModel(weights, device_named(device))


def device_named(name: str) -> torch.device:
    """The torch device of that name; `auto` is a GPU where there is one.

    Raises:
        ValueError: If there is no such device on this machine.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"no device {name!r} on this machine: {str(error).splitlines()[0]}") from error
    return device
