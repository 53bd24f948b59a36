"""One model in a store: a folder that holds weights, manifest and model card."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from datastore.atomic import sha256_of, write_bytes
from datastore.labels import Structure
from infers.joined_model import joined_version
from infers.manifest import MANIFEST, WEIGHTS, Manifest, read_manifest
from infers.model_card import model_card
from infers.weights import Weights, load_weights, save_weights, weights_version
from infers.weights_metadata import Border, Origin, WeightsMetadata, program_version

CARD = "README.md"
METRICS_FILE = "metrics.json"  # beside a model that was trained here


@dataclass(frozen=True)
class StoredModel:
    """A model in a store.

    Attributes:
        folder: Its folder, whose name is the model's.
        manifest: What it is.
    """

    folder: Path
    manifest: Manifest

    @property
    def name(self) -> str:
        """What `load_model` knows it by."""
        return self.folder.name

    @property
    def version(self) -> str:
        """As the masks carry it that the model makes."""
        version = weights_version(self.manifest.sha256)
        return joined_version(version) if self.manifest.metadata.border is Border.AIR else version

    @property
    def structures(self) -> tuple[Structure, ...]:
        """What its classes 1, 2, ... mean."""
        return self.manifest.metadata.structures

    def weights(self) -> Weights:
        """Its weights, loaded.

        Raises:
            ValueError: If they cannot be, or were changed.
        """
        return load_weights(self.folder / WEIGHTS)

    def check(self) -> None:
        """Compare the weights with their checksum.

        Raises:
            ValueError: If they were changed.
        """
        if sha256_of(self.folder / WEIGHTS) != self.manifest.sha256:
            raise ValueError(f"{self.folder / WEIGHTS}: was changed after it was stored, and is not loaded any more")


def is_model(folder: Path) -> bool:
    """Whether a folder is that of a model, and no unfinished one."""
    return not folder.name.startswith(".") and (folder / WEIGHTS).is_file()


def read_model(folder: Path) -> StoredModel:
    """The model in a folder; one that was put there by hand, without a manifest, is described by its weights.

    Raises:
        ValueError: If its manifest cannot be read.
    """
    manifest = read_manifest(folder)
    if manifest is None:
        weights = load_weights(folder / WEIGHTS)
        metadata = WeightsMetadata(
            weights.preprocessing, weights.structures, folder.name, weights.origin, border=weights.border
        )
        manifest = Manifest(metadata, weights.sha256)
    return StoredModel(folder, manifest)


def write_model(folder: Path, weights: Weights, name: str, origin: Origin) -> None:
    """Fill a model's folder; all of it survives a power cut once this returns.

    Args:
        folder: Empty.
        weights: As imported.
        name: What the model is called from now on.
        origin: The file that the weights come from.
    """
    path = folder / WEIGHTS
    save_weights(
        weights.network,
        path,
        weights.preprocessing,
        structures=weights.structures,
        name=name,
        origin=origin,
        border=weights.border,
    )
    metadata = WeightsMetadata(
        weights.preprocessing, weights.structures, name, origin, program_version(), weights.border
    )
    manifest = Manifest(metadata, sha256_of(path), datetime.now(UTC).replace(microsecond=0))
    write_bytes(folder / CARD, model_card(manifest).encode())
    _write_json(folder / MANIFEST, manifest.to_plain())


def write_trained_model(
    folder: Path, path: Path, name: str, round_number: int, card: str, metrics: Mapping[str, Any]
) -> None:
    """Fill a model's folder with the very file that was judged; all of it survives a power cut once this returns.

    Args:
        folder: Empty.
        path: The weights, `.safetensors` of ours.
        name: What the model is called from now on.
        round_number: Of the round that trained it.
        card: Markdown.
        metrics: Plain values.

    Raises:
        ValueError: If the metrics hold what no reader of JSON knows.
    """
    write_bytes(folder / WEIGHTS, path.read_bytes())
    weights = load_weights(folder / WEIGHTS)
    metadata = WeightsMetadata(
        weights.preprocessing, weights.structures, name, weights.origin, program_version(), weights.border
    )
    manifest = Manifest(metadata, weights.sha256, datetime.now(UTC).replace(microsecond=0), round_number)
    write_bytes(folder / CARD, card.encode())
    _write_json(folder / METRICS_FILE, metrics)
    _write_json(folder / MANIFEST, manifest.to_plain())


def same_model(one: Weights, other: Weights) -> bool:
    """Whether two files of weights hold the same tensors for the same purpose."""
    first, second = one.network.state_dict(), other.network.state_dict()
    return (
        (one.structures, one.preprocessing, one.border) == (other.structures, other.preprocessing, other.border)
        and first.keys() == second.keys()
        and all(torch.equal(first[name], second[name]) for name in first)
    )


def _write_json(path: Path, plain: Mapping[str, Any]) -> None:
    write_bytes(path, f"{json.dumps(plain, indent=2, allow_nan=False)}\n".encode())
