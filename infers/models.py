"""Models by name or file: the weight-free `threshold`, or a U-net with its weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from datastore.labels import LUNG_NAMES, LUNGS, Structure
from infers.fused_model import FusedModel
from infers.joined_model import JoinedModel
from infers.model_names import JOINED, THRESHOLD
from infers.model_store import find_weights
from infers.network_model import NetworkModel
from infers.options import Options, Postprocessing
from infers.published import fused_named
from infers.threshold import threshold_lungs
from infers.weights import load_weights
from infers.weights_metadata import Border

THRESHOLD_VERSION = "threshold-1"


class Model(Protocol):
    """Something that finds lungs in Hounsfield units along LPS.

    Attributes:
        version: Names it exactly: two models of one version give the same mask.
        description: One sentence for people.
        structures: What the numbers in its masks mean.
        overlaps: Whether two scans at once are done sooner than one after the other: on a GPU, one is prepared on
            the CPU while the other is in the network.
    """

    @property
    def version(self) -> str: ...  # noqa: D102

    @property
    def description(self) -> str: ...  # noqa: D102

    @property
    def structures(self) -> Sequence[Structure]: ...  # noqa: D102

    @property
    def overlaps(self) -> bool: ...  # noqa: D102

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
    structures: Sequence[Structure] = LUNGS
    overlaps: bool = False

    def predict(self, hu: np.ndarray, spacing_mm: tuple[float, float, float]) -> np.ndarray:
        """See `Model.predict`."""
        return threshold_lungs(hu, spacing_mm)


def load_model(
    name: str | Path = JOINED,
    device: str = "auto",
    options: Options = Options(),
    *,
    fill: str | Path | None = None,
    stores: Sequence[Path] = (),
) -> Model:
    """The model of that name, or the one in that file.

    Args:
        name: `bootstrap`, the network that comes with lungapp, which learns its border from the air unless `options`
            ask for another postprocessing; `fast`, that network alone; `anatomy3`, the one that saw healthy lungs
            alone; `threshold`; the name of a stored model in any case; a fused pair (`LTRCLobes_R231`); or the path of
            weights (.safetensors, or lungmask's .pth). Weights may say that they are to be used as `bootstrap` is.
        device: `auto` (a GPU where there is one), `cpu`, `cuda` or `cuda:1`.
        options: How a network segments; the threshold has none.
        fill: A second network that says where lung is, for one that says which lobe (lungmask's fused mode).
        stores: Folders of models that are searched before the user's own.

    Raises:
        FileNotFoundError: If there are no such weights.
        ValueError: If no model is called so, the file holds no lung model, or the device is not there.
    """
    pair = fused_named(str(name))
    if pair is not None:
        name, fill = pair.base, fill or pair.fill
    if fill is not None:
        return FusedModel(*(_network(which, device, options, stores) for which in (name, fill)))
    if str(name).lower() == THRESHOLD:
        return ThresholdModel()
    network = _network(name, device, options, stores)
    learns_from_air = str(name).lower() == JOINED or network.weights.border is Border.AIR
    return JoinedModel(network) if learns_from_air and options.postprocess == Postprocessing.DEFAULT else network


def load_lung_model(name: str | Path, device: str = "auto", *, stores: Sequence[Path] = ()) -> Model:
    """A model for projects: one that finds right and left lung.

    Raises:
        FileNotFoundError: See `load_model`.
        ValueError: See `load_model`; also if it finds something else.
    """
    model = load_model(name, device, stores=stores)
    if tuple(model.structures) != LUNGS:
        found = ", ".join(structure.name for structure in model.structures)
        raise ValueError(f"{name}: expected a model of {', '.join(LUNG_NAMES)}, got one of {found}")
    return model


def _network(name: str | Path, device: str, options: Options, stores: Sequence[Path]) -> NetworkModel:
    if str(name).lower() == THRESHOLD:
        raise ValueError("two models can be fused if both are networks, `threshold` is none")
    return NetworkModel(load_weights(find_weights(name, stores)), device_named(device), options)


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
