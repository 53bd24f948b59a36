"""Opening the registry's database: SQLite or PostgreSQL, brought to the present schema."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, TypeAlias

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, OperationalError, SQLAlchemyError

from datastore.patients import SplitRatios
from datastore.secret import ProjectSecret

MIGRATING = threading.Lock()  # Alembic's context is global to a process
MIGRATIONS = Path(__file__).with_name("migrations")
DatabaseUrl: TypeAlias = str | URL
BUSY_TIMEOUT_MS = 30_000
POSTGRESQL_WRITE_LOCK = 0x6C756E67  # any number that is ours alone in the database


DATABASE_ERROR = SQLAlchemyError
"""What a database of ours raises that was not opened by a registry."""
DATABASE_AWAY = OperationalError
"""The same where it cannot be reached, or has no room."""


class RegistryError(Exception):
    """The registry cannot be opened or used; the message says which and why."""


def open_engine(url: DatabaseUrl, secret: ProjectSecret, ratios: SplitRatios) -> Engine:
    """An engine on the registry at `url`, its schema up to date.

    Args:
        url: A SQLAlchemy URL; `sqlite_url` makes that of a file.
        secret: Of the project; a registry of an older version gets its places encrypted with it.
        ratios: Splits for the patients of such a registry.

    Raises:
        RegistryError: If it cannot be opened, is no registry, or was made by a newer version.
    """
    try:
        parsed = make_url(url)
        place = parsed.render_as_string(hide_password=True)
        engine = create_engine(parsed, pool_pre_ping=parsed.get_backend_name() != "sqlite")
    except (ArgumentError, NoSuchModuleError) as error:
        raise RegistryError(f"database url: {error}") from error
    except ModuleNotFoundError as error:
        raise RegistryError(f"{place}: {error.name} is missing: pip install 'lungapp[postgresql]'") from error
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    elif engine.dialect.name == "postgresql":
        event.listen(engine, "begin", _begin_postgresql)
    try:
        with engine.connect() as connection:
            is_current = _is_current(connection)
        if not is_current:
            with MIGRATING, engine.execution_options(writes=True, migrates=True).begin() as connection:
                migrate(connection, secret, ratios)
            engine.dispose()  # connections that keep foreign keys again
            if engine.dialect.name == "sqlite":
                _forget_old_pages(engine)
    except CommandError as error:
        engine.dispose()
        raise RegistryError(f"{place}: made by another version of lungapp: {error}") from error
    except DBAPIError as error:
        engine.dispose()
        raise RegistryError(f"{place}: cannot be opened: {error.orig}") from error
    return engine


def sqlite_url(path: Path) -> URL:
    """The URL of a SQLite file; a name with `?` or `%` in it is still a name."""
    return URL.create("sqlite", database=str(path))


def migrate(connection: Connection, secret: ProjectSecret, ratios: SplitRatios, revision: str = "head") -> None:
    """Bring the schema on `connection` to `revision`; nothing happens if it is there already."""
    if revision == "head" and _is_current(connection):
        return  # another process was first
    config = _config()
    config.attributes.update(connection=connection, secret=secret, ratios=ratios)
    command.upgrade(config, revision)
    if connection.dialect.name == "sqlite":
        broken = connection.exec_driver_sql("PRAGMA foreign_key_check").first()
        if broken is not None:
            raise RegistryError(f"a row of {broken[0]} refers to a row of {broken[2]} that is not there")


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    return config


def _is_current(connection: Connection) -> bool:
    present = MigrationContext.configure(connection).get_current_heads()
    return set(present) == set(ScriptDirectory.from_config(_config()).get_heads())


def _forget_old_pages(engine: Engine) -> None:
    """Leave nothing of rows as they were before a migration in the file: an older version kept places readable."""
    connection = engine.raw_connection()
    try:
        cursor = connection.cursor()
        cursor.execute("VACUUM")
        cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        cursor.close()
    finally:
        connection.close()


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # the transactions are ours, see `_begin_sqlite`
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = FULL")  # an acknowledged label survives a power cut
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    """Writers take the write lock at once: a reader that turns writer half-way would fail instead of wait.

    A migration rebuilds tables that others refer to; SQLite's own procedure for that is to look at the foreign
    keys afterwards, in the same transaction.
    """
    options = connection.get_execution_options()
    if options.get("asks_once", False):
        return  # a single SELECT sees one state of the database without a transaction around it
    if options.get("migrates", False):
        connection.exec_driver_sql("PRAGMA foreign_keys = OFF")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if _writes(connection) else "BEGIN")


def _begin_postgresql(connection: Connection) -> None:
    """Writers come one after the other, as on SQLite, so that one reasoning holds for both."""
    if _writes(connection):
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({POSTGRESQL_WRITE_LOCK})")


def _writes(connection: Connection) -> bool:
    return bool(connection.get_execution_options().get("writes", False))
