"""Which slices each step learns from: as many with lung as without, fairly from all pathologies and patients."""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from trainers.slices import SliceSet

SHUFFLING = 0x5F3C  # keeps these random numbers apart from others of the same seed


class StratifiedBatches:
    """Minibatches of slices with lung and slices without; a function of seed and step alone, so resumed anywhere.

    Within each kind, pathologies take turns in a random order, within a pathology its patients, within a patient its
    slices. So after any number of steps, two pathologies were drawn equally often but for one, so were two patients of
    a pathology, and no slice comes again before all of its patient's were seen. A case with several pathologies belongs
    to each; one without any is of a kind of its own. Slices with lung of volumes that are for negatives only never
    come.

    >>> from trainers.slices import TrainingSlices, VolumeSlices
    >>> labels = np.zeros((20, 8, 8), np.uint8)
    >>> labels[::2] = 1
    >>> slices = TrainingSlices(labels.astype(np.float16), labels, labels.any(axis=(1, 2)))
    >>> batch = StratifiedBatches(SliceSet([VolumeSlices(slices, "patient")]), seed=1).draw(step=5)
    >>> slices.has_lung[batch].tolist() == [True] * 7 + [False] * 7
    True

    Args:
        slices: To draw from.
        seed: Of the training.
        with_lung: How many slices with lung; no slice comes twice in a batch, if its patient has others.
        without_lung: How many slices without.

    Raises:
        ValueError: If there are no slices of a kind that is asked for.

    Source: Hofmanninger et al. 2020, section II-B; II-C for the slices without lung of another cohort.
    """

    def __init__(self, slices: SliceSet, seed: int, with_lung: int = 7, without_lung: int = 7) -> None:
        self._strata = [_Stratum(slices, seed, True, with_lung), _Stratum(slices, seed, False, without_lung)]

    def draw(self, step: int) -> np.ndarray:
        """The (with_lung + without_lung,) int64 numbers of a step's slices, those with lung first."""
        return np.array([index for stratum in self._strata for index in stratum.draw(step)], dtype=np.int64)


class _Stratum:
    """The slices with lung, or those without."""

    def __init__(self, slices: SliceSet, seed: int, has_lung: bool, wanted: int) -> None:
        groups = _grouped(slices, has_lung)
        if wanted < 0:
            raise ValueError(f"expected 0 or more slices in a batch, got {wanted}")
        if wanted and not groups:
            raise ValueError(_none_among(slices, has_lung))
        self._wanted, self._seed, self._has_lung = wanted, seed, has_lung
        self._groups = [[groups[group][patient] for patient in sorted(groups[group])] for group in sorted(groups)]
        self._orders: dict[tuple[int, ...], tuple[int, np.ndarray]] = {}

    def draw(self, step: int) -> list[int]:
        chosen: list[int] = []
        for turn in range(step * self._wanted, (step + 1) * self._wanted):
            group, visit = self._whose_turn((), turn, len(self._groups))
            patients = self._groups[group]
            patient, visit = self._whose_turn((group,), visit, len(patients))
            slices = patients[patient]
            place, _ = self._whose_turn((group, patient), visit, len(slices))
            if slices[place] in chosen:  # in another group, or in the round of its patient's slices that just ended
                place = next((i for i, index in enumerate(slices) if index not in chosen), place)
            chosen.append(int(slices[place]))
        return chosen

    def _whose_turn(self, path: tuple[int, ...], turn: int, count: int) -> tuple[int, int]:
        """Which of so many has that turn, and how many it had before; each round has a random order of its own."""
        number, place = divmod(turn, count)
        kept = self._orders.get(path)
        if kept is None or kept[0] != number:
            random = np.random.default_rng([SHUFFLING, self._seed, self._has_lung, len(path), *path, number])
            kept = self._orders[path] = number, random.permutation(count).astype(np.int32)
        return int(kept[1][place]), number


def _grouped(slices: SliceSet, has_lung: bool) -> dict[str, dict[str, np.ndarray]]:
    """The numbers of the slices of one kind, by pathology and patient."""
    found: dict[str, dict[str, list[np.ndarray]]] = defaultdict(lambda: defaultdict(list))
    for volume, first in zip(slices.volumes, slices.first, strict=False):
        places = np.flatnonzero(volume.slices.has_lung == has_lung)
        if len(places) and not (has_lung and volume.negatives_only):
            for group in set(volume.groups) or {""}:
                found[group][volume.patient].append((first + places).astype(np.int32))
    return {
        group: {patient: np.concatenate(parts) for patient, parts in patients.items()}
        for group, patients in found.items()
    }


def _none_among(slices: SliceSet, has_lung: bool) -> str:
    unused = sum(int(volume.slices.has_lung.sum()) for volume in slices.volumes if volume.negatives_only)
    kind = "with" if has_lung else "without"
    reason = f"; {unused} of volumes for negatives only are left out" if has_lung and unused else ""
    remedy = "" if has_lung else "; a minibatch of slices with lung alone has without_lung = 0"
    return f"expected slices {kind} lung, got none among {len(slices)} slices{reason}{remedy}"
