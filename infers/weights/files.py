"""Weights on disk: safetensors with what the model needs beside them, or a state dict of lungmask (.pth).

Nothing that could run code is ever loaded: safetensors cannot, and .pth files are opened with
`weights_only=True`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from datastore.atomic import sha256_of, write_bytes
from datastore.labels import LUNGS, Structure
from datastore.wording import printable
from infers.manifest import WEIGHTS, stated_sha256
from infers.preprocess import Preprocessing
from infers.published import published_as, published_with
from infers.state_dict import network_of, read_state_dict
from infers.unet import UNet
from infers.weights_metadata import (
    Border,
    Origin,
    WeightsMetadata,
    check_structures,
    label_text,
    metadata_from,
    program_version,
)

METADATA_KEY = "lungapp"


@dataclass(frozen=True, eq=False)
class Weights:
    """A network ready to run, and what it needs to be fed.

    Attributes:
        network: In evaluation mode, on the CPU, float32.
        preprocessing: How its input is made.
        sha256: Of the file.
        structures: What its classes 1, 2, ... mean.
        name: What the model is called: by its file, by its publishers, or else after its file.
        origin: The file that the weights were first imported from; None if this is it.
        border: How the network is meant to be used.
    """

    network: UNet
    preprocessing: Preprocessing
    sha256: str
    structures: tuple[Structure, ...] = LUNGS
    name: str = ""
    origin: Origin | None = None
    border: Border = Border.NETWORK

    @property
    def version(self) -> str:
        """Names the weights exactly; see `weights_version`."""
        return weights_version(self.sha256)


def weights_version(sha256: str) -> str:
    """`unet-` and the beginning of the SHA-256 of a file of weights."""
    return f"unet-{sha256[:12]}"


def load_weights(path: Path, structures: tuple[Structure, ...] | None = None) -> Weights:
    """The network in a file.

    Args:
        path: `.safetensors` of ours, or `.pth` with a state dict of lungmask's U-net.
        structures: What the classes mean, where the file itself does not say and is no published one. Three classes
            are the lungs unless something else is said.

    Raises:
        FileNotFoundError: If it is not there.
        ValueError: If it holds no U-net, nothing says what its classes mean, or a stored model was changed after it
            was stored; the message says what came instead.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such weights")
    try:
        state, metadata = _read(path)
        network = network_of(state)
        sha256 = sha256_of(path)
        stated = stated_sha256(path)
        if stated not in (None, sha256):
            raise ValueError(f"was changed after it was stored: expected SHA-256 {stated}, got {sha256}")
        label_map = metadata.structures or _label_map(path, sha256, network.classes, structures)
        check_structures(label_map, network.classes)
        if structures not in (None, label_map):
            raise ValueError(f"expected labels {label_text(structures or ())}, the file has {label_text(label_map)}")
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    name = metadata.name or _name(path, sha256)
    return Weights(network, metadata.preprocessing, sha256, label_map, name, metadata.origin, metadata.border)


def save_weights(
    network: UNet,
    path: Path,
    preprocessing: Preprocessing = Preprocessing(),
    *,
    structures: tuple[Structure, ...] = LUNGS,
    name: str = "",
    origin: Origin | None = None,
    border: Border = Border.NETWORK,
) -> None:
    """Write a network as safetensors, atomically; an existing file is left as it is.

    Args:
        network: On any device.
        path: With the suffix .safetensors.
        preprocessing: How its input is made.
        structures: What its classes 1, 2, ... mean.
        name: What the model is called.
        origin: The file that the weights were first imported from.
        border: How the network is meant to be used.

    Raises:
        FileExistsError: If the file is there already.
        ValueError: If the structures are not as many as the network's classes, or the file could not be loaded again.
    """
    check_structures(structures, network.classes)
    metadata = WeightsMetadata(preprocessing, structures, name, origin, program_version(), border)
    metadata_from(metadata.to_plain())
    state = {key: tensor.detach().cpu().contiguous() for key, tensor in network.state_dict().items()}
    write_bytes(path, save(state, {METADATA_KEY: json.dumps(metadata.to_plain())}))  # `save_file` makes it private


def _read(path: Path) -> tuple[dict[str, Tensor], WeightsMetadata]:
    if path.suffix.lower() != ".safetensors":
        return read_state_dict(path), WeightsMetadata()
    try:
        with safe_open(path, framework="pt") as file:
            plain = (file.metadata() or {}).get(METADATA_KEY)
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ValueError(f"cannot be read as safetensors: {printable(str(error))[:200]}") from error
    if plain is None:
        return state, WeightsMetadata()
    try:
        return state, metadata_from(json.loads(plain))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"damaged metadata: {error}") from error


def _label_map(
    path: Path, sha256: str, classes: int, structures: tuple[Structure, ...] | None
) -> tuple[Structure, ...]:
    """What the classes of a network mean whose file does not say it."""
    published = published_with(sha256)
    if published is not None:
        return published.structures
    if structures is not None:
        return structures
    namesake = published_as(path.name)
    if namesake is not None and namesake.classes == classes:
        return namesake.structures
    if classes == len(LUNGS) + 1:
        return LUNGS
    raise ValueError(
        f"expected 3 classes (background, right lung, left lung), got {classes}, and nothing says what they mean: "
        f"lobes are imported by `lungapp models import {path.name} --labels lobes`"
    )


def _name(path: Path, sha256: str) -> str:
    published = published_with(sha256) or published_as(path.name)
    if published is not None:
        return published.name
    return printable(path.parent.name if path.name == WEIGHTS else path.stem)
