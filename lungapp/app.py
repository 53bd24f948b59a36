"""The MONAI Label app: a project's cases, models and strategies behind MONAI Label's interfaces.

The same object runs under the stock `monailabel start_server --app lungapp --studies PROJECT` and under our
own server (`lungapp serve`, `server.py`).
"""

from __future__ import annotations

import logging
import re
import secrets
import tempfile
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any

from fastapi import HTTPException
from monailabel.interfaces.app import MONAILabelApp
from monailabel.interfaces.tasks.infer_v2 import InferTask
from monailabel.interfaces.tasks.scoring import ScoringMethod
from monailabel.interfaces.tasks.strategy import Strategy
from monailabel.interfaces.tasks.train import TrainTask
from monailabel.utils.sessions import Sessions

from datastore.adapter import RegistryDatastore, spoken_as_http
from datastore.checking import accept_if_sound, check_label
from datastore.image_files import DETACHED, read_ct, read_mask, suffix_of, write_mask
from datastore.labels import LUNG_NAMES
from datastore.records import Kind
from datastore.registry import CASE_ID
from datastore.served_images import CaseImageError
from datastore.volume import Volume
from datastore.wording import without_path
from infers.adapter import LungInfer, result_extension, result_params
from infers.models import THRESHOLD, Model, load_model
from infers.segment import segment
from infers.served_model import ServedModel
from lungapp import __version__
from lungapp.preliminary import PreliminaryMasks
from lungapp.project import open_project
from lungapp.rounds.here import train_here
from lungapp.rounds.queueing import queue_if_due, settle
from lungapp.rounds.train_stats import TRAINER, train_stats
from lungapp.scoring import DiceScoring, scoring_methods
from strategies import random
from strategies.adapter import LeasingStrategy, holder_of
from trainers.adapter import RoundTask

MOST_UNREADABLE = 20  # then it is not the case but the disk

logger = logging.getLogger(__name__)


