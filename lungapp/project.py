"""A project is a folder: settings, registry, labels, models and cache."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from datastore.atomic import write_bytes
from datastore.backup import PROJECT_FOLDERS
from datastore.database import DatabaseUrl, RegistryError, sqlite_url
from datastore.dicomweb_access import Credentials
from datastore.patients import SplitRatios
from datastore.registry import Registry
from datastore.secret import SECRET_FILE
from datastore.selection import SelectionRules
from datastore.served_images import ServedImages
from lungapp.settings import Settings, load_settings, template

SETTINGS_FILE = "lungapp.toml"
PROJECT_VARIABLE = "LUNGAPP_PROJECT"


@dataclass(frozen=True)
class Project:
    """Where everything of one study lies.

    Attributes:
        folder: The project's folder, absolute.
        settings: From its lungapp.toml.
    """

    folder: Path
    settings: Settings

    @property
    def labels(self) -> Path:
        """Label versions, a folder for each case."""
        return self.folder / "labels"

    @property
    def models(self) -> Path:
        """Model versions, and `current`."""
        return self.folder / "models"

    @property
    def rounds(self) -> Path:
        """What rounds leave behind, a folder for each."""
        return self.folder / "rounds"

    def round_folder(self, number: int) -> Path:
        """Config, checkpoint, candidate, events and log of a round."""
        return self.rounds / f"{number:04d}"

    @property
    def workflow_url(self) -> str:
        """URL of the database in which a worker keeps which steps of a round are done: beside the registry."""
        url = self.settings.database.url
        beside = sqlite_url(self.folder / "rounds.sqlite").render_as_string(hide_password=False)
        return beside if not url or url.startswith("sqlite") else url

    def settings_now(self) -> Settings:
        """The settings as they stand in the file by now: a server runs for long.

        Raises:
            ValueError: If they cannot be read.
        """
        return load_settings(self.folder / SETTINGS_FILE)

    @property
    def cache(self) -> Path:
        """What can be made again: converted images, previews, uploads on their way in."""
        return self.folder / "cache"

    @property
    def images_folder(self) -> Path:
        """Scans that were copied into the project."""
        return self.folder / "images"

    @property
    def selection_rules(self) -> SelectionRules:
        """Which series are offered to annotators."""
        return SelectionRules(**self.settings.selection.model_dump())

    @property
    def database_url(self) -> DatabaseUrl:
        """SQLAlchemy URL of the registry."""
        return self.settings.database.url or sqlite_url(self._registry_file)

    @property
    def _registry_file(self) -> Path:
        return self.folder / "registry.sqlite"

    def registry(self) -> Registry:
        """The project's registry, opened.

        Raises:
            RegistryError: If it cannot be, or is gone: a new one would know none of the masks.
        """
        is_made = (self.folder / SETTINGS_FILE).exists()
        if is_made and not self.settings.database.url and not self._registry_file.exists():
            raise RegistryError(f"{self._registry_file}: is missing: bring it back from a backup (`lungapp restore`)")
        return Registry.open(self.database_url, self.labels, self.folder / SECRET_FILE, self.split_ratios)

    @property
    def split_ratios(self) -> SplitRatios:
        """Shares of the patients that train, judge and test."""
        split = self.settings.split
        return SplitRatios(split.train, split.validation, split.test)

    def images(self) -> ServedImages:
        """The project's images as single files."""
        return ServedImages(self.cache / "images", Credentials.from_environment(os.environ))


def init_project(folder: Path, name: str = "") -> Project:
    """Make a project in a folder, which may exist but holds no project yet.

    Raises:
        FileExistsError: If there is a project, which stays as it is.
        NotADirectoryError: If a file is in the way.
    """
    folder = Path(os.path.abspath(folder))
    if (folder / SETTINGS_FILE).exists():
        raise FileExistsError(f"{folder}: is a lungapp project already and is left as it is")
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"{folder}: expected a folder, got a file")
    for part in PROJECT_FOLDERS:
        (folder / part).mkdir(parents=True, exist_ok=True)
    Project(folder, Settings()).registry().close()
    write_bytes(folder / SETTINGS_FILE, template(project__name=name or folder.name).encode())
    return open_project(folder)


def open_project(folder: Path) -> Project:
    """The project in a folder.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If its settings cannot be read.
    """
    folder = Path(os.path.abspath(folder))
    settings = folder / SETTINGS_FILE
    if not settings.is_file():
        raise FileNotFoundError(f"{folder}: no lungapp project here: make one with `lungapp init {folder}`")
    return Project(folder, load_settings(settings))
