"""Patients: by key alone, and each in one split for ever."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from datastore.records import Split
from datastore.secret import ProjectSecret

STUDY_PREFIX = "study-"


@dataclass(frozen=True)
class SplitRatios:
    """Shares of the patients, which add up to 1.

    >>> SplitRatios(train=0.7, validation=0.2, test=0.2)
    Traceback (most recent call last):
    ...
    ValueError: split: expected shares that add up to 1, got 0.7 + 0.2 + 0.2 = 1.1
    """

    train: float = 0.8
    validation: float = 0.1
    test: float = 0.1

    def __post_init__(self) -> None:
        shares = (self.train, self.validation, self.test)
        if abs(sum(shares) - 1) > 1e-6 or min(shares) < 0:
            listed = " + ".join(f"{share:g}" for share in shares)
            raise ValueError(f"split: expected shares that add up to 1, got {listed} = {sum(shares):g}")

    def split_of(self, secret: ProjectSecret, patient_key: str) -> Split:
        """The split that a patient falls into: by a keyed hash, so that it depends on nothing else."""
        share = secret.share(patient_key)
        if share < self.train:
            return Split.TRAIN
        return Split.VALIDATION if share < self.train + self.validation else Split.TEST


def study_key(what: str) -> str:
    """The key of a patient of whom only the study (or the file) is known."""
    return f"{STUDY_PREFIX}{hashlib.sha256(what.encode()).hexdigest()[:26]}"


def is_study_key(patient_key: str) -> bool:
    """Whether a key stands for a study whose patient is not known."""
    return patient_key.startswith(STUDY_PREFIX)
