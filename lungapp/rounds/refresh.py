"""After publishing: preliminary masks of open cases by the model that serves now, the head of the queue first."""

from __future__ import annotations

import logging

from datastore.database import RegistryError
from datastore.records import Kind, NewLabel
from datastore.registry import CaseFilter, Registry
from datastore.served_images import ServedImages
from datastore.wording import first_line
from infers.models import Model
from infers.segment import segment
from infers.served_model import ServedModel
from lungapp.preliminary import MODEL_AUTHOR
from lungapp.project import Project
from lungapp.rounds.watch import Watch
from strategies import random

HEAD_OF_QUEUE = 10  # cases that get a mask even if they had none: they are asked for next

logger = logging.getLogger(__name__)


def refresh_masks(project: Project, registry: Registry, images: ServedImages, watch: Watch) -> None:
    """Replace older models' masks of open cases, unless somebody holds the case or has drawn in it.

    Stops early when another round waits, another model is served, or the worker is to stop; what is left then is found
    the next time.

    Args:
        project: The project.
        registry: Of the project.
        images: Of the project.
        watch: Hears how far it is.
    """
    due = registry.round_to_refresh()
    if due is None:
        return
    served = ServedModel(project.models, project.settings.model.device)
    model = served()
    if model is not None and project.settings.rounds.refresh:
        to_do = cases_in_turn(project, registry, model.version)
        for done, case_id in enumerate(to_do):
            if watch.is_stopping() or registry.waiting_round() is not None or served() is not model:
                return
            watch.report(done, len(to_do))
            _make_anew(registry, images, case_id, model)
        watch.report(len(to_do), len(to_do))
        logger.info("the preliminary masks of %d open cases were made anew", len(to_do))
    registry.mark_refreshed(due.number, MODEL_AUTHOR)


def cases_in_turn(project: Project, registry: Registry, model_version: str) -> list[str]:
    """Open cases without a mask of a model, in the order they will be asked for: the next ones, then outdated ones."""
    position = random.order(project.settings.annotation.sampling_seed).position
    queue = sorted(registry.case_ids(CaseFilter(offered=True)), key=position)
    outdated = set(registry.outdated(model_version))
    head = {case_id for case_id in queue[:HEAD_OF_QUEUE] if registry.wants_preliminary(case_id, model_version)}
    return [case_id for case_id in queue if case_id in outdated | head]


def _make_anew(registry: Registry, images: ServedImages, case_id: str, model: Model) -> None:
    try:
        if registry.wants_preliminary(case_id, model.version):
            mask = segment(images.read(registry.case(case_id)), model)
            new = NewLabel(Kind.PRELIMINARY, author=MODEL_AUTHOR, tool="lungapp", model=model.version)
            registry.replace_preliminary(case_id, mask, new)
    except RegistryError:
        raise
    except Exception as error:  # one case that fails does not stop the others
        logger.warning("the mask of case %s could not be made anew: %s", case_id, first_line(error))
