"""Every setting of a project, with its default and what it does; read once, from lungapp.toml.

An environment variable overrides the file, e.g. `LUNGAPP_SERVER__PORT=9000`.
"""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from datastore.patients import SplitRatios
from strategies.retrain import DEFAULT_AFTER
from trainers.presets import PRESETS


class Section(BaseModel):
    """A table of lungapp.toml."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ProjectSettings(Section):
    """[project]"""

    name: str = Field(default="lungs", description="What clients and pages call the project")


class DatabaseSettings(Section):
    """[database]"""

    url: str = Field(default="", description='SQLAlchemy URL of the registry; "" is registry.sqlite in the project')


class AnnotationSettings(Section):
    """[annotation]"""

    lease_minutes: int = Field(
        default=30, ge=1, description="How long a case given to one annotator is kept from the others"
    )
    sampling_seed: int = Field(default=0, ge=0, description="Seed of the random order in which cases are offered")
    accept_without_review: bool = Field(
        default=False, description="Accept a submitted mask by itself if the quality checks find nothing to review"
    )


class SplitSettings(Section):
    """[split]"""

    train: float = Field(default=0.8, ge=0, le=1, description="Share of the patients whose cases may train")
    validation: float = Field(default=0.1, ge=0, le=1, description="Share that judges new models, and never trains")
    test: float = Field(default=0.1, ge=0, le=1, description="Share that is kept for the final test, and never trains")

    @model_validator(mode="after")
    def _add_up(self) -> SplitSettings:
        SplitRatios(self.train, self.validation, self.test)
        return self


class SelectionSettings(Section):
    """[selection]: which series are offered to annotators (Hofmanninger et al. 2020, sec. II-C)."""

    axial: bool = Field(default=True, description="Only series whose slices are axial")
    min_slices: int = Field(default=100, ge=0, description="Only series with at least so many slices; 0 takes all")
    description_terms: tuple[str, ...] = Field(
        default=("lung", "chest", "thorax"),
        description="Only series whose description has one of these words, in any case; [] takes all",
    )
    original: bool = Field(default=True, description="No series that a scanner derived from others: MIP, MPR, volume")
    one_per_study: bool = Field(default=True, description="Of each study only the series with most slices")
    files: bool = Field(
        default=False, description="Whether the rules hold for NIfTI, MetaImage and NRRD files too, not only for DICOM"
    )


class ModelSettings(Section):
    """[model]"""

    device: str = Field(default="auto", description='Where networks run: "auto", "cpu", "cuda", "cuda:1"')


class GateSettings(Section):
    """[gate]: when a retrained model is published; see docs/rounds.md."""

    dice_margin: float = Field(
        default=0.01,
        ge=0,
        le=1,
        allow_inf_nan=False,
        description="The most that the mean Dice over all locked cases may fall when a model is published",
    )
    tag_dice_margin: float = Field(
        default=0.03,
        ge=0,
        le=1,
        allow_inf_nan=False,
        description="The most that it may fall in one lung, or over the cases of one tag",
    )
    hd95_margin_mm: float = Field(
        default=1.0,
        ge=0,
        allow_inf_nan=False,
        description="A model whose HD95 is shown to be larger by more than this is held back",
    )
    tag_cases: int = Field(
        default=8, ge=1, description="How many locked cases a tag needs before it can hold a model back"
    )
    first_dice: float = Field(
        default=0.5,
        ge=0,
        le=1,
        allow_inf_nan=False,
        description="The mean Dice that a model needs where none is served yet",
    )
    publish_unjudged: bool = Field(
        default=False, description="Whether a model is published where there are no locked cases to judge it on"
    )


class TrainingSettings(Section):
    """[training]: how a model is trained on corrected cases (Hofmanninger et al. 2020, sec. II-B)."""

    preset: str = Field(default="r231", description="Loss, optimizer and rate: one of the presets of docs/training.md")
    start: Literal["served", "scratch"] = Field(
        default="served", description='Whether training goes on from the "served" model, or from "scratch"'
    )
    border: Literal["served", "network", "air"] = Field(
        default="served",
        description='What decides where lung ends: the "network", the "air" too (bootstrap); "served": as before',
    )
    base_channels: int = Field(
        default=64, ge=1, le=64, description="Width of a network from scratch; the paper's has 64"
    )
    learning_rate: float = Field(default=0.0, ge=0, description="The highest learning rate; 0 takes the preset's")
    epochs: int = Field(default=40, ge=1, description="How often at most the network is measured and saved")
    steps_per_epoch: int = Field(default=250, ge=1, description="Minibatches between two such measurements")
    with_lung: int = Field(default=7, ge=1, description="Slices with lung in a minibatch")
    without_lung: int = Field(default=7, ge=0, description="Slices without lung in a minibatch")
    patience: int = Field(
        default=8, ge=0, description="Training ends after so many epochs without a better Dice of the watched; 0: never"
    )
    watched_share: float = Field(
        default=0.1,
        ge=0,
        le=0.5,
        allow_inf_nan=False,
        description="Share of the patients that a training is watched on in place of learning from them; 0: none are",
    )
    negative_cohorts: tuple[str, ...] = Field(
        default=(), description="Cohorts of which only the slices without lung train, as the paper did with Anatomy3"
    )
    clip_norm: float = Field(default=5.0, ge=0, description="Longer gradients are cut to this length; 0: none is")
    mixed_precision: Literal["auto", "on", "off"] = Field(
        default="auto", description='Half precision: "auto" on a GPU, "on" everywhere, "off"'
    )
    devices: tuple[str, ...] = Field(
        default=("auto",), description='Where training runs; several share each minibatch: ["cuda:0", "cuda:1"]'
    )

    @field_validator("preset")
    @classmethod
    def _is_known(cls, preset: str) -> str:
        if preset not in PRESETS:
            raise ValueError(f"expected one of {', '.join(PRESETS)}")
        return preset

    @field_validator("devices")
    @classmethod
    def _is_somewhere(cls, devices: tuple[str, ...]) -> tuple[str, ...]:
        if not devices:
            raise ValueError('expected at least one device, such as "auto"')
        return devices


class ServerSettings(Section):
    """[server]"""

    host: str = Field(default="127.0.0.1", description="Address to listen on, of this machine alone")
    port: int = Field(default=8000, ge=0, le=65535, description="Port to listen on; 0 takes a free one")
    inference_workers: int = Field(default=1, ge=1, le=64, description="Inferences that run at the same time")
    session_minutes: int = Field(default=60, ge=1, description="How long an uploaded image of a session is kept")


class RoundsSettings(Section):
    """[rounds]: when a project trains again."""

    retrain_after: int = Field(
        default=DEFAULT_AFTER, ge=0, description="Accepted corrections that start a round by themselves; 0: none do"
    )
    seed: int = Field(default=0, ge=0, lt=2**31, description="Seed of a round's training")
    worker: bool = Field(
        default=True, description="Whether `lungapp serve` starts a worker; without, start one yourself"
    )
    refresh: bool = Field(
        default=True, description="Whether a published model makes the preliminary masks of open cases anew"
    )


class Settings(BaseSettings):
    """The whole of lungapp.toml."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", env_prefix="LUNGAPP_", env_nested_delimiter="__")

    project: ProjectSettings = ProjectSettings()
    database: DatabaseSettings = DatabaseSettings()
    selection: SelectionSettings = SelectionSettings()
    split: SplitSettings = SplitSettings()
    annotation: AnnotationSettings = AnnotationSettings()
    model: ModelSettings = ModelSettings()
    gate: GateSettings = GateSettings()
    training: TrainingSettings = TrainingSettings()
    server: ServerSettings = ServerSettings()
    rounds: RoundsSettings = RoundsSettings()

    def round_config(self) -> dict[str, Any]:
        """How a round that is asked for now trains and is judged: kept with it, whatever the settings say later.

        Where it trains is left out: that belongs to the machine.
        """
        return {"training": self.training.model_dump(exclude={"devices"}), "gate": self.gate.model_dump()}

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment over the file."""
        return env_settings, init_settings


def load_settings(path: Path) -> Settings:
    """The settings in a lungapp.toml.

    Raises:
        ValueError: If it is no TOML, names an unknown setting, or gives one a value it cannot have.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not valid TOML: {error}") from error
    _refuse_unknown(path, content)
    try:
        return Settings(**content)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise ValueError(
            f"{path}: {name} = {first['input']!r}: {first['msg'].lower().removeprefix('value error, ')}"
        ) from error


