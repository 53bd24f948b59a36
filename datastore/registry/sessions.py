"""Sessions: one method of the registry is one transaction, and what goes wrong in one is said in our words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from sqlalchemy import Engine
from sqlalchemy.exc import DataError, DBAPIError
from sqlalchemy.orm import Session

from datastore.database import DatabaseUrl, RegistryError, open_engine
from datastore.patients import SplitRatios
from datastore.records import Source
from datastore.schema import EventRow, FactRow
from datastore.secret import SECRET_FILE, ProjectSecret

MARK = "secret"


class UnknownCaseError(LookupError):
    """No case or label has that id."""

    def __str__(self) -> str:
        return str(self.args[0])


class Sessions:
    """What every part of the registry stands on.

    Args:
        engine: Of the database, its schema up to date.
        labels_folder: Where label files lie, a folder for each case.
        secret: Of the project.
        ratios: Shares of the splits.
    """

    def __init__(self, engine: Engine, labels_folder: Path, secret: ProjectSecret, ratios: SplitRatios) -> None:
        self.engine = engine
        self.labels_folder = labels_folder
        self.secret = secret
        self.ratios = ratios
        self._writer = engine.execution_options(writes=True)
        self._asker = engine.execution_options(asks_once=True)

    @classmethod
    def open(
        cls,
        url: DatabaseUrl,
        labels_folder: Path,
        secret_file: Path | None = None,
        ratios: SplitRatios | None = None,
    ) -> Self:
        """The registry at a SQLAlchemy URL, made if it is not there yet.

        Args:
            url: Of the database.
            labels_folder: Where label files lie.
            secret_file: The project's secret, made with a new registry; beside the labels' folder if not given.
            ratios: Shares of the splits; 80 : 10 : 10 if not given.

        Raises:
            RegistryError: If it cannot be opened, is none, or was made with another secret.
        """
        path = secret_file or labels_folder.parent / SECRET_FILE
        is_new = not path.exists()
        try:
            secret = ProjectSecret.at(path)
        except OSError as error:
            raise RegistryError(f"{path}: the project's secret cannot be used: {error.strerror}") from error
        shares = ratios or SplitRatios()
        registry = cls(open_engine(url, secret, shares), labels_folder, secret, shares)
        try:
            registry._check_secret(path)
        except BaseException:
            registry.close()
            if is_new:
                path.unlink(missing_ok=True)
            raise
        return registry

    def close(self) -> None:
        """Give back every connection."""
        self.engine.dispose()

    def _check_secret(self, path: Path) -> None:
        with self._read() as session:
            mark = session.get(FactRow, MARK)
            known = None if mark is None else mark.value
        if known is None:
            with self._write() as session:
                if session.get(FactRow, MARK) is None:
                    session.add(FactRow(name=MARK, value=self.secret.mark))
        elif known != self.secret.mark:
            raise RegistryError(
                f"{path}: is not the secret that this registry was made with: patients would not be recognised and "
                "places could not be read; bring the right file back from a backup"
            )

    def _seal(self, source: Source) -> str:
        """Where a series lies, encrypted; a place inside the project relative to it, so that a project can move."""
        return self.secret.seal(self._relative(source))

    def _key(self, source: Source) -> str:
        """What makes a series the same series, wherever the project lies."""
        return self.secret.source_key(self._relative(source))

    def _relative(self, source: Source) -> Source:
        if not self._is_inside(source):
            return source
        return replace(source, path=source.path.relative_to(self.labels_folder.parent.absolute()))

    def _is_inside(self, source: Source) -> bool:
        """Whether a series lies in the project's own folder."""
        return not source.url and source.path.is_relative_to(self.labels_folder.parent.absolute())

    def _unseal(self, sealed: str) -> Source:
        source = self.secret.unseal(sealed)
        if source.url or source.path.is_absolute():
            return source
        return replace(source, path=self.labels_folder.parent.absolute() / source.path)

    def recall(self, name: str) -> str | None:
        """A fact that was remembered, or None."""
        with self._read() as session:
            fact = session.get(FactRow, name)
            return None if fact is None else fact.value

    def remember(self, name: str, value: str) -> None:
        """Keep a fact of the registry itself."""
        if self.recall(name) != value:
            with self._write() as session:
                session.merge(FactRow(name=name, value=value))

    @contextmanager
    def _read(self) -> Iterator[Session]:
        with self._translated(), Session(self.engine) as session:
            yield session

    def _rows(self, query: Any, values: Mapping[str, Any] | None = None) -> Sequence[Any]:
        """What a query gives, for the short questions that are asked all the time: half the time of a session."""
        with self._translated(), self._asker.connect() as connection:
            return connection.execute(query, values).all()

    @contextmanager
    def _write(self) -> Iterator[Session]:
        with self._translated(), Session(self._writer, expire_on_commit=False) as session, session.begin():
            yield session

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except DataError as error:
            raise ValueError(f"the registry cannot keep that: {error.orig}") from error
        except DBAPIError as error:
            raise RegistryError(f"the registry cannot be used: {error.orig}") from error


def note(
    session: Session, actor: str, action: str, case_id: str | None = None, label_id: str | None = None, **detail: Any
) -> None:
    """Write an event into the audit; details that are None are left out."""
    session.add(
        EventRow(
            at=datetime.now(UTC),
            actor=actor,
            action=action,
            case_id=case_id,
            label_id=label_id,
            detail={name: value for name, value in detail.items() if value is not None},
        )
    )
