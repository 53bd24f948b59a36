"""A U-net that segments whole scans: slices through preprocessing and network, in parallel, then back to the scan."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import torch

from datastore.labels import Structure
from infers.backends import NetworkBackend, backend_for
from infers.field_of_view import framed, is_within_body
from infers.lung_labels import labels_among
from infers.lungmask_postprocess import lungmask_postprocess
from infers.options import Options, Postprocessing
from infers.plain_unet import PlainUNet, doubtful
from infers.postprocess import postprocess
from infers.preprocess import Preprocessing, preprocess
from infers.restoring import likeliest, restore, restore_smooth
from infers.skipping import run_where_lungs_are, with_tissue
from infers.torch_unet import give_back_memory
from infers.weights import Weights

Take = Callable[[Sequence[int], np.ndarray, np.ndarray], None]


@dataclass(frozen=True, eq=False)
class NetworkModel:
    """A U-net, run slice by slice. Several threads may use it at once.

    Attributes:
        weights: The network and what it needs.
        device: Where it runs.
        options: How it segments.
        backend: What computes it.
    """

    weights: Weights
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    options: Options = Options()
    description: str = "Lungs by U-net, slice by slice"
    backend: NetworkBackend = field(init=False)

    def __post_init__(self) -> None:
        size = self.weights.preprocessing.size
        object.__setattr__(self, "backend", backend_for(self.weights.network, size, self.device, self.options))

    @property
    def structures(self) -> Sequence[Structure]:
        """What the network's classes mean."""
        return self.weights.structures

    @property
    def overlaps(self) -> bool:
        """See `Model`: on a GPU."""
        return self.device.type != "cpu"

    @property
    def version(self) -> str:
        """`unet-`, the beginning of the weights' SHA-256, and the options that can change a mask."""
        return f"unet-{self.weights.sha256[:12]}{self.options.suffix()}"

    def predict(self, hu: np.ndarray, spacing_mm: tuple[float, float, float]) -> np.ndarray:
        """See `Model.predict`."""
        if self.options.postprocess != Postprocessing.LUNGMASK and is_within_body(hu):
            wide, inside = framed(hu, spacing_mm)
            return np.ascontiguousarray(self._predict(wide, spacing_mm)[inside])
        return self._predict(hu, spacing_mm)

    def _predict(self, hu: np.ndarray, spacing_mm: tuple[float, float, float]) -> np.ndarray:
        how = self.weights.preprocessing
        frame = hu.shape[1], hu.shape[2]
        labels = np.zeros((len(hu), how.size, how.size), dtype=np.uint8)
        boxes = np.zeros((len(hu), 4), dtype=np.int64)
        mask = np.zeros(hu.shape, dtype=np.uint8) if self.options.smooth else None
        as_lungmask = self.options.postprocess == Postprocessing.LUNGMASK
        in_doubt = np.zeros(len(hu), dtype=bool)

        def take(indices: Sequence[int], scores: np.ndarray, found: np.ndarray) -> None:
            boxes[indices] = found
            labels[indices] = likeliest(np.moveaxis(scores, 1, 0))
            if as_lungmask:
                in_doubt[indices] = doubtful(scores)
            if mask is not None:
                mask[indices] = restore_smooth(scores, found, frame)

        def run(indices: Sequence[int]) -> None:
            run_slices(hu, indices if as_lungmask else with_tissue(hu, indices), how, self.backend, take)

        if self.options.skip:
            run_where_lungs_are(len(hu), spacing_mm[0], run, lambda index: bool(labels[index].any()))
        else:
            run(range(len(hu)))
        if as_lungmask:
            run_slices(hu, np.flatnonzero(in_doubt).tolist(), how, PlainUNet(self.weights.network), take)
            labels = lungmask_postprocess(labels)
        give_back_memory()
        if mask is None:
            mask = restore(labels, boxes, frame)
        if self.options.postprocess in (Postprocessing.DEFAULT, Postprocessing.PAPER):
            voxel_ml = float(np.prod(spacing_mm)) / 1000.0
            mask = postprocess(mask, voxel_ml, self.options.postprocess, labels_among(self.structures))
        return mask


def run_slices(hu: np.ndarray, indices: Sequence[int], how: Preprocessing, backend: NetworkBackend, take: Take) -> None:
    """Preprocess and score slices, a few at a time, on as many threads as the backend has use for.

    Args:
        hu: (z, y, x) int16 Hounsfield units along LPS.
        indices: Of the slices.
        how: What the network wants.
        backend: Computes it.
        take: Called on the worker's thread with indices, (slices, classes, size, size) float32 scores and
            (slices, 4) body boxes of each few slices.
    """

    def work(chunk: Sequence[int]) -> None:
        prepared = preprocess(hu[chunk], how)
        take(chunk, backend.logits(prepared.images), prepared.boxes)

    chunks = list(_chunks(indices, backend.batch))
    if len(chunks) <= 1 or backend.workers == 1:
        for chunk in chunks:
            work(chunk)
        return
    with ThreadPoolExecutor(min(backend.workers, len(chunks)), "slices") as pool:
        for done in [pool.submit(work, chunk) for chunk in chunks]:
            done.result()


def _chunks(indices: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    for start in range(0, len(indices), size):
        yield indices[start : start + size]
