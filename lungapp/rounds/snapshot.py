"""What a round is made of, settled once: which masks train, watch and judge, the network it begins with, the recipe."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from datastore.atomic import write_bytes
from datastore.records import Case, Label, Split
from datastore.registry import Registry
from datastore.round_records import Round
from infers.model_names import JOINED
from infers.model_store import ModelStore, find_weights
from infers.models import device_named
from infers.weights import Weights, load_weights
from infers.weights_metadata import Border
from lungapp.project import Project
from lungapp.recipes import recipe_of
from lungapp.rounds.folders import SNAPSHOT_FILE, USES, model_name
from lungapp.rounds.watch import WORKER
from lungapp.settings import GateSettings, TrainingSettings
from trainers.recipe import Recipe, recipe_from

LEFT_OUT_FILE = "left_out.json"
FEWEST_PATIENTS_WATCHED = 10  # of fewer, none can be spared for watching

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Snapshot:
    """What decides the outcome of a round.

    Attributes:
        queued_at: Of the round, ISO 8601: a project brought back from a backup may give its number once more.
        recipe: How the network is trained, seed included.
        gate: The margins that it is judged by, see `GateRules`.
        parent: Name of the model that the training begins with; None from scratch.
        parent_sha256: Of its weights.
        border: How the network is used, see `Border`; it is judged so.
        train: Ids of the label versions to learn from.
        watched: Ids of those that the progress is measured on, and that do not train.
        negatives: Ids of those of whose scans only the slices without lung train.
        locked: Ids of those to judge on.
        left_out: Ids of those that could not be used, and why; settled when slices are prepared, see `leave_out`.
    """

    queued_at: str
    recipe: dict[str, Any]
    gate: dict[str, Any]
    parent: str | None
    parent_sha256: str | None
    border: str
    train: tuple[str, ...]
    watched: tuple[str, ...]
    negatives: tuple[str, ...]
    locked: tuple[str, ...]
    left_out: dict[str, str] = field(default_factory=dict)

    @property
    def training(self) -> Recipe:
        """How the network is trained."""
        return recipe_from(self.recipe)

    @property
    def used(self) -> tuple[str, ...]:
        """All label versions that decide the weights."""
        return (*self.train, *self.watched, *self.negatives)

    def parent_weights(self, models: Path) -> Weights | None:
        """The network that the training begins with.

        Raises:
            ValueError: If it is not there any more as it was.
        """
        return None if self.parent is None else _load_parent(self.parent, models, self.parent_sha256)


def take_snapshot(project: Project, registry: Registry, number: int, folder: Path) -> Snapshot:
    """Settle what a round is made of, in the registry and in its folder; settled once, it stays.

    Args:
        project: The project.
        registry: Of the project.
        number: Of the round.
        folder: Of the round.

    Raises:
        RoundError: If there is nothing to train on.
        ValueError: If the network to begin with cannot be loaded, or a setting is none any more.
    """
    path = folder / SNAPSHOT_FILE
    champion = ModelStore(project.models).served() or JOINED
    taken = registry.snapshot_round(number, champion=champion, by=WORKER)
    if not path.exists():
        snapshot = _settle(project, registry, taken)
        write_bytes(path, json.dumps(asdict(snapshot), indent=2).encode())
    return read_snapshot(folder)


def leave_out(folder: Path, unusable: Mapping[str, str]) -> None:
    """Settle which masks a round does without; settled once, it stays.

    Args:
        folder: Of the round.
        unusable: Ids of label versions, and why.
    """
    if not is_prepared(folder):
        write_bytes(folder / LEFT_OUT_FILE, json.dumps(dict(unusable), indent=2).encode())


def is_prepared(folder: Path) -> bool:
    """Whether it is settled which masks a round does without."""
    return (folder / LEFT_OUT_FILE).exists()


def read_snapshot(folder: Path) -> Snapshot:
    """What `take_snapshot` wrote, less what is left out.

    Raises:
        ValueError: If it is damaged.
    """
    path = folder / SNAPSHOT_FILE
    try:
        content = json.loads(path.read_bytes())
        plain: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in content.items()
        }
        snapshot = Snapshot(**plain)
        left_out = json.loads((folder / LEFT_OUT_FILE).read_bytes()) if is_prepared(folder) else {}
        kept = {use: tuple(one for one in getattr(snapshot, use) if one not in left_out) for use in USES}
        return replace(snapshot, **kept, left_out=dict(left_out))  # type: ignore[arg-type]
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: damaged: {error}") from error


def _settle(project: Project, registry: Registry, taken: Round) -> Snapshot:
    device_named(project.settings.model.device)  # before a training of hours, which could not be judged
    _check_name_is_free(project, registry, taken.number)
    settings = TrainingSettings(**taken.config.get("training", {}))
    gate = GateSettings(**taken.config.get("gate", {}))
    parent = None
    if settings.start == "served":
        parent = ModelStore(project.models).served() or JOINED
    weights = None if parent is None else _load_parent(parent, project.models)
    recipe = recipe_of(settings, taken.seed, None if weights is None else weights.network)
    chosen = [(label, registry.case(label.case_id)) for label in map(registry.label, taken.label_ids)]
    negatives = [label.id for label, case in chosen if case.cohort in settings.negative_cohorts]
    for cohort in set(settings.negative_cohorts) - {case.cohort for _, case in chosen}:
        logger.warning("no accepted mask of the split train is of the cohort %r: nothing of it trains", cohort)
    learned = [(label, case) for label, case in chosen if label.id not in negatives]
    if not learned:
        raise ValueError(
            "there is nothing to learn from: of all accepted masks of the split train only slices without lung are "
            f"wanted (training.negative_cohorts = {list(settings.negative_cohorts)})"
        )
    watched = _watched(learned, settings.watched_share, taken.number)
    return Snapshot(
        queued_at=taken.queued_at.isoformat(),
        recipe=recipe.to_plain(),
        gate=gate.model_dump(),
        parent=parent,
        parent_sha256=None if weights is None else weights.sha256,
        border=_border(settings.border, parent, weights),
        train=tuple(label.id for label, case in learned if case.patient not in watched),
        watched=tuple(label.id for label, case in learned if case.patient in watched),
        negatives=tuple(negatives),
        locked=tuple(label.id for label in registry.accepted(Split.VALIDATION)),
    )


def _check_name_is_free(project: Project, registry: Registry, number: int) -> None:
    name = model_name(number)
    theirs = ModelStore(project.models).find(name)
    if theirs is not None and all((known.version, known.round_number) != (name, number) for known in registry.models()):
        raise ValueError(f"{theirs} is another model, and has the name that this round's would have: give it another")


def _watched(learned: Iterable[tuple[Label, Case]], share: float, number: int) -> set[str]:
    """The patients that one round leaves out to watch its progress on; in the next one it is others' turn."""
    patients = {case.patient for _, case in learned}
    if len(patients) < FEWEST_PATIENTS_WATCHED:
        return set()
    in_turn = sorted(patients, key=lambda patient: hashlib.sha256(f"{number} {patient}".encode()).hexdigest())
    return set(in_turn[: round(share * len(patients))])


def _border(wanted: str, parent: str | None, weights: Weights | None) -> Border:
    if wanted != "served":
        return Border(wanted)
    if weights is None:
        return Border.NETWORK
    return Border.AIR if parent == JOINED else weights.border


def _load_parent(name: str, models: Path, sha256: str | None = None) -> Weights:
    try:
        weights = load_weights(find_weights(name, [models]))
    except (ValueError, OSError) as error:
        raise ValueError(
            f"the training cannot begin with {name}: {error}; publish another model, or set training.start"
        ) from error
    if sha256 not in (None, weights.sha256):
        raise ValueError(f"the training cannot begin with {name}: its weights are others than when the round began")
    return weights
