"""What every planned disease has: a kind, the lungs it is in, how bad it is, and a way to paint it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from datastore.phantom.lesions.region import LungRegion


@dataclass(frozen=True, kw_only=True)
class LesionPlan(ABC):
    """One disease of one patient, all of its parameters drawn; each kind adds its own.

    Attributes:
        kind: Name of the disease and of its mask.
        stage: Diseases of a lower stage are painted first: parenchyma before masses before the pleural space.
        both: How often it is in both lungs.
        sides: The lungs it is in: 1 right, 2 left.
        severity: 0..1.
    """

    kind: ClassVar[str]
    stage: ClassVar[int] = 1
    both: ClassVar[float] = 0.3

    sides: tuple[int, ...]
    severity: float

    @classmethod
    @abstractmethod
    def draw(cls, random: np.random.Generator, sides: tuple[int, ...], severity: float) -> tuple[LesionPlan, ...]:
        """Draw the parameters; some diseases come with another, e.g. heart failure with effusions."""

    @property
    def pull_mm(self) -> float:
        """How far the mediastinum moves towards the diseased lung; below 0 away from it."""
        return 0.0

    @abstractmethod
    def paint(self, region: LungRegion, random: np.random.Generator) -> dict[str, np.ndarray]:
        """Change the Hounsfield units of one lung.

        Args:
            region: The lung, whose `hu` is changed.
            random: Source of shapes that are not worth a parameter.

        Returns:
            (z, y, x) bool masks of the region by kind.
        """


def choose(random: np.random.Generator, shares: dict[str, float]) -> str:
    """One of some names, each as often as its share."""
    names = list(shares)
    weights = np.array([shares[name] for name in names], float)
    return names[int(random.choice(len(names), p=weights / weights.sum()))]