class LungApp(MONAILabelApp):
    """Lung segmentation in chest CT.

    Args:
        app_dir: This package's folder.
        studies: A project's folder, made by `lungapp init`.
        conf: Settings from MONAI Label's command line; none are needed.
    """

    def __init__(self, app_dir: str, studies: str, conf: dict[str, str]) -> None:
        self.project = open_project(Path(studies))  # the base class calls the init_* hooks below
        self.registry = self.project.registry()
        self.images = self.project.images()
        self.masks = PreliminaryMasks(self.registry, self.images)
        self._checks = ThreadPoolExecutor(1, thread_name_prefix="checks")
        super().__init__(
            app_dir=app_dir,
            studies=studies,
            conf=conf,
            name=f"lungapp: {self.project.settings.project.name}",
            description="Lung segmentation in chest CT: 1 right_lung, 2 left_lung",
            version=__version__,
            labels=list(LUNG_NAMES),  # a list: OHIF's panel does not load with a dictionary
        )
        self._auto_update_scoring = False  # the base class would start a scoring pass at each Next Sample

    def init_datastore(self) -> RegistryDatastore:
        """The registry as MONAI Label's datastore."""
        return RegistryDatastore(self.registry, self.images, self.project.settings.project.name)

    def init_infers(self) -> dict[str, InferTask]:
        """`unet`, what is published or else the network that comes with lungapp, and `threshold`."""
        device = self.project.settings.model.device
        served, shipped = ServedModel(self.project.models, device), cache(partial(load_model, device=device))
        threshold = load_model(THRESHOLD)
        return {
            "unet": LungInfer(lambda: served() or shipped(), lambda: True, "Lungs by U-net, slice by slice"),
            THRESHOLD: LungInfer(lambda: threshold, lambda: True, threshold.description),
        }

    def init_trainers(self) -> dict[str, TrainTask]:
        """`unet`: a round, whoever asks for it."""
        run = partial(train_here, self.project, self.registry, "stock server")
        description = "A round: train on all accepted masks, judge, publish or hold back"
        return {TRAINER: RoundTask(description, run, self._train_stats)}

    def init_strategies(self) -> dict[str, Strategy]:
        """`random`."""
        annotation = self.project.settings.annotation
        return {
            "random": LeasingStrategy(
                self.registry,
                random.order(annotation.sampling_seed),
                "Random sampling of the open cases",
                self.lease_duration,
            )
        }

    def init_scoring_methods(self) -> dict[str, ScoringMethod]:
        """`dice` and `dice_per_lung`."""
        return dict(self.scoring_methods)

    @cached_property
    def scoring_methods(self) -> dict[str, DiceScoring]:
        """How models' masks are scored, by name."""
        return scoring_methods(self.registry)

    @spoken_as_http
    def infer(self, request: dict[str, Any], datastore: Any = None) -> dict[str, Any]:
        """A model's mask of a case, of a session's image or of an uploaded file.

        A case's mask is stored as a preliminary version and given out at once from then on.

        Args:
            request: `model`; `image`: a case id, or the path that MONAI Label gave an upload; optionally
                `result_extension`.
            datastore: Not used.

        Returns:
            `file`: a temporary file for the caller to send and delete; `params`: names of the label values and
            the model's version.
        """
        model = self.model_named(str(request.get("model")))
        extension = result_extension(request)
        image = str(request.get("image") or "")
        if CASE_ID.fullmatch(image):
            case = self.registry.case(image)
            self.keep_lease(case.id, request)
            stored = read_mask(self.masks.get(case, model).path)
            mask = Volume(stored.array, case.geometry)  # which still has the words of the image's own file
        else:
            mask = segment(self._read_upload(image), model)
        target = self._temporary_folder() / f"{secrets.token_hex(8)}{extension}"
        write_mask(mask, target)
        params = result_params(mask, model)
        return {"label": str(target), "tag": "original", "file": str(target), "params": params}

    @spoken_as_http
    def next_sample(self, request: dict[str, Any]) -> dict[str, Any]:
        """The next case for a `client_id`, held for it from now on; `{}` if none is left."""
        strategy = str(request.get("strategy") or "random")
        if strategy not in self._strategies:
            known = ", ".join(self._strategies)
            raise HTTPException(status_code=404, detail=f"no strategy {strategy[:80]!r}: expected one of {known}")
        passed_over: list[str] = []
        while len(passed_over) < MOST_UNREADABLE:
            sample = self._strategies[strategy]({**request, "passed_over": passed_over}, self.datastore())
            if not sample:
                return {}
            case = self.registry.case(sample["id"])
            try:
                info = self.datastore().image_info(case)
            except CaseImageError as error:
                logger.warning("%s: it is passed over", error)
                self.registry.release(case.id, holder_of(request))
                passed_over.append(case.id)
                continue
            # No path: the client would open it as it is, and a DICOM folder is no file.
            return {**sample, "path": "", **info}
        raise HTTPException(
            status_code=503,
            detail=f"the images of {len(passed_over)} cases in a row cannot be read: is their disk there?",
        )

    def on_save_label(self, image_id: str, label_id: str) -> None:
        """Run the quality checks on a finished mask, after the client has heard that it is stored."""
        self._checks.submit(self._check, label_id)

    def finish_checks(self) -> None:
        """Wait for the quality checks that are under way."""
        self._checks.submit(lambda: None).result()

    def keep_lease(self, case_id: str, request: dict[str, Any]) -> None:
        """Renew the client's lease on a case: what it asks for shows that it is at work."""
        self.registry.renew(case_id, holder_of(request), self.lease_duration)

    @property
    def lease_duration(self) -> timedelta:
        """How long a case is kept for whom it was given to."""
        return timedelta(minutes=self.project.settings.annotation.lease_minutes)

    def _train_stats(self) -> dict[str, Any]:
        settle(self.project, self.registry)
        return train_stats(self.registry)

    def _check(self, label_id: str) -> None:
        try:
            if self.registry.label(label_id).made_as is Kind.DRAFT:
                return
            check_label(self.registry, self.images, label_id)
        except Exception:  # it is checked again before it can be accepted
            logger.exception("the quality checks of label %s could not be made", label_id)
            return
        try:
            if self.project.settings.annotation.accept_without_review and accept_if_sound(self.registry, label_id):
                queue_if_due(self.project, self.registry)
        except Exception:  # a reviewer can still accept it, and the worker asks the rule too
            logger.exception("label %s waits for a review", label_id)

    def model_named(self, name: str) -> Model:
        """The model of an infer task.

        Raises:
            HTTPException: 404 if there is no such task or it has no weights.
        """
        task = self._infers.get(name)
        if not isinstance(task, LungInfer) or not task.is_valid():
            known = ", ".join(name for name, task in self._infers.items() if task.is_valid())
            raise HTTPException(status_code=404, detail=f"no model {name[:80]!r}: expected one of {known}")
        return task.model()

    def _load_sessions(self, load: bool = False) -> Sessions:
        minutes = self.project.settings.server.session_minutes
        return Sessions(str(self.project.cache / "sessions"), expiry=minutes * 60)

    def _temporary_folder(self) -> Path:
        folder = self.project.cache / "results"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _read_upload(self, image: str) -> Volume:
        """The image that a client sent; any path but that of an upload is refused."""
        path = Path(image)
        cache = self.project.cache.resolve()
        ours = any(folder in path.resolve().parents for folder in (cache / "uploads", cache / "sessions"))
        # the stock server keeps an upload under a name that `tempfile` makes
        stock = path.parent == Path(tempfile.gettempdir()) and re.fullmatch(r"tmp[a-z0-9_]{8}[.\w]*", path.name)
        if not path.is_absolute() or not (ours or stock) or not path.exists():
            raise ValueError(f"bad image id {image[:80]!r}: expected digits such as '0042'")
        try:
            if suffix_of(path) in DETACHED:
                raise ValueError("expected voxels in the file itself, got a header alone")
            return read_ct(path)
        except ValueError as error:
            raise ValueError(f"the uploaded image cannot be read: {without_path(error, path, 'the file')}") from error
