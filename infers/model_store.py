"""A folder of models: `<store>/<name>/` holds weights, manifest and model card; models are added, never changed.

There are two kinds: the user's own, for work without a project, and a project's `models`, where the text file `current`
names the model that is served.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from datastore.atomic import TEMPORARY_PREFIX, fsync_folder, write_bytes
from datastore.labels import LUNGS, Structure
from datastore.wording import printable
from infers.manifest import WEIGHTS
from infers.model_names import SHIPPED, check_name, is_path, unknown_model
from infers.stored_model import StoredModel, is_model, read_model, same_model, write_model, write_trained_model
from infers.weights import Weights, load_weights
from infers.weights_metadata import Origin, label_text

CURRENT = "current"
ROUND_NAME = re.compile(r"round-\d{4,}", re.IGNORECASE)
STORE_VARIABLE = "LUNGAPP_MODELS"
ABANDONED_SECONDS = 3600  # a younger import may be under way


class ModelStore:
    """The models in a folder.

    Args:
        folder: Made when the first model is added.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def names(self) -> list[str]:
        """All models, in alphabetical order."""
        if not self.folder.exists():
            return []
        return sorted((path.name for path in self.folder.iterdir() if is_model(path)), key=str.lower)

    def find(self, name: str) -> Path | None:
        """The folder of the model of that name, in any case, or None."""
        names = self.names()
        same = [known for known in names if known == name] or [k for k in names if k.lower() == name.lower()]
        return self.folder / same[0] if same else None

    def model(self, name: str) -> StoredModel:
        """The model of that name, in any case.

        Raises:
            ValueError: If there is none, or its manifest cannot be read.
        """
        folder = self.find(name)
        if folder is None:
            raise unknown_model(name, self.names())
        return read_model(folder)

    def add(
        self, path: Path, name: str = "", structures: tuple[Structure, ...] | None = None
    ) -> tuple[StoredModel, bool]:
        """Import a file of weights; the model appears whole or not at all.

        Args:
            path: See `load_weights`.
            name: What the model shall be called  [default: what the file is called, see `Weights.name`].
            structures: See `load_weights`.

        Returns:
            The model, and whether it is new: the same weights may have been there under that name already.

        Raises:
            FileNotFoundError: If there is no such file.
            FileExistsError: If another model has that name.
            ValueError: If the file holds no U-net, or the name is none.
        """
        weights = load_weights(path, structures)
        name = name or weights.name
        if ROUND_NAME.fullmatch(name):
            raise ValueError(f"model name {name!r}: a project's own rounds call their models so: give another --name")
        origin = weights.origin or Origin(printable(path.name), weights.sha256)
        return self._appear(name, weights, lambda folder: write_model(folder, weights, name, origin))

    def add_trained(
        self, path: Path, name: str, round_number: int, card: str, metrics: Mapping[str, Any]
    ) -> tuple[StoredModel, bool]:
        """Keep the model of a round; it appears whole or not at all, and a second call finds it there.

        Args:
            path: The weights that were judged, `.safetensors` of ours; their bytes stay what they are.
            name: What the model shall be called, e.g. `round-0007`.
            round_number: Of the round.
            card: The model card, Markdown.
            metrics: Plain values for `metrics.json`, without nan and infinity.

        Returns:
            The model, and whether it is new.

        Raises:
            FileNotFoundError: If there are no such weights.
            FileExistsError: If another model has that name.
            ValueError: If the file holds no U-net, the metrics no JSON, or the name is none.
        """
        if path.suffix.lower() != ".safetensors":
            raise ValueError(f"{path}: expected .safetensors")
        weights = load_weights(path)

        def fill(folder: Path) -> None:
            write_trained_model(folder, path, name, round_number, card, metrics)

        return self._appear(name, weights, fill)

    def _appear(self, name: str, weights: Weights, fill: Callable[[Path], None]) -> tuple[StoredModel, bool]:
        """A model in its folder, which has its name once it is filled; see `add`."""
        check_name(name)
        existing = self.find(name)
        if existing is not None:
            return _there_already(existing, weights), False
        folder = self.folder / name
        self.folder.mkdir(parents=True, exist_ok=True)
        self._clear_abandoned()
        building = self.folder / f"{TEMPORARY_PREFIX}{secrets.token_hex(6)}-{name}"
        building.mkdir()
        try:
            fill(building)
            os.rename(building, folder)  # fails where something is already
        except OSError as error:
            if is_model(folder):  # another import was faster
                return _there_already(folder, weights), False
            if folder.exists():
                raise FileExistsError(f"{folder}: is there already, and is no model") from error
            raise
        finally:
            shutil.rmtree(building, ignore_errors=True)
        fsync_folder(self.folder)
        return read_model(folder), True

    def served(self) -> str | None:
        """The name in `current`, if it is that of a model here."""
        try:
            name = (self.folder / CURRENT).read_text(errors="replace").strip()
        except FileNotFoundError:
            return None
        return name if name and Path(name).name == name and is_model(self.folder / name) else None

    def publish(self, name: str, expected: tuple[Structure, ...] = LUNGS) -> StoredModel:
        """Serve a model from the next request on, in one atomic switch; `publishing.py` keeps the history besides.

        Args:
            name: Of a model here, in any case.
            expected: What the project's masks hold.

        Raises:
            ValueError: If there is none, it cannot be loaded, or it finds other structures; what was served is
                served on then.
        """
        model = self.servable(name, expected)
        self.switch(model)
        return model

    def servable(self, name: str, expected: tuple[Structure, ...] = LUNGS) -> StoredModel:
        """The model of that name, once it is certain that it can be served; see `publish`."""
        model = self.model(name)
        found = model.weights().structures
        if label_text(found) != label_text(expected):
            raise ValueError(
                f"{model.name} cannot be served: the project's masks are {label_text(expected)}, the model finds "
                f"{label_text(found)}"
            )
        return model

    def switch(self, model: StoredModel) -> None:
        """Name a model in `current`: one that is known to be servable."""
        write_bytes(self.folder / CURRENT, f"{model.name}\n".encode(), overwrite=True)

    def withdraw(self) -> None:
        """Name no model in `current`: what comes with the program is served from the next request on."""
        (self.folder / CURRENT).unlink(missing_ok=True)
        fsync_folder(self.folder)

    def check(self) -> Iterator[str]:
        """What is wrong with the stored models, one sentence each; their files are compared with their checksums."""
        for name in self.names():
            try:
                self.model(name).check()
            except (ValueError, OSError) as error:
                yield str(error)
        if (self.folder / CURRENT).exists() and self.served() is None:
            yield f"{self.folder / CURRENT}: names no model here: no network is served"

    def _clear_abandoned(self) -> None:
        """Remove what killed imports left."""
        for path in self.folder.glob(f"{TEMPORARY_PREFIX}*"):
            with suppress(FileNotFoundError):
                if path.is_dir() and time.time() - path.stat().st_mtime > ABANDONED_SECONDS:
                    shutil.rmtree(path, ignore_errors=True)