def settings_table() -> Iterator[tuple[str, str, Any, str]]:
    """Section, name, default and description of every setting, in the order of the file."""
    for section, field in Settings.model_fields.items():
        for name, setting in type(field.default).model_fields.items():
            yield section, name, setting.default, setting.description or ""


def template(**values: Any) -> str:
    """A lungapp.toml with every setting at its default, or at the values given as `section__name`."""
    lines = ["# Every setting of this project. An environment variable overrides it: LUNGAPP_SERVER__PORT=9000"]
    last = ""
    for section, name, default, description in settings_table():
        if section != last:
            lines += ["", f"[{section}]"]
            last = section
        lines += [f"# {description}", f"{name} = {_toml(values.get(f'{section}__{name}', default))}"]
    return "\n".join(lines) + "\n"


def with_value(content: str, section: str, name: str, value: Any) -> str:
    """A lungapp.toml with one setting changed, and all else, comments too, as it was.

    >>> print(with_value("[server]\\nport = 9000  # ours\\nhost = 'x'", "server", "port", 8000))
    [server]
    port = 8000
    host = 'x'
    """
    line = f"{name} = {_toml(value)}"
    header = re.search(rf"^\[{section}\].*\n?", content, re.MULTILINE)
    if header is None:
        return f"{content.rstrip()}\n\n[{section}]\n{line}\n"
    following = re.compile(r"^\[", re.MULTILINE).search(content, header.end())
    end = following.start() if following else len(content)
    body, replaced = re.subn(rf"(?m)^{name}\s*=.*$", lambda _: line, content[header.end() : end], count=1)
    return content[: header.end()] + ("" if replaced else f"{line}\n") + body + content[end:]


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")  # a TOML string is a JSON string
    if isinstance(value, tuple):
        return f"[{', '.join(_toml(item) for item in value)}]"
    return str(value)


def _refuse_unknown(path: Path, content: Mapping[str, Any]) -> None:
    known = {f"{section}.{name}" for section, name, _, _ in settings_table()}
    sections = sorted({name.split(".")[0] for name in known})
    for section, values in content.items():
        if section not in sections or not isinstance(values, Mapping):
            raise ValueError(f"{path}: unknown section [{section}]{_nearest(section, sections)}")
        for name in values:
            if f"{section}.{name}" not in known:
                nearest = _nearest(f"{section}.{name}", sorted(known))
                raise ValueError(f"{path}: unknown setting {section}.{name}{nearest}")


def _nearest(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f": did you mean {close[0]}?" if close else f": expected one of {', '.join(known)}"
