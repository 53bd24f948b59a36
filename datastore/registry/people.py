"""Users: who they are and what they may do."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from sqlalchemy import select

from datastore.registry.intake import LOCAL
from datastore.registry.sessions import Sessions, note
from datastore.schema import UserRow
from datastore.user_records import Role, User

USER_NAME = re.compile(r"[a-z][a-z0-9._-]{0,31}")


class People(Sessions):
    """Users of a project."""

    def add_user(self, name: str, role: Role, by: str = LOCAL) -> User:
        """Enter somebody.

        Raises:
            ValueError: If the name is taken, or is none: lower-case letters, digits, `.`, `_`, `-`, at most 32.
        """
        if not USER_NAME.fullmatch(name):
            raise ValueError(f"bad user name {name[:40]!r}: expected lower-case letters, digits, '.', '_', '-'")
        with self._write() as session:
            if session.get(UserRow, name) is not None:
                raise ValueError(f"user {name} is there already")
            row = UserRow(name=name, role=str(role), created_at=datetime.now(UTC))
            session.add(row)
            note(session, by, "user.added", user=name, role=str(role))
            session.flush()
            return _to_user(row)

    def users(self) -> list[User]:
        """Everybody, by name."""
        with self._read() as session:
            return [_to_user(row) for row in session.scalars(select(UserRow).order_by(UserRow.name))]


def _to_user(row: UserRow) -> User:
    return User(row.name, Role(row.role), row.created_at, row.disabled_at)