def find_weights(name: str | Path, stores: Sequence[Path] = ()) -> Path:
    """The file of a model.

    Args:
        name: `fast`, or a stored model, in any case; or the path of a file of weights, which need not exist.
        stores: Folders of models that are searched before the user's own, in turn.

    Raises:
        ValueError: If no model is called so; the message says which there are.
    """
    if is_path(name):
        return Path(name)
    if str(name).lower() in SHIPPED:
        return SHIPPED[str(name).lower()]
    known: dict[str, None] = {}
    for store in map(ModelStore, (*stores, user_store())):
        found = store.find(str(name))
        if found is not None:
            return found / WEIGHTS
        known.update(dict.fromkeys(store.names()))
    if Path(name).is_file():
        return Path(name)
    raise unknown_model(str(name), list(known))


def user_store(environment: Mapping[str, str] = os.environ) -> Path:
    """The folder of the user's own models: $LUNGAPP_MODELS, else `lungapp/models` in the XDG data folder.

    Raises:
        ValueError: If there is no home folder to have one in.
    """
    if environment.get(STORE_VARIABLE):
        return Path(environment[STORE_VARIABLE])
    data = Path(environment.get("XDG_DATA_HOME", ""))
    if not data.is_absolute():  # the XDG specification has such a value ignored
        try:
            data = Path.home() / ".local" / "share"
        except RuntimeError as error:
            raise ValueError(f"no home folder to keep models in: set ${STORE_VARIABLE}") from error
    return data / "lungapp" / "models"


def _there_already(folder: Path, weights: Weights) -> StoredModel:
    """The model in a folder, if these are its weights."""
    model = read_model(folder)
    if not same_model(model.weights(), weights):
        raise FileExistsError(f"{folder}: is another model and is left as it is: give this one another --name")
    return model
