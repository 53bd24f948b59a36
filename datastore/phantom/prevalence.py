"""Who comes to be scanned: the diseases of each cohort, how common they are and at what age."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from datastore.phantom.lesions import LesionPlan, draw_lesions

NORMAL = "normal"


@dataclass(frozen=True)
class Story:
    """Why patients come.

    Attributes:
        pathology: In a word; the groups of Hofmanninger et al. 2020, table II, have their names there.
        share: How common it is, relative to the others of its cohort.
        diseases: Chance of each kind of lesion; 1 for what makes the story.
        age: Mean and standard deviation in years.
        severity: The parameters of a beta distribution.
    """

    pathology: str
    share: float
    diseases: Mapping[str, float] = field(default_factory=dict)
    age: tuple[float, float] = (60.0, 16.0)
    severity: tuple[float, float] = (1.1, 1.7)


STORIES: dict[str, tuple[Story, ...]] = {
    "anatomy3": (Story(NORMAL, 1.0, {}, (58, 14)),),
    "routine": (
        Story(NORMAL, 22, {}, (52, 17)),
        Story("nodules", 10, {"nodules": 1, "emphysema": 0.15}, (62, 13)),
        Story("mass", 9, {"mass": 1, "emphysema": 0.3, "atelectasis": 0.25, "effusion": 0.2, "nodules": 0.2}, (67, 9)),
        Story("metastases", 4, {"nodules": 1, "effusion": 0.25}, (62, 13), (2.5, 1.1)),
        Story("pneumonia", 10, {"consolidation": 1, "ground glass": 0.35, "effusion": 0.3}, (62, 18)),
        Story("covid", 4, {"covid": 1}, (58, 15)),
        Story("interstitial pneumonia", 2, {"ground glass": 1, "consolidation": 0.2}, (55, 16)),
        Story("heart failure", 6, {"oedema": 1, "atelectasis": 0.2}, (73, 10)),
        Story("effusion", 7, {"effusion": 1, "atelectasis": 0.35, "consolidation": 0.1}, (68, 13)),
        Story("atelectasis", 5, {"atelectasis": 1, "effusion": 0.3}, (62, 15)),
        Story("emphysema", 8, {"emphysema": 1, "bronchiectasis": 0.12, "nodules": 0.15}, (67, 9)),
        Story("fibrosis", 5, {"fibrosis": 1, "emphysema": 0.2, "ground glass": 0.12}, (67, 10), (1.3, 1.2)),
        Story("trauma", 5, {"trauma": 1, "pneumothorax": 0.4, "effusion": 0.35, "atelectasis": 0.2}, (44, 19)),
        Story("pneumothorax", 2, {"pneumothorax": 1, "emphysema": 0.25}, (45, 20)),
        Story("bronchiectasis", 3, {"bronchiectasis": 1, "consolidation": 0.2}, (58, 17)),
        Story("cavity", 2, {"cavity": 1, "nodules": 0.35, "consolidation": 0.2}, (50, 16)),
        Story("miliary", 0.7, {"miliary": 1}, (52, 17)),
        Story("resection", 3, {"resection": 1, "effusion": 0.3}, (65, 10)),
    ),
    "ltrc": (
        Story("fibrosis", 52, {"fibrosis": 1, "emphysema": 0.2, "ground glass": 0.15}, (63, 10), (1.5, 1.2)),
        Story("emphysema", 42, {"emphysema": 1, "bronchiectasis": 0.15, "nodules": 0.1}, (64, 8), (1.4, 1.2)),
        Story("nodules", 6, {"nodules": 1}, (60, 10)),
    ),
    "lctsc": (
        Story("mass", 62, {"mass": 1, "emphysema": 0.35, "nodules": 0.1}, (67, 9), (1.3, 1.4)),
        Story("mass with collapse", 22, {"mass": 1, "atelectasis": 1, "effusion": 0.3}, (67, 9), (1.5, 1.3)),
        Story("mass with effusion", 8, {"mass": 1, "effusion": 1}, (67, 9), (1.3, 1.4)),
    ),
    "vessel12": (
        Story(NORMAL, 60, {}, (57, 15)),
        Story("nodules", 20, {"nodules": 1}, (62, 12), (1.1, 2.5)),
        Story("emphysema", 20, {"emphysema": 1, "nodules": 0.15}, (65, 9)),
    ),
}
"""By cohort. What the real sets hold is told by Hofmanninger et al. 2020, sections I and II-C: anything that comes to a
university hospital; fibrosis and COPD; tumours; healthy lungs. How often is told nowhere: the shares were set by hand.
"""


def draw_story(random: np.random.Generator, cohort: str) -> Story:
    """Draw why a patient of a cohort comes."""
    stories = STORIES[cohort]
    shares = np.array([story.share for story in stories])
    return stories[int(random.choice(len(stories), p=shares / shares.sum()))]


def draw_diseases(random: np.random.Generator, story: Story) -> tuple[LesionPlan, ...]:
    """Draw the diseases of a story; effusions that heart failure brings along come too."""
    plans: list[LesionPlan] = []
    for kind, chance in story.diseases.items():
        if random.random() < chance:
            plans += draw_lesions(random, [kind], severity=float(random.beta(*story.severity)))
    return tuple(plans)


def draw_age(random: np.random.Generator, story: Story) -> float:
    """Draw the age in years of an adult with a story."""
    return float(np.clip(random.normal(*story.age), 18, 95))
